-- Whatever psql's \d and \df show of the shop says what it is, by COMMENT ON; a comment of
-- the owner's own stays.
SET client_min_messages = warning;

CREATE TEMP VIEW relation AS
SELECT c.oid, c.oid::regclass AS relation, c.relkind FROM pg_class c
WHERE c.relnamespace = 'order_engine'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT c.relispartition;
CREATE TEMP VIEW comment AS
SELECT r.relation::text AS name, obj_description(r.oid, 'pg_class') AS comment FROM relation r
UNION ALL
SELECT r.relation || '.' || a.attname, col_description(r.oid, a.attnum)
FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid
WHERE r.relkind <> 'S' AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT p.oid::regprocedure::text, obj_description(p.oid, 'pg_proc') FROM pg_proc p WHERE p.pronamespace = 'order_engine'::regnamespace
UNION ALL
SELECT t.oid::regtype::text, obj_description(t.oid, 'pg_type') FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.typnamespace = 'order_engine'::regnamespace AND t.typcategory <> 'A' AND coalesce(c.relkind = 'c', true)
UNION ALL
SELECT o.oid::regoperator::text, obj_description(o.oid, 'pg_operator') FROM pg_operator o WHERE o.oprnamespace = 'order_engine'::regnamespace
UNION ALL
SELECT 'operator class ' || o.opcname, obj_description(o.oid, 'pg_opclass') FROM pg_opclass o WHERE o.opcnamespace = 'order_engine'::regnamespace
UNION ALL
SELECT 'operator family ' || f.opfname, obj_description(f.oid, 'pg_opfamily') FROM pg_opfamily f WHERE f.opfnamespace = 'order_engine'::regnamespace
UNION ALL
SELECT 'schema ' || nspname, obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'order_engine'
UNION ALL
SELECT 'extension ' || extname, obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = 'order_engine';

SELECT plan(9);
SELECT cmp_ok((SELECT count(*) FROM comment), '>', 200::bigint, 'there is something to comment');
SELECT is_empty('SELECT name FROM comment WHERE comment IS NULL', 'nothing is without a comment');
SELECT is_empty($$SELECT name, comment FROM comment WHERE length(comment) < 8$$, 'and each one says something');
SELECT is_empty($$SELECT t.relation, t.col FROM order_engine.table_comments() t
	WHERE NOT EXISTS (SELECT FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND a.attname = t.col
		WHERE c.relnamespace = 'order_engine'::regnamespace AND c.relname = t.relation AND (t.col IS NULL OR a.attname IS NOT NULL))$$,
	'no comment is for what is not there');
SELECT is_empty($$SELECT relation, col FROM order_engine.table_comments() GROUP BY relation, col HAVING count(*) > 1$$, 'none is there twice');
SELECT is_empty($$SELECT name FROM pg_settings WHERE name LIKE 'order\_engine.%' AND coalesce(short_desc, '') = ''$$, 'settings have descriptions');

COMMENT ON COLUMN order_engine.orders.state IS 'ours';
COMMENT ON TABLE order_engine.orders IS NULL;
COMMENT ON COLUMN order_engine.relay_status.pid IS NULL;
ALTER TABLE order_engine.orders ADD COLUMN channel text;
SELECT order_engine.setup(4) \gset
SELECT is(col_description('order_engine.orders'::regclass, 3), 'ours', 'setup() leaves a comment of the owner''s own');
SELECT is(ARRAY(SELECT name FROM comment WHERE comment IS NULL)::text, '{order_engine.orders.channel}', 'and brings back what is missing, but says nothing of his columns');
COMMENT ON COLUMN order_engine.orders.state IS NULL;
SELECT order_engine.setup(4) \gset
SELECT isnt(col_description('order_engine.orders'::regclass, 3), NULL, 'his comment taken away, its own is back');
SELECT * FROM finish();
