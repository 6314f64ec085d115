
/* ---- machine: published, immutable state machines ---- */

CREATE FUNCTION order_engine.define_machine(name text, definition jsonb) RETURNS int
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_define_machine';
COMMENT ON FUNCTION order_engine.define_machine(text, jsonb) IS
'Publishes a state machine {"final": [...], "void": [...], "transitions": [{"from", "event", "to", "stock", "publish", "due", "due_event", "guard", "requires_payment", "keeper_only"}]} and returns its id. A published version never changes; the same name again makes a new version beside the old ones, which new orders use; the definition of the newest version again returns that one''s id. Errors: 22023 with the culprit (transition counted from 1, key, state) in DETAIL, 54000 for more than 256 states, 256 events or 1024 transitions, 42883, 42P13 or 42501 for a guard that is not an executable SECURITY DEFINER function (order_engine.orders, text, jsonb) returning boolean.';
REVOKE ALL ON FUNCTION order_engine.define_machine(text, jsonb) FROM PUBLIC;

CREATE FUNCTION order_engine.machine_diagram(name text, format text DEFAULT 'mermaid') RETURNS text
LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'order_engine_machine_diagram';
COMMENT ON FUNCTION order_engine.machine_diagram(text, text) IS
'The newest version of a state machine as a diagram. format: mermaid (stateDiagram-v2) or dot (Graphviz). An arrow says the event, [what it demands] and / what it does to the stock. Errors: 22023 for an unknown name or format.';
REVOKE ALL ON FUNCTION order_engine.machine_diagram(text, text) FROM PUBLIC;

CREATE FUNCTION order_engine.machine_holding(machine_id int, state text) RETURNS text
LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'order_engine_machine_holding';
COMMENT ON FUNCTION order_engine.machine_holding(int, text) IS
'internal: what an order of this machine in this state has of its lines'' stock: none, held or confirmed; null for a state that the machine does not have. Errors: 22023 for an unknown machine.';
REVOKE ALL ON FUNCTION order_engine.machine_holding(int, text) FROM PUBLIC;

CREATE FUNCTION order_engine.machine_changed() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_machine_changed';
COMMENT ON FUNCTION order_engine.machine_changed() IS
'internal: trigger function that tells all sessions when replication or a restore brings machines';
REVOKE ALL ON FUNCTION order_engine.machine_changed() FROM PUBLIC;

/*
 * The view of machines as rows, the trigger that notices what is not published
 * here, and the machine of orders, which is number 1.
 */
CREATE FUNCTION order_engine.create_machines() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $machines$
BEGIN
	CREATE VIEW order_engine.machine_transition AS
	SELECT m.machine_id, m.name, t.transition_no::int,
		t.transition ->> 'from' AS from_state,
		t.transition ->> 'event' AS event,
		t.transition ->> 'to' AS to_state,
		coalesce(t.transition ->> 'stock', 'none') AS stock,
		CASE WHEN t.transition ? 'publish' THEN t.transition ->> 'publish' ELSE 'order.' || (t.transition ->> 'event') END AS publish,
		(t.transition ->> 'due')::interval AS due,
		t.transition ->> 'due_event' AS due_event,
		t.transition ->> 'guard' AS guard,
		coalesce((t.transition ->> 'requires_payment')::boolean, false) AS requires_payment,
		coalesce((t.transition ->> 'keeper_only')::boolean, false) AS keeper_only,
		coalesce(m.definition -> 'final' ? (t.transition ->> 'to'), false) AS to_final,
		coalesce(m.definition -> 'void' ? (t.transition ->> 'to'), false) AS to_void
	FROM order_engine.machine m
	CROSS JOIN LATERAL jsonb_array_elements(m.definition -> 'transitions') WITH ORDINALITY AS t (transition, transition_no);
	COMMENT ON VIEW order_engine.machine_transition IS
	'The transitions of all published state machines, one row each, in definition order; from_state is null for the creation, publish null for what publishes nothing (an attached table has its machine''s name in the place of "order" where the definition names no type).';

	CREATE TRIGGER "0_order_engine_changed" AFTER INSERT OR UPDATE OR DELETE ON order_engine.machine
		FOR EACH ROW EXECUTE FUNCTION order_engine.machine_changed();
	ALTER TABLE order_engine.machine ENABLE ALWAYS TRIGGER "0_order_engine_changed";

	PERFORM order_engine.define_machine('order', '{
		"final": ["completed", "cancelled"],
		"void": ["cancelled"],
		"transitions": [
			{"from": null, "event": "create", "to": "pending", "stock": "reserve", "publish": "order.created", "due": "15 minutes", "due_event": "expire"},
			{"from": "pending", "event": "pay", "to": "paid", "stock": "confirm", "requires_payment": true, "publish": "order.paid"},
			{"from": "pending", "event": "cancel", "to": "cancelled", "stock": "release", "publish": "order.cancelled"},
			{"from": "pending", "event": "expire", "to": "cancelled", "stock": "release", "keeper_only": true, "publish": "order.expired"},
			{"from": "paid", "event": "ship", "to": "shipped", "publish": "order.shipped"},
			{"from": "shipped", "event": "complete", "to": "completed", "publish": "order.completed"},
			{"from": "paid", "event": "request_refund", "to": "refunding", "publish": "order.refund_requested"},
			{"from": "refunding", "event": "confirm_refund", "to": "cancelled", "stock": "restock", "publish": "order.refund_confirmed"},
			{"from": "refunding", "event": "reject_refund", "to": "paid", "publish": "order.refund_rejected"},
			{"from": "paid", "event": "refund", "to": "cancelled", "stock": "restock", "publish": "order.refunded"}
		]}');
END
$machines$;
COMMENT ON FUNCTION order_engine.create_machines() IS
'internal: creates the view machine_transition and publishes the machine "order"; called by setup()';
REVOKE ALL ON FUNCTION order_engine.create_machines() FROM PUBLIC;
