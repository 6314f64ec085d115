# The relay is woken, idles, pauses, follows its settings, and keeps secrets.
# needs the Kafka of script/test

use strict;
use warnings;

use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = OrderEngine::new_shop('relay_control', publisher => 'kafka');
my $topic = OrderEngine::topic($node, 'note');
my $bootstrap = 'bootstrap.servers=' . OrderEngine::bootstrap();

sub emit
{
	my ($key) = @_;
	$node->safe_psql('shop', "SELECT order_engine.emit('note', '$key', 't', '{}')");
	return;
}

sub keys_of
{
	my ($count) = @_;
	return join ',', sort map { $_->{key} } OrderEngine::consume(topic => $topic, count => $count);
}

sub set_conf
{
	my (%settings) = @_;
	$node->append_conf('postgresql.conf', "$_ = '$settings{$_}'") foreach sort keys %settings;
	$node->reload;
	return;
}

sub wait_state
{
	my ($state, $name) = @_;
	return ok($node->poll_query_until('shop', "SELECT state = '$state' FROM order_engine.relay_status"), $name);
}

# ---- woken by commits: with an hour between its own looks, nothing else could do it ----

emit('first');
OrderEngine::wait_relayed($node);
set_conf('order_engine.worker_idle_timeout' => '1h');
ok($node->poll_query_until('shop', "SELECT current_setting('order_engine.worker_idle_timeout') = '1h'"), 'idle timeout is long');
foreach my $round (1 .. 20)
{
	emit("woken$round");
	OrderEngine::wait_relayed($node);
}
pass('a commit wakes the relay');

$node->safe_psql('shop', "BEGIN; SELECT order_engine.emit('note', 'rolled back', 't', '{}'); ROLLBACK");
$node->safe_psql('shop', <<'EOF');
BEGIN;
SAVEPOINT s;
SELECT order_engine.emit('note', 'to savepoint', 't', '{}');
ROLLBACK TO s;
SELECT order_engine.emit('note', 'kept', 't', '{}');
COMMIT;
EOF
$node->safe_psql('shop', "INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type, payload) VALUES ('note', 'raw', 't', '{}')");
is(keys_of(23), join(',', sort 'first', 'kept', 'raw', map { "woken$_" } 1 .. 20),
	'of savepoints only what was committed; a raw INSERT wakes it too');

# ---- pause and resume ----

is($node->safe_psql('shop', 'SELECT order_engine.pause_relay()'), 't', 'pause');
is($node->safe_psql('shop', 'SELECT order_engine.pause_relay()'), 'f', 'once');
wait_state('paused', 'the relay pauses at once');
emit('while paused');
$node->restart;
wait_state('paused', 'and still after a restart');
is($node->safe_psql('shop', 'SELECT lag_events, published FROM order_engine.relay_status'), '1|0', 'nothing is published meanwhile');
$node->safe_psql('shop', 'BEGIN; SELECT order_engine.resume_relay(); ROLLBACK');
is($node->safe_psql('shop', 'SELECT state FROM order_engine.relay_status'), 'paused', 'a resume that is rolled back is none');
is($node->safe_psql('shop', 'SELECT order_engine.resume_relay()'), 't', 'resume');
OrderEngine::wait_relayed($node);
wait_state('running', 'the relay runs');
is(scalar(grep { $_->{key} eq 'while paused' } OrderEngine::consume(topic => $topic, count => 24)), 1, 'and publishes what has gathered');

# ---- idle ----

set_conf('order_engine.worker_idle_timeout' => '1s');
my $pid = $node->safe_psql('shop', 'SELECT pid FROM order_engine.relay_status');

sub switches
{
	my ($n) = slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m;
	return $n;
}

# Windows of time: how often it wakes in one, and what it writes in another.
OrderEngine::wait_for {
	my $before = switches();
	$node->safe_psql('postgres', 'SELECT pg_sleep(3)');
	my $slept = switches() - $before;
	note("woke $slept times in 3 s");
	$slept <= 6;
} 'the relay to be idle';
pass('idle, it wakes about once a second');
my $wal = $node->safe_psql('shop', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', 'SELECT pg_sleep(2)');
cmp_ok($node->safe_psql('shop', "SELECT pg_current_wal_insert_lsn() - '$wal'"), '<', 5000, 'and writes next to nothing');

# ---- prepared transactions have no wake-up: the look once a second finds them ----

$node->safe_psql('shop', "BEGIN; SELECT order_engine.emit('note', 'prepared', 't', '{}'); PREPARE TRANSACTION 'p'");
emit('after');
OrderEngine::wait_relayed($node);
$node->safe_psql('shop', "COMMIT PREPARED 'p'");
ok(scalar(grep { $_->{key} eq 'prepared' } OrderEngine::consume(topic => $topic, count => 26)),
	'COMMIT PREPARED: published, though later ids went before');

# ---- settings ----

set_conf('order_engine.topic_prefix' => OrderEngine::topic_prefix($node) . 'other.');
emit('other prefix');
is((OrderEngine::consume(topic => OrderEngine::topic($node, 'other.note'), count => 1))[0]{key}, 'other prefix',
	'a new topic prefix is followed');

sub config_refused
{
	my ($config, $error, $name) = @_;
	set_conf('order_engine.kafka_config' => "$bootstrap $config");
	ok($node->poll_query_until('shop', "SELECT state = 'blocked' AND last_error ~ '$error' FROM order_engine.relay_status"),
		"refused: $name");
	return;
}

my $log_start = -s $node->logfile;
config_refused('enable.idempotence=false', '"enable.idempotence" is set by the relay', 'a property that the relay owns');
config_refused('partitioner=random', '"partitioner" is set by the relay', 'another');
config_refused('no.such.property=1', 'No such configuration property', 'an unknown property');
config_refused('retry.backoff.ms=soon', 'retry.backoff.ms', 'a value that is none');
my $at = length($bootstrap) + 2;
config_refused("sasl.password=''unterminated", "unterminated quoted value in what begins at character $at", 'a string that cannot be parsed');
$at += length('sasl.password=Tr0ub ');
config_refused('sasl.password=Tr0ub 4dor', "missing .=. in what begins at character $at", 'a password that is not quoted');
set_conf('order_engine.kafka_config' => 'compression.codec=lz4');
ok($node->poll_query_until('shop', q{SELECT state = 'blocked' AND last_error ~ '"bootstrap.servers" is not set' FROM order_engine.relay_status}),
	'refused: a configuration that names no broker');
emit('while refused');

my $secret = 'Tr0ub4dor';
set_conf('order_engine.kafka_config' => "$bootstrap sasl.password=$secret ssl.key.password=''a $secret''");
ok($node->poll_query_until('shop', "SELECT current_setting('order_engine.kafka_config') LIKE '%ssl.key%'"), 'reloaded');
is($node->safe_psql('shop', 'SHOW order_engine.kafka_config'),
	"$bootstrap sasl.password=******** ssl.key.password=********", 'SHOW masks secrets');
is($node->safe_psql('shop', "SELECT count(*) FROM pg_settings s WHERE s::text LIKE '%$secret%'"), 0, 'so does pg_settings');
$node->safe_psql('shop', 'CREATE ROLE nobody');
my ($status, $out, $err) = $node->psql('shop', 'SET ROLE nobody; SHOW order_engine.kafka_config');
like($err, qr/must be superuser or have privileges|permission denied/, 'and others may not see it at all');
OrderEngine::wait_relayed($node);
wait_state('running', 'secrets in the setting are used all the same');

my $file = $node->data_dir . '/kafka.properties';
append_to_file($file, "# a file in Java's way\n! another comment\n\nbootstrap.servers: " . OrderEngine::bootstrap()
	  . "\nclient.id = from\\\n  file\nsasl.password=$secret\n");
set_conf('order_engine.kafka_config' => '', 'order_engine.kafka_config_file' => $file);
emit('from file');
OrderEngine::wait_relayed($node);
wait_state('running', 'properties come from a file');
append_to_file($file, "acks=0\n");
$node->reload;
wait_state('blocked', 'which is read again on reload');
append_to_file($file, "ssl.key.pem=-----BEGIN PRIVATE KEY-----\n4dorTr0ub\n");
$node->reload;
ok($node->poll_query_until('shop', "SELECT last_error ~ 'missing .=. in line 10 of file' FROM order_engine.relay_status"),
	'a key whose lines are not continued');
my $latin1 = $node->data_dir . '/latin1.properties';
append_to_file($latin1, "bootstrap.servers=nowhere\ns\xfc\xdf=1\n");
set_conf('order_engine.kafka_config_file' => $latin1);
ok( $node->poll_query_until('shop',
		q{SELECT last_error LIKE 'No such configuration property: "s__"' AND (getdatabaseencoding() <> 'UTF8' OR last_error LIKE '%"s??"') FROM order_engine.relay_status}),
	'what is no text of this database becomes such');
set_conf('order_engine.kafka_config_file' => '/no/such/file');
ok($node->poll_query_until('shop', "SELECT last_error LIKE 'could not open file%' FROM order_engine.relay_status"),
	'a file that is missing is told of');
set_conf('order_engine.kafka_config' => $bootstrap, 'order_engine.kafka_config_file' => '');
OrderEngine::wait_relayed($node);
wait_state('running', 'all is well again');
unlike(slurp_file($node->logfile, $log_start), qr/(?:librdkafka|cannot publish).*(?:$secret|unterminated''|4dor)/, 'the relay has logged no secret');

# ---- a topic that no broker can have, in a row that came round the checks ----

$node->safe_psql('shop', <<'EOF');
SET session_replication_role = replica;
INSERT INTO order_engine.outbox (id, aggregatetype, aggregateid, type, topic, created_at, xid, era)
SELECT order_engine.next_order_id(1), 'note', 'long', 't', repeat('o', 250), now(), pg_current_xact_id(), system_identifier
FROM pg_control_system();
EOF
emit('behind it');
ok( $node->poll_query_until('shop',
		"SELECT state = 'blocked' AND last_error ~ 'name has at most 249 characters .topic .o{250}' FROM order_engine.relay_status"),
	'a topic whose name is too long blocks the relay, which says so');

$node->stop;
done_testing();
