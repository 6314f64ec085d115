-- The tables belong to a role that is no superuser, and whatever it does to a column
-- that C code reads ends in an error that says so, not in a server that is down.
\set QUIET on
\pset format unaligned
\pset tuples_only true
\pset pager off
SET client_min_messages = error;
SELECT order_engine.receive_stock('A', 10) \gset
SELECT order_id FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 1, "unit_price": 5}]') \gset

-- What can be done to each column; what PostgreSQL itself does not allow (keys of
-- partitions, columns of the view) is no danger.
CREATE TEMP TABLE alteration AS
SELECT c.relname::text AS relation, a.attname::text AS col, what, format(statement, c.oid::regclass, a.attname) AS statement
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
	LATERAL (VALUES ('type', CASE a.atttypid WHEN 'text'::regtype THEN 'ALTER TABLE %1$s ALTER %2$I DROP DEFAULT, ALTER %2$I TYPE bytea USING ''''::bytea'
			WHEN 'bigint'::regtype THEN 'ALTER TABLE %1$s ALTER %2$I DROP DEFAULT, ALTER %2$I TYPE text USING ''''::text'
			ELSE 'ALTER TABLE %1$s ALTER %2$I DROP DEFAULT, ALTER %2$I TYPE bigint USING 8::bigint' END),
		('nullable', CASE WHEN a.attnotnull THEN 'ALTER TABLE %1$s ALTER %2$I DROP NOT NULL' END),
		('name', 'ALTER TABLE %1$s RENAME %2$I TO %2$s_2'),
		('gone', 'ALTER TABLE %1$s DROP %2$I CASCADE')) AS v (what, statement)
WHERE c.relnamespace = 'order_engine'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND statement IS NOT NULL
	-- nobody but setup(), which is SQL, reads these
	AND NOT (c.relname = 'shop' AND a.attname <> 'relay_paused');

CREATE FUNCTION pg_temp.attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;

-- Alters, calls, and takes it back.
CREATE FUNCTION pg_temp.consequence(statement text, call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	BEGIN
		EXECUTE statement;
	EXCEPTION WHEN OTHERS THEN
		RETURN 'not allowed';
	END;
	result := pg_temp.attempt(call);
	RAISE EXCEPTION USING ERRCODE = 'ZZ999', MESSAGE = result;
EXCEPTION WHEN SQLSTATE 'ZZ999' THEN
	RETURN SQLERRM;
END $$;

CREATE TEMP TABLE result AS
SELECT a.*, pg_temp.consequence(a.statement, format('SELECT order_engine.pay_order(%s, ''p'', 5)', :order_id)) AS outcome FROM alteration a;

SELECT plan(5);
SELECT is_empty($$SELECT relation, col, what, outcome FROM result WHERE outcome NOT IN ('55000', 'not allowed')$$, 'every alteration is refused at the next call');
SELECT cmp_ok((SELECT count(*) FROM result WHERE outcome = '55000' AND what = 'type'), '>', 70::bigint, 'most types can be altered');
SELECT cmp_ok((SELECT count(*) FROM result WHERE outcome = '55000' AND what = 'nullable'), '>', 40::bigint, 'and NOT NULL dropped');
SELECT is((SELECT outcome FROM order_engine.pay_order(:order_id, 'p', 5)), 'paid', 'with the tables as they were, all goes well');
ALTER TABLE order_engine.orders ADD COLUMN a_note text, ADD COLUMN number bigint DEFAULT 7;
SELECT is((SELECT state FROM order_engine.ship_order(:order_id)), 'shipped', 'and with columns more');
SELECT * FROM finish();
