
/* ---- relay: what it does, and the brake ---- */

CREATE FUNCTION order_engine.relay_state(OUT state text, OUT reason text, OUT publisher text, OUT pid int, OUT generation bigint, OUT batch bigint, OUT last_event_id bigint,
	OUT published bigint, OUT refused bigint, OUT since timestamptz, OUT last_published_at timestamptz,
	OUT last_error text, OUT last_error_at timestamptz)
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'order_engine_relay_state';
COMMENT ON FUNCTION order_engine.relay_state() IS
'What this database''s relay says about itself: see the view relay_status.';
REVOKE ALL ON FUNCTION order_engine.relay_state() FROM PUBLIC;

CREATE FUNCTION order_engine.pause_relay() RETURNS boolean
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'order_engine_pause_relay';
COMMENT ON FUNCTION order_engine.pause_relay() IS
'Stops the relay from publishing once this transaction commits, across restarts, until resume_relay(). What has been handed to the broker already still arrives; events go on being collected. False if it was paused before. Error: 55000 before setup().';
REVOKE ALL ON FUNCTION order_engine.pause_relay() FROM PUBLIC;

CREATE FUNCTION order_engine.resume_relay() RETURNS boolean
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'order_engine_resume_relay';
COMMENT ON FUNCTION order_engine.resume_relay() IS
'Lets the relay publish again once this transaction commits. False if it was not paused. Error: 55000 before setup().';
REVOKE ALL ON FUNCTION order_engine.resume_relay() FROM PUBLIC;

CREATE FUNCTION order_engine.relay_lag(OUT lag_events bigint, OUT lag_bytes bigint, OUT lag_seconds double precision)
LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'order_engine_relay_lag';
COMMENT ON FUNCTION order_engine.relay_lag() IS
'How far the relay is behind: see the view relay_status; without a publisher, what the outbox keeps. Error: 55000 before setup().';
REVOKE ALL ON FUNCTION order_engine.relay_lag() FROM PUBLIC;

CREATE FUNCTION order_engine.create_relay() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $relay$
BEGIN
	CREATE VIEW order_engine.relay_status AS
		SELECT s.state, s.reason, s.publisher, s.pid, s.generation, s.batch, s.last_event_id, s.published, s.refused,
			l.lag_events, l.lag_bytes, l.lag_seconds, s.since, s.last_published_at, s.last_error, s.last_error_at
		FROM order_engine.relay_state() s
			/* OFFSET keeps it a subquery, whose condition is looked at before anything is counted */
			LEFT JOIN LATERAL (SELECT c.lag_events, c.lag_bytes, c.lag_seconds FROM order_engine.relay_lag() c
				WHERE s.publisher <> 'none' OFFSET 0) l ON true;
	COMMENT ON VIEW order_engine.relay_status IS
		'This database''s relay, in one row. state: stopped (no relay runs, or it has no tables: reason says why), disabled (order_engine.publisher is none), running, paused, unreachable (no broker answers: it waits; last_error says why), blocked (the configuration or the event behind last_event_id is refused: last_error says why; it is tried again every few seconds, and nothing behind it is published). published and refused count since the worker''s start. lag_*: events committed and not acknowledged by the broker, their bytes, and the age of the oldest in seconds, also while no relay runs; exact up to 100000 events, then estimated; null where order_engine.publisher is none.';
END
$relay$;
COMMENT ON FUNCTION order_engine.create_relay() IS 'internal: creates the view relay_status; called by setup()';
REVOKE ALL ON FUNCTION order_engine.create_relay() FROM PUBLIC;
