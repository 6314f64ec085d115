# Many clients buy the last units of a few SKUs, pay, cancel, roll back to savepoints,
# prepare and finish later, at every isolation level: nothing is oversold, no unit is
# lost, and the sums are those that the orders give.
#
# Stock is safe by its conditional decrement under the row's lock; what a rolled back
# subtransaction or a prepared transaction took comes back or stays with it.

use strict;
use warnings;

use IPC::Run ();
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 16;
my $transactions = $ENV{ORDER_ENGINE_LONG} ? 2000 : 60;
my $units = $ENV{ORDER_ENGINE_LONG} ? 5000 : 150;
my $node = OrderEngine::new_shop('oversell', conf => <<'EOF');
max_connections = 60
fsync = off
EOF

# What stock must be, from the orders alone.
my $expected = <<'EOF';
SELECT l.sku, coalesce(sum(l.quantity) FILTER (WHERE o.state = 'pending'), 0) AS reserved,
	coalesce(sum(l.quantity) FILTER (WHERE o.state = 'paid'), 0) AS sold
FROM order_engine.order_line l JOIN order_engine.orders o USING (order_id) GROUP BY l.sku
EOF

$node->safe_psql('shop', <<'EOF');
CREATE FUNCTION buy(client int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	lines jsonb := jsonb_agg(jsonb_build_object('sku', sku, 'quantity', 1 + (random() * 2)::int, 'unit_price', 1) ORDER BY random())
		FROM unnest('{A,B,C}'::text[]) sku WHERE random() < 0.7;
	id bigint;
BEGIN
	SELECT c.order_id INTO id FROM order_engine.create_order(client, coalesce(lines, '[{"sku": "A", "quantity": 1, "unit_price": 1}]')) c;
	RETURN id;
EXCEPTION WHEN SQLSTATE 'OE001' THEN
	RETURN 0;
END $$;
CREATE FUNCTION finish(id bigint, what int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF what = 1 THEN
		PERFORM order_engine.pay_order(id, 'p', (SELECT o.amount FROM order_engine.orders o WHERE o.order_id = id));
	ELSIF what = 2 THEN
		PERFORM order_engine.cancel_order(id);
	ELSIF what = 3 THEN
		UPDATE order_engine.orders SET state = 'cancelled' WHERE order_id = id;
	END IF;
END $$;
EOF

my %script = (
	'plainly' => <<'EOF',
\set what random(0, 3)
SELECT buy(:client_id) AS id \gset
\if :id > 0
SELECT finish(:id, :what);
\endif
EOF
	'with savepoints that are rolled back' => <<'EOF',
\set what random(0, 3)
\set undo random(0, 1)
BEGIN;
SAVEPOINT s;
SELECT buy(:client_id) AS id \gset
\if :undo
ROLLBACK TO s;
\elif :id > 0
RELEASE s;
SELECT finish(:id, :what);
\endif
COMMIT;
EOF
	'in two phases' => <<'EOF',
\set undo random(0, 1)
\set number random(1, 1000000000)
BEGIN;
SELECT buy(:client_id);
PREPARE TRANSACTION 'buy :client_id :number';
\if :undo
ROLLBACK PREPARED 'buy :client_id :number';
\else
COMMIT PREPARED 'buy :client_id :number';
\endif
EOF
	'serializably' => <<'EOF',
\set what random(0, 3)
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT buy(:client_id) AS id \gset
\if :id > 0
SELECT finish(:id, :what);
\endif
COMMIT;
EOF
	'under REPEATABLE READ' => <<'EOF',
\set what random(0, 3)
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT buy(:client_id) AS id \gset
\if :id > 0
SELECT finish(:id, :what);
\endif
COMMIT;
EOF
);

foreach my $how (sort keys %script)
{
	my $file = $node->basedir . '/buy.sql';
	unlink $file;
	append_to_file($file, $script{$how});
	$node->safe_psql('shop', "SELECT order_engine.receive_stock(sku, $units) FROM unnest('{A,B,C}'::text[]) sku");
	my ($out, $err) = ('', '');
	my $done = IPC::Run::run(
		[ 'pgbench', '-n', '-c', $clients, '-t', $transactions, '--max-tries=1000', '-f', $file, $node->connstr('shop') ],
		'<', \undef, '>', \$out, '2>', \$err);
	ok($done && $err !~ /ERROR|aborted|deadlock/i, "$clients clients buy $how") or diag($out, $err);
	note(join ', ', $out =~ /^(number of transactions (?:actually|retried|failed).*|total number of retries.*)$/mg);
	note($node->safe_psql('shop', "SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM order_engine.orders GROUP BY state) s"));
	is($node->safe_psql('shop', "SELECT count(*) FROM order_engine.stock WHERE on_hand < reserved OR reserved < 0"), 0, '... nothing is oversold');
	is($node->safe_psql('shop', <<"EOF"), '', '... and what is left, reserved and sold adds up');
SELECT s.sku, s.on_hand, s.reserved, e.reserved, e.sold, m.received FROM order_engine.stock s JOIN ($expected) e USING (sku)
	JOIN (SELECT sku, sum(quantity) FILTER (WHERE reason = 'receipt') AS received FROM order_engine.stock_movement GROUP BY sku) m USING (sku)
WHERE (s.reserved, s.on_hand) IS DISTINCT FROM (e.reserved, m.received - e.sold)
EOF
	# what is still held goes, so that the next buyers meet a shop that sells out again
	$node->safe_psql('shop', "SELECT count(order_engine.cancel_order(order_id)) FROM order_engine.orders WHERE state = 'pending'");
}

cmp_ok($node->safe_psql('shop', 'SELECT count(*) FROM order_engine.orders'), '<', 0.75 * $clients * $transactions * keys %script, 'the shop was sold out: many were refused');
is($node->safe_psql('shop', 'SELECT count(*) FROM order_engine.stock WHERE reserved <> 0'), 0, 'once all are paid or cancelled, nothing stays reserved');
is($node->safe_psql('shop', 'SELECT sku, sum(quantity), on_hand FROM order_engine.stock_movement JOIN order_engine.stock USING (sku) GROUP BY sku, on_hand HAVING sum(quantity) <> on_hand'),
	'', 'the movements of each SKU add up to what is on hand');
is($node->safe_psql('shop', <<'EOF'), '0|0', 'each version is one row of history and one event, and none of what was rolled back');
SELECT (SELECT count(*) FROM order_engine.orders o FULL JOIN (SELECT order_id, count(*) AS n, max(version) AS last FROM order_engine.order_event GROUP BY order_id) e USING (order_id)
		WHERE (o.version, o.version) IS DISTINCT FROM (e.n, e.last)),
	(SELECT count(*) FROM order_engine.order_event e FULL JOIN order_engine.outbox b ON b.aggregateid = e.order_id::text AND (b.payload ->> 'version')::int = e.version
		WHERE e.order_id IS NULL OR b.id IS NULL)
EOF
is($node->safe_psql('shop', 'SELECT count(*) FROM pg_prepared_xacts'), 0, 'no transaction is left prepared');

$node->stop;
done_testing();
