-- Numbers given as strings, and amounts shown as text.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql
SELECT on_hand FROM receive_stock('tea', 100);

--
-- A number may be a decimal in a string: the same request, the same order.
--
SELECT order_id AS id, amount FROM create_order(1, '[{"sku": "tea", "quantity": "2", "unit_price": "19.90"}, {"sku": "tea", "quantity": "1.0", "unit_price": "007"}]', 'key',
	adjustments => '[{"kind": "discount", "amount": "-1.50", "line_no": "2"}, {"kind": "fee", "amount": "0.00"}]') \gset
SELECT quantity, unit_price FROM order_line WHERE order_id = :id ORDER BY line_no;
SELECT adjustments, amount FROM orders WHERE order_id = :id;
SELECT replayed FROM create_order(1, '[{"sku": "tea", "quantity": 2, "unit_price": 19.9}, {"sku": "tea", "quantity": 1, "unit_price": 7}]', 'key',
	adjustments => '[{"kind": "discount", "amount": -1.5, "line_no": 2}, {"kind": "fee", "amount": 0}]');
SELECT attempt($$SELECT create_order(1, '[{"sku": "tea", "quantity": 2, "unit_price": 19.9}, {"sku": "tea", "quantity": 1, "unit_price": 7}]', 'key',
	adjustments => '[{"kind": "discount", "amount": -1.5, "line_no": 1}, {"kind": "fee", "amount": 0}]')$$) ~ '^OE020' AS refused;
INSERT INTO orders (order_id, user_id, amount, adjustments) VALUES (next_order_id(1), 1, 1, '[{"kind": "fee", "amount": "1.00", "line_no": "1", "label": null}]') RETURNING adjustments;
-- A line's number is a line's number, with however many zeros.
SELECT order_id AS id FROM create_order(1, '[{"sku": "tea", "quantity": 1}]', adjustments => jsonb_build_array(jsonb_build_object('kind', 'fee', 'amount', 1, 'line_no', '1.' || repeat('0', 20000)))) \gset
SELECT adjustments FROM orders WHERE order_id = :id;
-- What is no decimal is refused by name.
SELECT n.number, attempt(format('SELECT create_order(1, ''[{"sku": "tea", "quantity": %s}]'')', n.number)) AS quantity,
	attempt(format('SELECT create_order(1, ''[{"sku": "tea", "quantity": 1, "unit_price": %s}]'')', n.number)) AS unit_price
FROM (VALUES ('"1e400"'), ('"NaN"'), ('""'), ('" 1"'), ('"1 "'), ('"0x1"'), ('"1_000"'), ('"+1"'), ('"1."'), ('".5"'), ('"1,5"'), ('"--1"'), ('"Infinity"'), ('"١"'), ('"-"'), ('{}')) AS n (number);
SELECT a.adjustment, attempt(format('SELECT create_order(1, ''[{"sku": "tea", "quantity": 1, "unit_price": 1}]'', adjustments => %L)', '[{"kind": "fee", ' || a.adjustment || '}]')) FROM (VALUES
	('"amount": "1e1"'), ('"amount": ""'), ('"amount": "1_0"'), ('"amount": "NaN"'), ('"amount": true'), ('"amount": []'), ('"amount": "' || repeat('9', 49) || '"'),
	('"amount": 1, "line_no": "2"'), ('"amount": 1, "line_no": "0"'), ('"amount": 1, "line_no": "1.5"'), ('"amount": 1, "line_no": "one"'), ('"amount": 1, "line_no": "99999999999999999999"')) AS a (adjustment);
SELECT q.quantity, attempt(format('SELECT create_order(1, ''[{"sku": "tea", "quantity": %s}]'')', q.quantity)) FROM (VALUES
	('"0"'), ('"-1"'), ('"1.5"'), ('"2147483648"'), ('"99999999999999999999"')) AS q (quantity);

--
-- Amounts as text: all digits, in events and documents.
--
CREATE FUNCTION public.amounts(j jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_object_agg(key, CASE key WHEN 'lines' THEN jsonb_path_query_array(value, '$[*].unit_price') WHEN 'payments' THEN jsonb_path_query_array(value, '$[*].amount') ELSE value END)
	FROM jsonb_each(j) WHERE key IN ('amount', 'subtotal', 'captured', 'refunded', 'refund_due', 'payment', 'payments', 'lines', 'adjustments')
$$;
SHOW order_engine.amounts_as;
SELECT order_id AS id FROM create_order(2, '[{"sku": "tea", "quantity": 1, "unit_price": 9.9951}]', currency => 'EUR', adjustments => '[{"kind": "tax", "amount": 1.90, "line_no": 1, "label": "x"}]') \gset
SELECT amounts(get_order(:id));
SET order_engine.amounts_as = text;
SELECT outcome FROM pay_order(:id, 'p', 20.000);
SELECT refunded FROM refund_order(:id, 'r', 0.1);
SELECT amounts(get_order(:id));
SELECT amounts("order") = amounts(get_order(:id)) AS same FROM get_orders(ARRAY[:id]);
SELECT type, amounts(payload::jsonb) FROM outbox WHERE aggregateid = :'id' ORDER BY id;
SELECT order_id AS id FROM create_order(2, '[{"sku": "tea", "quantity": 2, "unit_price": 0}]') \gset
SELECT payload -> 'amount' AS amount, payload -> 'lines' -> 0 -> 'quantity' AS quantity, payload -> 'adjustments' AS adjustments FROM outbox WHERE aggregateid = :'id';
-- What is stored is the same, and what has been published stays.
SET order_engine.amounts_as = 'number';
SELECT amounts(get_order(:id)), adjustments FROM orders WHERE order_id = :id;
SET order_engine.amounts_as = 'float';
CREATE ROLE regress_amount_app;
SET ROLE regress_amount_app;
SET order_engine.amounts_as = 'text';
RESET ROLE;
DROP ROLE regress_amount_app;
