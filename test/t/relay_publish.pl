# What arrives in Kafka: topic, key, partition, headers and the payload's very bytes.
# needs the Kafka of script/test

use strict;
use warnings;
use utf8;

use Encode ();
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = OrderEngine::new_shop('relay_publish', publisher => 'kafka');

sub publish
{
	my ($sql) = @_;
	$node->safe_psql('shop', Encode::encode_utf8($sql));
	OrderEngine::wait_relayed($node);
	return;
}

sub only_record
{
	my ($topic) = @_;
	my @records = OrderEngine::consume(topic => $topic, count => 1);
	return $records[0];
}

# ---- one event, whole ----

my $traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
my $payload = '{"b" :1,  "a": [ ], "é": null, "big": 12345678901234567890.10}';
publish(<<"EOF");
SELECT order_engine.emit('parcel', 'P-1', 'parcel.sent', '$payload',
	'{"traceparent": "$traceparent", "tracestate": "a=b", "seq": 7, "tenant": "berlin", "empty": ""}')
EOF
my $record = only_record(OrderEngine::topic($node, 'parcel'));
is($record->{key}, 'P-1', 'the key is the aggregate id');
is($record->{payload}, $payload, 'the payload has not been re-modelled');
like(delete $record->{headers}{id}, qr/^[0-9]{15,19}$/, 'header id: the event id as text');
is_deeply(
	$record->{headers},
	{
		type => 'parcel.sent',
		'content-type' => 'application/json',
		traceparent => $traceparent,
		tracestate => 'a=b',
		seq => '7',
		tenant => 'berlin',
		empty => '',
	},
	'its type, content type, trace context, seq, and what the row has');

# ---- routing ----

my $elsewhere = OrderEngine::topic($node, 'elsewhere');
publish("SELECT order_engine.emit('parcel', 'P-2', 'parcel.sent', '{}', topic => '$elsewhere')");
is(only_record($elsewhere)->{key}, 'P-2', 'an event that names a topic goes there');

my $four = OrderEngine::topic($node, 'four');
OrderEngine::create_topic($four, 4);
publish("SELECT order_engine.emit('four', 'same key', 't', to_json(n), partition => n) FROM generate_series(0, 3) n");
is_deeply(
	{ map { $_->{partition} => $_->{payload} } OrderEngine::consume(topic => $four, count => 4) },
	{ 0 => '0', 1 => '1', 2 => '2', 3 => '3' },
	'an event that names a partition goes there, whatever its key');

# The vectors come from other clients: librdkafka's own default would fail them.
my $thirty_two = OrderEngine::topic($node, 'thirty_two');
my $ten = OrderEngine::topic($node, 'ten');
OrderEngine::create_topic($thirty_two, 32);
OrderEngine::create_topic($ten, 10);
publish(<<'EOF');
SELECT order_engine.emit('thirty_two', 'fd7af248-ce5c-46a5-93d7-1c0c9005b99d', 't', '{}');
SELECT order_engine.emit('ten', '354afe16-939a-4ea8-8e17-8bb0840b6886', 't', '{}');
SELECT order_engine.emit('ten', 'f562ac3b-2224-4e25-a0ab-56094e10c239', 't', '{}');
EOF
is(only_record($thirty_two)->{partition}, 26, 'a key goes to the partition that Java would choose: of 32');
is_deeply(
	{ map { $_->{key} => $_->{partition} } OrderEngine::consume(topic => $ten, count => 2) },
	{ '354afe16-939a-4ea8-8e17-8bb0840b6886' => 4, 'f562ac3b-2224-4e25-a0ab-56094e10c239' => 5 },
	'of 10');

# ---- values that are no JSON ----

publish("SELECT order_engine.emit('tombstone', 'T-1', 'gone', NULL)");
$record = only_record(OrderEngine::topic($node, 'tombstone'));
ok(!defined $record->{payload}, 'an event without a payload is a tombstone');
ok(!exists $record->{headers}{'content-type'}, 'and has no content type');

publish(<<'EOF');
INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type, payload_bytes, headers)
VALUES ('binary', 'B-1', 'avro', '\x00000000010203', '{"content-type": "avro/binary"}')
EOF
$record = only_record(OrderEngine::topic($node, 'binary'));
is(join('', map { sprintf '%02x', ord } split //, $record->{payload}), '00000000010203', 'bytes pass unchanged');
is($record->{headers}{'content-type'}, 'avro/binary', 'with the content type that the row gives');

# ---- order of a key ----

publish(<<'EOF');
DO $$ BEGIN
	FOR n IN 1..2000 LOOP
		PERFORM order_engine.emit('ordered', 'K-' || n % 5, 't', to_json(n));
		IF n % 97 = 0 THEN COMMIT; END IF;
	END LOOP;
END $$
EOF
my %last;
my $out_of_order = 0;
my @ordered = OrderEngine::consume(topic => OrderEngine::topic($node, 'ordered'), count => 2000);
foreach my $r (@ordered)
{
	$out_of_order++ if $r->{payload} <= ($last{ $r->{key} } // 0);
	$last{ $r->{key} } = $r->{payload};
}
is(scalar @ordered, 2000, 'every event arrives');
is($out_of_order, 0, 'those of one key in the order of their commits');

# ---- what relay_status says ----

is( $node->safe_psql('shop',
		'SELECT state, publisher, lag_events, lag_bytes, lag_seconds, refused, last_error IS NULL FROM order_engine.relay_status'),
	'running|kafka|0|0|0|0|t',
	'relay_status: all is well');
is($node->safe_psql('shop', 'SELECT published FROM order_engine.relay_status'), 2011, 'and counts what was published');

# ---- as large as the settings allow ----

OrderEngine::create_topic(OrderEngine::topic($node, 'huge'), 1, 'max.message.bytes=90000000');
$node->append_conf('postgresql.conf', "order_engine.max_message_bytes = '80MB'\n");
$node->reload;
ok($node->poll_query_until('shop', "SELECT current_setting('order_engine.max_message_bytes') = '80MB'"), 'large messages are allowed');
publish("SELECT order_engine.emit('huge', 'H-1', 't', to_json(repeat('x', 70 * 1024 * 1024)))");
is($node->safe_psql('shop', 'SELECT state, last_error FROM order_engine.relay_status'), 'running|', 'and published');

# ---- the log as publisher, then none ----

my $log_start = -s $node->logfile;
$node->append_conf('postgresql.conf', "order_engine.publisher = 'log'\n");
$node->reload;
ok($node->poll_query_until('shop', "SELECT publisher = 'log' FROM order_engine.relay_status"), 'a reload changes the publisher');
publish(q{SELECT order_engine.emit('note', 'N-1', 'noted', '{"hello": "log"}')});
ok($node->log_contains(qr/event for topic "\S+note": key "N-1", 16 bytes.*\n.*DETAIL:\s+\{"hello": "log"\}/, $log_start),
	'publisher log writes events to the server log');
publish(q{INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type, payload_bytes) VALUES ('note', 'N-2', 'cut', '\x414243e2')});
ok($node->log_contains(qr/key "N-2", 4 bytes.*\n.*DETAIL:\s+ABC\xe2\n/, $log_start), 'and no byte more than they have, where the last one begins a character');

$node->append_conf('postgresql.conf', "order_engine.publisher = 'none'\n");
$node->reload;
ok($node->poll_query_until('shop', "SELECT state = 'disabled' FROM order_engine.relay_status"), 'publisher none');
$node->safe_psql('shop', "SELECT order_engine.emit('later', 'L-1', 't', '{}')");
$node->append_conf('postgresql.conf', "order_engine.publisher = 'kafka'\n");
$node->reload;
is(only_record(OrderEngine::topic($node, 'later'))->{key}, 'L-1', 'publishes nothing: what gathers is there for the next');

$node->stop;
done_testing();
