# Orders are read on a standby as on the primary, in transactions of every kind; what
# writes is refused there.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/lib';
use OrderEngine;

my $primary = OrderEngine::new_node('primary', allows_streaming => 1);
$primary->start;
OrderEngine::make_shop($primary, 'shop');
my $order = $primary->safe_psql('shop', q(
	SET client_min_messages = error;
	SELECT order_engine.receive_stock('tea', 10) \gset
	SELECT order_id FROM order_engine.create_order(42, '[{"sku": "tea", "quantity": 2, "unit_price": 5}]') \gset
	SELECT order_engine.pay_order(:order_id, 'pay-1', 10) \gset
	SELECT order_engine.ship_order(:order_id) \gset
	SELECT :order_id;
));

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);

my %query = (
	'a document' => "SELECT order_engine.get_order($order)",
	'many documents' => "SELECT * FROM order_engine.get_orders(ARRAY[$order, 1])",
	"a user's page" => 'SELECT * FROM order_engine.user_orders(42)',
	'the history' => "SELECT * FROM order_engine.order_history($order)",
	'the events that are allowed' => "SELECT order_engine.allowed_events($order)",
	'what is available' => "SELECT order_engine.available('tea')",
	'the state machine' => "SELECT order_engine.machine_diagram('order')");
foreach my $what (sort keys %query)
{
	my $expected = $primary->safe_psql('shop', $query{$what});
	isnt($expected, '', "the primary gives $what");
	is($standby->safe_psql('shop', $query{$what}), $expected, "the standby gives $what");
	is($standby->safe_psql('shop', "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; $query{$what}; COMMIT"),
		$expected, "in a transaction of its own, too");
	is($primary->safe_psql('shop', "BEGIN TRANSACTION READ ONLY; $query{$what}; COMMIT"), $expected, 'and the primary in a read-only one');
}

foreach my $call ("create_order(42, '[{\"sku\": \"tea\", \"quantity\": 1}]')", "pay_order($order, 'pay-2', 1)", "complete_order($order)",
	"receive_stock('tea', 1)", 'next_order_id(42)')
{
	my ($out, $err) = ('', '');
	$standby->psql('shop', "\\set VERBOSITY sqlstate\nSELECT order_engine.$call", stdout => \$out, stderr => \$err);
	like($err, qr/25006/, "the standby refuses $call");
}

$standby->stop;
$primary->stop;
done_testing();
