# What commits with synchronous_commit = off is not published before a crash can no
# longer lose it: the server is killed the moment an event has arrived.
# ORDER_ENGINE_LONG=1 for 50 rounds.
# needs the Kafka of script/test

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
my $node = OrderEngine::new_shop('relay_flush', publisher => 'kafka', allows_streaming => 1, conf => <<'EOF');
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

# ---- nor before synchronous standbys have it, whatever interrupts the wait for them ----

my $held = OrderEngine::topic($node, 'held');
OrderEngine::create_topic($held, 1);

sub wait_held
{
	my ($name) = @_;
	return ok($node->poll_query_until('shop',
			"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'order_engine relay' AND wait_event = 'SyncRep'"),
		$name);
}

sub relay_pid
{
	return $node->safe_psql('shop', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'order_engine relay'");
}

$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'\n");
$node->reload;
ok($node->poll_query_until('shop', "SELECT current_setting('synchronous_standby_names') = 'nobody'"), 'a standby that is not there');
$node->safe_psql('shop', "SET synchronous_commit = local; SELECT order_engine.emit('held', '1', 't', '{}')");
wait_held('the relay waits for a synchronous standby');
my $pid = relay_pid();
$node->safe_psql('shop', "SELECT pg_cancel_backend($pid)");
$node->safe_psql('shop', "SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('shop',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'order_engine relay' AND pid <> $pid"),
	'a relay that is terminated meanwhile');
wait_held('its successor waits too');
is(scalar OrderEngine::consume(topic => $held), 0, 'and none of them has published what the standby does not have');
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
$node->reload;
is(scalar OrderEngine::consume(topic => $held, count => 1), 1, 'without synchronous standbys it is published');

$node->stop('immediate');
done_testing();
