-- Reading orders: whole documents, pages of a user, the history; each from one leaf.
SET client_min_messages = warning;
SET timezone = 'Asia/Tokyo';

-- Two users whose orders lie in the same leaf, and one whose orders do not.
CREATE TEMP TABLE who AS
SELECT 7::bigint AS mine,
	(SELECT u FROM generate_series(8, 100000) u WHERE order_engine.slot_of_user(u) = order_engine.slot_of_user(7) LIMIT 1)::bigint AS neighbour,
	(SELECT u FROM generate_series(8, 100) u WHERE order_engine.slot_of_user(u) % 4 <> order_engine.slot_of_user(7) % 4 LIMIT 1)::bigint AS stranger,
	order_engine.slot_of_user(7) % 4 AS leaf;
CREATE FUNCTION pg_temp.id(user_id bigint, n int) RETURNS bigint LANGUAGE sql AS
	'SELECT (n::bigint << 22) | (order_engine.slot_of_user(user_id)::bigint << 12) | (user_id & 4095)';

-- Finished orders of another system, brought in as a restore would: no rule fires.
SET session_replication_role = replica;
INSERT INTO order_engine.orders (order_id, user_id, state, machine_id, version, subtotal, amount, captured, refunded, currency,
	idempotency_key, adjustments, attributes, private, created_at, updated_at, due_at)
SELECT pg_temp.id(u, n), u, CASE WHEN n % 3 = 0 THEN 'paid' ELSE 'completed' END, 1, 2, 20.50, 18.50, 18.50, 0, 'EUR',
	'key-' || n, '[{"kind": "discount", "amount": -2.00}]', jsonb_build_object('n', n, 'long', repeat('x', 400)),
	'{"name": "Planted Secret"}', '2026-01-02 03:04:05.678+00', '2026-01-02 03:04:06+00', NULL
FROM who, generate_series(1, 25) n, unnest(ARRAY[mine, neighbour, stranger]) u;
INSERT INTO order_engine.order_line
SELECT o.order_id, n, 'sku-' || n, CASE n WHEN 1 THEN 'berlin/sku-1' END, n, 10.25, '{"gift": true}'
FROM order_engine.orders o, generate_series(1, 2) n;
INSERT INTO order_engine.payment
SELECT o.order_id, 'capture', 'pay-1', 18.50, 'EUR', 'paid', 2, '{}', o.updated_at FROM order_engine.orders o;
INSERT INTO order_engine.order_event (order_id, version, event, from_state, to_state, actor, reason, idempotency_key, attributes, traceparent, at)
SELECT o.order_id, v.* FROM order_engine.orders o, (VALUES
	(2, 'pay', 'pending', 'paid', 'psp', NULL, NULL, '{"card": "visa"}'::jsonb, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', '2026-01-02 03:04:06+00'::timestamptz),
	(1, 'create', NULL, 'pending', 'shop', 'checkout', 'key', '{}', NULL, '2026-01-02 03:04:05.678+00')) v;
RESET session_replication_role;
SELECT mine, neighbour, stranger, leaf FROM who \gset
SELECT pg_temp.id(:mine, 3) AS an_order \gset

SELECT plan(48);

-- ---- get_order ----
SELECT is(order_engine.get_order(:an_order), jsonb_build_object(
	'order_id', :'an_order', 'user_id', '7', 'state', 'paid', 'machine', 'order', 'machine_id', 1, 'version', 2,
	'subtotal', 20.50, 'amount', 18.50, 'captured', 18.50, 'refunded', 0, 'refund_due', 0, 'currency', 'EUR',
	'idempotency_key', 'key-3', 'adjustments', '[{"kind": "discount", "amount": -2.00}]'::jsonb,
	'attributes', jsonb_build_object('n', 3, 'long', repeat('x', 400)),
	'created_at', '2026-01-02T03:04:05.678+00:00', 'updated_at', '2026-01-02T03:04:06+00:00', 'due_at', NULL,
	'lines', '[{"line_no": 1, "sku": "sku-1", "stock_key": "berlin/sku-1", "quantity": 1, "unit_price": 10.25, "attributes": {"gift": true}},
		{"line_no": 2, "sku": "sku-2", "stock_key": null, "quantity": 2, "unit_price": 10.25, "attributes": {"gift": true}}]'::jsonb,
	'payments', '[{"kind": "capture", "ref": "pay-1", "amount": 18.50, "currency": "EUR", "outcome": "paid", "version": 2, "attributes": {}, "at": "2026-01-02T03:04:06+00:00"}]'::jsonb,
	'history', '[{"version": 1, "event": "create", "from": null, "to": "pending", "actor": "shop", "reason": "checkout", "idempotency_key": "key", "attributes": {}, "traceparent": null, "at": "2026-01-02T03:04:05.678+00:00"},
		{"version": 2, "event": "pay", "from": "pending", "to": "paid", "actor": "psp", "reason": null, "idempotency_key": null, "attributes": {"card": "visa"}, "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "at": "2026-01-02T03:04:06+00:00"}]'::jsonb),
	'a document holds the order with its lines, payments and history, in order, times in UTC');
SELECT is(order_engine.get_order(:an_order)->>'amount', '18.50', 'amounts keep their scale');
SELECT is(jsonb_typeof(order_engine.get_order(:an_order)->'order_id'), 'string', 'ids are strings');
SELECT unalike(order_engine.get_order(:an_order)::text, '%Planted Secret%', 'what is private is not in it');
SELECT is(order_engine.get_order(:an_order + 1), NULL, 'an unknown id gives null');
SELECT is(order_engine.get_order(NULL), NULL, 'null gives null');
SELECT is(order_engine.get_order(i), NULL, 'no order has id ' || i)
FROM unnest(ARRAY[0, -1, 9223372036854775807, -9223372036854775808]) i;

-- An order made by the calls.
SELECT order_engine.receive_stock('sku', 5) \gset
SELECT order_id AS called, amount AS called_amount FROM order_engine.create_order(70, '[{"sku": "sku", "quantity": 2, "unit_price": 9.90}]', private => '{"name": "Planted Secret"}') \gset
SELECT outcome FROM order_engine.pay_order(:called, 'pay-1', 30) \gset
SELECT is(order_engine.get_order(:called) #>> '{payments,0,outcome}', 'overpaid', 'its payments tell their outcome');
SELECT is(order_engine.get_order(:called)->>'refund_due', '10.20', 'refund_due is what is owed back');
SELECT is((SELECT string_agg(e->>'event' || ' ' || (e->>'to'), ', ' ORDER BY n) FROM jsonb_array_elements(order_engine.get_order(:called)->'history') WITH ORDINALITY AS h (e, n)),
	'create pending, pay paid', 'its history is what happened');

-- ---- get_orders ----
SELECT results_eq(format('SELECT order_id, "order" FROM order_engine.get_orders(ARRAY[%s, NULL, %s, 5, %s, %s]::bigint[])',
		pg_temp.id(:stranger, 9), :an_order, pg_temp.id(:neighbour, 2), :an_order),
	format('SELECT i, order_engine.get_order(i) FROM unnest(ARRAY[%s, %s, %s]::bigint[]) i ORDER BY i',
		pg_temp.id(:stranger, 9), :an_order, pg_temp.id(:neighbour, 2)),
	'many at once: each that exists, once, with the document of get_order()');
SELECT is_empty('SELECT * FROM order_engine.get_orders(''{}'')', 'no ids, no rows');
SELECT is_empty('SELECT * FROM order_engine.get_orders(NULL)', 'null, no rows');

-- ---- user_orders ----
SELECT results_eq(format('SELECT order_id FROM order_engine.user_orders(%s, NULL, 1000)', :mine),
	format('SELECT pg_temp.id(%s, n) FROM generate_series(25, 1, -1) n', :mine),
	'a user has his own orders, newest first, and none of the neighbour''s');
SELECT is((SELECT count(*) FROM order_engine.user_orders(:mine)), 20::bigint, 'a page has 20 rows unless another number is asked for');
CREATE TEMP TABLE walk AS
WITH RECURSIVE page (n, order_id) AS (
	SELECT 1, (SELECT array_agg(u.order_id) FROM order_engine.user_orders(:mine, NULL, 4) u)
	UNION ALL
	SELECT n + 1, (SELECT array_agg(u.order_id) FROM order_engine.user_orders(:mine, page.order_id[4], 4) u) FROM page WHERE page.order_id[4] IS NOT NULL
)
SELECT n, unnest(order_id) AS order_id FROM page;
SELECT is((SELECT max(n) FROM walk), 7, 'pages of 4 out of 25 orders are 7');
SELECT results_eq('SELECT order_id FROM walk ORDER BY n, order_id DESC',
	format('SELECT order_id FROM order_engine.user_orders(%s, NULL, 1000)', :mine),
	'the pages together are all of them, each once');
SELECT results_eq(format('SELECT order_id, state FROM order_engine.user_orders(%s, NULL, 3, ''{paid}'')', :mine),
	format('SELECT pg_temp.id(%s, n), ''paid'' FROM unnest(ARRAY[24, 21, 18]) n', :mine),
	'only those in one of the given states, a full page of them');
SELECT is((SELECT count(*) FROM order_engine.user_orders(:mine, states => '{paid,completed,NULL,unheard}', max_rows => 50)), 25::bigint, 'several states');
SELECT is_empty(format('SELECT * FROM order_engine.user_orders(%s, states => ''{}'')', :mine), 'no state, no order');
SELECT is_empty('SELECT * FROM order_engine.user_orders(6)', 'a user without orders');
SELECT is_empty('SELECT * FROM order_engine.user_orders(NULL)', 'no user');
SELECT is_empty(format('SELECT * FROM order_engine.user_orders(%s, %s)', :mine, '-9223372036854775808'), 'nothing is older than the oldest');
SELECT throws_ok(format('SELECT * FROM order_engine.user_orders(%s, NULL, %s)', :mine, n), '22023', 'max_rows must be between 1 and 1000',
	'max_rows ' || n || ' is refused') FROM unnest(ARRAY['0', '-1', '1001']) n;
SELECT is((SELECT count(*) FROM order_engine.user_orders(:mine, NULL, NULL, NULL)), 20::bigint, 'null is the default');
SELECT results_eq(format('SELECT state, version, amount, currency, captured, refunded, attributes->>''n'', created_at, updated_at, due_at FROM order_engine.user_orders(%s, NULL, 1)', :mine),
	$$VALUES ('completed', 2, 18.50, 'EUR', 18.50, 0::numeric, '25', '2026-01-02 03:04:05.678+00'::timestamptz, '2026-01-02 03:04:06+00'::timestamptz, NULL::timestamptz)$$,
	'a row of a page');

-- ---- order_history ----
SELECT results_eq(format('SELECT * FROM order_engine.order_history(%s)', :an_order),
	format('SELECT version, event COLLATE "default", from_state COLLATE "default", to_state COLLATE "default", actor, reason, idempotency_key COLLATE "default", attributes, traceparent COLLATE "default", at FROM order_engine.order_event WHERE order_id = %s ORDER BY version', :an_order),
	'the history is the rows of order_event by version');
SELECT is_empty('SELECT * FROM order_engine.order_history(1)', 'an unknown order has none');

-- ---- one leaf is touched, by its index ----
CREATE TEMP VIEW touched AS
SELECT relation::regclass::text COLLATE "C" AS relation, mode FROM pg_locks
WHERE pid = pg_backend_pid() AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = 'order_engine'::regnamespace);
SELECT pg_stat_force_next_flush() \gset
BEGIN;
SELECT count(*) FROM order_engine.user_orders(:mine, NULL, 5) \gset page_
SELECT results_eq('SELECT relation, mode FROM touched ORDER BY relation',
	format('VALUES (''order_engine.orders'' COLLATE "C", ''AccessShareLock''), (''order_engine.orders_%s'', ''AccessShareLock''), (''order_engine.orders_%s_user_id'', ''AccessShareLock'')', :leaf, :leaf),
	'user_orders() takes three locks: on the table, the leaf of the user''s slot and its index');
SELECT results_eq('SELECT relname::text COLLATE "C", seq_scan, idx_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE schemaname = ''order_engine'' AND (seq_scan > 0 OR idx_scan > 0)',
	format('VALUES (''orders_%s'' COLLATE "C", 0::bigint, 1::bigint, 5::bigint)', :leaf),
	'and reads by one index scan as many rows as it returns');
COMMIT;
BEGIN;
SELECT order_engine.get_order(:an_order) IS NULL AS none \gset get_
SELECT bag_eq('SELECT relation FROM touched WHERE relation !~ ''_pkey$''',
	format('SELECT ''order_engine.'' || t || l FROM unnest(ARRAY[''orders'', ''order_line'', ''order_event'', ''payment'']) t, unnest(ARRAY['''', ''_%s'']) l', :leaf),
	'get_order() touches each table and one leaf of it');
COMMIT;

-- ---- what the caller sees is what it reads ----
SET session_replication_role = replica;
WITH changed AS (UPDATE order_engine.orders SET state = 'shipped' WHERE order_id = :an_order RETURNING order_id)
	SELECT order_engine.get_order(order_id)->>'state' AS state FROM changed \gset seen_
RESET session_replication_role;
SELECT is(:'seen_state'::text, 'paid', 'a statement does not see what it changes itself');
SELECT is(order_engine.get_order(:an_order)->>'state', 'shipped', 'the next statement does');
BEGIN TRANSACTION READ ONLY;
SELECT is(order_engine.get_order(:an_order)->>'state', 'shipped', 'in a read-only transaction');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
SELECT is((SELECT count(*) FROM order_engine.user_orders(:mine)), 20::bigint, 'in a serializable one');
COMMIT;

-- Workers start with empty caches, and may not look further than their leader.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
	RETURN plan::text;
END $$;
SELECT is((SELECT count(order_engine.get_order(order_id)) FROM order_engine.orders), (SELECT count(*) FROM order_engine.orders), 'in parallel workers');
SELECT alike(pg_temp.plan_of('SELECT count(order_engine.get_order(order_id)) FROM order_engine.orders'), '%Gather%', 'so that was planned');
SELECT is((SELECT count(d.*) FROM order_engine.orders o, order_engine.get_orders(ARRAY[o.order_id]) d), (SELECT count(*) FROM order_engine.orders), 'many at once too');
SELECT is((SELECT count(h.*) FROM order_engine.orders o, order_engine.order_history(o.order_id) h), (SELECT count(*) FROM order_engine.order_event), 'and histories');
SELECT is((SELECT count(*) FROM order_engine.orders o, order_engine.relay_status), (SELECT count(*) FROM order_engine.orders), 'the state of the relay beside them');
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET parallel_leader_participation;

-- ---- the user's own columns, and what he breaks ----
ALTER TABLE order_engine.orders ADD COLUMN warehouse text DEFAULT 'berlin';
SELECT is((SELECT count(*) FROM order_engine.user_orders(:mine)), 20::bigint, 'a column more does not matter');
SELECT format('CREATE UNIQUE INDEX a_some_orders ON order_engine.orders_%s (order_id, user_id) WHERE user_id < 0', :leaf) \gexec
SELECT format('CREATE UNIQUE INDEX a_other_way ON order_engine.orders_%s (user_id, order_id DESC)', :leaf) \gexec
SELECT ok(order_engine.get_order(:an_order) IS NOT NULL AND (SELECT min(order_id) FROM order_engine.user_orders(:mine, max_rows => 20)) > pg_temp.id(:mine, 5),
	'an index more, of some orders only or the other way round, is not taken for the engine''s');
SELECT 'DROP INDEX order_engine.a_some_orders, order_engine.a_other_way' \gexec
SELECT format('DROP INDEX order_engine.orders_%s_user_id', :leaf) \gexec
SELECT throws_ok('SELECT * FROM order_engine.user_orders(7)', '55000', format('table "orders_%s" lacks a unique index that the order engine needs', :leaf),
	'without the index of the leaf nothing is scanned instead');

SELECT * FROM finish();
