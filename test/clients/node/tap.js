// What the programs of this folder share: TAP, a call that has to wait, and two at once.
'use strict';

const { isDeepStrictEqual } = require('node:util');
const pg = require('pg');

let ran = 0;

function ok(passed, what) {
  ran += 1;
  console.log(`${passed ? 'ok' : 'not ok'} ${ran} - ${what}`);
}

function is(got, expected, what) {
  ok(isDeepStrictEqual(got, expected), what);
  if (!isDeepStrictEqual(got, expected)) {
    console.log(`# got ${JSON.stringify(got)}, expected ${JSON.stringify(expected)}`);
  }
}

// Returns the error.
async function refused(promise, code, what) {
  const error = await promise.then(() => ({ code: 'nothing' }), (reason) => reason);
  is(error.code, code, what);
  return error;
}

// Runs the tests; an error that they throw is a failure.
function run(tests) {
  tests()
    .catch((error) => ok(false, `no error: ${error.stack}`))
    .finally(() => console.log(`1..${ran}`));
}

async function withClient(use) {
  const client = new pg.Client();
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

// The pids of the application's sessions that wait for a lock, as soon as there are so many.
async function waiting(count) {
  const deadline = Date.now() + 60000;
  return withClient(async (client) => {
    while (Date.now() < deadline) {
      const { rows } = await client.query(
        "SELECT pid FROM pg_stat_activity WHERE usename = current_user AND wait_event_type = 'Lock'");
      if (rows.length >= count) return rows.map((row) => row.pid);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error('nobody waits for the stock');
  });
}

// While it lasts, whoever takes a cup waits; then nothing has been taken.
async function cupsHeld(meanwhile) {
  return withClient(async (holder) => {
    await holder.query('BEGIN');
    await holder.query(`SELECT order_engine.create_order(1, '[{"sku": "cup", "quantity": 1}]')`);
    await meanwhile();
    await holder.query('ROLLBACK');
  });
}

// What the calls return, all of which wait for a cup at once.
async function together(...calls) {
  let results;
  await cupsHeld(async () => {
    results = calls.map((call) => call());
    await waiting(calls.length);
  });
  return Promise.all(results);
}

// What a call returns whose connection the server ends while it waits for a cup.
async function killedOnce(call) {
  let result;
  await cupsHeld(async () => {
    result = call();
    const [pid] = await waiting(1);
    await withClient((killer) => killer.query('SELECT pg_terminate_backend($1)', [pid]));
    // its next attempt waits too, until the cups are free
    await waiting(1);
  });
  return result;
}

module.exports = { ok, is, refused, run, together, killedOnce };
