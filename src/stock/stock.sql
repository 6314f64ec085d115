
/* ---- stock: what is on hand, what of it is reserved ---- */

CREATE FUNCTION order_engine.receive_stock(sku text, quantity bigint, reason text DEFAULT 'receipt', ref text DEFAULT NULL,
	context jsonb DEFAULT '{}', OUT on_hand bigint, OUT available bigint, OUT version bigint, OUT replayed boolean) RETURNS record
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_receive_stock';
COMMENT ON FUNCTION order_engine.receive_stock(text, bigint, text, text, jsonb) IS
'Adds goods to the stock of a SKU, which it creates if it is new, and writes a stock_movement. quantity: units, positive. Idempotent by (sku, reason, ref): a retry changes nothing and says replayed; without a ref every call counts. Returns the stock as it is now; available = on_hand - reserved, 0 if the SKU is closed. In mode escrow on_hand is as of the last fold, available as it is now, version null. Errors: OE020 if the ref was used for another quantity, 22003 beyond bigint, 22004 and 22023 for bad arguments, 40001 under REPEATABLE READ if the stock changed since.';
REVOKE ALL ON FUNCTION order_engine.receive_stock(text, bigint, text, text, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.adjust_stock(sku text, delta bigint, reason text DEFAULT 'adjustment', ref text DEFAULT NULL,
	context jsonb DEFAULT '{}', OUT on_hand bigint, OUT available bigint, OUT version bigint, OUT replayed boolean) RETURNS record
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_adjust_stock';
COMMENT ON FUNCTION order_engine.adjust_stock(text, bigint, text, text, jsonb) IS
'Corrects the stock of a SKU by delta units (found, lost, broken), not zero, and writes a stock_movement. Idempotent by (sku, reason, ref) as receive_stock() is. Returns the stock as receive_stock() does. Errors: OE001 if on_hand would fall below what is reserved, OE002 for an unknown SKU, OE020 if the ref was used for another delta, 22003 beyond bigint, 22004 and 22023 for bad arguments, 40001 under REPEATABLE READ if the stock changed since.';
REVOKE ALL ON FUNCTION order_engine.adjust_stock(text, bigint, text, text, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.deduct_stock(sku text, quantity bigint, expected_version bigint DEFAULT NULL, ref text DEFAULT NULL,
	context jsonb DEFAULT '{}', OUT remaining bigint, OUT version bigint) RETURNS record
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_deduct_stock';
COMMENT ON FUNCTION order_engine.deduct_stock(text, bigint, bigint, text, jsonb) IS
'Takes units away at once, without an order, if as many are available and the SKU is open, and writes a stock_movement with reason deduct. quantity: units, positive. expected_version: deduct only if the stock still has this version. Idempotent by (sku, ref), looked at before the version: a retry deducts nothing. Returns what remains available and the version, in a retry as they are now; in mode escrow the version is null. Errors: OE001 if fewer are available, OE002 for an unknown SKU, 0A000 for an expected_version in mode escrow (where the mode is auto the SKU goes back to row instead), OE011 if the version differs (never retried here), OE020 if the ref was used for another quantity, 22004 and 22023 for bad arguments, 40001 under REPEATABLE READ if the stock changed since.';
REVOKE ALL ON FUNCTION order_engine.deduct_stock(text, bigint, bigint, text, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.set_stock_open(sku text, open boolean, context jsonb DEFAULT '{}') RETURNS boolean
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_set_stock_open';
COMMENT ON FUNCTION order_engine.set_stock_open(text, boolean, jsonb) IS
'Closes a SKU, or opens it again, as it is at first. A closed SKU sells nothing (OE001, whose line in DETAIL has "closed": true), and shows 0 available; what was sold is paid, cancelled, expires and comes back as ever, and goods are received and corrected. Waits for sales that are under way; returns false if it was so already, else true, and writes a stock_movement of 0 units, reason opened or closed. In mode escrow it waits as set_stock_mode() does. Errors: OE002 for an unknown SKU, 22004 and 22023 for bad arguments, 40001 under REPEATABLE READ if the stock changed since; in mode escrow 55P03 after order_engine.stock_switch_timeout, 55000 if this transaction has changed stock of the SKU.';
REVOKE ALL ON FUNCTION order_engine.set_stock_open(text, boolean, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.available(sku text) RETURNS bigint
LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'order_engine_available';
COMMENT ON FUNCTION order_engine.available(text) IS
'The units of a SKU that can be reserved now: on_hand - reserved, 0 when sold out or closed (set_stock_open()), null for an unknown SKU. In mode escrow what others have taken in transactions that are under way is not there. Error: 40001 for the one snapshot of a transaction (REPEATABLE READ) or of a parallel plan that is older than the files of what it reads.';
REVOKE ALL ON FUNCTION order_engine.available(text) FROM PUBLIC;

CREATE FUNCTION order_engine.availability(skus text[]) RETURNS TABLE (sku text, available bigint)
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'order_engine_availability';
COMMENT ON FUNCTION order_engine.availability(text[]) IS
'available() of many SKUs at once: one row for each element, in their order, null for an unknown SKU.';
REVOKE ALL ON FUNCTION order_engine.availability(text[]) FROM PUBLIC;

CREATE FUNCTION order_engine.stock_now_rows() RETURNS TABLE (sku text, mode text, on_hand bigint, reserved bigint, available bigint)
LANGUAGE C STABLE PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'order_engine_stock_now_rows';
COMMENT ON FUNCTION order_engine.stock_now_rows() IS
'internal: the rows of the view stock_now';
REVOKE ALL ON FUNCTION order_engine.stock_now_rows() FROM PUBLIC;

CREATE FUNCTION order_engine.create_stock_now() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $stock_now$
BEGIN
	CREATE VIEW order_engine.stock_now AS
		SELECT n.sku, n.mode, n.on_hand, n.reserved, n.available FROM order_engine.stock_now_rows() n;
	COMMENT ON VIEW order_engine.stock_now IS
		'Stock as it is now, one row for each stock key, in both modes: what the table stock says, with the changes of SKUs in mode escrow that are not folded into it yet. It reads all of those: for some SKUs ask availability(). available: on_hand - reserved, but less where others have taken stock of a SKU in mode escrow in transactions that are under way.';
END
$stock_now$;
COMMENT ON FUNCTION order_engine.create_stock_now() IS 'internal: creates the view stock_now; called by setup()';
REVOKE ALL ON FUNCTION order_engine.create_stock_now() FROM PUBLIC;

CREATE FUNCTION order_engine.stock_before() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_stock_before';
COMMENT ON FUNCTION order_engine.stock_before() IS
'internal: trigger function of stock; lets a direct write change on_hand only, with its version, else OE014; fires always';
REVOKE ALL ON FUNCTION order_engine.stock_before() FROM PUBLIC;

CREATE FUNCTION order_engine.stock_after() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_stock_after';
COMMENT ON FUNCTION order_engine.stock_after() IS
'internal: trigger function of stock; checks what a direct write really wrote and records it in stock_movement, reason direct';
REVOKE ALL ON FUNCTION order_engine.stock_after() FROM PUBLIC;
