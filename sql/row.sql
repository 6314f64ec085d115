-- What users add to the tables holds for the engine's own writes, at once.
SET client_min_messages = error;
CREATE EXTENSION order_engine;
SELECT order_engine.setup(1);
RESET client_min_messages;
\set VERBOSITY terse
SELECT order_engine.receive_stock('a', 100, 'receipt') IS NOT NULL AS received;

-- warm: constraints and predicates are compiled now
SELECT state FROM order_engine.create_order(1, '[{"sku": "a", "quantity": 1, "unit_price": 5}]', 'k1');

-- a CHECK, added, dropped and added again
ALTER TABLE order_engine.orders ADD CONSTRAINT small CHECK (amount < 100);
SELECT state FROM order_engine.create_order(1, '[{"sku": "a", "quantity": 1, "unit_price": 100}]');
SELECT state FROM order_engine.create_order(1, '[{"sku": "a", "quantity": 1, "unit_price": 99}]');
ALTER TABLE order_engine.orders DROP CONSTRAINT small;
SELECT state FROM order_engine.create_order(1, '[{"sku": "a", "quantity": 1, "unit_price": 100}]');
-- the engine's own
ALTER TABLE order_engine.order_line ADD CONSTRAINT few CHECK (quantity < 10);
SELECT state FROM order_engine.create_order(1, '[{"sku": "a", "quantity": 10}]');

-- a CHECK whose function is replaced: what it says now counts
CREATE FUNCTION allowed(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 <> ''XXX''';
ALTER TABLE order_engine.orders ADD CONSTRAINT currency_allowed CHECK (allowed(currency));
SELECT state FROM order_engine.create_order(1, '[{"sku": "a", "quantity": 1}]', currency => 'EUR');
SELECT state FROM order_engine.create_order(1, '[{"sku": "a", "quantity": 1}]', currency => 'XXX');
CREATE OR REPLACE FUNCTION allowed(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 <> ''EUR''';
SELECT state FROM order_engine.create_order(1, '[{"sku": "a", "quantity": 1}]', currency => 'EUR');
SELECT state FROM order_engine.create_order(1, '[{"sku": "a", "quantity": 1}]', currency => 'XXX');
ALTER TABLE order_engine.orders DROP CONSTRAINT currency_allowed;

-- a column of a domain whose constraint is changed
CREATE DOMAIN colour AS text;
ALTER TABLE order_engine.orders ADD COLUMN colour colour DEFAULT 'red';
ALTER TABLE order_engine.orders ADD CONSTRAINT colour_known CHECK (colour::colour <> 'blue');
SELECT state FROM order_engine.create_order(1, '[{"sku": "a", "quantity": 1}]');
ALTER TABLE order_engine.orders ALTER COLUMN colour SET DEFAULT 'blue';
SELECT state FROM order_engine.create_order(1, '[{"sku": "a", "quantity": 1}]');
ALTER TABLE order_engine.orders ALTER COLUMN colour DROP DEFAULT, ALTER COLUMN colour SET NOT NULL;
SELECT state FROM order_engine.create_order(1, '[{"sku": "a", "quantity": 1}]');
ALTER TABLE order_engine.orders DROP COLUMN colour;
SELECT state FROM order_engine.create_order(1, '[{"sku": "a", "quantity": 1}]');

-- a partial unique index: one open order for each user 2 and above
CREATE UNIQUE INDEX one_open ON order_engine.orders_0 (user_id) WHERE state = 'pending' AND user_id > 1;
SELECT state FROM order_engine.create_order(2, '[{"sku": "a", "quantity": 1}]');
SELECT state FROM order_engine.create_order(2, '[{"sku": "a", "quantity": 1}]');
SELECT state FROM order_engine.create_order(3, '[{"sku": "a", "quantity": 1}]');
DROP INDEX order_engine.one_open;
SELECT state FROM order_engine.create_order(2, '[{"sku": "a", "quantity": 1}]');

-- changed by a trigger while the call is at work
CREATE FUNCTION tighten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'no_such_line') THEN
		ALTER TABLE order_engine.order_line ADD CONSTRAINT no_such_line CHECK (sku <> 'a') NOT VALID;
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER tighten BEFORE INSERT ON order_engine.orders FOR EACH ROW EXECUTE FUNCTION tighten();
SELECT state FROM order_engine.create_order(4, '[{"sku": "a", "quantity": 1}]');
DROP TRIGGER tighten ON order_engine.orders;
SELECT state FROM order_engine.create_order(4, '[{"sku": "a", "quantity": 1}]');

SELECT state, count(*) FROM order_engine.orders GROUP BY 1;
SELECT on_hand, reserved FROM order_engine.stock;


-- a trigger may fill a column of its own, but not what the engine acts on
ALTER TABLE order_engine.order_line ADD COLUMN weight int;
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.weight := 7;
	IF NEW.sku = 'a' THEN
		NEW.quantity := 50;
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER meddle BEFORE INSERT ON order_engine.order_line FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT state FROM order_engine.create_order(5, '[{"sku": "a", "quantity": 1}]');
SELECT state FROM order_engine.create_order(5, '[{"sku": "b", "stocked": false, "quantity": 1}]');
SELECT weight FROM order_engine.order_line WHERE sku = 'b';
SELECT on_hand, reserved FROM order_engine.stock;
DROP TRIGGER meddle ON order_engine.order_line;

-- the key of a row that a trigger has created meanwhile, in every isolation level
CREATE FUNCTION create_first() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		PERFORM order_engine.create_order(6, '[{"sku": "b", "stocked": false, "quantity": 1}]', 'twice');
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER create_first BEFORE INSERT ON order_engine.orders FOR EACH ROW WHEN (NEW.user_id = 6) EXECUTE FUNCTION create_first();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT state, replayed FROM order_engine.create_order(6, '[{"sku": "b", "stocked": false, "quantity": 1}]', 'twice');
COMMIT;
DROP TRIGGER create_first ON order_engine.orders;

-- a CHECK that goes with its type, in a trigger, while the call is at work: the others hold
CREATE TYPE mood AS ENUM ('good', 'bad');
ALTER TABLE order_engine.orders
	ADD CONSTRAINT a_mood CHECK (amount >= 0 AND 'good'::mood IS NOT NULL),
	ADD CONSTRAINT z_small CHECK (amount < 200);
SELECT state FROM order_engine.create_order(7, '[{"sku": "b", "stocked": false, "quantity": 1, "unit_price": 200}]');
CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	DROP TYPE public.mood CASCADE;
	RETURN NEW;
END
$$;
CREATE TRIGGER forget BEFORE INSERT ON order_engine.orders FOR EACH ROW EXECUTE FUNCTION forget();
SET client_min_messages = warning;
SELECT state FROM order_engine.create_order(7, '[{"sku": "b", "stocked": false, "quantity": 1, "unit_price": 200}]');
SELECT state FROM order_engine.create_order(7, '[{"sku": "b", "stocked": false, "quantity": 1, "unit_price": 199}]');
RESET client_min_messages;
DROP TRIGGER forget ON order_engine.orders;
SELECT state FROM order_engine.create_order(7, '[{"sku": "b", "stocked": false, "quantity": 1, "unit_price": 200}]');
