-- Whether the books balance: each fault breaks its invariant, and is mended where that takes no guess.
-- needs to be preloaded
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql

SELECT define_machine('preorder', '{"final": ["done", "void"], "void": ["void"], "transitions": [
	{"from": null, "event": "create", "to": "wished"},
	{"from": "wished", "event": "pay", "to": "paid", "stock": "reserve", "requires_payment": true},
	{"from": "wished", "event": "drop", "to": "void"},
	{"from": "paid", "event": "drop", "to": "void", "stock": "release"},
	{"from": "paid", "event": "send", "to": "sent", "stock": "confirm"},
	{"from": "sent", "event": "arrive", "to": "done"},
	{"from": "sent", "event": "return", "to": "wished", "stock": "restock"}]}') \gset preorder_

-- A shop in which everything has happened.
\o /dev/null
SELECT receive_stock('apple', 100), receive_stock('cherry', 50), adjust_stock('apple', -3), deduct_stock('cherry', 1);
UPDATE stock SET on_hand = on_hand + 5 WHERE sku = 'cherry';
SELECT order_id FROM create_order(1, '[{"sku": "apple", "quantity": 2, "unit_price": 1}, {"sku": "red", "stock_key": "apple", "quantity": 1},
	{"sku": "cherry", "quantity": 3}, {"sku": "card", "quantity": 1, "stocked": false}]') \gset held_
SELECT order_id FROM create_order(1, '[{"sku": "apple", "quantity": 2, "unit_price": 5}]') \gset paid_
SELECT receive_stock('coupon', 10);
SELECT order_id FROM create_order(1, '[{"sku": "apple", "quantity": 1, "unit_price": 9}]',
	adjustments => '[{"kind": "discount", "amount": -1, "stock_key": "coupon", "quantity": 2}]') \gset coupon_
SELECT pay_order(:coupon_order_id, 'p', 8);
SELECT create_order(1, '[{"sku": "apple", "quantity": 1, "unit_price": 9}]',
	adjustments => '[{"kind": "discount", "amount": -1, "stock_key": "coupon", "quantity": 3}]');
SELECT pay_order(:paid_order_id, 'p1', 4), pay_order(:paid_order_id, 'p2', 7), pay_order(:paid_order_id, 'p3', 1), pay_order(:paid_order_id, 'p4', 1, 'USD');
SELECT refund_order(:paid_order_id, 'r1', 3);
SELECT order_id FROM create_order(1, '[{"sku": "cherry", "quantity": 4, "unit_price": 5}]', currency => 'EUR') \gset done_
SELECT pay_order(:done_order_id, 'p1', 20), pay_order(:done_order_id, 'p2', 20, 'USD'), ship_order(:done_order_id), complete_order(:done_order_id);
SELECT order_id FROM create_order(1, '[{"sku": "apple", "quantity": 1, "unit_price": 5}]') \gset back_
SELECT pay_order(:back_order_id, 'p1', 5), refund_order(:back_order_id, 'r1');
SELECT order_id FROM create_order(1, '[{"sku": "apple", "quantity": 7}]') \gset cancelled_
SELECT cancel_order(:cancelled_order_id);
SELECT order_id FROM create_order(2, '[{"sku": "apple", "quantity": 9, "unit_price": 1}]', pay_within => '1 microsecond') \gset late_
CALL tend();
SELECT order_id FROM create_order(2, '[{"sku": "cherry", "quantity": 2, "unit_price": 1}]', machine => 'preorder') \gset preorder_
SELECT pay_order(:preorder_order_id, 'p1', 2), fire(:preorder_order_id, 'send'), fire(:preorder_order_id, 'return'),
	fire(:preorder_order_id, 'pay'), fire(:preorder_order_id, 'send');
INSERT INTO orders (order_id, user_id, amount) VALUES (next_order_id(3), 3, 10);
UPDATE orders SET attributes = '{"a": 1}' WHERE user_id = 3;
\o

SELECT * FROM reconcile();
SELECT * FROM reconcile(true);
SELECT * FROM reconcile(NULL);

-- What is found after a statement that went round every rule, and what is left of it after a repair.
CREATE FUNCTION public.shown(key text) RETURNS text LANGUAGE sql AS $$ SELECT regexp_replace(key, '^\d{10,}', 'ORDER') $$;
CREATE PROCEDURE public.fault(VARIADIC statements text[]) LANGUAGE plpgsql AS $$
DECLARE
	statement text;
	found record;
	n int;
BEGIN
	SET LOCAL session_replication_role = replica;
	FOREACH statement IN ARRAY statements LOOP
		EXECUTE statement;
		GET DIAGNOSTICS n = ROW_COUNT;
		IF n <> 1 AND statement !~ '^ALTER' THEN
			RAISE NOTICE '% rows: %', n, statement;
		END IF;
	END LOOP;
	SET LOCAL session_replication_role = origin;
	FOR found IN SELECT * FROM order_engine.reconcile() r ORDER BY r.name, r.key LOOP
		RAISE NOTICE '%: % is %, not %', found.name, public.shown(found.key), found.actual, found.expected;
	END LOOP;
	FOR found IN SELECT * FROM order_engine.reconcile(true) r WHERE r.repaired ORDER BY r.name, r.key LOOP
		RAISE NOTICE 'repaired %', found.name;
	END LOOP;
	SELECT count(*) INTO n FROM order_engine.reconcile();
	RAISE NOTICE 'then % broken', n;
	ROLLBACK;
END
$$;
\set VERBOSITY terse
\set QUIET on

-- The stock row and its movements.
CALL public.fault('UPDATE order_engine.stock SET on_hand = on_hand + 1 WHERE sku = ''apple''');
CALL public.fault('UPDATE order_engine.stock SET on_hand = on_hand - 1 WHERE sku = ''apple''');
CALL public.fault('DELETE FROM order_engine.stock_movement WHERE sku = ''apple'' AND reason = ''receipt''');
CALL public.fault('INSERT INTO order_engine.stock_movement (sku, quantity, reason, actor) VALUES (''fig'', 1, ''receipt'', ''me'')');
CALL public.fault('INSERT INTO order_engine.stock (sku, on_hand) VALUES (''fig'', 3)');

-- What is reserved, and what is held.
CALL public.fault('UPDATE order_engine.stock SET reserved = reserved + 1 WHERE sku = ''apple''');
CALL public.fault('UPDATE order_engine.stock SET reserved = reserved - 1 WHERE sku = ''apple''');
CALL public.fault('UPDATE order_engine.stock SET reserved = on_hand WHERE sku = ''cherry''');
CALL public.fault(format('UPDATE order_engine.order_line SET quantity = quantity + 1 WHERE order_id = %s AND line_no = 1', :held_order_id));
CALL public.fault(format('UPDATE order_engine.order_line SET quantity = 100000 WHERE order_id = %s AND line_no = 1', :held_order_id));
CALL public.fault('UPDATE order_engine.stock SET on_hand = on_hand + 2, reserved = reserved - 2 WHERE sku = ''cherry''',
	'UPDATE order_engine.stock SET reserved = reserved + 1 WHERE sku = ''apple''');

-- More is promised than there is.
CALL public.fault('ALTER TABLE order_engine.stock DROP CONSTRAINT stock_reserved_check',
	'UPDATE order_engine.stock SET on_hand = 2 WHERE sku = ''cherry''',
	'INSERT INTO order_engine.stock_movement (sku, quantity, reason, actor) SELECT ''cherry'', 2 - sum(quantity), ''lost'', ''me'' FROM order_engine.stock_movement WHERE sku = ''cherry''');

-- What is paid is confirmed.
CALL public.fault(format('UPDATE order_engine.stock_movement SET reason = ''lost'', ref = NULL WHERE ref = ''%s/3''', :paid_order_id));
CALL public.fault(format('UPDATE order_engine.stock_movement SET quantity = -1 WHERE ref = ''%s/3''', :paid_order_id),
	'INSERT INTO order_engine.stock_movement (sku, quantity, reason, actor) VALUES (''apple'', -1, ''lost'', ''me'')');
CALL public.fault(format('INSERT INTO order_engine.stock_movement (sku, quantity, reason, ref, actor) VALUES (''apple'', 2, ''restock'', ''%s/5'', ''me'')', :paid_order_id),
	'INSERT INTO order_engine.stock_movement (sku, quantity, reason, actor) VALUES (''apple'', -2, ''lost'', ''me'')');
CALL public.fault(format('UPDATE order_engine.order_line SET stock_key = ''cherry'' WHERE order_id = %s', :paid_order_id));
CALL public.fault(format('DELETE FROM order_engine.order_line WHERE order_id = %s', :paid_order_id));
CALL public.fault(format('UPDATE order_engine.stock_movement SET reason = ''lost'', ref = NULL WHERE ref = ''%s/6''', :preorder_order_id));

CALL public.fault(format('UPDATE order_engine.orders SET adjustments = jsonb_set(adjustments, ''{0,quantity}'', ''1'') WHERE order_id = %s', :coupon_order_id));

-- What reservations hold, and what they took.
CALL public.fault('INSERT INTO order_engine.reservation (id, reservation_id, user_id, state, lines, actor, created_at, expires_at)
	VALUES (order_engine.next_order_id(1), ''cart'', 1, ''held'', ''{"apple": 2, "coupon": 1}'', ''me'', now(), now())');
CALL public.fault('INSERT INTO order_engine.reservation (id, reservation_id, user_id, state, lines, confirmed, actor, created_at, expires_at, resolved_at)
	VALUES (order_engine.next_order_id(1), ''cart'', 1, ''confirmed'', ''{"apple": 2, "coupon": 1}'', ''{"apple": 2}'', ''me'', now(), now(), now())');

-- What is over holds nothing.
CALL public.fault(format('UPDATE order_engine.stock_movement SET reason = ''lost'', ref = NULL WHERE ref = ''%s/3''', :back_order_id));
CALL public.fault(format('INSERT INTO order_engine.stock_movement (sku, quantity, reason, ref, actor) VALUES (''apple'', -7, ''confirm'', ''%s/2'', ''me'')', :cancelled_order_id),
	'UPDATE order_engine.stock SET on_hand = on_hand - 7 WHERE sku = ''apple''');

-- Payments.
CALL public.fault(format('UPDATE order_engine.orders SET captured = captured + 1 WHERE order_id = %s', :paid_order_id));
CALL public.fault(format('UPDATE order_engine.payment SET amount = 2 WHERE order_id = %s AND payment_ref = ''p3''', :paid_order_id));
CALL public.fault(format('UPDATE order_engine.orders SET refunded = refunded + 0.50 WHERE order_id = %s', :paid_order_id));
CALL public.fault(format('DELETE FROM order_engine.payment WHERE order_id = %s AND kind = ''refund''', :back_order_id));
CALL public.fault('ALTER TABLE order_engine.orders DROP CONSTRAINT orders_refunded_check',
	format('UPDATE order_engine.orders SET refunded = 40 WHERE order_id = %s', :paid_order_id),
	format('UPDATE order_engine.payment SET amount = 40 WHERE order_id = %s AND kind = ''refund''', :paid_order_id));

-- History.
CALL public.fault(format('DELETE FROM order_engine.order_event WHERE order_id = %s AND version = 2', :paid_order_id));
CALL public.fault(format('UPDATE order_engine.order_event SET version = 9 WHERE order_id = %s AND version = 2', :done_order_id));
CALL public.fault(format('UPDATE order_engine.orders SET version = version + 1 WHERE order_id = %s', :done_order_id));
CALL public.fault(format('UPDATE order_engine.order_event SET event = ''refund'' WHERE order_id = %s AND version = 2', :cancelled_order_id));
CALL public.fault(format('UPDATE order_engine.order_event SET to_state = ''paid'' WHERE order_id = %s AND version = 2', :cancelled_order_id));
CALL public.fault(format('UPDATE order_engine.orders SET state = ''shipped'' WHERE order_id = %s', :paid_order_id));
CALL public.fault(format('UPDATE order_engine.orders SET state = ''nowhere'' WHERE order_id = %s', :paid_order_id));
CALL public.fault(format('UPDATE order_engine.orders SET machine_id = 99 WHERE order_id = %s', :paid_order_id));
-- An order that is cancelled behind the engine leaves its hold without an owner.
CALL public.fault(format('UPDATE order_engine.orders SET state = ''cancelled'' WHERE order_id = %s', :held_order_id));

\set VERBOSITY default

-- Many at once, and none of it twice.
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO stock (sku, on_hand, reserved) SELECT 'many ' || n, 3, 1 FROM generate_series(1, 3000) n;
UPDATE payment SET amount = amount + 1 WHERE kind = 'capture' AND outcome <> 'mismatch';
SET LOCAL session_replication_role = origin;
SELECT name, repaired, count(*) FROM reconcile() GROUP BY 1, 2 ORDER BY 1, 2;
SET LOCAL order_engine.actor = 'auditor';
SELECT name, repaired, count(*) FROM reconcile(true) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT name, repaired, count(*) FROM reconcile(true) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT reason, ref, actor, quantity, count(*) FROM stock_movement WHERE reason = 'reconcile' GROUP BY 1, 2, 3, 4;
SELECT sum(on_hand), sum(reserved), min(version), max(version) FROM stock WHERE sku LIKE 'many %';
ROLLBACK;

-- Without other snapshots there is nothing to be looked at again.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM reconcile();
SELECT * FROM reconcile(true);
ROLLBACK;
BEGIN READ ONLY;
SELECT * FROM reconcile();
SELECT * FROM reconcile(true);
ROLLBACK;

-- The reason of a repair is the engine's.
SELECT attempt($$SELECT adjust_stock('apple', 1, 'reconcile')$$);

--
-- Stock in mode escrow: the row and what is not folded yet are the stock, and the counter is what is free of it.
--
SELECT set_stock_mode('cherry', 'escrow'), set_stock_mode('coupon', 'escrow');
SELECT * FROM reconcile();
SELECT available('cherry') AS before \gset
SET session_replication_role = replica;
INSERT INTO stock_journal (id, sku, on_hand, reserved, epoch, created_at, xid, era, ring)
	SELECT order_engine.next_order_id(1), sku, 3, 0, epoch + n, now(), pg_current_xact_id(), system_identifier, 0
	FROM stock, generate_series(0, 1) n, pg_control_system() WHERE sku = 'cherry';
INSERT INTO stock_movement (sku, quantity, reason, actor) VALUES ('cherry', 3, 'receipt', 'me');
RESET session_replication_role;
SELECT name, key, actual::int - :before AS actual, expected::int - :before AS expected, repaired FROM reconcile();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM reconcile();
COMMIT;
BEGIN;
SELECT name, key, actual::int - :before AS actual, expected::int - :before AS expected, repaired FROM reconcile(true);
ROLLBACK;
SELECT name, repaired FROM reconcile(true);
SELECT * FROM reconcile(true);
SELECT available('cherry') - :before AS more;

-- What is sold, and what this transaction sells: its own counters it cannot compare.
SELECT order_id FROM create_order(1, '[{"sku": "cherry", "quantity": 2}, {"sku": "coupon", "quantity": 1}]') \gset sold_
SELECT outcome FROM pay_order(:sold_order_id, 'p', 0);
SELECT * FROM reconcile();
BEGIN;
SELECT state FROM create_order(1, '[{"sku": "cherry", "quantity": 2}]');
SELECT * FROM reconcile();
ROLLBACK;
SELECT * FROM reconcile();

-- Beside other faults: what is reserved anew is taken off the counter, which is mended the next time.
ALTER TABLE stock DISABLE TRIGGER ALL;
UPDATE stock SET on_hand = on_hand + 5, reserved = reserved + 1 WHERE sku IN ('cherry', 'coupon');
UPDATE stock SET on_hand = on_hand - 1 WHERE sku = 'apple';
ALTER TABLE stock ENABLE TRIGGER ALL;
SELECT name, key, actual::int - expected::int AS difference FROM reconcile() ORDER BY name, key;
SELECT name, key, repaired FROM reconcile(true) ORDER BY name, key;
SELECT name, key, repaired FROM reconcile(true) ORDER BY name, key;
SELECT * FROM reconcile();
