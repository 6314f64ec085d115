-- Every function of the extension, found in pg_proc, called with input that makes no
-- sense: it answers or refuses with an SQLSTATE that means something.
SET client_min_messages = error;
SET statement_timeout = '300s';

-- ---- something to be spoilt ----
SELECT order_engine.receive_stock('A', 1000) \gset
SELECT order_id AS paid FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 1, "unit_price": 5}]') \gset
SELECT outcome FROM order_engine.pay_order(:paid, 'p1', 5) \gset
SELECT order_id AS pending FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 1, "unit_price": 5}]') \gset
SELECT status FROM order_engine.try_reserve('r', '[{"sku": "A", "quantity": 1}]', '1 h', 1) \gset

-- What could have a meaning for an argument of this name; the others of a call when one is bad.
CREATE TEMP TABLE plausible (name text PRIMARY KEY, value text NOT NULL);
INSERT INTO plausible VALUES
	('user_id', '1'), ('order_id', :'pending'), ('order_ids', '''{1}'''),
	('lines', $$'[{"sku": "A", "quantity": 1, "unit_price": 5}]'$$), ('adjustments', $$'[]'$$),
	('idempotency_key', $$'k'$$), ('currency', $$'EUR'$$), ('attributes', $$'{}'$$), ('private', $$'{}'$$),
	('machine', $$'order'$$), ('context', $$'{}'$$), ('event', $$'cancel'$$), ('expected_version', 'NULL'),
	('payment_ref', $$'p2'$$), ('refund_ref', $$'r1'$$), ('amount', '1'),
	('sku', $$'A'$$), ('skus', $$'{A}'$$), ('quantity', '1'), ('delta', '1'), ('reason', $$'count'$$), ('ref', $$'x'$$),
	('name', $$'order'$$), ('format', $$'mermaid'$$), ('state', $$'pending'$$), ('max_rows', '10'),
	('aggregatetype', $$'cart'$$), ('aggregateid', $$'1'$$), ('type', $$'cart.filled'$$), ('payload', $$'{}'$$),
	('headers', $$'{}'$$), ('topic', $$'carts'$$), ('partition', '0'), ('level', $$'app'$$),
	('role', $$'pg_monitor'$$), ('partitions', '4'), ('max_ms', '1'), ('timeout', $$'1 ms'$$),
	('reservation_id', $$'r'$$), ('ttl', $$'1 h'$$), ('value', $$'r'$$);

-- What makes no sense, by type.
CREATE TEMP TABLE bad (type regtype, value text NOT NULL);
INSERT INTO bad
SELECT t::regtype, v FROM unnest(ARRAY['bigint', 'int', 'smallint']) t,
	unnest(ARRAY['NULL', '0', '-1', '-32768', '32767']) v
UNION ALL SELECT 'int', v FROM unnest(ARRAY['2147483647', '-2147483648']) v
UNION ALL SELECT 'bigint', v FROM unnest(ARRAY['2147483648', '9223372036854775807', '-9223372036854775808']) v
UNION ALL SELECT t::regtype, v FROM unnest(ARRAY['numeric', 'double precision']) t,
	unnest(ARRAY['NULL', '0', '-1', '''NaN''', '''Infinity''', '''-Infinity''', '1e-300', '1e300']) v
UNION ALL SELECT 'numeric', v FROM unnest(ARRAY['1e131071', '1e-16383', '-1e131071']) v
UNION ALL SELECT t::regtype, v FROM unnest(ARRAY['text', 'name', 'character varying']) t,
	unnest(ARRAY['NULL', $$''$$, $$' '$$, $$'a''b"c\d'$$, $$E'\x01\n'$$, $$U&'\+01F600'$$,
		$$repeat('x', 255)$$, $$repeat('y', 256)$$, $$repeat('z', 100000)$$]) v
UNION ALL SELECT t::regtype, v FROM unnest(ARRAY['json', 'jsonb']) t,
	unnest(ARRAY['NULL', $$'null'$$, '''0''', '''""''', '''[]''', '''{}''', '''[null]''', '''[[]]''', '''[{}]''',
		'''{"a": 1}''', '''{"": null}''', '''1e1000''',
		$$'[{"sku": null, "quantity": 1}]'$$,
		$$'[{"sku": "A", "quantity": 1.5}]'$$,
		$$'[{"sku": "A", "quantity": 99999999999}]'$$,
		$$'[{"sku": "A", "quantity": 1, "unit_price": "NaN"}]'$$,
		$$'[{"sku": "A", "quantity": "1e400"}]'$$,
		$$'[{"kind": "fee", "amount": 0.001}]'$$,
		$$'[{"kind": "rounding", "amount": 0.01}]'$$,
		$$'{"transitions": []}'$$,
		$$'{"transitions": [{"from": null, "event": "create", "to": "a"}], "final": 1}'$$,
		$$'{"transitions": [null], "final": [null], "void": [{}]}'$$,
		$$'{"actor": 1}'$$,
		$$'{"traceparent": "00"}'$$]) v
UNION ALL SELECT t::regtype, format('(repeat(%L, 6000) || repeat(%L, 6000))::%s', '[', ']', t)
	FROM unnest(ARRAY['json', 'jsonb']) t
UNION ALL SELECT t::regtype, format('%L', v) FROM unnest(ARRAY['text[]', 'bigint[]', 'int[]']) t,
	unnest(ARRAY['{}', '{NULL}', '{1,1}', '{{1,2},{3,4}}', '[7:8]={1,2}']) v
UNION ALL SELECT t::regtype, 'NULL' FROM unnest(ARRAY['text[]', 'bigint[]', 'int[]']) t
UNION ALL SELECT 'interval', v FROM unnest(ARRAY['NULL', $$'0'$$, $$'-1 day'$$, $$'1 us'$$,
		$$'178000000 years'$$, $$'-178000000 years'$$]) v
UNION ALL SELECT t::regtype, v FROM unnest(ARRAY['timestamptz', 'timestamp', 'date']) t,
	unnest(ARRAY['NULL', $$'infinity'$$, $$'-infinity'$$, $$'4713-01-01 BC'$$]) v
UNION ALL SELECT 'boolean', v FROM unnest(ARRAY['NULL', 'true', 'false']) v
UNION ALL SELECT t::regtype, v FROM unnest(ARRAY['oid', 'regclass', 'regrole', 'regproc', 'regprocedure']) t,
	unnest(ARRAY['NULL', '0', '1', '4294967295']) v
UNION ALL SELECT 'regclass', v FROM unnest(ARRAY[$$'pg_class'$$, $$'pg_stat_activity'$$]) v
UNION ALL SELECT 'uuid', v FROM unnest(ARRAY['NULL', $$'00000000-0000-0000-0000-000000000000'$$]) v;

-- A wait for what never comes is not bad input.
CREATE TEMP TABLE waits (argument text, type regtype);
INSERT INTO waits VALUES ('timeout', 'interval'), ('max_ms', 'int');

CREATE TEMP VIEW routine AS
SELECT p.oid, p.proname, p.prokind, p.oid::regprocedure::text AS signature, p.pronargs,
	obj_description(p.oid, 'pg_proc') !~ '^internal' AS is_public
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'order_engine')
	AND p.prorettype <> 'trigger'::regtype AND p.prokind IN ('f', 'p')
	AND NOT 'internal'::regtype = ANY (p.proargtypes);
CREATE TEMP VIEW argument AS
SELECT r.oid, n, p.proargtypes[n - 1]::regtype AS type,
	(SELECT array_agg(name ORDER BY o) FROM unnest(p.proargnames, p.proargmodes) WITH ORDINALITY AS a (name, mode, o)
		WHERE mode IS NULL OR mode IN ('i', 'b', 'v'))[n] AS name
FROM routine r JOIN pg_proc p USING (oid), generate_series(1, p.pronargs) n;

-- The calls: every argument null; every argument bad in the same way; one bad among plausible ones.
CREATE TEMP VIEW bad_numbered AS
SELECT type, value, row_number() OVER (PARTITION BY type) AS k, count(*) OVER (PARTITION BY type) AS of FROM bad;
CREATE TEMP VIEW call AS
SELECT oid, CASE WHEN count(n) > 0 THEN 'nulls' ELSE 'nothing' END AS kind,
	coalesce(string_agg('NULL::' || type, ', ' ORDER BY n), '') AS arguments
FROM routine LEFT JOIN argument USING (oid) GROUP BY oid
UNION
SELECT a.oid, 'all bad', string_agg(format('(%s)::%s', b.value, a.type), ', ' ORDER BY a.n)
FROM generate_series(1, 22) AS round, argument a JOIN bad_numbered b ON b.type = a.type
WHERE b.k = 1 + (round - 1) % b.of AND NOT (a.name, a.type) IN (SELECT * FROM waits)
GROUP BY a.oid, round HAVING count(*) = (SELECT pronargs FROM routine r WHERE r.oid = a.oid)
UNION
SELECT a.oid, 'one bad', string_agg(
	format('(%s)::%s', CASE WHEN other.n = a.n THEN b.value ELSE coalesce(p.value, 'NULL') END, other.type),
	', ' ORDER BY other.n)
FROM argument a JOIN bad b ON b.type = a.type
	JOIN argument other ON other.oid = a.oid LEFT JOIN plausible p ON p.name = other.name
WHERE NOT (a.name, a.type) IN (SELECT * FROM waits)
GROUP BY a.oid, a.n, b.value;

-- All rows of all tables: what may not change.
CREATE FUNCTION pg_temp.fingerprint() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	relation regclass;
	part text;
	whole text := '';
BEGIN
	FOR relation IN
		SELECT oid FROM pg_class
		WHERE relnamespace = 'order_engine'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
		ORDER BY relname
	LOOP
		EXECUTE format('SELECT md5(coalesce(string_agg(t::text, %L ORDER BY t::text), %L)) FROM %s t', ';', '', relation)
			INTO part;
		whole := whole || relation || ' ' || part || E'\n';
	END LOOP;
	RETURN whole;
END $$;

-- Runs one call and takes back what it did.  'ok', 'changed' or the SQLSTATE.
CREATE FUNCTION pg_temp.attempt(statement text, before text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	outcome text := 'ok';
BEGIN
	BEGIN
		EXECUTE statement;
		IF before IS NOT NULL AND pg_temp.fingerprint() <> before THEN
			outcome := 'changed';
		END IF;
		RAISE EXCEPTION USING ERRCODE = 'ZZ999';
	EXCEPTION WHEN OTHERS THEN
		IF SQLSTATE <> 'ZZ999' THEN
			RETURN SQLSTATE || ' ' || SQLERRM;
		END IF;
	END;
	RETURN outcome;
END $$;

CREATE TEMP TABLE result AS
WITH before AS MATERIALIZED (SELECT pg_temp.fingerprint() AS f)
SELECT r.signature, r.is_public, c.kind, s.statement,
	pg_temp.attempt(s.statement, CASE WHEN c.kind <> 'one bad' THEN f END) AS outcome
FROM call c JOIN routine r USING (oid), before,
	LATERAL (SELECT CASE r.prokind WHEN 'p' THEN 'CALL ' ELSE 'SELECT * FROM ' END
		|| format('order_engine.%I(%s)', r.proname, c.arguments) AS statement) s;

SELECT plan(8);
SELECT is_empty($$SELECT signature, outcome, left(statement, 200) FROM result WHERE outcome ~ '^(XX|08|57|58)'$$,
	'no call ends in an internal error or a lost connection');
SELECT is_empty($$SELECT signature, outcome, left(statement, 200) FROM result
		WHERE is_public AND outcome ~ '^[0-9A-Z]{5} ' AND left(outcome, 5) NOT IN ('42501', '42704')
			AND left(outcome, 2) NOT IN ('OE', '22', '53', '54', '55', '0A', '2D')$$,
	'what is refused is refused as an argument, a limit, a privilege or a rule of the shop');
SELECT is_empty($$SELECT signature, left(statement, 200) FROM result WHERE kind = 'nulls' AND outcome = 'changed'$$,
	'nulls change nothing');
SELECT is_empty($$SELECT signature, left(statement, 200) FROM result WHERE kind = 'all bad' AND outcome = 'changed'$$,
	'nonsense changes nothing');
SELECT is_empty($$SELECT signature FROM routine EXCEPT SELECT signature FROM result$$, 'no function was left out');
SELECT is_empty($$SELECT signature, a.name, a.type FROM routine JOIN argument a USING (oid)
		WHERE a.type NOT IN (SELECT type FROM bad)$$,
	'there is bad input for every argument''s type');
SELECT is((SELECT state || ' ' || version FROM order_engine.orders WHERE order_id = :paid), 'paid 2',
	'the order is as it was');
SELECT results_eq('SELECT on_hand, reserved FROM order_engine.stock', 'VALUES (999::bigint, 2::bigint)',
	'so is the stock');
SELECT * FROM finish();
