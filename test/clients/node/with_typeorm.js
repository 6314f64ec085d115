// TypeORM at home: see doc/clients.md, which shows the marked region.
'use strict';

// snippet: entity
const { EntitySchema } = require('typeorm');

const written = { insert: false, update: false }; // by the engine alone
const Order = new EntitySchema({
  name: 'Order',
  schema: 'order_engine',
  tableName: 'orders',
  columns: {
    orderId: { name: 'order_id', type: 'bigint', primary: true }, // a string in JavaScript
    userId: { name: 'user_id', type: 'bigint', update: false },
    state: { type: 'text', nullable: true },
    version: { type: 'int', version: true },
    attributes: { type: 'jsonb', default: {} },
    private: { type: 'jsonb', default: {}, select: false },
    amount: { type: 'numeric', ...written },
    captured: { type: 'numeric', ...written },
    dueAt: { name: 'due_at', type: 'timestamptz', nullable: true, ...written },
  },
});

// An order without lines, by entity: it needs an id of the engine's, and a look at what the
// engine filled in.
async function insertOrder(db, order) {
  const [{ id }] = await db.query('SELECT order_engine.next_order_id($1) AS id', [order.userId]);
  await db.getRepository(Order).insert({ ...order, orderId: id });
  return db.getRepository(Order).findOneByOrFail({ orderId: id });
}

// save() looks at the row first and changes it afterwards, which two can do at once: name
// the version in the WHERE, and look whether a row was there.
async function change(db, seen, changes) {
  const { affected } = await db.getRepository(Order).update(
    { orderId: seen.orderId, version: seen.version }, changes);
  if (affected === 0) throw new Error('the order has changed: look at it again');
  return db.getRepository(Order).findOneByOrFail({ orderId: seen.orderId });
}
// end snippet

const { DataSource } = require('typeorm');
const { ok, is, refused, run } = require('./tap');

const cup = [{ sku: 'cup', quantity: 2, unit_price: '19.90' }];

// query() gives and throws what node-postgres does, with code and detail.
async function checkout(db, userId, lines, key) {
  const [order] = await db.query(
    'SELECT * FROM order_engine.create_order($1, $2, idempotency_key => $3)', [userId, JSON.stringify(lines), key]);
  return order;
}

async function testCalls(db) {
  const order = await checkout(db, '42', cup, 'typeorm-1');
  is((await checkout(db, '42', cup, 'typeorm-1')).order_id, order.order_id, 'the same key is the same order');
  const error = await refused(checkout(db, '42', [{ sku: 'cup', quantity: 500 }], 'typeorm-2'), 'OE001',
    'what is short is refused');
  is(JSON.parse(error.detail).short[0].available, 8, 'with a DETAIL');
  const seen = await db.getRepository(Order).findOneByOrFail({ orderId: order.order_id });
  is([seen.state, seen.version, seen.amount], ['pending', 1, '39.80'], 'an order of a call is an entity');
  await refused(db.query('SELECT order_engine.ship_order($1, expected_version => $2)', [seen.orderId, 7]), 'OE011',
    'a stale version is a conflict');
}

async function testInsert(db) {
  const order = await insertOrder(db, { userId: '42', attributes: { gift: true }, private: { name: 'Ann' } });
  is([order.state, order.version, order.attributes], ['pending', 1, { gift: true }], 'an entity is inserted');
  ok(order.dueAt instanceof Date, 'and has what the engine filled in');
  const history = await db.query('SELECT event FROM order_engine.order_history($1)', [order.orderId]);
  is(history, [{ event: 'create' }], 'and a history');
  return order;
}

async function testChange(db, order) {
  const changed = await change(db, order, { attributes: { gift: false } });
  is([changed.version, changed.attributes], [2, { gift: false }], 'an entity is changed');
  let message = '';
  await change(db, order, { state: 'cancelled' }).catch((error) => { message = error.message; });
  is(message, 'the order has changed: look at it again', 'not by who saw an older version');
  return changed;
}

async function testSave(db, order) {
  const orders = db.getRepository(Order);
  const stale = { ...order };
  order.attributes = { gift: 'maybe' };
  is((await orders.save(order)).version, 3, 'save() goes on to the next version');
  stale.state = 'cancelled';
  await refused(orders.save(stale), 'OE011', 'save() of what was loaded before is refused');
  order.state = 'shipped';
  await refused(orders.save(order), 'OE010', 'save() cannot do what the machine does not know');
  const now = await orders.findOneByOrFail({ orderId: order.orderId });
  is([now.state, now.version], ['pending', 3], 'what was refused changed nothing');
  now.state = 'cancelled';
  await orders.save(now);
  const history = await db.query('SELECT event FROM order_engine.order_history($1)', [now.orderId]);
  is(history.map((row) => row.event), ['create', 'update', 'update', 'cancel'], 'save() of a state is a move');
}

run(async () => {
  const db = new DataSource({
    type: 'postgres',
    host: process.env.PGHOST,
    port: Number(process.env.PGPORT),
    username: process.env.PGUSER,
    database: process.env.PGDATABASE,
    entities: [Order],
  });
  await db.initialize();
  await testCalls(db);
  const order = await testInsert(db);
  await testSave(db, await testChange(db, order));
  await db.destroy();
});
