
/* ---- order: created, moved, paid ---- */

CREATE TYPE order_engine.create_result AS (
	order_id bigint, state text, version int, amount numeric, due_at timestamptz, replayed boolean);
COMMENT ON TYPE order_engine.create_result IS 'what create_order() answers';

CREATE FUNCTION order_engine.create_order(
	user_id bigint, lines jsonb, idempotency_key text DEFAULT NULL, pay_within interval DEFAULT NULL,
	currency text DEFAULT NULL, adjustments jsonb DEFAULT '[]', attributes jsonb DEFAULT '{}',
	private jsonb DEFAULT '{}', machine text DEFAULT 'order', context jsonb DEFAULT '{}',
	reservation_id text DEFAULT NULL)
RETURNS order_engine.create_result LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_create_order';
COMMENT ON FUNCTION order_engine.create_order(bigint, jsonb, text, interval, text, jsonb, jsonb, jsonb, text, jsonb, text) IS
'Creates an order, takes its stock and publishes its first event, all or nothing in the caller''s transaction. lines: [{"sku", "quantity", "unit_price", "stock_key", "stocked", "attributes"}]; adjustments: [{"kind", "amount", "line_no", "label", "stock_key", "quantity"}], the last two for what takes stock itself, as a coupon does; null is what leaving it out is; "stocked": false takes no stock; amount = lines + adjustments, rounded half up to the decimals of the currency by an adjustment of kind rounding. Numbers may be decimals in strings. idempotency_key: 1 to 255 bytes, unique per user; a repeated request gets the first one''s order, as it is now, with replayed = true. pay_within: instead of the machine''s due time. currency: three letters, null for order_engine.default_currency. private never leaves its column. reservation_id: what try_reserve() holds for this user, or for nobody, becomes the order''s; what it takes beyond that is reserved, what it leaves of it released. Errors: OE001 insufficient stock (every short line), OE002 unknown sku, OE004 the reservation has expired, OE005 it was confirmed, cancelled or ordered, OE007 no such reservation, OE020 the key was used for another request, OE060 wrong node, 22023 malformed input, 53400 event too large, 54000 too many lines.';
REVOKE ALL ON FUNCTION order_engine.create_order(bigint, jsonb, text, interval, text, jsonb, jsonb, jsonb, text, jsonb, text) FROM PUBLIC;

CREATE FUNCTION order_engine.fire(
	INOUT order_id bigint, event text, expected_version int DEFAULT NULL, idempotency_key text DEFAULT NULL,
	attributes jsonb DEFAULT '{}', context jsonb DEFAULT '{}',
	OUT state text, OUT version int, OUT replayed boolean)
RETURNS record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_fire';
COMMENT ON FUNCTION order_engine.fire(bigint, text, int, text, jsonb, jsonb) IS
'Fires an event on an order: the machine says what it does. expected_version: the version the caller saw; idempotency_key: a repeated call gets the first one''s answer with replayed = true, looked at before the version; attributes: kept with the event, at most 8 kB. Errors: OE010 illegal transition, OE011 version conflict, OE012 no such order, OE013 guard, OE020 the key was used for another event, OE041 payment required, OE001 insufficient stock, 22023 malformed input.';
REVOKE ALL ON FUNCTION order_engine.fire(bigint, text, int, text, jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.ship_order(
	INOUT order_id bigint, expected_version int DEFAULT NULL, idempotency_key text DEFAULT NULL,
	attributes jsonb DEFAULT '{}', context jsonb DEFAULT '{}',
	OUT state text, OUT version int, OUT replayed boolean)
RETURNS record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_ship_order';
COMMENT ON FUNCTION order_engine.ship_order(bigint, int, text, jsonb, jsonb) IS
'Marks a paid order as shipped: fire() with the event ship. Arguments and errors as for fire().';
REVOKE ALL ON FUNCTION order_engine.ship_order(bigint, int, text, jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.complete_order(
	INOUT order_id bigint, expected_version int DEFAULT NULL, idempotency_key text DEFAULT NULL,
	attributes jsonb DEFAULT '{}', context jsonb DEFAULT '{}',
	OUT state text, OUT version int, OUT replayed boolean)
RETURNS record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_complete_order';
COMMENT ON FUNCTION order_engine.complete_order(bigint, int, text, jsonb, jsonb) IS
'Completes a shipped order: fire() with the event complete. Arguments and errors as for fire().';
REVOKE ALL ON FUNCTION order_engine.complete_order(bigint, int, text, jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.cancel_order(
	INOUT order_id bigint, expected_version int DEFAULT NULL, idempotency_key text DEFAULT NULL,
	attributes jsonb DEFAULT '{}', context jsonb DEFAULT '{}',
	OUT state text, OUT version int, OUT replayed boolean)
RETURNS record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_cancel_order';
COMMENT ON FUNCTION order_engine.cancel_order(bigint, int, text, jsonb, jsonb) IS
'Cancels an unpaid order and releases its stock: fire() with the event cancel. Arguments and errors as for fire().';
REVOKE ALL ON FUNCTION order_engine.cancel_order(bigint, int, text, jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.request_refund(
	INOUT order_id bigint, expected_version int DEFAULT NULL, idempotency_key text DEFAULT NULL,
	attributes jsonb DEFAULT '{}', context jsonb DEFAULT '{}',
	OUT state text, OUT version int, OUT replayed boolean)
RETURNS record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_request_refund';
COMMENT ON FUNCTION order_engine.request_refund(bigint, int, text, jsonb, jsonb) IS
'Opens a refund of a paid order: fire() with the event request_refund. Arguments and errors as for fire().';
REVOKE ALL ON FUNCTION order_engine.request_refund(bigint, int, text, jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.confirm_refund(
	INOUT order_id bigint, expected_version int DEFAULT NULL, idempotency_key text DEFAULT NULL,
	attributes jsonb DEFAULT '{}', context jsonb DEFAULT '{}',
	OUT state text, OUT version int, OUT replayed boolean)
RETURNS record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_confirm_refund';
COMMENT ON FUNCTION order_engine.confirm_refund(bigint, int, text, jsonb, jsonb) IS
'Confirms a refund that was requested: the order is cancelled and its stock put back: fire() with the event confirm_refund. Arguments and errors as for fire().';
REVOKE ALL ON FUNCTION order_engine.confirm_refund(bigint, int, text, jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.reject_refund(
	INOUT order_id bigint, expected_version int DEFAULT NULL, idempotency_key text DEFAULT NULL,
	attributes jsonb DEFAULT '{}', context jsonb DEFAULT '{}',
	OUT state text, OUT version int, OUT replayed boolean)
RETURNS record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_reject_refund';
COMMENT ON FUNCTION order_engine.reject_refund(bigint, int, text, jsonb, jsonb) IS
'Rejects a refund that was requested: the order is paid as before: fire() with the event reject_refund. Arguments and errors as for fire().';
REVOKE ALL ON FUNCTION order_engine.reject_refund(bigint, int, text, jsonb, jsonb) FROM PUBLIC;

/* The triggers of orders; setup() puts them there. */

CREATE FUNCTION order_engine.orders_before_insert() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_orders_before_insert';
COMMENT ON FUNCTION order_engine.orders_before_insert() IS 'trigger of orders: fills in what a raw INSERT leaves null, checks the slot';
REVOKE ALL ON FUNCTION order_engine.orders_before_insert() FROM PUBLIC;

CREATE FUNCTION order_engine.orders_before_update() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_orders_before_update';
COMMENT ON FUNCTION order_engine.orders_before_update() IS 'trigger of orders: the move is legal, the version goes up by one, identity stays';
REVOKE ALL ON FUNCTION order_engine.orders_before_update() FROM PUBLIC;

CREATE FUNCTION order_engine.orders_after_change() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_orders_after_change';
COMMENT ON FUNCTION order_engine.orders_after_change() IS 'trigger of orders: checks what was finally written, applies the stock effect, records and publishes the event';
REVOKE ALL ON FUNCTION order_engine.orders_after_change() FROM PUBLIC;
