-- What orders do to stock: reserve, confirm, release, restock.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql

INSERT INTO stock (sku, on_hand) VALUES ('apple', 10), ('Banana', 5), ('berlin/cherry', 1), ('date', 3);

--
-- All or nothing, in one answer: every line that is short, every key that is unknown.
--
SELECT attempt($$SELECT create_order(1, '[{"sku": "date", "quantity": 4}, {"sku": "apple", "quantity": 1}, {"sku": "Banana", "quantity": 6}]')$$);
SELECT attempt($$SELECT create_order(1, '[{"sku": "fig", "quantity": 1}, {"sku": "apple", "quantity": 11}, {"sku": "elder", "quantity": 1}]')$$);
-- Lines of one key are one demand, whatever they are called.
SELECT attempt($$SELECT create_order(1, '[{"sku": "red", "stock_key": "apple", "quantity": 6}, {"sku": "apple", "quantity": 5}]')$$);
-- The first to fail decides nothing about the rest.
SELECT attempt($$SELECT create_order(1, '[{"sku": "cherry", "stock_key": "berlin/cherry", "quantity": 2}, {"sku": "date", "quantity": 3}]')$$);
SELECT sku, on_hand, reserved, version FROM stock ORDER BY sku;
SELECT count(*) FROM orders;

--
-- An order holds what it reserved.  What has no stock key is not stocked.
--
SELECT order_id FROM create_order(1, '[{"sku": "date", "quantity": 1}, {"sku": "apple", "quantity": 2}, {"sku": "apple", "quantity": 1},
	{"sku": "cherry", "stock_key": "berlin/cherry", "quantity": 1}, {"sku": "wrapping", "stocked": false, "quantity": 9}]') \gset first_
SELECT sku, on_hand, reserved, version, available(sku) FROM stock ORDER BY sku;
SELECT attempt($$SELECT create_order(2, '[{"sku": "cherry", "stock_key": "berlin/cherry", "quantity": 1}]')$$);
SELECT attempt($$SELECT deduct_stock('apple', 8)$$);
SELECT attempt($$SELECT adjust_stock('apple', -8)$$);
SELECT attempt($$DELETE FROM stock WHERE sku = 'apple'$$);
SELECT attempt($$UPDATE stock SET on_hand = 2 WHERE sku = 'apple'$$);
-- Reserving moves nothing.
SELECT count(*) FROM stock_movement WHERE reason <> 'direct';

-- Paid: it leaves, and the movement names the order and its version.
SELECT state FROM fire(:first_order_id, 'pay');
SELECT sku, on_hand, reserved, version FROM stock ORDER BY sku;
SELECT sku, quantity, reason, ref = :'first_order_id' || '/2' AS ref FROM stock_movement WHERE reason <> 'direct' ORDER BY sku;

-- Refunded: it is back.
SELECT state FROM request_refund(:first_order_id);
SELECT state FROM confirm_refund(:first_order_id);
SELECT sku, on_hand, reserved, version FROM stock ORDER BY sku;
SELECT sku, quantity, reason, ref = :'first_order_id' || '/4' AS ref FROM stock_movement WHERE reason = 'restock' ORDER BY sku;

--
-- Cancelled before it was paid: released, without a movement; the same in SQL.
--
SELECT order_id FROM create_order(3, '[{"sku": "apple", "quantity": 10}]') \gset second_
SELECT available('apple');
SELECT state FROM cancel_order(:second_order_id);
SELECT available('apple');
SELECT count(create_order(u, '[{"sku": "apple", "quantity": 2}, {"sku": "date", "quantity": 1}]')) FROM generate_series(1, 3) u;
SELECT available('apple'), available('date');
UPDATE orders SET state = 'paid' WHERE state = 'pending' AND user_id = 1;
UPDATE orders SET state = 'cancelled' WHERE state = 'pending';
SELECT sku, on_hand, reserved FROM stock WHERE sku IN ('apple', 'date') ORDER BY sku;

--
-- What is undone leaves no trace.
--
BEGIN;
SELECT count(order_id) FROM create_order(1, '[{"sku": "apple", "quantity": 8}]');
SAVEPOINT s;
SELECT attempt($$SELECT create_order(1, '[{"sku": "apple", "quantity": 1}]')$$);
ROLLBACK TO s;
ROLLBACK;
SELECT on_hand, reserved FROM stock WHERE sku = 'apple';

--
-- Moves of stock are HOT updates.
--
BEGIN;
SELECT pg_stat_get_xact_tuples_updated('stock'::regclass) AS updated,
	pg_stat_get_xact_tuples_hot_updated('stock'::regclass) AS hot \gset before_
SELECT count(create_order(u, '[{"sku": "apple", "quantity": 1}, {"sku": "date", "quantity": 1}]')) FROM generate_series(1, 2) u;
UPDATE orders SET state = 'cancelled' WHERE state = 'pending';
SELECT pg_stat_get_xact_tuples_updated('stock'::regclass) - :before_updated AS updated,
	pg_stat_get_xact_tuples_hot_updated('stock'::regclass) - :before_hot AS hot;
COMMIT;

--
-- A row that was deleted since its units were sold is made anew when they come back: the refund counts all the same.
--
INSERT INTO stock (sku, on_hand) VALUES ('gone', 6), ('Gone', 3);
SELECT array_agg(order_id ORDER BY order_id) AS sold FROM generate_series(6, 8) u,
	create_order(u, '[{"sku": "gone", "quantity": 2, "unit_price": 5}, {"sku": "apple", "quantity": 1}, {"sku": "Gone", "quantity": 1}]') \gset
SELECT outcome, state FROM unnest(:'sold'::bigint[]) id, pay_order(id, 'p', 10);
SELECT state FROM request_refund((:'sold'::bigint[])[2]);
SELECT state FROM request_refund((:'sold'::bigint[])[3]);
WITH gone AS (DELETE FROM stock WHERE lower(sku) = 'gone' RETURNING sku, on_hand)
SELECT * FROM gone ORDER BY sku;
SELECT state, refunded FROM refund_order((:'sold'::bigint[])[1], 'r');
SELECT sku, on_hand, reserved, version, mode FROM stock WHERE lower(sku) IN ('gone', 'apple') ORDER BY sku;
SELECT state FROM confirm_refund((:'sold'::bigint[])[2]);
DELETE FROM stock WHERE sku = 'gone';
UPDATE orders SET state = 'cancelled' WHERE order_id = (:'sold'::bigint[])[3];
SELECT sku, on_hand, reserved, version FROM stock WHERE lower(sku) IN ('gone', 'apple') ORDER BY sku;
SELECT sku, quantity, split_part(ref, '/', 1) = (:'sold'::bigint[])[1]::text AS first FROM stock_movement WHERE reason = 'restock' AND lower(sku) = 'gone' ORDER BY sku, ref;
-- What is sold anew must be known, as ever.
DELETE FROM stock WHERE lower(sku) = 'gone';
SELECT attempt($$SELECT create_order(6, '[{"sku": "gone", "quantity": 1}]')$$);

--
-- An adjustment may take stock, a coupon say: held, confirmed, restocked, released with the lines, and summed with them.
--
INSERT INTO stock (sku, on_hand) VALUES ('coupon', 3), ('points', 100);
SELECT order_id FROM create_order(7, '[{"sku": "apple", "quantity": 1, "unit_price": 5}, {"sku": "coupon", "quantity": 1, "unit_price": 2}]', 'coupon',
	adjustments => '[{"kind": "discount", "amount": -1, "label": "spring", "stock_key": "coupon", "quantity": 1},
		{"kind": "discount", "amount": 0, "stock_key": "points", "quantity": "40.0"}, {"kind": "discount", "amount": 0, "stock_key": "points", "quantity": 2}]') \gset bought_
SELECT sku, on_hand, reserved FROM stock WHERE sku IN ('coupon', 'points') ORDER BY sku;
SELECT get_order(:bought_order_id) -> 'adjustments' AS shown, o.payload -> 'adjustments' AS told
	FROM outbox o WHERE o.aggregateid = :'bought_order_id';
-- It is part of the request.
SELECT replayed FROM create_order(7, '[{"sku": "apple", "quantity": 1, "unit_price": 5}, {"sku": "coupon", "quantity": 1, "unit_price": 2}]', 'coupon',
	adjustments => '[{"kind": "discount", "amount": -1, "label": "spring", "stock_key": "coupon", "quantity": "1"},
		{"kind": "discount", "amount": 0, "stock_key": "points", "quantity": 40}, {"kind": "discount", "amount": 0, "stock_key": "points", "quantity": 2}]');
SELECT attempt($$SELECT create_order(7, '[{"sku": "apple", "quantity": 1, "unit_price": 5}, {"sku": "coupon", "quantity": 1, "unit_price": 2}]', 'coupon',
	adjustments => '[{"kind": "discount", "amount": -1, "label": "spring"}]')$$);
-- Used up, by line and adjustment together; unknown.
SELECT attempt($$SELECT create_order(8, '[{"sku": "coupon", "quantity": 1}]', adjustments => '[{"kind": "discount", "amount": 0, "stock_key": "coupon", "quantity": 1}, {"kind": "discount", "amount": 0, "stock_key": "points", "quantity": 59}]')$$);
SELECT attempt($$SELECT create_order(8, '[{"sku": "wrapping", "stocked": false, "quantity": 1}]', adjustments => '[{"kind": "discount", "amount": 0, "stock_key": "no such", "quantity": 1}]')$$);
SELECT outcome FROM pay_order(:bought_order_id, 'p', 6);
SELECT sku, on_hand, reserved FROM stock WHERE sku IN ('coupon', 'points') ORDER BY sku;
SELECT state FROM refund_order(:bought_order_id, 'r');
SELECT sku, on_hand, reserved FROM stock WHERE sku IN ('coupon', 'points') ORDER BY sku;
SELECT sku, quantity, reason, split_part(ref, '/', 2) AS version FROM stock_movement WHERE sku IN ('coupon', 'points') AND reason <> 'direct' ORDER BY sku, version;
-- Nothing but adjustments that take stock; cancelled by hand, and by the keeper.
SELECT order_id FROM create_order(8, '[{"sku": "wrapping", "stocked": false, "quantity": 1}]', adjustments => '[{"kind": "discount", "amount": 0, "stock_key": "coupon", "quantity": 3}]') \gset used_
SELECT available('coupon');
UPDATE orders SET state = 'cancelled' WHERE order_id = :used_order_id;
SELECT available('coupon');
SELECT order_id FROM create_order(8, '[{"sku": "wrapping", "stocked": false, "quantity": 1}]', adjustments => '[{"kind": "discount", "amount": 0, "stock_key": "coupon", "quantity": 2}]', pay_within => '1 us') \gset late_
SELECT available('coupon');
CALL tend();
SELECT state, available('coupon') FROM orders WHERE order_id = :late_order_id;
-- An order by raw SQL holds what its adjustments take, and nothing else.
INSERT INTO orders (order_id, user_id, adjustments) VALUES (next_order_id(8), 8, '[{"kind": "fee", "amount": 0, "stock_key": "coupon", "quantity": "2"}]') RETURNING order_id, adjustments \gset raw_
SELECT :'raw_adjustments' AS adjustments, available('coupon');
SELECT attempt(format('INSERT INTO orders (order_id, user_id, adjustments) VALUES (next_order_id(8), 8, %L)', '[{"kind": "fee", "amount": 0, "stock_key": "coupon", "quantity": 2}]'));
SELECT attempt(format('INSERT INTO orders (order_id, user_id, adjustments) VALUES (next_order_id(8), 8, %L)', '[{"kind": "fee", "amount": 0, "stock_key": "coupon"}]'));
SELECT attempt(format('UPDATE orders SET adjustments = ''[]'' WHERE order_id = %s', :raw_order_id));
SELECT state FROM cancel_order(:raw_order_id);
SELECT available('coupon');
-- What a restore has copied may be anything: what makes no sense takes nothing.
SELECT order_id FROM create_order(9, '[{"sku": "wrapping", "stocked": false, "quantity": 1}]') \gset odd_
SET session_replication_role = replica;
UPDATE orders SET adjustments = '[1, null, {"stock_key": "coupon"}, {"stock_key": 1, "quantity": 1}, {"stock_key": "coupon", "quantity": "1"}, {"stock_key": "coupon", "quantity": 0}, {"stock_key": "coupon", "quantity": 1e30}]' WHERE order_id = :odd_order_id;
RESET session_replication_role;
SELECT state FROM cancel_order(:odd_order_id);
SELECT available('coupon');
SELECT order_id FROM create_order(9, '[{"sku": "wrapping", "stocked": false, "quantity": 1}]') \gset odd_
SET session_replication_role = replica;
UPDATE orders SET adjustments = '"x"' WHERE order_id = :odd_order_id;
RESET session_replication_role;
SELECT state FROM cancel_order(:odd_order_id);

--
-- At the ends of bigint.
--
INSERT INTO stock (sku, on_hand) VALUES ('sand', 9223372036854775807);
SELECT order_id FROM create_order(1, '[{"sku": "sand", "quantity": 2147483647}, {"sku": "sand", "quantity": 2147483647}]') \gset sand_
SELECT state FROM fire(:sand_order_id, 'pay');
SELECT on_hand, reserved FROM stock WHERE sku = 'sand';
SELECT on_hand FROM receive_stock('sand', 4294967294);
SELECT attempt(format('SELECT fire(%s, ''refund'')', :'sand_order_id'));

--
-- What the engine does not watch: a restore of one table.
--
SELECT order_id FROM create_order(5, '[{"sku": "Banana", "quantity": 2}, {"sku": "date", "quantity": 1}]') \gset lost_
SET session_replication_role = replica;
UPDATE stock SET reserved = 1 WHERE sku = 'Banana';
RESET session_replication_role;
SELECT attempt(format('SELECT cancel_order(%s)', :'lost_order_id'));
SELECT attempt(format('SELECT fire(%s, ''pay'')', :'lost_order_id'));

--
-- In the end the movements add up to what is on hand, and the open orders to what is reserved.
--
SELECT s.sku, s.on_hand, m.moved FROM stock s
	LEFT JOIN (SELECT sku, sum(quantity) AS moved FROM stock_movement GROUP BY sku) m USING (sku)
	WHERE s.on_hand IS DISTINCT FROM coalesce(m.moved, 0);
SELECT s.sku, s.reserved, o.held FROM stock s
	LEFT JOIN (SELECT stock_key AS sku, sum(quantity) AS held FROM orders JOIN order_line USING (order_id) WHERE state = 'pending' GROUP BY 1) o USING (sku)
	WHERE s.reserved <> coalesce(o.held, 0);
