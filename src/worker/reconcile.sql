
/* ---- reconcile: whether the books balance ---- */

CREATE FUNCTION order_engine.reconcile(repair boolean DEFAULT false)
RETURNS TABLE (name text, key text, expected text, actual text, repaired boolean)
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'order_engine_reconcile';
COMMENT ON FUNCTION order_engine.reconcile(boolean) IS
'Looks whether the books balance, beside the load, and returns a row for each invariant that is broken: none if all is well. name: free, on_hand, reserved, counter, fold (key: the SKU), order_stock, returned_stock (the order and the SKU), reservation_stock (the reservation and the SKU), captured, refunded, refunds, history, replay (the order). Reads all orders under one snapshot; a NOTICE counts the counters that it could not compare, since they were changing; pg_stat_activity shows how far it is. repair: mends reserved, which it sets to what is held, and on_hand, for which it writes a stock_movement of reason reconcile, and counters of stock in mode escrow; only what is still broken under its lock, to the end of the transaction. Errors: 0A000 for a repair under REPEATABLE READ and above, 40001 there if a table was written anew since the snapshot, 25006 for a repair in a read-only transaction, 55000 before setup().';
REVOKE ALL ON FUNCTION order_engine.reconcile(boolean) FROM PUBLIC;
