
/* ---- payment: money in, money back ---- */

CREATE TYPE order_engine.pay_result AS (
	outcome text, replayed boolean, order_id bigint, state text, version int, captured numeric);
COMMENT ON TYPE order_engine.pay_result IS 'what pay_order() answers';

CREATE FUNCTION order_engine.pay_order(
	order_id bigint, payment_ref text, amount numeric, currency text DEFAULT NULL,
	attributes jsonb DEFAULT '{}', context jsonb DEFAULT '{}')
RETURNS order_engine.pay_result LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_pay_order';
COMMENT ON FUNCTION order_engine.pay_order(bigint, text, numeric, text, jsonb, jsonb) IS
'Records a payment that was captured. Idempotent per (order_id, payment_ref): a replay, with whatever amount, returns the first outcome with replayed = true, and the order as it is now. currency: three letters, null for the order''s; amount: no more decimals than it has. outcome: paid, overpaid (paid, with excess), partly_paid, refund_due (the order cannot be paid now: cancelled, expired, paid already, refused by a guard, or the move would reserve stock that is gone), mismatch (another currency; captured unchanged). Whatever the outcome, the money leaves a trace. Errors only for an unknown order (OE012) and malformed input (22004, 22023, 54000).';
REVOKE ALL ON FUNCTION order_engine.pay_order(bigint, text, numeric, text, jsonb, jsonb) FROM PUBLIC;

CREATE TYPE order_engine.refund_result AS (
	replayed boolean, order_id bigint, state text, version int, refunded numeric);
COMMENT ON TYPE order_engine.refund_result IS 'what refund_order() answers';

CREATE FUNCTION order_engine.refund_order(
	order_id bigint, refund_ref text, amount numeric DEFAULT NULL,
	attributes jsonb DEFAULT '{}', context jsonb DEFAULT '{}')
RETURNS order_engine.refund_result LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_engine_refund_order';
COMMENT ON FUNCTION order_engine.refund_order(bigint, text, numeric, jsonb, jsonb) IS
'Records money that goes back; amount: no more decimals than the order''s currency has, null: all that is left. When all of it has gone and the machine allows it, the order makes the move refund, else the event is refund_payment. Idempotent per (order_id, refund_ref): a replay returns the order as it is now. Errors: OE012 no such order, OE040 more than captured - refunded, 22023 malformed input.';
REVOKE ALL ON FUNCTION order_engine.refund_order(bigint, text, numeric, jsonb, jsonb) FROM PUBLIC;
