
/* ---- stock_journal: changes of stock in mode escrow; for tests and for the curious ---- */

CREATE FUNCTION order_engine.stock_journal_unfolded(of_sku text DEFAULT NULL, OUT sku text, OUT on_hand bigint, OUT reserved bigint, OUT epoch bigint)
RETURNS SETOF record
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'order_engine_stock_journal_unfolded';
COMMENT ON FUNCTION order_engine.stock_journal_unfolded(text) IS
'internal: the changes of stock that are not folded into its rows yet, as the statement''s snapshot sees them, of one SKU or (null) of all. Those of another epoch than the row of stock has count for nothing. Errors: 40001 if a leaf of the journal was emptied since the snapshot, 55000 before setup().';
REVOKE ALL ON FUNCTION order_engine.stock_journal_unfolded(text) FROM PUBLIC;
