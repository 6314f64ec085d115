\i `echo "$PG_ABS_SRCDIR"`/test/lib/reserved.sql

--
-- Released.  Confirmed all the same, if its stock is there: else it has expired.
--
SELECT status FROM try_reserve('late', '[{"sku": "apple", "quantity": 1}, {"sku": "Banana", "quantity": 3}]', '1 h');
SELECT expire('late');
TABLE counts;
CALL tend();
TABLE counts;
SELECT * FROM kept WHERE reservation_id = 'late';
SELECT attempt($$SELECT extend_reservation('late', '1 h')$$);
SELECT attempt($$SELECT try_reserve('late', '[{"sku": "apple", "quantity": 1}, {"sku": "Banana", "quantity": 3}]', '1 h')$$);
-- Confirmed all the same, if its stock is there: else it has expired.
SELECT status FROM try_reserve('quick', '[{"sku": "Banana", "quantity": 3}]', '1 h');
SELECT attempt($$SELECT confirm_reservation('late')$$);
SELECT * FROM confirm_reservation('late', '[{"sku": "apple", "quantity": 1}, {"sku": "Banana", "quantity": 2}]');
SELECT * FROM confirm_reservation('late', '[{"sku": "apple", "quantity": 1}, {"sku": "Banana", "quantity": 2}]');
TABLE counts;
SELECT * FROM kept WHERE reservation_id = 'late';
-- Cancelled after it has expired: then it is not taken again.
SELECT expire('quick');
CALL tend();
SELECT state FROM reservation WHERE reservation_id = 'quick';
SELECT * FROM cancel_reservation('quick');
SELECT attempt($$SELECT confirm_reservation('quick')$$);
TABLE counts;

-- An order cannot take over what has expired.
SELECT status FROM try_reserve('more', '[{"sku": "apple", "quantity": 4}]', '1 h', 1);
SELECT expire('more');
CALL tend();
SELECT attempt($$SELECT create_order(1, '[{"sku": "apple", "quantity": 4}]', reservation_id => 'more')$$);
TABLE counts;

--
-- Many at once, of one SKU and of several; those that are not due stay.
--
SELECT available FROM receive_stock('apple', 2000);
SELECT count(try_reserve('many ' || n, '[{"sku": "apple", "quantity": 2}, {"sku": "Banana", "stock_key": "apple", "quantity": 1}]', '1 h', nullif(n % 3, 0))) FROM generate_series(1, 600) n;
SELECT count(expire('many ' || n)) FROM generate_series(1, 599) n;
CALL tend();
SELECT state, count(*), min(actor), count(*) = count(resolved_at) AS resolved FROM reservation WHERE reservation_id LIKE 'many %' GROUP BY 1 ORDER BY 1;
TABLE counts;
-- In a transaction block it is the caller's.
SELECT expire('many 600');
BEGIN;
CALL tend();
SELECT state FROM reservation WHERE reservation_id = 'many 600';
ROLLBACK;
SELECT state FROM reservation WHERE reservation_id = 'many 600';

--
-- Deleted: what was resolved longer ago than order_engine.reservation_retention, by tend() or by the owner's hand.
--
SHOW order_engine.reservation_retention;
SELECT attempt($$DELETE FROM reservation$$);
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE reservation SET resolved_at = now() - interval '25 hours' WHERE reservation_id IN ('late', 'more');
SET LOCAL session_replication_role = origin;
COMMIT;
DELETE FROM reservation WHERE resolved_at < now() - interval '1 day' AND reservation_id = 'late' RETURNING reservation_id;
CALL tend();
SELECT count(*) FROM reservation WHERE reservation_id IN ('late', 'more');
SELECT count(*) FROM reservation WHERE reservation_id LIKE 'many %';
-- Its id is as good as new.
SELECT status, replayed FROM try_reserve('more', '[{"sku": "apple", "quantity": 1}]', '1 min', 1);

