# The books balance at any moment of a shop under load; the keeper has them looked at
# now and then, in a process of its own, and the log says what is broken.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use IPC::Run ();
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 24;
my $transactions = $ENV{ORDER_ENGINE_LONG} ? 500 : 100;
my $shop = OrderEngine::new_shop('reconcile', conf => <<'EOF');
max_connections = 60
fsync = off
EOF
my $sql = sub { my ($query) = @_; return $shop->safe_psql('shop', $query) };
my $found = 'SELECT * FROM order_engine.reconcile()';

# ---- many clients do all there is, and whoever looks sees the books balance ----

$sql->(<<'EOF');
SELECT order_engine.receive_stock('sku ' || n, 300) FROM generate_series(1, 12) n;
SELECT order_engine.set_stock_mode('sku ' || n, 'escrow') FROM generate_series(1, 5) n;
CREATE FUNCTION buy(client int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	lines jsonb := jsonb_agg(jsonb_build_object('sku', 'sku ' || n, 'quantity', 1 + (random() * 2)::int, 'unit_price', 1) ORDER BY random())
		FROM generate_series(1, 12) n WHERE random() < 0.25;
BEGIN
	RETURN (SELECT c.order_id FROM order_engine.create_order(client, coalesce(lines, '[{"sku": "sku 1", "quantity": 1, "unit_price": 1}]'),
		pay_within => random() * interval '2 s' + interval '1 microsecond') c);
EXCEPTION WHEN SQLSTATE 'OE001' THEN
	RETURN 0;
END $$;
CREATE FUNCTION act(id bigint, what int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF what < 4 THEN
		PERFORM order_engine.pay_order(id, 'p', o.amount) FROM order_engine.orders o WHERE o.order_id = id;
	END IF;
	IF what = 1 THEN
		PERFORM order_engine.refund_order(id, 'r');
	ELSIF what = 2 THEN
		PERFORM order_engine.refund_order(id, 'r', 0.50);
		UPDATE order_engine.orders SET state = 'shipped' WHERE order_id = id AND state = 'paid';
	ELSIF what = 5 THEN
		UPDATE order_engine.orders SET state = 'cancelled' WHERE order_id = id AND state = 'pending';
	ELSIF what = 6 THEN
		PERFORM order_engine.receive_stock('sku ' || 1 + id % 12, 5);
	ELSIF what = 7 THEN
		UPDATE order_engine.stock SET on_hand = on_hand + 1 WHERE sku = 'sku 3';
	ELSIF what = 8 THEN
		PERFORM order_engine.try_reserve('hold ' || id, '[{"sku": "sku 2", "quantity": 2}, {"sku": "sku 8", "quantity": 1}]', random() * interval '2 s' + interval '1 ms');
		IF random() < 0.7 THEN
			PERFORM order_engine.confirm_reservation('hold ' || id, CASE WHEN random() < 0.5 THEN '[{"sku": "sku 2", "quantity": 1}]'::jsonb END);
		END IF;
	ELSIF what = 9 AND random() < 0.3 THEN
		PERFORM order_engine.set_stock_mode('sku ' || 5 + id % 2, CASE WHEN random() < 0.5 THEN 'row' ELSE 'escrow' END);
	END IF;
EXCEPTION WHEN SQLSTATE 'OE001' OR SQLSTATE 'OE004' OR SQLSTATE 'OE005' OR SQLSTATE 'OE007' OR lock_not_available THEN
END $$;
EOF
append_to_file($shop->basedir . '/act.sql', <<'EOF');
\set what random(0, 9)
\set undo random(0, 3)
SELECT buy(:client_id) AS id \gset
\if :id > 0
BEGIN;
SAVEPOINT s;
SELECT act(:id, :what);
\if :undo = 0
ROLLBACK TO s;
\endif
COMMIT;
\endif
EOF

my ($out, $err) = ('', '');
my $load = IPC::Run::start(
	[ 'pgbench', '-n', '-c', $clients, '-j', 2, '-t', $transactions, '--max-tries=100', '-f', $shop->basedir . '/act.sql', $shop->connstr('shop') ],
	'<', \undef, '>', \$out, '2>', \$err);
my ($looks, @broken) = (0);
while ($load->pump_nb, $load->pumpable)
{
	my $repair = $looks++ % 2 ? 'true' : 'false';
	push @broken, grep { /\S/ } $sql->("SELECT * FROM order_engine.reconcile($repair)");
}
$load->finish;
unlike($err, qr/ERROR|aborted|deadlock/i, "$clients clients act") or diag($out, $err);
note(join ', ', $out =~ /^(number of transactions.*|tps.*)$/mg);
note($sql->("SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM order_engine.orders GROUP BY state) s"));
cmp_ok($looks, '>', 3, "whoever looks meanwhile ($looks times)");
is(join("\n", @broken), '', '... finds the books balanced');
is($sql->($found), '', 'and so they are in the end');
is($sql->("SELECT count(*) FROM order_engine.stock_movement WHERE reason = 'reconcile'"), 0, 'nothing was repaired');

# ---- how far it is ----

my $view = $sql->("SELECT pg_get_viewdef('order_engine.machine_transition')");
$view =~ s/;\s*$//;
$sql->("CREATE OR REPLACE VIEW order_engine.machine_transition AS SELECT * FROM ($view) v WHERE (pg_advisory_xact_lock_shared(7)) IS NOT NULL");
my $holder = $shop->background_psql('shop');
$holder->query_safe('SELECT pg_advisory_lock(7)');
my $looker = $shop->background_psql('shop');
$looker->query_until(qr/begun/, "\\echo begun\n$found;\n\\echo ended\n");
ok($shop->poll_query_until('shop', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'reconcile(): stock, 1 of about 3 done'"),
	'pg_stat_activity shows how far it is');

# ---- the keeper ----

my $log = -s $shop->logfile;
$sql->(<<'EOF');
SET session_replication_role = replica;
UPDATE order_engine.stock SET on_hand = on_hand + 7 WHERE sku = 'sku 5';
EOF
my $reconcilers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'order_engine reconciler'";
$shop->append_conf('postgresql.conf', "order_engine.reconcile_interval = 1s");
$shop->reload;
ok($shop->poll_query_until('shop', "SELECT ($reconcilers AND query LIKE 'reconcile(): stock, 1 %') = 1"), 'the keeper starts a process that looks');
my $order = $sql->("SELECT order_id FROM order_engine.create_order(1, '[{\"sku\": \"sku 4\", \"quantity\": 1}]', pay_within => '1 microsecond')");
ok($shop->poll_query_until('shop', "SELECT state = 'cancelled' FROM order_engine.orders WHERE order_id = $order"), '... and goes on beside it');
$holder->query_safe('SELECT pg_advisory_unlock(7)');
$shop->wait_for_log(qr/invariant "on_hand" is broken for "sku 5"/, $log);
$shop->wait_for_log(qr/reconcile\(\) found 1 broken invariants in database "shop"/, $log);
pass('what is broken is in the log');
like(slurp_file($shop->logfile, $log), qr/Expected is (\d+), found was (??{ $1 + 7 })\./, '... with what it should be');
$looker->quit;

$holder->query_safe('SELECT pg_advisory_lock(7)');
ok($shop->poll_query_until('shop', "SELECT ($reconcilers AND query LIKE 'reconcile(): stock, 1 %') = 1"), 'it looks again');
$shop->append_conf('postgresql.conf', "order_engine.databases = ''");
$shop->reload;
ok($shop->poll_query_until('shop', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('order_engine reconciler', 'order_engine keeper')"),
	'and ends with the keeper');
$holder->quit;

is($sql->('SELECT name, key, repaired FROM order_engine.reconcile(true)'), 'on_hand|sku 5|t', 'an operator repairs');
is($sql->($found), '', '... and that was all');

# ---- a fold that fails ----

$sql->(<<'EOF');
SELECT order_engine.set_stock_mode('sku 9', 'escrow');
CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
CREATE TRIGGER no BEFORE UPDATE ON order_engine.stock FOR EACH ROW WHEN (new.sku = 'sku 9') EXECUTE FUNCTION no();
SET session_replication_role = replica;
INSERT INTO order_engine.stock_journal (id, sku, on_hand, reserved, epoch, created_at, xid, era, ring)
	SELECT order_engine.next_order_id(1), sku, 0, 0, epoch, now(), pg_current_xact_id(), system_identifier, 0
	FROM order_engine.stock, pg_control_system() WHERE sku = 'sku 9';
EOF
$shop->append_conf('postgresql.conf', "order_engine.databases = 'shop'");
$shop->reload;
ok($shop->poll_query_until('shop', "SELECT count(*) = 1 FROM order_engine.reconcile() WHERE name = 'fold' AND key = 'sku 9' AND actual LIKE 'failed % times'"),
	'a SKU that cannot be folded is named');
$sql->('DROP TRIGGER no ON order_engine.stock');
ok($shop->poll_query_until('shop', 'SELECT count(*) = 0 FROM order_engine.reconcile()'), 'until it can');

$shop->stop;
done_testing();
