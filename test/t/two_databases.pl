# Two shops in one cluster, each with its relay, its keeper and its topics: neither knows
# of the other, and one is dropped while the other goes on.
# needs the Kafka of script/test

use strict;
use warnings;

use IPC::Run ();
use JSON::PP ();
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = OrderEngine::new_node('two', publisher => 'kafka', databases => 'shop');
$node->start;
my @shops = ('shop', 'outlet');
my %topic = (shop => OrderEngine::topic($node, 'order'), outlet => OrderEngine::topic($node, 'outlet.order'));
foreach my $shop (@shops)
{
	OrderEngine::make_shop($node, $shop);
	$node->safe_psql($shop, <<'EOF');
SELECT order_engine.receive_stock('A', 1000000);
CREATE FUNCTION trade(n int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
BEGIN
	SELECT c.order_id INTO id FROM order_engine.create_order(n % 1000, '[{"sku": "A", "quantity": 1, "unit_price": 1}]') c;
	IF n % 2 = 0 THEN
		PERFORM order_engine.pay_order(id, 'p', 1);
	ELSE
		UPDATE order_engine.orders SET due_at = now() WHERE order_id = id;
	END IF;
END $$;
EOF
}
$node->safe_psql('postgres', "ALTER DATABASE outlet SET order_engine.topic_prefix = '" . OrderEngine::topic_prefix($node) . "outlet.'");
$node->safe_psql('postgres', q(ALTER SYSTEM SET order_engine.databases = 'shop, outlet'));
$node->reload;
foreach my $shop (@shops)
{
	ok($node->poll_query_until($shop, "SELECT count(*) = 2 FROM pg_stat_activity WHERE datname = current_database() AND backend_type IN ('order_engine relay', 'order_engine keeper')"),
		"$shop has a relay and a keeper");
}

my $script = $node->basedir . '/trade.sql';
append_to_file($script, "\\set n random(1, 2000000000)\nSELECT trade(:n);\n");
my (%load, $out, $err);

sub start_load
{
	my ($shop, $seconds) = @_;
	return IPC::Run::start([ 'pgbench', '-n', '-c', 3, '-R', 200, '-T', $seconds, '-f', $script, $node->connstr($shop) ], '<', \undef, '>', \$out, '2>', \$err);
}

sub events_of
{
	my ($shop) = @_;
	my %seen;
	foreach my $record (OrderEngine::consume(topic => $topic{$shop}))
	{
		my $event = JSON::PP::decode_json($record->{payload});
		$seen{"$event->{order_id}/$event->{version}"}++;
	}
	return %seen;
}

sub history_of
{
	my ($shop) = @_;
	return map { $_ => 1 } split /\n/, $node->safe_psql($shop, "SELECT order_id || '/' || version FROM order_engine.order_event");
}

# ---- both at work ----

$load{$_} = start_load($_, 2) foreach @shops;
$load{$_}->finish foreach @shops;
my %shop_of;
foreach my $shop (@shops)
{
	ok($node->poll_query_until($shop, "SELECT count(*) = 0 FROM order_engine.orders WHERE due_at < now()"), "the keeper of $shop expires what is due there");
	OrderEngine::wait_relayed($node, $shop);
	my %seen = events_of($shop);
	my %expected = history_of($shop);
	is_deeply([ sort keys %seen ], [ sort keys %expected ], "the topic of $shop has its events and no others: " . keys %seen);
	is($node->safe_psql($shop, "SELECT order_engine.available('A') = 1000000 - count(*) FROM order_engine.orders WHERE state = 'paid'"), 't', 'its stock is its own');
	is($node->safe_psql($shop, 'SELECT count(*) - count(DISTINCT order_id) FROM order_engine.orders'), 0, 'so are its ids');
}

# ---- the relay of one pauses, and only that one ----

$node->safe_psql('outlet', 'SELECT order_engine.pause_relay()');
ok($node->poll_query_until('outlet', "SELECT state = 'paused' FROM order_engine.relay_status"), 'one relay pauses');
$node->safe_psql($_, 'SELECT trade(2)') foreach @shops;
OrderEngine::wait_relayed($node, 'shop');
is($node->safe_psql('shop', 'SELECT state FROM order_engine.relay_status'), 'running', 'the other does not');
is($node->safe_psql('outlet', 'SELECT lag_events FROM order_engine.relay_status'), 2, 'and leaves its events alone');

# ---- one goes, the other goes on ----

$load{shop} = start_load('shop', 4);
my $before = $node->safe_psql('shop', 'SELECT published FROM order_engine.relay_status');
$node->safe_psql('outlet', 'SELECT order_engine.resume_relay()');
$node->safe_psql('postgres', "SET statement_timeout = '30s'; DROP DATABASE outlet WITH (FORCE)");
pass('a shop is dropped with its workers at work');
ok($node->poll_query_until('shop', "SELECT published > $before + 100 AND state = 'running' FROM order_engine.relay_status"), 'the other goes on meanwhile');
$load{shop}->finish;
is($err, '', 'without an error of any client');
ok($node->poll_query_until('shop', 'SELECT count(*) = 0 FROM order_engine.orders WHERE due_at < now()'), 'its keeper too');
OrderEngine::wait_relayed($node, 'shop');
my %seen = events_of('shop');
is_deeply([ sort keys %seen ], [ sort keys %{ { history_of('shop') } } ], 'and all its events have arrived');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'order_engine %' AND backend_type <> 'order_engine launcher'"), 2,
	'the workers that are left are its own');

# ---- a shop of the same name begins anew ----

OrderEngine::make_shop($node, 'outlet');
$node->safe_psql('outlet', "SELECT order_engine.receive_stock('A', 1)");
$node->safe_psql('outlet', "SELECT order_engine.create_order(1, '[{\"sku\": \"A\", \"quantity\": 1}]')");
ok($node->poll_query_until('outlet', "SELECT state = 'running' AND lag_events = 0 AND published = 1 AND generation = 1 FROM order_engine.relay_status"), 'a shop of the same name begins anew');

$node->stop;
done_testing();
