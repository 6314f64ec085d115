-- State machines: what is published, what is refused, what is drawn.
-- needs a superuser called postgres
\set SHOW_CONTEXT never
CREATE EXTENSION order_engine;
-- Before setup() there is nothing to publish into.
SELECT order_engine.define_machine('m', '{}');
SELECT order_engine.machine_diagram('order');
SET client_min_messages = warning;
SELECT order_engine.setup(4);
RESET client_min_messages;

-- setup() publishes the machine of orders.
SELECT machine_id, name FROM order_engine.machine;
SELECT * FROM order_engine.machine_transition ORDER BY machine_id, transition_no;
\pset format unaligned
\pset tuples_only on
SELECT order_engine.machine_diagram('order');
SELECT order_engine.machine_diagram('order', 'dot');
\pset format aligned
\pset tuples_only off

-- The same definition again is the same version; key order and white space do not matter.
SELECT order_engine.define_machine('order', definition) FROM order_engine.machine WHERE machine_id = 1;
-- Another one is a new version beside it; the old one stays as it is.
SELECT order_engine.define_machine('ticket', '{"transitions": [
	{"from": null, "event": "create", "to": "open"}, {"from": "open", "event": "close", "to": "closed"}], "final": ["closed"]}');
SELECT order_engine.define_machine('ticket', '{"final": ["closed"], "transitions": [
	{"event": "create", "to": "open", "from": null}, {"to": "closed", "from": "open", "event": "close"}]}');
SELECT order_engine.define_machine('ticket', '{"final": ["closed"], "transitions": [
	{"from": null, "event": "create", "to": "open", "publish": null}, {"from": "open", "event": "close", "to": "closed", "publish": "ticket.done"},
	{"from": "open", "event": "note", "to": "open"}]}');
-- The older definition, once newer ones exist, is a change back and so a version too.
SELECT order_engine.define_machine('ticket', '{"final": ["closed"], "transitions": [
	{"from": null, "event": "create", "to": "open"}, {"from": "open", "event": "close", "to": "closed"}]}');
SELECT machine_id, name, transition_no, from_state, event, to_state, publish, due FROM order_engine.machine_transition
WHERE name = 'ticket' ORDER BY machine_id, transition_no;

-- Immutable: nobody changes what is published.
INSERT INTO order_engine.machine (machine_id, name, definition) VALUES (99, 'x', '{}');
UPDATE order_engine.machine SET definition = '{}' WHERE machine_id = 1;
DELETE FROM order_engine.machine;
TRUNCATE order_engine.machine;

-- A version that is rolled back was never there, though this session has used it.
BEGIN;
SELECT order_engine.define_machine('gone', '{"final": ["a"], "transitions": [{"from": null, "event": "create", "to": "a"}]}');
SELECT order_engine.machine_diagram('gone') ~ 'a' AS drawn;
ROLLBACK;
SELECT order_engine.machine_diagram('gone');
BEGIN;
SAVEPOINT s;
SELECT order_engine.define_machine('ticket', '{"final": ["x"], "transitions": [{"from": null, "event": "create", "to": "x"}]}');
SELECT order_engine.machine_diagram('ticket') ~ 'x' AS drawn;
ROLLBACK TO s;
SELECT order_engine.machine_diagram('ticket') ~ 'close' AS drawn;
-- The id is free again and belongs to another machine: the session does not mix them up.
SELECT order_engine.define_machine('another', '{"final": ["y"], "transitions": [{"from": null, "event": "create", "to": "y"}]}');
SELECT order_engine.machine_diagram('another') ~ 'y' AS drawn;
COMMIT;
-- No write where none is allowed.
BEGIN READ ONLY;
SELECT order_engine.machine_diagram('another') ~ 'y' AS drawn;
SELECT order_engine.define_machine('n', '{"final": ["a"], "transitions": [{"from": null, "event": "create", "to": "a"}]}');
ROLLBACK;

-- What is refused, and where.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/attempt.sql
CREATE FUNCTION pg_temp.refused(definition jsonb, name text DEFAULT 'm', OUT code text, OUT message text, OUT detail text, OUT hint text)
LANGUAGE sql AS $$
	SELECT code, coalesce(message, 'accepted'), detail, hint
	FROM public.refusal(format('SELECT order_engine.define_machine(%L, %L)', name, definition))
$$;
-- A machine new -> a -> b with more transitions, or other keys, put in.
CREATE FUNCTION pg_temp.machine(VARIADIC more jsonb[] DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('final', '["b"]'::jsonb, 'transitions',
		'[{"from": null, "event": "create", "to": "a"}, {"from": "a", "event": "go", "to": "b"}]'::jsonb
		|| coalesce((SELECT jsonb_agg(m ORDER BY n) FROM unnest(more) WITH ORDINALITY AS u (m, n)), '[]'))
$$;
\pset format unaligned
\pset tuples_only on
-- the definition as a whole
SELECT r.* FROM pg_temp.refused(NULL) r;
SELECT r.* FROM pg_temp.refused('{}', NULL) r;
SELECT r.* FROM unnest(ARRAY['null', '1', '"x"', 'true', '[]', '{}', '{"final": [], "transitions": [], "colour": 1}',
	'{"transitions": {}}', '{"transitions": "x"}', '{"transitions": [1]}', '{"transitions": [[]]}', '{"transitions": [null]}', '{"transitions": []}']::jsonb[])
	WITH ORDINALITY AS d (definition, n), pg_temp.refused(definition) r ORDER BY n;
-- null is a key that is not there; but null publishes nothing
SELECT pg_temp.refused(pg_temp.machine() || '{"final": null, "void": null}') = pg_temp.refused(pg_temp.machine() - 'final') AS same;
SELECT order_engine.define_machine('nulls', '{"final": ["b"], "void": null, "transitions": [
	{"from": null, "event": "create", "to": "a", "stock": null, "due": null, "due_event": null, "guard": null, "requires_payment": null, "keeper_only": null, "publish": null},
	{"from": "a", "event": "go", "to": "b"}]}') > 0 AS defined;
SELECT from_state, stock, publish, due, due_event, guard, requires_payment, keeper_only, to_void FROM order_engine.machine_transition WHERE name = 'nulls' ORDER BY transition_no;
-- its name
SELECT r.message, r.detail FROM unnest(ARRAY['', ' ', ' m', 'm ', E'a\nb', E'\x01', repeat('m', 64), repeat('ä', 32)])
	WITH ORDINALITY AS d (name, n), pg_temp.refused(pg_temp.machine(), name) r ORDER BY n;
-- the lists of states
SELECT r.message, r.detail FROM unnest(ARRAY['{"final": "b"}', '{"final": {"b": 1}}', '{"final": null}', '{"final": ["b", 1]}', '{"final": ["b", ["b"]]}', '{"final": ["b", "b"]}',
	'{"final": ["b", "z"]}', '{"final": []}', '{"final": ["a", "b"]}', '{"void": ["z"]}', '{"void": ["a", "a"]}', '{"void": true}']::jsonb[])
	WITH ORDINALITY AS d (part, n), pg_temp.refused(pg_temp.machine() || part) r ORDER BY n;
-- one transition
SELECT r.message, r.detail FROM unnest(ARRAY[
	'{"event": "x", "to": "a"}', '{"from": "a", "to": "a"}', '{"from": "a", "event": "x"}', '{}',
	'{"from": "a", "event": "x", "to": "a", "colour": "red"}', '{"from": "a", "event": "x", "to": "a", "From": "a"}',
	'{"from": 1, "event": "x", "to": "a"}', '{"from": "a", "event": null, "to": "a"}', '{"from": "a", "event": "x", "to": ["a"]}',
	'{"from": "", "event": "x", "to": "a"}', '{"from": "a", "event": "", "to": "a"}', '{"from": "a", "event": "x", "to": "a\tb"}',
	'{"from": "a", "event": " x", "to": "a"}',
	'{"from": null, "event": "create", "to": "a"}', '{"from": null, "event": "start", "to": "a"}', '{"from": "a", "event": "create", "to": "a"}',
	'{"from": "a", "event": "update", "to": "a"}', '{"from": "a", "event": "payment", "to": "a"}', '{"from": "a", "event": "payment_mismatch", "to": "a"}',
	'{"from": "a", "event": "refund_payment", "to": "a"}',
	'{"from": "a", "event": "go", "to": "a"}', '{"from": "b", "event": "x", "to": "a"}', '{"from": "c", "event": "x", "to": "a"}', '{"from": "a", "event": "x", "to": "c"}',
	'{"from": "a", "event": "x", "to": "a", "stock": "steal"}', '{"from": "a", "event": "x", "to": "a", "stock": null}', '{"from": "a", "event": "x", "to": "a", "stock": true}',
	'{"from": "a", "event": "x", "to": "a", "publish": ""}', '{"from": "a", "event": "x", "to": "a", "publish": 7}', '{"from": "a", "event": "x", "to": "a", "publish": "a\u0001"}',
	'{"from": "a", "event": "x", "to": "a", "keeper_only": "yes"}', '{"from": "a", "event": "x", "to": "a", "requires_payment": 1}'
	]::jsonb[]) WITH ORDINALITY AS d (transition, n), pg_temp.refused(pg_temp.machine(transition)) r ORDER BY n;
SELECT r.message, r.detail FROM unnest(ARRAY[repeat('e', 64), repeat('e', 256)]) WITH ORDINALITY AS d (event, n),
	pg_temp.refused(pg_temp.machine(jsonb_build_object('from', 'a', 'event', event, 'to', 'a'))) r ORDER BY n;
SELECT r.message, r.detail FROM pg_temp.refused(pg_temp.machine(jsonb_build_object('from', 'a', 'event', 'x', 'to', 'a', 'publish', repeat('p', 256)))) r;
-- the creation
SELECT r.message, r.detail FROM unnest(ARRAY['{"requires_payment": true}', '{"keeper_only": true}', '{"guard": "g"}', '{"stock": "confirm"}', '{"stock": "release"}', '{"stock": "restock"}']::jsonb[])
	WITH ORDINALITY AS d (part, n), pg_temp.refused(jsonb_set(pg_temp.machine(), '{transitions,0}', pg_temp.machine() #> '{transitions,0}' || part)) r ORDER BY n;
-- due
SELECT r.message, r.detail FROM unnest(ARRAY['{"due": "1 hour"}', '{"due_event": "go"}', '{"due": "soon", "due_event": "go"}', '{"due": "", "due_event": "go"}', '{"due": "0", "due_event": "go"}',
	'{"due": "-1 hour", "due_event": "go"}', '{"due": "1 mon -1 day", "due_event": "go"}', '{"due": "1000 years", "due_event": "go"}', '{"due": "99999999999999999999 years", "due_event": "go"}',
	'{"due": "infinity", "due_event": "go"}', '{"due": 60, "due_event": "go"}', '{"due": "1 hour", "due_event": "nothing"}', '{"due": "1 hour", "due_event": 1}', '{"due": "1 hour", "due_event": "create"}',
	'{"due": null, "due_event": null}', '{"due": "1 hour", "due_event": "go"}', '{"due": "PT1H", "due_event": "go"}']::jsonb[])
	WITH ORDINALITY AS d (part, n), pg_temp.refused(jsonb_set(pg_temp.machine(), '{transitions,0}', pg_temp.machine() #> '{transitions,0}' || part)) r ORDER BY n;
SELECT r.message, r.detail FROM pg_temp.refused(pg_temp.machine(
	'{"from": "a", "event": "x", "to": "a", "due": "1 hour", "due_event": "go"}', '{"from": "a", "event": "y", "to": "a", "due": "1 hour", "due_event": "x"}')) r;
SELECT r.message, r.detail FROM pg_temp.refused(pg_temp.machine('{"from": "a", "event": "x", "to": "b", "due": "1 hour", "due_event": "go"}')) r;
-- stock: what an order holds is the same whichever way it came
SELECT r.message, r.detail FROM unnest(ARRAY[
	'[{"from": null, "event": "create", "to": "a", "stock": "reserve"}, {"from": "a", "event": "x", "to": "b"}]',
	'[{"from": null, "event": "create", "to": "a"}, {"from": "a", "event": "x", "to": "b", "stock": "confirm"}]',
	'[{"from": null, "event": "create", "to": "a", "stock": "reserve"}, {"from": "a", "event": "x", "to": "b", "stock": "restock"}]',
	'[{"from": null, "event": "create", "to": "a", "stock": "reserve"}, {"from": "a", "event": "again", "to": "a", "stock": "reserve"}, {"from": "a", "event": "x", "to": "b", "stock": "release"}]',
	'[{"from": null, "event": "create", "to": "a"}, {"from": "a", "event": "x", "to": "b", "stock": "reserve"}]',
	'[{"from": null, "event": "create", "to": "a"}, {"from": "a", "event": "x", "to": "c", "stock": "reserve"}, {"from": "c", "event": "y", "to": "a"}, {"from": "a", "event": "z", "to": "b"}]',
	'[{"from": null, "event": "create", "to": "a", "stock": "reserve"}, {"from": "a", "event": "x", "to": "b", "stock": "confirm"}, {"from": "a", "event": "y", "to": "b", "stock": "release"}]'
	]::jsonb[]) WITH ORDINALITY AS d (transitions, n), pg_temp.refused(jsonb_build_object('final', '["b"]'::jsonb, 'transitions', transitions)) r ORDER BY n;
-- unreachable: an island
SELECT r.message, r.detail FROM pg_temp.refused(pg_temp.machine('{"from": "c", "event": "x", "to": "d"}', '{"from": "d", "event": "x", "to": "c"}')) r;
-- sizes
SELECT r.code, r.message, r.detail FROM unnest(ARRAY[
	(SELECT jsonb_agg(jsonb_build_object('from', 's' || n, 'event', 'x', 'to', 's' || n + 1)) FROM generate_series(1, 256) n),
	(SELECT jsonb_agg(jsonb_build_object('from', 'a', 'event', 'e' || n, 'to', 'a')) FROM generate_series(1, 257) n),
	(SELECT jsonb_agg(jsonb_build_object('from', 's' || n / 200, 'event', 'e' || n % 200, 'to', 'a')) FROM generate_series(1, 1025) n)])
	WITH ORDINALITY AS d (transitions, n), pg_temp.refused(jsonb_build_object('transitions', transitions)) r ORDER BY n;
-- A culprit of any length is told in a few words.
SELECT length(r.detail) < 200 AS short FROM pg_temp.refused(jsonb_build_object(repeat('k', 100000), 1)) r;
\pset format aligned
\pset tuples_only off

-- As large as it may be: 256 states in a ring.
SELECT order_engine.define_machine('ring', jsonb_build_object('transitions', '[{"from": null, "event": "create", "to": "s0"}]'::jsonb
	|| (SELECT jsonb_agg(jsonb_build_object('from', 's' || n, 'event', 'e' || n % 255, 'to', 's' || (n + 1) % 256)) FROM generate_series(0, 255) n))) > 0 AS published;
SELECT count(*) FROM order_engine.machine_transition WHERE name = 'ring';

-- Names may hold anything printable; the diagrams quote it.
SELECT order_engine.define_machine('"odd"\', '{"final": ["end"], "void": ["end"], "transitions": [
	{"from": null, "event": "create", "to": "to \"pay\"", "due": "PT90S", "due_event": "die; now"},
	{"from": "to \"pay\"", "event": "die; now", "to": "end", "keeper_only": true, "publish": null},
	{"from": "to \"pay\"", "event": "zählen: 1", "to": "to \"pay\"", "requires_payment": true}]}') > 0 AS published;
\pset format unaligned
\pset tuples_only on
SELECT order_engine.machine_diagram('"odd"\', 'mermaid');
SELECT order_engine.machine_diagram('"odd"\', 'dot');
\pset format aligned
\pset tuples_only off
SELECT order_engine.machine_diagram('nothing');
SELECT order_engine.machine_diagram('');
SELECT order_engine.machine_diagram(repeat('x', 100000));
SELECT order_engine.machine_diagram('order', 'svg');
SELECT order_engine.machine_diagram('order', '');
SELECT order_engine.machine_diagram(NULL);
SELECT order_engine.machine_diagram('order', NULL);

-- Guards: SECURITY DEFINER only, found by the publisher's search_path, stored with their schema.
CREATE SCHEMA regress_machine;
SET search_path = regress_machine, public;
CREATE FUNCTION regress_machine."Big Enough"(order_engine.orders, text, jsonb) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS 'SELECT $1.amount > 10';
CREATE FUNCTION regress_machine.invoker(order_engine.orders, text, jsonb) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION regress_machine.integer(order_engine.orders, text, jsonb) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
CREATE FUNCTION regress_machine.many(order_engine.orders, text, jsonb) RETURNS SETOF boolean LANGUAGE sql SECURITY DEFINER AS 'SELECT true';
CREATE FUNCTION regress_machine.other(order_engine.orders, text, json) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS 'SELECT true';
\pset format unaligned
\pset tuples_only on
SELECT r.* FROM unnest(ARRAY['"nothing"', '"other"', '"no_schema.guard"', '"invoker"', '"integer"', '"many"', '""', '"a.b.c"', '"a..b"', '"Big Enough"', '1', 'null']::jsonb[])
	WITH ORDINALITY AS d (guard, n), pg_temp.refused(pg_temp.machine(jsonb_build_object('from', 'a', 'event', 'x', 'to', 'a', 'guard', guard))) r ORDER BY n;
\pset format aligned
\pset tuples_only off
SELECT order_engine.define_machine('guarded', pg_temp.machine('{"from": "a", "event": "x", "to": "a", "guard": "\"Big Enough\""}')) > 0 AS published;
RESET search_path;
SELECT event, guard FROM order_engine.machine_transition WHERE name = 'guarded' AND guard IS NOT NULL;
-- Written with its schema it is the same definition.
SELECT order_engine.define_machine('guarded', pg_temp.machine('{"from": "a", "event": "x", "to": "a", "guard": "regress_machine.\"Big Enough\""}'))
	= max(machine_id) AS the_same FROM order_engine.machine WHERE name = 'guarded';
-- A publisher needs the right to execute the guard himself.
CREATE ROLE regress_machine_operator;
SELECT order_engine.grant_access('regress_machine_operator', 'operator');
REVOKE EXECUTE ON FUNCTION regress_machine."Big Enough" FROM PUBLIC;
GRANT USAGE ON SCHEMA regress_machine TO regress_machine_operator;
SET ROLE regress_machine_operator;
SELECT order_engine.define_machine('stolen', '{"final": ["b"], "transitions": [{"from": null, "event": "create", "to": "a"}, {"from": "a", "event": "x", "to": "b", "guard": "regress_machine.\"Big Enough\""}]}');
SELECT order_engine.define_machine('own', '{"final": ["b"], "transitions": [{"from": null, "event": "create", "to": "a"}, {"from": "a", "event": "x", "to": "b"}]}') > 0 AS published;
RESET ROLE;

-- What an order's state allows.  Rows as replication brings them, so that no rule is asked.
SET session_replication_role = replica;
INSERT INTO order_engine.orders (order_id, user_id, state, machine_id, version, created_at, updated_at)
SELECT n, 1, state, 1, 1, now(), now() FROM unnest(ARRAY['pending', 'paid', 'completed', 'unheard of']) WITH ORDINALITY AS s (state, n);
RESET session_replication_role;
SELECT order_id, state, order_engine.allowed_events(order_id) FROM order_engine.orders ORDER BY order_id;
SELECT order_engine.allowed_events(4711), order_engine.allowed_events(NULL), order_engine.allowed_events(-1);

-- A machine that replication brings is seen at once, and newer than what was known of its name.
SELECT order_engine.machine_diagram('own') ~ 'replicated' AS drawn;
SET session_replication_role = replica;
INSERT INTO order_engine.machine (machine_id, name, definition)
VALUES (1000, 'own', '{"final": ["replicated"], "transitions": [{"from": null, "event": "create", "to": "replicated"}]}');
RESET session_replication_role;
SELECT order_engine.machine_diagram('own') ~ 'replicated' AS drawn;

DROP OWNED BY regress_machine_operator;
DROP ROLE regress_machine_operator;
