-- An order by its calls: created, moved, refused, repeated.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql
SET order_engine.actor = 'shop';
CREATE VIEW public.stock_held AS SELECT sku, on_hand, reserved FROM stock ORDER BY sku;

SELECT on_hand FROM receive_stock('tea', 10);
SELECT on_hand FROM receive_stock('cup', 5);

--
-- Created: amount = lines + adjustments; stock is reserved; one event, one message.
--
SELECT * FROM create_order(42, '[{"sku": "tea", "quantity": 2, "unit_price": 19.90},
	{"sku": "cup", "quantity": 1, "unit_price": "5.50", "attributes": {"color": "red"}},
	{"sku": "wrapping", "quantity": 1, "stocked": false}]', 'key-1', currency => 'EUR',
	adjustments => '[{"kind": "shipping", "amount": 4.90}, {"kind": "discount", "amount": "-1.00", "line_no": 1, "label": "spring"}]',
	attributes => '{"channel": "web"}', private => '{"name": "Ada"}') \gset
SELECT :'state' AS state, :version AS version, :amount AS amount, :'replayed' AS replayed,
	(:'due_at'::timestamptz - now()) BETWEEN '14 min' AND '15 min 1 s' AS due_in_a_quarter,
	slot_of_order(:order_id) = slot_of_user(42) AS own_slot;
SELECT * FROM stock_held;
SELECT line_no, sku, stock_key, quantity, unit_price, attributes FROM order_line WHERE order_id = :order_id ORDER BY 1;
SELECT version, event, from_state, to_state, actor, idempotency_key, attributes FROM order_event WHERE order_id = :order_id;
SELECT aggregatetype, aggregateid = :'order_id' AS keyed, type, payload::jsonb - '{event_id,order_id,at}'::text[] AS payload FROM outbox;
SELECT user_id, state, subtotal, amount, currency, adjustments, attributes, private, captured, refunded FROM orders WHERE order_id = :order_id;

-- The same request again is answered with the first one's order, numbers compared by value.
SELECT order_id = :order_id AS same, state, version, amount, replayed
FROM create_order(42, '[{"unit_price": 19.9, "quantity": 2.0, "sku": "tea"},
	{"sku": "cup", "quantity": 1, "unit_price": 5.5, "stock_key": "cup", "attributes": {"color": "red"}},
	{"sku": "wrapping", "quantity": 1, "stocked": false, "attributes": {}}]', 'key-1', currency => 'EUR',
	adjustments => '[{"kind": "shipping", "amount": 4.9}, {"kind": "discount", "label": "spring", "amount": "-1.00", "line_no": 1}]',
	attributes => '{"channel": "web"}', private => '{"name": "Ada"}');
-- Null says what the missing key or argument says.
SELECT order_id = :order_id AS same, replayed
FROM create_order(42, '[{"sku": "tea", "quantity": 2, "unit_price": 19.90, "stock_key": null, "stocked": null, "attributes": null},
	{"sku": "cup", "quantity": 1, "unit_price": 5.5, "stocked": true, "attributes": {"color": "red"}},
	{"sku": "wrapping", "quantity": 1, "unit_price": null, "stock_key": null, "stocked": false}]', 'key-1', NULL, 'EUR',
	'[{"kind": "shipping", "amount": 4.9, "line_no": null, "label": null}, {"kind": "discount", "label": "spring", "amount": "-1.00", "line_no": 1}]',
	'{"channel": "web"}', '{"name": "Ada"}', NULL, '{"actor": null, "reason": null, "traceparent": null, "tracestate": null}');
BEGIN;
SELECT state, amount, replayed FROM create_order(41, '[{"sku": "tea", "quantity": 1}]', 'nulls', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT replayed FROM create_order(41, '[{"sku": "tea", "quantity": 1}]', 'nulls');
SELECT replayed FROM create_order(41, '[{"sku": "tea", "quantity": 1}]', 'nulls', adjustments => '[]', attributes => '{}', private => '{}', machine => 'order');
-- JSON has a null of its own.
SELECT replayed FROM create_order(41, '[{"sku": "tea", "quantity": 1}]', 'nulls', adjustments => 'null', attributes => 'null', private => 'null', context => 'null');
SELECT l.line_no, l.stock_key, o.adjustments, o.attributes, o.private FROM orders o JOIN order_line l USING (order_id) WHERE o.user_id = 41;
-- What is null is not kept, except in what is the shop's own.
SELECT order_id AS adjusted FROM create_order(41, '[{"sku": "tea", "quantity": 1}]', adjustments => '[{"kind": "fee", "amount": 1, "line_no": null, "label": null}]', attributes => '{"gift": null}') \gset
SELECT adjustments, attributes FROM orders WHERE order_id = :adjusted;
SELECT on_hand, available FROM receive_stock('tea', 1, NULL, NULL, NULL);
SELECT reason, actor, count(*) FROM stock_movement WHERE sku = 'tea' GROUP BY 1, 2 ORDER BY 1;
SELECT machine_diagram('order', NULL) = machine_diagram('order') AS same;
ROLLBACK;
CALL tend(NULL);
-- Another request under that key is refused; the key belongs to the user.
SELECT attempt($$SELECT create_order(42, '[{"sku": "tea", "quantity": 2}]', 'key-1')$$);
SELECT state, replayed FROM create_order(43, '[{"sku": "tea", "quantity": 1}]', 'key-1');
-- How long it waits to be paid is part of the request; to leave it to the machine is one thing, to say as much another.
SELECT state FROM create_order(43, '[{"sku": "tea", "quantity": 1}]', 'soon', pay_within => '1 day');
SELECT w.pay_within, attempt(format('SELECT create_order(43, ''[{"sku": "tea", "quantity": 1}]'', ''soon'', pay_within => %L)', w.pay_within))
FROM (VALUES ('1 day'), ('2 days'), ('24 hours'), (NULL)) AS w (pay_within);
SELECT attempt($$SELECT create_order(43, '[{"sku": "tea", "quantity": 1}]', 'key-1', pay_within => '15 minutes')$$) ~ '^OE020' AS refused;
SELECT state FROM cancel_order((SELECT order_id FROM orders WHERE idempotency_key = 'soon'));
SELECT * FROM stock_held;

-- Everything that is short is reported at once, lines of one stock key summed; nothing is left behind.
SELECT attempt($$SELECT create_order(42, '[{"sku": "tea", "quantity": 5}, {"sku": "cup", "quantity": 9}, {"sku": "TEA", "stock_key": "tea", "quantity": 6}]', 'key-2')$$);
SELECT attempt($$SELECT create_order(42, '[{"sku": "tea", "quantity": 1}, {"sku": "coffee", "quantity": 1}]', 'key-2')$$);
SELECT state, replayed FROM create_order(42, '[{"sku": "tea", "quantity": 1}]', 'key-2');
SELECT * FROM stock_held;

-- Without stock, without a price, with a due time of its own.
SELECT state, amount, due_at - now() BETWEEN '59 min' AND '1 hour 1 s' AS in_an_hour
FROM create_order(44, '[{"sku": "gift card", "stocked": false, "quantity": 1}]', pay_within => '1 hour');

--
-- Malformed requests name the line and the key, and change nothing.
--
SELECT count(*) AS orders_before FROM orders \gset
SELECT r.request, attempt(format('SELECT create_order(1, %L)', r.request)) FROM (VALUES
	('{}'), ('[]'), ('null'), ('"tea"'), ('[1]'), ('[[]]'), ('[{}]'), ('[{"sku": "tea"}]'),
	('[{"sku": "tea", "quantity": 0}]'), ('[{"sku": "tea", "quantity": -1}]'), ('[{"sku": "tea", "quantity": 1.5}]'),
	('[{"sku": "tea", "quantity": "one"}]'), ('[{"sku": "tea", "quantity": 2147483648}]'),
	('[{"sku": "tea", "quantity": 1e400}]'), ('[{"sku": "tea", "quantity": null}]'),
	('[{"sku": "", "quantity": 1}]'), ('[{"sku": null, "quantity": 1}]'), ('[{"sku": 1, "quantity": 1}]'),
	('[{"sku": "a\nb", "quantity": 1}]'), ('[{"sku": "a\u007f", "quantity": 1}]'),
	('[{"sku": "tea", "quantity": 1, "unit_price": -1}]'), ('[{"sku": "tea", "quantity": 1, "unit_price": "NaN"}]'),
	('[{"sku": "tea", "quantity": 1, "unit_price": "1e3"}]'), ('[{"sku": "tea", "quantity": 1, "unit_price": " 1"}]'),
	('[{"sku": "tea", "quantity": 1, "unit_price": "1."}]'), ('[{"sku": "tea", "quantity": 1, "unit_price": 1e60}]'),
	('[{"sku": "tea", "quantity": 1, "stocked": 0}]'), ('[{"sku": "tea", "quantity": 1, "stocked": "no"}]'),
	('[{"sku": "tea", "quantity": 1, "stocked": false, "stock_key": "tea"}]'), ('[{"sku": "tea", "quantity": 1, "colour": null}]'), ('[{"sku": "tea", "quantity": 1, "unit_price": true}]'),
	('[{"sku": "tea", "quantity": 1, "attributes": []}]'), ('[{"sku": "tea", "quantity": 1, "attributes": "x"}]'),
	('[{"sku": "tea", "quantity": 1, "colour": "red"}]'), ('[{"sku": "tea", "quantity": 1}, 7]')) AS r (request);
SELECT r.request, attempt(format('SELECT create_order(1, ''[{"sku": "tea", "quantity": 1, "unit_price": 2}]'', adjustments => %L)', r.request)) FROM (VALUES
	('{}'), ('[1]'), ('[{}]'), ('[{"kind": "gift", "amount": 1}]'), ('[{"kind": "tax"}]'), ('[{"amount": 1}]'),
	('[{"kind": "tax", "amount": "NaN"}]'), ('[{"kind": "tax", "amount": 1, "line_no": 2}]'),
	('[{"kind": "tax", "amount": 1, "label": 7}]'), ('[{"kind": "tax", "amount": 1, "x": 7}]'),
	('[{"kind": "tax", "amount": 1, "x": null}]'), ('[{"kind": "tax", "amount": null}]'), ('[{"kind": null, "amount": 1}]'),
	('[{"kind": "discount", "amount": -2.01}]'),
	('[{"kind": "discount", "amount": 0, "stock_key": "tea"}]'), ('[{"kind": "discount", "amount": 0, "quantity": 1}]'),
	('[{"kind": "discount", "amount": 0, "stock_key": null, "quantity": 1}]'), ('[{"kind": "discount", "amount": 0, "stock_key": "", "quantity": 1}]'),
	('[{"kind": "discount", "amount": 0, "stock_key": 1, "quantity": 1}]'), ('[{"kind": "discount", "amount": 0, "stock_key": "tea", "quantity": 0}]'),
	('[{"kind": "discount", "amount": 0, "stock_key": "tea", "quantity": 1.5}]'), ('[{"kind": "discount", "amount": 0, "stock_key": "tea", "quantity": "x"}]'),
	('[{"kind": "discount", "amount": 0, "stock_key": "tea", "quantity": 2147483648}]'),
	('[{"kind": "rounding", "amount": 0, "stock_key": "tea", "quantity": 1}]')) AS r (request);
SELECT r.arguments, attempt(format('SELECT create_order(%s)', r.arguments)) FROM (VALUES
	($$NULL, '[{"sku": "tea", "quantity": 1}]'$$), ($$1, NULL$$),
	($$1, '[{"sku": "tea", "quantity": 1}]', ''$$), ($$1, '[{"sku": "tea", "quantity": 1}]', repeat('k', 256)$$),
	($$1, '[{"sku": "tea", "quantity": 1}]', E'a\tb'$$),
	($$1, '[{"sku": "tea", "quantity": 1}]', pay_within => '0'$$), ($$1, '[{"sku": "tea", "quantity": 1}]', pay_within => '-1 s'$$),
	($$1, '[{"sku": "tea", "quantity": 1}]', currency => ''$$), ($$1, '[{"sku": "tea", "quantity": 1}]', attributes => '[]'$$),
	($$1, '[{"sku": "tea", "quantity": 1}]', private => '"secret"'$$), ($$1, '[{"sku": "tea", "quantity": 1}]', machine => 'none'$$),
	($$1, '[{"sku": "tea", "quantity": 1}]', context => '{"who": "me"}'$$),
	($$1, '[{"sku": "tea", "quantity": 1}]', context => '{"actor": 1}'$$), ($$1, '[{"sku": "tea", "quantity": 1}]', context => '{"traceparent": "00-0"}'$$),
	($$1, '[{"sku": "tea", "quantity": 1}]', context => '{"who": null}'$$), ($$1, '[{"sku": "tea", "quantity": 1}]', context => '[]'$$)) AS r (arguments);
SELECT attempt('SELECT create_order(1, (SELECT jsonb_agg(''{"sku": "tea", "quantity": 1}''::jsonb) FROM generate_series(1, 1001)))');
SELECT count(*) - :orders_before AS more FROM orders;
SELECT * FROM stock_held;

--
-- Moved: only as the machine says, and with the version that the caller saw.
--
SELECT attempt(format('SELECT ship_order(%s)', :order_id));
SELECT attempt(format('SELECT fire(%s, ''dance'')', :order_id));
SELECT attempt(format('SELECT fire(%s, ''expire'')', :order_id));
SELECT attempt(format('SELECT fire(%s, ''pay'')', :order_id));
SELECT attempt(format('SELECT cancel_order(%s, 7)', :order_id));
SELECT attempt('SELECT ship_order(1)'), attempt('SELECT ship_order(-1)'), attempt('SELECT ship_order(NULL)');
SELECT attempt(format('SELECT fire(%s, NULL)', :order_id)), attempt(format('SELECT fire(%s, '''')', :order_id));
-- What the hints say can be done.
SELECT code, hint FROM refusal('SELECT fire(1, ''ship'')');
SELECT code, hint FROM refusal(format('UPDATE orders SET amount = 1 WHERE order_id = %s', :order_id));
SELECT code, hint FROM refusal('DELETE FROM orders');
SELECT attempt(format('SELECT fire(%s, ''cancel'', attributes => ''[]'')', :order_id));
SELECT attempt(format('SELECT fire(%s, ''cancel'', attributes => jsonb_build_object(''x'', repeat(''x'', 9000)))', :order_id));
SELECT attempt(format('SELECT cancel_order(%s, idempotency_key => '''')', :order_id));

SELECT outcome, state, version, captured FROM pay_order(:order_id, 'p-1', 49.20, 'EUR');
SELECT * FROM stock_held;
SELECT state, version, replayed FROM ship_order(:order_id, 2, 'ship-1', '{"tracking": "T1"}', '{"actor": "packer", "reason": "ready"}');
-- A retry is answered as the first call was, before its version is looked at.
SELECT state, version, replayed FROM ship_order(:order_id, 2, 'ship-1');
SELECT attempt(format('SELECT complete_order(%s, idempotency_key => ''ship-1'')', :order_id));
SELECT state, version, replayed FROM complete_order(:order_id);
SELECT version, event, from_state, to_state, actor, reason, idempotency_key, attributes FROM order_event WHERE order_id = :order_id ORDER BY 1;
SELECT sku, quantity, reason, ref = :'order_id' || '/2' AS by_this_order, actor FROM stock_movement WHERE reason = 'confirm' ORDER BY 1;

-- The way back: refund asked for, rejected, asked for again, confirmed.
SELECT order_id FROM create_order(45, '[{"sku": "tea", "quantity": 3, "unit_price": 1}]') \gset
SELECT outcome FROM pay_order(:order_id, 'p', 3);
SELECT state FROM request_refund(:order_id);
SELECT state FROM reject_refund(:order_id);
SELECT state FROM request_refund(:order_id);
SELECT * FROM stock_held;
SELECT state FROM confirm_refund(:order_id);
SELECT * FROM stock_held;
SELECT sum(quantity) = (SELECT on_hand FROM stock WHERE sku = 'tea') AS movements_sum_up FROM stock_movement WHERE sku = 'tea';

-- Cancelled before it was paid: the stock is free again.
SELECT order_id FROM create_order(46, '[{"sku": "cup", "quantity": 3}]') \gset
SELECT * FROM stock_held WHERE sku = 'cup';
SELECT state, version FROM cancel_order(:order_id);
SELECT * FROM stock_held WHERE sku = 'cup';

--
-- One call is one action in the caller's transaction: rolled back, it never was.
--
BEGIN;
SELECT state FROM create_order(47, '[{"sku": "cup", "quantity": 1}]', 'gone');
SAVEPOINT a;
SELECT state, replayed FROM create_order(47, '[{"sku": "cup", "quantity": 2}]', 'gone 2');
ROLLBACK TO a;
SELECT * FROM stock_held WHERE sku = 'cup';
ROLLBACK;
SELECT * FROM stock_held WHERE sku = 'cup';
SELECT replayed FROM create_order(47, '[{"sku": "cup", "quantity": 1}]', 'gone');

-- Many calls in one statement see each other.
SELECT count(*), count(DISTINCT order_id) FROM generate_series(1, 3) i, create_order(48, '[{"sku": "tea", "quantity": 1}]', 'k' || i % 2);
BEGIN READ ONLY;
SELECT create_order(1, '[{"sku": "tea", "quantity": 1}]');
ROLLBACK;

--
-- An order's history adds up: a fold of its events is its state and version.
--
SELECT count(*) AS orders, count(*) FILTER (WHERE e.n = o.version AND e.last_state = o.state) AS agree
FROM orders o JOIN LATERAL (SELECT count(*) AS n, (array_agg(to_state ORDER BY version DESC))[1] AS last_state
	FROM order_event WHERE order_id = o.order_id) e ON true;

---- a due event that stays in the state fires once
SELECT order_engine.define_machine('remind', '{"final": ["done"], "transitions": [
	{"from": null, "event": "create", "to": "open", "due": "1 second", "due_event": "remind"},
	{"from": "open", "event": "remind", "to": "open"}, {"from": "open", "event": "note", "to": "open"}, {"from": "open", "event": "close", "to": "done"}]}') > 0 AS defined;
SELECT order_id FROM order_engine.create_order(99, '[{"sku": "x", "quantity": 1, "stocked": false}]', machine => 'remind', pay_within => '1 microsecond') \gset
SELECT version FROM order_engine.fire(:order_id, 'note');
SELECT version, due_at IS NOT NULL AS due FROM order_engine.orders WHERE order_id = :order_id;
CALL order_engine.tend();
CALL order_engine.tend();
SELECT version, due_at IS NOT NULL AS due FROM order_engine.orders WHERE order_id = :order_id;
