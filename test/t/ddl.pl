# Tables change while they are in use: columns come and go, with and without a rewrite,
# indexes and triggers too, rows move by VACUUM FULL and CLUSTER.  Calls beside that wait at
# most: none fails, none takes a table for empty that is being rewritten, none deadlocks with
# a statement that changes one table, for a call locks the tables that it may write before
# its first leaf and row.  Who writes orders by hand may deadlock, and meets no other error.
# Nothing is lost, and every event is published.
# needs Python psycopg2
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

my @tables = qw(orders order_line order_event payment reservation stock stock_movement machine outbox stock_journal journal_position);
my @arguments = ('--clients', 4, '--single', '--seed', 1, '--log', $node->logfile);
Model::run($node, @arguments, '--seconds', $ENV{ORDER_ENGINE_LONG} ? 180 : 27, '--ddl', @tables);
Model::run($node, @arguments, '--by-hand', '--seconds', $ENV{ORDER_ENGINE_LONG} ? 60 : 10, '--ddl', @tables);
unlike(slurp_file($node->logfile), qr/PANIC|server process .* was terminated by signal|TRAP/, 'no process died');

$node->stop;
done_testing();
