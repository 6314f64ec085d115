-- The tables: made once, owned by who makes them, no members of the extension.
\set SHOW_CONTEXT never
CREATE EXTENSION order_engine;

-- Until they exist, calls say what is missing.
SELECT order_engine.create_order(1, '[{"sku": "A", "quantity": 1}]');
SELECT order_engine.get_order(1);

-- The number of leaves is a power of two, 1 to 1024, and stays what it is.
SELECT order_engine.setup(0);
SELECT order_engine.setup(3);
SELECT order_engine.setup(2048);
SELECT order_engine.setup(-2);
SELECT order_engine.setup(NULL);
SELECT to_regclass('order_engine.orders') IS NULL AS nothing_was_made;
SELECT order_engine.setup(8);
SELECT order_engine.setup(8);
SELECT order_engine.setup(4);
SELECT order_engine.setup();
CREATE ROLE "regress_setup another" SUPERUSER;
SET ROLE "regress_setup another";
SELECT order_engine.setup(8);
RESET ROLE;
DROP ROLE "regress_setup another";
SELECT schema_version, partitions, shop_id IS NOT NULL AS has_an_id FROM order_engine.shop;

-- All order tables have the same leaves; nothing but code belongs to the extension.
SELECT p.relname, count(*) AS leaves, bool_and(pg_get_expr(c.relpartbound, c.oid) LIKE 'FOR VALUES WITH (modulus 8, remainder %') AS by_slot
FROM pg_class p JOIN pg_inherits i ON i.inhparent = p.oid JOIN pg_class c ON c.oid = i.inhrelid
WHERE p.relname IN ('orders', 'order_line', 'order_event', 'payment') GROUP BY 1 ORDER BY 1;
SELECT DISTINCT classid::regclass::text COLLATE "C" AS members FROM pg_depend
WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'order_engine') ORDER BY 1;

-- While the tables exist, the extension stays.
\set VERBOSITY terse
DROP EXTENSION order_engine;
\set VERBOSITY default
SELECT order_id IS NOT NULL AS works FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 1, "stock_key": null}]');

-- Tables of a newer version than this extension knows are left alone.
SET session_replication_role = replica;
UPDATE order_engine.shop SET schema_version = 99;
RESET session_replication_role;
SELECT order_engine.setup(8);
