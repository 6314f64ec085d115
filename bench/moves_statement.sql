-- the same rows as moves_trigger.sql, written by hand: each move one SQL statement
\set user_id random(1, 1000000000)
\set sku random(1, :skus)
SELECT order_id FROM create_order(:user_id, ('[{"sku": "SKU-' || :sku || '", "quantity": 1}]')::jsonb) \gset
WITH moved AS (
	UPDATE orders SET state = 'paid', version = version + 1, updated_at = clock_timestamp(), due_at = NULL
	WHERE order_id = :order_id AND state = 'pending' RETURNING *
), history AS (
	INSERT INTO order_event (order_id, version, event, from_state, to_state, actor, at)
	SELECT order_id, version, 'pay', 'pending', state, session_user, updated_at FROM moved
), need AS (
	SELECT l.stock_key, sum(l.quantity) AS quantity FROM moved m JOIN order_line l ON l.order_id = m.order_id
	WHERE l.order_id = :order_id AND l.stock_key IS NOT NULL GROUP BY l.stock_key
), locked AS MATERIALIZED (
	SELECT s.sku, n.quantity FROM need n JOIN stock s ON s.sku = n.stock_key ORDER BY s.sku FOR NO KEY UPDATE OF s
), taken AS (
	UPDATE stock s SET on_hand = on_hand - k.quantity, reserved = reserved - k.quantity, version = version + 1
	FROM locked k WHERE s.sku = k.sku
), movement AS (
	INSERT INTO stock_movement (sku, quantity, reason, ref, actor)
	SELECT k.sku, -k.quantity, 'confirm', m.order_id || '/' || m.version, session_user FROM locked k, moved m
), event AS MATERIALIZED (
	SELECT order_engine.next_order_id(user_id) AS id, m.* FROM moved m
)
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, headers, created_at)
SELECT id, 'order', order_id::text, 'order.paid', json_build_object('schema_version', 1, 'event_id', id::text,
	'order_id', order_id::text, 'user_id', user_id::text, 'version', version, 'event', 'pay', 'from', 'pending', 'to', state,
	'at', updated_at, 'amount', amount, 'currency', currency, 'captured', captured, 'refunded', refunded,
	'refund_due', greatest(captured - refunded - amount, 0), 'payment', NULL,
	'lines', (SELECT json_agg(json_build_object('line_no', l.line_no, 'sku', l.sku, 'stock_key', l.stock_key,
		'quantity', l.quantity, 'unit_price', l.unit_price, 'attributes', l.attributes) ORDER BY l.line_no)
		FROM order_line l WHERE l.order_id = :order_id),
	'adjustments', adjustments, 'attributes', attributes, 'event_attributes', json_build_object()), jsonb_build_object('seq', version::text), updated_at
FROM event;
WITH moved AS (
	UPDATE orders SET state = 'shipped', version = version + 1, updated_at = clock_timestamp(), due_at = NULL
	WHERE order_id = :order_id AND state = 'paid' RETURNING *
), history AS (
	INSERT INTO order_event (order_id, version, event, from_state, to_state, actor, at)
	SELECT order_id, version, 'ship', 'paid', state, session_user, updated_at FROM moved
), event AS MATERIALIZED (
	SELECT order_engine.next_order_id(user_id) AS id, m.* FROM moved m
)
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, headers, created_at)
SELECT id, 'order', order_id::text, 'order.shipped', json_build_object('schema_version', 1, 'event_id', id::text,
	'order_id', order_id::text, 'user_id', user_id::text, 'version', version, 'event', 'ship', 'from', 'paid', 'to', state,
	'at', updated_at, 'amount', amount, 'currency', currency, 'captured', captured, 'refunded', refunded,
	'refund_due', greatest(captured - refunded - amount, 0), 'payment', NULL,
	'lines', (SELECT json_agg(json_build_object('line_no', l.line_no, 'sku', l.sku, 'stock_key', l.stock_key,
		'quantity', l.quantity, 'unit_price', l.unit_price, 'attributes', l.attributes) ORDER BY l.line_no)
		FROM order_line l WHERE l.order_id = :order_id),
	'adjustments', adjustments, 'attributes', attributes, 'event_attributes', json_build_object()), jsonb_build_object('seq', version::text), updated_at
FROM event;
WITH moved AS (
	UPDATE orders SET state = 'completed', version = version + 1, updated_at = clock_timestamp(), due_at = NULL
	WHERE order_id = :order_id AND state = 'shipped' RETURNING *
), history AS (
	INSERT INTO order_event (order_id, version, event, from_state, to_state, actor, at)
	SELECT order_id, version, 'complete', 'shipped', state, session_user, updated_at FROM moved
), event AS MATERIALIZED (
	SELECT order_engine.next_order_id(user_id) AS id, m.* FROM moved m
)
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, headers, created_at)
SELECT id, 'order', order_id::text, 'order.completed', json_build_object('schema_version', 1, 'event_id', id::text,
	'order_id', order_id::text, 'user_id', user_id::text, 'version', version, 'event', 'complete', 'from', 'shipped', 'to', state,
	'at', updated_at, 'amount', amount, 'currency', currency, 'captured', captured, 'refunded', refunded,
	'refund_due', greatest(captured - refunded - amount, 0), 'payment', NULL,
	'lines', (SELECT json_agg(json_build_object('line_no', l.line_no, 'sku', l.sku, 'stock_key', l.stock_key,
		'quantity', l.quantity, 'unit_price', l.unit_price, 'attributes', l.attributes) ORDER BY l.line_no)
		FROM order_line l WHERE l.order_id = :order_id),
	'adjustments', adjustments, 'attributes', attributes, 'event_attributes', json_build_object()), jsonb_build_object('seq', version::text), updated_at
FROM event;
