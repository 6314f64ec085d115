# Helpers of the TAP tests: a node with the extension, a broker, what arrived there.
#
#   my $shop = OrderEngine::new_shop('main', publisher => 'kafka');
#   $shop->safe_psql('shop', ...);
#   my @records = OrderEngine::consume(topic => OrderEngine::topic($shop, 'order'), count => 3);

package OrderEngine;

use strict;
use warnings;

use Carp qw(croak);
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep time);

my $own_brokers = 0;
my %running;

# The broker that all tests share; script/test starts it.
sub bootstrap
{
	return $ENV{ORDER_ENGINE_KAFKA} || croak 'no ORDER_ENGINE_KAFKA: run the tests with script/test';
}

# Nodes share the broker, so each has topics of its own: prefix || aggregatetype.
sub topic_prefix
{
	my ($node) = @_;
	return sprintf('t%d.%s.', $$, $node->name);
}

sub topic
{
	my ($node, $aggregatetype) = @_;
	return topic_prefix($node) . $aggregatetype;
}

# A node that preloads the library, not started.  Options: publisher (none), bootstrap
# (the shared broker), databases ('shop'), allows_streaming, conf (text).
sub new_node
{
	my ($name, %option) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(allows_streaming => $option{allows_streaming} // 0);
	$node->append_conf('postgresql.conf', settings($node, %option));
	return $node;
}

# The same settings for a node that was made in another way (a standby, a restore).
sub settings
{
	my ($node, %option) = @_;
	my $publisher = $option{publisher} // 'none';
	my $databases = $option{databases} // 'shop';
	my $prefix = topic_prefix($node);
	my $conf = <<"EOF";
shared_preload_libraries = 'order_engine'
order_engine.databases = '$databases'
order_engine.publisher = '$publisher'
max_prepared_transactions = 20
EOF
	if ($publisher eq 'kafka')
	{
		my $bootstrap = $option{bootstrap} // bootstrap();
		$conf .= "order_engine.topic_prefix = '$prefix'\n";
		$conf .= "order_engine.kafka_config = 'bootstrap.servers=$bootstrap'\n";
	}
	return $conf . ($option{conf} // '') . "\n";
}

# A started node with the database "shop", the extension in it and its tables made.
# More options: partitions (4).
sub new_shop
{
	my ($name, %option) = @_;
	my $node = new_node($name, %option);
	$node->start;
	make_shop($node, 'shop', $option{partitions} // 4);
	return $node;
}

sub make_shop
{
	my ($node, $database, $partitions) = @_;
	$partitions //= 4;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, <<"EOF");
CREATE EXTENSION order_engine;
SET client_min_messages = error;
SELECT order_engine.setup($partitions);
EOF
	return;
}

# Waits for a condition of ours: true or dies after the timeout.
sub wait_for(&$;$)
{
	my ($condition, $what, $timeout) = @_;
	my $until = time() + ($timeout // $PostgreSQL::Test::Utils::timeout_default);
	until ($condition->())
	{
		croak "timed out waiting for $what" if time() > $until;
		usleep(20_000);
	}
	return 1;
}

# The processes of a node, its postmaster first.
sub processes
{
	my ($node) = @_;
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	return ($postmaster, split /\n/, $node->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity'));
}

# The sockets that a process has open, each with a 1 behind it.
sub sockets
{
	my ($pid) = @_;
	return map { $_ => 1 } grep { defined && /^socket/ } map { readlink } glob("/proc/$pid/fd/*");
}

# kill -9 of the postmaster at once, and a start when the processes (as processes() told
# before) have noticed: until then they hold the old shared memory.
sub crash
{
	my ($node, @processes) = @_;
	$node->kill9;
	wait_for { !grep { kill 0, $_ } @processes } 'the server processes to end';
	$node->start;
	return;
}

# Waits until all that is committed now has been delivered: asks stat_relay, whose lag
# counts the events that no acknowledged position covers.
sub wait_relayed
{
	my ($node, $database) = @_;
	$node->poll_query_until($database // 'shop', 'SELECT lag_events = 0 FROM order_engine.relay_status')
	  or croak 'the relay did not catch up';
	return;
}

# Records of a topic from its beginning: hashes with topic, partition, offset, key, payload
# and headers (a hash; the payload is the bytes that arrived).  With count, waits until
# there are that many; without, reads to the end.  Options: topic, count, bootstrap, timeout,
# partition.
sub consume
{
	my (%option) = @_;
	my $timeout = $option{timeout} // $PostgreSQL::Test::Utils::timeout_default;
	my @command = ('timeout', $timeout, 'kcat', '-C', '-q', '-J', '-u',
		'-b', $option{bootstrap} // bootstrap(),
		'-t', $option{topic}, '-o', 'beginning',
		# a topic that appears later is seen soon
		'-X', 'topic.metadata.refresh.interval.ms=200', '-X', 'allow.auto.create.topics=false');
	push @command, '-p', $option{partition} if defined $option{partition};
	if (defined $option{count})
	{
		return () if $option{count} == 0;
		wait_for_topic(%option, timeout => $timeout);
		push @command, '-c', $option{count};
	}
	else
	{
		push @command, '-e';
	}
	my ($out, $err) = ('', '');
	IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err)
	  or croak "could not read topic $option{topic}: $err (" . length($out) . " bytes came)";
	return map { record($_) } split /\n/, $out;
}

# kcat gives up on a topic that does not exist yet.
sub wait_for_topic
{
	my (%option) = @_;
	my @command = ('kcat', '-L', '-J', '-m', '5', '-b', $option{bootstrap} // bootstrap(), '-t', $option{topic},
		'-X', 'allow.auto.create.topics=false');
	wait_for {
		my ($out, $err) = ('', '');
		return 0 unless IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err);
		my ($topic) = @{ JSON::PP::decode_json($out)->{topics} };
		return $topic && !$topic->{error} && @{ $topic->{partitions} } > 0;
	} "topic $option{topic}", $option{timeout};
	return;
}

sub record
{
	my ($line) = @_;
	my $record = JSON::PP::decode_json($line);
	my @headers = @{ $record->{headers} // [] };
	$record->{headers} = {};
	while (@headers)
	{
		my ($name, $value) = splice(@headers, 0, 2);
		$record->{headers}{$name} = $value;
	}
	return $record;
}

# A broker of the test's own, which it may stop, kill and pause: returns its folder, to be
# given to broker().  It ends with the test.
sub new_broker
{
	my (@properties) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir() . '/kafka' . ++$own_brokers;
	broker('start', $dir, @properties);
	$running{$dir} = 1;
	return $dir;
}

# Of the listener for plain text, or another that KAFKA_LISTENERS asked for.
sub broker_address
{
	my ($dir, $protocol) = @_;
	my $address = slurp_file("$dir/bootstrap" . ($protocol ? ".$protocol" : ''));
	chomp $address;
	return $address;
}

# broker('stop' | 'start' | 'kill' | 'pause' | 'resume' | 'restart' | 'topic', $dir, ...)
sub broker
{
	my ($command, $dir, @arguments) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $ENV{KAFKA}, $command, $dir, @arguments ], '<', \undef, '>', \$out, '2>', \$err)
	  or croak "kafka $command failed: $err";
	return;
}

# Makes a topic with that many partitions on the shared broker.
sub create_topic
{
	my ($name, $partitions, @properties) = @_;
	croak 'no ORDER_ENGINE_KAFKA_DIR: run the tests with script/test' unless $ENV{ORDER_ENGINE_KAFKA_DIR};
	broker('topic', $ENV{ORDER_ENGINE_KAFKA_DIR}, $name, $partitions, @properties);
	return;
}

END
{
	# a test's exit status is not to be that of these commands
	local $?;
	foreach my $dir (keys %running)
	{
		eval { broker('stop', $dir) };
	}
}

1;
