
/* ---- order_id: ids of orders and events ---- */

CREATE FUNCTION order_engine.next_order_id(user_id bigint) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_next_order_id';
COMMENT ON FUNCTION order_engine.next_order_id(bigint) IS
'A new order id for that user: 41 bits of milliseconds since 2024-01-01 UTC, 10 bits slot_of_user(user_id), 12 bits sequence. Increasing and never repeated in this database, whatever the clock does. Errors: 22004 for a null user, 25006 in a read-only transaction or on a standby, 55000 before setup().';
REVOKE ALL ON FUNCTION order_engine.next_order_id(bigint) FROM PUBLIC;

CREATE FUNCTION order_engine.order_id_parts(order_id bigint, OUT created_at timestamptz, OUT slot int, OUT sequence int)
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'order_engine_order_id_parts';
COMMENT ON FUNCTION order_engine.order_id_parts(bigint) IS
'Takes an order or event id apart: created_at, to the millisecond; slot, 0 to 1023; sequence within the millisecond, 0 to 4095. Errors: 22023 for a negative id.';
REVOKE ALL ON FUNCTION order_engine.order_id_parts(bigint) FROM PUBLIC;
