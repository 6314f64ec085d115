# What commits with synchronous_commit = off is not published before a crash can no
# longer lose it: the server is killed the moment an event has arrived.
# ORDER_ENGINE_LONG=1 for 50 rounds.

use strict;
use warnings;

use IPC::Run ();
use JSON::PP ();
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{ORDER_ENGINE_LONG} ? 50 : 5;

# The WAL writer would flush the commit sooner or later, so it is made slow.
my $node = OrderEngine::new_shop('relay_flush', publisher => 'kafka', conf => <<'EOF');
synchronous_commit = off
wal_writer_delay = '10s'
wal_writer_flush_after = '1GB'
EOF
my $topic = OrderEngine::topic($node, 'order');
$node->safe_psql('shop', "SELECT order_engine.receive_stock('A', 1000000, 'test', 'A')");

my $consumed = 0;

# Reads the topic to its end, and then until one more has come.
sub start_consumer
{
	my ($out) = @_;
	return IPC::Run::start(
		[ 'kcat', '-C', '-q', '-u', '-b', OrderEngine::bootstrap(), '-t', $topic, '-o', 'beginning', '-c', $consumed + 1 ],
		'<', \undef, '>', $out, '2>', '/dev/null');
}

sub orders_of
{
	my ($lines) = @_;
	return map { JSON::PP::decode_json($_)->{order_id} } split /\n/, $lines;
}

# the first event makes the topic
$node->safe_psql('shop', q{SELECT order_engine.create_order(1, '[{"sku": "A", "quantity": 1}]')});
OrderEngine::wait_relayed($node);

my $lost = 0;
foreach my $round (1 .. $rounds)
{
	my $lines = '';
	$consumed = scalar OrderEngine::consume(topic => $topic);
	my @processes = OrderEngine::processes($node);
	my $consumer = start_consumer(\$lines);
	$node->safe_psql('shop', q{SELECT order_engine.create_order(1, '[{"sku": "A", "quantity": 1}]')});
	$consumer->finish;
	OrderEngine::crash($node, @processes);

	my $orders = join ',', orders_of($lines);
	$lost += $node->safe_psql('shop',
		"SELECT count(*) FROM unnest('{$orders}'::bigint[]) AS consumed (order_id)"
		  . ' WHERE NOT EXISTS (SELECT FROM order_engine.orders o WHERE o.order_id = consumed.order_id)');
	$node->poll_query_until('shop', "SELECT state = 'running' FROM order_engine.relay_status");
	OrderEngine::wait_relayed($node);
}
is($lost, 0, "$rounds rounds: every order that was published has survived the crash");

$node->stop('immediate');
done_testing();
