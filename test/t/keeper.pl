# The keeper expires unpaid orders: soon after they are due, all of a crowd, around
# orders that others hold, past one that raises, again after it was killed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $crowd = $ENV{ORDER_ENGINE_LONG} ? 100_000 : 10_000;
my $shop = OrderEngine::new_shop('keeper', conf => 'restart_after_crash = on');
my $sql = sub { my ($query) = @_; return $shop->safe_psql('shop', $query) };
my $becomes_true = sub { my ($query, $name) = @_; ok($shop->poll_query_until('shop', $query), $name) };
my $order = sub {
	my ($sku, $within) = @_;
	my $lines = qq([{"sku": "$sku", "quantity": 1, "unit_price": 5}]);
	return $sql->("SELECT order_id FROM order_engine.create_order(1, '$lines', pay_within => '$within')");
};
my $state = sub { my ($id) = @_; return $sql->("SELECT state FROM order_engine.orders WHERE order_id = $id") };
my $is_cancelled = sub {
	my ($id) = @_;
	return "SELECT state = 'cancelled' FROM order_engine.orders WHERE order_id = $id";
};

$sql->("SELECT order_engine.receive_stock(sku, 1000000) FROM unnest(ARRAY['a', 'b', 'c', 'held', 'guarded']) AS sku");
$becomes_true->("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'order_engine keeper'",
	'a keeper runs');

# Soon: how late is told by the event itself.
my $soon = $order->('a', '1 second');
$becomes_true->($is_cancelled->($soon), 'an unpaid order expires');
my $expiry = "FROM order_engine.order_event e JOIN order_engine.orders o USING (order_id)
	WHERE order_id = $soon AND e.version = 2";
is($sql->("SELECT event || ' ' || actor || ' ' ||
		(at >= o.created_at + '1 second') || ' ' || (at < o.created_at + '1 minute') $expiry"),
	'expire keeper true true', 'by the keeper, not before its time');
note('late by ' . $sql->("SELECT at - o.created_at - '1 second' $expiry"));

# An order that a payment holds is nobody's reason to wait.
my $held = $order->('held', '1 second');
my $payer = $shop->background_psql('shop');
$payer->query_safe("BEGIN; SELECT order_engine.pay_order($held, 'p', 5)");
my $behind = $order->('b', '1 second');
$becomes_true->($is_cancelled->($behind), 'orders behind a held one expire');
$payer->query_safe('COMMIT');
$payer->quit;
is($state->($held), 'paid', 'and the held one is paid');

# A due time in a state that has no due event means nothing: the keeper looks once, and
# does not lock the row time and again.
$sql->("UPDATE order_engine.orders SET due_at = '2020-01-01' WHERE order_id = $held");
my $pass = sub { $shop->poll_query_until('shop', $is_cancelled->($order->('b', '1 second'))) };
$pass->();
my $locked = $sql->("SELECT xmax FROM order_engine.orders WHERE order_id = $held");
$pass->();
isnt($locked, 0, 'the keeper looks at an order whose due time means nothing');
is($sql->("SELECT xmax FROM order_engine.orders WHERE order_id = $held"), $locked, 'but not again');
$becomes_true->("SELECT resting = 1 AND last_error_order_id = $held AND last_error LIKE '%has no due event' FROM order_engine.keeper_status",
	'keeper_status says which and why');
$sql->("UPDATE order_engine.orders SET due_at = NULL WHERE order_id = $held");
$becomes_true->('SELECT resting = 0 FROM order_engine.keeper_status', 'until it is put right');

# A stock row that somebody holds on to: what is due with it waits, other orders and
# other stock do not wait with it.
my $blocked = $order->('held', '1 hour');
my $beside = $order->('a', '1 hour');
my $clerk = $shop->background_psql('shop');
$clerk->query_safe("BEGIN; SELECT order_engine.adjust_stock('held', 1, 'count')");
$sql->("UPDATE order_engine.orders SET due_at = now() WHERE order_id IN ($blocked, $beside)");
$becomes_true->($is_cancelled->($beside), 'an order expires beside one whose stock row is locked');
is($state->($blocked), 'pending', 'which stays');
$clerk->query_safe('COMMIT');
$clerk->quit;
$becomes_true->($is_cancelled->($blocked), 'until the row is free');

# However many orders need the locked row: it is waited for once, and those that need it
# rest together.
$sql->("SELECT count(order_engine.create_order(n, jsonb_build_array(jsonb_build_object('sku', (ARRAY['held', 'a', 'b'])[1 + n % 3], 'quantity', 1)), pay_within => '1 hour'))
	FROM generate_series(1, 600) n");
$clerk = $shop->background_psql('shop');
$clerk->query_safe("BEGIN; SELECT order_engine.adjust_stock('held', 1, 'count')");
$sql->("UPDATE order_engine.orders SET due_at = now() WHERE state = 'pending'");
$becomes_true->("SELECT count(*) = 200 FROM order_engine.orders WHERE state = 'pending'", 'all others expire beside many that need a locked row');
is($sql->("SELECT count(*) FROM order_engine.orders o JOIN order_engine.order_line l USING (order_id) WHERE state = 'pending' AND sku <> 'held'"), 0,
	'which stay');
$becomes_true->("SELECT resting = 200 AND last_error_code = '55P03' FROM order_engine.keeper_status", 'and rest');
my $waits = () = slurp_file($shop->logfile) =~ /stock of SKU "held" is locked, and what is due waits for it/g;
cmp_ok($waits, '<', 20, 'for the row the keeper waits now and then, not for each of them');
$clerk->query_safe('COMMIT');
$clerk->quit;
$becomes_true->("SELECT count(*) = 0 FROM order_engine.orders WHERE state = 'pending'", 'they expire when the row is free');

# A session that has a journal's lock, or a table of a journal, stops no expiry.
foreach my $lock ("SELECT order_engine.journal_tick('outbox')", 'LOCK TABLE order_engine.journal_position IN SHARE MODE')
{
	my $admin = $shop->background_psql('shop');
	$admin->query_safe("BEGIN; $lock");
	my $unstopped = $order->('a', '1 second');
	# a window: the keeper looks at the journals every five seconds
	my $turns = $sql->('SELECT last_pass_at FROM order_engine.keeper_status');
	$becomes_true->("SELECT last_pass_at > timestamptz '$turns' + '6 seconds' FROM order_engine.keeper_status", "the keeper goes on beside: $lock");
	is($state->($unstopped), 'cancelled', 'and an order expires');
	$admin->query_safe('COMMIT');
	$admin->quit;
}

# One whose guard raises delays no other, whatever it raises: a timeout of another server, say.
my $machine = <<'JSON';
{"final": ["done", "gone"], "void": ["gone"], "transitions": [
	{"from": null, "event": "create", "to": "open", "stock": "reserve", "due": "1 second", "due_event": "expire"},
	{"from": "open", "event": "finish", "to": "done", "stock": "confirm"},
	{"from": "open", "event": "expire", "to": "gone", "stock": "release", "guard": "public.stubborn"}]}
JSON
my $stubborn = 'FUNCTION public.stubborn(o order_engine.orders, event text, attributes jsonb) RETURNS boolean';
$sql->(<<"SQL");
CREATE $stubborn LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS \$\$
BEGIN
	IF o.user_id % 2 = 1 THEN
		RAISE 'not this one' USING ERRCODE = CASE o.user_id % 4 WHEN 1 THEN 'query_canceled' ELSE 'P0001' END;
	END IF;
	RETURN true;
END \$\$
SQL
$sql->("SELECT order_engine.define_machine('stubborn', '$machine')");
$sql->(<<'SQL');
SELECT count(order_engine.create_order(u, '[{"sku": "guarded", "quantity": 1}]', machine => 'stubborn'))
FROM generate_series(1, 40) u
SQL
my $gone = "FROM order_engine.orders WHERE state = 'gone'";
$becomes_true->("SELECT count(*) = 20 $gone", 'those beside one that raises expire');
is($sql->("SELECT count(*) FROM order_engine.orders WHERE state = 'open'"), 20, 'and those that raise stay');
is($sql->("SELECT reserved FROM order_engine.stock WHERE sku = 'guarded'"), 20, 'with their stock');
ok($shop->log_contains(qr/due event of order \d+ failed: not this one/), 'and the log says why');
$becomes_true->('SELECT resting = 20 AND due = 20 FROM order_engine.keeper_status', 'keeper_status counts them');
is($sql->("SELECT state, reason, last_error, last_error_code IN ('P0001', '57014'), last_error_order_id IN (SELECT order_id FROM order_engine.orders WHERE state = 'open'),
		last_pass_at >= since, pid = (SELECT pid FROM pg_stat_activity WHERE backend_type = 'order_engine keeper') FROM order_engine.keeper_status"),
	'running||not this one|t|t|t|t', 'and says why');
# What a guard raises may be taken from what an order keeps private.
$sql->("CREATE ROLE keeper_monitor; SELECT order_engine.grant_access('keeper_monitor', 'monitor');
	CREATE ROLE keeper_operator; SELECT order_engine.grant_access('keeper_operator', 'operator')");
my $errors = 'SELECT last_error, last_error_code IS NOT NULL, last_error_order_id IS NOT NULL FROM order_engine.keeper_status';
is($sql->("SET ROLE keeper_monitor; $errors"), '|t|t', 'a monitor is told its code and the order');
is($sql->("SET ROLE keeper_operator; $errors"), 'not this one|t|t', 'who may read orders the text too');
$sql->('ALTER TABLE order_engine.orders ENABLE ROW LEVEL SECURITY; CREATE POLICY of_one ON order_engine.orders TO keeper_operator USING (user_id = 2)');
is($sql->("SET ROLE keeper_operator; $errors"), '|t|t', 'not who may read some orders only');
$sql->('DROP POLICY of_one ON order_engine.orders; ALTER TABLE order_engine.orders DISABLE ROW LEVEL SECURITY');
$sql->("CREATE OR REPLACE $stubborn LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT true'");
$becomes_true->("SELECT count(*) = 40 $gone", 'once it no longer raises, they expire too');
$becomes_true->('SELECT resting = 0 AND due = 0 FROM order_engine.keeper_status', 'and none rests');

# One whose guard ends the process, which any error does under exit_on_error, delays no
# other either: the next keeper lets it rest.
$sql->(<<'SQL');
CREATE FUNCTION public.deadly(o order_engine.orders, event text, attributes jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	IF o.user_id % 10 = 5 THEN
		PERFORM set_config('exit_on_error', 'on', true);
		RAISE 'the end';
	END IF;
	RETURN true;
END $$
SQL
(my $deadly = $machine) =~ s/stubborn/deadly/;
$sql->("SELECT order_engine.define_machine('deadly', '$deadly')");
$sql->(<<'SQL');
SELECT count(order_engine.create_order(300 + u, '[{"sku": "x", "quantity": 1, "stocked": false}]', machine => 'deadly'))
FROM generate_series(1, 40) u
SQL
my $theirs = 'FROM order_engine.orders WHERE user_id BETWEEN 301 AND 340';
$becomes_true->("SELECT count(*) = 36 $theirs AND state = 'gone'", 'those beside some that end the keeper expire');
is($sql->("SELECT count(*) $theirs AND state = 'open'"), 4, 'and those stay');
ok($shop->log_contains(qr/due event of order \d+ ended the keeper/), 'and the log says which');
$becomes_true->("SELECT resting = 4 AND last_error ~ 'ended the keeper' AND last_error_order_id IN (SELECT order_id $theirs)
	FROM order_engine.keeper_status", 'so does keeper_status');
# The one after a keeper that was terminated knows them still.
my $pid = $sql->("SELECT pid FROM order_engine.keeper_status");
$sql->("SELECT pg_terminate_backend($pid)");
$becomes_true->("SELECT pid <> $pid AND last_pass_at > since AND resting = 4 AND last_error ~ 'ended the keeper' FROM order_engine.keeper_status",
	'a keeper that takes the place of a terminated one tells the same');
# A crash takes what the keeper told with it, and the next one tells it anew.
$pid = $sql->("SELECT pid FROM order_engine.keeper_status");
kill 'KILL', $pid;
$becomes_true->("SELECT pid <> $pid AND last_pass_at > since AND due >= 4 FROM order_engine.keeper_status", 'after a crash it is told anew');
$sql->("UPDATE order_engine.orders SET due_at = NULL WHERE order_id IN (SELECT order_id $theirs)");

# A crowd due at the same time, while payments for some of them run.
# In many transactions: one that updates a row a hundred thousand times is slow by itself.
$sql->("DO \$\$ BEGIN FOR part IN 1 .. $crowd / 1000 LOOP
	PERFORM order_engine.create_order(1000 + n % 5000, jsonb_build_array(
		jsonb_build_object('sku', (ARRAY['a', 'b', 'c'])[1 + n % 3], 'quantity', 1, 'unit_price', 5),
		jsonb_build_object('sku', (ARRAY['c', 'a', 'b'])[1 + n % 3], 'quantity', 2, 'unit_price', 0)), pay_within => '1 hour')
		FROM generate_series(1, 1000) n;
	COMMIT;
	END LOOP; END \$\$");
$sql->("CREATE TABLE public.crowd AS SELECT order_id, row_number() OVER () AS n FROM order_engine.orders WHERE user_id >= 1000;
	CREATE UNIQUE INDEX ON public.crowd (n)");
my $script = PostgreSQL::Test::Utils::tempdir() . '/pay.sql';
PostgreSQL::Test::Utils::append_to_file($script, <<"SQL");
\\set n random(1, $crowd)
SELECT order_engine.pay_order(order_id, 'p', 5) FROM public.crowd WHERE n = :n;
SQL
my @pgbench = ('pgbench', '-n', '-c', '4', '-T', '8', '-f', $script, '-h', $shop->host, '-p', $shop->port, 'shop');
my $payments = IPC::Run::start(\@pgbench, '>', \my $out, '2>', \my $err);
$sql->("UPDATE order_engine.orders SET due_at = now() WHERE user_id >= 1000 AND state = 'pending'");
my $killed = $sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'order_engine keeper'");
$sql->("SELECT pg_terminate_backend($killed)");
$becomes_true->("SELECT count(*) = 0 FROM order_engine.orders WHERE user_id >= 1000 AND state = 'pending'",
	"$crowd orders due at the same time are expired or paid, by a keeper that came back");
IPC::Run::finish($payments);
unlike($err, qr/deadlock|ERROR/, 'no payment met a deadlock');
is($sql->("SELECT count(*) FROM order_engine.orders o WHERE user_id >= 1000 AND (
		SELECT array_agg(event ORDER BY version) FROM order_engine.order_event e
		WHERE e.order_id = o.order_id AND event IN ('pay', 'expire')) NOT IN (ARRAY['pay'], ARRAY['expire'])"),
	0, 'each was either paid or expired, once');
is($sql->("SELECT count(*) FROM order_engine.stock WHERE reserved <> 0"), 0, 'no stock stays reserved');
is($sql->("SELECT sum(on_hand) FROM order_engine.stock WHERE sku IN ('a', 'b', 'c')"),
	$sql->("SELECT 3000000 - 3 * count(*) FROM order_engine.orders WHERE user_id >= 1000 AND state = 'paid'"),
	'and what was paid has left it');

# With nobody to publish to, the outbox keeps its events for a while, and lets go of them.
cmp_ok($sql->("SELECT count(*) FROM order_engine.outbox"), '>', $crowd, 'events are kept for a day, when nobody publishes them');
$sql->("ALTER SYSTEM SET order_engine.outbox_retention = '1s'");
$sql->("ALTER SYSTEM SET order_engine.journal_rotate_size = '8kB'");
$sql->('SELECT pg_reload_conf()');
$becomes_true->('SELECT count(*) = 0 FROM order_engine.outbox', 'or for as long as order_engine.outbox_retention says');
is($sql->("SELECT sum(n_tup_del + n_tup_upd) FROM pg_stat_user_tables WHERE relname ~ '^outbox'"), 0,
	'without a dead row');

# A shop without a keeper: that, and what is late, is seen; tend() in its place is seen at work.
my $status = "SELECT state, reason, due, late, resting FROM order_engine.keeper_status";
my $late = $order->('a', '1 hour');
my $present = $order->('a', '1 hour');
$sql->("ALTER SYSTEM SET order_engine.databases = ''");
$sql->('SELECT pg_reload_conf()');
$becomes_true->("SELECT state = 'stopped' FROM order_engine.keeper_status", 'a keeper is taken away');
$sql->("UPDATE order_engine.orders SET due_at = now() - CASE order_id WHEN $late THEN interval '61 seconds' ELSE '10 seconds' END WHERE order_id IN ($late, $present)");
is($sql->($status), 'stopped|this database is not in order_engine.databases|2|1|0', 'keeper_status shows that, and what is late');
is($sql->("SELECT oldest_due_at = due_at FROM order_engine.keeper_status, order_engine.orders WHERE order_id = $late"), 't', 'and since when');
my $passed = $sql->('SELECT last_pass_at FROM order_engine.keeper_status');
$sql->('CALL order_engine.tend()');
is($sql->($status), 'stopped|this database is not in order_engine.databases|0|0|0', 'tend() does that');
is($sql->("SELECT last_pass_at > '$passed' FROM order_engine.keeper_status"), 't', 'which is seen');

# A count that stays cheap, whatever is due.
$sql->("SELECT count(order_engine.create_order(n, '[{\"sku\": \"b\", \"quantity\": 1}]')) FROM generate_series(1, 10001) n");
$sql->("UPDATE order_engine.orders SET due_at = now() - interval '2 minutes' WHERE state = 'pending'");
is($sql->($status), 'stopped|this database is not in order_engine.databases|10000|10000|0', 'no more than 10000 are counted');

$shop->stop;
done_testing();
