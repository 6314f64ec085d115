# Tables change while they are in use: columns come and go, with and without a rewrite,
# indexes and triggers too, rows move by VACUUM FULL and CLUSTER.  Single calls beside that
# wait at most: none fails, none takes a table for empty that is being rewritten, none
# deadlocks, for calls lock a table before its leaves as everybody does; nothing is lost,
# and every event is published.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib", "$FindBin::RealBin/../model";
use Model;
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = OrderEngine::new_node('ddl', databases => 'model_crowd', publisher => 'log', conf => <<'EOF');
fsync = off
max_connections = 60
EOF
$node->start;

Model::run($node, '--clients', 4, '--single', '--seed', 1, '--log', $node->logfile,
	'--seconds', $ENV{ORDER_ENGINE_LONG} ? 900 : 36, '--ddl',
	qw(orders order_line order_event payment stock stock_movement machine outbox journal_position));
unlike(slurp_file($node->logfile), qr/PANIC|server process .* was terminated by signal|TRAP/, 'no process died');

$node->stop;
done_testing();
