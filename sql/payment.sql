-- Payments and refunds: every outcome, every replay, nothing lost.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql
-- An order of 10.00 EUR for user u.
CREATE FUNCTION public.new_order(u bigint, due interval DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
	SELECT order_id FROM order_engine.create_order(u, '[{"sku": "tea", "quantity": 1, "unit_price": 10.00}]', currency => 'EUR', pay_within => due)
$$;
-- What the newest event of an order says about money.
CREATE FUNCTION public.last_event(of_order bigint) RETURNS TABLE (type text, version text, captured text, refunded text, refund_due text, payment jsonb)
LANGUAGE sql AS $$
	SELECT type, p ->> 'version', p ->> 'captured', p ->> 'refunded', p ->> 'refund_due', p -> 'payment'
	FROM order_engine.outbox, LATERAL (SELECT payload::jsonb) AS j (p) WHERE aggregateid = of_order::text ORDER BY outbox.id DESC LIMIT 1
$$;
SELECT on_hand FROM receive_stock('tea', 100);

-- paid; its replay, with whatever amount; a second payment is owed back.
SELECT new_order(1) AS id \gset
SELECT outcome, replayed, order_id = :id AS same, state, version, captured FROM pay_order(:id, 'p-1', 10, 'EUR', '{"via": "card"}');
SELECT * FROM last_event(:id);
SELECT outcome, replayed, state, version, captured FROM pay_order(:id, 'p-1', 999);
SELECT outcome, replayed, state, version, captured FROM pay_order(:id, 'p-2', 10);
SELECT * FROM last_event(:id);

-- partly_paid, partly_paid, paid.
SELECT new_order(2) AS id \gset
SELECT outcome, state, version, captured FROM pay_order(:id, 'a', 4);
SELECT * FROM last_event(:id);
SELECT outcome, state, version, captured FROM pay_order(:id, 'b', 5.99);
SELECT outcome, state, version, captured FROM pay_order(:id, 'c', 0.01);
-- overpaid.
SELECT new_order(3) AS id \gset
SELECT outcome, state, version, captured FROM pay_order(:id, 'a', 12.5);
SELECT * FROM last_event(:id);
-- mismatch: recorded, nothing captured; null matches any currency.
SELECT new_order(4) AS id \gset
SELECT outcome, state, version, captured FROM pay_order(:id, 'a', 10, 'USD');
SELECT * FROM last_event(:id);
SELECT outcome, replayed FROM pay_order(:id, 'a', 10, 'EUR');
SELECT outcome, state, version, captured FROM pay_order(:id, 'b', 10);
-- refund_due: the money of a cancelled order is owed back whole.
SELECT new_order(5) AS id \gset
SELECT state FROM cancel_order(:id);
SELECT outcome, state, version, captured FROM pay_order(:id, 'late', 10, 'EUR');
SELECT * FROM last_event(:id);
-- A due time that has passed refuses nothing by itself.
SELECT new_order(6, '1 microsecond') AS id \gset
SELECT outcome, state FROM pay_order(:id, 'in time', 10, 'EUR');
-- One payment may pay several orders.
SELECT outcome, replayed FROM pay_order(new_order(7), 'shared', 10);
SELECT outcome, replayed FROM pay_order(new_order(7), 'shared', 10);
-- An order that costs nothing is paid by nothing, or by its event.
SELECT order_id AS id FROM create_order(8, '[{"sku": "tea", "quantity": 1}]') \gset
SELECT outcome, state FROM pay_order(:id, 'free', 0);
SELECT order_id AS id FROM create_order(8, '[{"sku": "tea", "quantity": 1}]') \gset
SELECT state FROM fire(:id, 'pay');

-- A machine that reserves only when an order is paid: whoever pays for what is sold out has paid all the same.
SELECT define_machine('paid first', '{"final": ["packed", "gone"], "void": ["gone"], "transitions": [
	{"from": null, "event": "create", "to": "open"}, {"from": "open", "event": "cancel", "to": "gone"},
	{"from": "open", "event": "pay", "to": "paid", "stock": "reserve", "requires_payment": true},
	{"from": "paid", "event": "pack", "to": "packed", "stock": "confirm"}]}') > 1 AS defined;
SELECT on_hand FROM receive_stock('rare', 3);
SELECT order_id AS first FROM create_order(11, '[{"sku": "rare", "quantity": 2, "unit_price": 5}]', machine => 'paid first') \gset
SELECT order_id AS second FROM create_order(11, '[{"sku": "rare", "quantity": 2, "unit_price": 5}]', machine => 'paid first') \gset
SELECT order_id AS third FROM create_order(11, '[{"sku": "never heard of", "quantity": 1, "unit_price": 5}]', machine => 'paid first') \gset
SELECT outcome, state FROM pay_order(:first, 'p', 10);
SELECT outcome, state FROM pay_order(:second, 'p', 9);
SELECT outcome, state, version, captured FROM pay_order(:second, 'q', 1);
SELECT * FROM last_event(:second);
SELECT outcome, replayed FROM pay_order(:second, 'q', 1);
SELECT outcome, state FROM pay_order(:third, 'p', 5);
SELECT on_hand, reserved FROM stock WHERE sku = 'rare';
SELECT attempt(format('SELECT fire(%s, ''pay'')', :second));
SELECT on_hand FROM receive_stock('rare', 1);
SELECT state, version FROM fire(:second, 'pay');
SELECT on_hand, reserved FROM stock WHERE sku = 'rare';

-- Refunds: in parts, the rest, all of it as the move.
SELECT new_order(9) AS id \gset
SELECT outcome FROM pay_order(:id, 'p', 10);
SELECT replayed, order_id = :id AS same, state, version, refunded FROM refund_order(:id, 'r-1', 2.5);
SELECT * FROM last_event(:id);
SELECT replayed, state, version, refunded FROM refund_order(:id, 'r-1', 2.5);
SELECT attempt(format('SELECT refund_order(%s, ''r-2'', 7.51)', :id));
SELECT on_hand FROM stock WHERE sku = 'tea';
SELECT replayed, state, version, refunded FROM refund_order(:id, 'r-2');
SELECT * FROM last_event(:id);
SELECT on_hand FROM stock WHERE sku = 'tea';
SELECT attempt(format('SELECT refund_order(%s, ''r-3'')', :id));
SELECT attempt(format('SELECT refund_order(%s, ''r-3'', 0.01)', :id));
SELECT replayed, state FROM refund_order(:id, 'r-2');
-- Where the machine has no such move, the money goes back all the same.
SELECT new_order(10) AS id \gset
SELECT outcome FROM pay_order(:id, 'p', 10);
SELECT state FROM ship_order(:id);
SELECT state, version, refunded FROM refund_order(:id, 'r');
SELECT * FROM last_event(:id);
SELECT kind, payment_ref, amount, currency, outcome, version, attributes FROM payment WHERE order_id = :id ORDER BY kind;

-- Malformed input, unknown orders: an error, and nothing changes.
SELECT count(*) AS payments_before FROM payment \gset
SELECT c.call, attempt('SELECT ' || replace(c.call, 'ID', :'id')) FROM (VALUES
	('pay_order(NULL, ''x'', 1)'), ('pay_order(ID, NULL, 1)'), ('pay_order(ID, ''x'', NULL)'),
	('pay_order(1, ''x'', 1)'), ('pay_order(ID, '''', 1)'), ('pay_order(ID, repeat(''x'', 256), 1)'),
	('pay_order(ID, ''x'', -1)'), ('pay_order(ID, ''x'', ''NaN'')'), ('pay_order(ID, ''x'', ''Infinity'')'),
	('pay_order(ID, ''x'', 1e50)'), ('pay_order(ID, ''x'', 1, '''')'), ('pay_order(ID, ''x'', 1, attributes => ''[1]'')'),
	('pay_order(ID, ''x'', 1, context => ''{"x": 1}'')'),
	('refund_order(NULL, ''x'', 1)'), ('refund_order(ID, NULL, 1)'), ('refund_order(1, ''x'', 1)'), ('refund_order(ID, '''', 1)'),
	('refund_order(ID, ''x'', 0)'), ('refund_order(ID, ''x'', -1)'), ('refund_order(ID, ''x'', ''NaN'')'),
	('refund_order(ID, ''x'', ''-Infinity'')'), ('refund_order(ID, ''x'', 1, ''7'')')) AS c (call);
SELECT count(*) - :payments_before AS more FROM payment;

-- One limit for every amount, given or computed: what is created can be paid at once, and changed by hand.
SELECT repeat('9', 48) AS most, '0.' || repeat('0', 45) || '1' AS least, repeat('9', 49) AS more \gset
CREATE FUNCTION public.priced(prices text, quantity int DEFAULT 1, adjustment text DEFAULT '0') RETURNS bigint LANGUAGE sql AS $$
	SELECT order_id FROM order_engine.create_order(12, (SELECT jsonb_agg(jsonb_build_object('sku', 'note', 'stocked', false, 'quantity', quantity, 'unit_price', price))
		FROM unnest(string_to_array(prices, ' ')) price), adjustments => jsonb_build_array(jsonb_build_object('kind', 'fee', 'amount', adjustment)))
$$;
SELECT priced(:'most') AS id \gset
UPDATE orders SET attributes = '{"gift": true}' WHERE order_id = :id RETURNING amount = :most AS longest, version;
SELECT outcome FROM pay_order(:id, 'p', :most);
SELECT a.what, attempt(format('SELECT priced(%s)', a.arguments)) FROM (VALUES
	('price', quote_literal(:'more')), ('adjustment', format('''1'', 1, %L', :'more')), ('product', format('%L, 2', :'most')),
	('sum', quote_literal(:'most' || ' 1')), ('digits', quote_literal(:'most' || ' ' || :'least')), ('with adjustment', format('''1'', 1, %L', :'most'))) AS a (what, arguments);
SELECT a.name, attempt(format('INSERT INTO orders (order_id, user_id, %I) VALUES (next_order_id(12), 12, %s)', a.name, :'more')) FROM (VALUES ('subtotal'), ('amount'), ('captured')) AS a (name);
-- What many payments sum up to may be longer: nobody gives it.
SELECT priced('1') AS id \gset
SELECT count(outcome) FROM generate_series(1, 11) i, pay_order(:id, 'p-' || i, :most);
SELECT outcome FROM pay_order(:id, 'small', :least);
UPDATE orders SET state = 'shipped' WHERE order_id = :id RETURNING version, length(captured::text);
SELECT attempt(format('SELECT refund_order(%s, ''r'', %s)', :id, :'more'));
SELECT state, refunded > :most AS all_of_it FROM refund_order(:id, 'all');
UPDATE orders SET state = 'completed' WHERE order_id = :id RETURNING version, refunded = captured AS settled;
SELECT * FROM last_event(:id);

-- captured and refunded are the sums of what was recorded.
SELECT count(*) AS orders, count(*) FILTER (WHERE o.captured = p.captured AND o.refunded = p.refunded) AS agree
FROM orders o, LATERAL (SELECT coalesce(sum(amount) FILTER (WHERE kind = 'capture' AND outcome <> 'mismatch'), 0) AS captured,
	coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0) AS refunded FROM payment WHERE order_id = o.order_id) p;
