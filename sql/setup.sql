-- setup(): who may, what it makes, what it refuses; and that the tables are nobody's but the owner's.
-- needs a superuser called postgres
\set SHOW_CONTEXT never
-- All of it is in its own schema, wherever one says it should go.
CREATE SCHEMA elsewhere;
CREATE EXTENSION order_engine SCHEMA elsewhere;
SELECT to_regnamespace('order_engine') IS NULL AS nothing_is_left;
SET search_path = elsewhere;
CREATE EXTENSION order_engine;
RESET search_path;
DROP SCHEMA elsewhere CASCADE;
ALTER EXTENSION order_engine SET SCHEMA public;
SELECT extnamespace::regnamespace, (SELECT count(*) FROM pg_proc p WHERE p.pronamespace = e.extnamespace AND p.probin ~ 'order_engine') AS strays FROM pg_extension e WHERE extname = 'order_engine';
CREATE ROLE regress_setup_owner;
CREATE ROLE regress_setup_other;
SELECT order_engine.grant_access('regress_setup_owner', 'owner');

-- A number that is none.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/attempt.sql
CREATE FUNCTION answer(partitions int) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN code IS NULL THEN 'set up' ELSE concat_ws(' | ', code, message, detail, hint) END
	FROM refusal(format('SELECT order_engine.setup(%L)', partitions))
$$;
SELECT n, answer(n) FROM unnest(ARRAY[0, 3, -1, -2147483648, 2048, 1025, 2147483647, NULL]) AS n;
SELECT to_regclass('order_engine.orders') IS NULL AS nothing_is_left;

-- Before it, whatever needs the tables says what to do.
SELECT order_engine.create_order(1, '[{"sku": "A", "quantity": 1}]');
SELECT order_engine.next_order_id(1);
SELECT order_engine.get_order(1);
SELECT order_engine.emit('note', '1', 't', '1');
SELECT order_engine.receive_stock('A', 1);
SELECT order_engine.pause_relay();
CALL order_engine.tend();
SELECT state FROM order_engine.relay_state();

-- Each number of partitions: all order tables have it, each slot has its leaf.
CREATE FUNCTION remove_shop() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
BEGIN
	DROP SEQUENCE order_engine.order_id_lease;
	DROP TABLE order_engine.shop, order_engine.orders, order_engine.order_line, order_engine.order_event, order_engine.payment, order_engine.reservation, order_engine.machine,
		order_engine.stock, order_engine.stock_movement, order_engine.journal_position, order_engine.outbox,
		order_engine.stock_journal CASCADE;
	DROP VIEW order_engine.relay_status, order_engine.keeper_status, order_engine.stock_now, order_engine.stat_stock;
END $$;
CREATE FUNCTION answer_of(statement text) RETURNS text LANGUAGE sql AS $$ SELECT coalesce(code || ' ' || message, 'accepted') FROM refusal(statement) $$;
SET client_min_messages = error;
CREATE FUNCTION try_partitions(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	leaves bigint;
	right_leaf boolean;
	drawn text;
BEGIN
	PERFORM order_engine.setup(n);
	SELECT count(*) INTO leaves FROM pg_inherits WHERE inhparent IN
		('order_engine.orders'::regclass, 'order_engine.order_line'::regclass, 'order_engine.order_event'::regclass, 'order_engine.payment'::regclass, 'order_engine.reservation'::regclass);
	INSERT INTO order_engine.orders (order_id, user_id) SELECT order_engine.next_order_id(u), u FROM generate_series(1, 50) u;
	SELECT bool_and(tableoid = format('order_engine.orders_%s', order_engine.slot_of_user(user_id) % n)::regclass) INTO right_leaf FROM order_engine.orders;
	drawn := answer_of('INSERT INTO order_engine.orders (user_id) SELECT generate_series(1, 50)');
	PERFORM remove_shop();
	RETURN format('%s leaves, each order in its own: %s; orders without an id: %s', leaves, right_leaf, drawn);
END $$;
SELECT n, try_partitions(n) FROM unnest(ARRAY[1, 2, 64]) AS n;
RESET client_min_messages;

-- Whoever was not granted it may not; the owner may, and needs no superuser.
SET ROLE regress_setup_other;
SELECT order_engine.setup(2);
SET ROLE regress_setup_owner;
SET client_min_messages = warning;
SELECT order_engine.setup(2);
SELECT schema_version, partitions, relay_paused FROM order_engine.shop;
SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'order_engine';
-- Again is nothing new, another number an error.
SELECT shop_id AS shop, created_at AS made FROM order_engine.shop \gset
SELECT order_engine.setup(2);
SELECT shop_id = :'shop' AND created_at = :'made' AS as_it_was FROM order_engine.shop;
SELECT n, answer(n) FROM unnest(ARRAY[1, 4, 16, 0, 2]) AS n;
-- By somebody else it is no less an error, a superuser included: what it migrates is the owner's.
RESET ROLE;
SELECT order_engine.setup(2);
SET ROLE regress_setup_other;
SELECT order_engine.setup(2);
RESET ROLE;

-- The tables are the shop's: what the extension owns is code, and one schema.
SELECT DISTINCT d.classid::regclass FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'order_engine') AND d.deptype = 'e' ORDER BY 1;
SELECT c.oid::regclass AS member FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
	AND c.relnamespace = 'order_engine'::regnamespace AND c.relkind <> 'c';
SELECT t.tgname FROM pg_depend d JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid WHERE d.deptype = 'e' AND t.tgrelid::regclass::text LIKE 'order_engine.%';

-- So the extension cannot go while they exist: not by accident.
\set VERBOSITY sqlstate
DROP EXTENSION order_engine;
\set VERBOSITY default
SELECT count(*) FROM order_engine.orders;
-- The owner can use his tables as his own: columns, triggers, references.
SET ROLE regress_setup_owner;
ALTER TABLE order_engine.orders ADD COLUMN channel text DEFAULT 'web';
SELECT on_hand FROM order_engine.receive_stock('A', 5);
SELECT order_id FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 1}]') \gset
SELECT state, version, channel FROM order_engine.orders;
SELECT order_engine.setup(2);

-- Tables that are newer than the extension.
RESET ROLE;
SET session_replication_role = replica;
UPDATE order_engine.shop SET schema_version = 2;
RESET session_replication_role;
SET ROLE regress_setup_owner;
SELECT order_engine.setup(2);
SELECT state, version FROM order_engine.cancel_order(:order_id);
RESET ROLE;

-- A superuser may, and is warned.
SELECT remove_shop();
SELECT order_engine.setup(2);
CREATE FUNCTION pay() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	paid record;
	back record;
BEGIN
	SELECT p.* INTO paid FROM order_engine.create_order(1, '[{"sku": "A", "stocked": false, "quantity": 1, "unit_price": 5}]') o, order_engine.pay_order(o.order_id, 'p', 5) p;
	SELECT * INTO back FROM order_engine.refund_order(paid.order_id, 'r');
	RETURN concat_ws(' ', paid.outcome, paid.captured, back.state, back.refunded);
END $$;
SELECT pay();
SELECT remove_shop();
-- In a shop with one partition an order gets its id from the engine where it has none, as ORMs have it.
SET client_min_messages = error;
SELECT order_engine.setup(1);
RESET client_min_messages;
INSERT INTO order_engine.orders (order_id, user_id, state, version) VALUES (NULL, 1, NULL, 0), (0, 2, 'pending', 1), (DEFAULT, 3, NULL, NULL)
	RETURNING user_id, order_engine.slot_of_order(order_id) = order_engine.slot_of_user(user_id) AS own_slot, state, version, created_at <= clock_timestamp() AS now;
INSERT INTO order_engine.orders_0 (user_id) VALUES (4) RETURNING order_id > 0 AS drawn;
INSERT INTO order_engine.orders (order_id, user_id) VALUES (0, 5) ON CONFLICT (order_id) DO UPDATE SET attributes = '{"seen": true}' RETURNING order_id > 0 AS drawn, attributes;
SELECT order_id AS known FROM order_engine.orders WHERE user_id = 5 \gset
INSERT INTO order_engine.orders (order_id, user_id, version) VALUES (:known, 5, 0) ON CONFLICT (order_id) DO UPDATE SET attributes = '{"seen": true}' RETURNING version, attributes;
SELECT s, answer_of(s) FROM unnest(ARRAY['INSERT INTO order_engine.orders (user_id) VALUES (NULL)', 'INSERT INTO order_engine.orders (order_id, user_id) VALUES (-1, 1)',
	'INSERT INTO order_engine.orders (order_id, user_id) VALUES (9223372036854775807, 1)']) AS s;
SELECT count(*) AS orders, count(DISTINCT aggregateid) AS published FROM order_engine.orders o JOIN order_engine.outbox x ON x.aggregateid = o.order_id::text;
SELECT remove_shop();
-- Once the tables are gone, so can be the extension; to a session that goes on, a new one is as good.
DROP EXTENSION order_engine;
CREATE EXTENSION order_engine;
SET client_min_messages = error;
SELECT order_engine.setup(4);
RESET client_min_messages;
SELECT pay();
SELECT remove_shop();
DROP EXTENSION order_engine;
SELECT count(*) FROM pg_namespace WHERE nspname = 'order_engine';
DROP OWNED BY regress_setup_owner, regress_setup_other;
DROP ROLE regress_setup_owner, regress_setup_other;
