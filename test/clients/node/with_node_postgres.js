// node-postgres at home: see doc/clients.md, which shows the marked regions.
'use strict';

// snippet: checkout
const pg = require('pg');

// Transactions to be repeated, a connection that the server ended; and no answer at all:
// nobody knows whether the order was created. Ask again, with the same key.
const REPEAT = ['40001', '40P01', '55P03', '57P01', '57P02', '57P03'];

function mayRepeat(error) {
  return !(error instanceof pg.DatabaseError) || REPEAT.includes(error.code);
}

// The order of this key, once, however often the network makes us ask; or what is short.
async function checkout(pool, userId, key, lines) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { rows } = await pool.query(
        `SELECT * FROM order_engine.create_order($1, $2, idempotency_key => $3, currency => 'EUR')`,
        [userId, JSON.stringify(lines), key],
      );
      return { order: rows[0] }; // order_id is a string: a number would lose digits
    } catch (error) {
      if (error.code === 'OE001') return { short: JSON.parse(error.detail).short };
      if (attempt === 5 || !mayRepeat(error)) throw error;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 100 * 2 ** attempt));
    }
  }
}
// end snippet

// snippet: webhook
// As often as the provider calls; amount is a string, and comes back as one.
async function paymentCaptured(pool, { orderId, paymentRef, amount, currency }) {
  const { rows } = await pool.query(
    'SELECT * FROM order_engine.pay_order($1, $2, $3, $4)',
    [orderId, paymentRef, amount, currency],
  );
  return rows[0]; // outcome: with refund_due and mismatch the money has to go back
}
// end snippet

// snippet: version
// The order after the move, or what has changed since the page was shown.
async function ship(pool, orderId, seenVersion) {
  try {
    const { rows } = await pool.query(
      'SELECT * FROM order_engine.ship_order($1, expected_version => $2, context => $3)',
      [orderId, seenVersion, { actor: 'warehouse' }],
    );
    return { order: rows[0] };
  } catch (error) {
    if (error.code !== 'OE011') throw error;
    return { changed: JSON.parse(error.detail) };
  }
}
// end snippet

module.exports = { checkout };

const { is, refused, run, together, killedOnce } = require('./tap');

const cup = [{ sku: 'cup', quantity: 1, unit_price: '19.90' }];
const cups = [{ sku: 'cup', quantity: 2, unit_price: '19.90' }];

async function testCheckout(pool) {
  const { order } = await checkout(pool, 42, 'basket-paid', cups);
  is([typeof order.order_id, order.state, order.amount, order.replayed], ['string', 'pending', '39.80', false],
    'an order is created, ids and amounts are strings');
  const again = (await checkout(pool, 42, 'basket-paid', cups)).order;
  is([again.order_id, again.replayed], [order.order_id, true], 'the same key is the same order');
  is((await checkout(pool, 42, 'basket-short', [{ sku: 'cup', quantity: 500 }])).short,
    [{ sku: 'cup', requested: 500, available: 8 }], 'what is short is parsed');
  return order.order_id;
}

async function testPayment(pool, orderId) {
  const payment = { orderId, paymentRef: 'psp-1', amount: '39.80', currency: 'EUR' };
  const first = await paymentCaptured(pool, payment);
  is([first.outcome, first.replayed, first.captured], ['paid', false, '39.80'], 'it is paid');
  const second = await paymentCaptured(pool, payment);
  is([second.outcome, second.replayed, second.captured], ['paid', true, '39.80'], 'once');
}

async function testVersion(pool, orderId) {
  is((await ship(pool, orderId, 1)).changed, { expected: 1, actual: 2, state: 'paid' }, 'a stale page does not ship');
  is((await ship(pool, orderId, 2)).order.version, 3, 'the version that was seen does');
}

async function testTwins(pool) {
  const strict = new pg.Pool({ options: '-c default_transaction_isolation=repeatable\\ read' });
  const twins = await together(...[1, 2].map(() => () => checkout(strict, 42, 'basket-twins', cup)));
  is(twins.map(({ order }) => order.replayed).sort(), [false, true], 'of two requests at once one creates the order');
  is(twins[0].order.order_id, twins[1].order.order_id, 'and both get it');
  await strict.end();
}

async function testKilled(pool) {
  const { order } = await killedOnce(() => checkout(pool, 42, 'basket-killed', cup));
  is([order.state, order.replayed], ['pending', false], 'a lost connection is survived');
}

// What the driver sends for a value decides whether it is JSON.
async function testBindings(pool) {
  const create = 'SELECT order_engine.create_order($1, $2)';
  await refused(pool.query(create, [42, cup]), '22P02', 'an array needs JSON.stringify()');
  await refused(pool.query(create, [42, cup[0]]), '22023', 'an object is sent as JSON');
  for (const amount of ['19.90', 19.9, 20n]) { // the call is found; the order is not
    await refused(pool.query("SELECT order_engine.pay_order(1, 'ref', $1)", [amount]), 'OE012', `an amount as a ${typeof amount}`);
  }
  await refused(pool.query('SELECT order_engine.ship_order($1, $2)', ['1', 1]), 'OE012', 'an id as a string, a version as a number');
  await refused(pool.query('SELECT order_engine.ship_order($1)', [2 ** 60 + 0.5]), 'OE012', 'an id that was a number has lost digits');
}

async function test() {
  const pool = new pg.Pool();
  pool.on('error', () => {}); // a connection that ended while it was idle
  const orderId = await testCheckout(pool);
  await testPayment(pool, orderId);
  await testVersion(pool, orderId);
  await testTwins(pool);
  await testKilled(pool);
  await testBindings(pool);
  await pool.end();
}

if (require.main === module) run(test);
