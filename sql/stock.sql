-- Stock in row mode: received, adjusted, deducted, asked for, written by hand.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql

--
-- Goods come in.  The first receipt creates the SKU.
--
SELECT * FROM receive_stock('tea', 10);
SELECT * FROM receive_stock('tea', 5);
SELECT * FROM receive_stock('tea', 3, 'receipt', 'delivery-1');
-- A retry changes nothing; the same ref with another reason is another receipt.
SELECT * FROM receive_stock('tea', 3, 'receipt', 'delivery-1');
SELECT * FROM receive_stock('tea', 3, 'return', 'delivery-1');
SELECT attempt($$SELECT receive_stock('tea', 4, 'receipt', 'delivery-1')$$);
-- When the ref was first seen is told in UTC, whatever the session's time zone.
CREATE FUNCTION public.first_seen(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN SQLSTATE 'OE020' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN detail::jsonb ->> 'first_seen';
END
$$;
SET timezone = 'Asia/Tokyo';
SELECT right(told, 6) AS zone, told::timestamptz = at AS same_time
FROM stock_movement, first_seen($$SELECT receive_stock('tea', 4, 'receipt', 'delivery-1')$$) AS told
WHERE sku = 'tea' AND reason = 'receipt' AND ref = 'delivery-1';
RESET timezone;
-- A ref belongs to its SKU.
SELECT * FROM receive_stock('milk', 3, 'receipt', 'delivery-1');

--
-- Counting finds more or less.
--
SELECT * FROM adjust_stock('tea', -2, context => '{"actor": "warehouse"}');
SELECT * FROM adjust_stock('tea', 1, 'found', 'count-7');
SELECT * FROM adjust_stock('tea', 1, 'found', 'count-7');
SELECT attempt($$SELECT adjust_stock('tea', -1, 'found', 'count-7')$$);
SELECT attempt($$SELECT adjust_stock('tea', -21)$$);
SELECT attempt($$SELECT adjust_stock('coffee', 1)$$);

--
-- A deduction takes what is there, or nothing.
--
SELECT * FROM deduct_stock('milk', 1);
SELECT attempt($$SELECT deduct_stock('milk', 3)$$);
SELECT attempt($$SELECT deduct_stock('coffee', 1)$$);
-- With the version that the buyer's page showed.
SELECT * FROM deduct_stock('milk', 1, expected_version => 2, ref => 'cart-1');
SELECT attempt($$SELECT deduct_stock('milk', 1, expected_version => 2)$$);
SELECT attempt($$SELECT deduct_stock('milk', 1, expected_version => 2, ref => 'cart-2')$$);
-- A retry carries the old version, and is told what the stock is now.
SELECT * FROM receive_stock('milk', 7);
SELECT * FROM deduct_stock('milk', 1, expected_version => 2, ref => 'cart-1');
SELECT attempt($$SELECT deduct_stock('milk', 2, expected_version => 2, ref => 'cart-1')$$);
-- To the last one.
SELECT * FROM deduct_stock('milk', 8);
SELECT attempt($$SELECT deduct_stock('milk', 1)$$);
SELECT * FROM deduct_stock('milk', 1, ref => 'cart-1');

--
-- What can be bought.
--
SELECT available('tea'), available('milk') AS sold_out, available('coffee') AS unknown, available(NULL);
SELECT * FROM availability(ARRAY['milk', 'tea', 'coffee', NULL, 'tea']);
SELECT count(*) FROM availability('{}');
SELECT count(*) FROM availability(NULL);
BEGIN READ ONLY;
SELECT available('tea');
SELECT receive_stock('tea', 1);
ROLLBACK;

--
-- The movements are the audit: they add up to what is on hand.
--
SELECT sku, quantity, reason, ref, CASE WHEN actor = session_user THEN '(session user)' ELSE actor END AS actor
FROM stock_movement ORDER BY at;
CREATE VIEW public.unaccounted AS
	SELECT sku, on_hand, sum(m.quantity) AS moved
	FROM stock s FULL JOIN stock_movement m USING (sku)
	GROUP BY sku, on_hand HAVING coalesce(on_hand, 0) <> coalesce(sum(m.quantity), 0);
SELECT * FROM unaccounted;

--
-- Bad input changes nothing.
--
SELECT statement, attempt('SELECT ' || statement) FROM (VALUES
	('receive_stock(NULL, 1)'),
	('receive_stock('''', 1)'),
	('receive_stock(repeat(''x'', 256), 1)'),
	('receive_stock(E''a\nb'', 1)'),
	('receive_stock(''bad'', NULL)'),
	('receive_stock(''bad'', 0)'),
	('receive_stock(''bad'', -1)'),
	('receive_stock(''tea'', 9223372036854775807)'),
	('receive_stock(''bad'', 1, '''')'),
	('receive_stock(''bad'', 1, ''confirm'')'),
	('receive_stock(''bad'', 1, ''direct'')'),
	('receive_stock(''bad'', 1, ''r'', '''')'),
	('receive_stock(''bad'', 1, ''r'', repeat(''x'', 256))'),
	('receive_stock(''bad'', 1, context => ''[]'')'),
	('receive_stock(''bad'', 1, context => ''{"colour": "red"}'')'),
	('adjust_stock(NULL, 1)'),
	('adjust_stock('''', 1)'),
	('adjust_stock(''tea'', NULL)'),
	('adjust_stock(''tea'', 0)'),
	('adjust_stock(''tea'', 9223372036854775807)'),
	('adjust_stock(''tea'', -9223372036854775807)'),
	('adjust_stock(''tea'', (-9223372036854775808))'),
	('adjust_stock(''tea'', 1, ''deduct'')'),
	('adjust_stock(''tea'', 1, context => ''{"actor": 1}'')'),
	('deduct_stock(NULL, 1)'),
	('deduct_stock('''', 1)'),
	('deduct_stock(''tea'', NULL)'),
	('deduct_stock(''tea'', 0)'),
	('deduct_stock(''tea'', -1)'),
	('deduct_stock(''tea'', 9223372036854775807)'),
	('deduct_stock(''tea'', 1, -1)'),
	('deduct_stock(''tea'', 1, ref => '''')'),
	('deduct_stock(''tea'', 1, context => ''"x"'')')) AS v (statement);
SELECT available('bad'), available('tea'), (SELECT count(*) FROM stock_movement WHERE sku = 'bad') AS movements;
-- The longest names there are.
SELECT on_hand FROM receive_stock(repeat('x', 255), 1, repeat('y', 255), repeat('z', 255));
-- A SKU is bytes: no case, no collation.
SELECT on_hand FROM receive_stock('Tea', 1);

--
-- By hand only on_hand may change: the version follows, a movement is written.
--
INSERT INTO stock (sku, on_hand) VALUES ('hand', 10);
UPDATE stock SET on_hand = 12 WHERE sku = 'hand';
-- An ORM raises the version itself.
UPDATE stock SET on_hand = on_hand - 1, version = version + 1 WHERE sku = 'hand' AND version = 2;
INSERT INTO stock (sku, on_hand) VALUES ('hand', 5)
	ON CONFLICT (sku) DO UPDATE SET on_hand = stock.on_hand + excluded.on_hand;
MERGE INTO stock s USING (VALUES ('hand', 1), ('new', 2)) AS v (sku, quantity) ON s.sku = v.sku
	WHEN MATCHED THEN UPDATE SET on_hand = s.on_hand + v.quantity
	WHEN NOT MATCHED THEN INSERT (sku, on_hand) VALUES (v.sku, v.quantity);
COPY stock (sku, on_hand) FROM stdin;
copied	4
empty	0
\.
UPDATE stock SET on_hand = on_hand WHERE sku = 'hand';
SELECT * FROM stock WHERE sku IN ('hand', 'new', 'copied', 'empty') ORDER BY sku;
DELETE FROM stock WHERE sku IN ('new', 'empty');
SELECT sku, quantity, reason, ref FROM stock_movement WHERE reason = 'direct' ORDER BY at;
SELECT * FROM unaccounted;

SELECT statement, attempt(statement) FROM (VALUES
	('INSERT INTO stock (sku) VALUES (NULL)'),
	('INSERT INTO stock (sku) VALUES ('''')'),
	('INSERT INTO stock (sku) VALUES (repeat(''x'', 256))'),
	('INSERT INTO stock (sku, on_hand) VALUES (''b'', -1)'),
	('INSERT INTO stock (sku, on_hand) VALUES (''b'', NULL)'),
	('INSERT INTO stock (sku, on_hand, reserved) VALUES (''b'', 1, 1)'),
	('INSERT INTO stock (sku, reserved) VALUES (''b'', 1)'),
	('INSERT INTO stock (sku, version) VALUES (''b'', 2)'),
	('INSERT INTO stock (sku, version) VALUES (''b'', NULL)'),
	('INSERT INTO stock (sku, mode) VALUES (''b'', ''escrow'')'),
	('INSERT INTO stock (sku, auto_mode) VALUES (''b'', true)'),
	('INSERT INTO stock (sku) VALUES (''hand'')'),
	('UPDATE stock SET reserved = 1 WHERE sku = ''hand'''),
	('UPDATE stock SET reserved = 1000 WHERE sku = ''hand'''),
	('UPDATE stock SET version = 1 WHERE sku = ''hand'''),
	('UPDATE stock SET version = version + 1 WHERE sku = ''hand'''),
	('UPDATE stock SET on_hand = 1, version = version + 2 WHERE sku = ''hand'''),
	('UPDATE stock SET mode = ''escrow'', auto_mode = true WHERE sku = ''hand'''),
	('UPDATE stock SET sku = ''other'' WHERE sku = ''hand'''),
	('UPDATE stock SET on_hand = -1 WHERE sku = ''hand'''),
	('UPDATE stock SET on_hand = NULL WHERE sku = ''hand'''),
	('MERGE INTO stock s USING (VALUES (''hand'')) AS v (sku) ON s.sku = v.sku WHEN MATCHED THEN UPDATE SET reserved = 1'),
	('INSERT INTO stock (sku) VALUES (''hand'') ON CONFLICT (sku) DO UPDATE SET reserved = 1'),
	('TRUNCATE stock'),
	('TRUNCATE stock_movement')) AS v (statement);

--
-- What is reserved is not available, and stays until it is released.
--
SET session_replication_role = replica;
UPDATE stock SET reserved = 10 WHERE sku = 'hand';
RESET session_replication_role;
SELECT on_hand, reserved, available(sku) FROM stock WHERE sku = 'hand';
SELECT attempt($$SELECT adjust_stock('hand', -8)$$);
SELECT attempt($$SELECT deduct_stock('hand', 8)$$);
SELECT attempt($$UPDATE stock SET on_hand = 9 WHERE sku = 'hand'$$);
SELECT attempt($$DELETE FROM stock WHERE sku = 'hand'$$);
SELECT * FROM deduct_stock('hand', 7);
SELECT available('hand');

--
-- What replication or a restore applies is copied as it is.
--
SET session_replication_role = replica;
INSERT INTO stock (sku, on_hand, reserved, version, mode, epoch) VALUES ('copy', 5, 1, 9, 'escrow', 7);
UPDATE stock SET on_hand = 6 WHERE sku = 'copy';
RESET session_replication_role;
SELECT *, (SELECT count(*) FROM stock_movement m WHERE m.sku = s.sku) AS movements FROM stock s WHERE sku = 'copy';
-- So is its mode.
SELECT available('copy');
SELECT * FROM receive_stock('copy', 1);

--
-- Nothing of a call stays when its savepoint goes.
--
BEGIN;
SELECT on_hand FROM receive_stock('tea', 100, 'receipt', 'lost');
SAVEPOINT s;
SELECT on_hand FROM receive_stock('tea', 100, 'receipt', 'lost-too');
ROLLBACK TO s;
SELECT on_hand, replayed FROM receive_stock('tea', 100, 'receipt', 'lost-too');
SELECT on_hand, replayed FROM receive_stock('tea', 100, 'receipt', 'lost-too');
SELECT remaining FROM deduct_stock('tea', 5);
SELECT remaining FROM deduct_stock('tea', 5);
ROLLBACK;
SELECT available('tea'), (SELECT count(*) FROM stock_movement WHERE ref LIKE 'lost%') AS movements;

-- Several in one statement.
SELECT sum(quantity) AS deducted, max(version) - min(version) + 1 AS versions
FROM (SELECT 1 AS quantity, (deduct_stock('tea', 1)).version FROM generate_series(1, 3)) d;

--
-- A change of stock does not touch an index.
--
BEGIN;
SELECT pg_stat_get_xact_tuples_updated('stock'::regclass) AS updated,
	pg_stat_get_xact_tuples_hot_updated('stock'::regclass) AS hot \gset before_
SELECT count(deduct_stock('tea', 1)) FROM generate_series(1, 5);
SELECT pg_stat_get_xact_tuples_updated('stock'::regclass) - :before_updated AS updated,
	pg_stat_get_xact_tuples_hot_updated('stock'::regclass) - :before_hot AS hot;
COMMIT;

--
-- Users add columns and triggers of their own.
--
ALTER TABLE stock ADD COLUMN shelf text DEFAULT 'ground';
CREATE TABLE public.seen (sku text, before bigint, after bigint);
CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN INSERT INTO public.seen VALUES (NEW.sku, CASE TG_OP WHEN ''UPDATE'' THEN OLD.on_hand END, NEW.on_hand); RETURN NULL; END';
CREATE TRIGGER see AFTER INSERT OR UPDATE OF on_hand ON stock FOR EACH ROW EXECUTE FUNCTION public.see();
SELECT on_hand FROM receive_stock('juice', 2);
SELECT remaining FROM deduct_stock('juice', 1);
UPDATE stock SET shelf = 'top' WHERE sku = 'juice';
SELECT * FROM seen;
SELECT sku, on_hand, version, shelf FROM stock WHERE sku = 'juice';

-- But none that meddles with ours.
CREATE FUNCTION public.meddle() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN NEW.reserved := NEW.reserved + 1; NEW.on_hand := NEW.on_hand + 1; RETURN NEW; END';
CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON stock FOR EACH ROW EXECUTE FUNCTION public.meddle();
SELECT attempt($$SELECT deduct_stock('juice', 1)$$);
SELECT attempt($$UPDATE stock SET on_hand = 9 WHERE sku = 'juice'$$);
SELECT attempt($$INSERT INTO stock (sku) VALUES ('pie')$$);
DROP TRIGGER meddle ON stock;
CREATE TRIGGER meddle BEFORE INSERT ON stock FOR EACH ROW EXECUTE FUNCTION public.meddle();
SELECT attempt($$SELECT receive_stock('pie', 1)$$);
DROP TRIGGER meddle ON stock;
CREATE FUNCTION public.rename() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN NEW.sku := upper(NEW.sku); RETURN NEW; END';
CREATE TRIGGER rename BEFORE INSERT ON stock FOR EACH ROW EXECUTE FUNCTION public.rename();
SELECT attempt($$SELECT receive_stock('pie', 1)$$);
DROP TRIGGER rename ON stock;

SELECT * FROM unaccounted WHERE sku <> 'copy';

---- a retry of a receipt whose stock was deleted since changes nothing
SELECT on_hand, replayed FROM receive_stock('gone', 6, ref => 'r1');
DELETE FROM stock WHERE sku = 'gone';
SELECT on_hand, available, version, replayed FROM receive_stock('gone', 6, ref => 'r1');
SELECT count(*) FROM stock WHERE sku = 'gone';
SELECT on_hand, version, replayed FROM receive_stock('gone', 4, ref => 'r2');

--
-- A closed SKU sells nothing, and still takes back.
--
INSERT INTO stock (sku, on_hand) VALUES ('open', 10), ('other', 1);
SELECT order_id FROM create_order(1, '[{"sku": "open", "quantity": 2, "unit_price": 1}]') \gset paid_
SELECT order_id FROM create_order(1, '[{"sku": "open", "quantity": 3}]') \gset held_
SELECT available('open'), version FROM stock WHERE sku = 'open';
SELECT set_stock_open('open', false, '{"actor": "Ann"}'), set_stock_open('open', false);
SELECT sku, on_hand, reserved, version, open, available(sku) FROM stock WHERE sku = 'open';
SELECT * FROM availability('{open,other}');
SELECT attempt($$SELECT create_order(2, '[{"sku": "open", "quantity": 1}, {"sku": "other", "quantity": 2}, {"sku": "none such", "quantity": 1}]')$$);
SELECT code, hint FROM refusal($$SELECT create_order(2, '[{"sku": "open", "quantity": 1}]')$$);
SELECT attempt($$SELECT create_order(2, '[{"sku": "open", "quantity": 100}, {"sku": "other", "quantity": 1}]')$$);
SELECT attempt($$SELECT deduct_stock('open', 1)$$);
SELECT attempt($$SELECT deduct_stock('open', 1, expected_version => 4, ref => 'closed')$$);
SELECT outcome FROM pay_order(:paid_order_id, 'p', 2);
SELECT state FROM cancel_order(:held_order_id);
SELECT state FROM refund_order(:paid_order_id, 'r');
SELECT on_hand, available, replayed FROM receive_stock('open', 5);
SELECT on_hand, available, replayed FROM adjust_stock('open', -14);
SELECT attempt($$SELECT adjust_stock('open', -2)$$);
UPDATE stock SET on_hand = 3 WHERE sku = 'open';
SELECT attempt($$UPDATE stock SET open = true WHERE sku = 'open'$$);
SELECT set_stock_open('open', true), set_stock_open('open', true);
SELECT available('open');
SELECT remaining FROM deduct_stock('open', 1);
SELECT quantity, reason, actor = 'Ann' AS ann FROM stock_movement WHERE sku = 'open' AND quantity = 0;
SELECT attempt($$SELECT receive_stock('open', 1, 'closed')$$), attempt($$SELECT receive_stock('open', 1, 'opened')$$);
SELECT attempt($$SELECT set_stock_open('none such', true)$$), attempt($$SELECT set_stock_open(NULL, true)$$), attempt($$SELECT set_stock_open('open', NULL)$$), attempt($$SELECT set_stock_open('', true)$$);
-- What a machine reserves when it is paid is owed back.
SELECT define_machine('late', '{"final": ["done"], "transitions": [{"from": null, "event": "create", "to": "new"}, {"from": "new", "event": "pay", "to": "held", "stock": "reserve"}, {"from": "held", "event": "ship", "to": "done", "stock": "confirm"}]}') > 0 AS defined;
SELECT order_id FROM create_order(3, '[{"sku": "open", "quantity": 1, "unit_price": 1}]', machine => 'late') \gset
SELECT set_stock_open('open', false);
SELECT outcome, state FROM pay_order(:order_id, 'p', 1);
-- And no trigger of a user's opens it.
CREATE FUNCTION public.reopen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.open := true; RETURN NEW; END';
CREATE TRIGGER reopen BEFORE UPDATE ON stock FOR EACH ROW EXECUTE FUNCTION public.reopen();
SELECT attempt($$SELECT receive_stock('open', 1)$$);
DROP TRIGGER reopen ON stock;
