# Order ids never repeat, whatever happens to the server and to its clock.
#
# Every id that a session was given is kept outside the server that gave it,
# committed or not, and all are compared in the end.  What is compared is the
# counter (the id without its slot), so that different slots hide nothing.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Ids drawn by clients in full swing; with the other parts above 10 million.
my $burst = $ENV{ORDER_ENGINE_LONG} ? 20_000_000 : 10_000_000;
my $crashes = $ENV{ORDER_ENGINE_LONG} ? 20 : 5;

my $lease = 1.0;       # seconds that ids may be ahead of the clock
my $counter = '((id >> 22 << 12) | (id & 4095))';
my $hour_back = '-c order_engine.debug_clock_offset=-3600000';
my $folder = PostgreSQL::Test::Utils::tempdir_short();
my $files = 0;

my $node = PostgreSQL::Test::Cluster->new('main');

# Keeps what was drawn; not one of the servers that are tested.
my $ledger = PostgreSQL::Test::Cluster->new('ledger');
$ledger->init;
$ledger->append_conf('postgresql.conf', "work_mem = '256MB'");
$ledger->start;
$ledger->safe_psql('postgres',
	'CREATE UNLOGGED TABLE drawn (shop text, counter bigint)');

# COPY ... TO STDOUT of ids in the order in which a session draws them.
sub drawing
{
	my ($n) = @_;
	return "COPY (SELECT order_engine.next_order_id(i) FROM generate_series(1, $n) i) TO STDOUT;\n";
}

sub options_of
{
	my ($options) = @_;
	return defined $options ? (PGOPTIONS => $options) : ();
}

# Takes a file of ids into the ledger; its lines must be increasing.
sub keep
{
	my ($shop, $file, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 2;
	open my $in, '<', $file or die "could not open $file: $!";
	open my $out, '>', "$file.counters" or die "could not create $file.counters: $!";
	my ($last, $n, $unordered) = (0, 0, 0);
	while (my $id = <$in>)
	{
		chomp $id;
		my $value = (($id >> 22) << 12) | ($id & 4095);
		$unordered++ if $value <= $last;
		($last, $n) = ($value, $n + 1);
		print $out "$shop\t$value\n";
	}
	close $out;
	chmod 0644, "$file.counters";
	is("$n ids, $unordered not increasing", "$expected ids, 0 not increasing", $what);
	$ledger->safe_psql('postgres', "COPY drawn FROM '$file.counters'");
	unlink $file, "$file.counters";
	return;
}

# Clients draw ids into a table of the shop, `per_call` at a time.
sub clients_draw
{
	my ($clients, $calls, $per_call, $what) = @_;
	$node->safe_psql('shop', 'CREATE UNLOGGED TABLE ids (client int, call int, n int, id bigint)');
	my $total = $clients * $calls;
	$node->pgbench(
		"--no-vacuum --client=$clients --jobs=2 --transactions=$calls --define=call=0 --define=per_call=$per_call shop",
		0,
		[qr{number of transactions actually processed: $total/$total}],
		[qr{^$}],
		$what,
		{   "draw_$clients" => q{
				\set call :call + 1
				INSERT INTO ids SELECT :client_id, :call, n, order_engine.next_order_id(:client_id * 1000 + n)
				FROM generate_series(1, :per_call) n;
			} });
	ahead_ok($node, 'shop', $what);
	is($node->safe_psql('shop', qq{
		SELECT count(*), count(*) FILTER (WHERE counter <= before)
		FROM (SELECT counter, lag(counter) OVER (PARTITION BY client ORDER BY call, n) AS before
			FROM (SELECT client, call, n, $counter AS counter FROM ids WHERE client < 8) i) i}),
		8 * $calls * $per_call . '|0', "$what: increasing for each client");
	$node->safe_psql('shop', "COPY (SELECT 'shop', $counter FROM ids) TO '$folder/clients'");
	$ledger->safe_psql('postgres', "COPY drawn FROM '$folder/clients'");
	$node->safe_psql('shop', 'DROP TABLE ids');
	unlink "$folder/clients";
	return;
}

# One session draws n ids and commits.
sub draw
{
	my ($node, $db, $shop, $n, $what, $options) = @_;
	my $file = "$folder/ids" . $files++;
	local %ENV = ($node->_get_env(), options_of($options));
	run_log([ 'psql', '-XAtq', '-d', $node->connstr($db), '-c', drawing($n) ],
		'>', $file) or die "could not draw ids: $what";
	keep($shop, $file, $n, $what);
	return;
}

# Seconds by which the next id is ahead of the clock.
sub ahead
{
	my ($node, $db, $options) = @_;
	local %ENV = (%ENV, options_of($options));
	return $node->safe_psql($db,
		'SELECT extract(epoch FROM created_at - clock_timestamp())
		 FROM order_engine.order_id_parts(order_engine.next_order_id(1))');
}

sub ahead_ok
{
	my ($node, $db, $what) = @_;
	my $ahead = ahead($node, $db);
	cmp_ok($ahead, '<', $lease + 0.01, "$what: not ahead of the clock by more than the lease");
}

sub repeated
{
	return $ledger->safe_psql('postgres',
		'SELECT count(*) - count(DISTINCT counter) FROM drawn GROUP BY shop HAVING count(*) > count(DISTINCT counter)');
}

sub make_shop
{
	my ($node, $db) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, 'CREATE EXTENSION order_engine; SET client_min_messages = error; SELECT order_engine.setup(4)');
}

$node->init(allows_streaming => 1);
# The WAL writer is kept from flushing what the engine forgets to flush.
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_engine'
work_mem = '128MB'
max_connections = 100
wal_writer_delay = 10s
autovacuum = off
});
$node->start;
make_shop($node, 'shop');
make_shop($node, 'second');

# ---- the two shops of one cluster know nothing of each other ----
draw($node, 'second', 'second', 1000, 'second shop, clock an hour ahead', '-c order_engine.debug_clock_offset=3600000');
draw($node, 'shop', 'shop', 1000, 'first shop');
ahead_ok($node, 'shop', 'first shop');
cmp_ok(ahead($node, 'second'), '>', 3000, 'second shop goes on from where its clock was');

# ---- 64 clients ----
clients_draw(64, 50, $burst / 64 / 50, "64 clients draw $burst ids");

# ---- the clock steps back an hour, and stays there in what follows ----
draw($node, 'shop', 'shop', 20_000, 'clock stepped back', $hour_back);

# ---- restarts ----
$node->restart;
draw($node, 'shop', 'shop', 20_000, 'after a restart', $hour_back);
$node->restart;
draw($node, 'shop', 'shop', 20_000, 'at once after another', $hour_back);
{
	my $before = ahead($node, 'shop', $hour_back);
	local %ENV = (%ENV, options_of($hour_back));
	$node->safe_psql('shop', 'SELECT count(order_engine.next_order_id(i)) FROM generate_series(1, 4000000) i');
	cmp_ok(ahead($node, 'shop', $hour_back), '<', $before + 0.02, 'ids ahead of the clock do not gain on it');
}
ahead_ok($node, 'shop', 'after restarts');

# ---- kill -9 of the postmaster, with ids given to a session that never commits ----
sub crash_round
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $file = "$folder/ids" . $files++;
	my ($in, $err) = ('', '');
	local %ENV = ($node->_get_env(), PGOPTIONS => $hour_back);
	my $timer = IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default);
	my $session = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('shop') ],
		'<', \$in, '>', $file, '2>', \$err, $timer);
	# what stands behind the ids in the pipe says that all of them came
	$in = "BEGIN;\n" . drawing(5000) . "\\warn drawn\n";
	$session->pump until $err =~ /drawn/;
	$node->kill9;
	$in = "\\q\n";
	eval { $session->finish };
	start_again();
	keep('shop', $file, 5000, $what);
	return;
}

# The orphaned backends must be gone before the server can start.
sub start_again
{
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if $node->start(fail_ok => 1);
		# start() takes a killed postmaster for a running one until init has reaped it
		$node->{_pid} = undef;
		select(undef, undef, undef, 0.1);
	}
	die 'the server does not start again';
}

for my $round (1 .. $crashes)
{
	crash_round("killed, round $round");
	draw($node, 'shop', 'shop', 5000, "after crash $round", $hour_back);
}
ahead_ok($node, 'shop', 'after crashes');

# ---- not preloaded, crashed, preloaded again ----
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
draw($node, 'shop', 'shop', 2000, 'not preloaded', $hour_back);
crash_round('not preloaded, killed');
draw($node, 'shop', 'shop', 2000, 'not preloaded, after the crash', $hour_back);
clients_draw(8, 10, 100, '8 clients, not preloaded');
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'order_engine'");
$node->restart;
draw($node, 'shop', 'shop', 20_000, 'preloaded again', $hour_back);
ahead_ok($node, 'shop', 'preloaded again');

# ---- a wait for the lease can be cancelled, and leaves nothing behind ----
my $blocker = $node->background_psql('shop');
$blocker->query_safe('BEGIN; ALTER SEQUENCE order_engine.order_id_lease CACHE 1');
my ($status, $stdout, $stderr) = $node->psql('shop',
	'\set VERBOSITY verbose
	SET lock_timeout = 100; SET order_engine.debug_clock_offset = 5000; SELECT order_engine.next_order_id(1)');
like($stderr, qr/55P03/, 'a wait for the sequence times out');
$blocker->query_safe('ROLLBACK');
$blocker->quit;
draw($node, 'shop', 'shop', 1000, 'after the wait');

# ---- a standby, promoted ----
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
draw($node, 'shop', 'shop', 20_000, 'while a standby follows', $hour_back);
$node->wait_for_catchup($standby);
($status, $stdout, $stderr) = $standby->psql('shop', '\set VERBOSITY verbose
	SELECT order_engine.next_order_id(1)');
like($stderr, qr/25006/, 'a standby gives no ids');
$node->kill9;
$standby->promote;
draw($standby, 'shop', 'shop', 20_000, 'promoted', $hour_back);
draw($standby, 'second', 'second', 1000, 'second shop, promoted', $hour_back);
ahead_ok($standby, 'shop', 'promoted');

# ---- dumped and restored ----
$standby->safe_psql('shop', q{
	SET session_replication_role = replica;
	INSERT INTO order_engine.orders (order_id, user_id, state, machine_id, version, created_at, updated_at)
	SELECT slot << 12, slot, 'completed', 1, 1, now(), now() FROM generate_series(0, 1023) slot;
	CREATE TABLE gift_note (order_id bigint REFERENCES order_engine.orders);
	INSERT INTO gift_note SELECT order_id FROM order_engine.orders});
my $dump = "$folder/shop.dump";
command_ok([ 'pg_dump', '--format=custom', '--file', $dump, $standby->connstr('shop') ], 'pg_dump');
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init;
$restored->append_conf('postgresql.conf', "shared_preload_libraries = 'order_engine'");
$restored->start;
$restored->safe_psql('postgres', 'CREATE DATABASE shop');
command_ok([ 'pg_restore', '--exit-on-error', '--dbname', $restored->connstr('shop'), $dump ], 'pg_restore');
draw($restored, 'shop', 'shop', 20_000, 'restored', $hour_back);
is($restored->safe_psql('shop', q{
	SELECT count(*), bool_and(o.tableoid = format('order_engine.orders_%s', order_engine.slot_of_order(order_id) % 4)::regclass)
	FROM order_engine.orders o JOIN gift_note USING (order_id)}),
	'1024|t', 'restored: leaf = slot mod partitions');
my $plan = $restored->safe_psql('shop', 'EXPLAIN (COSTS OFF) SELECT * FROM order_engine.orders WHERE order_id = 7 << 12');
is(join(' ', $plan =~ /Scan.* on (\w+)/g), 'orders_3', 'restored: one order, one leaf');

cmp_ok($ledger->safe_psql('postgres', 'SELECT count(*) FROM drawn'), '>=', 10_000_000, 'ten million ids');
is(repeated(), '', 'no id was given twice');

done_testing();
