// The server has committed, and the answer is lost on its way: losing_proxy stands between.
'use strict';

const pg = require('pg');
const { is, run } = require('./tap');
const { checkout } = require('./with_node_postgres');

run(async () => {
  const pool = new pg.Pool({ port: Number(process.env.LOSING_PORT) });
  const { order } = await checkout(pool, 42, 'lost-1', [{ sku: 'cup', quantity: 1, unit_price: '19.90' }]);
  is(order.replayed, true, 'the request that was repeated gets the order of the first');
  const { rows } = await pool.query("SELECT count(*)::int AS n FROM order_engine.orders WHERE idempotency_key = 'lost-1'");
  is(rows[0].n, 1, 'there is one order');
  await pool.end();
});
