
/* ---- reservation: stock held for a while, before there is an order ---- */

CREATE FUNCTION order_engine.try_reserve(
	reservation_id text, lines jsonb, ttl interval, user_id bigint DEFAULT NULL, context jsonb DEFAULT '{}',
	OUT status text, OUT expires_at timestamptz, OUT replayed boolean, OUT short jsonb)
RETURNS record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_try_reserve';
COMMENT ON FUNCTION order_engine.try_reserve(text, jsonb, interval, bigint, jsonb) IS
'Holds stock for a while: all of the lines or nothing. lines: as for create_order(), of which sku, stock_key, quantity and "stocked" count here. reservation_id: 1 to 255 bytes, unique for user_id. ttl: positive, at most a year; then the keeper releases it. status: reserved, sold_out or unknown_sku, which are no errors and leave nothing behind; short names every line that is short: [{"sku", "requested", "available"}], available null where the SKU is unknown. A repeated call gets the first one''s expires_at, as it is now, with replayed = true. Errors: OE004 it has expired, OE005 it was confirmed, cancelled or ordered, OE006 it was cancelled before this call, OE020 the id was used for other lines, OE060 wrong node, 22023 malformed input, 54000 too many lines.';
REVOKE ALL ON FUNCTION order_engine.try_reserve(text, jsonb, interval, bigint, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.confirm_reservation(
	reservation_id text, lines jsonb DEFAULT NULL, user_id bigint DEFAULT NULL, context jsonb DEFAULT '{}',
	OUT state text, OUT replayed boolean)
RETURNS record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_confirm_reservation';
COMMENT ON FUNCTION order_engine.confirm_reservation(text, jsonb, bigint, jsonb) IS
'Takes what a reservation holds out of the stock, with movements of the reason reservation. lines: a part of what it holds, the rest is released; null for all of it. What has not been released yet is held, however late it is; what has expired is taken again if it is there. A repeated call answers the same with replayed = true. Errors: OE004 it has expired and is short now, OE005 it was cancelled or ordered, OE020 it was confirmed for other lines, OE007 no such reservation, OE060 wrong node, 22023 malformed input, or more than it holds.';
REVOKE ALL ON FUNCTION order_engine.confirm_reservation(text, jsonb, bigint, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.cancel_reservation(
	reservation_id text, user_id bigint DEFAULT NULL, context jsonb DEFAULT '{}',
	OUT state text, OUT replayed boolean)
RETURNS record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_cancel_reservation';
COMMENT ON FUNCTION order_engine.cancel_reservation(text, bigint, jsonb) IS
'Releases what a reservation holds; one that has expired is not taken again afterwards. One that does not exist is remembered as cancelled, so a try_reserve() that comes later is refused (OE006). A repeated call answers the same with replayed = true. Errors: OE005 it was confirmed or ordered, OE060 wrong node, 22023 malformed input.';
REVOKE ALL ON FUNCTION order_engine.cancel_reservation(text, bigint, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.extend_reservation(
	reservation_id text, ttl interval, user_id bigint DEFAULT NULL, context jsonb DEFAULT '{}')
RETURNS timestamptz LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_extend_reservation';
COMMENT ON FUNCTION order_engine.extend_reservation(text, interval, bigint, jsonb) IS
'Lets a reservation be held until ttl from now, if that is later than it was; returns until when. ttl: positive, at most a year. Errors: OE004 it has expired, OE005 it was confirmed, cancelled or ordered, OE007 no such reservation, OE060 wrong node, 22023 malformed input.';
REVOKE ALL ON FUNCTION order_engine.extend_reservation(text, interval, bigint, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.reservation_before_delete() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_reservation_before_delete';
COMMENT ON FUNCTION order_engine.reservation_before_delete() IS
'internal: trigger of reservation that refuses to delete what is held, or was resolved within order_engine.reservation_retention';
REVOKE ALL ON FUNCTION order_engine.reservation_before_delete() FROM PUBLIC;
