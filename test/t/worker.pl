# The launcher and its workers: they come, go and give way as the list of databases,
# the databases and the server do.

use strict;
use warnings;

use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = OrderEngine::new_node('worker', databases => 'shop', conf => 'restart_after_crash = on');
$node->start;

sub workers
{
	my ($database) = @_;
	return $node->safe_psql('postgres',
		"SELECT string_agg(backend_type, ',' ORDER BY backend_type) FROM pg_stat_activity"
		  . " WHERE datname = '$database' AND backend_type IN ('order_engine relay', 'order_engine keeper')");
}

sub wait_workers
{
	my ($database, $name) = @_;
	return ok( $node->poll_query_until('postgres',
			"SELECT count(*) = 2 FROM pg_stat_activity WHERE datname = '$database'"
			  . " AND backend_type IN ('order_engine relay', 'order_engine keeper')"),
		$name);
}

sub wait_no_workers
{
	my ($database, $name) = @_;
	return ok( $node->poll_query_until('postgres',
			"SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = '$database'"),
		$name);
}

sub pid_of
{
	my ($type) = @_;
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = '$type'");
}

# ---- a database that is not there yet ----

$node->wait_for_log(qr/database "shop" of order_engine.databases cannot be connected to/);
pass('a missing database is waited for');
my $launcher = pid_of('order_engine launcher');

$node->safe_psql('postgres', 'CREATE DATABASE shop');
wait_workers('shop', 'workers start once the database exists');
is(pid_of('order_engine launcher'), $launcher, 'the launcher has waited, not restarted');

# ---- without the extension, without tables, with both ----

my $relay = pid_of('order_engine relay');
$node->safe_psql('shop', 'CREATE EXTENSION order_engine');
is($node->safe_psql('shop', "SELECT state FROM order_engine.relay_state()"), 'disabled', 'no publisher, nothing to do');
$node->safe_psql('shop', 'DROP EXTENSION order_engine');
$node->safe_psql('shop', 'CREATE EXTENSION order_engine');
$node->safe_psql('shop', 'SET client_min_messages = error; SELECT order_engine.setup(1)');
is(pid_of('order_engine relay'), $relay, 'one relay has seen the extension come, go and be set up');

my $locks = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
  . " WHERE a.backend_type LIKE 'order_engine %' AND l.locktype = 'relation'";
ok($node->poll_query_until('shop', "SELECT ($locks) = 0 AND count(*) = 0 FROM pg_stat_activity"
		. " WHERE backend_type LIKE 'order_engine %' AND (backend_xmin IS NOT NULL OR xact_start IS NOT NULL)"),
	'between turns a worker holds no lock, no snapshot and no transaction');

# ---- settings of the database that would end their transactions do not reach them ----

my $locker = $node->background_psql('shop');
foreach my $setting ('lock_timeout', 'statement_timeout', 'transaction_timeout')
{
	next if $setting eq 'transaction_timeout' && $node->pg_version < 17;
	$node->safe_psql('postgres', "ALTER DATABASE shop SET $setting = '100ms'");
}
my $keeper = pid_of('order_engine keeper');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($keeper)");
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'order_engine keeper' AND pid <> $keeper") or die;
$keeper = pid_of('order_engine keeper');
$locker->query_safe($_) foreach 'BEGIN', 'LOCK TABLE order_engine.orders';
ok($node->poll_query_until('postgres',
		"SELECT clock_timestamp() - xact_start > interval '500 ms' AND wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $keeper"),
	'a worker waits for a lock longer than that');
$locker->query_safe('COMMIT');
$locker->quit;
is(pid_of('order_engine keeper'), $keeper, '... and lives');
$node->safe_psql('postgres', 'ALTER DATABASE shop RESET ALL');
$node->safe_psql('shop', "SET statement_timeout = '30s'; DROP EXTENSION order_engine CASCADE;"
	  . ' DROP TABLE IF EXISTS order_engine.orders');
pass('an idle worker does not stand in the way of DROP EXTENSION');
is(pid_of('order_engine relay'), $relay, 'and survives it');

# ---- the list changes ----

$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->safe_psql('postgres', "ALTER SYSTEM SET order_engine.databases = 'shop, second'");
$node->reload;
wait_workers('second', 'a reload that adds a database starts its workers');
is(pid_of('order_engine relay') =~ /\b$relay\b/, 1, 'and leaves the others alone');

$node->safe_psql('postgres', "ALTER SYSTEM SET order_engine.databases = 'shop'");
$node->reload;
wait_no_workers('second', 'a reload that drops a database from the list ends its workers');
$node->safe_psql('postgres', 'DROP DATABASE second');
pass('then the database can be dropped');

my ($result, $out, $err) = $node->psql('postgres', "ALTER SYSTEM SET order_engine.databases = 'a,,b'");
like($err, qr/invalid value for parameter "order_engine.databases"/, 'a list that is none is refused');

# ---- workers end and come back ----

$node->safe_psql('postgres', "SELECT pg_terminate_backend($relay)");
ok($node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'order_engine relay' AND pid <> $relay"),
	'a relay that was terminated is started again');

$node->safe_psql('postgres', "SELECT pg_terminate_backend($launcher)");
ok($node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'order_engine launcher' AND pid <> $launcher"),
	'so is the launcher');
wait_workers('shop', 'which has one worker of each kind again');

# ---- databases are dropped under them ----

my $log_start = -s $node->logfile;
$node->safe_psql('postgres', "SET statement_timeout = '30s'; DROP DATABASE shop WITH (FORCE)");
pass('workers give way to DROP DATABASE WITH (FORCE)');
$node->safe_psql('postgres', 'CREATE DATABASE shop');
wait_workers('shop', 'and come back to a database of the same name');
unlike(slurp_file($node->logfile, $log_start), qr/FATAL:  database .* does not exist/,
	'nobody has tried to get into the one that was going');

# a smgr-release barrier must be passed by every process, workers asleep included
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('postgres', "SET statement_timeout = '30s'; DROP DATABASE other");
pass('workers do not hold up DROP DATABASE of another database');

# ---- a database that takes no connections ----

$node->safe_psql('postgres', 'ALTER DATABASE shop ALLOW_CONNECTIONS false');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop'");
wait_no_workers('shop', 'workers end');
$node->wait_for_log(qr/database "shop" of order_engine.databases cannot be connected to/, $log_start);
$node->safe_psql('postgres', 'ALTER DATABASE shop ALLOW_CONNECTIONS true');
wait_workers('shop', 'a database closed to connections is waited for');

# ---- settings of the database do not change what a worker does ----

$node->safe_psql('postgres', "ALTER DATABASE shop SET default_transaction_read_only = on");
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'order_engine keeper'");
wait_workers('shop', 'workers run where transactions are read-only by default');

# ---- kill -9 ----

my $killed = pid_of('order_engine relay');
kill 'KILL', $killed;
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'order_engine relay' AND pid <> $killed"),
	'after kill -9 the server restarts, and the relay with it');
wait_workers('shop', 'one of each kind');

# ---- what an interrupted DROP DATABASE leaves behind ----

$node->safe_psql('postgres', 'CREATE DATABASE broken');
$node->safe_psql('postgres', "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'broken'");
$log_start = -s $node->logfile;
$node->safe_psql('postgres', "ALTER SYSTEM SET order_engine.databases = 'shop, broken'");
$node->reload;
$node->wait_for_log(qr/database "broken" of order_engine.databases cannot be connected to/, $log_start);
pass('a database that is half dropped is waited for');

# ---- as many slots as are needed, and too few ----

$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->append_conf('postgresql.conf', "max_logical_replication_workers = 0\nmax_worker_processes = 3\n");
$node->safe_psql('postgres', "ALTER SYSTEM SET order_engine.databases = 'shop'");
$node->restart;
wait_workers('shop', 'there is a slot for the launcher and one for each worker');
$node->safe_psql('postgres', "ALTER SYSTEM SET order_engine.databases = 'second'");
$node->reload;
{
	local $PostgreSQL::Test::Utils::timeout_default = 20;
	wait_workers('second', 'those of another database take the slots as soon as they are free');
}

$node->append_conf('postgresql.conf', "max_worker_processes = 2\n");
$node->restart;
$node->wait_for_log(qr/could not start "order_engine (relay|keeper)" for database "second"/);
pass('too few background workers are told of');

$node->stop('fast');
done_testing();
