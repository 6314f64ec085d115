# Under load kill -9 of the relay, of a backend, of the postmaster, and the client to
# Kafka closed and opened again: no event is lost, none is made up, those of an order
# keep their order.  Counted as sets against the orders' history.
# ORDER_ENGINE_LONG=1 for many more rounds.
# needs the Kafka of script/test

use strict;
use warnings;

use IPC::Run ();
use JSON::PP ();
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{ORDER_ENGINE_LONG} ? 30 : 3;
my $node = OrderEngine::new_shop('relay_crash', publisher => 'kafka', conf => <<'EOF');
restart_after_crash = on
order_engine.worker_idle_timeout = '100ms'
EOF
my $topic = OrderEngine::topic($node, 'order');

# Events of clients that run concurrently, each order created, paid and shipped by
# transactions of their own, or all in one, or rolled back.
$node->safe_psql('shop', <<'EOF');
SELECT order_engine.receive_stock(sku, 1000000, 'test', sku) FROM unnest('{A,B,C}'::text[]) sku;
CREATE FUNCTION step(n int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
BEGIN
	IF n > 2 THEN
		SELECT o.order_id INTO id FROM order_engine.orders o WHERE o.state = CASE n WHEN 3 THEN 'pending' ELSE 'paid' END
			LIMIT 1 FOR UPDATE SKIP LOCKED;
		IF n = 3 AND id IS NOT NULL THEN
			PERFORM order_engine.pay_order(id, 'ref', 1);
		ELSIF id IS NOT NULL THEN
			PERFORM order_engine.ship_order(id);
		END IF;
		RETURN id;
	END IF;
	SELECT c.order_id INTO id FROM order_engine.create_order((random() * 1000)::bigint,
		'[{"sku": "A", "quantity": 1, "unit_price": 1}]') c;
	IF n = 2 THEN
		PERFORM order_engine.pay_order(id, 'ref', 1);
		PERFORM order_engine.ship_order(id);
	END IF;
	RETURN id;
END $$;
EOF
my $script = $node->basedir . '/load.sql';
append_to_file($script, <<'EOF');
\set n random(1, 5)
\set undo random(1, 10)
BEGIN;
SELECT step(least(:n, 4));
\if :undo = 1
ROLLBACK;
\else
COMMIT;
\endif
EOF

my ($out, $err);

sub start_load
{
	($out, $err) = ('', '');
	return IPC::Run::start(
		[ 'pgbench', '-n', '-c', 4, '-T', 600, '-f', $script, $node->connstr('shop') ],
		'<', \undef, '>', \$out, '2>', \$err);
}

# A round counts only with transactions in flight and events on their way.
sub wait_in_flight
{
	my $before = $node->safe_psql('shop', 'SELECT published FROM order_engine.relay_status');
	return $node->poll_query_until('shop',
		"SELECT published > $before + 100 AND lag_events > 0 AND (SELECT count(*) > 0 FROM pg_stat_activity"
		  . " WHERE datname = 'shop' AND backend_type = 'client backend' AND backend_xid IS NOT NULL AND pid <> pg_backend_pid())"
		  . ' FROM order_engine.relay_status');
}

sub victim
{
	my ($what) = @_;
	return $node->safe_psql('shop', 'SELECT pid FROM order_engine.relay_status') if $what eq 'relay';
	return $node->safe_psql('shop',
		"SELECT pid FROM pg_stat_activity WHERE datname = 'shop' AND backend_type = 'client backend'"
		  . ' AND pid <> pg_backend_pid() ORDER BY backend_xid IS NULL LIMIT 1');
}

foreach my $what ('relay', 'backend', 'postmaster')
{
	foreach my $round (1 .. $rounds)
	{
		my $load = start_load();
		wait_in_flight() or BAIL_OUT('no load');
		if ($what eq 'postmaster')
		{
			OrderEngine::crash($node, OrderEngine::processes($node));
			$load->finish;
		}
		else
		{
			kill 'KILL', victim($what);
			$load->finish;
		}
		$node->poll_query_until('shop', "SELECT state = 'running' FROM order_engine.relay_status") or BAIL_OUT('no relay');
	}
	pass("$rounds times kill -9 of the $what");
}

# Other settings for the client: what is in flight is given up and published again.
my $load = start_load();
foreach my $linger (1 .. 5 * $rounds)
{
	wait_in_flight() or BAIL_OUT('no load');
	$node->append_conf('postgresql.conf',
		"order_engine.kafka_config = 'bootstrap.servers=" . OrderEngine::bootstrap() . " linger.ms=$linger'");
	$node->reload;
}
$load->kill_kill;
pass('client closed and opened under load');

OrderEngine::wait_relayed($node);
my %expected = map { $_ => 1 } split /\n/,
  $node->safe_psql('shop', "SELECT order_id || '/' || version FROM order_engine.order_event");
cmp_ok(scalar keys %expected, '>', 100, 'there were events: ' . scalar keys %expected);

my (%seen, %last);
my ($made_up, $overtaken, $repeated) = (0, 0, 0);
foreach my $record (OrderEngine::consume(topic => $topic))
{
	my $event = JSON::PP::decode_json($record->{payload});
	my ($order, $version) = ($event->{order_id}, $event->{version});
	$made_up++ unless $expected{"$order/$version"};
	$repeated++ if $seen{"$order/$version"}++;
	$overtaken++ if $version > ($last{$order} // 0) + 1;
	$last{$order} = $version if $version > ($last{$order} // 0);
}
is(scalar(grep { !$seen{$_} } keys %expected), 0, 'no event is lost');
is($made_up, 0, 'none is published that the database does not know');
is($overtaken, 0, 'the events of an order arrive in the order of its versions');
note("$repeated were published twice");

$node->stop;
done_testing();
