# Stock in mode escrow where there is no counter: on a standby, in a parallel plan and without
# the library preloaded it is read from the tables, and what is not a sale goes on.  And
# order_engine.escrow_wait: who finds it sold out waits for those who are undecided.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use OrderEngine;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = OrderEngine::new_node('primary', databases => '', allows_streaming => 1, conf => 'autovacuum = off');
$primary->start;
OrderEngine::make_shop($primary, 'shop');
my $sql = sub { my ($query) = @_; return $primary->safe_psql('shop', $query) };
my $order = sub {
	my ($sku, $quantity) = @_;
	return qq(SELECT state FROM order_engine.create_order(1, '[{"sku": "$sku", "quantity": $quantity}, {"sku": "plain", "quantity": 1}]'));
};
my $seen = q(SELECT sku, on_hand, reserved, available FROM order_engine.stock_now ORDER BY sku);

$sql->("INSERT INTO order_engine.stock (sku, on_hand) VALUES ('hot', 10), ('plain', 100), ('warm', 5)");
$sql->("SELECT order_engine.set_stock_mode(ARRAY['hot', 'warm'], 'escrow')");
$sql->($order->('hot', 2));
$sql->('CALL order_engine.tend()');
$sql->($order->('hot', 3));
$sql->("SELECT order_engine.deduct_stock('warm', 5)");
my $expected = "hot|10|5|5\nplain|100|2|98\nwarm|0|0|0";
is($sql->($seen), $expected, 'the primary shows what is folded and what is not');

# Parallel workers read for their leader.
my $forced = $sql->("SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')");
is($sql->("SET $forced = on; SELECT sku, order_engine.available(sku) FROM order_engine.stock ORDER BY sku"),
	"hot|5\nplain|98\nwarm|0", 'so does a parallel plan');
is($sql->("SET $forced = on; $seen"), $expected, 'and the view in one');

# A standby.
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$sql->($order->('hot', 1));
$primary->wait_for_catchup($standby);
$expected = "hot|10|6|4\nplain|100|3|97\nwarm|0|0|0";
is($sql->($seen), $expected, 'the primary shows one order more');
is($standby->safe_psql('shop', $seen), $expected, 'so does the standby');
is($standby->safe_psql('shop', "SELECT * FROM order_engine.availability(ARRAY['hot', 'plain', 'warm', 'none'])"),
	"hot|4\nplain|97\nwarm|0\nnone|", 'and tells what is available');
is($standby->safe_psql('shop', "BEGIN ISOLATION LEVEL REPEATABLE READ; $seen; COMMIT"), $expected, 'in one snapshot, too');
is($standby->safe_psql('shop', "SET $forced = on; $seen"), $expected, 'and in a parallel plan');
my $reader = $standby->background_psql('shop');
is($reader->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT order_engine.available('hot')"), 4, 'a report begins');
$sql->("SELECT order_engine.receive_stock('hot', 6)");
$sql->('CALL order_engine.tend()');
$primary->wait_for_catchup($standby);
is($standby->safe_psql('shop', "SELECT order_engine.available('hot')"), 10, 'others see what came, and was folded, since');
is($reader->query_safe("SELECT order_engine.available('hot')"), 4, 'the report sees what it saw');
$reader->query_safe('COMMIT');
$reader->quit;
$standby->stop;

# escrow_wait.
my $holder = $primary->background_psql('shop');
sub buy
{
	my ($wait, $quantity) = @_;
	my %client = (out => '');
	$client{handle} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $primary->connstr('shop') . ' application_name=buyer',
			'-c', "SET order_engine.escrow_wait = '$wait'", '-c', $order->('hot', $quantity) ],
		'>&', \$client{out});
	return \%client;
}
sub told { my ($client) = @_; $client->{handle}->finish; return $client->{out} }
my $waits = sub {
	ok($primary->poll_query_until('shop', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'buyer' AND state = 'active' AND wait_event_type = 'Extension'"),
		'a buyer waits');
};

$holder->query_safe("BEGIN; SELECT order_engine.deduct_stock('hot', 10)");
like(told(buy('0', 1)), qr/insufficient stock/, 'by default nobody waits');
like(told(buy('50ms', 1)), qr/insufficient stock/, 'who waits does so for a while');
my $buyer = buy('10min', 1);
$waits->();
# It holds no row for which the undecided may wait.
is($holder->query_safe(q(SELECT state FROM order_engine.create_order(2, '[{"sku": "plain", "quantity": 1}]'))), 'pending', 'the undecided is not held up');
$holder->query_safe('ROLLBACK');
like(told($buyer), qr/pending/, 'and what he gives back is sold');
$holder->query_safe("BEGIN; SELECT order_engine.deduct_stock('hot', 9)");
$buyer = buy('10min', 1);
$waits->();
$holder->query_safe('COMMIT');
like(told($buyer), qr/insufficient stock/, 'what he keeps is not');
like(told(buy('10min', 1)), qr/insufficient stock/, 'where nobody is undecided there is nothing to wait for');
$holder->quit;

# Without preload: takes are refused, the rest goes on, and the switch back folds.
$sql->("SELECT order_engine.receive_stock('hot', 4)");
my $open = $sql->("SELECT order_id FROM order_engine.orders WHERE state = 'pending' ORDER BY order_id LIMIT 1");
$primary->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$primary->restart;
is($sql->("SELECT order_engine.available('hot')"), 4, 'without preload the tables tell what is available');
my ($out, $err) = ('', '');
$primary->psql('shop', "\\set VERBOSITY verbose\n" . $order->('hot', 1), stdout => \$out, stderr => \$err);
like($err, qr/ERROR:  55000.*HINT:.*preload/is, 'nothing is sold, with a hint');
is($sql->("SELECT state FROM order_engine.cancel_order($open)"), 'cancelled', 'an order is cancelled');
is($sql->("SELECT available, version FROM order_engine.receive_stock('hot', 1)"), '7|', 'and goods come in');
is($sql->("SELECT order_engine.set_stock_mode('hot', 'row')"), 't', 'it is switched back');
is($sql->($order->('hot', 7)), 'pending', 'and sold');
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'order_engine'");
$primary->restart;
is($sql->("SELECT order_engine.available('hot'), order_engine.available('warm')"), '0|0', 'with preload it is as it was');
is($sql->('SELECT count(*) FROM order_engine.reconcile()'), 0, 'and the books balance');
$primary->stop;
done_testing();
