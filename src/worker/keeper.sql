
/* ---- keeper: what is due ---- */

CREATE PROCEDURE order_engine.tend(max_ms int DEFAULT 1000)
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_tend';
COMMENT ON PROCEDURE order_engine.tend(int) IS
'Does the keeper''s due work, for servers without the keeper (from pg_cron, say): fires the due events of orders and releases reservations that are due, in batches that each commit, for at most about max_ms milliseconds. Those that others hold are skipped; one whose guard raises delays no other, unless it raises 57014, which ends the call like a cancel request. With order_engine.publisher = none, what is older than order_engine.outbox_retention leaves the outbox (not inside a transaction block). Reservations that were resolved longer ago than order_engine.reservation_retention are deleted, and what stock in mode escrow has changed is folded into table stock (not inside a transaction block). Inside a transaction block all of it is that transaction. Errors: 22023 unless max_ms is positive; 40001 inside a transaction block under REPEATABLE READ and above if an order or its stock changed since the snapshot.';
REVOKE ALL ON PROCEDURE order_engine.tend(int) FROM PUBLIC;

CREATE FUNCTION order_engine.keeper_state(OUT state text, OUT reason text, OUT pid int, OUT since timestamptz, OUT last_pass_at timestamptz,
	OUT resting bigint, OUT last_error text, OUT last_error_code text, OUT last_error_order_id bigint, OUT last_error_at timestamptz)
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'order_engine_keeper_state';
COMMENT ON FUNCTION order_engine.keeper_state() IS
'What this database''s keeper, or tend(), says about itself: see the view keeper_status.';
REVOKE ALL ON FUNCTION order_engine.keeper_state() FROM PUBLIC;

CREATE FUNCTION order_engine.keeper_due(OUT due bigint, OUT late bigint, OUT oldest_due_at timestamptz)
LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'order_engine_keeper_due';
COMMENT ON FUNCTION order_engine.keeper_due() IS
'How many orders and reservations are due, and for more than a minute: see the view keeper_status. Error: 55000 before setup().';
REVOKE ALL ON FUNCTION order_engine.keeper_due() FROM PUBLIC;

CREATE FUNCTION order_engine.create_keeper() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $keeper$
BEGIN
	CREATE VIEW order_engine.keeper_status AS
		SELECT s.state, s.reason, s.pid, d.due, d.late, d.oldest_due_at, s.resting, s.since, s.last_pass_at,
			s.last_error, s.last_error_code, s.last_error_order_id, s.last_error_at
		FROM order_engine.keeper_state() s, order_engine.keeper_due() d;
	COMMENT ON VIEW order_engine.keeper_status IS
		'This database''s keeper, which fires due events (expiry of unpaid orders) and releases reservations, in one row. state: running, or stopped (no keeper runs, or it has no tables: reason says why). due, late: orders and reservations that are due now, and for more than a minute; each counted up to 10000. resting: those that are passed over for a while, since their due event failed or their stock is locked. last_error: what failed last since the server''s start, with last_error_order_id; the text is for who may read all orders. Without shared_preload_libraries last_pass_at, resting and the errors are not known: null.';
END
$keeper$;
COMMENT ON FUNCTION order_engine.create_keeper() IS 'internal: creates the view keeper_status; called by setup()';
REVOKE ALL ON FUNCTION order_engine.create_keeper() FROM PUBLIC;
