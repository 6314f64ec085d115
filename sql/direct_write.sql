-- What only the engine may write nobody writes directly: not the owner of the
-- tables, not a superuser, not by way of a leaf.
CREATE EXTENSION order_engine;
SET client_min_messages = error;
CREATE ROLE regress_direct_write;
SELECT order_engine.grant_access('regress_direct_write', 'owner');
SET ROLE regress_direct_write;
SELECT order_engine.setup(2);
RESET ROLE;
RESET client_min_messages;
SET search_path = order_engine, public;

\i `echo "$PG_ABS_SRCDIR"`/test/lib/attempt.sql

-- A row in each table to aim at; slot 0 lies in leaf 0.
SET session_replication_role = replica;
INSERT INTO orders (order_id, user_id, state, machine_id, version, created_at, updated_at) VALUES (1, 1, 'paid', 1, 1, now(), now());
INSERT INTO order_line (order_id, line_no, sku, quantity, unit_price) VALUES (1, 1, 'a', 1, 1);
INSERT INTO order_event (order_id, version, event, to_state, actor, at) VALUES (1, 1, 'create', 'paid', 'x', now());
INSERT INTO payment (order_id, kind, payment_ref, amount, outcome, version, at) VALUES (1, 'capture', 'p', 1, 'paid', 1, now());
INSERT INTO reservation (id, reservation_id, state, actor, created_at) VALUES (1, 'r', 'held', 'x', now());
INSERT INTO machine (machine_id, name, definition) VALUES (99, 'aim', '{}');
INSERT INTO stock_movement (sku, quantity, reason, actor) VALUES ('a', 1, 'receipt', 'x');
RESET session_replication_role;

CREATE VIEW public.refused AS
	SELECT unnest(ARRAY['order_line', 'order_line_0', 'order_event', 'order_event_0', 'payment', 'payment_0', 'reservation', 'reservation_0',
		'machine', 'stock_movement', 'shop']) AS relation;
CREATE VIEW public.attempts AS
	SELECT relation, statement FROM refused,
		LATERAL (SELECT attname AS c FROM pg_attribute WHERE attrelid = relation::regclass AND attnum = 2) AS a,
		LATERAL (VALUES
		(1, format('INSERT INTO %I SELECT * FROM %I', relation, relation)),
		(2, format('INSERT INTO %I SELECT * FROM %I ON CONFLICT DO NOTHING', relation, relation)),
		(3, format('UPDATE %I SET %I = %I', relation, c, c)),
		(4, format('DELETE FROM %I', relation)),
		(5, format('MERGE INTO %I t USING (SELECT 1) s ON true WHEN MATCHED THEN UPDATE SET %I = t.%I', relation, c, c)),
		(6, format('MERGE INTO %I t USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE', relation)),
		(7, format('WITH gone AS (DELETE FROM %I RETURNING 1) SELECT count(*) FROM gone', relation)),
		(8, format('TRUNCATE %I', relation))) AS s (n, statement)
	UNION ALL
	SELECT relation, statement FROM unnest(ARRAY['orders', 'orders_0']) AS relation, LATERAL (VALUES
		(1, format('DELETE FROM %I', relation)),
		(2, format('DELETE FROM ONLY orders_0')),
		(3, format('MERGE INTO %I t USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE', relation)),
		(4, format('TRUNCATE %I', relation)),
		(5, format('TRUNCATE orders, order_line, order_event, payment'))) AS s (n, statement);
GRANT ALL ON SCHEMA public TO regress_direct_write;
GRANT SELECT ON public.attempts TO regress_direct_write;

SELECT statement, attempt(statement) FROM attempts;
-- COPY is an INSERT.
COPY order_line (order_id, line_no, sku, quantity, unit_price) FROM stdin;
2	1	a	1	1
\.
COPY payment_0 (order_id, kind, payment_ref, amount, outcome, version, at) FROM stdin;
2	capture	p	1	paid	1	2026-01-01
\.
-- A leaf that holds no row is not to be emptied either.
SELECT attempt('TRUNCATE order_event_1'), attempt('TRUNCATE orders_1');

-- The owner of the tables is told the same.
SET ROLE regress_direct_write;
SELECT count(*) AS attempts, count(*) FILTER (WHERE attempt(statement) LIKE 'OE014 direct % is not allowed%') AS refused FROM attempts;
RESET ROLE;

-- Nothing has changed.
SELECT (SELECT count(*) FROM orders) AS orders, (SELECT count(*) FROM order_line) AS lines,
	(SELECT count(*) FROM order_event) AS events, (SELECT count(*) FROM payment) AS payments,
	(SELECT count(*) FROM machine WHERE name = 'aim') AS machines, (SELECT count(*) FROM stock_movement) AS movements;

-- Each table, leaf and journal refuses; the name sorts before any letter.
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'order_engine'::regnamespace AND c.relkind IN ('r', 'p')
	AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgtype & 32 <> 0 AND t.tgname < 'A' COLLATE "C")
ORDER BY 1;

-- A trigger of the engine is of no use elsewhere.
CREATE TABLE public.mine (x int);
CREATE TRIGGER wrong BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION stock_before();
SELECT attempt('INSERT INTO mine VALUES (1)');

DROP TABLE public.mine;
REVOKE ALL ON SCHEMA public FROM regress_direct_write;
REVOKE ALL ON public.attempts FROM regress_direct_write;
DROP OWNED BY regress_direct_write CASCADE;
DROP ROLE regress_direct_write;
