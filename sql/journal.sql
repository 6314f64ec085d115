-- The journal behind the outbox: ticks, batches, positions, rotation.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql

CREATE FUNCTION public.note(id text) RETURNS void LANGUAGE sql AS $$ SELECT order_engine.emit('note', id, 'note.written', '1') $$;
-- The batch by the names of its events, in the order in which they come.
CREATE FUNCTION public.batch(n bigint, after_id bigint DEFAULT 0) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(o.aggregateid, ' ' ORDER BY b.place)
	FROM order_engine.journal_batch('outbox', n, after_id) WITH ORDINALITY AS b (id, place) JOIN order_engine.outbox o USING (id)
$$;
CREATE FUNCTION public.leaves() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(CASE WHEN pg_relation_size(relid) = 0 THEN 'empty' ELSE 'rows' END, ' ' ORDER BY relid)
	FROM pg_partition_tree('order_engine.outbox') WHERE isleaf
$$;

-- ---- ticks and batches ----

-- Not before the tables are whole: in a restore, the outbox's index is valid when all of its leaves are.
SET allow_system_table_mods = on;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'outbox_xid'::regclass;
\set VERBOSITY terse
SELECT journal_tick('outbox');
\set VERBOSITY default
UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'outbox_xid'::regclass;
RESET allow_system_table_mods;
-- Nothing to read, no tick.
SELECT journal_tick('outbox');
SELECT count(*) FROM journal_position WHERE batch > 0;
SELECT note('a'), note('b');
SELECT journal_tick('outbox');
SELECT batch(1);
-- What is not acknowledged stays: no further tick, the same rows again.
SELECT note('c');
SELECT journal_tick('outbox');
SELECT batch(1);
SELECT journal_acknowledge('outbox', 1, id) FROM outbox WHERE aggregateid = 'a';
SELECT journal_tick('outbox');
-- A consumer that starts again goes on after the last one acknowledged.
SELECT batch(1, last_id) FROM journal_position ORDER BY entry DESC LIMIT 1;
SELECT journal_acknowledge('outbox', 1);
SELECT journal_tick('outbox');
SELECT batch(2);
-- ... and batch 1 is still what it was.
SELECT batch(1);
SELECT journal_acknowledge('outbox', 2);
-- What was rolled back is in no batch, not a savepoint's rows either; the rest comes in the order of ids.
BEGIN;
SELECT note('d');
SAVEPOINT s;
SELECT note('never');
ROLLBACK TO s;
SELECT note('e');
SAVEPOINT s;
SELECT note('f');
RELEASE s;
COMMIT;
BEGIN;
SELECT note('never');
ROLLBACK;
SELECT journal_tick('outbox');
SELECT batch(3);
SELECT journal_acknowledge('outbox', 3);
-- Only garbage: nothing to read.
BEGIN;
SELECT count(note(g::text)) FROM generate_series(1, 10) g;
ROLLBACK;
SELECT journal_tick('outbox');
-- A prepared transaction is in the batch after its commit, by however many ticks later.
BEGIN;
SELECT note('prepared');
PREPARE TRANSACTION 'journal';
SELECT note('g');
SELECT journal_tick('outbox');
SELECT batch(4);
SELECT journal_acknowledge('outbox', 4);
SELECT note('h');
SELECT journal_tick('outbox');
SELECT batch(5);
SELECT journal_acknowledge('outbox', 5);
COMMIT PREPARED 'journal';
SELECT journal_tick('outbox');
SELECT batch(6);
SELECT batch(5), batch(4);
-- What the tick's own transaction wrote before it is left to the next tick.
SELECT journal_acknowledge('outbox', 6);
BEGIN;
SELECT note('own');
SELECT journal_tick('outbox');
COMMIT;
SELECT journal_tick('outbox');
SELECT batch(7);
-- A snapshot as old as the transaction is no excuse: positions are read with a fresh one.
SELECT journal_acknowledge('outbox', 7);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM journal_position WHERE batch = 8;
SELECT note('i');
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT journal_tick('outbox');
SELECT batch(8);
COMMIT;

-- ---- what a consumer must not do ----

\set VERBOSITY sqlstate
SELECT journal_tick('inbox');
SELECT journal_tick(NULL);
SELECT journal_acknowledge('outbox', 7);
SELECT journal_acknowledge('outbox', 9);
SELECT * FROM journal_batch('outbox', 99);
SELECT * FROM journal_batch('outbox', -1);
SELECT journal_expire('outbox', -1);
BEGIN READ ONLY;
SELECT journal_acknowledge('outbox', 8);
ROLLBACK;
\set VERBOSITY default
-- Backwards it does not go.
SELECT journal_acknowledge('outbox', 8);
SELECT journal_acknowledge('outbox', 8, 1);
SELECT batch, last_id FROM journal_position ORDER BY entry DESC LIMIT 1;

-- ---- rotation ----

SET order_engine.journal_rotate_size = '8kB';
SELECT leaves();
-- Full: writers go on in the next leaf, the first one is emptied.
SELECT journal_rotate('outbox'), leaves();
SELECT note('j');
SELECT leaves();
-- Not consumed: not emptied, though it is full; the third leaf takes over, then a new one is made.
SELECT journal_rotate('outbox'), note('k'), leaves();
SELECT journal_rotate('outbox'), note('l'), leaves();
SELECT journal_rotate('outbox'), leaves();
SELECT journal_rotate('outbox'), note('m'), leaves();
-- The new leaf is like the others: it refuses direct writes, is indexed, read.
SELECT tableoid::regclass FROM outbox WHERE aggregateid = 'm';
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid IN ('outbox_2'::regclass, 'outbox_3'::regclass) ORDER BY tgname, 1;
SELECT relname, reloptions, (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid) AS indexes FROM pg_class c WHERE relname IN ('outbox_2', 'outbox_3') ORDER BY 1;
\set VERBOSITY sqlstate
TRUNCATE outbox_3;
DELETE FROM outbox_3;
\set VERBOSITY default
SELECT journal_tick('outbox');
SELECT batch(9);
-- Part of the batch is acknowledged: still nothing goes.
SELECT journal_acknowledge('outbox', 9, id) FROM outbox WHERE aggregateid = 'l';
SELECT journal_rotate('outbox') AS emptied;
SELECT journal_acknowledge('outbox', 9);
SELECT journal_rotate('outbox') AS emptied;
SELECT aggregateid FROM outbox ORDER BY id;
SELECT journal_rotate('outbox') AS emptied, leaves();
SELECT journal_tick('outbox');
-- Full again without end: no leaf is added while one is empty.
SELECT count(*) FROM pg_partition_tree('outbox') WHERE isleaf;
-- No row was ever updated or deleted.
SELECT sum(n_tup_upd) AS updated, sum(n_tup_del) AS deleted FROM pg_stat_xact_user_tables WHERE relname LIKE 'outbox%' OR relname LIKE 'journal%';
-- Rolled back, a rotation has not been.
SELECT note('n');
SELECT journal_tick('outbox');
SELECT journal_acknowledge('outbox', 10);
BEGIN;
SELECT journal_rotate('outbox') AS emptied;
SELECT journal_rotate('outbox') AS emptied;
ROLLBACK;
SELECT count(*) FROM outbox;
SELECT journal_rotate('outbox') AS emptied;
-- A row that is only garbage does not hold a leaf.
BEGIN;
SELECT note('never');
ROLLBACK;
SELECT journal_rotate('outbox') + journal_rotate('outbox') + journal_rotate('outbox') > 0 AS emptied;

-- ---- positions rotate too ----

DO $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM order_engine.journal_position_1) LOOP
		FOR i IN 1 .. 200 LOOP
			PERFORM note('p');
			COMMIT;
			PERFORM order_engine.journal_acknowledge('outbox', order_engine.journal_tick('outbox'));
			COMMIT;
		END LOOP;
		PERFORM order_engine.journal_rotate('outbox');
		COMMIT;
	END LOOP;
END
$$;
SELECT journal_rotate('outbox') >= 0 AS rotated;
SELECT count(*) FROM journal_position_0;
-- What counts was carried over.
SELECT note('q');
SELECT batch(journal_tick('outbox'));

-- ---- without a consumer ----

SELECT journal_acknowledge('outbox', max(batch)) FROM journal_position;
SELECT note('r');
-- First what is there now is marked, later it counts as consumed.
SELECT journal_expire('outbox', 3600000);
SELECT note('s');
SELECT journal_expire('outbox', 3600000);
SELECT journal_expire('outbox', 9223372036854775807);
SELECT journal_rotate('outbox') >= 0 AND journal_rotate('outbox') >= 0 AS rotated;
SELECT count(*) FROM outbox WHERE aggregateid IN ('r', 's');
SELECT journal_expire('outbox', 0);
SELECT batch(max(batch)) FROM journal_position;
-- A tick of the future (the clock was set back) is as good as a new one, and no better.
SET session_replication_role = replica;
UPDATE journal_position SET tick_at = now() + interval '1 day';
RESET session_replication_role;
SELECT note('t');
SELECT journal_expire('outbox', 3600000);
SELECT tick_at <= clock_timestamp() AS of_today, last_id FROM journal_position ORDER BY entry DESC LIMIT 1;
SELECT journal_expire('outbox', 0);
SELECT batch(max(batch)) FROM journal_position;

-- ---- while positions cannot be emptied ----

-- Nobody rotates: the leaf is twice as large as a full one.
CREATE PROCEDURE public.tick_until_large(INOUT leaf regclass DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
	batch bigint;
BEGIN
	SELECT tableoid INTO leaf FROM order_engine.journal_position ORDER BY entry DESC LIMIT 1;
	WHILE pg_relation_size(leaf) < 2 * 512 * 1024 LOOP
		PERFORM note('u');
		COMMIT;
		batch := order_engine.journal_tick('outbox');
		COMMIT;
		PERFORM order_engine.journal_acknowledge('outbox', batch) WHERE batch IS NOT NULL;
	END LOOP;
END
$$;
SELECT journal_acknowledge('outbox', max(batch)) FROM journal_position;
CALL public.tick_until_large();
-- Ticks come more rarely then, however fast they are asked for, but they come, with all that was committed meanwhile.
CREATE PROCEDURE public.count_ticks(INOUT ticks int DEFAULT 0, INOUT events int DEFAULT 0, INOUT rare boolean DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
	started timestamptz := clock_timestamp();
	batch bigint;
BEGIN
	WHILE ticks < 20 OR batch IS NULL LOOP
		PERFORM note('v');
		COMMIT;
		events := events + 1;
		batch := order_engine.journal_tick('outbox');
		COMMIT;
		IF batch IS NOT NULL THEN
			ticks := ticks + 1;
			events := events - (SELECT count(*) FROM order_engine.journal_batch('outbox', batch));
			PERFORM order_engine.journal_acknowledge('outbox', batch);
		END IF;
	END LOOP;
	rare := ticks <= 1 + extract(epoch FROM clock_timestamp() - started) * 1000 / 25;
END
$$;
CALL public.count_ticks();

SET client_min_messages = warning;
DROP EXTENSION order_engine CASCADE;
