-- Who may do what: the matrix of access_rules(), compared with what PostgreSQL says.
-- needs a superuser called postgres
\set SHOW_CONTEXT never
CREATE EXTENSION order_engine;
CREATE ROLE regress_privileges_owner;
CREATE ROLE regress_privileges_app;
CREATE ROLE regress_privileges_operator;
CREATE ROLE regress_privileges_monitor;
CREATE ROLE regress_privileges_nobody;

-- The installer, a superuser here, gives a role the right to set up.  Before, it can do nothing.
SET ROLE regress_privileges_owner;
SELECT order_engine.setup(2);
RESET ROLE;
SELECT order_engine.grant_access('regress_privileges_owner', 'owner');

-- From here on the owner of the shop needs no superuser.
SET ROLE regress_privileges_owner;
SELECT order_engine.grant_access('regress_privileges_monitor', 'monitor');
SET client_min_messages = warning;
SELECT order_engine.setup(2);
RESET client_min_messages;
SELECT order_engine.grant_access('regress_privileges_app', 'app');
SELECT order_engine.grant_access('regress_privileges_operator', 'operator');
SELECT order_engine.grant_access('regress_privileges_monitor', 'monitor');
-- Again changes nothing.
SELECT order_engine.grant_access('regress_privileges_app', 'app');
SET client_min_messages = warning;
SELECT order_engine.setup(2);
RESET client_min_messages;

-- What he cannot give, and what there is not.
SELECT order_engine.grant_access('regress_privileges_nobody', 'owner');
SELECT order_engine.grant_access('regress_privileges_nobody', 'everything');
SELECT order_engine.grant_access('regress_privileges_nobody', NULL);
SELECT order_engine.grant_access(0, 'app');
SELECT order_engine.grant_access(NULL, 'app');
SELECT order_engine.grant_access('public', 'app');
SET ROLE regress_privileges_operator;
SELECT order_engine.grant_access('regress_privileges_nobody', 'app');
RESET ROLE;

-- Who runs setup() owns the tables, and they are no members of the extension.
SELECT DISTINCT c.relowner::regrole FROM pg_class c WHERE c.relnamespace = 'order_engine'::regnamespace AND c.relkind <> 'c';
SELECT c.oid::regclass FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
WHERE c.relnamespace = 'order_engine'::regnamespace AND c.relkind <> 'v';

-- Everything has a line, and every line has something.  Each query below lists what is wrong.
CREATE TEMP VIEW routine AS
SELECT p.oid, p.proname AS name, p.oid::regprocedure AS routine, p.prolang, p.prosecdef, p.proconfig, p.proacl, p.proowner, p.prosrc
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'order_engine');
CREATE TEMP VIEW relation AS
SELECT c.oid, c.relname AS name, c.oid::regclass AS relation, CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind,
	c.relispartition AS leaf
FROM pg_class c WHERE c.relnamespace = 'order_engine'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S');

SELECT routine AS function_without_a_line FROM routine WHERE name NOT IN (SELECT name FROM order_engine.access_rules() WHERE kind = 'function');
SELECT relation AS table_without_a_line FROM relation r
WHERE NOT leaf AND NOT EXISTS (SELECT FROM order_engine.access_rules() a WHERE a.kind = r.kind AND a.name = r.name);
SELECT a.kind, a.name AS line_without_an_object FROM order_engine.access_rules() a
WHERE NOT EXISTS (SELECT FROM routine r WHERE a.kind = 'function' AND r.name = a.name)
	AND NOT EXISTS (SELECT FROM relation r WHERE a.kind = r.kind AND r.name = a.name);
SELECT kind, name AS line_twice FROM order_engine.access_rules() GROUP BY kind, name HAVING count(*) > 1;

-- What each role has is what the lines say: nothing less, nothing more, nothing to give on.
CREATE TEMP VIEW holder AS
SELECT 'regress_privileges_' || level AS role, level FROM unnest(ARRAY['owner', 'app', 'operator', 'monitor', 'nobody']) AS level;
CREATE TEMP VIEW rule AS
SELECT a.kind, a.name, h.role, h.level,
	string_to_array(CASE h.level WHEN 'app' THEN a.app WHEN 'operator' THEN a.operator WHEN 'monitor' THEN a.monitor END, ', ') AS privileges
FROM order_engine.access_rules() a, holder h;

SELECT u.role, r.routine AS wrong_execute FROM rule u JOIN routine r ON u.kind = 'function' AND u.name = r.name
WHERE has_function_privilege(u.role, r.oid, 'EXECUTE') <> (u.level = 'owner' OR u.privileges IS NOT NULL)
	OR has_function_privilege(u.role, r.oid, 'EXECUTE WITH GRANT OPTION') <> (u.level = 'owner')
ORDER BY u.role, r.routine::text;
SELECT u.role, r.relation, privilege AS wrong_privilege FROM rule u JOIN relation r ON u.kind = 'table' AND r.kind = 'table' AND u.name = r.name,
	unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
WHERE has_table_privilege(u.role, r.oid, privilege) <> (u.level = 'owner' OR privilege = ANY (coalesce(u.privileges, '{}')))
	OR (u.level <> 'owner' AND has_table_privilege(u.role, r.oid, privilege || ' WITH GRANT OPTION'))
ORDER BY u.role, r.relation::text, privilege;
SELECT u.role, r.relation, privilege AS wrong_privilege FROM rule u JOIN relation r ON u.kind = 'sequence' AND r.kind = 'sequence' AND u.name = r.name,
	unnest(ARRAY['SELECT', 'USAGE', 'UPDATE']) AS privilege
WHERE has_sequence_privilege(u.role, r.oid, privilege) <> (u.level = 'owner' OR privilege = ANY (coalesce(u.privileges, '{}')));
SELECT h.role, r.relation, privilege AS privilege_on_a_leaf FROM holder h, relation r, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS privilege
WHERE r.leaf AND h.level <> 'owner' AND has_table_privilege(h.role, r.oid, privilege);
SELECT h.role, has_schema_privilege(h.role, 'order_engine', 'USAGE') AS usage, has_schema_privilege(h.role, 'order_engine', 'CREATE') AS "create"
FROM holder h ORDER BY h.role;
SELECT attrelid::regclass, attname AS column_privileges FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid IN (SELECT oid FROM relation);

-- Nothing is for PUBLIC.
SELECT routine AS for_public FROM routine, aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0;
SELECT c.oid::regclass AS for_public FROM pg_class c, aclexplode(c.relacl) WHERE c.oid IN (SELECT oid FROM relation) AND grantee = 0;

-- Whatever is not C finds its names in pg_catalog alone; nothing runs as its owner; everything says what it does.
SELECT routine AS loose_search_path FROM routine
WHERE prolang NOT IN (SELECT oid FROM pg_language WHERE lanname IN ('c', 'internal'))
	AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false);
SELECT routine AS security_definer FROM routine WHERE prosecdef;
SELECT routine AS without_a_comment FROM routine WHERE obj_description(oid, 'pg_proc') IS NULL;

-- The levels at work.
SET ROLE regress_privileges_operator;
SELECT on_hand FROM order_engine.receive_stock('A', 10);
SELECT sku, on_hand, reserved FROM order_engine.stock;
SELECT order_engine.setup(2);
SELECT order_engine.pause_relay();
SELECT order_engine.resume_relay();
CALL order_engine.tend();
SET ROLE regress_privileges_app;
SELECT order_id FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 1, "unit_price": 5}]', private => '{"name": "Ann"}') \gset
SELECT outcome, state, version FROM order_engine.pay_order(:order_id, 'p-1', 5);
UPDATE order_engine.orders SET state = 'shipped' WHERE order_id = :order_id RETURNING state, version, private;
SELECT version, event, actor = session_user AS by_session_user FROM order_engine.order_history(:order_id);
SELECT order_engine.get_order(:order_id)->>'state' AS state;
INSERT INTO order_engine.orders (order_id, user_id) SELECT order_engine.next_order_id(3), 3 RETURNING state, version;
SELECT order_engine.emit('cart', '1', 'cart.filled', '{}') IS NOT NULL AS emitted;
INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type, payload) VALUES ('cart', '2', 'cart.filled', '{}');
SELECT count(*) FROM order_engine.orders_0;
SELECT payload FROM order_engine.outbox;
SELECT order_engine.pause_relay();
CALL order_engine.tend();
SELECT order_engine.define_machine('order', '{}');
SELECT count(*) FROM order_engine.stock;
SELECT * FROM order_engine.receive_stock('A', 10);
DELETE FROM order_engine.orders;
UPDATE order_engine.order_line SET quantity = 2;
SET ROLE regress_privileges_monitor;
SELECT order_engine.get_order(:order_id);
SELECT count(*) FROM order_engine.orders;
SELECT count(*) FROM order_engine.machine_transition;
SELECT state, coalesce(lag_events, 0) >= 0 AS lag_events FROM order_engine.relay_status;
SELECT state, due, late FROM order_engine.keeper_status;
SELECT order_engine.resume_relay();
SET ROLE regress_privileges_nobody;
SELECT order_engine.get_order(1);
RESET ROLE;

-- Row security does not bind the engine, only who queries the tables himself.
SET ROLE regress_privileges_owner;
ALTER TABLE order_engine.orders ENABLE ROW LEVEL SECURITY;
SET ROLE regress_privileges_app;
SELECT count(*) FROM order_engine.orders;
SELECT order_engine.get_order(:order_id)->>'state' AS state;
SELECT state, version FROM order_engine.complete_order(:order_id);
SET ROLE regress_privileges_owner;
ALTER TABLE order_engine.orders DISABLE ROW LEVEL SECURITY;
RESET ROLE;

-- A search_path full of traps, in front of everything, catches nobody: neither the
-- caller nor the owner of the tables runs them.
CREATE SCHEMA regress_privileges_traps;
GRANT ALL ON SCHEMA regress_privileges_traps TO regress_privileges_app;
SET ROLE regress_privileges_app;
DO $$
DECLARE
	o record;
BEGIN
	FOR o IN SELECT DISTINCT op.oprname, op.oprleft::regtype AS l, op.oprright::regtype AS r FROM pg_operator op
		WHERE op.oprresult = 'boolean'::regtype AND op.oprleft <> 0 AND op.oprname IN ('=', '<>', '<', '>', '<=', '>=', '?', '@>', '~~', '~')
			AND op.oprleft::regtype::text IN ('bigint', 'integer', 'text', 'numeric', 'jsonb', 'name', 'oid', 'anyarray', 'timestamp with time zone', 'uuid', 'xid8')
	LOOP
		EXECUTE format('CREATE FUNCTION regress_privileges_traps.op(%1$s, %2$s) RETURNS boolean LANGUAGE plpgsql AS %3$L', o.l, o.r,
			'BEGIN RAISE EXCEPTION ''trapped as %'', current_user; END');
		EXECUTE format('CREATE OPERATOR regress_privileges_traps.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = regress_privileges_traps.op)', o.oprname, o.l, o.r);
		EXECUTE format('ALTER FUNCTION regress_privileges_traps.op(%s, %s) RENAME TO %I', o.l, o.r, 'op_' || md5(o::text));
	END LOOP;
END $$;
CREATE FUNCTION regress_privileges_traps.now() RETURNS timestamptz LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped as %'', current_user; END';
CREATE FUNCTION regress_privileges_traps.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped as %'', current_user; END';
CREATE FUNCTION regress_privileges_traps.slot_of_user(bigint) RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped as %'', current_user; END';
SET search_path = regress_privileges_traps, pg_catalog, order_engine;
SELECT 1 = 1;
SELECT order_id FROM order_engine.create_order(2, '[{"sku": "A", "quantity": 1, "unit_price": 5}]', 'key') \gset
SELECT replayed FROM order_engine.create_order(2, '[{"sku": "A", "quantity": 1, "unit_price": 5}]', 'key');
SELECT outcome FROM order_engine.pay_order(:order_id, 'p-1', 5);
SELECT replayed FROM order_engine.pay_order(:order_id, 'p-1', 5);
SELECT state FROM order_engine.ship_order(:order_id, 2, 'ship');
UPDATE order_engine.orders SET state = 'completed' WHERE order_id OPERATOR(pg_catalog.=) :order_id RETURNING state;
SELECT count(*) FROM order_engine.user_orders(2, states => '{completed}');
SELECT jsonb_array_length(order_engine.get_order(:order_id) OPERATOR(pg_catalog.->) 'history');
SELECT order_engine.available('A');
RESET search_path;
RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA regress_privileges_traps CASCADE;
RESET client_min_messages;

-- After an update that adds a function, the owner is told what is missing.
REVOKE EXECUTE ON FUNCTION order_engine.get_order(bigint) FROM regress_privileges_owner CASCADE;
SET ROLE regress_privileges_owner;
SELECT order_engine.grant_access('regress_privileges_app', 'app');
RESET ROLE;

DROP OWNED BY regress_privileges_owner, regress_privileges_app, regress_privileges_operator, regress_privileges_monitor;
DROP ROLE regress_privileges_owner, regress_privileges_app, regress_privileges_operator, regress_privileges_monitor, regress_privileges_nobody;
