# A shop is dumped and restored into another cluster: everything comes as it was, nothing
# happens twice, and the relay there publishes exactly what the old one had not delivered.
#
# Transaction ids mean nothing in another cluster.  What the old cluster had delivered is
# told by the positions that the dump brings (same snapshot as the outbox), everything else
# forms one extra batch there.
# needs the Kafka of script/test

use strict;
use warnings;

use IPC::Run ();
use JSON::PP ();
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @tables = qw(orders order_line order_event payment reservation machine stock stock_movement outbox);

my $old = OrderEngine::new_node('old', publisher => 'kafka', conf => "order_engine.journal_rotate_size = '64kB'");
$old->start;
my $new = OrderEngine::new_node('new', publisher => 'kafka');
$new->start;

# In each cluster the owner of the tables is no superuser.
sub install
{
	my ($node, $database) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql('postgres', "GRANT CREATE ON DATABASE $database TO shop_owner");
	$node->safe_psql($database, "CREATE EXTENSION order_engine; SELECT order_engine.grant_access('shop_owner', 'owner'); GRANT CREATE ON SCHEMA public TO shop_owner");
	return;
}

foreach my $node ($old, $new)
{
	$node->safe_psql('postgres', "CREATE ROLE $_ LOGIN") foreach qw(shop_owner shop_app shop_monitor);
}
install($old, 'shop');

sub owner
{
	my ($node, $database, $sql) = @_;
	return $node->safe_psql($database, $sql, extra_params => [ '-U', 'shop_owner' ]);
}

# What a dump should keep of the schema: as the catalogs tell it, without OIDs.
sub schema_of
{
	my ($node, $database) = @_;
	return $node->safe_psql($database, <<'EOF');
SELECT 'table', c.relname, c.relkind, c.relowner::regrole, c.reloptions, pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid), (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(c.relacl) a)
FROM pg_class c WHERE c.relnamespace = 'order_engine'::regnamespace AND c.relkind IN ('r', 'p', 'S', 'v') ORDER BY 2;
SELECT 'index', pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid::regclass::text LIKE 'order_engine.%' ORDER BY 2;
SELECT 'trigger', t.tgrelid::regclass, t.tgname, t.tgfoid::regproc, t.tgtype, t.tgenabled FROM pg_trigger t WHERE NOT t.tgisinternal AND t.tgrelid::regclass::text LIKE 'order_engine.%' ORDER BY 2, 3;
SELECT 'constraint', c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint c WHERE c.connamespace = 'order_engine'::regnamespace ORDER BY 2, 3;
SELECT 'function', p.oid::regprocedure, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(p.proacl) a) FROM pg_proc p WHERE p.pronamespace = 'order_engine'::regnamespace ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT 'member', c.relname FROM pg_depend d JOIN pg_class c ON c.oid = d.objid WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e' ORDER BY 2;
EOF
}

sub differences
{
	my ($left, $right) = @_;
	my %left = map { $_ => 1 } split /\n/, $left;
	my %right = map { $_ => 1 } split /\n/, $right;
	return join "\n", (map { "- $_" } grep { !$right{$_} } sort keys %left), (map { "+ $_" } grep { !$left{$_} } sort keys %right);
}

sub rows_of
{
	my ($node, $database, @which) = @_;
	return join "\n", map { "$_ " . $node->safe_psql($database, "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text COLLATE \"C\")) FROM order_engine.$_ t") } @which;
}

# Events of a topic as order/version, sorted.
sub events_in
{
	my ($topic, $count) = @_;
	my @keys;
	foreach my $record (OrderEngine::consume(topic => $topic, count => $count))
	{
		my $event = JSON::PP::decode_json($record->{payload});
		push @keys, "$event->{order_id}/$event->{version}";
	}
	return sort @keys;
}

sub duplicates
{
	my %n;
	return scalar grep { $n{$_}++ } @_;
}

sub delivered
{
	my ($node) = @_;
	return $node->safe_psql('shop', 'SELECT published FROM order_engine.relay_status');
}

# ---- a shop in the middle of its work ----

owner($old, 'shop', <<'EOF');
SELECT order_engine.setup(4);
SELECT order_engine.grant_access('shop_app', 'app');
SELECT order_engine.grant_access('shop_monitor', 'monitor');
ALTER TABLE order_engine.orders ADD COLUMN channel text;
CREATE TABLE public.gift_note (order_id bigint PRIMARY KEY REFERENCES order_engine.orders, note text);
SELECT order_engine.receive_stock(sku, 1000000, ref => 'first') FROM unnest('{A,B,C}'::text[]) sku;
SELECT order_engine.adjust_stock('A', -3, reason => 'broken');
SELECT order_engine.deduct_stock('B', 2, ref => 'counter');
SELECT order_engine.define_machine('ticket', '{"final": ["closed"], "transitions": [{"from": null, "event": "create", "to": "open"}, {"from": "open", "event": "close", "to": "closed"}]}');
CREATE FUNCTION public.trade(first int, last int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
BEGIN
	FOR n IN first .. last LOOP
		SELECT c.order_id INTO id FROM order_engine.create_order(n % 50, jsonb_build_array(jsonb_build_object('sku', chr(65 + n % 3), 'quantity', 1 + n % 2, 'unit_price', 5)),
			'key' || n, currency => 'EUR', attributes => '{"n": 1}', private => '{"name": "Ada"}') c;
		PERFORM order_engine.try_reserve('hold' || n, jsonb_build_array(jsonb_build_object('sku', chr(65 + n % 3), 'quantity', 1)), '1 hour', nullif(n % 4, 0));
		IF n % 3 = 1 THEN PERFORM order_engine.confirm_reservation('hold' || n, user_id => nullif(n % 4, 0));
		ELSIF n % 3 = 2 THEN PERFORM order_engine.cancel_reservation('hold' || n + n % 2, nullif(n % 4, 0));
		END IF;
		IF n % 9 = 1 THEN PERFORM order_engine.pay_order(id, 'part', 1, 'EUR');
		ELSIF n % 9 = 2 THEN PERFORM order_engine.cancel_order(id); PERFORM order_engine.pay_order(id, 'late', 10, 'EUR');
		ELSIF n % 9 = 3 THEN UPDATE order_engine.orders SET due_at = now() WHERE order_id = id;
		ELSIF n % 9 = 4 THEN PERFORM order_engine.pay_order(id, 'other', 10, 'USD');
		ELSIF n % 9 > 4 THEN
			PERFORM order_engine.pay_order(id, 'all', 10, 'EUR');
			IF n % 9 = 6 THEN PERFORM order_engine.refund_order(id, 'back');
			ELSIF n % 9 = 7 THEN PERFORM order_engine.request_refund(id);
			ELSIF n % 9 = 8 THEN PERFORM order_engine.ship_order(id); PERFORM order_engine.complete_order(id);
			END IF;
		END IF;
	END LOOP;
END $$;
EOF

# ---- dumped while it runs: orders, relay, rotation ----

my $busy = PostgreSQL::Test::Utils::tempdir() . '/busy.dump';
my $script = $old->basedir . '/trade.sql';
append_to_file($script, "\\set n random(1000000, 2000000000)\nSELECT public.trade(:n, :n);\n");
my ($load_out, $load_err) = ('', '');
my $load = IPC::Run::start([ 'pgbench', '-n', '-U', 'shop_owner', '-c', 3, '-R', 200, '-T', 600, '-f', $script, $old->connstr('shop') ],
	'<', \undef, '>', \$load_out, '2>', \$load_err);
$old->poll_query_until('shop', 'SELECT batch > 5 AND published > 500 FROM order_engine.relay_status') or BAIL_OUT('no load');
$old->command_ok([ 'pg_dump', '-U', 'shop_owner', '-Fc', '-f', $busy, 'shop' ], 'a shop is dumped while it runs');
my $batch_then = $old->safe_psql('shop', 'SELECT batch FROM order_engine.relay_status');
ok($old->poll_query_until('shop', "SELECT batch > $batch_then + 1 FROM order_engine.relay_status"), 'and goes on');
$load->kill_kill;
OrderEngine::wait_relayed($old);
my %delivered_there = map { $_ => 1 } events_in(OrderEngine::topic($old, 'order'));

# ---- and when it stands still ----

# A first part is delivered, and some of the outbox's tables have been emptied since.
owner($old, 'shop', "SELECT public.trade($_ * 50 + 1, $_ * 50 + 50)") foreach 0 .. 5;
owner($old, 'shop', 'INSERT INTO public.gift_note SELECT order_id FROM order_engine.orders');
ok($old->poll_query_until('shop', "SELECT count(*) = 0 FROM order_engine.orders WHERE due_at < now()"), 'some orders have expired');
OrderEngine::wait_relayed($old);
my $first = delivered($old);
$old->safe_psql('shop', 'SELECT order_engine.pause_relay()');
ok($old->poll_query_until('shop', "SELECT state = 'paused' FROM order_engine.relay_status"), 'the relay pauses');

# A second one waits, and of its first batch a half has been acknowledged: the tick and the
# acknowledgement of the relay, made by hand while it pauses.
owner($old, 'shop', 'SELECT public.trade(301, 350)');
ok($old->poll_query_until('shop', "SELECT count(*) = 0 FROM order_engine.orders WHERE due_at < now()"), 'and some more');
my $batch = $old->safe_psql('shop', "SELECT order_engine.journal_tick('outbox')");
my @batch = split /\n/, $old->safe_psql('shop', "SELECT order_engine.journal_batch('outbox', $batch)");
my $half = $batch[ @batch / 2 - 1 ];
$old->safe_psql('shop', "SELECT order_engine.journal_acknowledge('outbox', $batch, $half)");
owner($old, 'shop', 'SELECT public.trade(351, 400)');
ok($old->poll_query_until('shop', "SELECT count(*) = 0 FROM order_engine.orders WHERE due_at < now()"), 'all expire that are due');
$old->safe_psql('postgres', q(ALTER SYSTEM SET order_engine.databases = ''));
$old->reload;
ok($old->poll_query_until('shop', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('order_engine relay', 'order_engine keeper')"), 'the old cluster stands still');
my $waiting = "SELECT aggregateid || '/' || (payload ->> 'version') FROM order_engine.outbox o"
  . " WHERE id > $half AND NOT EXISTS (SELECT FROM order_engine.journal_batch('outbox', $batch) b WHERE b = o.id AND b <= $half) ORDER BY 1";
my @waiting = sort split /\n/, $old->safe_psql('shop', $waiting);
is(scalar(@waiting), $old->safe_psql('shop', 'SELECT lag_events FROM order_engine.relay_lag()'), scalar(@waiting) . ' events were not delivered');
my @states = split /\n/, $old->safe_psql('shop', 'SELECT state FROM order_engine.orders GROUP BY 1 ORDER BY 1');
is("@states", 'cancelled completed paid pending refunding', 'orders are in every state but on the road');

# ---- dump, restore: all of it ----

my $dump = PostgreSQL::Test::Utils::tempdir() . '/shop.dump';
$old->command_ok([ 'pg_dump', '-U', 'shop_owner', '-Fc', '-f', $dump, 'shop' ], 'the owner, no superuser, dumps the shop');
$new->safe_psql('postgres', 'CREATE DATABASE shop');
ok($new->poll_query_until('postgres', "SELECT count(*) = 2 FROM pg_stat_activity WHERE datname = 'shop' AND backend_type LIKE 'order_engine %'"),
	'the new cluster has its workers before it has a shop');
isnt($new->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()'),
	$old->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()'), 'it is another cluster');
my $log_start = -s $new->logfile;
$new->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'shop', $dump ], 'a superuser restores it, workers at work');
ok($new->poll_query_until('shop', "SELECT state = 'paused' FROM order_engine.relay_status"), 'the relay there pauses as the old one did');
unlike(slurp_file($new->logfile, $log_start), qr/ERROR:/, 'workers have waited for the end of it');
is(differences(schema_of($old, 'shop'), schema_of($new, 'shop')), '', 'tables, partitions, indexes, triggers, constraints, grants and owners are as they were');
is(rows_of($new, 'shop', @tables), rows_of($old, 'shop', @tables), 'so is each row: no second event, no second effect on the stock');
is($new->safe_psql('shop', 'SELECT shop_id, partitions, relay_paused FROM order_engine.shop'),
	$old->safe_psql('shop', 'SELECT shop_id, partitions, relay_paused FROM order_engine.shop'), 'and it is the same shop, its relay paused');
is(owner($new, 'shop', 'SELECT order_engine.setup(4)'), '', 'setup() finds nothing to do');

foreach my $plan ('order_id = 7 << 12', 'order_id = 28672', "order_id = (28672)::smallint::int")
{
	is(join(' ', $new->safe_psql('shop', "EXPLAIN (COSTS OFF) SELECT * FROM order_engine.orders WHERE $plan") =~ /Scan.* on (\w+)/g),
		'orders_3', "one order is in one leaf: $plan");
}
like($new->safe_psql('shop', 'SET plan_cache_mode = force_generic_plan; PREPARE one (bigint) AS SELECT * FROM order_engine.orders WHERE order_id = $1; EXPLAIN (COSTS OFF) EXECUTE one(28672)'),
	qr/Subplans Removed: 3/, 'at run time, too');
is($new->safe_psql('shop', 'SELECT count(*) FROM order_engine.orders o JOIN order_engine.orders x USING (order_id) WHERE x.tableoid <> '
	  . "format('order_engine.orders_%s', order_engine.slot_of_order(o.order_id) % 4)::regclass"), 0, 'in its own');

# ---- what was not delivered, once ----

is($new->safe_psql('shop', "SELECT state || ' ' || published || ' ' || lag_events FROM order_engine.relay_status"), 'paused 0 ' . @waiting, 'the backlog is there');
owner($new, 'shop', 'SELECT order_engine.resume_relay()');
OrderEngine::wait_relayed($new);
my $topic = OrderEngine::topic($new, 'order');
is(join(' ', events_in($topic, scalar @waiting)), join(' ', @waiting), 'the relay there publishes what was not delivered, nothing else');
is(delivered($new), scalar(@waiting), 'each once');

# ---- and on it goes ----

my $highest = $new->safe_psql('shop', 'SELECT max(order_id >> 22) FROM order_engine.orders');
my $app = sub { return $new->safe_psql('shop', $_[0], extra_params => [ '-U', 'shop_app' ]) };
is($app->("SELECT replayed FROM order_engine.create_order(7, '[{\"sku\": \"B\", \"quantity\": 2, \"unit_price\": 5}]', 'key7', currency => 'EUR', attributes => '{\"n\": 1}', private => '{\"name\": \"Ada\"}')"),
	't', 'a request of before is the order of before');
cmp_ok($app->("SELECT order_id >> 22 FROM order_engine.create_order(7, '[{\"sku\": \"A\", \"quantity\": 1, \"unit_price\": 5}]')"), '>', $highest, 'ids go on above');
is($app->("SELECT version - 2, state FROM order_engine.ship_order((SELECT min(order_id) FROM order_engine.orders WHERE state = 'paid' AND version = 2))"), '1|shipped', 'orders of before move on');
is($app->("SELECT outcome, replayed FROM order_engine.pay_order((SELECT min(order_id) FROM order_engine.payment WHERE payment_ref = 'late'), 'late', 10, 'EUR')"), 'refund_due|t', 'payments of before are known');
is($app->("SELECT state FROM order_engine.create_order(7, '[{\"sku\": \"A\", \"quantity\": 1}]', machine => 'ticket')"), 'open', 'machines too');
my ($status, $out, $err) = $new->psql('shop', '\set VERBOSITY sqlstate' . "\nDELETE FROM order_engine.orders_0");
like($err, qr/OE014/, 'the rules stand on each leaf');
is($new->safe_psql('shop', 'SELECT count(*) FROM order_engine.stock s JOIN (SELECT sku, sum(quantity) AS n FROM order_engine.stock_movement GROUP BY sku) m USING (sku) WHERE s.on_hand <> m.n'), 0, 'stock and its movements agree');
OrderEngine::wait_relayed($new);
is(delivered($new), @waiting + 3, 'new events are published after the old ones');
is(duplicates(events_in($topic, @waiting + 3)), 0, 'none of them twice');
owner($new, 'shop', "UPDATE order_engine.orders SET due_at = now() WHERE order_id = (SELECT min(order_id) FROM order_engine.orders WHERE state = 'pending')");
ok($new->poll_query_until('shop', 'SELECT count(*) = 0 FROM order_engine.orders WHERE due_at < now()'), 'the keeper there expires what is due');
OrderEngine::wait_relayed($new);
$new->restart;
OrderEngine::wait_relayed($new);
ok($new->poll_query_until('shop', "SELECT state = 'running' FROM order_engine.relay_status"), 'after a restart');
is(delivered($new), 0, 'nothing is published again');

# ---- as the owner, in parts: what a superuser must do first is the extension ----

install($new, 'parts');
$new->command_ok([ 'pg_restore', '-U', 'shop_owner', '--exit-on-error', '-n', 'order_engine', '-n', 'public', '-d', 'parts', $dump ], 'the owner restores the schema himself');
is(rows_of($new, 'parts', @tables), rows_of($old, 'shop', @tables), 'with all rows');
is($new->safe_psql('parts', "SELECT has_table_privilege('shop_app', 'order_engine.orders', 'UPDATE') AND NOT has_table_privilege('shop_app', 'order_engine.orders', 'DELETE')"), 't', 'and the grants');

# ---- data only, into a shop that setup() made: without the queue ----

install($new, 'second');
owner($new, 'second', 'SELECT order_engine.setup(4)');
owner($new, 'second', 'ALTER TABLE order_engine.orders ADD COLUMN channel text; CREATE TABLE public.gift_note (order_id bigint PRIMARY KEY REFERENCES order_engine.orders, note text)');
my ($empty_machine) = slurp_file('doc/operations.md') =~ /before the publisher's or the dump's machines come:.*?```sql\n(.*?)```/s;
owner($new, 'second', $empty_machine);
owner($old, 'shop', <<'EOF');
SELECT order_engine.receive_stock('hot', 10);
SELECT order_engine.set_stock_mode('hot', 'escrow');
SELECT order_engine.deduct_stock('hot', 3);
CALL order_engine.tend();
SELECT order_engine.deduct_stock('hot', 1);
EOF
my ($switch_back) = slurp_file('doc/operations.md') =~ /switch them back before the dump.*?```sql\n(.*?)```/s;
is(owner($old, 'shop', $switch_back), 1, 'what is not folded yet is put into its row');
my $data = PostgreSQL::Test::Utils::tempdir() . '/data.sql';
$old->command_ok([ 'pg_dump', '--data-only', '--disable-triggers', '--exclude-table-data=order_engine.shop', '--exclude-table-data=order_engine.outbox*',
		'--exclude-table-data=order_engine.stock_journal*', '--exclude-table-data=order_engine.journal_position*', '-f', $data, 'shop' ], 'the data alone is dumped');
$new->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $data, 'second' ], 'and restored with triggers disabled');
my @copied = grep { $_ ne 'outbox' } @tables;
is(rows_of($new, 'second', @copied), rows_of($old, 'shop', @copied), 'the rows come as they are: no second effect on the stock');
is($new->safe_psql('second', 'SELECT count(*) FROM order_engine.outbox'), 0, 'no second event');
is(owner($new, 'second', "SELECT order_engine.set_stock_mode('hot', 'escrow'); SELECT order_engine.available('hot')"), "t\n6", 'what was sold in escrow is sold once');
is($new->safe_psql('second', "SELECT count(*) FROM pg_trigger WHERE tgrelid::regclass::text LIKE 'order_engine.%' AND tgenabled = 'D'"), 0, 'the triggers are enabled again');
is(owner($new, 'second', "SELECT state FROM order_engine.fire((SELECT min(order_id) FROM order_engine.orders WHERE state = 'paid'), 'ship')"), 'shipped', 'orders move on');
is(owner($new, 'second', "SELECT state FROM order_engine.create_order(7, '[{\"sku\": \"A\", \"quantity\": 1}]', machine => 'ticket')"), 'open', 'with the machines that came');
is(owner($new, 'second', "SELECT string_agg(type, ',' ORDER BY type) FROM order_engine.outbox"), 'order.create,order.shipped', 'and events of their own');

# ---- what was dumped while the shop ran ----

$new->safe_psql('postgres', 'CREATE DATABASE busy');
$new->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'busy', $busy ], 'what was dumped while the shop ran is restored');
is($new->safe_psql('busy', <<'EOF'), '0|0', 'one moment of it: each order and its history, stock and its movements agree');
SELECT (SELECT count(*) FROM order_engine.orders o FULL JOIN (SELECT order_id, count(*) AS n, max(version) AS last FROM order_engine.order_event GROUP BY order_id) e USING (order_id)
		WHERE (o.version, o.version) IS DISTINCT FROM (e.n, e.last)),
	(SELECT count(*) FROM order_engine.stock s JOIN (SELECT sku, sum(quantity) AS moved FROM order_engine.stock_movement GROUP BY sku) m USING (sku)
		LEFT JOIN (SELECT sku, sum(units) AS held FROM (
			SELECT l.sku, l.quantity::bigint AS units FROM order_engine.order_line l JOIN order_engine.orders o USING (order_id) WHERE o.state = 'pending'
			UNION ALL SELECT r.key, r.value::bigint FROM order_engine.reservation, jsonb_each_text(lines) r WHERE state = 'held') holds GROUP BY sku) h USING (sku)
		WHERE (s.on_hand, s.reserved) IS DISTINCT FROM (m.moved, coalesce(h.held, 0)))
EOF
my $events = $new->safe_psql('busy', 'SELECT count(*) FROM order_engine.order_event');
$new->safe_psql('postgres', q(ALTER SYSTEM SET order_engine.databases = 'busy'));
$new->reload;
ok($new->poll_query_until('busy', "SELECT state = 'running' AND lag_events = 0 FROM order_engine.relay_status"), 'its relay catches up');
my %reached = (%delivered_there, map { $_ => 1 } events_in($topic));
is(scalar(grep { !$reached{$_} } split /\n/, $new->safe_psql('busy', "SELECT order_id || '/' || version FROM order_engine.order_event")),
	0, "every event of it has reached one broker or the other");
cmp_ok($new->safe_psql('busy', 'SELECT published FROM order_engine.relay_status'), '<', $events / 2, 'most of them are not published again');

$old->stop;
$new->stop;
done_testing();
