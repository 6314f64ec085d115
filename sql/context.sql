-- Who did it, why, in which trace: the context of a call, and the settings behind it.
-- needs to be preloaded
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql
CREATE FUNCTION public.buy(context jsonb DEFAULT '{}') RETURNS bigint LANGUAGE sql AS $$
	SELECT order_id FROM order_engine.create_order(1, '[{"sku": "x", "stocked": false, "quantity": 1}]', context => context)
$$;
CREATE FUNCTION public.said(of_order bigint) RETURNS TABLE (actor text, reason text, headers jsonb) LANGUAGE sql AS $$
	SELECT e.actor, e.reason, o.headers - 'seq' FROM order_engine.order_event e JOIN order_engine.outbox o ON o.aggregateid = of_order::text WHERE e.order_id = of_order
$$;

-- Whoever is not named is the session's user.
SELECT actor = session_user AS by_me, reason, headers FROM said(buy());
SET order_engine.actor = 'the shop';
SET order_engine.traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
SELECT * FROM said(buy());
-- The context wins, key by key.
SELECT * FROM said(buy('{"actor": "Jürgen", "reason": "why not", "tracestate": "rojo=00f067aa0ba902b7,congo=t61 ~"}'));
SELECT * FROM said(buy('{"actor": null, "reason": "null says nothing", "traceparent": null, "tracestate": null}'));
SELECT * FROM said(buy('{"traceparent": "00-11111111111111111111111111111111-2222222222222222-00"}'));

-- One rule for an actor, in a context or as a setting: 1 to 255 bytes without control characters.
CREATE TABLE public.name (what text, value text);
INSERT INTO public.name VALUES ('newline', E'a\nb'), ('tab', E'\t'), ('escape', E'\x1b[2J'), ('delete', E'a\x7f'),
	('256 bytes', repeat('é', 128)), ('255 bytes', repeat('é', 127) || 'e'), ('a name', 'Zoë 7');
SELECT n.what, attempt(format('SELECT buy(%L)', jsonb_build_object('actor', n.value))) AS context, attempt(format('SELECT buy(%L)', jsonb_build_object('reason', n.value))) AS reason FROM public.name n;
SELECT n.what, regexp_replace(attempt(format('SET order_engine.actor = %L', n.value)), '".*" ', '') AS setting FROM public.name n;
SHOW order_engine.actor;
-- Nor does a connection bring one that is no text.
\setenv DATABASE :DBNAME
\! PGOPTIONS="-c order_engine.actor=$(printf 'a\377')" psql -X -d "$DATABASE" -c 'SELECT 1' 2>&1 | grep -o 'FATAL: .*actor"'
\! PGOPTIONS='-c order_engine.actor=Zoë' psql -XAt -d "$DATABASE" -c 'SHOW order_engine.actor' 2>&1

-- What becomes a header of a message is as W3C has it.
SELECT left(t.tracestate, 8) AS tracestate, length(t.tracestate), attempt(format('SELECT buy(%L)', jsonb_build_object('tracestate', t.tracestate)))
FROM (VALUES (''), ('a=1'), (repeat('x', 512)), (repeat('x', 513)), (E'a=1\r\nb: 2'), (E'a=\t1'), ('a=é'), (E'a=\x7f'), (E'\x01')) AS t (tracestate);
SELECT t.traceparent, attempt(format('SELECT buy(%L)', jsonb_build_object('traceparent', t.traceparent))) AS context,
	regexp_replace(attempt(format('SET order_engine.traceparent = %L', t.traceparent)), '".*" ', '') AS setting
FROM (VALUES (''), ('00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'), ('ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'),
	('00-00000000000000000000000000000000-b7ad6b7169203331-01'), ('00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01'),
	('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' || E'\n'), ('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0é')) AS t (traceparent);
SELECT c.context, attempt(format('SELECT buy(%L)', c.context)) FROM (VALUES ('[]'), ('1'), ('{"who": "me"}'), ('{"who": null}'), ('{"actor": {}}')) AS c (context);
