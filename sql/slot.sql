-- The 1024 slots: pinned vectors, and one leaf for one order.
CREATE EXTENSION order_engine;
SET client_min_messages = error;
SELECT order_engine.setup();
RESET client_min_messages;

-- Vectors of an independent implementation.  They never change: ids that
-- customers hold are made of them.
SELECT user_id, order_engine.slot_of_user(user_id) AS slot, order_engine.slot_of_user(user_id) = expected AS ok
FROM (VALUES
	(0, 0), (1, 346), (2, 879), (3, 121), (-1, 723), (-2, 872), (42, 669), (1000, 774),
	(65535, 713), (65536, 826), (123456789, 968), (2147483647, 492), (-2147483648, 662),
	(4294967295, 556), (4294967296, 864), (9007199254740993, 450),
	(9223372036854775807, 361), (-9223372036854775808, 151)) AS v (user_id, expected);

-- The generator of the paper, seeded with 0, gives e220a8397b1dcdaf,
-- 6e789e6aa1b965f4, 06c45d188009454f: the mix of one, two and three steps.
SELECT order_engine.slot_of_user(-7046029254386353131) = x'e220a8397b1dcdaf'::bit(10)::int AS one,
	order_engine.slot_of_user(4354685564936845354) = x'6e789e6aa1b965f4'::bit(10)::int AS two,
	order_engine.slot_of_user(-2691343689449507777) = x'06c45d188009454f'::bit(10)::int AS three;

-- Every slot gets its share of consecutive users.
SELECT count(*) AS slots, min(users) > 50 AS none_starves, max(users) < 150 AS none_bursts
FROM (SELECT count(*) AS users FROM generate_series(1, 102400) u GROUP BY order_engine.slot_of_user(u)) s;

-- The slot stands in bits 12 to 21 of an order id, whatever is around it.
SELECT order_engine.slot_of_order(id)
FROM (VALUES (0), (4095), (4096), (1023 << 12), (1024 << 12), (-1), (9223372036854775807), (-9223372036854775808)) AS v (id);
SELECT order_engine.slot_of_user(NULL), order_engine.slot_of_order(NULL);

-- The operator class is sound.
SELECT opcname, amvalidate(oid) FROM pg_opclass WHERE opcname = 'order_slot_ops';

-- What a plan reads: the leaves that are scanned, and how many were removed
-- when it started.
CREATE FUNCTION leaves_scanned(query text, OUT leaves text, OUT removed int, OUT joins bigint) LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (COSTS OFF, FORMAT JSON) ' || query INTO plan;
	SELECT string_agg(DISTINCT r #>> '{}', ' ' ORDER BY r #>> '{}') INTO leaves
	FROM jsonb_path_query(plan, 'strict $.** ? (@."Node Type" like_regex "Scan$")."Relation Name"') r;
	SELECT sum(r::int) INTO removed FROM jsonb_path_query(plan, 'strict $.** ? (exists (@."Subplans Removed"))."Subplans Removed"') r;
	SELECT count(*) INTO joins FROM jsonb_path_query(plan, 'strict $.** ? (@."Node Type" like_regex "(Join|Loop)$")') r;
END $$;

-- A literal of any integer type is pruned when the statement is planned.
SELECT leaves, removed FROM leaves_scanned('SELECT * FROM order_engine.orders WHERE order_id = 6::bigint << 12');
SELECT leaves, removed FROM leaves_scanned('SELECT * FROM order_engine.orders WHERE order_id = 24576');
SELECT leaves, removed FROM leaves_scanned('SELECT * FROM order_engine.orders WHERE 24576 = order_id');
SELECT leaves, removed FROM leaves_scanned('SELECT * FROM order_engine.orders WHERE order_id = 24576::smallint');
SELECT leaves, removed FROM leaves_scanned('SELECT * FROM order_engine.orders WHERE order_id = 382370601183322112');
SELECT leaves, removed FROM leaves_scanned('SELECT * FROM order_engine.orders WHERE order_id IN (4096, 8192::smallint, 382370601183322112)');
SELECT leaves, removed FROM leaves_scanned('UPDATE order_engine.orders SET state = state WHERE order_id = 24576');
SELECT leaves, removed FROM leaves_scanned('DELETE FROM order_engine.order_line WHERE order_id = 24576::smallint');
SELECT leaves, removed FROM leaves_scanned('SELECT * FROM order_engine.orders o JOIN order_engine.order_line l USING (order_id) JOIN order_engine.payment USING (order_id) WHERE o.order_id = 24576');

-- A parameter is pruned when the plan starts.
SET plan_cache_mode = force_generic_plan;
PREPARE by_bigint (bigint) AS SELECT * FROM order_engine.orders WHERE order_id = $1;
PREPARE by_int (int) AS SELECT * FROM order_engine.orders WHERE order_id = $1;
PREPARE by_smallint (smallint) AS SELECT * FROM order_engine.orders WHERE order_id = $1;
PREPARE change (bigint) AS UPDATE order_engine.orders SET state = state WHERE order_id = $1;
SELECT leaves, removed FROM leaves_scanned('EXECUTE by_bigint (382370601183322112)');
SELECT leaves, removed FROM leaves_scanned('EXECUTE by_int (24576)');
SELECT leaves, removed FROM leaves_scanned('EXECUTE by_smallint (24576)');
SELECT leaves, removed FROM leaves_scanned('EXECUTE change (24576)');
DEALLOCATE ALL;
RESET plan_cache_mode;

-- Joins go leaf by leaf.
SET enable_partitionwise_join = on;
SELECT joins FROM leaves_scanned('SELECT * FROM order_engine.orders JOIN order_engine.order_line USING (order_id)');
RESET enable_partitionwise_join;

-- Leaf = slot mod partitions, for all slots and all order tables.
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO order_engine.orders (order_id, user_id, state, machine_id, version, created_at, updated_at)
SELECT slot::bigint << 12 | 4194304::bigint * slot * slot | slot % 7, slot, 'completed', 1, 1, now(), now()
FROM generate_series(0, 1023) slot;
INSERT INTO order_engine.order_line (order_id, line_no, sku, quantity, unit_price)
SELECT order_id, 1, 'A-1', 1, 1 FROM order_engine.orders WHERE state = 'completed' AND order_id < 4398046511104;
SET LOCAL session_replication_role = origin;
SELECT count(*), bool_and(tableoid = format('order_engine.orders_%s', order_engine.slot_of_order(order_id) % 16)::regclass) AS placed
FROM order_engine.orders WHERE order_id < 4398046511104;
SELECT count(*), bool_and(tableoid = format('order_engine.order_line_%s', order_engine.slot_of_order(order_id) % 16)::regclass) AS placed
FROM order_engine.order_line WHERE order_id < 4398046511104;
SELECT user_id FROM order_engine.orders WHERE order_id = 8192 | 4194304 * 4 | 2;

-- A user's own table may refer to an order.
CREATE TABLE gift_note (order_id bigint PRIMARY KEY REFERENCES order_engine.orders (order_id), note text);
INSERT INTO gift_note SELECT order_id, 'with love' FROM order_engine.orders WHERE order_id < 4398046511104;
SELECT count(*) FROM gift_note;
SAVEPOINT refused;
INSERT INTO gift_note VALUES (7, 'to nobody');
ROLLBACK TO refused;
SELECT joins FROM leaves_scanned('SELECT * FROM gift_note g JOIN order_engine.orders o USING (order_id) WHERE g.order_id = 24576');
ROLLBACK;
DROP FUNCTION leaves_scanned;

-- Users who are no numbers: the first 63 bits of SHA-256, as any client can compute them.
SELECT name, order_engine.user_id_of(name), order_engine.user_id_of(name) = (('x' || substr(encode(sha256(convert_to(name, 'UTF8')), 'hex'), 1, 16))::bit(64)::bigint >> 1 & 9223372036854775807) AS as_documented
FROM unnest(ARRAY['6f1c8e6e-0d5b-4f0a-9d0e-2f7a3c1b5d90', '6F1C8E6E-0D5B-4F0A-9D0E-2F7A3C1B5D90', 'ada@example.com', 'Zoë', ' ', '1', E'\t', U&'\+01F600', repeat('x', 100000)]) AS name WHERE length(name) < 1000
UNION ALL SELECT 'long', order_engine.user_id_of(repeat('x', 1000000)), NULL;
SELECT order_engine.user_id_of(NULL) IS NULL AS null_for_null;
SELECT order_engine.user_id_of('');
SELECT count(DISTINCT order_engine.user_id_of(n::text)) AS users, count(DISTINCT order_engine.slot_of_user(order_engine.user_id_of(n::text))) AS slots,
	min(order_engine.user_id_of(n::text)) > 0 AS positive FROM generate_series(1, 20000) n;

-- What has a text and no user, a reservation by its id: vectors of an independent implementation, which never change.
SELECT left(value, 40) AS value, order_engine.slot_of_text(value) AS slot, order_engine.slot_of_text(value) = expected AS ok
FROM (VALUES ('cart-1', 455), ('cart-2', 661), ('', 759), ('6f1c8e6e-0d5b-4f0a-9d0e-2f7a3c1b5d90', 541), ('Zoë', 995), (' ', 703),
	(U&'\+01F600', 653), (repeat('x', 255), 552)) AS v (value, expected);
SELECT bool_and(order_engine.slot_of_text(n::text) = order_engine.slot_of_user(order_engine.user_id_of(n::text))) AS lies_with_that_user,
	count(DISTINCT order_engine.slot_of_text(n::text)) AS slots FROM generate_series(1, 20000) n;
SELECT order_engine.slot_of_text(NULL) IS NULL AS null_for_null;
