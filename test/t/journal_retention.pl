# Where nothing is published, the outbox keeps its events for order_engine.outbox_retention
# and then rotates: by the worker, or by tend() where the library is not preloaded.
use strict;
use warnings;

use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $settings = <<'CONF';
autovacuum = off
order_engine.journal_rotate_size = '8kB'
CONF
my $emit = q{SELECT order_engine.emit('note', 'n', 'note.written', '1')};
my $count = q{SELECT count(*) FROM order_engine.outbox};

my $node = OrderEngine::new_shop('main', conf => $settings);
$node->safe_psql('shop', $emit);
# The worker has marked what is there, so that it may count as consumed later; and again looked at it.
$node->poll_query_until('shop', 'SELECT max(batch) = 1 FROM order_engine.journal_position') or die;
$node->safe_psql('shop', $emit);
$node->poll_query_until('shop', 'SELECT max(current_ring) > 0 FROM order_engine.journal_position') or die;
is($node->safe_psql('shop', $count), 2, 'what is younger than the retention stays, however full the leaf is');

$node->append_conf('postgresql.conf', 'order_engine.outbox_retention = 1s');
$node->reload;
ok($node->poll_query_until('shop', $count, 0), 'what is older goes');
$node->safe_psql('shop', $emit);
ok($node->poll_query_until('shop', $count, 0), '... again and again');
$node->stop;

my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init;
$plain->append_conf('postgresql.conf', 'autovacuum = off');
$plain->start;
OrderEngine::make_shop($plain, 'shop');
$plain->safe_psql('shop', "ALTER DATABASE shop SET order_engine.journal_rotate_size = '8kB'");
$plain->append_conf('postgresql.conf', 'order_engine.outbox_retention = 1s');
$plain->reload;
$plain->safe_psql('shop', $emit) for 1 .. 3;
OrderEngine::wait_for
{
	$plain->safe_psql('shop', 'CALL order_engine.tend()');
	return $plain->safe_psql('shop', $count) == 0;
} 'tend() to empty the outbox';
pass('tend() does the same without the worker');
$plain->safe_psql('shop', $emit) for 1 .. 2;
is($plain->safe_psql('shop', $count), 2, 'and writing goes on');
$plain->stop;
done_testing();
