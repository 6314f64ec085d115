# Every committed event is in exactly one batch, and the events of one key come in the
# order in which they were committed, whatever the transactions do: 32 clients commit out
# of the order of their ids, roll back to savepoints and altogether, prepare transactions
# and commit them later, while one transaction stays open for the whole run and the journal
# rotates.  Then the server is killed right after ticks: what a tick sees is durable with it.
use strict;
use warnings;

use IPC::Run ();
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 32;
my $seconds = $ENV{ORDER_ENGINE_LONG} ? 120 : 12;
my $crashes = $ENV{ORDER_ENGINE_LONG} ? 50 : 5;

# Nothing is flushed by anybody but the tick: what it does not flush, a crash loses.
my $node = OrderEngine::new_shop('main', databases => '', conf => <<'EOF');
synchronous_commit = off
wal_writer_delay = 10s
wal_writer_flush_after = 1GB
max_connections = 60
max_prepared_transactions = 60
autovacuum = off
log_lock_waits = on
deadlock_timeout = 5ms
order_engine.journal_rotate_size = '256kB'
EOF

# aggregate: what an event is about; its row lock is what gives its events an order.
# ledger: what was emitted, kept by the very transaction that emits.
# consumed: what came out of the batches, in that order.
$node->safe_psql('shop', <<'EOF');
CREATE TABLE aggregate (id int PRIMARY KEY, seq int NOT NULL) WITH (fillfactor = 20);
INSERT INTO aggregate SELECT g, 0 FROM generate_series(0, 99) g;
CREATE TABLE ledger (event_id bigint, aggregate int, seq int);
CREATE TABLE consumed (batch bigint, place bigint, event_id bigint);
CREATE TABLE rotated (emptied int);

CREATE FUNCTION put(aggregate_id int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	next int;
BEGIN
	UPDATE aggregate SET seq = seq + 1 WHERE id = aggregate_id RETURNING seq INTO next;
	INSERT INTO ledger VALUES (order_engine.emit('put', aggregate_id::text, 'put.done', to_json(next)), aggregate_id, next);
END
$$;

-- By hand, without the engine's function.
CREATE FUNCTION put_raw(aggregate_id int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	next int;
	event bigint;
BEGIN
	UPDATE aggregate SET seq = seq + 1 WHERE id = aggregate_id RETURNING seq INTO next;
	INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type, payload)
	VALUES ('put', aggregate_id::text, 'put.done', to_json(next)) RETURNING id INTO event;
	INSERT INTO ledger VALUES (event, aggregate_id, next);
END
$$;

-- One turn of a consumer, which acknowledges in two steps.
CREATE PROCEDURE consume() LANGUAGE plpgsql AS $$
DECLARE
	next bigint := order_engine.journal_tick('outbox');
	middle bigint;
BEGIN
	IF next IS NULL THEN
		RETURN;
	END IF;
	COMMIT;
	INSERT INTO consumed SELECT next, place, id FROM order_engine.journal_batch('outbox', next) WITH ORDINALITY AS t (id, place);
	SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY event_id) INTO middle FROM consumed WHERE batch = next;
	PERFORM order_engine.journal_acknowledge('outbox', next, middle);
	COMMIT;
	PERFORM order_engine.journal_acknowledge('outbox', next);
END
$$;
EOF

my $dir = PostgreSQL::Test::Utils::tempdir();

# Aggregates in ascending order, so that nobody deadlocks.
append_to_file("$dir/mixed.sql", <<'EOF');
\set a random(0, 16)
\set b random(17, 33)
\set c random(34, 49)
\set pause random(0, 3000)
\set kind random(1, 10)
BEGIN;
\if :kind <= 2
-- the transaction id is older than the events
SELECT pg_current_xact_id();
\sleep :pause us
\endif
SELECT put(:a);
\if :kind = 3
SAVEPOINT s;
SELECT put(:b);
ROLLBACK TO s;
SELECT put(:c);
\elif :kind = 4
SAVEPOINT s;
SELECT put_raw(:b);
RELEASE s;
SELECT put(:c);
\elif :kind = 5
SELECT put_raw(:b);
\endif
\sleep :pause us
\if :kind = 6
ROLLBACK;
\elif :kind = 7
PREPARE TRANSACTION 'client:client_id';
\sleep :pause us
COMMIT PREPARED 'client:client_id';
\else
COMMIT;
\endif
EOF

append_to_file("$dir/consumer.sql", <<'EOF');
CALL consume();
INSERT INTO rotated SELECT order_engine.journal_rotate('outbox');
\sleep 3 ms
EOF

sub value
{
	return $node->safe_psql('shop', $_[0]);
}

sub start_bench
{
	my ($script, $n) = @_;
	return IPC::Run::start(
		[ 'pgbench', '-n', '-c', $n, '-j', 2, '-T', $seconds, '-f', "$dir/$script", $node->connstr('shop') ],
		'<', \undef, '>', "$dir/$script.out", '2>', "$dir/$script.err");
}

sub finish_bench
{
	my ($bench, $script) = @_;
	ok(IPC::Run::finish($bench), "$script went through") or diag(slurp_file("$dir/$script.err"));
	return;
}

# ---- 32 clients, one consumer ----

my $open = $node->background_psql('shop');
$open->query_safe('BEGIN');
$open->query_safe('SELECT put(90)');
value("BEGIN; SELECT put(91); SELECT put(92); PREPARE TRANSACTION 'later'");

my $writers = start_bench('mixed.sql', $clients);
my $consumer = start_bench('consumer.sql', 1);
finish_bench($writers, 'mixed.sql');
finish_bench($consumer, 'consumer.sql');

cmp_ok(value('SELECT count(*) FROM ledger'), '>', 50 * $seconds, 'many events were committed');
cmp_ok(value('SELECT count(DISTINCT batch) FROM consumed'), '>', 10 * $seconds, '... and read in many batches');
cmp_ok(value('SELECT sum(emptied) FROM rotated'),
	'>', 0, 'leaves were emptied, though a transaction is open and another one prepared since before');
is(value("SELECT count(*) FROM pg_stat_user_tables WHERE relname ~ '^(outbox|journal)' AND n_tup_upd + n_tup_del > 0"),
	0, 'no row of the journal was updated or deleted');

unlike(slurp_file($node->logfile), qr/still waiting for RowExclusiveLock on relation/, 'no writer waited for a rotation');

$open->query_safe('SELECT put(93)');
$open->query_safe('COMMIT');
$open->quit;
value("COMMIT PREPARED 'later'");
value('CALL consume()') for 1 .. 2;
is(value('SELECT string_agg(aggregate::text, \' \' ORDER BY batch, place) FROM consumed JOIN ledger USING (event_id) WHERE aggregate >= 90'),
	'90 91 92 93', 'what was open and prepared all the time came when it was committed');

is(value('SELECT count(*) FROM (SELECT event_id FROM ledger EXCEPT ALL SELECT event_id FROM consumed) x'),
	0, 'no committed event is missing');
is(value('SELECT count(*) FROM (SELECT event_id FROM consumed EXCEPT ALL SELECT event_id FROM ledger) x'),
	0, 'none came twice, and none that was not committed');
is(value(<<'EOF'), 0, 'the events of one key came in the order of their commits');
SELECT count(*) FROM (
	SELECT seq, lag(seq, 1, 0) OVER (PARTITION BY aggregate ORDER BY batch, place) AS before
	FROM consumed JOIN ledger USING (event_id)) x
WHERE seq <> before + 1
EOF
cmp_ok(value(<<'EOF'), '>', 0, 'ids were committed out of their order');
SELECT count(*) FROM (
	SELECT event_id, max(event_id) OVER (ORDER BY batch, place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
	FROM consumed) x
WHERE event_id < before
EOF

# With everybody gone, all but the present leaf can be emptied; none was dropped.
value("SELECT order_engine.journal_rotate('outbox') FROM generate_series(1, 3)");
cmp_ok(value("SELECT count(DISTINCT tableoid) FROM order_engine.outbox"), '<=', 1, 'one leaf at most has rows in the end');

# ---- killed right after a tick ----

# What the consumer got must exist after the crash, and the same batch must come again.
# Nobody else is at work: whoever flushes WAL flushes all of it.
for my $round (1 .. $crashes)
{
	my @processes = OrderEngine::processes($node);
	value('SELECT put(g) FROM generate_series(0, 19) g');
	my $batch = value("SELECT order_engine.journal_tick('outbox')");
	my $before = value("SELECT string_agg(id::text, ' ') FROM order_engine.journal_batch('outbox', $batch) id");
	OrderEngine::crash($node, @processes);
	my $after = value("SELECT string_agg(id::text, ' ') FROM order_engine.journal_batch('outbox', $batch) id");
	is(scalar(split / /, $before), 20, "crash $round: a batch was read");
	is($after, $before, "crash $round: batch $batch is exactly the same again");
	is(value("SELECT count(*) FROM unnest(string_to_array('$before', ' ')::bigint[]) id WHERE id NOT IN (SELECT event_id FROM ledger)"),
		0, "crash $round: what was read was durable");
	value("SELECT order_engine.journal_acknowledge('outbox', $batch)");
}

$node->stop;
done_testing();
