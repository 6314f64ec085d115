-- The PL/pgSQL that the benchmark measures against writes the same rows as the
-- engine and refuses the same calls: otherwise its ratios would mean nothing.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
BEGIN;
SELECT plan(12);
\ir ../../bench/plpgsql.sql

INSERT INTO plain.stock (sku, on_hand) VALUES ('a', 100), ('b', 100), ('B', 100), ('ä', 100), ('few', 2);
SELECT count(order_engine.receive_stock(s.sku, s.on_hand, 'receipt', 'first')) FROM plain.stock s \gset

-- every call that both know; {n} is the order that step n made
CREATE TEMP TABLE step (n int GENERATED ALWAYS AS IDENTITY, call text);
INSERT INTO step (call) VALUES
	($$create_order(1, '[{"sku": "a", "quantity": 1, "unit_price": 19.90}]', 'k1')$$),
	($$create_order(1, '[{"unit_price": 19.9, "quantity": 1, "sku": "a"}]', 'k1')$$),
	($$create_order(1, '[{"sku": "a", "quantity": 2, "unit_price": 19.90}]', 'k1')$$),
	($$create_order(2, '[{"sku": "a", "quantity": 1, "unit_price": 19.90}]', 'k1')$$),
	($$create_order(3, '[{"sku": "b", "quantity": 2, "unit_price": "7.50", "attributes": {"size": "L"}},
		{"sku": "a", "quantity": 1}, {"sku": "b", "quantity": 3, "unit_price": 0.10},
		{"sku": "gift", "quantity": 1, "stocked": false}, {"sku": "x", "stock_key": "B", "quantity": 4, "unit_price": 1}]',
		currency => 'EUR', adjustments => '[{"kind": "discount", "amount": -5.00, "line_no": 1, "label": "spring"}, {"kind": "shipping", "amount": 4.90}]',
		attributes => '{"channel": "web"}', private => '{"name": "Ann"}', pay_within => '2 hours',
		context => '{"actor": "shop", "reason": "order", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}')$$),
	($$create_order(4, '[{"sku": "few", "quantity": 1}, {"sku": "few", "quantity": 2}]')$$),
	($$create_order(4, '[{"sku": "few", "quantity": 3}, {"sku": "a", "quantity": 1}, {"sku": "B", "quantity": 500}]')$$),
	($$create_order(4, '[{"sku": "none", "quantity": 1}]')$$),
	($$create_order(4, '[]')$$),
	($$create_order(4, '[{"sku": "a", "quantity": 0}]')$$),
	($$create_order(4, '[{"sku": "a", "quantity": 1.5}]')$$),
	($$create_order(4, '[{"sku": "a", "quantity": 1, "unit_price": -1}]')$$),
	($$create_order(4, '[{"sku": "a", "quantity": 1, "price": 1}]')$$),
	($$create_order(4, '[{"sku": "a", "quantity": 1, "unit_price": 1}]', adjustments => '[{"kind": "discount", "amount": -2}]')$$),
	($$create_order(4, '[{"sku": "a", "quantity": 1}]', '')$$),
	($$pay_order({1}, 'p1', 19.90)$$),
	($$pay_order({1}, 'p1', 1)$$),
	($$pay_order({1}, 'p2', 5, NULL, '{"by": "card"}')$$),
	($$pay_order({4}, 'p1', 10)$$),
	($$pay_order({4}, 'p2', 10)$$),
	($$pay_order({5}, 'p1', 1, 'USD')$$),
	($$pay_order({5}, 'p2', 19.20, 'EUR', '{}', '{"actor": "bank"}')$$),
	($$pay_order(1, 'p1', 1)$$),
	($$fire({1}, 'complete')$$),
	($$fire({1}, 'ship', 2)$$),
	($$fire({1}, 'ship', 3, 's1', '{"parcel": 7}', '{"reason": "packed"}')$$),
	($$fire({1}, 'ship', 3, 's1')$$),
	($$fire({1}, 'complete', NULL, 's1')$$),
	($$fire({1}, 'complete')$$),
	($$fire({4}, 'request_refund')$$),
	($$fire({4}, 'confirm_refund')$$),
	($$create_order(9, '[{"sku": "ä", "quantity": 2, "unit_price": 3}, {"sku": "a", "quantity": 2, "unit_price": 3}]')$$),
	($$fire({32}, 'pay')$$),
	($$fire({32}, 'cancel', 1)$$),
	($$pay_order({32}, 'late', 12)$$),
	($$create_order(3, '[{"sku": "b", "quantity": 1, "unit_price": null, "stock_key": null, "stocked": null, "attributes": null},
		{"sku": "a", "quantity": 1, "stocked": true}]', adjustments => '[{"kind": "fee", "amount": 1}]')$$),
	($$create_order(4, '[{"sku": "few", "quantity": 1, "stock_key": "few", "stocked": false}]')$$);

CREATE TEMP TABLE result (shop text, n int, answer jsonb, order_id bigint);

CREATE FUNCTION pg_temp.run(shop text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	s record;
	o record;
	call text;
	answer jsonb;
BEGIN
	FOR s IN SELECT * FROM step ORDER BY n LOOP
		call := s.call;
		FOR o IN SELECT r.n, r.order_id FROM result r WHERE r.shop = run.shop AND r.order_id IS NOT NULL LOOP
			call := replace(call, '{' || o.n || '}', o.order_id::text);
		END LOOP;
		BEGIN
			EXECUTE format('SELECT to_jsonb(t) FROM %I.%s t', shop, call) INTO answer;
		EXCEPTION WHEN OTHERS THEN
			answer := jsonb_build_object('error', SQLSTATE);
		END;
		INSERT INTO result VALUES (shop, s.n, answer - '{order_id,due_at}'::text[], (answer->>'order_id')::bigint);
	END LOOP;
END
$$;
SELECT pg_temp.run('order_engine') \g /dev/null
SELECT pg_temp.run('plain') \g /dev/null

SELECT results_eq(
	$$SELECT s.call, r.answer FROM result r JOIN step s USING (n) WHERE shop = 'plain' ORDER BY n$$,
	$$SELECT s.call, r.answer FROM result r JOIN step s USING (n) WHERE shop = 'order_engine' ORDER BY n$$,
	'both give the same answers and the same error codes');
SELECT is(count(*) FILTER (WHERE answer ? 'error'), 17::bigint, 'of which some are errors')
FROM result WHERE shop = 'plain';
SELECT is(count(DISTINCT order_id), 5::bigint, 'and some made orders')
FROM result r JOIN step s USING (n) WHERE shop = 'plain' AND s.call LIKE 'create_order%';

-- An order's place among those of its shop, instead of its id (time and sequence, without the slot).
CREATE TEMP VIEW place AS
	SELECT 'order_engine' AS shop, order_id, rank() OVER (ORDER BY order_id >> 22, order_id & 4095) AS place
	FROM order_engine.orders
	UNION ALL SELECT 'plain', order_id, rank() OVER (ORDER BY order_id >> 22, order_id & 4095) FROM plain.orders;

CREATE FUNCTION pg_temp.rows_of(shop text, relation text, not_compared text[], sort text) RETURNS SETOF jsonb
LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT to_jsonb(t) - $1 || jsonb_build_object(''place'', p.place) FROM %I.%I t
		JOIN place p ON p.shop = $2 AND p.order_id = t.order_id ORDER BY p.place, %s', shop, relation, sort)
		USING not_compared || '{order_id}'::text[], shop;
END
$$;

SELECT results_eq(
	$$SELECT * FROM pg_temp.rows_of('plain', 'orders', '{request_hash,created_at,updated_at,due_at}', 't.user_id')$$,
	$$SELECT * FROM pg_temp.rows_of('order_engine', 'orders', '{request_hash,created_at,updated_at,due_at}', 't.user_id')$$,
	'equal orders');
SELECT results_eq(
	$$SELECT user_id, due_at - created_at FROM plain.orders ORDER BY 1, 2$$,
	$$SELECT user_id, due_at - created_at FROM order_engine.orders ORDER BY 1, 2$$,
	'equal due times');
SELECT results_eq(
	$$SELECT * FROM pg_temp.rows_of('plain', 'order_line', '{}', 't.line_no')$$,
	$$SELECT * FROM pg_temp.rows_of('order_engine', 'order_line', '{}', 't.line_no')$$,
	'equal lines');
SELECT results_eq(
	$$SELECT * FROM pg_temp.rows_of('plain', 'order_event', '{at}', 't.version')$$,
	$$SELECT * FROM pg_temp.rows_of('order_engine', 'order_event', '{at}', 't.version')$$,
	'equal history');
SELECT results_eq(
	$$SELECT * FROM pg_temp.rows_of('plain', 'payment', '{at}', 't.version')$$,
	$$SELECT * FROM pg_temp.rows_of('order_engine', 'payment', '{at}', 't.version')$$,
	'equal payments');
SELECT results_eq(
	'SELECT * FROM plain.stock ORDER BY sku',
	'SELECT * FROM order_engine.stock ORDER BY sku',
	'equal stock');

CREATE FUNCTION pg_temp.movements(shop text) RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT m.sku, m.quantity, m.reason, m.actor, p.place, split_part(m.ref, ''/'', 2)::int
		FROM %I.stock_movement m LEFT JOIN place p ON p.shop = $1 AND p.order_id::text = split_part(m.ref, ''/'', 1)
		WHERE m.reason <> ''receipt'' ORDER BY p.place, m.sku, m.reason', shop) USING shop;
END
$$;
SELECT results_eq(
	$$SELECT * FROM pg_temp.movements('plain') AS (sku text, quantity bigint, reason text, actor text, place bigint, version int)$$,
	$$SELECT * FROM pg_temp.movements('order_engine') AS (sku text, quantity bigint, reason text, actor text, place bigint, version int)$$,
	'equal stock movements');

CREATE FUNCTION pg_temp.events(shop text) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT jsonb_build_object(''place'', p.place, ''aggregatetype'', o.aggregatetype, ''type'', o.type,
			''payload'', o.payload::jsonb - ''{event_id,order_id,at}''::text[],
			''headers'', o.headers)
		FROM %I.outbox o JOIN place p ON p.shop = $1 AND p.order_id::text = o.aggregateid
		WHERE o.payload->>''order_id'' = o.aggregateid AND o.payload->>''event_id'' = o.id::text
		ORDER BY p.place, (o.payload->>''version'')::int', shop) USING shop;
END
$$;
SELECT results_eq(
	$$SELECT * FROM pg_temp.events('plain')$$,
	$$SELECT * FROM pg_temp.events('order_engine')$$,
	'equal events in the outbox');
SELECT is((SELECT count(*) FROM plain.outbox), (SELECT count(*) FROM plain.order_event), 'one for each version');

SELECT * FROM finish();
ROLLBACK;
