-- Order ids: time, slot, sequence; increasing and never repeated.
SET timezone = 'UTC';
CREATE EXTENSION order_engine;
SELECT order_engine.next_order_id(1);
SET client_min_messages = error;
SELECT order_engine.setup(1);
RESET client_min_messages;

-- The parts of an id are a persistent contract.
SELECT id, p.* FROM (VALUES (0), (1), (4095), (4096), (4194303), (4194304),
	(382370601183322112), (9223372036854775807)) AS v (id), order_engine.order_id_parts(id) AS p;
SELECT order_engine.order_id_parts(-1);
SELECT order_engine.order_id_parts(NULL) IS NULL AS none;

-- An id carries its user's slot and the time of the call.
SELECT bool_and(p.slot = order_engine.slot_of_user(user_id)) AS own_slot,
	bool_and(p.created_at BETWEEN now() - interval '1 ms' AND clock_timestamp() + interval '1.01 s') AS timely
FROM (SELECT u AS user_id, order_engine.next_order_id(u) AS id FROM generate_series(-50, 50) u) i, order_engine.order_id_parts(id) AS p;

-- What is increasing is the id without its slot: the counter.
CREATE TEMP TABLE drawn (n bigserial, id bigint, counter bigint GENERATED ALWAYS AS (((id >> 22) << 12) | (id & 4095)) STORED);
CREATE FUNCTION pg_temp.increasing() RETURNS text LANGUAGE sql AS $$
	SELECT count(*) || CASE WHEN bool_and(counter > before) THEN ' increasing' ELSE ' not increasing' END
	FROM (SELECT counter, lag(counter, 1, 0::bigint) OVER (ORDER BY n) AS before FROM drawn) d
$$;
INSERT INTO drawn (id) SELECT order_engine.next_order_id(u) FROM generate_series(1, 10000) u;
SELECT pg_temp.increasing();

-- A rollback gives nothing back.
BEGIN;
SELECT order_engine.next_order_id(7) AS rolled_back \gset
SAVEPOINT s;
SELECT order_engine.next_order_id(7) > :rolled_back AS later, order_engine.next_order_id(7) AS rolled_back \gset
ROLLBACK TO s;
SELECT order_engine.next_order_id(7) > :rolled_back AS later;
ROLLBACK;
SELECT order_engine.next_order_id(7) > :rolled_back AS later;

-- The clock steps back an hour: ids go on from where they were.
SET order_engine.debug_clock_offset = -3600000;
INSERT INTO drawn (id) SELECT order_engine.next_order_id(u) FROM generate_series(1, 10000) u;
SELECT pg_temp.increasing();
-- It jumps ahead ten seconds and is set right again.
SET order_engine.debug_clock_offset = 10000;
INSERT INTO drawn (id) SELECT order_engine.next_order_id(u) FROM generate_series(1, 10000) u;
RESET order_engine.debug_clock_offset;
INSERT INTO drawn (id) SELECT order_engine.next_order_id(u) FROM generate_series(1, 10000) u;
SELECT pg_temp.increasing();

-- The setting is for tests: hidden, and a superuser's.
SELECT count(*) FROM pg_settings WHERE name = 'order_engine.debug_clock_offset';
-- A misspelt setting is an error.
SET order_engine.no_such_setting = 1;

-- Somebody moves the sequence ahead: ids follow.  Back: ids do not.
SELECT setval('order_engine.order_id_lease', last_value + 40960000) AS ahead FROM order_engine.order_id_lease \gset
SET order_engine.debug_clock_offset = 12000;
INSERT INTO drawn (id) SELECT order_engine.next_order_id(u) FROM generate_series(1, 10000) u;
SELECT pg_temp.increasing(), max(counter) > :ahead AS ahead FROM drawn;

-- What is refused.
SELECT order_engine.next_order_id(NULL);
BEGIN READ ONLY;
SELECT order_engine.next_order_id(1);
ROLLBACK;

-- A user's lastval() is his own.
CREATE TEMP SEQUENCE mine;
SELECT nextval('mine'), nextval('mine');
SET order_engine.debug_clock_offset = 22000;
SELECT count(order_engine.next_order_id(1)) FROM generate_series(1, 10);
SELECT lastval();

-- The right to call is all that a role needs.
CREATE ROLE regress_order_id_app;
GRANT USAGE ON SCHEMA order_engine TO regress_order_id_app;
SET order_engine.debug_clock_offset = 32000;
SET ROLE regress_order_id_app;
SELECT order_engine.next_order_id(1);
RESET ROLE;
GRANT EXECUTE ON FUNCTION order_engine.next_order_id(bigint) TO regress_order_id_app;
SET ROLE regress_order_id_app;
SELECT order_engine.next_order_id(1) > 0 AS given;
SELECT last_value FROM order_engine.order_id_lease;
SET order_engine.debug_clock_offset = 0;
RESET ROLE;
DROP OWNED BY regress_order_id_app;
DROP ROLE regress_order_id_app;

-- Without its sequence the engine gives no ids; back again, it goes on.
INSERT INTO drawn (id) SELECT order_engine.next_order_id(u) FROM generate_series(1, 10) u;
BEGIN;
DROP SEQUENCE order_engine.order_id_lease;
SELECT order_engine.next_order_id(1);
ROLLBACK;
INSERT INTO drawn (id) SELECT order_engine.next_order_id(u) FROM generate_series(1, 10) u;
SELECT pg_temp.increasing();

-- A sequence made in this very transaction, which then rolls back.
BEGIN;
ALTER SEQUENCE order_engine.order_id_lease RENAME TO order_id_lease_before;
CREATE SEQUENCE order_engine.order_id_lease;
SELECT setval('order_engine.order_id_lease', last_value) IS NOT NULL AS set FROM order_engine.order_id_lease_before;
INSERT INTO drawn (id) SELECT order_engine.next_order_id(u) FROM generate_series(1, 100) u;
SELECT pg_temp.increasing();
ROLLBACK;
INSERT INTO drawn (id) SELECT order_engine.next_order_id(u) FROM generate_series(1, 10) u;
SELECT pg_temp.increasing();

-- And which commits: the server goes on from the new one.
BEGIN;
ALTER SEQUENCE order_engine.order_id_lease RENAME TO order_id_lease_before;
CREATE SEQUENCE order_engine.order_id_lease;
SELECT setval('order_engine.order_id_lease', last_value) IS NOT NULL AS set FROM order_engine.order_id_lease_before;
DROP SEQUENCE order_engine.order_id_lease_before;
INSERT INTO drawn (id) SELECT order_engine.next_order_id(u) FROM generate_series(1, 100) u;
COMMIT;
INSERT INTO drawn (id) SELECT order_engine.next_order_id(u) FROM generate_series(1, 10000) u;
SELECT pg_temp.increasing(), max(counter) <= (SELECT last_value FROM order_engine.order_id_lease) AS below_lease FROM drawn;

-- The end of ids is an error.
BEGIN;
ALTER SEQUENCE order_engine.order_id_lease RENAME TO order_id_lease_before;
CREATE SEQUENCE order_engine.order_id_lease;
SELECT setval('order_engine.order_id_lease', (1::bigint << 53) - 2);
SELECT order_engine.next_order_id(0);
SELECT order_engine.next_order_id(0);
ROLLBACK;
