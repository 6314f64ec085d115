
/* ---- attach: state machines on tables of the user's own ---- */

CREATE FUNCTION order_engine.attached_before() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_attached_before';
COMMENT ON FUNCTION order_engine.attached_before() IS
'internal: trigger function of attach_machine() that fills in state and version and checks a move';
REVOKE ALL ON FUNCTION order_engine.attached_before() FROM PUBLIC;

CREATE FUNCTION order_engine.attached_after() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_attached_after';
COMMENT ON FUNCTION order_engine.attached_after() IS
'internal: trigger function of attach_machine() that checks what was written and publishes the event';
REVOKE ALL ON FUNCTION order_engine.attached_after() FROM PUBLIC;

CREATE FUNCTION order_engine.attach_machine("table" regclass, state_column name, machine text, version_column name DEFAULT NULL) RETURNS void
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_attach_machine';
COMMENT ON FUNCTION order_engine.attach_machine(regclass, name, text, name) IS
'Puts the newest version of a state machine on a table of your own, which must have a primary key: from then on a row begins in the machine''s first state (null is filled in), moves only as the machine allows (OE010), keeps its primary key (OE014), and each move is published with aggregatetype = the machine''s name and aggregateid = the primary key as text (times in ISO format and UTC; of several columns, a JSON array of strings). version_column: an integer or bigint that every change raises by one, whether the writer sets it so or leaves it; anything else is OE011. A change that leaves the state alone publishes nothing. Rows that exist are not looked at. Call it again for another version of the machine or other columns; DROP TRIGGER "0_order_engine_attached_before" and "..._after" ends it. Errors: 42501 if you do not own the table, 22023 for what is no table of that kind, for a machine with stock effects, requires_payment, guards, due or keeper_only (they are for orders), for a column that is missing or unfit, 55000 without a primary key.';
REVOKE ALL ON FUNCTION order_engine.attach_machine(regclass, name, text, name) FROM PUBLIC;
