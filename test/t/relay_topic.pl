# Topics and partitions that are new: the first event of each goes alone, those behind it
# wait for it, in order, and nobody else does.
# needs the Kafka of script/test

use strict;
use warnings;

use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = OrderEngine::new_broker('auto.create.topics.enable=false');
my $address = OrderEngine::broker_address($broker);
my $node = OrderEngine::new_shop('relay_topic', publisher => 'kafka', bootstrap => $address);
my $prefix = OrderEngine::topic_prefix($node);

# Another client: nothing is known to it of any topic.
sub use_client
{
	my ($properties) = @_;
	$node->append_conf('postgresql.conf', "order_engine.kafka_config = 'bootstrap.servers=$address $properties'\n");
	$node->reload;
	$node->poll_query_until('shop', "SELECT current_setting('order_engine.kafka_config') LIKE '%$properties'") or BAIL_OUT('no reload');
	return;
}

sub make_topic
{
	my ($name, @arguments) = @_;
	OrderEngine::broker('topic', $broker, "$prefix$name", @arguments);
	return;
}

sub consume
{
	my ($name, %option) = @_;
	return OrderEngine::consume(topic => "$prefix$name", bootstrap => $address, %option);
}

sub lag
{
	return $node->safe_psql('shop', 'SELECT state, lag_events FROM order_engine.relay_status');
}

# How many events of a key come for the first time before one with a lower number does.
sub overtaken
{
	my %last;
	my $overtaken = 0;
	foreach my $record (@_)
	{
		my $last = $last{ $record->{key} } // 0;
		$overtaken++ if $record->{payload} > $last && $record->{payload} != $last + 1;
		$last{ $record->{key} } = $record->{payload} if $record->{payload} > $last;
	}
	return $overtaken;
}

sub distinct
{
	my %seen = map { ("$_->{key} $_->{payload}" => 1) } @_;
	return scalar keys %seen;
}

# Events of 20 keys, numbered for each.
sub events
{
	my ($type, $count) = @_;
	return "SELECT order_engine.emit('$type', (n % 20)::text, 't', to_json(n / 20 + 1)) FROM generate_series(0, $count - 1) n";
}

# ---- a topic that is not there yet ----

use_client('topic.metadata.propagation.max.ms=2000000');
make_topic('there', 4);
$node->safe_psql('shop', 'BEGIN; ' . events('late', 200) . '; ' . events('there', 2000) . '; COMMIT');
my @there = consume('there', count => 2000);
is(lag(), 'running|2200', 'while a topic that does not exist is waited for, nothing is acknowledged behind it');
is(distinct(@there) . ' ' . overtaken(@there), '2000 0', 'but the events of another new topic have arrived, in order');
make_topic('late', 4);
OrderEngine::wait_relayed($node);
my @late = consume('late');
is(scalar(@late) . ' ' . overtaken(@late), '200 0', 'those of the topic arrive when it is made, each once, in order');

# More than is held back: then all wait, but nothing is lost, and nobody waits for ever.
$node->safe_psql('shop', "BEGIN; SELECT order_engine.emit('large', n::text, 't', to_json(repeat('x', 900000))) FROM generate_series(1, 30) n; "
	  . events('there', 20) . '; COMMIT');
ok($node->poll_query_until('shop', "SELECT lag_events = 50 FROM order_engine.relay_status"), 'more events than can be held back');
make_topic('large', 1);
OrderEngine::wait_relayed($node);
my ($keys) = run_command([ 'kcat', '-C', '-q', '-e', '-b', $address, '-t', "${prefix}large", '-o', 'beginning', '-f', '%k ' ]);
is($keys, join(' ', 1 .. 30, ''), 'arrive all the same');

# ---- the client is closed while events are held back ----

$node->safe_psql('shop', events('later', 200));
use_client('topic.metadata.propagation.max.ms=2000001');
make_topic('later', 4);
OrderEngine::wait_relayed($node);
my @later = consume('later');
is(distinct(@later) . ' ' . overtaken(@later), '200 0', 'what a client held back when it was closed, the next one sends');

# ---- the first event of a partition ----

# Of a partition that has seen nothing of this client yet the broker takes a later request
# although it refused the first, and librdkafka then counts the first as delivered.
use_client('debug=msg');
my $log_start = -s $node->logfile;
make_topic('first', 4);
$node->safe_psql('shop', <<'EOS');
SELECT order_engine.emit('first', (n % 20)::text, 't', to_json(n / 20 + 1)) FROM generate_series(0, 199) n;
SELECT order_engine.emit('first', 'named', 't', '1', partition => n % 4) FROM generate_series(1, 100) n;
EOS
OrderEngine::wait_relayed($node);
my $log = slurp_file($node->logfile, $log_start);
my %requests;
push @{ $requests{$2} }, "$1 $3"
  while $log =~ /librdkafka: (PRODUCE|MSGSET): .*\Q${prefix}first\E \[(\d)\]: .* with (\d+) message/g;
is_deeply(
	{ map { $_ => join(' ', @{ $requests{$_} }[0 .. 1]) } keys %requests },
	{ map { $_ => 'PRODUCE 1 MSGSET 1' } 0 .. 3 },
	'the first event of each partition goes alone, and nothing behind it before it is there');
my @first = consume('first');
is(scalar(@first), 300, 'all have arrived');
is(overtaken(grep { $_->{key} ne 'named' } @first), 0, 'in order');

# ---- what is held back behind an event that is refused ----

use_client('topic.metadata.propagation.max.ms=500');
$node->safe_psql('shop', 'BEGIN; ' . events('unborn', 200) . '; ' . events('there', 20) . '; COMMIT');
ok($node->poll_query_until('shop', "SELECT state = 'blocked' AND last_error ~ 'unborn' FROM order_engine.relay_status"),
	'a topic that is not there in time blocks the relay');
make_topic('unborn', 4);
OrderEngine::wait_relayed($node);
my @unborn = consume('unborn');
is(distinct(@unborn) . ' ' . overtaken(@unborn), '200 0', 'when it is made, what was held back arrives in order');

# A partition that there is not, behind one that is probed and before one that waits.
$node->safe_psql('shop', <<'EOS');
SELECT pg_terminate_backend(pid) FROM order_engine.relay_status;
SELECT order_engine.emit('there', 'K', 't', '1');
SELECT order_engine.emit('there', 'K', 't', '2', partition => 4);
SELECT order_engine.emit('there', 'K', 't', '3');
EOS
ok($node->poll_query_until('shop', "SELECT state = 'blocked' AND last_error ~ 'nknown partition' AND lag_events = 2 FROM order_engine.relay_status"),
	'a partition that there is not blocks the relay at that very event');
is(join(',', map { $_->{payload} } grep { $_->{key} eq 'K' } consume('there')), '1', 'and nothing overtakes it');
my @pass_over = slurp_file('doc/operations.md') =~ /can never be published.*?```sql\n(.*?)```.*?```sql\n(.*?)```/s;
$node->safe_psql('shop', $_) for @pass_over;
OrderEngine::wait_relayed($node);
is(join(',', map { $_->{payload} } grep { $_->{key} eq 'K' } consume('there')), '1,3', 'until it is passed over');

$node->stop;
done_testing();
