# A snapshot held for long keeps the table of positions from being emptied: then the relay
# takes fewer batches, with more events in each.  It delays no event by more than the moment
# between two batches, though nothing wakes it for what came meanwhile.
use strict;
use warnings;

use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = OrderEngine::new_shop('main', publisher => 'log', databases => '', conf => <<'EOF');
autovacuum = off
order_engine.journal_rotate_size = '64kB'
order_engine.worker_idle_timeout = 1h
EOF
my $sql = sub { return $node->safe_psql('shop', $_[0]) };

# One of the two tables full, and ten times as many positions in the other.
$sql->(<<'EOF');
CREATE PROCEDURE fill(leaf regclass, size int) LANGUAGE plpgsql AS $$
DECLARE
	batch bigint;
BEGIN
	WHILE pg_relation_size(leaf) < size LOOP
		PERFORM order_engine.emit('note', 'filler', 'note.written', '1');
		COMMIT;
		batch := order_engine.journal_tick('outbox');
		COMMIT;
		FOR id IN 1 .. 200 LOOP
			PERFORM order_engine.journal_acknowledge('outbox', batch, id) WHERE batch IS NOT NULL;
		END LOOP;
		PERFORM order_engine.journal_acknowledge('outbox', batch) WHERE batch IS NOT NULL;
	END LOOP;
END
$$;
CALL fill('order_engine.journal_position_0', 512 * 1024);
EOF

my $report = $node->background_psql('shop');
$sql->("SELECT order_engine.journal_rotate('outbox')");
$sql->("CALL fill('order_engine.journal_position_1', 10 * 512 * 1024)");
$report->query_safe($_) foreach 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT count(*) FROM order_engine.journal_position';
$sql->("ALTER SYSTEM SET order_engine.databases = 'shop'; SELECT pg_reload_conf()");
$node->poll_query_until('shop', "SELECT state = 'running' FROM order_engine.relay_status") or BAIL_OUT('no relay');
OrderEngine::wait_relayed($node);

# The last of a burst is committed while the next batch has to wait.
my $burst = <<'EOF';
DO $$
BEGIN
	FOR i IN 1 .. 20 LOOP
		PERFORM order_engine.emit('note', 'n' || i, 'note.written', '1');
		COMMIT;
		PERFORM pg_sleep(0.005);
	END LOOP;
END
$$
EOF
my $started = time();
my $before = $sql->('SELECT max(batch) FROM order_engine.journal_position');
foreach my $round (1 .. 10)
{
	$sql->($burst);
	OrderEngine::wait_relayed($node);
}
pass('every event of each burst is published');
my $batches = $sql->('SELECT max(batch) FROM order_engine.journal_position') - $before;
# However long it took: between two of them lie 225 ms, nine times 25.
cmp_ok($batches, '<=', 1 + (time() - $started) / 0.225, "... in few batches ($batches)");

$report->query_safe('COMMIT');
$report->quit;
ok($node->poll_query_until('shop', "SELECT order_engine.emit('note', 'n', 'note.written', '1') > 0 AND pg_total_relation_size('order_engine.journal_position_1') < 512 * 1024"),
	'when the snapshot is gone the positions are emptied');
$node->stop;
done_testing();
