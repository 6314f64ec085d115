-- Stock in mode escrow: every call, what it shows, and what undoing undoes.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql

INSERT INTO stock (sku, on_hand) VALUES ('apple', 5), ('banana', 10), ('hot', 10), ('warm', 4);
SELECT set_stock_mode('{hot,warm}'::text[], 'escrow');
CREATE VIEW public.seen AS
	SELECT n.*, s.on_hand AS folded, s.reserved AS folded_reserved FROM stock_now n JOIN stock s USING (sku) ORDER BY sku COLLATE "C";
SELECT * FROM seen;

--
-- One order over both modes: all of it or nothing, and every line that is short, in the order of the keys.
--
SELECT attempt($$SELECT create_order(1, '[{"sku": "apple", "quantity": 6}, {"sku": "hot", "quantity": 1}]')$$);
SELECT attempt($$SELECT create_order(1, '[{"sku": "apple", "quantity": 1}, {"sku": "hot", "quantity": 11}]')$$);
SELECT attempt($$SELECT create_order(1, '[{"sku": "hot", "quantity": 11}, {"sku": "warm", "quantity": 5}, {"sku": "apple", "quantity": 6}]')$$);
SELECT attempt($$SELECT create_order(1, '[{"sku": "nothing", "quantity": 1}, {"sku": "apple", "quantity": 6}, {"sku": "warm", "quantity": 1}]')$$);
SELECT count(*) FROM orders;
SELECT * FROM seen;
SELECT order_id FROM create_order(1, '[{"sku": "warm", "quantity": 1}, {"sku": "banana", "quantity": 2}, {"sku": "hot", "quantity": 3}, {"sku": "apple", "quantity": 4}]', 'both') \gset both_
SELECT * FROM seen;
-- Short in row mode is found under the row's lock, short in both is told in one error.
SELECT attempt($$SELECT create_order(1, '[{"sku": "apple", "quantity": 2}, {"sku": "hot", "quantity": 7}]')$$);
SET order_engine.escrow_wait = '10ms';
SELECT attempt($$SELECT create_order(1, '[{"sku": "apple", "quantity": 2}, {"sku": "warm", "quantity": 4}, {"sku": "hot", "quantity": 8}]')$$);
RESET order_engine.escrow_wait;
SELECT * FROM seen;

--
-- A key that has its order gets its answer, sold out or not; another is refused, and can be tried again.
--
SELECT deduct_stock('hot', 7);
SELECT order_id = :both_order_id AS same, replayed
FROM create_order(1, '[{"sku": "warm", "quantity": 1}, {"sku": "banana", "quantity": 2}, {"sku": "hot", "quantity": 3}, {"sku": "apple", "quantity": 4}]', 'both');
SELECT attempt($$SELECT create_order(1, '[{"sku": "hot", "quantity": 1}]', 'both')$$);
SELECT attempt($$SELECT create_order(1, '[{"sku": "hot", "quantity": 1}]', 'new')$$);
SELECT available, version FROM receive_stock('hot', 7);
SELECT replayed FROM create_order(1, '[{"sku": "hot", "quantity": 1}]', 'new');

--
-- What an order does: paid, refunded, cancelled, expired.
--
SELECT state FROM fire(:both_order_id, 'pay');
SELECT * FROM seen;
SELECT sku, quantity, ref = :'both_order_id' || '/2' AS ref FROM stock_movement WHERE reason = 'confirm' ORDER BY sku;
SELECT state FROM request_refund(:both_order_id);
SELECT state FROM confirm_refund(:both_order_id);
SELECT * FROM seen;
SELECT order_id FROM create_order(2, '[{"sku": "hot", "quantity": 2}, {"sku": "banana", "quantity": 1}]') \gset second_
SELECT state FROM cancel_order(:second_order_id);
SELECT count(order_id) FROM create_order(2, '[{"sku": "hot", "quantity": 4}, {"sku": "apple", "quantity": 1}]', pay_within => '1 us');
SELECT available('hot'), available('apple');
CALL tend();
SELECT state, available('hot'), available('apple') FROM orders WHERE user_id = 2 ORDER BY order_id;
CALL tend();
SELECT * FROM seen;

--
-- receive_stock(), adjust_stock(), deduct_stock(): on_hand as of the last fold, available as it is, no version.
--
SELECT * FROM receive_stock('hot', 5, ref => 'r');
SELECT * FROM receive_stock('hot', 5, ref => 'r');
SELECT attempt($$SELECT receive_stock('hot', 6, ref => 'r')$$);
SELECT * FROM adjust_stock('hot', -3, ref => 'a');
SELECT * FROM adjust_stock('hot', -3, ref => 'a');
SELECT attempt($$SELECT adjust_stock('hot', 3, ref => 'a')$$);
SELECT attempt($$SELECT adjust_stock('hot', -100)$$);
SELECT * FROM deduct_stock('hot', 2, ref => 'd');
SELECT * FROM deduct_stock('hot', 2, ref => 'd');
SELECT attempt($$SELECT deduct_stock('hot', 1, ref => 'd')$$);
SELECT attempt($$SELECT deduct_stock('hot', 100)$$);
-- Without a ref every call counts.
SELECT * FROM receive_stock('hot', 1);
SELECT * FROM receive_stock('hot', 1);
SELECT code, message, hint FROM refusal($$SELECT deduct_stock('hot', 1, expected_version => 1)$$);
SELECT attempt(statement) FROM (VALUES
	('SELECT receive_stock(''hot'', 0)'),
	('SELECT receive_stock(''hot'', NULL)'),
	('SELECT receive_stock(''hot'', 9223372036854775807)'),
	('SELECT receive_stock(''hot'', 9223372036854775807 / 4)'),
	('SELECT receive_stock(''hot'', 1, ''confirm'')'),
	('SELECT adjust_stock(''hot'', 0)'),
	('SELECT adjust_stock(''hot'', -9223372036854775807)'),
	('SELECT deduct_stock(''hot'', -1)'),
	('SELECT deduct_stock(''hot'', 9223372036854775807)'),
	('SELECT set_stock_mode(''hot'', ''hot'')')) AS v (statement);
SELECT sku, quantity, reason, ref FROM stock_movement WHERE sku = 'hot' AND reason NOT IN ('direct', 'confirm', 'restock') ORDER BY at;
CALL tend();
SELECT * FROM seen WHERE sku = 'hot';

--
-- A SKU that the keeper switches goes back to a row by an expected version, if it is that of all that has happened.
--
SELECT set_stock_mode('hot', 'auto');
SELECT version FROM stock WHERE sku = 'hot' \gset
SELECT attempt(format('SELECT deduct_stock(''hot'', 1, expected_version => %s)', :version - 1)) LIKE 'OE011 %' AS refused;
BEGIN;
SELECT remaining, version - :version AS version FROM deduct_stock('hot', 1, expected_version => :version, ref => 'auto');
SELECT mode, auto_mode, version - :version AS version FROM stock WHERE sku = 'hot';
ROLLBACK;
SELECT remaining FROM deduct_stock('hot', 1);
SELECT attempt(format('SELECT deduct_stock(''hot'', 1, expected_version => %s)', :version)) LIKE 'OE011 %' AS refused;
CALL tend();
SELECT version FROM stock WHERE sku = 'hot' \gset
SELECT remaining, version - :version AS version FROM deduct_stock('hot', 1, expected_version => :version, ref => 'auto');
SELECT mode, auto_mode FROM stock WHERE sku = 'hot';
SELECT set_stock_mode('hot', 'escrow');
SELECT * FROM deduct_stock('hot', 1, expected_version => :version, ref => 'auto');
SELECT available FROM adjust_stock('hot', 2);
CALL tend();
SELECT * FROM seen WHERE sku = 'hot';

--
-- Within a transaction, and after a rollback to a savepoint.
--
BEGIN;
SELECT available('hot');
SAVEPOINT a;
SELECT count(order_id) FROM create_order(3, '[{"sku": "hot", "quantity": 5}]');
SELECT available('hot');
SAVEPOINT b;
SELECT available FROM receive_stock('hot', 100);
SELECT on_hand - reserved AS available FROM stock_now WHERE sku = 'hot';
-- A take first uses what this transaction returned.
SELECT count(order_id) FROM create_order(3, '[{"sku": "hot", "quantity": 100}]');
SELECT * FROM availability('{hot,warm,apple,nothing,NULL}');
ROLLBACK TO b;
SELECT available('hot'), on_hand - reserved AS available FROM stock_now WHERE sku = 'hot';
RELEASE a;
SELECT available('hot');
ROLLBACK;
SELECT available('hot'), on_hand - reserved AS available FROM stock_now WHERE sku = 'hot';
-- What was refused holds nothing back.
BEGIN;
SELECT attempt($$SELECT create_order(3, '[{"sku": "hot", "quantity": 1}, {"sku": "apple", "quantity": 100}]')$$);
SELECT available('hot');
COMMIT;
-- Prepared it could not be kept.
BEGIN;
SELECT available FROM receive_stock('hot', 1);
PREPARE TRANSACTION 'hot';

--
-- One transaction switches or changes.
--
BEGIN;
SELECT set_stock_mode('hot', 'row');
SELECT attempt($$SELECT receive_stock('hot', 1)$$);
SELECT attempt($$SELECT create_order(3, '[{"sku": "hot", "quantity": 1}]')$$);
SELECT attempt($$SELECT create_order(3, '[{"sku": "warm", "quantity": 1}]')$$);
SELECT available('hot'), mode, available FROM stock_now WHERE sku = 'hot';
ROLLBACK;
SELECT available('hot'), mode, available FROM stock_now WHERE sku = 'hot';
BEGIN;
SELECT count(order_id) FROM create_order(3, '[{"sku": "hot", "quantity": 1}]');
SELECT attempt($$SELECT set_stock_mode('hot', 'row')$$);
ROLLBACK;

--
-- By hand: on_hand may change, and the counter follows.
--
UPDATE stock SET on_hand = on_hand + 3 WHERE sku = 'hot';
SELECT * FROM seen WHERE sku = 'hot';
UPDATE stock SET on_hand = on_hand - 3 WHERE sku IN ('hot', 'apple') AND on_hand >= 3;
SELECT * FROM seen WHERE sku IN ('hot', 'apple');
-- Not below what is taken, folded or not.
SELECT count(order_id) FROM create_order(4, '[{"sku": "hot", "quantity": 9}]');
SELECT attempt($$UPDATE stock SET on_hand = on_hand - 9 WHERE sku = 'hot'$$);
SELECT attempt(statement) FROM (VALUES
	('UPDATE stock SET on_hand = -1 WHERE sku = ''hot'''),
	('UPDATE stock SET reserved = 0 WHERE sku = ''hot'''),
	('UPDATE stock SET mode = ''row'' WHERE sku = ''hot'''),
	('UPDATE stock SET epoch = 0 WHERE sku = ''hot'''),
	('DELETE FROM stock WHERE sku = ''warm'''),
	('TRUNCATE stock'),
	('TRUNCATE stock_journal')) AS v (statement);
BEGIN;
UPDATE stock SET on_hand = on_hand + 1 WHERE sku = 'hot';
SELECT available('hot');
ROLLBACK;
SELECT * FROM seen WHERE sku = 'hot';
SELECT quantity, reason FROM stock_movement WHERE sku = 'hot' AND reason = 'direct' ORDER BY at;

--
-- What is applied as it comes: the counter follows, and goes with the mode and with the row.
--
SET session_replication_role = replica;
UPDATE stock SET on_hand = on_hand + 2, reserved = reserved + 1 WHERE sku = 'hot';
SELECT available('hot');
UPDATE stock SET on_hand = on_hand - 2, reserved = reserved - 1 WHERE sku = 'hot';
SELECT available('hot');
BEGIN;
UPDATE stock SET mode = 'row', epoch = 0 WHERE sku = 'warm';
SELECT available('warm');
ROLLBACK;
SELECT available('warm');
UPDATE stock SET mode = 'row', epoch = 0 WHERE sku = 'warm';
SELECT available('warm');
RESET session_replication_role;
SELECT attempt($$SELECT create_order(4, '[{"sku": "warm", "quantity": 5}]')$$);
-- A row that is written into escrow like that is not sold from before that has committed.
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE stock SET mode = 'escrow', epoch = 7 WHERE sku = 'warm';
UPDATE stock SET auto_mode = true, on_hand = on_hand + 1 WHERE sku = 'warm';
SET LOCAL session_replication_role = origin;
SELECT attempt($$SELECT deduct_stock('warm', 1)$$);
ROLLBACK;
SELECT count(*) FROM stat_stock WHERE sku = 'warm' AND mode = 'escrow';
SELECT set_stock_mode('warm', 'escrow');
SET session_replication_role = replica;
DELETE FROM stock WHERE sku = 'warm';
RESET session_replication_role;
SELECT available('warm');
SELECT attempt($$SELECT create_order(4, '[{"sku": "warm", "quantity": 1}]')$$);
-- TRUNCATE takes them all; what is there again afterwards is counted from its row.
CREATE TABLE public.saved AS TABLE stock;
BEGIN;
SET LOCAL session_replication_role = replica;
TRUNCATE stock;
INSERT INTO stock TABLE public.saved;
COMMIT;
SELECT count(*) FROM stat_stock WHERE mode = 'escrow';
SELECT available('hot');

--
-- Back in row mode: all of it is in the row.  Goods that come back make the row anew, as ever.
--
SELECT * FROM seen WHERE sku = 'hot';
SELECT set_stock_mode('hot', 'row');
SELECT * FROM seen WHERE sku = 'hot';
SELECT order_id FROM create_order(5, '[{"sku": "banana", "quantity": 10}]') \gset gone_
SELECT state FROM fire(:gone_order_id, 'pay');
SELECT set_stock_mode('banana', 'escrow');
SELECT attempt($$DELETE FROM stock WHERE sku = 'banana'$$);
SELECT set_stock_mode('banana', 'row');
DELETE FROM stock WHERE sku = 'banana';
SELECT state FROM request_refund(:gone_order_id);
SELECT state FROM confirm_refund(:gone_order_id);
SELECT * FROM seen WHERE sku = 'banana';

-- The books: only the row that was deleted as if by replication is missed.
CALL tend();
SELECT sku, sum(m.quantity) = s.on_hand AS movements_sum_up FROM stock s JOIN stock_movement m USING (sku) GROUP BY sku, s.on_hand ORDER BY sku;
SELECT sku, s.reserved = (SELECT coalesce(sum(l.quantity), 0) FROM order_line l JOIN orders o USING (order_id) WHERE o.state = 'pending' AND l.stock_key = s.sku) AS held
FROM stock s ORDER BY sku;
SELECT * FROM reconcile();

--
-- A user's trigger on a row of the call takes what is claimed for another of its lines.
--
INSERT INTO stock (sku, on_hand) VALUES ('box', 5), ('gift', 5);
SELECT set_stock_mode('box', 'escrow');
CREATE FUNCTION public.wrap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM order_engine.deduct_stock('box', 2);
	RETURN new;
END $$;
CREATE TRIGGER wrap BEFORE UPDATE ON stock FOR EACH ROW WHEN (new.sku = 'gift' AND new.reserved > old.reserved) EXECUTE FUNCTION public.wrap();
SELECT attempt($$SELECT create_order(6, '[{"sku": "box", "quantity": 4}, {"sku": "gift", "quantity": 1}]')$$);
SELECT attempt($$SELECT try_reserve('wrapped', '[{"sku": "box", "quantity": 4}, {"sku": "gift", "quantity": 1}]', '1 hour')$$);
SELECT * FROM seen WHERE sku IN ('box', 'gift');
SELECT state FROM create_order(6, '[{"sku": "box", "quantity": 3}, {"sku": "gift", "quantity": 1}]');
SELECT * FROM seen WHERE sku IN ('box', 'gift');
SELECT free, in_flight FROM stat_stock WHERE sku = 'box';
DROP TRIGGER wrap ON stock;
SELECT set_stock_mode('box', 'row');
SELECT * FROM reconcile();
