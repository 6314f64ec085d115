# More databases than there can be processes: each finds room in shared memory, and who is
# connected keeps his.

use strict;
use warnings;

use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $others = 14;
my $next_id = 'SELECT order_engine.next_order_id(1)';

my $node = OrderEngine::new_node(
	'many',
	publisher => 'log',
	conf => <<'EOF_CONF');
max_connections = 6
autovacuum_max_workers = 1
max_worker_processes = 4
max_wal_senders = 0
EOF_CONF
$node->append_conf('postgresql.conf', 'autovacuum_worker_slots = 1') if $node->pg_version >= 18;
$node->start;
OrderEngine::make_shop($node, 'outlet');
$node->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE outlet") foreach 'shop', map { "outlet$_" } 1 .. $others;
$node->safe_psql('shop', q(SELECT order_engine.receive_stock('A', 10)));
ok($node->poll_query_until('shop', q(SELECT count(*) = 2 FROM pg_stat_activity WHERE datname = 'shop' AND backend_type LIKE 'order_engine %')),
	'one database has workers');

my $session = $node->background_psql('outlet');
my @held = ($session->query_safe($next_id));
my %ids;
foreach my $round (1, 2)
{
	foreach my $database (map { "outlet$_" } 1 .. $others)
	{
		push @{ $ids{$database} }, $node->safe_psql($database, $next_id);
	}
}
is(scalar(grep { $_->[0] < $_->[1] } values %ids), $others, 'a database that has lost its place goes on with greater ids');

# Who is ended gives his place back: otherwise none would be left after so many rounds.
foreach my $database (map { "outlet$_" } 1 .. $others)
{
	$node->psql($database, "$next_id; SELECT pg_terminate_backend(pg_backend_pid())");
	$node->psql($database, "SET exit_on_error = on; $next_id; SELECT 1 / 0");
}
push @{ $ids{$_} }, $node->safe_psql($_, $next_id) foreach keys %ids;
is(scalar(grep { $_->[1] < $_->[2] } values %ids), $others, 'who is ended gives his place back');

push @held, $node->safe_psql('outlet', $next_id), $session->query_safe($next_id), $node->safe_psql('outlet', $next_id);
is_deeply(\@held, [ sort { $a <=> $b } @held ], 'who is connected still counts with who comes: no id is behind the one before');
$session->quit;

my $order = q(SELECT count(*) FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 1}]'));
$node->safe_psql('shop', $order) foreach 1, 2;
OrderEngine::wait_relayed($node);
is($node->safe_psql('shop', 'SELECT state, published FROM order_engine.relay_status'), 'running|2', 'workers keep their place');

done_testing();
