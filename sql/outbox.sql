-- Events on their way out: emit(), and rows written by hand, which are checked
-- and stamped as emit() does it.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql
CREATE ROLE regress_outbox_app;
SELECT order_engine.grant_access('regress_outbox_app', 'app');

-- attempt() that tells whether there is a hint
CREATE FUNCTION public.answer(statement text) RETURNS text LANGUAGE sql AS $$
	SELECT nullif(concat_ws(' ', code, message, detail, CASE WHEN hint = '' THEN '(no hint)' END), '') FROM refusal(statement)
$$;

-- ---- emit ----

SELECT emit('note', 'n1', 'note.written', '{"b": 1,  "a": [1, 2]}', '{"trace": "x", "n": 1.50, "nothing": null}', 'notes', 3) AS first \gset
-- The payload keeps its bytes; nothing else is asked for.
SELECT id = :first AS is_id, aggregatetype, aggregateid, type, payload, headers, topic, partition, payload_bytes FROM outbox;
SELECT era = (SELECT system_identifier FROM pg_control_system()) AS own_era, created_at BETWEEN now() - interval '1 minute' AND clock_timestamp() AS new FROM outbox;
-- Null is a tombstone, no headers are no headers; ids ascend.
SELECT emit('note', 'n1', 'note.erased', NULL) > :first AS ascends;
SELECT payload, headers, topic, partition FROM outbox ORDER BY id DESC LIMIT 1;
-- The trace of the session goes along, unless the caller says otherwise.
SET order_engine.traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
SELECT emit('note', 'n2', 'note.written', '1', '{"a": "b"}') AS own \gset
SELECT headers FROM outbox WHERE id = :own;
SELECT emit('note', 'n2', 'note.written', '1', '{"traceparent": "mine"}') AS own \gset
SELECT headers FROM outbox WHERE id = :own;
RESET order_engine.traceparent;
-- It belongs to the transaction, the top one: a batch takes it whole or not at all.
BEGIN;
SELECT emit('note', 'n3', 'kept', '1') > 0 AS kept;
SAVEPOINT a;
SELECT emit('note', 'n3', 'undone', '1') > 0 AS undone;
ROLLBACK TO a;
SAVEPOINT b;
SELECT emit('note', 'n3', 'released', '1') > 0 AS released;
RELEASE b;
SELECT type, xid = pg_current_xact_id() AS top FROM outbox WHERE aggregateid = 'n3' ORDER BY id;
ROLLBACK;
SELECT count(*) FROM outbox WHERE aggregateid = 'n3';

-- ---- what cannot be published ----

SELECT f, answer(format('SELECT order_engine.emit(%s)', f)) FROM unnest(ARRAY[
	$$NULL, 'a', 't', '1'$$, $$'x', NULL, 't', '1'$$, $$'x', 'a', NULL, '1'$$,
	$$'', 'a', 't', '1'$$, $$'a b', 'a', 't', '1'$$, $$'größe', 'a', 't', '1'$$,
	$$'x', '', 't', '1'$$, $$'x', E'a\n', 't', '1'$$, $$'x', 'a', '', '1'$$,
	$$'x', 'a', 't', '1', '[]'$$, $$'x', 'a', 't', '1', '1'$$, $$'x', 'a', 't', '1', '{"": "a"}'$$, $$'x', 'a', 't', '1', '{"a\tb": "a"}'$$,
	$$'x', 'a', 't', '1', '{"a": {"b": 1}}'$$, $$'x', 'a', 't', '1', '{"a": [1]}'$$, $$'x', 'a', 't', '1', '{"a": true}'$$,
	$$'x', 'a', 't', '1', '{}', ''$$, $$'x', 'a', 't', '1', '{}', '.'$$, $$'x', 'a', 't', '1', '{}', '..'$$, $$'x', 'a', 't', '1', '{}', 'a/b'$$,
	$$'x', 'a', 't', '1', '{}', '__consumer_offsets'$$, $$'..', 'a', 't', '1'$$,
	$$'x', 'a', 't', '1', '{}', NULL, -1$$]) AS f;
SELECT length, left(answer(format('SELECT order_engine.emit(%L, %L, %L, %L, %L, %L)', repeat('a', l[1]), repeat('i', l[2]), repeat('t', l[3]), '1', '{}', repeat('o', l[4]))), 40)
FROM (VALUES ('longest', ARRAY[200, 255, 255, 249]), ('aggregatetype', ARRAY[201, 1, 1, 1]), ('aggregateid', ARRAY[1, 256, 1, 1]),
	('type', ARRAY[1, 1, 256, 1]), ('topic', ARRAY[1, 1, 1, 250])) AS t (length, l);
-- The topic of what names none begins with a setting, which leaves room for any aggregatetype.
SELECT length, answer(format('SET order_engine.topic_prefix = %L', p)) FROM (VALUES ('longest', repeat('p', 49)), ('longer', repeat('p', 50)),
	('spaces', 'a b'), ('letters', 'größe.'), ('slash', 'a/'), ('none', '')) AS t (length, p);
SHOW order_engine.topic_prefix;
SET order_engine.topic_prefix = 'ppppppppppppppppppppppppppppppppppppppppppppppppp';
SELECT left(answer(format('SELECT order_engine.emit(%L, ''a'', ''t'', ''1'')', repeat('a', 200))), 40) AS longest_of_both;
-- Together they may be what Kafka keeps for itself, whichever way the event comes.
SET order_engine.topic_prefix = '__consumer_';
SELECT f, answer(f) FROM unnest(ARRAY[
	$$SELECT order_engine.emit('offsets', 'a', 't', '1')$$, $$SELECT order_engine.emit('offsets', 'a', 't', '1', topic => 'offsets')$$,
	$$INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type) VALUES ('offsets', 'a', 't')$$,
	$$INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type, topic) VALUES ('offsets', 'a', 't', 'offsets')$$]) AS f;
CREATE TABLE public.offset_of (id int PRIMARY KEY, state text);
SELECT define_machine('offsets', '{"final": ["b"], "transitions": [{"from": null, "event": "create", "to": "a"}, {"from": "a", "event": "go", "to": "b"}]}') > 0 AS defined;
SELECT attach_machine('public.offset_of', 'state', 'offsets');
SELECT answer('INSERT INTO public.offset_of VALUES (1, ''a'')');
RESET order_engine.topic_prefix;
SELECT answer('INSERT INTO public.offset_of VALUES (1, ''a'')');
DROP TABLE public.offset_of;
-- Size: refused in the transaction that has it, whatever is large.
SELECT what, answer(format('SELECT order_engine.emit(%s)', f)) FROM (VALUES
	('fits', $$'x', 'a', 't', to_json(repeat('x', 990000))$$),
	('payload', $$'x', 'a', 't', to_json(repeat('x', 1000000))$$),
	('headers', $$'x', 'a', 't', '1', jsonb_build_object('h', repeat('x', 1000000))$$),
	('digits', $$'x', 'a', 't', '1', (SELECT jsonb_object_agg('h' || g, 1e131071) FROM generate_series(1, 8) g)$$)) AS t (what, f);
SET order_engine.max_message_bytes = '2MB';
SELECT answer($$SELECT order_engine.emit('x', 'a', 't', to_json(repeat('x', 1000000)))$$);
RESET order_engine.max_message_bytes;

-- ---- rows written by hand ----

SELECT setting AS before_rows FROM (SELECT count(*)::text AS setting FROM outbox) s \gset
SET ROLE regress_outbox_app;
INSERT INTO outbox (aggregatetype, aggregateid, type, payload) VALUES ('cart', 'c1', 'cart.filled', '{"n":  1}');
-- What only the engine knows is the engine's, whatever the writer says.
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload_bytes, xid, era, created_at) VALUES (1, 'cart', 'c2', 'cart.filled', '\x00ff', '3', 1, '2001-01-01');
COPY outbox (aggregatetype, aggregateid, type, payload, headers) FROM stdin;
cart	c3	cart.filled	{"n":1}	{"a":"b"}
cart	c4	cart.filled	\N	\N
\.
-- It is told the id, as ORMs ask for it, and nothing else of anybody's event.
INSERT INTO outbox (id, aggregatetype, aggregateid, type) VALUES (NULL, 'wish', 'w1', 'wish.made'), (0, 'wish', 'w2', 'wish.made') RETURNING id > :own AS drawn;
SELECT c, answer(format('SELECT %s FROM order_engine.outbox', c)) FROM unnest(ARRAY['payload', 'aggregateid', 'type', 'created_at', 'xid', '*']) AS c;
SELECT answer('INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type) VALUES (''wish'', ''w3'', ''wish.made'') RETURNING *');
RESET ROLE;
SELECT aggregateid, payload, payload_bytes, headers, id > :own AS later, xid::text::bigint > 3 AS own_xid,
	era = (SELECT system_identifier FROM pg_control_system()) AS own_era, created_at > '2002-01-01' AS new
FROM outbox WHERE aggregatetype = 'cart' ORDER BY id;
SELECT f, answer(format('INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type, payload, payload_bytes, headers, topic, partition) VALUES (%s)', f)) FROM unnest(ARRAY[
	$$'a b', 'a', 't', '1', NULL, NULL, NULL, NULL$$, $$'x', '', 't', '1', NULL, NULL, NULL, NULL$$,
	$$'x', 'a', E'\t', '1', NULL, NULL, NULL, NULL$$, $$'x', 'a', 't', '1', '\x00', NULL, NULL, NULL$$, $$'x', 'a', 't', '1', NULL, '{"a": []}', NULL, NULL$$,
	$$'x', 'a', 't', '1', NULL, '"a"', NULL, NULL$$, $$'x', 'a', 't', '1', NULL, NULL, 'a b', NULL$$, $$'x', 'a', 't', '1', NULL, NULL, NULL, -2$$,
	$$'x', 'a', 't', to_json(repeat('x', 1000000)), NULL, NULL, NULL, NULL$$, $$'x', 'a', 't', NULL, convert_to(repeat('x', 1000000), 'UTF8'), NULL, NULL, NULL$$]) AS f;
\set VERBOSITY sqlstate
INSERT INTO outbox (aggregatetype, aggregateid) VALUES ('x', 'a');
\set VERBOSITY default
-- A leaf of the caller's choice is as good as another; one that does not exist is not.
INSERT INTO outbox (aggregatetype, aggregateid, type, ring) VALUES ('cart', 'c5', 'cart.filled', 2);
SELECT tableoid::regclass, ring FROM outbox WHERE aggregateid = 'c5';
SELECT left(answer($$INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type, ring) VALUES ('cart', 'c6', 'cart.filled', 99)$$), 60);
-- By way of a leaf the same checks hold.
INSERT INTO outbox_1 (id, aggregatetype, aggregateid, type, xid, era, ring) VALUES (1, 'cart', 'c7', 'cart.filled', '3', 1, 1);
SELECT id > :own AS later, xid::text::bigint > 3 AS own_xid FROM outbox WHERE aggregateid = 'c7';
SELECT answer($$INSERT INTO order_engine.outbox_1 (aggregatetype, aggregateid, type, ring) VALUES ('c c', 'c7', 'cart.filled', 1)$$);

-- ---- what is of type order or stock is the truth about it: nobody else writes it ----

SELECT s, answer(s) FROM unnest(ARRAY[$$SELECT order_engine.emit('order', '1', 'order.paid', '{}')$$, $$SELECT order_engine.emit('order', '1', 'order.paid', NULL, topic => 'mine')$$,
	$$INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type) VALUES ('order', '1', 'order.paid')$$,
	$$INSERT INTO order_engine.outbox_1 (aggregatetype, aggregateid, type, ring) VALUES ('order', '1', 'order.paid', 1)$$,
	$$SELECT order_engine.emit('stock', 'tea', 'stock.sold_out', '{}')$$,
	$$INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type) VALUES ('stock', 'tea', 'stock.sold_out')$$]) AS s;
\set VERBOSITY default
COPY outbox (aggregatetype, aggregateid, type) FROM stdin;
order	1	order.paid
\.
SELECT emit('orders', '1', 'mine', '{}') > 0 AS another_name;
-- But a restore brings what was one.
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO outbox (id, aggregatetype, aggregateid, type, created_at, xid, era) VALUES (1, 'order', '1', 'order.paid', now(), '3', 1);
ROLLBACK;

-- ---- nobody changes or removes an event ----

SELECT s, answer(s) FROM unnest(ARRAY[
	'UPDATE order_engine.outbox SET type = type', 'UPDATE order_engine.outbox_0 SET type = type', 'DELETE FROM order_engine.outbox', 'DELETE FROM order_engine.outbox_2',
	'TRUNCATE order_engine.outbox', 'TRUNCATE order_engine.outbox_0',
	'INSERT INTO order_engine.journal_position (ring) VALUES (0)', 'TRUNCATE order_engine.journal_position', 'TRUNCATE order_engine.journal_position_1']) AS s;
SELECT count(*) - :before_rows AS added FROM outbox;

-- ---- a user's own column and trigger ----

ALTER TABLE outbox ADD COLUMN region text DEFAULT 'eu';
CREATE FUNCTION public.note_region() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.region := NEW.region || '-1'; RETURN NEW; END $$;
CREATE TRIGGER note BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION public.note_region();
SELECT emit('note', 'n9', 'note.written', '1') > 0 AS emitted;
INSERT INTO outbox (aggregatetype, aggregateid, type) VALUES ('note', 'n9', 'note.erased');
SELECT type, region, id > :own AS stamped FROM outbox WHERE aggregateid = 'n9' ORDER BY id;
-- What the journal lives by no trigger changes, and none makes a message too large.
CREATE FUNCTION public.spoil() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	CASE NEW.type
		WHEN 'id' THEN NEW.id := 1;
		WHEN 'xid' THEN NEW.xid := '3';
		WHEN 'era' THEN NEW.era := 1;
		WHEN 'size' THEN NEW.payload := to_json(repeat('x', 1000000));
		WHEN 'topic' THEN NEW.topic := 'a b';
		WHEN 'name' THEN NEW.aggregatetype := 'a b';
		WHEN 'forged' THEN NEW.aggregatetype := 'order';
		WHEN 'forged too' THEN NEW.aggregatetype := 'stock';
		WHEN 'order.paid' THEN NEW.headers := NEW.headers || '{"region": "eu"}';
		ELSE
	END CASE;
	RETURN NEW;
END
$$;
CREATE TRIGGER spoil BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION public.spoil();
SELECT t, answer(format('SELECT order_engine.emit(''note'', ''n12'', %L, ''1'')', t)) AS emitted,
	answer(format('INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type) VALUES (''note'', ''n12'', %L)', t)) AS inserted
FROM unnest(ARRAY['id', 'xid', 'era', 'size', 'topic', 'name', 'forged', 'forged too', 'none']) AS t;
SELECT type, id > :own AS stamped, xid::text::bigint > 3 AS own_xid, era <> 1 AS own_era, topic FROM outbox WHERE aggregateid = 'n12' ORDER BY id;
-- An order's own event may be enriched.
BEGIN;
SELECT pay_order(order_id, 'p', 0.01) IS NOT NULL AS paid FROM create_order(1, '[{"sku": "x", "quantity": 1, "stocked": false, "unit_price": 0.01}]');
SELECT aggregatetype, type, headers FROM outbox WHERE type = 'order.paid' AND headers ? 'region';
ROLLBACK;
DROP TRIGGER spoil ON outbox;

-- A machine on a user's table has events of its own name, so that has to be one for a topic.
SELECT define_machine('my machine', '{"final": ["b"], "transitions": [{"from": null, "event": "create", "to": "a"}, {"from": "a", "event": "go", "to": "b"}]}') > 0 AS defined;
CREATE TABLE public.thing (id int PRIMARY KEY, state text);
SELECT answer($$SELECT order_engine.attach_machine('public.thing', 'state', 'my machine')$$);
SELECT answer($$SELECT order_engine.attach_machine('public.thing', 'state', 'order')$$);
CREATE TRIGGER forged AFTER INSERT ON public.thing FOR EACH ROW EXECUTE FUNCTION attached_after('1', 'state');
SELECT answer($$INSERT INTO public.thing VALUES (1, 'pending')$$);

-- ---- who may ----

SET ROLE regress_outbox_app;
SELECT emit('note', 'n10', 'note.written', '1') > 0 AS emitted;
SELECT answer('SELECT payload FROM order_engine.outbox');
SELECT answer('SELECT order_engine.journal_tick(''outbox'')');
RESET ROLE;
BEGIN READ ONLY;
SELECT answer($$SELECT order_engine.emit('note', 'n11', 'note.written', '1')$$);
ROLLBACK;

SET client_min_messages = warning;
DROP EXTENSION order_engine CASCADE;
DROP OWNED BY regress_outbox_app;
DROP ROLE regress_outbox_app;
