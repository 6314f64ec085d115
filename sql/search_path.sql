-- A search_path with a look-alike of every function and operator of pg_catalog, and of the
-- engine's tables and types, in front of everything: no call, trigger, view or default takes
-- one of them.  Each raises when it is called.
\set SHOW_CONTEXT never
CREATE EXTENSION order_engine;
CREATE ROLE regress_search_path_owner;
CREATE ROLE regress_search_path_app;
CREATE ROLE regress_search_path_operator;
SELECT order_engine.grant_access('regress_search_path_owner', 'owner');

CREATE SCHEMA evil;
GRANT USAGE, CREATE ON SCHEMA evil TO PUBLIC;
DO $$
DECLARE
	f record;
	n int := 0;
BEGIN
	FOR f IN
		SELECT p.proname, p.proretset, format_type(p.prorettype, NULL) AS result, coalesce(a.types, '') AS arguments
		FROM pg_proc p,
			LATERAL (SELECT string_agg(format_type(t.oid, NULL), ', ' ORDER BY u.n) AS types, bool_or(t.typtype = 'p') AS pseudo
				FROM unnest(p.proargtypes) WITH ORDINALITY AS u (oid, n) JOIN pg_type t ON t.oid = u.oid) a
		WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.provariadic = 0 AND a.pseudo IS NOT TRUE
			AND (SELECT t.typtype <> 'p' OR t.oid = 'void'::regtype FROM pg_type t WHERE t.oid = p.prorettype)
	LOOP
		EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s%s LANGUAGE plpgsql AS %L', f.proname, f.arguments,
			CASE WHEN f.proretset THEN 'SETOF ' ELSE '' END, f.result, 'BEGIN RAISE EXCEPTION ''trapped''; END');
		n := n + 1;
	END LOOP;
	ASSERT n > 1500, 'there are traps';
	n := 0;
	FOR f IN
		SELECT o.oprname, o.oprleft::regtype AS l, o.oprright::regtype AS r, o.oprresult::regtype AS result FROM pg_operator o
			JOIN pg_type x ON x.oid = o.oprleft JOIN pg_type y ON y.oid = o.oprright
		WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND x.typtype <> 'p' AND y.typtype <> 'p' AND o.oprcode <> 0
	LOOP
		n := n + 1;
		EXECUTE format('CREATE FUNCTION evil.%I(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L', 'operator_' || n, f.l, f.r, f.result, 'BEGIN RAISE EXCEPTION ''trapped''; END');
		EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.%I)', f.oprname, f.l, f.r, 'operator_' || n);
	END LOOP;
	ASSERT n > 500, 'there are traps';
END $$;
-- Names of tables and types are looked for along the same path.
CREATE TABLE evil.orders (order_id bigint);
CREATE TABLE evil.stock (sku text);
CREATE TABLE evil.outbox (id bigint);
CREATE TABLE evil.shop (schema_version int);
CREATE TABLE evil.machine (machine_id int);
CREATE TABLE evil.pg_class (relname name);
CREATE TABLE evil.pg_roles (rolname name);
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (false);
CREATE DOMAIN evil.jsonb AS pg_catalog.jsonb CHECK (false);
CREATE DOMAIN evil.int4 AS pg_catalog.int4 CHECK (false);
CREATE DOMAIN evil.regclass AS pg_catalog.regclass CHECK (false);

SET search_path = evil, pg_catalog;
-- The traps are there.
SELECT 1 + 1;
SELECT now();

SET ROLE regress_search_path_owner;
SET client_min_messages = warning;
SELECT order_engine.setup(2);
SELECT order_engine.setup(2);
RESET client_min_messages;
SELECT order_engine.grant_access('regress_search_path_app', 'app');
SELECT order_engine.grant_access('regress_search_path_operator', 'operator');
SELECT order_engine.define_machine('ticket', '{"final": ["closed"], "transitions": [{"from": null, "event": "create", "to": "open"}, {"from": "open", "event": "close", "to": "closed"}]}');
CREATE TABLE evil.ticket (id int PRIMARY KEY, status pg_catalog.text);
SELECT order_engine.attach_machine('evil.ticket', 'status', 'ticket');
INSERT INTO evil.ticket VALUES (1, 'open');
UPDATE evil.ticket SET status = 'closed';

SET ROLE regress_search_path_operator;
SELECT on_hand FROM order_engine.receive_stock('A', 20, ref => 'r');
SELECT replayed FROM order_engine.receive_stock('A', 20, ref => 'r');
SELECT on_hand FROM order_engine.adjust_stock('A', 5);
SELECT order_engine.pause_relay();
SELECT order_engine.resume_relay();
SELECT state FROM order_engine.relay_status;
SELECT event FROM order_engine.machine_transition;
SELECT order_engine.machine_diagram('ticket');

SET ROLE regress_search_path_app;
SELECT order_id AS first FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 2, "unit_price": 5}]', 'k', adjustments => '[{"kind": "shipping", "amount": 1.50}]') \gset
SELECT replayed FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 2, "unit_price": 5.0}]', 'k', adjustments => '[{"kind": "shipping", "amount": 1.5}]');
SELECT outcome FROM order_engine.pay_order(:first, 'p', 11.5);
SELECT replayed FROM order_engine.pay_order(:first, 'p', 11.5);
SELECT state FROM order_engine.ship_order(:first, 2, 'ship');
UPDATE order_engine.orders SET state = 'completed' RETURNING state, version;
SELECT order_id AS second FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 1, "unit_price": 5}]', context => '{"actor": "Eve"}') \gset
SELECT outcome FROM order_engine.pay_order(:second, 'p', 5);
SELECT replayed, state FROM order_engine.refund_order(:second, 'r');
SELECT order_id AS third FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 3}]', pay_within => '1 hour') \gset
INSERT INTO order_engine.orders (order_id, user_id) VALUES (order_engine.next_order_id(2), 2) RETURNING state;
SELECT state FROM order_engine.fire(:third, 'cancel');
SELECT order_engine.available('A');
SELECT sku, available FROM order_engine.availability('{A}');
SELECT remaining FROM order_engine.deduct_stock('A', 1, ref => 'd');
SELECT version, event FROM order_engine.order_history(:second);
SELECT order_engine.allowed_events(:second);
SELECT state FROM order_engine.user_orders(1, states => '{completed,cancelled}');
SELECT order_engine.slot_of_order(order_engine.emit('note', '1', 'note.written', '1'));
INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type) VALUES ('note', '1', 'note.erased');
-- Errors, too, are made without them.
\set VERBOSITY sqlstate
SELECT order_engine.create_order(1, '[{"sku": "A", "quantity": 1000}]');
SELECT order_engine.fire(:first, 'pay');
SELECT order_engine.create_order(1, '[{"sku": "A", "quantity": 3}]', 'k');
UPDATE order_engine.orders SET amount = 0;
DELETE FROM order_engine.order_line;
\set VERBOSITY default

-- Whoever tends does so as the owner, with nothing of the caller's.
SET ROLE regress_search_path_operator;
UPDATE order_engine.orders SET due_at = '2024-01-01' WHERE due_at IS NOT NULL;
CALL order_engine.tend();
RESET search_path;
SELECT user_id, state, version FROM order_engine.orders ORDER BY order_id;
SELECT type FROM order_engine.outbox ORDER BY order_engine.slot_of_order(id), id;
SELECT sku, on_hand, reserved FROM order_engine.stock;
SELECT jsonb_array_length(order_engine.get_order(:first) -> 'history');
RESET ROLE;

SET client_min_messages = warning;
DROP OWNED BY regress_search_path_owner, regress_search_path_app, regress_search_path_operator CASCADE;
DROP ROLE regress_search_path_owner, regress_search_path_app, regress_search_path_operator;
