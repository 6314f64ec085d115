# A shop that no worker serves is told so, by setup() with the very lines that the
# configuration needs, by relay_status, and once by the log.
use strict;
use warnings;

use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('service');
$node->init;
$node->append_conf('postgresql.conf', q(shared_preload_libraries = 'auto_explain, "pg_prewarm"'));
$node->start;

# What setup() says to a client, without its result.
sub setup
{
	my ($database, $role) = @_;
	my ($result, $out, $err) = $node->psql($database, ($role ? "SET ROLE $role; " : '') . 'SELECT order_engine.setup(1)');
	return $err;
}

# The lines that the hint of a NOTICE asks for.
sub lines
{
	my ($notice) = @_;
	return join '', map { "$_\n" } $notice =~ /^((?:shared_preload_libraries|order_engine\.databases) = .*)$/mg;
}

sub status
{
	my ($database) = @_;
	return $node->safe_psql($database, q(SELECT state || ': ' || coalesce(reason, '') FROM order_engine.relay_state()));
}

sub wait_status
{
	my ($database, $status, $name) = @_;
	ok($node->poll_query_until($database, "SELECT state || ': ' || coalesce(reason, '') = '$status' FROM order_engine.relay_state()"), $name)
	  or diag(status($database));
	return;
}

sub make
{
	my ($database) = @_;
	my $quoted = $node->safe_psql('postgres', 'SELECT quote_ident($$' . $database . '$$)');
	$node->safe_psql('postgres', "CREATE DATABASE $quoted");
	$node->safe_psql($database, q(CREATE EXTENSION order_engine;
		DO $$ BEGIN CREATE ROLE owner_of_shops; EXCEPTION WHEN duplicate_object THEN END $$;
		SELECT order_engine.grant_access('owner_of_shops'::regrole, 'owner'::text)));
	return;
}

# ---- not preloaded ----

make('shop');
my $notice = setup('shop', 'owner_of_shops');
like($notice, qr/NOTICE:  no worker serves this database: order_engine is not in shared_preload_libraries/, 'setup() says that it is not preloaded');
like($notice, qr/DETAIL:  Unless somebody calls tend\(\), orders that are due stay as they are.*order_engine.publisher none/, 'and what will not happen');
is(lines($notice), "shared_preload_libraries = '..., order_engine'\norder_engine.databases = 'shop'\n", 'and which lines are needed, but not what its caller may not read');
unlike($notice, qr/auto_explain/, 'no library among it');
is(status('shop'), 'stopped: order_engine is not in shared_preload_libraries', 'so does relay_status');

$notice = $node->safe_psql('shop', q(ALTER ROLE owner_of_shops IN DATABASE shop RESET ALL; GRANT pg_read_all_settings TO owner_of_shops)) . setup('shop', 'owner_of_shops');
is(lines($notice), qq(shared_preload_libraries = 'auto_explain, "pg_prewarm", order_engine'\norder_engine.databases = 'shop'\n), 'whoever may read it is told the whole line');
$node->append_conf('postgresql.conf', $_) foreach lines($notice), 'order_engine.worker_idle_timeout = 100';
$node->restart;
wait_status('shop', 'disabled: order_engine.publisher is none', 'with those lines there are workers');
is(setup('shop', 'owner_of_shops'), '', 'and setup() is content');
is($node->safe_psql('shop', 'SHOW shared_preload_libraries'), 'auto_explain, "pg_prewarm", order_engine', 'the other libraries are still there');

# ---- not in the list ----

my $odd = q(Odd "Shop", it's \a); # a name that needs every kind of quotes
make($odd);
$notice = setup($odd, 'owner_of_shops');
like($notice, qr/NOTICE:  no worker serves this database: it is not in order_engine.databases/, 'a database that is not listed is told so');
is(lines($notice), q(order_engine.databases = 'shop, "Odd ""Shop"", it''s \\\\a"') . "\n", 'with the whole list, quoted');
is(status($odd), 'stopped: this database is not in order_engine.databases', 'so does relay_status');
$node->append_conf('postgresql.conf', lines($notice));
$node->reload;
wait_status($odd, 'disabled: order_engine.publisher is none', 'after a reload it has workers');
wait_status('shop', 'disabled: order_engine.publisher is none', 'and the other still');
is(setup($odd, 'owner_of_shops'), '', 'and setup() is content');

# ---- lag: null where nobody publishes, real where a publisher is down ----

$node->safe_psql('shop', q(SELECT order_engine.emit('note', '1', 'note.written', '{}')));
is($node->safe_psql('shop', 'SELECT lag_events IS NULL AND lag_bytes IS NULL AND lag_seconds IS NULL FROM order_engine.relay_status'),
	't', 'there is no lag without a publisher');
$node->append_conf('postgresql.conf', "order_engine.databases = ''");
$node->reload;
wait_status('shop', 'stopped: this database is not in order_engine.databases', 'a shop leaves the list');
$node->append_conf('postgresql.conf', "order_engine.publisher = 'log'");
$node->reload;
$node->poll_query_until('shop', "SELECT publisher = 'log' FROM order_engine.relay_state()") or die;
is($node->safe_psql('shop', 'SELECT publisher, lag_events, lag_seconds > 0 FROM order_engine.relay_status'), 'log|1|t',
	'what its relay does not publish is lag');
like(setup('shop', 'owner_of_shops'), qr/DETAIL:  Orders that are due stay as they are, .*; events are not published, and the outbox grows/, 'with a publisher setup() says that it is not used');

# ---- a database without the extension, without tables: said once, and served when it has them ----

sub times_logged
{
	my ($what) = @_;
	my $times = () = slurp_file($node->logfile) =~ /$what/g;
	return $times;
}

my $lacks = 'database "empty" of order_engine.databases does not have';
$node->safe_psql('postgres', 'CREATE DATABASE empty');
$node->append_conf('postgresql.conf', "order_engine.databases = 'empty'");
$node->reload;
$node->wait_for_log(qr/$lacks extension "order_engine"\n.*HINT:  Run CREATE EXTENSION/);
# Meanwhile its workers, who are not seen at it, look ten times a second.
$node->safe_psql('postgres', 'CREATE DATABASE second');
is(times_logged("$lacks extension"), 1, 'a database without the extension is told of once');
my $offset = -s $node->logfile;
$node->reload;
$node->wait_for_log(qr/$lacks extension/, $offset);
$node->safe_psql('postgres', 'DROP DATABASE second');
is(times_logged("$lacks extension"), 2, 'and once more after a reload');
$node->safe_psql('empty', 'CREATE EXTENSION order_engine');
$node->wait_for_log(qr/$lacks all tables of order_engine\n.*HINT:  Run SELECT order_engine.setup/);
wait_status('empty', 'stopped: it waits for the tables: see setup(), or a restore is under way', 'the relay says that it waits for tables');
$node->safe_psql('empty', 'SET client_min_messages = error; SELECT order_engine.setup(1)');
wait_status('empty', 'running: ', 'when it has them, it is served');
is(times_logged("$lacks all tables"), 1, 'a database without tables was told of once');

# ---- the same name, another database ----

$node->safe_psql('postgres', 'DROP DATABASE empty WITH (FORCE)');
$node->wait_for_log(qr/database "empty" of order_engine.databases cannot be connected to\n.*\n.*HINT:  Create it/);
$offset = -s $node->logfile;
$node->reload;
$node->wait_for_log(qr/database "empty" of order_engine.databases cannot be connected to/, $offset);
is(times_logged('cannot be connected to'), 2, 'a database that does not exist is told of once, and once more after a reload');
make('empty');
is(setup('empty', 'owner_of_shops'), '', 'a database that comes back under its name is in the list');
wait_status('empty', 'running: ', 'and served');
ok($node->poll_query_until('empty', "SELECT state = 'running' AND last_pass_at IS NOT NULL AND last_error_at IS NULL FROM order_engine.keeper_status"),
	'with nothing left of what the other one told');

# ---- no slot for a worker ----

$node->append_conf('postgresql.conf', "max_logical_replication_workers = 0\nmax_worker_processes = 1\npg_prewarm.autoprewarm = off");
$node->restart;
wait_status('empty', 'stopped: all background worker slots are in use: see max_worker_processes', 'so is a server without slots');

$node->stop;
done_testing();
