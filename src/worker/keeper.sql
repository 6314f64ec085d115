
/* ---- keeper: what is due ---- */

CREATE PROCEDURE order_engine.tend(max_ms int DEFAULT 1000)
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_tend';
COMMENT ON PROCEDURE order_engine.tend(int) IS
'Does the keeper''s due work, for servers without the keeper (from pg_cron, say): fires the due events of orders, in batches that each commit, for at most about max_ms milliseconds. Orders that others hold are skipped; one whose guard raises delays no other, unless it raises 57014, which ends the call like a cancel request. With order_engine.publisher = none, what is older than order_engine.outbox_retention leaves the outbox (not inside a transaction block). Inside a transaction block all of it is that transaction. Errors: 22023 unless max_ms is positive; 40001 inside a transaction block under REPEATABLE READ and above if an order or its stock changed since the snapshot.';
REVOKE ALL ON PROCEDURE order_engine.tend(int) FROM PUBLIC;
