# A report on a standby with hot_standby_feedback, with a snapshot and the locks of a dump,
# is in nobody's way and nobody in its: replay goes on, no leaf is emptied under it, and all
# are when it has ended; with feedback by way of a slot or without one.  What feedback cannot
# tell from a report (a transaction here that has written and stays open) delays rotation,
# but not for ever.
#
# Feedback comes when the standby's configuration is reloaded, and not otherwise.
use strict;
use warnings;

use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = OrderEngine::new_node('primary', databases => '', allows_streaming => 1, conf => <<'EOF');
autovacuum = off
order_engine.journal_rotate_size = '8kB'
EOF
$primary->start;
OrderEngine::make_shop($primary, 'shop');
$primary->backup('backup');
$primary->safe_psql('postgres', "SELECT pg_create_physical_replication_slot('slot')");

# A cancelled report shows as one that fails, a standing replay as a catch-up that does not come.
sub new_standby
{
	my ($name, @conf) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);
	$standby->init_from_backup($primary, 'backup', has_streaming => 1);
	$standby->append_conf('postgresql.conf', join("\n", 'hot_standby_feedback = on', 'wal_receiver_status_interval = 1d',
		'max_standby_streaming_delay = -1', @conf, ''));
	$standby->start;
	return $standby;
}

my $standby;

# The rotating process remembers what it waits for.
my $rotator = $primary->background_psql('shop');

sub rotate
{
	return $rotator->query_safe("SELECT order_engine.journal_rotate('outbox')");
}

# Events that fill a leaf, published.
sub consume
{
	$primary->safe_psql('shop', <<'EOF');
SELECT count(order_engine.emit('note', g::text, 'note.written', '1')) FROM generate_series(1, 100) g;
SELECT order_engine.journal_acknowledge('outbox', order_engine.journal_tick('outbox'));
EOF
	return;
}

sub used_leaves
{
	return $primary->safe_psql('shop', <<'EOF');
SELECT count(*) FROM pg_partition_tree('order_engine.outbox') WHERE isleaf AND pg_relation_size(relid) > 0
EOF
}

sub held
{
	return $primary->safe_psql('postgres', <<'EOF');
SELECT coalesce((SELECT backend_xmin FROM pg_stat_replication), (SELECT xmin FROM pg_replication_slots))
EOF
}

# True if the standby has replayed all there is.
sub replayed
{
	my $lsn = $primary->lsn('flush');
	return $standby->poll_query_until('postgres', "SELECT pg_last_wal_replay_lsn() >= '$lsn'");
}

# What the standby holds back is known here: this transaction id, else what comes next.
sub feedback
{
	my ($xmin) = @_;
	replayed() or die 'replay stands';
	$xmin //= $primary->safe_psql('postgres', 'SELECT pg_snapshot_xmin(pg_current_snapshot())');
	OrderEngine::wait_for { $standby->reload; held() eq $xmin } "feedback of $xmin";
	return;
}

# Rotation finds the way to a ring that is empty but for its present leaf.
sub empties
{
	my ($what) = @_;
	OrderEngine::wait_for { feedback(); rotate(); used_leaves() <= 1 } $what;
	pass($what);
	return;
}

# A report as pg_dump does it; returns it with its xmin.
sub start_report
{
	my $report = $standby->background_psql('shop', on_error_stop => 0);
	$report->query_safe($_) foreach 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT count(*) FROM order_engine.orders',
		'LOCK TABLE order_engine.outbox, order_engine.journal_position IN ACCESS SHARE MODE';
	return ($report, $report->query_safe('SELECT backend_xmin FROM pg_stat_activity WHERE pid = pg_backend_pid()'));
}

sub survives
{
	my ($report, $what) = @_;
	is($report->query('SELECT 1'), 1, $what);
	return;
}

sub reports_survive
{
	my ($how) = @_;
	replayed();

	# ---- that feedback tells of ----

	my ($report, $xmin) = start_report();
	feedback($xmin);
	my $emptied = 0;
	foreach my $round (1 .. 6)
	{
		consume();
		$emptied += rotate();
	}
	is($emptied, 0, "$how: no leaf is emptied under a report on the standby");
	cmp_ok(used_leaves(), '>', 3, '... the ring grows');
	ok(replayed(), '... replay goes on');
	survives($report, '... and so does the report');
	$report->quit;
	empties('... and when it has ended the leaves are emptied');

	# ---- that begins behind the position that rotation waits to be seen ----

	consume();
	rotate();
	replayed();
	($report, $xmin) = start_report();
	rotate();
	feedback($xmin);
	is(rotate() + rotate(), 0, "$how: no leaf is emptied under a report that sees the position");
	ok(replayed(), '... replay goes on');
	survives($report, '... and so does the report');
	$report->quit;
	empties('... and when it has ended the leaf is emptied');
	return;
}

# ---- without a slot ----

$standby = new_standby('first');
reports_survive('without a slot');

# Events that nobody consumes, and nobody writes.
$primary->safe_psql('shop', "SELECT count(order_engine.emit('note', g::text, 'note.written', '1')) FROM generate_series(1, 200) g");
rotate();
cmp_ok(used_leaves(), '>', 0, 'a leaf waits for its consumer');
feedback();
my $next = q{SELECT pg_snapshot_xmax(pg_current_snapshot())};
my $before = $primary->safe_psql('shop', $next);
rotate() for 1 .. 5;
is($primary->safe_psql('shop', $next), $before, '... and rotation, which has nothing to empty, writes nothing');
consume();
$standby->stop;

# ---- with a slot ----

$standby = new_standby('second', "primary_slot_name = 'slot'");
reports_survive('with a slot');
# It holds for a standby that is away, too.
replayed();
my ($report, $xmin) = start_report();
feedback($xmin);
$report->quit;
$standby->stop;
consume();
is(rotate() + rotate() + rotate(), 0, 'a slot holds up rotation while its standby is away');
$standby->start;
empties('... and no longer when it is back');
$standby->stop;
$primary->safe_psql('postgres', "SELECT pg_drop_replication_slot('slot')");

# ---- a transaction here that stays open ----

$standby = new_standby('third');

$primary->safe_psql('shop', "BEGIN; SELECT order_engine.emit('note', 'p', 'note.written', '1'); PREPARE TRANSACTION 'open'");
feedback();
consume();
rotate();
feedback();
is(rotate() + rotate(), 0, 'a prepared transaction holds up rotation while a standby could have a report');
my $rounds = 0;
until (rotate() > 0)
{
	consume();
	feedback();
	$rounds++ < 100 or BAIL_OUT('rotation is held up for ever');
}
cmp_ok($rounds, '>', 10, '... until the ring is long');
$primary->safe_psql('shop', "COMMIT PREPARED 'open'");
consume();
empties('... and not at all when it has ended');
$standby->stop;

# ---- without feedback ----

$standby = new_standby('fourth', 'hot_standby_feedback = off', "max_standby_streaming_delay = '10ms'");
replayed();
($report) = start_report();
OrderEngine::wait_for { consume(); rotate() > 0 } 'rotation without feedback';
ok(replayed(), 'without feedback nothing waits for a report on the standby: replay goes on');
OrderEngine::wait_for { slurp_file($standby->logfile) =~ /FATAL:  terminating connection due to conflict with recovery/ } 'the report to be cancelled';
like(slurp_file($standby->logfile), qr/User was holding a relation lock for too long/, '... and cancels it');
$report->{run}->kill_kill;
$standby->stop;
$rotator->quit;
$primary->stop;
done_testing();
