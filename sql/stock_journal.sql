-- The journal behind stock in mode escrow: what is not folded yet, and the fold.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql
\i `echo "$PG_ABS_SRCDIR"`/test/lib/escrow.sql

SELECT escrow(sku, 100, 7) FROM unnest('{a,b,c}'::text[]) sku \g /dev/null

-- ---- not folded ----

SELECT change('a', 0, 5), change('a', 0, 2), change('b', 10, 0) \g /dev/null
SELECT * FROM stock_journal_unfolded() ORDER BY sku, reserved;
SELECT * FROM stock_journal_unfolded('a') ORDER BY reserved;
SELECT count(*) FROM stock_journal_unfolded('nobody');
SELECT * FROM stock_by_escrow ORDER BY sku;
-- What was rolled back is nothing; what this transaction has changed is there for it at once.
BEGIN;
SELECT change('a', 0, 50) \g /dev/null
SAVEPOINT s;
SELECT change('a', 0, 20) \g /dev/null
SELECT on_hand, reserved, unfolded FROM stock_by_escrow WHERE sku = 'a';
ROLLBACK TO s;
SELECT on_hand, reserved, unfolded FROM stock_by_escrow WHERE sku = 'a';
ROLLBACK;
SELECT on_hand, reserved, unfolded FROM stock_by_escrow WHERE sku = 'a';
-- In a parallel worker, too.
CREATE TABLE public.some AS SELECT 'a'::text AS sku FROM generate_series(1, 10);
ALTER TABLE public.some SET (parallel_workers = 2);
ANALYZE public.some;
BEGIN;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL parallel_leader_participation = off;
CREATE FUNCTION public.reserved_in_journal(of_sku text) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE COST 100000
	AS 'SELECT sum(reserved)::bigint FROM order_engine.stock_journal_unfolded(of_sku)';
EXPLAIN (COSTS OFF) SELECT max(reserved_in_journal(sku)) FROM public.some;
SELECT max(reserved_in_journal(sku)) FROM public.some;
COMMIT;

-- ---- folded ----

CALL tend();
SELECT sku, on_hand, reserved, version FROM stock ORDER BY sku;
SELECT * FROM stock_by_escrow ORDER BY sku;
-- Nothing to do: no position, no new version.
SELECT max(entry) AS entry FROM journal_position WHERE journal = 'stock_journal' \gset
CALL tend();
SELECT max(entry) = :entry AS nothing FROM journal_position WHERE journal = 'stock_journal';
SELECT version FROM stock WHERE sku = 'a';
-- Inside a transaction block nothing is folded.
SELECT change('c', -1, 0) \g /dev/null
BEGIN;
CALL tend();
COMMIT;
SELECT on_hand FROM stock WHERE sku = 'c';
SET default_transaction_isolation = 'serializable';
CALL tend();
RESET default_transaction_isolation;
SELECT on_hand FROM stock WHERE sku = 'c';
-- Changes of another epoch are of no row any more, nor are those of a row that is gone.
SELECT change('a', 1000, 0, 6), change('gone', 1000, 0, 7) \g /dev/null
SELECT on_hand, unfolded FROM stock_by_escrow WHERE sku = 'a';
CALL tend();
SELECT on_hand, version FROM stock WHERE sku = 'a';
SELECT count(*) FROM stock_journal_unfolded();
-- A new epoch beside an old one.
SELECT change('b', 1, 0) \g /dev/null
SELECT escrow('b', 50, 8) \g /dev/null
SELECT change('b', 2, 0), change('b', 4, 1) \g /dev/null
CALL tend();
SELECT on_hand, reserved FROM stock WHERE sku = 'b';

-- ---- a tick that somebody has left there ----

SELECT change('a', 0, 1) \g /dev/null
SELECT journal_tick('stock_journal');
SELECT change('a', 0, 2) \g /dev/null
SELECT reserved, unfolded FROM stock_by_escrow WHERE sku = 'a';
-- It is finished, once, and what came later comes then.
CALL tend();
SELECT reserved FROM stock WHERE sku = 'a';
SELECT reserved, unfolded FROM stock_by_escrow WHERE sku = 'a';
CALL tend();
SELECT reserved FROM stock WHERE sku = 'a';
-- What the tick's own transaction appends after it is left to the next.
BEGIN;
SELECT change('a', 0, 4) \g /dev/null
SELECT journal_tick('stock_journal');
COMMIT;
BEGIN;
SELECT change('a', 0, 8) \g /dev/null
SELECT journal_tick('stock_journal');
SELECT change('a', 0, 16) \g /dev/null
COMMIT;
SELECT reserved FROM stock_by_escrow WHERE sku = 'a';
CALL tend();
CALL tend();
SELECT reserved, unfolded FROM stock_by_escrow WHERE sku = 'a';
SELECT reserved FROM stock WHERE sku = 'a';

-- ---- who else must not consume it ----

\set VERBOSITY terse
SELECT journal_acknowledge('stock_journal', 1);
SELECT journal_expire('stock_journal', 0);
\set VERBOSITY default

-- ---- a trigger that raises ----

CREATE FUNCTION public.stubborn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF new.sku = 'a' AND new.reserved <> old.reserved THEN
		RAISE 'not this one';
	END IF;
	RETURN new;
END $$;
CREATE TRIGGER stubborn AFTER UPDATE ON stock FOR EACH ROW EXECUTE FUNCTION public.stubborn();
SELECT change('a', 0, 1), change('a', 0, 1), change('c', -1, 0) \g /dev/null
CALL tend();
-- It is the trouble of its SKU alone, whose changes count all the same, in one row now.
SELECT sku, on_hand, reserved FROM stock ORDER BY sku;
SELECT * FROM stock_by_escrow ORDER BY sku;
DROP TRIGGER stubborn ON stock;
-- Deferred to the commit it would be the trouble of all.
CREATE CONSTRAINT TRIGGER stubborn AFTER UPDATE ON stock DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.stubborn();
\connect -
SET search_path = order_engine, public;
SELECT change('c', -1, 0) \g /dev/null
CALL tend();
SELECT sku, on_hand, reserved FROM stock ORDER BY sku;
DROP TRIGGER stubborn ON stock;
-- One that changes what is the engine's.
CREATE FUNCTION public.generous() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	new.on_hand := new.on_hand + 1;
	RETURN new;
END $$;
CREATE TRIGGER generous BEFORE UPDATE ON stock FOR EACH ROW EXECUTE FUNCTION public.generous();
\connect -
SET search_path = order_engine, public;
SELECT change('c', -1, 0) \g /dev/null
CALL tend();
SELECT on_hand FROM stock WHERE sku = 'c';
DROP TRIGGER generous ON stock;
\connect -
SET search_path = order_engine, public;
CALL tend();
SELECT * FROM stock_by_escrow ORDER BY sku;

-- ---- rotation ----

-- Nothing is lost, whichever leaf it is in, and each journal keeps its own position.
SET order_engine.journal_rotate_size = '8kB';
SELECT emit('note', 'n', 'note.written', '1') \g /dev/null
SELECT journal_tick('outbox') AS batch \gset
CREATE FUNCTION public.leaves(journal text) RETURNS bigint LANGUAGE sql AS
	$$ SELECT count(*) FROM pg_partition_tree('order_engine.' || journal) WHERE isleaf AND pg_relation_size(relid) > 0 $$;
CREATE PROCEDURE public.sell(rounds int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. rounds LOOP
		PERFORM change('c', 1, 1) FROM generate_series(1, 10);
		COMMIT;
		CALL order_engine.tend();
	END LOOP;
END $$;
CALL public.sell(100);
SELECT on_hand, reserved, unfolded FROM stock_by_escrow WHERE sku = 'c';
SELECT public.leaves('stock_journal') <= 2 AS emptied;
-- Until its positions have gone to their other leaf.
CREATE PROCEDURE public.sell_until(ring int) LANGUAGE plpgsql AS $$
BEGIN
	WHILE (SELECT p.ring FROM order_engine.journal_position p WHERE journal = 'stock_journal' ORDER BY entry DESC LIMIT 1) <> sell_until.ring LOOP
		CALL public.sell(100);
	END LOOP;
END $$;
CALL public.sell_until(3);
SELECT on_hand - reserved, unfolded FROM stock_by_escrow WHERE sku = 'c';
SELECT journal, min(ring) >= 2 AS own_leaves FROM journal_position GROUP BY journal ORDER BY journal;
-- The outbox goes on where it was.
SELECT count(*) FROM journal_batch('outbox', :batch);
SELECT journal_acknowledge('outbox', :batch) \g /dev/null

-- What is summed halfway may be beyond bigint, as changes come in no order; what they come to is not.
SELECT public.escrow('much', 9, 99), public.change('much', 9223372036854775807, 1), public.change('much', 9223372036854775807, 1) \g /dev/null
SELECT public.change('much', -9223372036854775807, -1), public.change('much', -9223372036854775807, -1) \g /dev/null
SELECT n.on_hand, n.reserved, n.available, available('much') FROM stock_now n WHERE sku = 'much';
CALL tend();
SELECT on_hand, reserved FROM stock WHERE sku = 'much';

-- ---- not whole, as in the middle of a restore ----

SET allow_system_table_mods = on;
SELECT change('a', 0, 1) \g /dev/null
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'stock_journal_xid'::regclass;
\set VERBOSITY terse
CALL tend();
UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'stock_journal_xid'::regclass;
-- The outbox is not different, though it has a position already.
SELECT emit('note', 'n', 'note.written', '1') \g /dev/null
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'outbox_xid'::regclass;
SELECT journal_tick('outbox');
\set VERBOSITY default
UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'outbox_xid'::regclass;
RESET allow_system_table_mods;
CALL tend();
SELECT reserved, unfolded FROM stock_by_escrow WHERE sku = 'a';

SET client_min_messages = warning;
DROP EXTENSION order_engine CASCADE;
