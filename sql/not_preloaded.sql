-- Without shared_preload_libraries all works but the workers, and that is told.
-- needs not to be preloaded
\set SHOW_CONTEXT never
SHOW shared_preload_libraries;
CREATE EXTENSION order_engine;
\set VERBOSITY terse
SELECT order_engine.setup(4);
\set VERBOSITY default
SELECT on_hand, available FROM order_engine.receive_stock('A', 10);

-- An order's whole life.
SELECT order_id, state, version, amount FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 2, "unit_price": 5}]', 'key', currency => 'EUR') \gset
SELECT :order_id > 0 AS id, :'state' AS state, :version AS version;
SELECT order_id = :order_id AS same, replayed FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 2, "unit_price": 5}]', 'key', currency => 'EUR');
SELECT outcome, state, version, captured FROM order_engine.pay_order(:order_id, 'p', 10, 'EUR');
SELECT outcome, replayed FROM order_engine.pay_order(:order_id, 'p', 10, 'EUR');
SELECT state, version FROM order_engine.fire(:order_id, 'ship');
UPDATE order_engine.orders SET state = 'completed' WHERE order_id = :order_id RETURNING state, version;
\set VERBOSITY sqlstate
UPDATE order_engine.orders SET state = 'pending' WHERE order_id = :order_id;
DELETE FROM order_engine.orders;
SELECT order_engine.create_order(2, '[{"sku": "A", "quantity": 9}]');
\set VERBOSITY default
SELECT version, event, from_state, to_state FROM order_engine.order_history(:order_id);
SELECT order_engine.get_order(:order_id) ->> 'state' AS state, order_engine.available('A');
SELECT count(*) FROM order_engine.user_orders(1);
SELECT type FROM order_engine.outbox ORDER BY id;

-- Ids come from the sequence: higher for each caller, also in one statement.
CREATE FUNCTION counter(id bigint) RETURNS bigint LANGUAGE sql AS 'SELECT ((id >> 22) << 12) | (id & 4095)';
SELECT count(*), count(DISTINCT counter(id)), bool_and(counter(id) > counter(:order_id)) AS above, bool_and(rises) AS rise
FROM (SELECT id, counter(id) > coalesce(lag(counter(id)) OVER (ORDER BY n), 0) AS rises
	FROM (SELECT n, order_engine.next_order_id(n) AS id FROM generate_series(1, 5000) n) s) t;

-- Raw SQL, too.
INSERT INTO order_engine.orders (order_id, user_id) VALUES (order_engine.next_order_id(3), 3) RETURNING state, version;

-- tend() does what the keeper would; that there is none, and what is late, can be seen.
SELECT order_id AS due FROM order_engine.create_order(4, '[{"sku": "A", "quantity": 3}]', pay_within => '1 hour') \gset
SELECT on_hand, reserved FROM order_engine.stock;
UPDATE order_engine.orders SET due_at = now() - interval '2 minutes' WHERE order_id = :due;
SELECT state, reason, pid, due, late, oldest_due_at < now() AS oldest_due_at, resting, since, last_pass_at, last_error FROM order_engine.keeper_status;
CALL order_engine.tend();
SELECT due, late, oldest_due_at, last_pass_at FROM order_engine.keeper_status;
SELECT event, to_state, CASE actor WHEN session_user THEN 'session user' ELSE actor END AS actor FROM order_engine.order_history(:due);
SELECT on_hand, reserved FROM order_engine.stock;

-- No relay: it says so and why, what waits can be seen, and a pause is kept for the day when there is one.
SELECT state, reason, publisher, pid, published, lag_events, lag_seconds FROM order_engine.relay_status;
SELECT lag_events, lag_seconds >= 0 AS lag_seconds FROM order_engine.relay_lag();
SELECT order_engine.pause_relay();
SELECT order_engine.pause_relay();
SELECT state FROM order_engine.relay_status;
SELECT order_engine.resume_relay();
-- What needs the preload cannot be set in a session; what does not, can.
SET order_engine.databases = 'shop';
SET order_engine.actor = 'Ada';
SELECT state FROM order_engine.create_order(5, '[{"sku": "A", "quantity": 1}]', pay_within => '1 hour');
SELECT DISTINCT actor FROM order_engine.order_event e JOIN order_engine.orders o USING (order_id) WHERE user_id = 5;
RESET order_engine.actor;

-- A new session goes on.
SELECT max(counter(order_id)) AS highest FROM order_engine.orders \gset
\c -
SELECT counter(order_id) > :highest AS above, state FROM order_engine.create_order(5, '[{"sku": "A", "quantity": 1}]');

-- In the transaction that sets a shop up, it can be used; if that rolls back, nothing is left.
SET client_min_messages = error;
DROP EXTENSION order_engine CASCADE;
DROP SCHEMA IF EXISTS order_engine CASCADE;
CREATE EXTENSION order_engine;
BEGIN;
SELECT order_engine.setup(2);
SELECT state FROM order_engine.create_order(5, '[{"sku": null, "quantity": 1}]');
ROLLBACK;
BEGIN;
SELECT order_engine.setup(2);
SELECT on_hand FROM order_engine.receive_stock('A', 1);
SELECT state FROM order_engine.create_order(5, '[{"sku": "A", "quantity": 1}]');
ROLLBACK;
SELECT order_engine.create_order(5, '[{"sku": "A", "quantity": 1}]');
SELECT order_engine.relay_state();
SELECT order_engine.relay_lag();
SELECT order_engine.keeper_state();
SELECT order_engine.keeper_due();
CALL order_engine.tend();
