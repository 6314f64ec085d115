
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
