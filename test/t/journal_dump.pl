# A dump that is held open makes no writer wait: the ring grows, and is emptied again when the
# dump is through.  The dump, restored in another cluster, brings a backlog whose transaction
# ids mean nothing there: what its consumer had not acknowledged comes once, in the order of
# ids, before everything new.
use strict;
use warnings;

use IPC::Run ();
use OrderEngine;
use POSIX qw(mkfifo);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Every wait for a lock that lasts 5 ms is in the log.
my $settings = <<'EOF';
autovacuum = off
log_lock_waits = on
deadlock_timeout = 5ms
order_engine.journal_rotate_size = '64kB'
EOF
my $node = OrderEngine::new_shop('main', databases => '', conf => $settings);
my $dir = PostgreSQL::Test::Utils::tempdir();

sub value
{
	my ($sql, $on) = @_;
	return ($on // $node)->safe_psql('shop', $sql);
}

sub emit
{
	my ($on, @names) = @_;
	value("SELECT order_engine.emit('note', '$_', 'note.written', '1')", $on) for @names;
	return;
}

# The names of a batch's events, in its order.
sub batch
{
	my ($batch, $on, $after) = @_;
	$after //= 0;
	return value(<<"EOF", $on);
SELECT string_agg(aggregateid, ' ' ORDER BY place)
FROM order_engine.journal_batch('outbox', $batch, $after) WITH ORDINALITY AS t (id, place) JOIN order_engine.outbox USING (id)
EOF
}

sub tick
{
	my ($on) = @_;
	return value("SELECT order_engine.journal_tick('outbox')", $on);
}

sub acknowledge
{
	my ($batch, $on) = @_;
	value("SELECT order_engine.journal_acknowledge('outbox', $batch)", $on);
	return;
}

# Consumes and rotates until nothing is left to read.
sub catch_up
{
	while (my $batch = tick())
	{
		acknowledge($batch);
		value("SELECT order_engine.journal_rotate('outbox')");
	}
	value("SELECT order_engine.journal_rotate('outbox')") for 1 .. 3;
	return;
}

sub leaves
{
	return value("SELECT count(*) FROM pg_partition_tree('order_engine.outbox') WHERE isleaf");
}

sub full_leaves
{
	return value("SELECT count(*) FROM pg_partition_tree('order_engine.outbox') WHERE isleaf AND pg_relation_size(relid) > 0");
}

# ---- what the dump finds ----

emit($node, qw(consumed1 consumed2));
acknowledge(tick());
emit($node, qw(a1 a2 b c));
my $part = tick();
is(batch($part), 'a1 a2 b c', 'the batch that the dump interrupts');
value("SELECT order_engine.journal_acknowledge('outbox', $part, id) FROM order_engine.outbox WHERE aggregateid = 'a2'");
emit($node, qw(d e));

# ---- a dump, held open ----

# It writes into a pipe that nobody reads; its snapshot and its locks are taken before.
mkfifo("$dir/dump", 0600) or die "mkfifo: $!";
my $dump;
{
	local $ENV{PGAPPNAME} = 'held_dump';
	$dump = IPC::Run::start([ 'pg_dump', '-f', "$dir/dump", $node->connstr('shop') ], '<', \undef);
}
$node->poll_query_until('shop', <<'EOF') or die 'pg_dump did not start';
SELECT count(*) >= (SELECT count(*) FROM pg_partition_tree('order_engine.outbox')) + 2
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE a.application_name = 'held_dump' AND l.mode = 'AccessShareLock' AND l.relation::regclass::text ~ '^order_engine.(outbox|journal)'
EOF
my $leaves = leaves();

# The consumer goes on.
acknowledge($part);

append_to_file("$dir/write.sql", <<'EOF');
SELECT order_engine.emit('load', 'x', 'load.done', '"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"');
INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type) VALUES ('load', 'x', 'load.done');
EOF
{
	my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 8, '-T', 5, '-f', "$dir/write.sql", $node->connstr('shop') ],
		'<', \undef, '>', \my $out, '2>', \my $err);
	while ($load->pumpable)
	{
		my $batch = tick();
		acknowledge($batch) if $batch;
		value("SELECT order_engine.journal_rotate('outbox')");
		$load->pump_nb;
	}
	ok(IPC::Run::finish($load), 'the writers went on') or diag($err);
}
# Two that extend one leaf do wait for each other, but nobody for the rotation, nor it for anybody.
unlike(slurp_file($node->logfile), qr/still waiting for \w+ on relation/, 'no writer waited for a table');
catch_up();
cmp_ok(leaves(), '>', $leaves, 'the ring has grown');
cmp_ok(full_leaves(), '>', 3, '... and nothing was taken away while the dump might need it');
is(value("SELECT count(*) > 1000 FROM order_engine.outbox"), 't', 'all events are there');

# ---- the dump goes through ----

my $sql = slurp_file("$dir/dump");
ok(IPC::Run::finish($dump), 'the dump went through');
append_to_file("$dir/dump.sql", $sql);
$node->poll_query_until('shop', "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'held_dump'");
$leaves = leaves();
emit($node, 'afterwards');
catch_up();
cmp_ok(full_leaves(), '<=', 1, 'all leaves but the present one are empty again');
cmp_ok(leaves(), '>=', $leaves, 'none was dropped');

# ---- restored elsewhere ----

my $other = OrderEngine::new_node('other', databases => '', conf => $settings);
$other->start;
$other->safe_psql('postgres', 'CREATE DATABASE shop');
$other->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$dir/dump.sql", $other->connstr('shop') ],
	'the dump can be restored');
emit($other, 'new1');
my $batch = tick($other);
is(batch($batch, $other), 'b c d e', 'what was not acknowledged when the dump was taken, in the order of ids');
cmp_ok($batch, '>', $part, '... in a batch with a number of its own');
is(value('SELECT generation FROM order_engine.journal_position ORDER BY era = (SELECT system_identifier FROM pg_control_system()) DESC, entry DESC LIMIT 1', $other),
	2, '... and of a generation of its own');
$other->restart;
is(batch($batch, $other), 'b c d e', 'the same after a restart');
value("SELECT order_engine.journal_acknowledge('outbox', $batch, id) FROM order_engine.outbox WHERE aggregateid = 'c'", $other);
is(value("SELECT order_engine.journal_tick('outbox') IS NULL", $other), 't', 'nothing else comes before the backlog is acknowledged');
is(batch($batch, $other, value("SELECT id FROM order_engine.outbox WHERE aggregateid = 'c'", $other)), 'd e', 'it goes on after what was acknowledged');
acknowledge($batch, $other);
emit($other, 'new2');
$batch = tick($other);
is(batch($batch, $other), 'new1 new2', 'then what is new');
acknowledge($batch, $other);
is(tick($other), '', 'then nothing: the backlog came once');
$other->restart;
is(tick($other), '', '... and a process that starts anew does not find it again');
emit($other, 'new3');
acknowledge(tick($other), $other);
value("SELECT order_engine.journal_rotate('outbox') FROM generate_series(1, 3)", $other);
is(value("SELECT count(*) FROM order_engine.outbox WHERE aggregateid !~ '^new'", $other), 0, 'and the leaves that came with it are emptied');

# ---- more of it comes later, while the consumer is at work ----

# In a savepoint: the rows say its transaction id, not the one that the consumer sees in progress.
my $loader = $other->background_psql('shop');
$loader->query_safe($_) foreach 'SET session_replication_role = replica', 'BEGIN', 'SAVEPOINT s', <<'EOF', 'RELEASE s';
INSERT INTO order_engine.outbox (id, aggregatetype, aggregateid, type, payload, created_at, xid, era, ring)
VALUES (1, 'note', 'late', 'note.written', '1', now(), '500', 1, 0)
EOF
emit($other, 'new4');
$batch = tick($other);
is(batch($batch, $other), 'new4', 'what is being loaded is not read yet');
acknowledge($batch, $other);
$loader->query_safe('COMMIT');
$loader->quit;
is(value('SELECT lag_events FROM order_engine.relay_lag()', $other), 1, 'it counts once it is there');
is(batch(tick($other), $other), 'late', '... and is read');

$node->stop;
$other->stop;
done_testing();
