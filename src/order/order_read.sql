
/* ---- order_read: documents, pages and history of orders ---- */

CREATE FUNCTION order_engine.get_order(order_id bigint) RETURNS jsonb
LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'order_engine_get_order';
COMMENT ON FUNCTION order_engine.get_order(bigint) IS
'The whole order as one document: its fields, "machine" (name), "refund_due" (what is owed back), "lines" by line_no, "payments" by kind and ref, "history" by version. Ids are strings, amounts numbers (strings with order_engine.amounts_as = text), times ISO 8601 in UTC; "private" is not in it. Null for an unknown id. Works on standbys.';
REVOKE ALL ON FUNCTION order_engine.get_order(bigint) FROM PUBLIC;

CREATE FUNCTION order_engine.get_orders(order_ids bigint[]) RETURNS TABLE (order_id bigint, "order" jsonb)
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 100 AS 'MODULE_PATHNAME', 'order_engine_get_orders';
COMMENT ON FUNCTION order_engine.get_orders(bigint[]) IS
'The documents of many orders as get_order() gives them: one row for each distinct id that exists, by order_id; nulls and unknown ids give none.';
REVOKE ALL ON FUNCTION order_engine.get_orders(bigint[]) FROM PUBLIC;

CREATE FUNCTION order_engine.user_orders(user_id bigint, before bigint DEFAULT NULL, max_rows int DEFAULT 20, states text[] DEFAULT NULL)
RETURNS TABLE (order_id bigint, state text, version int, amount numeric, currency text, captured numeric, refunded numeric,
	attributes jsonb, created_at timestamptz, updated_at timestamptz, due_at timestamptz)
LANGUAGE C STABLE PARALLEL SAFE ROWS 20 AS 'MODULE_PATHNAME', 'order_engine_user_orders';
COMMENT ON FUNCTION order_engine.user_orders(bigint, bigint, int, text[]) IS
'A page of a user''s orders, newest first. before: the last order_id of the page before, null for the first page; max_rows: 1 to 1000; states: only orders in one of them, null for all. Reads the one partition of the user''s slot. Error: 22023 for max_rows out of range.';
REVOKE ALL ON FUNCTION order_engine.user_orders(bigint, bigint, int, text[]) FROM PUBLIC;

CREATE FUNCTION order_engine.order_history(order_id bigint)
RETURNS TABLE (version int, event text, from_state text, to_state text, actor text, reason text, idempotency_key text,
	attributes jsonb, traceparent text, at timestamptz)
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'order_engine_order_history';
COMMENT ON FUNCTION order_engine.order_history(bigint) IS
'What happened to an order, one row for each version, in order. No row for an unknown id.';
REVOKE ALL ON FUNCTION order_engine.order_history(bigint) FROM PUBLIC;

CREATE FUNCTION order_engine.allowed_events(order_id bigint) RETURNS text[]
LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'order_engine_allowed_events';
COMMENT ON FUNCTION order_engine.allowed_events(bigint) IS
'The events that anyone may fire for an order in its state, in the order in which its machine defines them; what a guard or a missing payment would refuse is among them. Empty in a final state, null for an unknown id.';
REVOKE ALL ON FUNCTION order_engine.allowed_events(bigint) FROM PUBLIC;
