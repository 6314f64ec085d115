# Many clients buy, pay, cancel, return, receive, correct, close and switch the mode of a few
# SKUs, in transactions with savepoints, some of which they roll back or prepare, now and then
# with too little memory for all that are in mode escrow, while processes are killed:
# a backend, the keeper, the postmaster, backends by pg_terminate_backend(), all by an
# immediate shutdown.  After each time the books balance, exactly: for each SKU, what came
# is what is free, held and sold, by what the clients know, by the movements and the orders,
# by stock and by available(); all that is free can be bought, and not one unit more.  A
# round counts only if transactions were cut off.
#
#   ORDER_ENGINE_LONG=1         60 rounds instead of 25
#   ORDER_ENGINE_CHAOS=1000     so many; takes about an hour
# needs Python psycopg2
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib", "$FindBin::RealBin/../chaos";

use Chaos;
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $rounds = $ENV{ORDER_ENGINE_CHAOS} || ($ENV{ORDER_ENGINE_LONG} ? 60 : 25);
# then the shop sells out, and a new one opens
my $rounds_of_a_shop = 25;
my $seed = $ENV{ORDER_ENGINE_SEED} || time();
srand($seed);
note("ORDER_ENGINE_SEED=$seed");

my $node = OrderEngine::new_node('chaos', conf => <<'EOF');
restart_after_crash = on
fsync = off
max_connections = 60
order_engine.escrow_skus = 1000
deadlock_timeout = '20ms'
order_engine.journal_rotate_size = '256kB'
EOF
$node->start;

my $backends = q{FROM pg_stat_activity WHERE application_name = 'chaos'};

sub pids
{
	my ($where) = @_;
	return split /\n/, $node->safe_psql('postgres', "SELECT pid $where");
}

# Lets the server start with room in memory for so many SKUs in mode escrow.
my $many = 1_000;
my $room = $many;
sub set_room
{
	($room) = @_;
	$node->adjust_conf('postgresql.conf', 'order_engine.escrow_skus', $room);
	return;
}

my %harm = (
	'a backend is killed' => sub {
		kill 'KILL', (pids("$backends ORDER BY backend_xid IS NULL, random()"))[0];
	},
	'the keeper is killed' => sub {
		my $keeper = q{FROM pg_stat_activity WHERE backend_type = 'order_engine keeper'};
		OrderEngine::wait_for { pids($keeper) > 0 } 'a keeper';
		kill 'KILL', pids($keeper);
	},
	'the postmaster is killed' => sub {
		OrderEngine::crash($node, OrderEngine::processes($node));
	},
	'the server is shut down at once' => sub {
		$node->stop('immediate');
		$node->start;
	},
	'backends are terminated' => sub {
		foreach my $time (1 .. 8)
		{
			$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) $backends ORDER BY random() LIMIT 3");
			usleep(100_000);
		}
	},);

my $without_room = 0;

# Transactions that were cut off.
sub play_round
{
	my ($chaos, $number, $how) = @_;
	$chaos->tell('crowd no') if $room == $many;
	$chaos->tell("go $number");
	usleep(rand(600_000));
	$node->safe_psql('postgres', 'CHECKPOINT') if rand() < 0.3;
	if ($how eq 'the postmaster is killed')
	{
		$chaos->tell('crowd yes');
		set_room(2);
	}
	set_room($many) if $how eq 'the server is shut down at once';
	$harm{$how}->();
	# or they stop at once
	usleep(rand(800_000)) if rand() < 0.6;
	my $told = join "\n", $chaos->tell("settle round $number, $how");
	$without_room += $1 if $told =~ /no room for (\d+)/;
	return $told =~ /in flight (\d+)/ ? $1 : 0;
}

my @how = sort keys %harm;
my ($counted, $void) = (0, 0);
my $chaos = Chaos->new([$node], '--seed', $seed);
while ($counted < $rounds)
{
	$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS shop WITH (FORCE)');
	OrderEngine::make_shop($node, 'shop');
	$chaos->tell('open 60');
	foreach my $round (1 .. $rounds_of_a_shop)
	{
		if (play_round($chaos, $counted + $void + 1, $how[ $counted % @how ]) > 0)
		{
			$counted++;
		}
		elsif (++$void > $rounds)
		{
			BAIL_OUT('rounds do not cut off any transaction');
		}
		last if $counted >= $rounds;
	}
	if ($room < $many)
	{
		set_room($many);
		$node->restart;
	}
	$chaos->tell('crowd no');
	$chaos->tell('sell the rest is sold to the last unit');
}
pass("$counted rounds with transactions in flight, $void without");
cmp_ok($without_room, '>', 0, 'there was too little room');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|was terminated by signal (?!9)/, 'no process died but those that were killed');

$chaos->finish;
$node->stop;
done_testing();
