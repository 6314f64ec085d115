-- State machines at work: versions side by side, guards, what a raw UPDATE means.
SET client_min_messages = warning;

SELECT plan(33);

CREATE SCHEMA shop;
CREATE ROLE machine_guard_owner;
CREATE ROLE machine_app;
SELECT order_engine.grant_access('machine_app', 'app') \gset

-- ---- versions ----
SELECT lives_ok($$SELECT order_engine.define_machine('rental', '{"final": ["back"], "transitions": [
	{"from": null, "event": "create", "to": "out"},
	{"from": "out", "event": "bring", "to": "back"}]}')$$, 'a machine is published');
SELECT order_id AS first FROM order_engine.create_order(1, '[{"sku": "day", "quantity": 1}]', machine => 'rental') \gset
SELECT is(order_engine.define_machine('rental', '{"final": ["back", "lost"], "transitions": [
	{"from": null, "event": "create", "to": "out"},
	{"from": "out", "event": "lose", "to": "lost"},
	{"from": "out", "event": "bring", "to": "back"},
	{"from": "out", "event": "force_back", "to": "back"}]}'),
	(SELECT machine_id + 1 FROM order_engine.orders WHERE order_id = :first), 'a second version gets the next id');
SELECT order_id AS second FROM order_engine.create_order(1, '[{"sku": "day", "quantity": 1}]', machine => 'rental') \gset
SELECT isnt((SELECT machine_id FROM order_engine.orders WHERE order_id = :second), (SELECT machine_id FROM order_engine.orders WHERE order_id = :first),
	'a new order follows the new version');
SELECT is(order_engine.allowed_events(:first), '{bring}', 'the order from before keeps its version');
SELECT is(order_engine.allowed_events(:second), '{lose,bring,force_back}', 'the new order has the new events');
SELECT throws_ok(format('SELECT order_engine.fire(%s, %L)', :first, 'lose'), 'OE010', NULL, 'what the old version does not know it does not allow');
SELECT lives_ok(format('SELECT order_engine.fire(%s, %L)', :second, 'lose'), 'the new version does');
SELECT is(order_engine.allowed_events(:second), '{}', 'nothing is allowed in a final state');

-- Of several events between two states, a raw UPDATE means the first defined.
SELECT order_id AS third FROM order_engine.create_order(1, '[{"sku": "day", "quantity": 1}]', machine => 'rental') \gset
UPDATE order_engine.orders SET state = 'back' WHERE order_id = :third;
SELECT is((SELECT event FROM order_engine.order_event WHERE order_id = :third ORDER BY version DESC LIMIT 1), 'bring', 'the first defined event is meant');

-- A transition to the same state is fired by its event, never by an UPDATE.
SELECT order_engine.define_machine('noted', '{"transitions": [
	{"from": null, "event": "create", "to": "open"}, {"from": "open", "event": "note", "to": "open", "publish": "noted.down"}]}') \gset
SELECT order_id AS noted FROM order_engine.create_order(1, '[{"sku": "day", "quantity": 1}]', machine => 'noted') \gset
SELECT order_engine.fire(:noted, 'note') \gset
UPDATE order_engine.orders SET attributes = '{"x": 1}' WHERE order_id = :noted;
SELECT results_eq(format('SELECT event COLLATE "default" FROM order_engine.order_event WHERE order_id = %s ORDER BY version', :noted),
	ARRAY['create', 'note', 'update'], 'a move to the same state is one only when it is fired');

-- What is published: the type named, the default, nothing.
SELECT order_engine.define_machine('published', '{"final": ["d"], "transitions": [
	{"from": null, "event": "create", "to": "a", "publish": null}, {"from": "a", "event": "one", "to": "b"},
	{"from": "b", "event": "two", "to": "c", "publish": "shop.two"}, {"from": "c", "event": "three", "to": "d", "publish": null}]}') \gset
SELECT order_id AS published FROM order_engine.create_order(1, '[{"sku": "day", "quantity": 1}]', machine => 'published') \gset
SELECT order_engine.fire(:published, e) FROM unnest(ARRAY['one', 'two', 'three']) e \g /dev/null
SELECT results_eq(format('SELECT type COLLATE "default" FROM order_engine.outbox WHERE aggregateid = %L ORDER BY id', :published),
	ARRAY['order.one', 'shop.two'], 'the default is order and the event; null publishes nothing');
SELECT is((SELECT count(*) FROM order_engine.order_event WHERE order_id = :published), 4::bigint, 'history is written all the same');

-- ---- guards ----
-- A guard sees more than who fires the event, and says who it runs as.
CREATE TABLE shop.vip (user_id bigint PRIMARY KEY);
INSERT INTO shop.vip VALUES (7);
CREATE TABLE shop.asked (as_role text, event text, attributes jsonb, state text, search_path text);
ALTER TABLE shop.vip OWNER TO machine_guard_owner;
ALTER TABLE shop.asked OWNER TO machine_guard_owner;
GRANT USAGE ON SCHEMA shop TO machine_guard_owner;
CREATE FUNCTION shop.is_vip(o order_engine.orders, event text, attributes jsonb) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	INSERT INTO shop.asked VALUES (current_user, event, attributes, o.state, current_setting('search_path'));
	RETURN CASE WHEN attributes ? 'null' THEN NULL ELSE EXISTS (SELECT FROM shop.vip v WHERE v.user_id = o.user_id) END;
END $$;
ALTER FUNCTION shop.is_vip OWNER TO machine_guard_owner;
SELECT order_engine.define_machine('club', '{"final": ["in"], "transitions": [
	{"from": null, "event": "create", "to": "door"}, {"from": "door", "event": "enter", "to": "in", "guard": "shop.is_vip"}]}') \gset
SELECT order_id AS vip FROM order_engine.create_order(7, '[{"sku": "day", "quantity": 1}]', machine => 'club') \gset
SELECT order_id AS vip2 FROM order_engine.create_order(7, '[{"sku": "day", "quantity": 1}]', machine => 'club') \gset
SELECT order_id AS other FROM order_engine.create_order(8, '[{"sku": "day", "quantity": 1}]', machine => 'club') \gset

SET ROLE machine_app;
SELECT throws_ok('SELECT * FROM shop.vip', '42501', NULL, 'the application may not read what the guard reads');
SELECT throws_ok(format('SELECT order_engine.fire(%s, %L)', :other, 'enter'), 'OE013', NULL, 'a guard refuses');
SELECT throws_ok(format('UPDATE order_engine.orders SET state = %L WHERE order_id = %s', 'in', :other), 'OE013', NULL, 'a raw UPDATE asks it too');
SELECT throws_ok(format($$SELECT order_engine.fire(%s, 'enter', attributes => '{"null": 1}')$$, :vip), 'OE013', NULL, 'null is no');
SELECT lives_ok(format($$SELECT order_engine.fire(%s, 'enter', attributes => '{"ticket": 5}')$$, :vip), 'a guard allows');
RESET ROLE;
SELECT results_eq('SELECT DISTINCT as_role, event, attributes, state, search_path FROM shop.asked',
	$$VALUES ('machine_guard_owner', 'enter', '{"ticket": 5}'::jsonb, 'door', 'pg_catalog, pg_temp')$$,
	'it ran as its owner, with the event, its attributes and the order as it was; what it did when it refused is undone');
SELECT is((SELECT count(*) FROM order_engine.order_event WHERE order_id = :other), 1::bigint, 'a refused event leaves no trace');
SELECT is(order_engine.allowed_events(:other), '{enter}', 'allowed_events() does not ask guards');

-- Its definition may change: the next call takes the new one.
SET ROLE machine_app;
SELECT throws_ok(format('SELECT order_engine.fire(%s, %L)', :other, 'enter'), 'OE013', NULL, 'refused before');
RESET ROLE;
CREATE OR REPLACE FUNCTION shop.is_vip(o order_engine.orders, event text, attributes jsonb) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS 'SELECT true';
SELECT lives_ok(format('SELECT order_engine.fire(%s, %L)', :other, 'enter'), 'allowed once the function was replaced');
ALTER FUNCTION shop.is_vip SECURITY INVOKER;
SELECT throws_ok(format('SELECT order_engine.fire(%s, %L)', :vip2, 'enter'), '42501', NULL, 'no guard that is not SECURITY DEFINER, at a call either');
DROP FUNCTION shop.is_vip;
SELECT throws_ok(format('SELECT order_engine.fire(%s, %L)', :vip2, 'enter'), '42883', NULL, 'a guard that is gone refuses, it does not wave through');
CREATE FUNCTION shop.is_vip(o order_engine.orders, event text, attributes jsonb) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
SELECT throws_ok(format('SELECT order_engine.fire(%s, %L)', :vip2, 'enter'), '42P13', NULL, 'nor does one that answers something else');
DROP FUNCTION shop.is_vip;
CREATE FUNCTION shop.is_vip(o order_engine.orders, event text, attributes jsonb) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN RAISE EXCEPTION 'closed today' USING ERRCODE = 'ZZ001'; END$$;
SELECT throws_ok(format('SELECT order_engine.fire(%s, %L)', :vip2, 'enter'), 'ZZ001', 'closed today', 'what a guard raises reaches the caller');
SELECT lives_ok($$SELECT order_engine.create_order(9, '[{"sku": "day", "quantity": 1}]', machine => 'club')$$, 'the session goes on as itself');
SELECT is(current_user::text, session_user::text, 'and as nobody else');
DROP FUNCTION shop.is_vip;
CREATE FUNCTION shop.is_vip(o order_engine.orders, event text, attributes jsonb) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS 'SELECT o.version = 1 AND o.machine_id > 1 AND o.order_id > 0';
SELECT lives_ok(format('SELECT order_engine.fire(%s, %L)', :vip2, 'enter'), 'made anew, it is asked again');

-- A column more in orders changes the row that guards see, not whether they are found.
ALTER TABLE order_engine.orders ADD COLUMN shelf text DEFAULT 'upper';
CREATE OR REPLACE FUNCTION shop.is_vip(o order_engine.orders, event text, attributes jsonb) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS $$SELECT o.shelf = 'upper'$$;
SELECT order_id AS shelved FROM order_engine.create_order(9, '[{"sku": "day", "quantity": 1}]', machine => 'club') \gset
SELECT lives_ok(format('SELECT order_engine.fire(%s, %L)', :shelved, 'enter'), 'a guard sees columns of the user''s own');

-- ---- the machine of orders ----
SELECT set_eq($$SELECT event || ' ' || coalesce(from_state, '-') || ' ' || to_state || ' ' || stock || ' ' || publish
		|| CASE WHEN requires_payment THEN ' paid' ELSE '' END || CASE WHEN keeper_only THEN ' keeper' ELSE '' END || coalesce(' ' || due || ' ' || due_event, '')
		FROM order_engine.machine_transition WHERE machine_id = 1$$,
	ARRAY['create - pending reserve order.created 00:15:00 expire', 'pay pending paid confirm order.paid paid', 'cancel pending cancelled release order.cancelled',
		'expire pending cancelled release order.expired keeper', 'ship paid shipped none order.shipped', 'complete shipped completed none order.completed',
		'request_refund paid refunding none order.refund_requested', 'confirm_refund refunding cancelled restock order.refund_confirmed',
		'reject_refund refunding paid none order.refund_rejected', 'refund paid cancelled restock order.refunded'],
	'it is the one that is documented');
-- Any session setting reads a due as it was meant.
SET intervalstyle = 'sql_standard';
SELECT is((SELECT due FROM order_engine.machine_transition WHERE machine_id = 1 AND event = 'create'), interval '15 minutes', 'a due does not depend on the session');
RESET intervalstyle;
-- A new version of it is what create_order() takes by default.
SELECT order_engine.define_machine('order', '{"final": ["done"], "transitions": [{"from": null, "event": "create", "to": "begun"}, {"from": "begun", "event": "end", "to": "done"}]}') \gset
SELECT is((SELECT state FROM order_engine.create_order(1, '[{"sku": "day", "quantity": 1}]')), 'begun', 'the newest version of "order" is the default');

SELECT * FROM finish();

DROP SCHEMA shop CASCADE;
DROP OWNED BY machine_app, machine_guard_owner;
DROP ROLE machine_app, machine_guard_owner;
