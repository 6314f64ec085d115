-- Random walks: whatever happens to orders, by calls and by SQL, their history
-- folded through their machine gives their state and version, and stock adds up.
BEGIN;
SELECT plan(9);
SET search_path = order_engine, public;
SELECT setseed(0.42);
SELECT receive_stock(sku, 500) FROM unnest(ARRAY['a', 'b', 'c']) AS sku \g /dev/null

CREATE TABLE public.walker AS
SELECT i, (SELECT order_id FROM create_order(i % 17, jsonb_build_array(
	jsonb_build_object('sku', (ARRAY['a', 'b', 'c'])[1 + i % 3], 'quantity', 1 + i % 2, 'unit_price', 5),
	jsonb_build_object('sku', (ARRAY['b', 'c', 'a'])[1 + i % 3], 'quantity', 1, 'unit_price', 2.50)))) AS order_id
FROM generate_series(1, 150) AS i;

-- One random thing done to one order; what is refused is refused.
CREATE FUNCTION public.step(id bigint, what int, n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	verbs text[] := ARRAY['pay', 'cancel', 'ship', 'complete', 'request_refund', 'confirm_refund', 'reject_refund', 'refund', 'expire', 'dance'];
	states text[] := ARRAY['pending', 'paid', 'shipped', 'completed', 'cancelled', 'refunding'];
BEGIN
	CASE what
		WHEN 0, 1, 2, 3 THEN PERFORM order_engine.fire(id, verbs[1 + n % 10]);
		WHEN 4 THEN PERFORM order_engine.pay_order(id, 'p' || n % 4, (ARRAY[2, 5, 7.5, 12.5, 40])[1 + n % 5], (ARRAY[NULL, 'EUR'])[1 + n % 2]);
		WHEN 5 THEN PERFORM order_engine.refund_order(id, 'r' || n % 4, (ARRAY[NULL, 1, 5])[1 + n % 3]);
		WHEN 6, 7 THEN UPDATE order_engine.orders SET state = states[1 + n % 6] WHERE order_id = id;
		WHEN 8 THEN UPDATE order_engine.orders SET attributes = jsonb_build_object('n', n), version = version + n % 2 WHERE order_id = id;
		ELSE UPDATE order_engine.orders SET due_at = CASE WHEN n % 3 = 0 THEN now() - interval '1 s' ELSE due_at END WHERE order_id = id;
	END CASE;
	RETURN 'done';
EXCEPTION WHEN SQLSTATE 'OE010' OR SQLSTATE 'OE040' OR SQLSTATE 'OE041' OR SQLSTATE 'OE001' THEN
	RETURN SQLSTATE;
END
$$;
CREATE TABLE public.steps AS
SELECT public.step(order_id, (random() * 9)::int, (random() * 10000)::int) AS outcome
FROM generate_series(1, 25) AS round, public.walker;
CALL tend(60000);

SELECT cmp_ok((SELECT count(*) FROM public.steps WHERE outcome = 'done'), '>', 800::bigint, 'many steps were made');
SELECT cmp_ok((SELECT count(*) FROM public.steps WHERE outcome <> 'done'), '>', 800::bigint, 'and many refused');
SELECT is((SELECT count(DISTINCT state) FROM orders), 6::bigint, 'every state was reached');

SELECT results_eq(
	$$SELECT o.order_id, (r.replayed).state COLLATE "C", (r.replayed).version FROM orders o, LATERAL (
		SELECT replay_events(o.machine_id, e.version, e.event, e.from_state, e.to_state ORDER BY e.version) AS replayed
		FROM order_event e WHERE e.order_id = o.order_id) r ORDER BY 1$$,
	'SELECT order_id, state, version FROM orders ORDER BY 1', 'history folds into the stored state and version');
SELECT results_eq(
	$$SELECT aggregateid::bigint, (payload ->> 'version')::int, (payload ->> 'to') COLLATE "C" FROM outbox ORDER BY 1, 2$$,
	'SELECT order_id, version, to_state FROM order_event ORDER BY 1, 2', 'each event was published once');
SELECT results_eq(
	$$SELECT l.stock_key, sum(l.quantity)::bigint FROM orders o JOIN order_line l USING (order_id) WHERE o.state = 'pending' GROUP BY 1 ORDER BY 1$$,
	'SELECT sku, reserved FROM stock WHERE reserved > 0 ORDER BY 1', 'what is reserved is what pending orders hold');
SELECT results_eq(
	'SELECT sku, sum(quantity)::bigint FROM stock_movement GROUP BY 1 ORDER BY 1', 'SELECT sku, on_hand FROM stock ORDER BY 1', 'movements add up to what is on hand');

-- A gap, and a move that the machine does not know, are told.
SELECT throws_ok($$SELECT replay_events(1, v, e, f, t ORDER BY v) FROM (VALUES (1, 'create', NULL, 'pending'), (3, 'pay', 'pending', 'paid')) AS x (v, e, f, t)$$,
	'XX001', 'the history is broken at version 3, event "pay": a version is missing');
SELECT throws_ok($$SELECT replay_events(1, v, e, f, t ORDER BY v) FROM (VALUES (1, 'create', NULL, 'pending'), (2, 'ship', 'pending', 'shipped')) AS x (v, e, f, t)$$,
	'XX001', 'the history is broken at version 2, event "ship": the machine has no such move');
SELECT * FROM finish();
ROLLBACK;
