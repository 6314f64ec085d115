
/* ---- privileges: who may do what ---- */

/*
 * The whole privilege matrix.  Everything of the extension and of setup() has
 * a line here; what a level's column leaves out is the owner's alone.
 */
CREATE FUNCTION order_engine.access_rules() RETURNS TABLE (kind text, name text, app text, operator text, monitor text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $rules$
VALUES
	/* tables: leaves are reached through their parents */
	('table', 'orders', 'SELECT, INSERT, UPDATE', 'SELECT, INSERT, UPDATE', NULL),
	('table', 'order_line', 'SELECT', 'SELECT', NULL),
	('table', 'order_event', 'SELECT', 'SELECT', NULL),
	('table', 'payment', 'SELECT', 'SELECT', NULL),
	('table', 'reservation', 'SELECT', 'SELECT', NULL),
	('table', 'machine', NULL, 'SELECT', NULL),
	('table', 'stock', NULL, 'SELECT', NULL),
	('table', 'stock_movement', NULL, 'SELECT', NULL),
	/* id: for RETURNING, as ORMs have it; it tells when there was an event, and nothing of it */
	('table', 'outbox', 'INSERT, SELECT (id)', 'INSERT, SELECT', NULL),
	('table', 'stock_journal', NULL, NULL, NULL),
	('table', 'journal_position', NULL, NULL, NULL),
	('table', 'shop', NULL, NULL, NULL),
	('sequence', 'order_id_lease', NULL, NULL, NULL),

	/* ids and routing */
	('function', 'slot_of_user', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'slot_of_text', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'slot_of_order', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'next_order_id', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'user_id_of', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'order_id_parts', 'EXECUTE', 'EXECUTE', NULL),

	/* orders */
	('function', 'create_order', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'fire', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'ship_order', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'complete_order', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'cancel_order', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'request_refund', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'confirm_refund', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'reject_refund', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'pay_order', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'refund_order', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'get_order', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'get_orders', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'user_orders', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'order_history', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'allowed_events', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'replay_events', 'EXECUTE', 'EXECUTE', NULL),

	/* reservations */
	('function', 'try_reserve', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'confirm_reservation', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'cancel_reservation', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'extend_reservation', 'EXECUTE', 'EXECUTE', NULL),

	/* machines */
	('table', 'machine_transition', 'SELECT', 'SELECT', 'SELECT'),
	('function', 'machine_diagram', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'define_machine', NULL, 'EXECUTE', NULL),
	/* who attaches a machine makes triggers with these functions on a table of his own */
	('function', 'attach_machine', NULL, 'EXECUTE', NULL),
	('function', 'attached_before', NULL, 'EXECUTE', NULL),
	('function', 'attached_after', NULL, 'EXECUTE', NULL),

	/* stock */
	('function', 'available', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'availability', 'EXECUTE', 'EXECUTE', NULL),
	('table', 'stock_now', NULL, 'SELECT', NULL),
	('function', 'stock_now_rows', NULL, 'EXECUTE', NULL),
	('function', 'deduct_stock', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'receive_stock', NULL, 'EXECUTE', NULL),
	('function', 'adjust_stock', NULL, 'EXECUTE', NULL),
	('function', 'set_stock_open', NULL, 'EXECUTE', NULL),
	('function', 'set_stock_mode', NULL, 'EXECUTE', NULL),
	('table', 'stat_stock', NULL, 'SELECT', 'SELECT'),
	('function', 'stock_statistics', NULL, 'EXECUTE', 'EXECUTE'),

	/* the keeper's work */
	('function', 'tend', NULL, 'EXECUTE', NULL),
	('table', 'keeper_status', NULL, 'SELECT', 'SELECT'),
	('function', 'keeper_state', NULL, 'EXECUTE', 'EXECUTE'),
	('function', 'keeper_due', NULL, 'EXECUTE', 'EXECUTE'),
	('function', 'reconcile', NULL, 'EXECUTE', NULL),

	/* events */
	('function', 'emit', 'EXECUTE', 'EXECUTE', NULL),
	('function', 'outbox_ring', 'EXECUTE', 'EXECUTE', NULL),

	/* the relay */
	('table', 'relay_status', NULL, 'SELECT', 'SELECT'),
	('function', 'relay_state', NULL, 'EXECUTE', 'EXECUTE'),
	('function', 'relay_lag', NULL, 'EXECUTE', 'EXECUTE'),
	('function', 'pause_relay', NULL, 'EXECUTE', NULL),
	('function', 'resume_relay', NULL, 'EXECUTE', NULL),

	/* installation */
	('function', 'setup', NULL, NULL, NULL),
	('function', 'grant_access', NULL, NULL, NULL),

	/* internal: called by those above, by triggers, by PostgreSQL */
	('function', 'access_rules', NULL, NULL, NULL),
	('function', 'access_grants', NULL, NULL, NULL),
	('function', 'grant_owner', NULL, NULL, NULL),
	('function', 'create_tables', NULL, NULL, NULL),
	('function', 'create_direct_write_triggers', NULL, NULL, NULL),
	('function', 'create_journals', NULL, NULL, NULL),
	('function', 'notice_service', NULL, NULL, NULL),
	('function', 'table_comments', NULL, NULL, NULL),
	('function', 'comment_tables', NULL, NULL, NULL),
	('function', 'outbox_before_insert', NULL, NULL, NULL),
	('function', 'journal_tick', NULL, NULL, NULL),
	('function', 'journal_batch', NULL, NULL, NULL),
	('function', 'journal_acknowledge', NULL, NULL, NULL),
	('function', 'journal_rotate', NULL, NULL, NULL),
	('function', 'journal_expire', NULL, NULL, NULL),
	('function', 'stock_journal_unfolded', NULL, NULL, NULL),
	('function', 'migrate', NULL, NULL, NULL),
	('function', 'create_machines', NULL, NULL, NULL),
	('function', 'machine_changed', NULL, NULL, NULL),
	('function', 'machine_holding', NULL, NULL, NULL),
	('function', 'create_stock_now', NULL, NULL, NULL),
	('function', 'create_stat_stock', NULL, NULL, NULL),
	('function', 'create_keeper', NULL, NULL, NULL),
	('function', 'create_relay', NULL, NULL, NULL),
	('function', 'refuse_direct_write', NULL, NULL, NULL),
	('function', 'replay_step', NULL, NULL, NULL),
	('function', 'replay_result', NULL, NULL, NULL),
	('function', 'replay_check', NULL, NULL, NULL),
	('function', 'replay_check_step', NULL, NULL, NULL),
	('function', 'replay_check_result', NULL, NULL, NULL),
	('function', 'orders_before_insert', NULL, NULL, NULL),
	('function', 'orders_before_update', NULL, NULL, NULL),
	('function', 'orders_after_change', NULL, NULL, NULL),
	('function', 'reservation_before_delete', NULL, NULL, NULL),
	('function', 'stock_before', NULL, NULL, NULL),
	('function', 'stock_after', NULL, NULL, NULL),
	('function', 'slot_hash', NULL, NULL, NULL),
	('function', 'slot_hash_extended', NULL, NULL, NULL)
$rules$;
COMMENT ON FUNCTION order_engine.access_rules() IS
'internal: the privilege matrix, one row for each table, view, sequence and function, with the privileges of each level; the owner has all of them';
REVOKE ALL ON FUNCTION order_engine.access_rules() FROM PUBLIC;

/*
 * Functions only, since setup() has not run; members of the extension only, since
 * an owner may create others in the schema.
 */
CREATE FUNCTION order_engine.grant_owner(role regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $owner$
DECLARE
	extension record;
	routine regprocedure;
BEGIN
	SELECT e.oid, e.extowner INTO extension FROM pg_extension e WHERE e.extname = 'order_engine';
	IF NOT pg_has_role(current_user, extension.extowner, 'USAGE') THEN
		RAISE EXCEPTION 'permission denied to grant access of level "owner"'
			USING ERRCODE = '42501',
				HINT = format('Only %s, who owns extension order_engine, can do that.', extension.extowner::regrole);
	END IF;
	EXECUTE format('GRANT CREATE ON SCHEMA order_engine TO %s', role);
	EXECUTE format('GRANT USAGE ON SCHEMA order_engine TO %s WITH GRANT OPTION', role);
	FOR routine IN
		SELECT d.objid FROM pg_depend d
		WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
			AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = extension.oid
	LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %s WITH GRANT OPTION', routine, role);
	END LOOP;
END
$owner$;
COMMENT ON FUNCTION order_engine.grant_owner(regrole) IS 'internal: the level "owner" of grant_access()';
REVOKE ALL ON FUNCTION order_engine.grant_owner(regrole) FROM PUBLIC;

/* What a level gets of what exists, as the words between GRANT and TO. */
CREATE FUNCTION order_engine.access_grants(level text) RETURNS TABLE (privileges text, object text, grantable boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $grants$
WITH rule AS (
	SELECT r.kind, r.name, CASE level WHEN 'app' THEN r.app WHEN 'operator' THEN r.operator WHEN 'monitor' THEN r.monitor END AS privileges
	FROM order_engine.access_rules() r
)
SELECT rule.privileges, 'ROUTINE ' || p.oid::regprocedure, has_function_privilege(p.oid, 'EXECUTE WITH GRANT OPTION')
FROM rule
	JOIN pg_proc p ON p.proname = rule.name
	JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'order_engine'
WHERE rule.kind = 'function' AND rule.privileges IS NOT NULL
UNION ALL
SELECT rule.privileges, upper(rule.kind) || ' ' || c.oid::regclass, pg_has_role(c.relowner, 'USAGE')
FROM rule
	JOIN pg_class c ON c.relname = rule.name AND c.relnamespace = 'order_engine'::regnamespace
WHERE rule.kind IN ('table', 'sequence') AND rule.privileges IS NOT NULL
$grants$;
COMMENT ON FUNCTION order_engine.access_grants(text) IS
'internal: what a level gets of the functions and tables that exist, and whether the current user can grant it';
REVOKE ALL ON FUNCTION order_engine.access_grants(text) FROM PUBLIC;

CREATE FUNCTION order_engine.grant_access(role regrole, level text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $grant$
DECLARE
	item record;
BEGIN
	IF level IS NULL OR level NOT IN ('owner', 'app', 'operator', 'monitor') THEN
		RAISE EXCEPTION 'level of access must be "owner", "app", "operator" or "monitor"' USING ERRCODE = '22023';
	END IF;
	IF role IS NULL OR NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
		RAISE EXCEPTION 'role % does not exist', coalesce(role::text, 'null') USING ERRCODE = '42704';
	END IF;
	IF level = 'owner' THEN
		PERFORM order_engine.grant_owner(role);
		RETURN;
	END IF;

	SELECT a.object INTO item FROM order_engine.access_grants(level) a WHERE NOT a.grantable LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'permission denied to grant access to %', lower(left(item.object, strpos(item.object, ' '))) || substr(item.object, strpos(item.object, ' ') + 1)
			USING ERRCODE = '42501',
				HINT = 'Call this as the owner of the tables. After ALTER EXTENSION UPDATE, who owns the extension must first call order_engine.grant_access() of level "owner" again.';
	END IF;
	EXECUTE format('GRANT USAGE ON SCHEMA order_engine TO %s', role);
	FOR item IN SELECT a.privileges, a.object FROM order_engine.access_grants(level) a LOOP
		EXECUTE format('GRANT %s ON %s TO %s', item.privileges, item.object, role);
	END LOOP;
	IF to_regclass('order_engine.shop') IS NULL THEN
		RAISE NOTICE 'there are no tables yet, so access to functions only was granted'
			USING HINT = 'Call order_engine.grant_access() again after order_engine.setup().';
	END IF;
END
$grant$;
COMMENT ON FUNCTION order_engine.grant_access(regrole, text) IS
'Gives a role a level of access, by GRANTs that PostgreSQL keeps: "owner" (who owns the extension gives it: may run setup(), then owns the tables and gives the other levels), "app" (the calls and orders), "operator" (that and stock, machines, the relay), "monitor" (views only). Idempotent; call it again after setup() and after ALTER EXTENSION UPDATE. It takes nothing away. Errors: 22023 for another level, 42704 for an unknown role, 42501 if the caller cannot grant it.';
REVOKE ALL ON FUNCTION order_engine.grant_access(regrole, text) FROM PUBLIC;
