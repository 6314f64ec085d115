-- Events of stock: one for each crossing between nothing and something.
-- needs to be preloaded
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql

-- What was published since the last look, and that each event tells its own id, key and version.
CREATE VIEW public.told AS
	SELECT o.id, o.aggregateid AS sku, o.type, o.headers ->> 'seq' AS seq, o.payload ->> 'on_hand' AS on_hand,
		o.payload ->> 'reserved' AS reserved, o.payload ->> 'available' AS available, o.payload ->> 'open' AS open,
		(o.payload ->> 'event_id', o.payload ->> 'sku', o.payload ->> 'version', 'stock.' || (o.payload ->> 'event'))
			= (o.id::text, o.aggregateid, o.headers ->> 'seq', o.type)
			AND (o.payload ->> 'at')::timestamptz BETWEEN now() - interval '1 minute' AND clock_timestamp() AS well
	FROM outbox o WHERE o.aggregatetype = 'stock';
CREATE SEQUENCE public.seen MINVALUE 0 START 0;
CREATE FUNCTION public.news(OUT sku text, OUT type text, OUT seq text, OUT on_hand text, OUT reserved text, OUT available text, OUT open text, OUT well boolean)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
	last bigint := (SELECT last_value FROM public.seen);
BEGIN
	PERFORM setval('public.seen', coalesce(max(id), last)) FROM told;
	RETURN QUERY SELECT t.sku, t.type, t.seq, t.on_hand, t.reserved, t.available, t.open, t.well FROM told t WHERE t.id > last ORDER BY t.id;
END $$;

-- By default nothing is published.
SELECT on_hand FROM receive_stock('tea', 2);
SELECT remaining FROM deduct_stock('tea', 2);
SELECT count(*) FROM outbox;
SET order_engine.stock_events = on;

--
-- Receipts, deductions, corrections: what crosses, and nothing else.
--
SELECT on_hand FROM receive_stock('cup', 3);
SELECT on_hand FROM receive_stock('cup', 1);
SELECT remaining FROM deduct_stock('cup', 3);
SELECT on_hand FROM adjust_stock('cup', 1);
SELECT * FROM news();
SELECT remaining FROM deduct_stock('cup', 2, ref => 'd');
SELECT remaining FROM deduct_stock('cup', 2, ref => 'd');
SELECT attempt($$SELECT deduct_stock('cup', 1)$$);
SELECT on_hand FROM adjust_stock('cup', 5, ref => 'found');
SELECT on_hand FROM adjust_stock('cup', -5);
SELECT * FROM news();

--
-- Orders: held, let go, confirmed (which leaves free what was free), brought back; several keys at once.
--
INSERT INTO stock (sku, on_hand) VALUES ('a', 2), ('b', 2), ('c', 0);
SELECT * FROM news();
SELECT order_id FROM create_order(1, '[{"sku": "b", "quantity": 2, "unit_price": 1}, {"sku": "a", "quantity": 1, "unit_price": 1}, {"sku": "a", "quantity": 1, "unit_price": 1}]') \gset both_
SELECT attempt($$SELECT create_order(1, '[{"sku": "b", "quantity": 2}]')$$);
SELECT * FROM news();
SELECT outcome FROM pay_order(:both_order_id, 'p', 4);
SELECT * FROM news();
SELECT state FROM refund_order(:both_order_id, 'r');
SELECT * FROM news();
SELECT order_id FROM create_order(1, '[{"sku": "b", "quantity": 2}]') \gset one_
SELECT state FROM cancel_order(:one_order_id);
SELECT count(create_order(2, '[{"sku": "b", "quantity": 2}]', pay_within => '1 us'));
CALL tend();
SELECT count(create_order(2, '[{"sku": "b", "quantity": 2}]'));
UPDATE orders SET state = 'cancelled' WHERE state = 'pending';
SELECT count(create_order(2, '[{"sku": "c", "quantity": 1, "stocked": false}]', adjustments => '[{"kind": "fee", "amount": 0, "stock_key": "b", "quantity": 2}]'));
SELECT * FROM news();

--
-- By hand, in one statement and by row; a column of the shop's own is nobody's business.
--
ALTER TABLE stock ADD COLUMN shelf text;
UPDATE stock SET shelf = 'top';
SELECT * FROM news();
UPDATE stock SET on_hand = 0 WHERE sku = 'a';
UPDATE stock SET on_hand = 7, shelf = 'low' WHERE sku IN ('a', 'c');
INSERT INTO stock (sku, on_hand) VALUES ('c', 1) ON CONFLICT (sku) DO UPDATE SET on_hand = 0;
DELETE FROM stock WHERE sku IN ('a', 'c');
SELECT * FROM news();
-- A row that is made anew begins with version 1; its events come later all the same.
SELECT version FROM receive_stock('a', 1);
SELECT * FROM news();
-- What replication or a restore brings was told elsewhere.
SET session_replication_role = replica;
UPDATE stock SET on_hand = 0 WHERE sku = 'a';
RESET session_replication_role;
SELECT * FROM news();

--
-- Closed is not available.
--
SELECT on_hand FROM receive_stock('a', 4);
SELECT set_stock_open('a', false), set_stock_open('a', false);
SELECT on_hand FROM receive_stock('a', 1);
SELECT on_hand FROM adjust_stock('a', -5);
SELECT set_stock_open('a', true);
SELECT on_hand FROM receive_stock('a', 1);
SELECT set_stock_open('a', false), set_stock_open('a', true);
SELECT * FROM news();

--
-- One transaction may cross several times; one that is rolled back has not crossed.
--
BEGIN;
SELECT remaining FROM deduct_stock('a', 1);
SELECT on_hand FROM receive_stock('a', 1);
SELECT order_id FROM create_order(3, '[{"sku": "a", "quantity": 1}]') \gset twice_
SAVEPOINT s;
SELECT state FROM cancel_order(:twice_order_id);
ROLLBACK TO s;
COMMIT;
SELECT * FROM news();
BEGIN;
SELECT on_hand FROM receive_stock('a', 1);
ROLLBACK;
SELECT * FROM news();

--
-- In mode escrow the fold tells, of what it finds.
--
SELECT on_hand FROM receive_stock('hot', 2);
SELECT set_stock_mode('hot', 'escrow');
SELECT * FROM news();
SELECT count(create_order(5, '[{"sku": "hot", "quantity": 1}]')) FROM generate_series(1, 2);
SELECT * FROM news();
CALL tend();
SELECT * FROM news();
CALL tend();
UPDATE orders SET state = 'cancelled' WHERE user_id = 5;
SELECT count(create_order(5, '[{"sku": "hot", "quantity": 1}]')) FROM generate_series(1, 2);
CALL tend();
SELECT * FROM news();
UPDATE orders SET state = 'cancelled' WHERE user_id = 5 AND state = 'pending';
CALL tend();
SELECT * FROM news();
-- What is not folded yet goes into the row with a switch, which then tells it.
SELECT count(create_order(5, '[{"sku": "hot", "quantity": 2}]'));
SELECT set_stock_mode('hot', 'row');
SELECT * FROM news();
SELECT set_stock_mode('hot', 'escrow');
UPDATE orders SET state = 'cancelled' WHERE user_id = 5 AND state = 'pending';
CALL tend();
SELECT set_stock_open('hot', false);
SELECT set_stock_open('hot', true);
UPDATE stock SET on_hand = 0 WHERE sku = 'hot';
SELECT * FROM news();

--
-- The trace is the session's; keys may be anything.
--
SET order_engine.traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
SELECT (receive_stock(sku, 1)).on_hand FROM unnest(ARRAY[E'k "\\ ü', '42']) sku;
SELECT aggregateid, payload ->> 'sku' AS sku, headers FROM outbox WHERE headers ? 'traceparent' AND aggregatetype = 'stock' ORDER BY aggregateid;
RESET order_engine.traceparent;
-- A trigger that refuses the event refuses the change.
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'not this one'; END$$;
CREATE TRIGGER refuse BEFORE INSERT ON outbox FOR EACH ROW WHEN (NEW.aggregatetype = 'stock') EXECUTE FUNCTION public.refuse();
SELECT attempt($$SELECT receive_stock('new', 1)$$), available('new');
DROP TRIGGER refuse ON outbox;
SELECT bool_and(well) FROM told;
-- Each SKU is told of its crossings in turn, in the order of its versions (but for the one above).
SELECT sku FROM (SELECT sku, type = lag(type) OVER w AS twice, seq::bigint <= lag(seq::bigint) OVER w AS back
	FROM told WINDOW w AS (PARTITION BY sku ORDER BY id)) t WHERE (twice OR back) AND sku <> 'a';
SET ROLE pg_read_all_data;
SET order_engine.stock_events = off;
