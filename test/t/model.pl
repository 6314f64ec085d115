# Random calls and random SQL, beside a model of the shop that was written from the
# documentation and says what each must answer; then many clients at once, also while
# processes are killed, and what must be true of every shop.  test/model/random_orders.py says more, and how to run a seed again.
#
#   ORDER_ENGINE_MODEL='--seed 7 --seconds 3000'   other arguments for it
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

my $node = OrderEngine::new_node('model', databases => 'model_crowd', conf => <<'EOF');
autovacuum = off
fsync = off
restart_after_crash = on
max_connections = 60
EOF
$node->start;

if ($ENV{ORDER_ENGINE_MODEL})
{
	Model::run($node, split ' ', $ENV{ORDER_ENGINE_MODEL});
}
else
{
	Model::run($node, '--seed', 1, '--steps', $ENV{ORDER_ENGINE_LONG} ? 30_000 : 3_000);
	Model::run($node, '--clients', 6, '--seconds', $ENV{ORDER_ENGINE_LONG} ? 90 : 10);
	Model::run($node, '--clients', 6, '--seconds', $ENV{ORDER_ENGINE_LONG} ? 90 : 8, '--kill');
}

$node->stop;
done_testing();
