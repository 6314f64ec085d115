# The primary is killed in the middle of a sale and its standby promoted: the new primary
# sells the rest, to the last unit and not one more.  With synchronous replication that is
# exactly what there was, less what buyers know to have bought; with asynchronous
# replication, which is held up here, what the orders that have arrived leave.
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

my $units = $ENV{ORDER_ENGINE_LONG} ? 2_000 : 400;

# Primary and standby in the middle of a sale.
sub start_sale
{
	my ($how) = @_;
	my $primary = OrderEngine::new_node("primary_$how", allows_streaming => 1, conf => <<'EOF');
fsync = off
max_connections = 60
deadlock_timeout = '20ms'
EOF
	$primary->start;
	OrderEngine::make_shop($primary, 'shop');
	$primary->backup('backup');
	my $standby = PostgreSQL::Test::Cluster->new("standby_$how");
	$standby->init_from_backup($primary, 'backup', has_streaming => 1);
	$standby->start;
	if ($how eq 'synchronous')
	{
		$primary->append_conf('postgresql.conf', "synchronous_standby_names = '*'");
		$primary->reload;
		$primary->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
		  or BAIL_OUT('no synchronous standby');
	}
	return ($primary, $standby);
}

foreach my $how ('synchronous', 'asynchronous')
{
	my ($primary, $standby) = start_sale($how);
	my $chaos = Chaos->new([ $primary, $standby ], '--sale', '--seed', time());
	$chaos->tell("open $units");
	$chaos->tell('go before');
	$chaos->tell('wait committed 100');
	my @processes = OrderEngine::processes($primary);
	my $sender = $primary->safe_psql('postgres', 'SELECT pid FROM pg_stat_replication');
	if ($how eq 'asynchronous')
	{
		# what is bought now does not arrive
		kill 'STOP', $sender;
		$chaos->tell('wait committed 200');
	}
	$primary->kill9;
	kill 'KILL', $sender;
	$chaos->tell('stop') if $how eq 'asynchronous';
	# those that are left of it may not answer for it any more
	OrderEngine::wait_for { !grep { kill 0, $_ } @processes } 'the processes of the primary to end';
	$standby->promote;
	if ($how eq 'asynchronous')
	{
		$chaos->tell('adopt the standby has the books of all that has arrived');
		$chaos->tell('go after');
	}
	$chaos->tell('wait OE001 100');
	$chaos->tell("settle $how replication: the sale goes on");
	$chaos->tell("sell $how replication: all is sold, and no unit twice");
	$chaos->finish;
	$standby->stop;
}

done_testing();
