# The broker goes away and comes back, or refuses an event: the relay waits, keeps the
# order and loses nothing.
# needs the Kafka of script/test

use strict;
use warnings;

use File::Path qw(remove_tree);
use OrderEngine;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $broker = OrderEngine::new_broker('auto.create.topics.enable=false', 'connections.max.idle.ms=5000');
my $address = OrderEngine::broker_address($broker);
my $node = OrderEngine::new_shop('relay_broker', publisher => 'kafka', bootstrap => $address);
my $prefix = OrderEngine::topic_prefix($node);
my $config = "bootstrap.servers=$address reconnect.backoff.max.ms=200 topic.metadata.propagation.max.ms=500 batch.num.messages=50";

OrderEngine::broker('topic', $broker, "${prefix}flow", 4);
$node->append_conf('postgresql.conf', "order_engine.kafka_config = '$config'\n");
$node->reload;
$node->safe_psql('shop', <<'EOF');
CREATE TABLE account (k int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO account SELECT generate_series(1, 20);
/* Each key's events are numbered under its row lock, so their order is known. */
CREATE FUNCTION flow(keys int[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	number int;
	key int;
BEGIN
	FOREACH key IN ARRAY keys LOOP
		UPDATE account SET n = n + 1 WHERE k = key RETURNING n INTO number;
		PERFORM order_engine.emit('flow', key::text, 'flow', json_build_object('n', number));
	END LOOP;
END $$;
EOF

sub flow
{
	my ($times) = @_;
	$node->safe_psql('shop', "SELECT flow(array_agg(k ORDER BY k)) FROM account, generate_series(1, $times) i GROUP BY i");
	return;
}

sub wait_state
{
	my ($state, $name) = @_;
	return ok($node->poll_query_until('shop', "SELECT state = '$state' FROM order_engine.relay_status"), $name);
}

# Every event at least once; what comes for the first time comes in order.
sub check_flow
{
	my ($name) = @_;
	OrderEngine::wait_relayed($node);
	my (%last, $jumps);
	my @records = OrderEngine::consume(topic => "${prefix}flow", bootstrap => $address);
	$jumps = 0;
	foreach my $record (@records)
	{
		my ($n) = $record->{payload} =~ /(\d+)/;
		my $last = $last{ $record->{key} } // 0;
		$jumps++ if $n > $last + 1;
		$last{ $record->{key} } = $n if $n > $last;
	}
	is($jumps, 0, "$name: no event is overtaken by a later one of its key");
	is_deeply(\%last, { map { split /\|/ } split /\n/, $node->safe_psql('shop', 'SELECT k, n FROM account') }, "$name: none is lost");
	return;
}

flow(5);
check_flow('broker up');

# ---- stopped and started ----

OrderEngine::broker('stop', $broker);
flow(5);
wait_state('unreachable', 'a broker that is down');
like($node->safe_psql('shop', 'SELECT last_error FROM order_engine.relay_status'), qr/Connection refused/, 'and why');
flow(100);
is($node->safe_psql('shop', 'SELECT lag_events FROM order_engine.relay_status'), 105 * 20, 'the backlog grows');
is( $node->safe_psql('shop',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'order_engine relay' AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)"),
	0, 'while the relay waits it holds no transaction and no snapshot');
OrderEngine::broker('start', $broker);
check_flow('broker restarted');
wait_state('running', 'the relay has found the broker again by itself');

# The broker closes idle connections, and the client makes another at once.
my $pid = $node->safe_psql('shop', 'SELECT pid FROM order_engine.relay_status');
my %open = OrderEngine::sockets($pid);
my ($closed, $false_alarms) = (0, 0);
OrderEngine::wait_for {
	$false_alarms++ if $node->safe_psql('shop', 'SELECT state FROM order_engine.relay_status') eq 'unreachable';
	my %now = OrderEngine::sockets($pid);
	$closed ||= grep { !$now{$_} } keys %open;
	my $another = $closed && grep { !$open{$_} } keys %now;
	%open = %now;
	$another;
} 'another connection to the broker';
is($false_alarms, 0, 'a connection that is closed for being idle is no alarm');

OrderEngine::broker('stop', $broker);
wait_state('unreachable', 'with nothing to send it notices too that the broker is gone');
OrderEngine::broker('start', $broker);
wait_state('running', 'and that it is back');

# ---- killed under load ----

my $script = $node->basedir . '/load.sql';
append_to_file($script, "SELECT flow(array_agg(k ORDER BY k)) FROM account, generate_series(1, 10) i GROUP BY i;\n" x 20);
foreach my $round (1 .. 3)
{
	my ($out, $err) = ('', '');
	my $before = $node->safe_psql('shop', 'SELECT published FROM order_engine.relay_status');
	my $client = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('shop'), '-f', $script ],
		'<', \undef, '>', \$out, '2>', \$err);
	$node->poll_query_until('shop', "SELECT published > $before FROM order_engine.relay_status");
	OrderEngine::broker('kill', $broker);
	OrderEngine::broker('start', $broker);
	$client->finish;
	is($err, '', 'writers do not notice');
}
check_flow('broker killed under load');

# ---- silent ----

OrderEngine::broker('pause', $broker);
flow(5);
is($node->safe_psql('postgres', "SET statement_timeout = '30s'; CREATE DATABASE other; DROP DATABASE other; SELECT 1"), 1,
	'a broker that does not answer holds up nothing in the server');
OrderEngine::broker('resume', $broker);
check_flow('broker silent for a while');

# ---- a broker that has lost what it acknowledged ----

# To the client that is a fatal error: the broker's sequence numbers are behind its own.
my $relay = $node->safe_psql('shop', 'SELECT pid FROM order_engine.relay_status');

sub record
{
	my ($name) = @_;
	$node->safe_psql('shop', "SELECT order_engine.emit('lost', 'K', 't', to_json('$name'::text))");
	OrderEngine::wait_relayed($node);
	return;
}

OrderEngine::broker('topic', $broker, "${prefix}lost", 1);
record('before');
OrderEngine::broker('stop', $broker);
PostgreSQL::Test::RecursiveCopy::copypath("$broker/data", "$broker/snapshot");
OrderEngine::broker('start', $broker);
record('lost');
OrderEngine::broker('kill', $broker);
remove_tree("$broker/data");
rename "$broker/snapshot", "$broker/data" or die;
OrderEngine::broker('start', $broker);
record('after');
ok($node->log_contains(qr/the relay cannot publish: .*sequence desynchronization/), 'the client gives up with a fatal error');
is(join(',', map { $_->{payload} } OrderEngine::consume(topic => "${prefix}lost", bootstrap => $address)),
	'"before","after"', 'the relay opens another and goes on behind what was acknowledged');
is($node->safe_psql('shop', 'SELECT state, pid FROM order_engine.relay_status'), "running|$relay", 'in the same process');
check_flow('client opened again after a fatal error');

# ---- down for so long that the client looks for other brokers ----

$node->append_conf('postgresql.conf', "order_engine.kafka_config = '$config metadata.recovery.rebootstrap.trigger.ms=500'\n");
OrderEngine::broker('stop', $broker);
my $log_start = -s $node->logfile;
$node->reload;
flow(50);
OrderEngine::wait_for {
	my $times = () = slurp_file($node->logfile, $log_start) =~ /no Kafka broker has answered for 500 ms/g;
	$times >= 3;
} 'other clients';
wait_state('unreachable', 'however often the client is opened again');
OrderEngine::broker('start', $broker);
check_flow('broker back after that');
$node->append_conf('postgresql.conf', "order_engine.kafka_config = '$config'\n");
$node->reload;

# ---- an event that the broker refuses for good ----

$node->safe_psql('shop', "SELECT order_engine.emit('unborn', '1', 't', '{}')");
flow(1);
wait_state('blocked', 'a topic that does not exist blocks the relay');
is( $node->safe_psql('shop', "SELECT lag_events, refused > 0, last_error ~ 'nknown topic' AND last_error ~ 'unborn' FROM order_engine.relay_status"),
	'21|t|t', 'it says why, and skips nothing');
ok($node->log_contains(qr/the relay cannot publish: .*unborn/), 'in the log too');
OrderEngine::broker('topic', $broker, "${prefix}unborn", 1);
check_flow('topic made at last');
is((OrderEngine::consume(topic => "${prefix}unborn", count => 1, bootstrap => $address))[0]{key}, '1', 'the event that was refused has arrived');
wait_state('running', 'and the relay runs');

OrderEngine::broker('topic', $broker, "${prefix}narrow", 1, 'max.message.bytes=20000');
$node->safe_psql('shop', "SELECT order_engine.emit('narrow', '0', 't', '{}')");
OrderEngine::wait_relayed($node);
$node->safe_psql('shop', <<'EOF');
SELECT order_engine.emit('narrow', n::text, 't', to_json(repeat('x', CASE n WHEN 50 THEN 30000 ELSE 10 END))) FROM generate_series(1, 99) n;
EOF
wait_state('blocked', 'an event that is too large for its topic blocks the relay');
ok($node->poll_query_until('shop', "SELECT lag_events = 50 FROM order_engine.relay_status"), 'at that very event: those before it are published');
like($node->safe_psql('shop', 'SELECT last_error FROM order_engine.relay_status'), qr/size too large/, 'and it says why');
is( join(',', map { $_->{key} } OrderEngine::consume(topic => "${prefix}narrow", bootstrap => $address)),
	join(',', 0 .. 49), 'none behind it has overtaken it, though they were in other batches');

my @pass_over = slurp_file('doc/operations.md') =~ /can never be published.*?```sql\n(.*?)```.*?```sql\n(.*?)```/s;
$node->safe_psql('shop', $_) for @pass_over;
OrderEngine::wait_relayed($node);
is( join(',', map { $_->{key} } OrderEngine::consume(topic => "${prefix}narrow", bootstrap => $address)),
	join(',', 0 .. 49, 51 .. 99), 'it can be passed over as the manual says');
$node->safe_psql('shop', "SELECT order_engine.emit('narrow', '100', 't', to_json(repeat('x', 30000)))");
wait_state('blocked', 'the next one');

# ---- the server stops while the broker does not answer ----

my $began = time;
$node->stop('fast');
cmp_ok(time - $began, '<', 20, 'blocked: fast shutdown is fast');
$node->start;
OrderEngine::broker('pause', $broker);
flow(1);
$began = time;
$node->stop('fast');
cmp_ok(time - $began, '<', 20, 'broker silent: fast shutdown is fast');
OrderEngine::broker('resume', $broker);
OrderEngine::broker('stop', $broker);
$node->start;
flow(1);
$began = time;
$node->stop('fast');
cmp_ok(time - $began, '<', 20, 'broker down: fast shutdown is fast');
$node->append_conf('postgresql.conf', "order_engine.kafka_config = 'bootstrap.servers=nowhere.invalid:9092'\n");
$node->start;
flow(1);
$began = time;
$node->stop('fast');
cmp_ok(time - $began, '<', 20, 'broker without an address: fast shutdown is fast');

done_testing();
