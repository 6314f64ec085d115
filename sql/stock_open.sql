-- A closed SKU in mode escrow sells nothing, and still takes back, as in mode row (stock).
-- needs to be preloaded
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql

INSERT INTO stock (sku, on_hand) VALUES ('hot', 10), ('cold', 1);
SELECT set_stock_mode('hot', 'escrow');
SELECT order_id FROM create_order(1, '[{"sku": "hot", "quantity": 2, "unit_price": 1}]') \gset paid_
SELECT order_id FROM create_order(1, '[{"sku": "hot", "quantity": 3}]') \gset held_
SELECT set_stock_open('hot', false), set_stock_open('cold', true);
SELECT open, available(sku) FROM stock WHERE sku = 'hot';
SELECT available FROM availability('{hot}');
SELECT available FROM stock_now WHERE sku = 'hot';
SELECT attempt($$SELECT create_order(2, '[{"sku": "hot", "quantity": 1}, {"sku": "cold", "quantity": 2}]')$$);
SELECT attempt($$SELECT create_order(2, '[{"sku": "hot", "quantity": 1}, {"sku": "cold", "quantity": 2}]', 'key')$$);
SET order_engine.escrow_wait = '10ms';
SELECT attempt($$SELECT create_order(2, '[{"sku": "hot", "quantity": 1}, {"sku": "cold", "quantity": 2}]')$$);
RESET order_engine.escrow_wait;
SELECT attempt($$SELECT deduct_stock('hot', 1)$$);
SELECT status, short FROM try_reserve('r', '[{"sku": "hot", "quantity": 1}]', '1 hour');
SELECT outcome FROM pay_order(:paid_order_id, 'p', 2);
SELECT state FROM cancel_order(:held_order_id);
SELECT state FROM refund_order(:paid_order_id, 'r');
SELECT available FROM receive_stock('hot', 5);
SELECT available FROM adjust_stock('hot', -14);
SELECT attempt($$SELECT adjust_stock('hot', -2)$$);
UPDATE stock SET on_hand = on_hand + 2 WHERE sku = 'hot';
CALL tend();
SELECT on_hand, reserved, open FROM stock WHERE sku = 'hot';
SELECT set_stock_open('hot', true);
SELECT available('hot');
SELECT remaining FROM deduct_stock('hot', 1);

-- What is rolled back was not closed, in a savepoint either.
BEGIN;
SELECT set_stock_open('hot', false);
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT set_stock_open('hot', false);
ROLLBACK TO s;
SELECT remaining FROM deduct_stock('hot', 1);
COMMIT;
SELECT available('hot');
-- Who has changed its stock, or closed it, commits before he does the other.
BEGIN;
SELECT available FROM receive_stock('hot', 1);
SELECT attempt($$SELECT set_stock_open('hot', false)$$);
COMMIT;
BEGIN;
SELECT set_stock_open('hot', false);
SELECT attempt($$SELECT receive_stock('hot', 1)$$);
SELECT attempt($$SELECT set_stock_open('hot', true)$$);
COMMIT;
-- Closed it stays when its mode is switched, to and fro.
SELECT set_stock_mode('hot', 'row');
SELECT attempt($$SELECT deduct_stock('hot', 1)$$);
SELECT set_stock_mode('hot', 'escrow');
SELECT attempt($$SELECT deduct_stock('hot', 1)$$);
SELECT set_stock_open('hot', true);
SELECT remaining FROM deduct_stock('hot', 1);
SELECT quantity, reason FROM stock_movement WHERE sku = 'hot' AND quantity = 0;
