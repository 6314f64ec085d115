-- The engine finds rows by the indexes that setup() made, whatever others a user adds,
-- and says so where one of them is gone.
SET client_min_messages = error;
SELECT order_engine.receive_stock('A', 100) \gset
SELECT order_id FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 1, "unit_price": 5}, {"sku": "A", "quantity": 2}]', 'key') \gset
SELECT 'order_engine.orders_' || order_engine.slot_of_order(:order_id) % 4 AS leaf, 'order_engine.order_line_' || order_engine.slot_of_order(:order_id) % 4 AS lines \gset

-- The newest index comes last in PostgreSQL's list, and REINDEX CONCURRENTLY makes a new one.
CREATE UNIQUE INDEX few_orders ON :leaf (order_id) WHERE state = 'elsewhere';
CREATE UNIQUE INDEX few_keys ON :leaf (user_id, idempotency_key) WHERE state = 'elsewhere';
CREATE UNIQUE INDEX few_lines ON :lines (order_id, line_no) WHERE quantity > 100;
CREATE UNIQUE INDEX lines_backwards ON :lines (order_id, line_no DESC);
CREATE UNIQUE INDEX few_skus ON order_engine.stock (sku) WHERE mode = 'escrow';
REINDEX INDEX CONCURRENTLY order_engine.stock_pkey;
SELECT format('REINDEX INDEX CONCURRENTLY %s', index) FROM unnest(ARRAY[:'leaf' || '_pkey', :'lines' || '_pkey', :'leaf' || '_idempotency_key']) AS index \gexec

\ir ../lib/consequence.sql

SELECT plan(11);
SELECT is((SELECT outcome FROM order_engine.pay_order(:order_id, 'p', 5)), 'paid', 'an order is found');
SELECT is((SELECT replayed FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 1, "unit_price": 5}, {"sku": "A", "quantity": 2}]', 'key')), true, 'so is a key');
SELECT is((SELECT on_hand FROM order_engine.stock WHERE sku = 'A'), 97::bigint, 'and stock');
SELECT is((SELECT payload -> 'lines' -> 1 ->> 'quantity' FROM order_engine.outbox WHERE type = 'order.paid'), '2', 'and lines, in their order');
SELECT is(order_engine.available('A'), 97::bigint, 'for readers, too');
SELECT is(pg_temp.consequence('ALTER TABLE order_engine.orders DROP CONSTRAINT orders_pkey', format('SELECT order_engine.ship_order(%s)', :order_id)), '55000', 'without its index an order is not looked for');
SELECT is(pg_temp.consequence('ALTER TABLE order_engine.stock DROP CONSTRAINT stock_pkey', 'SELECT order_engine.receive_stock(''A'', 1)'), '55000', 'nor stock');
SELECT is(pg_temp.consequence('ALTER TABLE order_engine.stock DROP CONSTRAINT stock_pkey', 'SELECT order_engine.available(''A'')'), '55000', 'nor for readers');
SELECT is(pg_temp.consequence('ALTER TABLE order_engine.stock DROP CONSTRAINT stock_pkey, ADD PRIMARY KEY (version)', 'SELECT order_engine.available(''A'')'), '55000', 'and a key of another column is none');
SELECT is(pg_temp.consequence(format('DROP INDEX order_engine.reservation_%s_reservation_id', order_engine.slot_of_user(1) % 4), $$SELECT order_engine.try_reserve('r', '[{"sku": "A", "quantity": 1}]', '1 h', 1)$$), '55000', 'nor a reservation');
SELECT is(pg_temp.consequence(format('DROP INDEX order_engine.reservation_%s_reservation_id; CREATE UNIQUE INDEX ON order_engine.reservation_%1$s (reservation_id, user_id)', order_engine.slot_of_text('r') % 4), $$SELECT order_engine.try_reserve('r', '[{"sku": "A", "quantity": 1}]', '1 h')$$), '55000', 'where a name without a user would not be unique, either');
SELECT * FROM finish();
