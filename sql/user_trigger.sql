-- What users hang on the engine's tables, and calls in the midst of their statements:
-- an order's events come in the order of its versions, or the call is refused.
\set VERBOSITY terse
CREATE EXTENSION order_engine;
SET client_min_messages = error;
SELECT order_engine.setup(4);
RESET client_min_messages;
SELECT on_hand FROM order_engine.receive_stock('tea', 100);
CREATE TABLE o (name text PRIMARY KEY, order_id bigint);
CREATE FUNCTION new_order(name text, machine text DEFAULT 'order') RETURNS bigint LANGUAGE sql AS $$
	INSERT INTO o SELECT name, order_id FROM order_engine.create_order(42, '[{"sku": "tea", "quantity": 1, "unit_price": 5}]', machine => machine)
	RETURNING order_id
$$;
CREATE FUNCTION id(name text) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT o.order_id FROM o WHERE o.name = id.name';
-- what an order's consumers see, in the order in which they see it
CREATE FUNCTION published(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg((headers ->> 'seq') || ' ' || type, ', ' ORDER BY b.id)
	FROM order_engine.outbox b JOIN o ON b.aggregateid = o.order_id::text WHERE o.name = published.name
$$;
\i `echo "$PG_ABS_SRCDIR"`/test/lib/attempt.sql
CREATE FUNCTION answer(statement text) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN code IS NULL THEN 'ok' ELSE format('%s %s | %s | %s', code, message, detail, hint) END FROM refusal(statement)
$$;

---- a call within the statement that changes the same order
SELECT new_order('a') > 0;
SELECT answer($$UPDATE order_engine.orders SET attributes = '{"a": 1}' WHERE order_id = id('a') RETURNING order_engine.fire(order_id, 'cancel')$$);
SELECT left(answer($$WITH u AS (UPDATE order_engine.orders SET attributes = '{"a": 1}' WHERE order_id = id('a') RETURNING order_id)
	SELECT p.outcome FROM u, order_engine.pay_order(u.order_id, 'p', 5) p$$), 5);
SELECT left(answer($$INSERT INTO order_engine.orders (order_id, user_id) VALUES (order_engine.next_order_id(42), 42) RETURNING order_engine.fire(order_id, 'cancel')$$), 5);
-- nothing of it is left; each by itself works, in one transaction too
SELECT state, version, published('a') FROM order_engine.orders WHERE order_id = id('a');
BEGIN;
UPDATE order_engine.orders SET attributes = '{"a": 1}' WHERE order_id = id('a');
SELECT state, version FROM order_engine.fire(id('a'), 'cancel');
COMMIT;
SELECT published('a');
-- another order than the statement's own may be changed within it
SELECT new_order('b') > 0, new_order('c') > 0;
UPDATE order_engine.orders SET attributes = '{"a": 1}' WHERE order_id = id('b') RETURNING (order_engine.fire(id('c'), 'cancel')).version;
SELECT published('b'), published('c');

---- users' triggers that write orders again
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE order_engine.orders SET attributes = attributes || '{"touched": true}' WHERE order_id = NEW.order_id;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER touch AFTER UPDATE ON order_engine.orders FOR EACH ROW EXECUTE FUNCTION touch();
SELECT new_order('d') > 0;
UPDATE order_engine.orders SET state = 'cancelled' WHERE order_id = id('d');
SELECT published('d');
SELECT new_order('e') > 0;
SELECT state, version FROM order_engine.cancel_order(id('e'));
SELECT published('e');
-- not one that comes before the engine's own
ALTER TRIGGER touch ON order_engine.orders RENAME TO "!touch";
SELECT new_order('f') > 0;
SELECT left(answer($$UPDATE order_engine.orders SET state = 'cancelled' WHERE order_id = id('f')$$), 5);
DROP TRIGGER "!touch" ON order_engine.orders;
-- not one that writes the other rows of its statement
CREATE FUNCTION touch_siblings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE order_engine.orders o SET attributes = '{"t": 1}' WHERE o.order_id IN (id('f'), id('g')) AND o.order_id <> NEW.order_id;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER zz AFTER UPDATE ON order_engine.orders FOR EACH ROW EXECUTE FUNCTION touch_siblings();
SELECT new_order('g') > 0;
SELECT left(answer($$UPDATE order_engine.orders SET state = 'cancelled' WHERE order_id IN (id('f'), id('g'))$$), 5);
SELECT state, published('f') FROM order_engine.orders WHERE order_id = id('f');
UPDATE order_engine.orders SET state = 'cancelled' WHERE order_id = id('f');
SELECT published('f'), published('g');
DROP TRIGGER zz ON order_engine.orders;

---- a guard that writes its own order
CREATE FUNCTION writes_itself(o order_engine.orders, event text, attributes jsonb) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	UPDATE order_engine.orders SET attributes = '{"guard": 1}' WHERE order_id = o.order_id;
	RETURN true;
END $$;
SELECT order_engine.define_machine('writes_itself', '{"final": ["done"], "transitions": [{"from": null, "event": "create", "to": "open"},
	{"from": "open", "event": "finish", "to": "done", "guard": "public.writes_itself"}]}');
SELECT new_order('h', 'writes_itself') > 0;
SELECT left(answer($$SELECT order_engine.fire(id('h'), 'finish')$$), 5);
SELECT left(answer($$UPDATE order_engine.orders SET state = 'done' WHERE order_id = id('h')$$), 5);
SELECT state, version, published('h') FROM order_engine.orders WHERE order_id = id('h');
-- nor may it leave something for the commit, which is somebody else's
CREATE TABLE later (n int CONSTRAINT later_unique UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO later VALUES (1);
CREATE OR REPLACE FUNCTION writes_itself(o order_engine.orders, event text, attributes jsonb) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	INSERT INTO public.later VALUES (1);
	RETURN true;
END $$;
SELECT left(answer($$SELECT order_engine.fire(id('h'), 'finish')$$), 5);
CREATE OR REPLACE FUNCTION writes_itself(o order_engine.orders, event text, attributes jsonb) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	EXECUTE 'DECLARE later CURSOR WITH HOLD FOR SELECT current_user';
	RETURN true;
END $$;
SELECT left(answer($$SELECT order_engine.fire(id('h'), 'finish')$$), 5);

-- nor a setting, which would be that of the owner's triggers and of the session
CREATE OR REPLACE FUNCTION writes_itself(o order_engine.orders, event text, attributes jsonb) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	PERFORM set_config('search_path', 'pg_temp', false), set_config('order_engine.actor', 'somebody else', false);
	RETURN true;
END $$;
SELECT state FROM order_engine.fire(id('h'), 'finish');
SHOW search_path;
SELECT actor <> 'somebody else' AS own FROM order_engine.order_history(id('h')) WHERE event = 'finish';

---- triggers of the tables that record a change, which change the order once more
CREATE FUNCTION fires_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		PERFORM order_engine.fire(o.order_id, 'cancel') FROM public.o WHERE o.name = 'j';
	END IF;
	RETURN NEW;
END $$;
SELECT new_order('j') > 0;
CREATE TRIGGER fires_on BEFORE INSERT ON order_engine.order_event FOR EACH ROW EXECUTE FUNCTION fires_on();
SELECT left(answer($$SELECT order_engine.pay_order(id('j'), 'p', 1)$$), 5);
DROP TRIGGER fires_on ON order_engine.order_event;
CREATE TRIGGER fires_on BEFORE UPDATE ON order_engine.stock FOR EACH ROW EXECUTE FUNCTION fires_on();
SELECT left(answer($$SELECT order_engine.pay_order(id('j'), 'p', 5)$$), 5);
DROP TRIGGER fires_on ON order_engine.stock;
CREATE TRIGGER fires_on BEFORE INSERT ON order_engine.payment FOR EACH ROW EXECUTE FUNCTION fires_on();
SELECT left(answer($$SELECT order_engine.pay_order(id('j'), 'p', 5)$$), 5);
DROP TRIGGER fires_on ON order_engine.payment;
SELECT state, version, published('j') FROM order_engine.orders WHERE order_id = id('j');
-- when all of it is recorded, it may
CREATE TRIGGER fires_on AFTER INSERT ON order_engine.order_event FOR EACH ROW EXECUTE FUNCTION fires_on();
SELECT outcome FROM order_engine.pay_order(id('j'), 'p', 1);
DROP TRIGGER fires_on ON order_engine.order_event;
SELECT state, version, published('j') FROM order_engine.orders WHERE order_id = id('j');

---- the due time is that of the state which a trigger chooses
SELECT order_engine.define_machine('due', '{"final": ["done"], "transitions": [
	{"from": null, "event": "create", "to": "open", "due": "1 hour", "due_event": "finish"},
	{"from": "open", "event": "wait", "to": "waiting", "due": "1 day", "due_event": "finish"},
	{"from": "open", "event": "finish", "to": "done"},
	{"from": "waiting", "event": "finish", "to": "done"}]}');
CREATE FUNCTION chooses() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.attributes ? 'choose' THEN
		NEW.state := NEW.attributes ->> 'choose';
	END IF;
	IF NEW.attributes ? 'due' THEN
		NEW.due_at := NEW.attributes ->> 'due';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER chooses BEFORE UPDATE ON order_engine.orders FOR EACH ROW EXECUTE FUNCTION chooses();
CREATE FUNCTION due(name text) RETURNS text LANGUAGE sql AS $$
	SELECT state || coalesce(' in ' || round(extract(epoch FROM due_at - updated_at) / 3600) || ' hours', '') FROM order_engine.orders WHERE order_id = id(name)
$$;
SELECT new_order('k', 'due') > 0, new_order('l', 'due') > 0, new_order('m', 'due') > 0, new_order('n', 'due') > 0;
UPDATE order_engine.orders SET attributes = '{"choose": "done"}' WHERE order_id = id('k');
UPDATE order_engine.orders SET attributes = '{"choose": "waiting"}' WHERE order_id = id('l');
UPDATE order_engine.orders SET state = 'done', attributes = '{"choose": "waiting"}' WHERE order_id = id('m');
UPDATE order_engine.orders SET state = 'waiting', attributes = '{"due": "2001-01-01 00:00:00+00"}' WHERE order_id = id('n');
SELECT due('k'), due('l'), due('m'), (SELECT due_at AT TIME ZONE 'UTC' FROM order_engine.orders WHERE order_id = id('n')) AS chosen;
-- the same by calls
ALTER TABLE order_engine.orders ADD COLUMN choose text;
CREATE OR REPLACE FUNCTION chooses() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.state := coalesce(NEW.choose, NEW.state);
	RETURN NEW;
END $$;
SELECT new_order('p', 'due') > 0, new_order('q', 'due') > 0;
ALTER TABLE order_engine.orders DISABLE TRIGGER chooses;
UPDATE order_engine.orders SET choose = CASE order_id WHEN id('p') THEN 'done' ELSE 'waiting' END WHERE order_id IN (id('p'), id('q'));
ALTER TABLE order_engine.orders ENABLE TRIGGER chooses;
SELECT state FROM order_engine.fire(id('p'), 'wait');
SELECT state FROM order_engine.fire(id('q'), 'finish');
SELECT due('p'), due('q');
DROP TRIGGER chooses ON order_engine.orders;

---- row triggers with transition tables see the rows of the call
CREATE TABLE seen (what text, rows bigint, quantity numeric);
CREATE FUNCTION count_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_TABLE_NAME = 'stock' THEN
		INSERT INTO public.seen SELECT 'stock', count(*), sum(n.reserved - o.reserved) FROM new_rows n JOIN old_rows o USING (sku);
	ELSE
		INSERT INTO public.seen SELECT TG_TABLE_NAME, count(*), sum(quantity) FROM new_rows;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER count_rows AFTER UPDATE ON order_engine.stock REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH ROW EXECUTE FUNCTION count_rows();
CREATE TRIGGER count_rows AFTER INSERT ON order_engine.stock_movement REFERENCING NEW TABLE AS new_rows FOR EACH ROW EXECUTE FUNCTION count_rows();
SELECT new_order('r') > 0;
SELECT outcome FROM order_engine.pay_order(id('r'), 'p', 5);
SELECT on_hand > 0 FROM order_engine.receive_stock('tea', 3);
UPDATE order_engine.stock SET on_hand = on_hand + 1;
SELECT * FROM seen;
DROP TRIGGER count_rows ON order_engine.stock;
DROP TRIGGER count_rows ON order_engine.stock_movement;

---- an order whose lines somebody took away is not moved as if it held nothing
SELECT new_order('s') > 0;
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM order_engine.order_line WHERE order_id = id('s');
COMMIT;
SELECT answer($$SELECT order_engine.cancel_order(id('s'))$$);
SELECT left(answer($$UPDATE order_engine.orders SET state = 'cancelled' WHERE order_id = id('s')$$), 5);
-- but money is recorded
SELECT outcome, version FROM order_engine.pay_order(id('s'), 'p', 5);
SELECT state, version, captured FROM order_engine.orders WHERE order_id = id('s');
SELECT refunded, state FROM order_engine.refund_order(id('s'), 'r');
-- one of raw SQL never had any
INSERT INTO order_engine.orders (order_id, user_id) VALUES (order_engine.next_order_id(43), 43) RETURNING order_id \gset
SELECT state FROM order_engine.cancel_order(:order_id);

---- what the owner has evaluated may make calls itself, for the very table
SET client_min_messages = warning;
CREATE FUNCTION calls() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('user_trigger.calls', true) = 'yes' THEN
		PERFORM set_config('user_trigger.calls', 'no', false);
		PERFORM order_engine.create_order(42, '[{"sku": "x", "quantity": 1, "stocked": false}]', 'nested');
	END IF;
END $$;
CREATE FUNCTION folded(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM public.calls(); RETURN i; END $$;
SET user_trigger.calls = 'no';
DO $$
BEGIN
	FOR leaf IN 0 .. 3 LOOP
		EXECUTE format('CREATE INDEX ON order_engine.orders_%s (user_id) WHERE version > folded(1)', leaf);
	END LOOP;
END $$;
RESET client_min_messages;
SET user_trigger.calls = 'yes';
SELECT new_order('outer') > 0;
SELECT replayed FROM order_engine.create_order(42, '[{"sku": "x", "quantity": 1, "stocked": false}]', 'nested');
SELECT outcome FROM order_engine.pay_order(id('outer'), 'p', 5);
SELECT new_order('once more') > 0;
SELECT outcome FROM order_engine.pay_order(id('once more'), 'p', 5);
