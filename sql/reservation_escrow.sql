-- Reservations: try, confirm, cancel, extend, and an order that takes one over, in mode escrow.
-- needs to be preloaded
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql
\set mode escrow
\i `echo "$PG_ABS_SRCDIR"`/test/lib/reservation.sql

--
-- What was claimed before another SKU was found short is there for others at once, own returns apart.
--
SELECT count(receive_stock(sku, 20)), count(set_stock_mode(sku, 'escrow')) FROM unnest('{dates,elder}'::text[]) sku;
CREATE VIEW held AS SELECT free, in_flight, available('dates') - free AS own FROM stat_stock WHERE sku = 'dates';
BEGIN;
SET LOCAL order_engine.escrow_wait = '1ms';	-- no look at shared memory comes before the claim
SELECT available FROM receive_stock('dates', 1);
SAVEPOINT s;
SELECT status FROM try_reserve('tried', '[{"sku": "dates", "quantity": 3}, {"sku": "elder", "quantity": 100}]', '1 min');
TABLE held;
SELECT status FROM try_reserve('tried', '[{"sku": "dates", "quantity": 4}]', '1 min');
SELECT status FROM try_reserve('tried too', '[{"sku": "dates", "quantity": 2}, {"sku": "elder", "quantity": 100}]', '1 min');
TABLE held;
ROLLBACK TO s;
TABLE held;
COMMIT;
TABLE held;
