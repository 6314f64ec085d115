
/* ---- reconcile: whether the books balance ---- */

CREATE FUNCTION order_engine.reconcile(repair boolean DEFAULT false)
RETURNS TABLE (name text, key text, expected text, actual text, repaired boolean)
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'order_engine_reconcile';
COMMENT ON FUNCTION order_engine.reconcile(boolean) IS
'Looks whether the books balance, beside the load, and returns a row for each invariant that is broken: none if all is well. name: free, on_hand, reserved (key: the SKU), order_stock, returned_stock (the order and the SKU), reservation_stock (the reservation and the SKU), captured, refunded, refunds, history, replay (the order). Reads all orders under one snapshot; pg_stat_activity shows how far it is. repair: mends reserved, which it sets to what is held, and on_hand, for which it writes a stock_movement of reason reconcile; only what is still broken under its lock, to the end of the transaction. Errors: 0A000 for a repair under REPEATABLE READ and above, 40001 there if a table was written anew since the snapshot, 25006 for a repair in a read-only transaction, 55000 before setup().';
REVOKE ALL ON FUNCTION order_engine.reconcile(boolean) FROM PUBLIC;

CREATE FUNCTION order_engine.stock_unfolded() RETURNS TABLE (sku text, epoch bigint, on_hand bigint, reserved bigint)
LANGUAGE C STABLE ROWS 1000 AS 'MODULE_PATHNAME', 'order_engine_stock_unfolded';
COMMENT ON FUNCTION order_engine.stock_unfolded() IS
'internal: the changes of stock in mode escrow that are not folded into the table stock, as the snapshot of the query sees both. Whoever asks has locked the leaves before. Errors: 40001 if a leaf was emptied since the snapshot.';
REVOKE ALL ON FUNCTION order_engine.stock_unfolded() FROM PUBLIC;
