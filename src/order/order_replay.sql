
/* ---- order_replay: what an order must be, if its history is true ---- */

CREATE TYPE order_engine.replayed_order AS (state text, version int);
COMMENT ON TYPE order_engine.replayed_order IS 'what replay_events() gives';

CREATE FUNCTION order_engine.replay_step(internal, machine_id int, version int, event text, from_state text, to_state text) RETURNS internal
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_replay_step';
COMMENT ON FUNCTION order_engine.replay_step(internal, int, int, text, text, text) IS 'internal: a step of replay_events()';
REVOKE ALL ON FUNCTION order_engine.replay_step(internal, int, int, text, text, text) FROM PUBLIC;

CREATE FUNCTION order_engine.replay_result(internal) RETURNS order_engine.replayed_order
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_replay_result';
COMMENT ON FUNCTION order_engine.replay_result(internal) IS 'internal: the result of replay_events()';
REVOKE ALL ON FUNCTION order_engine.replay_result(internal) FROM PUBLIC;

CREATE TYPE order_engine.checked_history AS (state text, version int, problem text);
COMMENT ON TYPE order_engine.checked_history IS 'internal: what replay_check() gives';

CREATE FUNCTION order_engine.replay_check_step(internal, machine_id int, version int, event text, from_state text, to_state text) RETURNS internal
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_replay_check_step';
COMMENT ON FUNCTION order_engine.replay_check_step(internal, int, int, text, text, text) IS 'internal: a step of replay_check()';
REVOKE ALL ON FUNCTION order_engine.replay_check_step(internal, int, int, text, text, text) FROM PUBLIC;

CREATE FUNCTION order_engine.replay_check_result(internal) RETURNS order_engine.checked_history
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_replay_check_result';
COMMENT ON FUNCTION order_engine.replay_check_result(internal) IS 'internal: the result of replay_check()';
REVOKE ALL ON FUNCTION order_engine.replay_check_result(internal) FROM PUBLIC;

CREATE AGGREGATE order_engine.replay_events(machine_id int, version int, event text, from_state text, to_state text) (
	SFUNC = order_engine.replay_step, STYPE = internal, FINALFUNC = order_engine.replay_result);
COMMENT ON AGGREGATE order_engine.replay_events(int, int, text, text, text) IS
'Folds the events of one order, ordered by version, through its machine and gives the state and version that the order must have. Errors: XX001 where the history has a gap or a move that the machine does not know.';
REVOKE ALL ON FUNCTION order_engine.replay_events(int, int, text, text, text) FROM PUBLIC;

CREATE AGGREGATE order_engine.replay_check(machine_id int, version int, event text, from_state text, to_state text) (
	SFUNC = order_engine.replay_check_step, STYPE = internal, FINALFUNC = order_engine.replay_check_result);
COMMENT ON AGGREGATE order_engine.replay_check(int, int, text, text, text) IS
'internal: replay_events() that says in "problem" what is broken, where that raises an error; state and version are those before it';
REVOKE ALL ON FUNCTION order_engine.replay_check(int, int, text, text, text) FROM PUBLIC;
