-- Calls are part of the caller's transaction, whatever he makes of it: savepoints, exception
-- blocks, triggers, procedures that commit, two-phase commit.  What is undone leaves no trace.
\set SHOW_CONTEXT never
CREATE EXTENSION order_engine;
SET client_min_messages = error;
SELECT order_engine.setup(2);
RESET client_min_messages;
SELECT on_hand FROM order_engine.receive_stock('A', 100);
SELECT on_hand FROM order_engine.receive_stock('B', 100);

-- All that there is of orders, in a line.
CREATE FUNCTION traces() RETURNS TABLE (orders text, lines bigint, history bigint, payments bigint, events bigint, reserved text, on_hand text) LANGUAGE sql AS $$
	SELECT (SELECT string_agg(o.user_id || ' ' || o.state || ' ' || o.version, ', ' ORDER BY o.order_id) FROM order_engine.orders o),
		(SELECT count(*) FROM order_engine.order_line), (SELECT count(*) FROM order_engine.order_event), (SELECT count(*) FROM order_engine.payment),
		(SELECT count(*) FROM order_engine.outbox), (SELECT string_agg(sku || ' ' || reserved, ', ' ORDER BY sku) FROM order_engine.stock),
		(SELECT string_agg(sku || ' ' || on_hand, ', ' ORDER BY sku) FROM order_engine.stock)
$$;
CREATE FUNCTION buy(buyer bigint, sku text DEFAULT 'A', key text DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
	SELECT order_id FROM order_engine.create_order(buyer, jsonb_build_array(jsonb_build_object('sku', sku, 'quantity', 1, 'unit_price', 5)), key)
$$;

-- ---- savepoints ----

BEGIN;
SELECT buy(1, key => 'once') AS kept \gset
SAVEPOINT a;
SELECT buy(2, 'B', 'once') AS undone \gset
SELECT outcome FROM order_engine.pay_order(:undone, 'p', 5);
SELECT outcome FROM order_engine.pay_order(:kept, 'p', 5);
SAVEPOINT b;
SELECT state FROM order_engine.fire(:kept, 'ship', idempotency_key => 'ship');
ROLLBACK TO b;
SELECT state, version FROM order_engine.fire(:kept, 'ship', idempotency_key => 'ship');
RELEASE b;
ROLLBACK TO a;
-- What was undone can be done again: keys and references are free, versions are those of before.
SELECT replayed FROM order_engine.create_order(2, '[{"sku": "B", "quantity": 1, "unit_price": 5}]', 'once');
SELECT outcome, replayed, version FROM order_engine.pay_order(:kept, 'p', 5);
SELECT replayed, version FROM order_engine.fire(:kept, 'ship', idempotency_key => 'ship');
COMMIT;
SELECT * FROM traces();
SELECT version, event FROM order_engine.order_history(:kept);

-- An error is the savepoint's, nothing of the engine is in the way of what follows.
BEGIN;
SAVEPOINT a;
\set VERBOSITY sqlstate
SELECT order_engine.create_order(3, '[{"sku": "A", "quantity": 1}, {"sku": "B", "quantity": 1000}]');
ROLLBACK TO a;
SELECT order_engine.fire(:kept, 'pay');
ROLLBACK TO a;
UPDATE order_engine.orders SET state = 'pending';
ROLLBACK TO a;
\set VERBOSITY default
SELECT state FROM order_engine.complete_order(:kept);
COMMIT;
SELECT * FROM traces();

-- ---- exception blocks ----

CREATE FUNCTION try_all(VARIADIC statements text[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	statement text;
	results text[];
	result text;
BEGIN
	FOREACH statement IN ARRAY statements LOOP
		BEGIN
			EXECUTE statement INTO result;
			results := results || coalesce(result, '');
		EXCEPTION WHEN OTHERS THEN
			results := results || SQLSTATE::text;
		END;
	END LOOP;
	RETURN results;
END $$;
SELECT try_all('SELECT state FROM order_engine.create_order(4, ''[{"sku": "A", "quantity": 1, "unit_price": 5}]'', ''k'')',
	'SELECT replayed FROM order_engine.create_order(4, ''[{"sku": "A", "quantity": 1, "unit_price": 5}]'', ''k'')',
	'SELECT replayed FROM order_engine.create_order(4, ''[{"sku": "A", "quantity": 2, "unit_price": 5}]'', ''k'')',
	'SELECT state FROM order_engine.create_order(4, ''[{"sku": "A", "quantity": 200}]'', ''l'')',
	'SELECT state FROM order_engine.create_order(4, ''[{"sku": "A", "quantity": 1}]'', ''l'')',
	'SELECT order_engine.ship_order(order_id) FROM order_engine.orders WHERE user_id = 4',
	'SELECT count(order_engine.cancel_order(order_id)) FROM order_engine.orders WHERE user_id = 4',
	'SELECT 1 / 0 FROM order_engine.create_order(5, ''[{"sku": "A", "quantity": 1}]'')');
SELECT * FROM traces();

-- ---- triggers of the shop's own ----

CREATE TABLE cart (user_id bigint, order_id bigint);
CREATE FUNCTION check_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.order_id := buy(NEW.user_id); RETURN NEW; END $$;
CREATE TRIGGER check_out BEFORE INSERT ON cart FOR EACH ROW EXECUTE FUNCTION check_out();
INSERT INTO cart SELECT 10 + n FROM generate_series(1, 3) n;
SELECT count(*) FROM cart JOIN order_engine.orders USING (order_id, user_id) WHERE state = 'pending';

-- One of orders: what is paid is shipped at once, a gift order is made beside it; the engine's calls within the engine's.
CREATE FUNCTION follow_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM order_engine.ship_order(NEW.order_id);
	PERFORM public.buy(NEW.user_id + 10, 'B', 'gift' || NEW.order_id);
	PERFORM order_engine.emit('note', NEW.order_id::text, 'note.gift', '{}');
	RETURN NULL;
END $$;
CREATE TRIGGER follow_up AFTER UPDATE ON order_engine.orders FOR EACH ROW WHEN (NEW.state = 'paid' AND OLD.state = 'pending') EXECUTE FUNCTION follow_up();
SELECT outcome, state FROM order_engine.pay_order((SELECT order_id FROM cart WHERE user_id = 11), 'p', 5);
SELECT user_id, state, version FROM order_engine.orders WHERE user_id IN (11, 21) ORDER BY 1;
SELECT version, event, to_state FROM order_engine.order_history((SELECT order_id FROM cart WHERE user_id = 11));
SELECT type FROM order_engine.outbox WHERE aggregateid = (SELECT order_id::text FROM cart WHERE user_id = 11) ORDER BY id;
-- Events of one key come in the order in which they were made, whoever makes them: their ids have the slot of the order.
DO $$
DECLARE
	id text := (SELECT order_id FROM cart WHERE user_id = 13);
BEGIN
	FOR n IN 1 .. 100 LOOP
		PERFORM order_engine.emit('note', id, 'a' || n, '{}');
		UPDATE order_engine.orders SET attributes = jsonb_build_object('n', n) WHERE order_id = id::bigint;
		INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type) VALUES ('note', id, 'b' || n);
	END LOOP;
END $$;
SELECT count(*), count(*) FILTER (WHERE (type, prior) NOT IN (('a' || n, 'b' || n - 1), ('order.updated', 'a' || n), ('b' || n, 'order.updated'))) AS misplaced,
	bool_and(order_engine.slot_of_order(id) = order_engine.slot_of_user(13)) AS slot
FROM (SELECT id, type, lag(type, 1, 'b0') OVER (ORDER BY id) AS prior, (row_number() OVER (ORDER BY id) + 2) / 3 AS n
	FROM order_engine.outbox WHERE aggregateid = (SELECT order_id::text FROM cart WHERE user_id = 13) AND type <> 'order.created') t;
SELECT key, order_engine.slot_of_order(order_engine.emit('note', key, 't', '1')) AS slot FROM unnest(ARRAY['17', '28672', '28672 ', 'x28672', '-28672', '99999999999999999999']) AS key;
-- If it raises, the payment is undone with all that it did, and can be made again.
CREATE OR REPLACE FUNCTION follow_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.buy(NEW.user_id + 10); RAISE EXCEPTION 'no gifts'; END $$;
SELECT order_engine.pay_order((SELECT order_id FROM cart WHERE user_id = 12), 'p', 5);
DROP TRIGGER follow_up ON order_engine.orders;
SELECT outcome, replayed FROM order_engine.pay_order((SELECT order_id FROM cart WHERE user_id = 12), 'p', 5);
SELECT * FROM traces();

-- ---- procedures that commit between the calls ----

CREATE PROCEDURE trade(n int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		PERFORM buy(30 + i);
		IF i % 2 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
	END LOOP;
END $$;
CALL trade(4);
SELECT array_agg(user_id ORDER BY user_id) FROM order_engine.orders WHERE user_id > 30;

-- ---- two phases ----

BEGIN;
SELECT buy(40, key => 'prepared') AS prepared \gset
SELECT outcome FROM order_engine.pay_order((SELECT order_id FROM cart WHERE user_id = 13), 'p', 5);
PREPARE TRANSACTION 'regress_transaction_1';
BEGIN;
SELECT buy(41, 'B') AS forgotten \gset
PREPARE TRANSACTION 'regress_transaction_2';
SELECT count(*) FROM order_engine.orders WHERE user_id IN (40, 41);
SELECT sku, reserved FROM order_engine.stock ORDER BY sku;
-- Who asks for the same key, or for a row of the stock that is held, waits for the end of it.
SET lock_timeout = 1;
\set VERBOSITY sqlstate
SELECT buy(40, key => 'prepared');
SELECT buy(42);
\set VERBOSITY default
RESET lock_timeout;
\c -
COMMIT PREPARED 'regress_transaction_1';
ROLLBACK PREPARED 'regress_transaction_2';
\set SHOW_CONTEXT never
SELECT buy(40, key => 'prepared') = :prepared AS same;
SELECT user_id, state FROM order_engine.orders WHERE user_id IN (13, 40, 41) ORDER BY 1;
SELECT aggregateid = :'prepared' AS its_event, type FROM order_engine.outbox WHERE aggregateid IN (:'prepared', :'forgotten');
SELECT * FROM traces();

-- In the end every order has as many rows of history as versions, and one event for each.
SELECT count(*) FROM order_engine.orders o WHERE version <> (SELECT count(*) FROM order_engine.order_event e WHERE e.order_id = o.order_id)
	OR version <> (SELECT count(*) FROM order_engine.outbox b WHERE b.type LIKE 'order.%' AND b.aggregateid = o.order_id::text);
