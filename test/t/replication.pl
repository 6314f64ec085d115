# Orders and stock are replicated logically into a shop of the subscriber's own: what is
# applied is a copy of what was decided on the publisher.  It makes no second event, no
# second history, no second effect on the stock; machines that arrive are known at once.

use strict;
use warnings;

use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @tables = qw(orders order_line order_event payment reservation machine stock stock_movement);

my $publisher = OrderEngine::new_node('publisher', allows_streaming => 'logical');
$publisher->start;
OrderEngine::make_shop($publisher, 'shop', 4);
# the leaves need not be the same: rows are sent as the root's
my $subscriber = OrderEngine::new_shop('subscriber', partitions => 8);

$publisher->safe_psql('shop', <<'EOF');
SELECT order_engine.receive_stock(sku, 1000) FROM unnest('{A,B}'::text[]) sku;
SELECT order_engine.create_order(n, '[{"sku": "A", "quantity": 1, "unit_price": 1}]') FROM generate_series(1, 20) n;
SELECT order_engine.pay_order(order_id, 'p', 1) FROM order_engine.orders WHERE user_id % 2 = 0;
CREATE PUBLICATION shop FOR TABLE order_engine.orders, order_engine.order_line, order_engine.order_event, order_engine.payment, order_engine.reservation,
	order_engine.machine, order_engine.stock, order_engine.stock_movement WITH (publish_via_partition_root = true);
EOF

# ---- the tables are taken over as they are ----

# Both shops made machine 1: the publisher's is the one.
$subscriber->safe_psql('shop', 'SET session_replication_role = replica; TRUNCATE order_engine.machine');
my $connection = $publisher->connstr . ' dbname=shop application_name=subscription';
$subscriber->safe_psql('shop', "CREATE SUBSCRIPTION subscription CONNECTION '$connection' PUBLICATION shop");
$subscriber->wait_for_subscription_sync($publisher, 'subscription', 'shop');

sub rows_of
{
	my ($node) = @_;
	return join "\n", map { "$_ " . $node->safe_psql('shop', "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text COLLATE \"C\")) FROM order_engine.$_ t") } @tables;
}

sub same_ok
{
	my ($what) = @_;
	$publisher->wait_for_catchup('subscription');
	return is(rows_of($subscriber), rows_of($publisher), $what);
}

same_ok('what was there is copied as it was');

# A session that knows the machines of before.
my $reader = $subscriber->background_psql('shop');
is($reader->query_safe("BEGIN; SELECT state FROM order_engine.create_order(78, '[{\"sku\": \"B\", \"quantity\": 1}]'); ROLLBACK"), 'pending', 'the machine of before');
is($reader->query_safe("SELECT order_engine.available('A')"), 980, 'the subscriber reads: 10 reserved, 10 sold');

# ---- and followed ----

$publisher->safe_psql('shop', <<'EOF');
SELECT order_engine.create_order(n, '[{"sku": "A", "quantity": 2, "unit_price": 1}, {"sku": "B", "quantity": 1}]', 'key', private => '{"name": "Ada"}') FROM generate_series(1, 30) n;
SELECT order_engine.pay_order(order_id, 'p', 2) FROM order_engine.orders WHERE user_id % 2 = 0 AND idempotency_key IS NOT NULL;
SELECT order_engine.ship_order(order_id) FROM order_engine.orders WHERE user_id % 4 = 0 AND state = 'paid';
SELECT order_engine.refund_order(order_id, 'r') FROM order_engine.orders WHERE user_id % 4 = 2 AND state = 'paid';
UPDATE order_engine.orders SET state = 'cancelled' WHERE user_id % 4 = 1 AND state = 'pending';
UPDATE order_engine.orders SET attributes = '{"gift": true}' WHERE user_id % 4 = 3;
UPDATE order_engine.stock SET on_hand = on_hand + 5 WHERE sku = 'B';
SELECT order_engine.deduct_stock('A', 3);
SELECT order_engine.try_reserve('hold' || n, '[{"sku": "A", "quantity": 1}]', '1 hour', nullif(n % 3, 0)) FROM generate_series(1, 9) n;
SELECT order_engine.confirm_reservation('hold' || n, user_id => n) FROM generate_series(1, 2) n;
SELECT order_engine.cancel_reservation('hold' || n) FROM generate_series(3, 4) n;
SELECT order_engine.define_machine('order', '{"final": ["done"], "transitions": [{"from": null, "event": "create", "to": "open", "stock": "reserve"}, {"from": "open", "event": "finish", "to": "done", "stock": "confirm"}]}');
SELECT order_engine.create_order(77, '[{"sku": "B", "quantity": 1}]');
EOF
same_ok('creating, paying, moving, refunding, raw updates, stock: each row is the publisher\'s, no more and no less');
is($subscriber->safe_psql('shop', 'SELECT count(*) FROM order_engine.outbox'), 0, 'no event is published a second time');
cmp_ok($publisher->safe_psql('shop', 'SELECT count(*) FROM order_engine.outbox'), '>', 100, 'they were the publisher\'s to publish');
is($subscriber->safe_psql('shop', "SELECT count(*) FROM order_engine.orders o WHERE tableoid <> format('order_engine.orders_%s', order_engine.slot_of_order(order_id) % 8)::regclass"),
	0, 'each row is in the leaf that it has there');
is($reader->query_safe("SELECT order_engine.allowed_events(order_id) FROM order_engine.orders WHERE user_id = 77"), '{finish}',
	'a session that knew the machines of before knows the one that came');
is($reader->query_safe("SELECT order_engine.available('A')"), $publisher->safe_psql('shop', "SELECT order_engine.available('A')"), 'and the stock that came');
is($reader->query_safe("SELECT order_engine.get_order(order_id) ->> 'state' FROM order_engine.orders WHERE user_id = 4 AND idempotency_key = 'key'"), 'shipped', 'and the orders');

# ---- the subscriber takes over: its rules are at work ----

$subscriber->safe_psql('shop', 'ALTER SUBSCRIPTION subscription DISABLE');
my $highest = $subscriber->safe_psql('shop', 'SELECT max(order_id >> 22) FROM order_engine.orders');
is($reader->query_safe("SELECT state, order_id >> 22 > $highest FROM order_engine.create_order(78, '[{\"sku\": \"B\", \"quantity\": 1}]')"), 'open|t', 'orders go on there, with the newest machine');
is($reader->query_safe("SELECT state FROM order_engine.fire((SELECT order_id FROM order_engine.orders WHERE user_id = 77), 'finish')"), 'done', 'those that came move on');
is($subscriber->safe_psql('shop', "SELECT string_agg(type, ',' ORDER BY id) FROM order_engine.outbox"), 'order.create,order.finish', 'with events of their own');
my ($status, $out, $err) = $subscriber->psql('shop', "\\set VERBOSITY sqlstate\nUPDATE order_engine.orders SET state = 'nowhere' WHERE user_id = 78");
like($err, qr/OE010/, 'and the same rules');
$reader->quit;

# ---- all tables are published ----

is($publisher->safe_psql('shop', <<'EOF'), "journal_position\noutbox\nstock_journal\nstock_movement", 'what has no replica identity is only ever appended to');
SELECT DISTINCT regexp_replace(c.relname, '_\d+$', '') COLLATE "C" FROM pg_class c
WHERE c.relnamespace = 'order_engine'::regnamespace AND c.relkind IN ('r', 'p') AND c.relreplident = 'd'
	AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) ORDER BY 1;
EOF
OrderEngine::make_shop($subscriber, 'copy', 4);
$subscriber->safe_psql('copy', 'SET session_replication_role = replica; TRUNCATE order_engine.machine, order_engine.shop');
$publisher->safe_psql('shop', 'CREATE PUBLICATION everything FOR ALL TABLES WITH (publish_via_partition_root = true)');
$connection = $publisher->connstr . ' dbname=shop application_name=everything';
$subscriber->safe_psql('copy', "CREATE SUBSCRIPTION everything CONNECTION '$connection' PUBLICATION everything");
$subscriber->wait_for_subscription_sync($publisher, 'everything', 'copy');
is($publisher->safe_psql('shop', <<'EOF'), "t\nt\nt\nopen\nt", 'the calls do what they did');
SELECT order_engine.pause_relay();
SELECT order_engine.resume_relay();
SELECT order_engine.pause_relay();
SELECT state FROM order_engine.create_order(79, '[{"sku": "B", "quantity": 1}]');
SELECT version > 1 FROM order_engine.receive_stock('B', 7);
UPDATE order_engine.orders SET attributes = '{"gift": true}' WHERE user_id = 79;
UPDATE order_engine.stock SET on_hand = on_hand + 1 WHERE sku = 'B';
CALL order_engine.tend();
EOF
$publisher->wait_for_catchup('everything');
for my $what (
	'relay_paused FROM order_engine.shop',
	'attributes, version FROM order_engine.orders WHERE user_id = 79',
	"on_hand, reserved FROM order_engine.stock WHERE sku = 'B'",
	'count(*), max(id) FROM order_engine.outbox')
{
	is($subscriber->safe_psql('copy', "SELECT $what"), $publisher->safe_psql('shop', "SELECT $what"), "the copy has what they wrote: $what");
}

$subscriber->stop;
$publisher->stop;
done_testing();
