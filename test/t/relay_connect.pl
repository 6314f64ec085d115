# A client that nobody lets in: a forgotten security.protocol, a wrong port, a silent one.
# relay_status says so and why; and of a healthy broker it never says such a thing.
# needs the Kafka of script/test

use strict;
use warnings;

use IO::Socket::INET;
use IPC::Run ();
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

$ENV{KAFKA_LISTENERS} = 'SSL SASL_PLAINTEXT';
my $broker = OrderEngine::new_broker('connections.max.idle.ms=5000');
my %address = map { $_ => OrderEngine::broker_address($broker, $_) } '', 'SSL', 'SASL_PLAINTEXT';
my $node = OrderEngine::new_shop('relay_connect', publisher => 'kafka', bootstrap => $address{''});

sub status
{
	my ($columns) = @_;
	return $node->safe_psql('shop', "SELECT $columns FROM order_engine.relay_status");
}

sub use_client
{
	my ($address, $properties) = @_;
	$node->append_conf('postgresql.conf', "order_engine.kafka_config = 'bootstrap.servers=$address reconnect.backoff.max.ms=200 $properties'\n");
	$node->reload;
	return;
}

sub wait_state
{
	my ($state, $name) = @_;
	return ok($node->poll_query_until('shop', "SELECT state = '$state' FROM order_engine.relay_status"), $name);
}

sub wait_unreachable
{
	my ($why, $name) = @_;
	return ok($node->poll_query_until('shop', "SELECT state = 'unreachable' AND last_error ~ '$why' FROM order_engine.relay_status"), $name);
}

sub emit
{
	$node->safe_psql('shop', "SELECT order_engine.emit('note', 'K', 't', '1')");
	return;
}

# ---- a healthy broker ----

# The states that were seen until the broker has closed some idle connections.
sub states_while_idle
{
	my ($closings) = @_;
	my %seen;
	my $pid = status('pid');
	my %open = OrderEngine::sockets($pid);
	OrderEngine::wait_for {
		$seen{ status('state') } = 1;
		my %now = OrderEngine::sockets($pid);
		$closings -= grep { !$now{$_} } keys %open;
		%open = %now;
		$closings <= 0;
	} 'connections to be closed for being idle';
	return join ' ', sort keys %seen;
}

# Longer than nobody's answer is waited for, with nothing to send.
wait_state('running', 'the relay has been started');
is(states_while_idle(4), 'running', 'a client that has just been opened runs, and goes on so while it has nothing to do');
emit();
OrderEngine::wait_relayed($node);
is(status('state, last_error'), 'running|', 'it publishes');

# As where a name has two addresses, and the broker listens at the second.
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5, Proto => 'tcp') or die $!;
my $port = $listener->sockport;
my ($out, $err) = ('', '');
my $forward = <<'EOF';
$s = IO::Socket::INET->new_from_fd(0, 'r+');
close $s->accept;
$SIG{CHLD} = 'IGNORE';
do { $c = $s->accept } while fork and close $c;
close $s;
$b = IO::Socket::INET->new($ARGV[0]);
$both = IO::Select->new($c, $b);
while (@ready = $both->can_read)
{
	foreach $from (@ready)
	{
		sysread($from, $bytes, 65536) or exit;
		syswrite($from == $c ? $b : $c, $bytes);
	}
}
EOF
my $forwarder = IPC::Run::start([ $^X, '-MIO::Socket::INET', '-MIO::Select', '-e', $forward, $address{''} ],
	'<', $listener, '>', \$out, '2>', \$err);
use_client("127.0.0.1:$port", 'client.id=forwarded');
# A window of time: the alarm would begin with the failure and end with the statistics, every 5 s.
my $window = time + 7;
my %states;
OrderEngine::wait_for { $states{ status('state') } = 1; time >= $window } 'the end of the window';
is(join(' ', sort keys %states), 'running', 'a first try that fails while the next one does not is no alarm');
ok($node->log_contains(qr/FAIL: 127\.0\.0\.1:$port/), 'the first try has failed');
emit();
OrderEngine::wait_relayed($node);
$forwarder->kill_kill;

# ---- what the broker wants and the client does not know ----

my $log_start = -s $node->logfile;
use_client($address{SSL}, '');
emit();
wait_unreachable('security\.protocol', 'a plain client at a listener for TLS reaches nobody, and says why');
is(status('lag_events'), 1, 'the event waits');
ok($node->log_contains(qr/librdkafka: FAIL: \Q$address{SSL}\E/, $log_start), 'the log has it too');
use_client($address{SSL}, "security.protocol=ssl ssl.ca.location=$broker/certificate.pem");
OrderEngine::wait_relayed($node);
wait_state('running', 'with the property it publishes');

use_client($address{SASL_PLAINTEXT}, '');
emit();
wait_unreachable('security\.protocol', 'a client without a password where one is asked for reaches nobody, and says why');
my ($reopened, %seen) = (0);
$log_start = -s $node->logfile;
use_client($address{SASL_PLAINTEXT}, 'metadata.recovery.rebootstrap.trigger.ms=500');
OrderEngine::wait_for { $node->log_contains(qr/no Kafka broker has answered for 500 ms/, $log_start) } 'another client';
wait_state('unreachable', 'the same for a client that is opened again and again');
$log_start = -s $node->logfile;
OrderEngine::wait_for {
	$seen{ status('state') } = 1;
	$reopened = () = slurp_file($node->logfile, $log_start) =~ /no Kafka broker has answered for 500 ms/g;
	$reopened >= 3;
} 'other clients';
is(join(' ', sort keys %seen), 'unreachable', 'which says so all the time');
use_client($address{SASL_PLAINTEXT}, 'security.protocol=sasl_plaintext sasl.mechanism=PLAIN sasl.username=relay sasl.password=wrong');
wait_unreachable('uthentication failed', 'a wrong password is told');
use_client($address{SASL_PLAINTEXT}, 'security.protocol=sasl_plaintext sasl.mechanism=PLAIN sasl.username=relay sasl.password=secret');
OrderEngine::wait_relayed($node);
wait_state('running', 'with the right one it publishes');

# A listener that asks for a password only since the broker was started again.
use_client($address{''}, '');
emit();
OrderEngine::wait_relayed($node);
OrderEngine::broker('stop', $broker);
my $swapped = slurp_file("$broker/server.properties");
$swapped =~ s/(\Q$address{''}\E|\Q$address{SASL_PLAINTEXT}\E)/$1 eq $address{''} ? $address{SASL_PLAINTEXT} : $address{''}/ge;
unlink "$broker/server.properties";
append_to_file("$broker/server.properties", $swapped);
OrderEngine::broker('start', $broker);
emit();
wait_unreachable('security\.protocol', 'a broker that asks for a password of late');
use_client($address{SASL_PLAINTEXT}, '');
OrderEngine::wait_relayed($node);
wait_state('running', 'and one that asks for none any more');

# ---- no broker at all ----

$listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5, Proto => 'tcp') or die $!;
$port = $listener->sockport;
use_client("127.0.0.1:$port", '');
emit();
wait_unreachable("127.0.0.1:$port|no broker answers", 'a port that takes connections and says nothing');

my $closer = IPC::Run::start(
	[ $^X, '-MIO::Socket::INET', '-e', '$s = IO::Socket::INET->new_from_fd(0, "r+"); close $s->accept while 1' ],
	'<', $listener, '>', \$out, '2>', \$err);
$node->append_conf('postgresql.conf', "order_engine.kafka_config = 'bootstrap.servers=$address{SASL_PLAINTEXT}'\n");
$node->reload;
OrderEngine::wait_relayed($node);
wait_state('running', 'the right port');
use_client("127.0.0.1:$port", '');
wait_unreachable("127.0.0.1:$port", 'a port that closes connections at once, with nothing to send');
$closer->kill_kill;

$node->stop;
done_testing();
