# Somebody writes a leaf of the outbox anew while the relay is in the middle of a batch: rows
# get other places, and none of them is missed.
use strict;
use warnings;

use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $events = 20000;
my $chunk = 5000;
my $node = OrderEngine::new_shop('main', publisher => 'log', conf => 'autovacuum = off');
$node->safe_psql('shop', 'CREATE TABLE moved (published bigint)');

# What was rolled back leaves a gap, which the new leaf does not have.
my $emit = q{SELECT count(order_engine.emit('note', 'n' || g, 'note.written', '1')) FROM generate_series};
$node->safe_psql('shop', "BEGIN; $emit(1, 300) g; ROLLBACK");

# The relay reads each chunk in a transaction of its own: in between, the leaf can be locked.
my $admin = $node->background_psql('shop');
$admin->query_until(qr/waiting/, <<'EOF');
\echo waiting
DO $$
BEGIN
	WHILE (SELECT published = 0 FROM order_engine.relay_state()) LOOP
		PERFORM pg_sleep(0.001);
	END LOOP;
	LOCK TABLE order_engine.outbox_0;
	INSERT INTO moved SELECT published FROM order_engine.relay_state();
	CLUSTER order_engine.outbox_0 USING outbox_0_era_xid_id_idx;
END
$$;
EOF
$node->safe_psql('shop', "$emit(1, $events) g");
OrderEngine::wait_relayed($node);
$admin->quit;
cmp_ok($node->safe_psql('shop', 'SELECT published FROM moved'), '<', $events - $chunk, 'rows were moved before they were read');

my $log = slurp_file($node->logfile);
my %published;
$published{$1}++ while $log =~ /key "(n\d+)"/g;
is(scalar(keys %published), $events, 'every event was published');
is(scalar(grep { $_ > 1 } values %published), 0, '... once');

$node->stop;
done_testing();
