
/* ---- relay: what it does, and the brake ---- */

CREATE FUNCTION order_engine.relay_state(OUT state text, OUT publisher text, OUT pid int, OUT generation bigint, OUT batch bigint, OUT last_event_id bigint,
	OUT published bigint, OUT refused bigint, OUT since timestamptz, OUT last_published_at timestamptz,
	OUT last_error text, OUT last_error_at timestamptz)
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'order_engine_relay_state';
COMMENT ON FUNCTION order_engine.relay_state() IS
'What this database''s relay says about itself: see the view relay_status.';
REVOKE ALL ON FUNCTION order_engine.relay_state() FROM PUBLIC;

CREATE FUNCTION order_engine.relay_pause() RETURNS boolean
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'order_engine_relay_pause';
COMMENT ON FUNCTION order_engine.relay_pause() IS
'Stops the relay from publishing once this transaction commits, across restarts, until relay_resume(). What has been handed to the broker already still arrives; events go on being collected. False if it was paused before. Error: 55000 before setup().';
REVOKE ALL ON FUNCTION order_engine.relay_pause() FROM PUBLIC;

CREATE FUNCTION order_engine.relay_resume() RETURNS boolean
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'order_engine_relay_resume';
COMMENT ON FUNCTION order_engine.relay_resume() IS
'Lets the relay publish again once this transaction commits. False if it was not paused. Error: 55000 before setup().';
REVOKE ALL ON FUNCTION order_engine.relay_resume() FROM PUBLIC;
