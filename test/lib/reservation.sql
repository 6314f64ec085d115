\i `echo "$PG_ABS_SRCDIR"`/test/lib/reserved.sql

--
-- Tried: several lines of one SKU are one demand; what takes no stock holds nothing; a cart's lines do.
--
SELECT status, expires_at BETWEEN now() + interval '9 min' AND now() + interval '11 min' AS in_time, replayed, short
FROM try_reserve('cart-1', '[{"sku": "apple", "quantity": 1, "unit_price": 5}, {"sku": "red", "stock_key": "apple", "quantity": "2"},
	{"sku": "Banana", "quantity": 1, "attributes": {"ripe": true}}, {"sku": "wrapping", "stocked": false, "quantity": 9}]', '10 min', context => '{"actor": "ada"}');
TABLE counts;
TABLE kept;
SELECT slot_of_order(id) = slot_of_text('cart-1') AS by_its_name, created_at <= now() AS made FROM reservation;
-- Again is the same hold; other lines are another reservation; another user is, too.
SELECT expires_at = (SELECT expires_at FROM reservation) AS the_first_ones, status, replayed, short
FROM try_reserve('cart-1', '[{"sku": "Banana", "quantity": 1}, {"sku": "apple", "quantity": 3}]', '1 h');
SELECT attempt($$SELECT try_reserve('cart-1', '[{"sku": "apple", "quantity": 3}]', '10 min')$$);
SELECT status, replayed FROM try_reserve('cart-1', '[{"sku": "apple", "quantity": 1}]', '10 min', 7);
SELECT status, replayed FROM try_reserve('cart-1', '[{"sku": "apple", "quantity": 1}]', '10 min', user_id => 7);
SELECT slot_of_order(id) = slot_of_user(7) AS with_its_user FROM reservation WHERE user_id = 7;
TABLE counts;

--
-- Short: an answer, nothing else.  All that is short is named, and nothing of it is held.
--
SELECT * FROM try_reserve('big', '[{"sku": "apple", "quantity": 7}, {"sku": "Banana", "quantity": 1}, {"sku": "cherry", "quantity": 2}]', '1 min');
SELECT * FROM try_reserve('big', '[{"sku": "apple", "quantity": 7}]', '1 min');
SELECT * FROM try_reserve('big', '[{"sku": "fig", "quantity": 3}, {"sku": "cherry", "quantity": 2}, {"sku": "elder", "quantity": 1}, {"sku": "apple", "quantity": 1}]', '1 min');
TABLE counts;
SELECT count(*) FROM reservation WHERE reservation_id = 'big';
-- It takes no transaction id, and is not remembered: later the same id may find stock.
BEGIN;
SELECT status FROM try_reserve('big', '[{"sku": "apple", "quantity": 7}, {"sku": "cherry", "quantity": 2}]', '1 min');
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_transaction_id;
COMMIT;
SELECT available FROM receive_stock('cherry', 1);
SELECT status, replayed FROM try_reserve('big', '[{"sku": "cherry", "quantity": 2}]', '1 min');
SELECT state, replayed FROM cancel_reservation('big');
SELECT available FROM adjust_stock('cherry', -1);
-- Nothing of it can be had: nothing is held, and it can be confirmed.
SELECT status FROM try_reserve('service', '[{"sku": "wrapping", "stocked": false, "quantity": 1}]', '1 min');
SELECT * FROM confirm_reservation('service');

--
-- Confirmed: it is sold, by a movement of its own.
--
SELECT * FROM confirm_reservation('cart-1', context => '{"actor": "bob"}');
SELECT * FROM confirm_reservation('cart-1');
TABLE counts;
SELECT m.sku, m.quantity, m.reason, m.ref = r.id::text AS by_the_reservation, m.actor FROM stock_movement m, reservation r
WHERE m.reason = 'reservation' AND r.reservation_id = 'cart-1' AND r.user_id IS NULL ORDER BY m.sku;
SELECT attempt($$SELECT receive_stock('apple', 1, 'reservation')$$);
-- What is decided is decided.
SELECT attempt($$SELECT cancel_reservation('cart-1')$$);
SELECT attempt($$SELECT extend_reservation('cart-1', '1 h')$$);
SELECT attempt($$SELECT try_reserve('cart-1', '[{"sku": "Banana", "quantity": 1}, {"sku": "apple", "quantity": 3}]', '1 h')$$);
-- The other user's of that name is held still.
SELECT state FROM reservation WHERE reservation_id = 'cart-1' AND user_id = 7;
SELECT attempt($$SELECT confirm_reservation('cart-1', user_id => 8)$$);

-- In part: the rest is released, of the same SKU and of others.
SELECT status FROM try_reserve('part', '[{"sku": "apple", "quantity": 4}, {"sku": "Banana", "quantity": 2}, {"sku": "cherry", "quantity": 1}]', '1 min', 1);
SELECT attempt($$SELECT confirm_reservation('part', '[{"sku": "apple", "quantity": 5}]', 1)$$);
SELECT attempt($$SELECT confirm_reservation('part', '[{"sku": "fig", "quantity": 1}]', 1)$$);
TABLE counts;
SELECT * FROM confirm_reservation('part', '[{"sku": "apple", "quantity": 1}, {"sku": "apple", "quantity": 2}, {"sku": "cherry", "quantity": 1}]', 1);
TABLE counts;
SELECT * FROM confirm_reservation('part', '[{"sku": "cherry", "quantity": 1}, {"sku": "apple", "quantity": 3}]', 1);
SELECT attempt($$SELECT confirm_reservation('part', user_id => 1)$$);
SELECT attempt($$SELECT confirm_reservation('part', '[{"sku": "apple", "quantity": 3}]', 1)$$);
SELECT * FROM kept WHERE reservation_id = 'part';

--
-- Cancelled, and cancelled before it was tried.
--
SELECT status FROM try_reserve('gone', '[{"sku": "apple", "quantity": 1}]', '1 min');
SELECT * FROM cancel_reservation('gone');
SELECT * FROM cancel_reservation('gone');
SELECT attempt($$SELECT confirm_reservation('gone')$$);
SELECT attempt($$SELECT try_reserve('gone', '[{"sku": "apple", "quantity": 1}]', '1 min')$$);
SELECT * FROM cancel_reservation('never', 3, '{"actor": "ada"}');
SELECT * FROM cancel_reservation('never', 3);
SELECT attempt($$SELECT try_reserve('never', '[{"sku": "apple", "quantity": 1}]', '1 min', 3)$$);
SELECT attempt($$SELECT confirm_reservation('never', user_id => 3)$$);
SELECT attempt($$SELECT extend_reservation('never', '1 h', 3)$$);
SELECT * FROM kept WHERE reservation_id IN ('gone', 'never');
SELECT slot_of_order(id) = slot_of_user(3) AS where_the_try_would_lie FROM reservation WHERE reservation_id = 'never';
TABLE counts;
-- Nobody knows it.
SELECT attempt($$SELECT confirm_reservation('unknown')$$);
SELECT attempt($$SELECT extend_reservation('unknown', '1 h', 3)$$);

--
-- Extended: never to an earlier time.
--
SELECT status FROM try_reserve('long', '[{"sku": "apple", "quantity": 1}]', '1 h');
SELECT extend_reservation('long', '2 h') > now() + interval '119 min' AS later;
SELECT extend_reservation('long', '1 s') > now() + interval '119 min' AS as_late, extend_reservation('long', '1 s') = expires_at AS stored FROM reservation WHERE reservation_id = 'long';

--
-- Late, but before the keeper: it is held.
--
SELECT expire('long');
SELECT status, expires_at < now() AS late, replayed FROM try_reserve('long', '[{"sku": "apple", "quantity": 1}]', '1 h');
SELECT extend_reservation('long', '1 h') > now() AS held_still;
SELECT expire('long');
SELECT * FROM confirm_reservation('long');

--
-- What is undone leaves no trace.
--
BEGIN;
SELECT status FROM try_reserve('undone', '[{"sku": "Banana", "quantity": 1}]', '1 h');
SAVEPOINT s;
SELECT * FROM confirm_reservation('undone');
ROLLBACK TO s;
SELECT status, replayed FROM try_reserve('undone', '[{"sku": "Banana", "quantity": 1}]', '1 h');
SELECT * FROM cancel_reservation('undone');
ROLLBACK;
TABLE counts;
SELECT count(*) FROM reservation WHERE reservation_id = 'undone';

--
-- An order takes one over: it holds what it would have reserved, no more and no less.
--
SELECT count(receive_stock(sku, 20)) FROM unnest('{apple,Banana,cherry}'::text[]) sku;
SELECT status FROM try_reserve('basket', '[{"sku": "apple", "quantity": 4}, {"sku": "Banana", "quantity": 3}]', '1 h', 1);
TABLE counts;
SELECT order_id, state, replayed FROM create_order(1, '[{"sku": "apple", "quantity": 6}, {"sku": "Banana", "quantity": 1}, {"sku": "cherry", "quantity": 2}]', 'key-1', reservation_id => 'basket') \gset basket_
TABLE counts;
SELECT state, order_id = :basket_order_id AS by_it, lines, confirmed FROM reservation WHERE reservation_id = 'basket';
-- Its retry gets the order; another reservation, or none, is another request; another order finds it taken.
SELECT order_id = :basket_order_id AS the_same, replayed FROM create_order(1, '[{"sku": "apple", "quantity": 6}, {"sku": "Banana", "quantity": 1}, {"sku": "cherry", "quantity": 2}]', 'key-1', reservation_id => 'basket');
SELECT attempt($$SELECT create_order(1, '[{"sku": "apple", "quantity": 6}, {"sku": "Banana", "quantity": 1}, {"sku": "cherry", "quantity": 2}]', 'key-1', reservation_id => 'other')$$);
SELECT attempt($$SELECT create_order(1, '[{"sku": "apple", "quantity": 6}, {"sku": "Banana", "quantity": 1}, {"sku": "cherry", "quantity": 2}]', 'key-1')$$);
SELECT regexp_replace(attempt($$SELECT create_order(1, '[{"sku": "apple", "quantity": 6}]', reservation_id => 'basket')$$), '\d{15,}', 'ID', 'g');
SELECT regexp_replace(attempt($$SELECT cancel_reservation('basket', 1)$$), '\d{15,}', 'ID', 'g');
-- What it holds goes the way of orders.
SELECT outcome FROM pay_order(:basket_order_id, 'p', 0);
TABLE counts;
SELECT sku, quantity, reason, ref = :'basket_order_id' || '/2' AS the_orders FROM stock_movement WHERE reason = 'confirm' ORDER BY sku;
-- A guest's becomes his order's when he has a name; a user's own of that name comes first.
SELECT status FROM try_reserve('token', '[{"sku": "apple", "quantity": 1}]', '1 h');
SELECT status FROM try_reserve('token', '[{"sku": "apple", "quantity": 2}]', '1 h', 5);
SELECT count(*) FROM create_order(5, '[{"sku": "apple", "quantity": 1}]', reservation_id => 'token');
SELECT count(*) FROM create_order(6, '[{"sku": "apple", "quantity": 1}]', reservation_id => 'token');
SELECT r.user_id, r.state, r.lines, o.user_id AS ordered_by FROM reservation r JOIN orders o USING (order_id) WHERE r.reservation_id = 'token' ORDER BY 1;
TABLE counts;
-- Beyond what is there: all that is short is named, and the hold stays.
SELECT status FROM try_reserve('more', '[{"sku": "apple", "quantity": 4}, {"sku": "cherry", "quantity": 1}]', '1 h', 1);
SELECT attempt($$SELECT create_order(1, '[{"sku": "apple", "quantity": 100}, {"sku": "cherry", "quantity": 100}, {"sku": "Banana", "quantity": 1}]', 'key-2', reservation_id => 'more')$$);
SELECT attempt($$SELECT create_order(1, '[{"sku": "fig", "quantity": 1}]', 'key-2', reservation_id => 'more')$$);
SELECT state FROM reservation WHERE reservation_id = 'more';
-- Not the user's, unknown, cancelled.
SELECT attempt($$SELECT create_order(2, '[{"sku": "apple", "quantity": 4}]', 'key-2', reservation_id => 'more')$$);
SELECT attempt($$SELECT create_order(1, '[{"sku": "apple", "quantity": 4}]', 'key-2', reservation_id => 'unknown')$$);
SELECT * FROM cancel_reservation('more', 1);
SELECT attempt($$SELECT create_order(1, '[{"sku": "apple", "quantity": 4}]', 'key-2', reservation_id => 'more')$$);
SELECT attempt($$SELECT create_order(1, '[{"sku": "apple", "quantity": 4}]', reservation_id => '')$$);
-- A machine whose new orders hold nothing releases all of it.
SELECT define_machine('draft', '{"final": ["done"], "transitions": [{"from": null, "event": "create", "to": "draft"}, {"from": "draft", "event": "finish", "to": "done"}]}') > 0 AS defined;
SELECT status FROM try_reserve('draft', '[{"sku": "apple", "quantity": 4}]', '1 h', 1);
SELECT state FROM create_order(1, '[{"sku": "apple", "quantity": 4}]', machine => 'draft', reservation_id => 'draft');
TABLE counts;

--
-- Anything that can be counted: coupons, points.
--
SELECT available FROM receive_stock('points/42', 100);
SELECT count(set_stock_mode('points/42', :'mode'));
SELECT status FROM try_reserve('spend', '[{"sku": "points/42", "quantity": 80}]', '1 min', 42);
SELECT status, short FROM try_reserve('spend more', '[{"sku": "points/42", "quantity": 80}]', '1 min', 42);
SELECT state FROM confirm_reservation('spend', '[{"sku": "points/42", "quantity": 75}]', 42);
SELECT available('points/42');

--
-- Input that makes no sense.
--
SELECT statement, attempt(statement) FROM unnest(ARRAY[
	$$SELECT try_reserve(NULL, '[{"sku": "apple", "quantity": 1}]', '1 min')$$,
	$$SELECT try_reserve('', '[{"sku": "apple", "quantity": 1}]', '1 min')$$,
	$$SELECT try_reserve(repeat('x', 256), '[{"sku": "apple", "quantity": 1}]', '1 min')$$,
	$$SELECT try_reserve(E'a\tb', '[{"sku": "apple", "quantity": 1}]', '1 min')$$,
	$$SELECT try_reserve('bad', NULL, '1 min')$$,
	$$SELECT try_reserve('bad', 'null', '1 min')$$,
	$$SELECT try_reserve('bad', '[]', '1 min')$$,
	$$SELECT try_reserve('bad', '{"sku": "apple"}', '1 min')$$,
	$$SELECT try_reserve('bad', '[{"sku": "apple"}]', '1 min')$$,
	$$SELECT try_reserve('bad', '[{"sku": "apple", "quantity": 0}]', '1 min')$$,
	$$SELECT try_reserve('bad', '[{"sku": "apple", "quantity": 1, "colour": "red"}]', '1 min')$$,
	$$SELECT try_reserve('bad', '[{"sku": "apple", "quantity": 1}]', NULL)$$,
	$$SELECT try_reserve('bad', '[{"sku": "apple", "quantity": 1}]', '0')$$,
	$$SELECT try_reserve('bad', '[{"sku": "apple", "quantity": 1}]', '-1 s')$$,
	$$SELECT try_reserve('bad', '[{"sku": "apple", "quantity": 1}]', '1 year 1 day')$$,
	$$SELECT try_reserve('bad', '[{"sku": "apple", "quantity": 1}]', '178000000 years')$$,
	$$SELECT try_reserve('bad', '[{"sku": "apple", "quantity": 1}]', '1 min', context => '{"actor": 1}')$$,
	$$SELECT confirm_reservation(NULL)$$,
	$$SELECT confirm_reservation('draft', '[]')$$,
	$$SELECT confirm_reservation('draft', '{}')$$,
	$$SELECT cancel_reservation('')$$,
	$$SELECT extend_reservation('draft', NULL)$$,
	$$SELECT extend_reservation('draft', '-1 h')$$,
	$$SELECT extend_reservation('draft', '2 years')$$]) AS statement;
SELECT count(*) FROM reservation WHERE reservation_id = 'bad';
BEGIN READ ONLY;
SELECT attempt($$SELECT try_reserve('bad', '[{"sku": "apple", "quantity": 1}]', '1 min')$$);
ROLLBACK;

--
-- Written by the calls only.
--
SELECT attempt($$INSERT INTO reservation (id, reservation_id, state, actor, created_at) VALUES (1, 'by hand', 'held', 'x', now())$$);
SELECT attempt($$UPDATE reservation SET state = 'held'$$);
SELECT attempt($$DELETE FROM reservation$$);
SELECT attempt($$TRUNCATE reservation$$);

--
-- A user's trigger may fill columns of its own; what the engine holds is the engine's.
--
ALTER TABLE reservation ADD COLUMN channel text DEFAULT 'web', ADD COLUMN changes int DEFAULT 0;
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.changes := NEW.changes + 1;
	IF NEW.reservation_id = 'more of it' THEN
		NEW.lines := '{"apple": 100}';
	ELSIF NEW.reservation_id = 'for ever' THEN
		NEW.expires_at := NEW.expires_at + interval '1 year';
	ELSIF NEW.reservation_id = 'no more' THEN
		RETURN NULL;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON reservation FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT status FROM try_reserve('channel', '[{"sku": "apple", "quantity": 1}]', '1 min');
SELECT state FROM confirm_reservation('channel');
SELECT channel, changes FROM reservation WHERE reservation_id = 'channel';
SELECT name, attempt(format($$SELECT try_reserve(%L, '[{"sku": "apple", "quantity": 1}]', '1 min')$$, name)) FROM unnest('{more of it,for ever,no more}'::text[]) name;
ALTER TABLE reservation DISABLE TRIGGER meddle;
SELECT status FROM try_reserve('for ever', '[{"sku": "apple", "quantity": 1}]', '1 min');
ALTER TABLE reservation ENABLE TRIGGER meddle;
SELECT attempt($$SELECT extend_reservation('for ever', '1 h')$$);
DROP TRIGGER meddle ON reservation;
SELECT state FROM cancel_reservation('for ever');

--
-- The books balance: what is reserved is what orders and reservations hold.
--
SELECT s.sku, s.reserved = coalesce(o.units, 0) + coalesce(r.units, 0) AS balances, s.on_hand = m.units AS moved
FROM stock_now s
	LEFT JOIN (SELECT l.stock_key, sum(l.quantity) AS units FROM orders JOIN order_line l USING (order_id) WHERE state = 'pending' GROUP BY 1) o ON o.stock_key = s.sku
	LEFT JOIN (SELECT e.key, sum(e.value::bigint) AS units FROM reservation, jsonb_each_text(lines) e WHERE state = 'held' GROUP BY 1) r ON r.key = s.sku
	LEFT JOIN (SELECT sku, sum(quantity) AS units FROM stock_movement GROUP BY 1) m USING (sku)
ORDER BY sku COLLATE "C";
