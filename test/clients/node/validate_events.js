// Ajv at home: the contract of the events, as strictly as Ajv reads it.
'use strict';

const Ajv = require('ajv/dist/2020');
const { readFileSync } = require('node:fs');
const { is, run } = require('./tap');

run(async () => {
  const schema = JSON.parse(readFileSync('doc/event.schema.json', 'utf8'));
  const ajv = new Ajv({ strict: true });
  const validate = ajv.compile(schema);
  is(ajv.getSchema(schema.$id), validate, 'its $id is one');
  for (const line of readFileSync(process.env.EVENTS, 'utf8').trim().split('\n')) {
    const { what, valid, event } = JSON.parse(line);
    is(validate(event), valid, what);
  }
});
