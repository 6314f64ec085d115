
/* ---- the mode of a SKU's stock ---- */

CREATE FUNCTION order_engine.set_stock_mode(sku text, mode text) RETURNS boolean
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_set_stock_mode';
COMMENT ON FUNCTION order_engine.set_stock_mode(text, text) IS
'Switches how the stock of a SKU is kept. mode: row (its row is locked by who changes it), escrow (a counter in shared memory, for a SKU that many buy at once), auto (the keeper chooses). Waits for transactions that are changing this stock; the switch holds from the commit on. Returns whether anything changed. Errors: 22023 for an unknown mode, OE002 for an unknown SKU, 53400 if order_engine.escrow_skus SKUs are in escrow already, 55000 to escrow without shared_preload_libraries and in a transaction that has changed this stock, 55P03 after order_engine.stock_switch_timeout, 40001 under REPEATABLE READ if the stock changed since.';
REVOKE ALL ON FUNCTION order_engine.set_stock_mode(text, text) FROM PUBLIC;

CREATE FUNCTION order_engine.set_stock_mode(skus text[], mode text) RETURNS integer
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_set_stock_modes';
COMMENT ON FUNCTION order_engine.set_stock_mode(text[], text) IS
'set_stock_mode() of many SKUs, all or none. Returns how many changed.';
REVOKE ALL ON FUNCTION order_engine.set_stock_mode(text[], text) FROM PUBLIC;

CREATE FUNCTION order_engine.stock_statistics() RETURNS TABLE (sku text, mode text, free bigint, in_flight bigint,
	taken bigint, refused bigint, waits bigint, folds bigint, last_fold timestamptz)
LANGUAGE C VOLATILE ROWS 100 AS 'MODULE_PATHNAME', 'order_engine_stock_statistics';
COMMENT ON FUNCTION order_engine.stock_statistics() IS
'internal: what shared memory tells about hot SKUs: see the view stat_stock. Error: 55000 before setup().';
REVOKE ALL ON FUNCTION order_engine.stock_statistics() FROM PUBLIC;

CREATE FUNCTION order_engine.create_stat_stock() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $stat$
BEGIN
	CREATE VIEW order_engine.stat_stock AS
		SELECT s.sku, s.mode, s.free, s.in_flight, s.taken, s.refused, s.waits, s.folds, s.last_fold
		FROM order_engine.stock_statistics() s;
	COMMENT ON VIEW order_engine.stat_stock IS
		'Hot SKUs, as shared memory has them: those in mode escrow that are loaded, and those in mode row that calls have lately waited for. Of SKUs in mode escrow, since they were loaded (switched, or the server started): free: units that can be taken now, null while the mode is being switched. in_flight: units that open transactions hold. taken: units that committed transactions took, less what each of them gave back itself. refused: calls that found too few. waits: for a switch of the mode, or for the units that others held (order_engine.escrow_wait); in mode row, for the row. folds, last_fold: how often, and when last, its changes went into the row. Empty without shared_preload_libraries and on a standby.';
END
$stat$;
COMMENT ON FUNCTION order_engine.create_stat_stock() IS 'internal: creates the view stat_stock; called by setup()';
REVOKE ALL ON FUNCTION order_engine.create_stat_stock() FROM PUBLIC;
