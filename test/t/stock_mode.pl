# Stock in mode escrow across what ends a backend, or the server: whatever had not committed
# is there again, whatever had is gone, and the counter is made from the tables.  How much
# room there is, what goes on without any, and what the keeper switches itself.
use strict;
use warnings;

use IPC::Run;
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = OrderEngine::new_shop(
	'hot',
	conf => <<'EOF_CONF');
restart_after_crash = on
order_engine.escrow_skus = 2
order_engine.stock_hot_waits = 1
order_engine.stock_cool_down = 2
EOF_CONF

sub shop { return $node->safe_psql('shop', $_[0]); }

sub refused
{
	my ($statement, $database) = @_;
	my (undef, undef, $error) = $node->psql($database // 'shop', "\\set VERBOSITY sqlstate\n$statement");
	return $error =~ /ERROR:\s+(\w+)/ ? $1 : $error;
}

sub available { return shop(qq(SELECT order_engine.available('$_[0]'))); }

# A session that has taken some of a SKU, and not committed.
sub take
{
	my ($sku, $quantity) = @_;
	my $session = $node->background_psql('shop', on_error_stop => 0);
	$session->query_safe('BEGIN');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_safe("SELECT order_engine.deduct_stock('$sku', $quantity)");
	return ($session, $pid);
}

shop(q(INSERT INTO order_engine.stock (sku, on_hand) VALUES ('hot', 10), ('warm', 10), ('cold', 10)));

#
# Room.
#
OrderEngine::make_shop($node, 'other');
$node->safe_psql('other', q(
	SELECT order_engine.receive_stock('far', 1);
	SELECT order_engine.set_stock_mode('far', 'escrow');));
shop(q(SELECT order_engine.set_stock_mode('hot', 'escrow')));
is(refused(q(SELECT order_engine.set_stock_mode('warm', 'escrow'))), '53400', 'there is room for so many SKUs, of all databases');
$node->safe_psql('postgres', 'DROP DATABASE other');
shop(q(SELECT order_engine.set_stock_mode('warm', 'escrow')));
is(shop('SELECT string_agg(sku, $$ $$ ORDER BY sku) FROM order_engine.stat_stock WHERE mode = $$escrow$$'),
	'hot warm', 'what a dropped database had is room for others');
shop(q(SELECT order_engine.set_stock_mode('warm', 'row')));

#
# What ends a backend.
#
my ($session, $pid) = take('hot', 4);
is(available('hot'), 6, 'what is taken is gone for others');
is(shop(q(SELECT free, in_flight FROM order_engine.stat_stock WHERE sku = 'hot')), '6|4', 'stat_stock shows what is in flight');
shop("SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('shop', q(SELECT order_engine.available('hot') = 10)), 'a backend that is terminated gives back what it took');
eval { $session->quit };

shop(q(SELECT order_engine.deduct_stock('hot', 1)));
($session, $pid) = take('hot', 4);
kill 'KILL', $pid;
eval { $session->quit };
OrderEngine::wait_for { ($node->psql('shop', 'SELECT 1'))[0] == 0 } 'the server to be up again';
ok($node->poll_query_until('shop', q(SELECT order_engine.available('hot') = 9)), 'after a backend was killed the counter is what was committed');
is(shop(q(SELECT remaining FROM order_engine.deduct_stock('hot', 2))), 7, 'and it is sold from');

($session, $pid) = take('hot', 4);
$node->stop('immediate');
eval { $session->quit };
$node->start;
is(available('hot'), 7, 'after an immediate shutdown too');

($session, $pid) = take('hot', 4);
OrderEngine::crash($node, OrderEngine::processes($node));
eval { $session->quit };
is(available('hot'), 7, 'and after the postmaster was killed');
is(shop(q(SELECT remaining FROM order_engine.deduct_stock('hot', 1))), 6, 'whoever sells one first finds the counter');
shop('SELECT order_engine.reconcile()');

#
# A commit that others see before its backend has done what comes behind it.
#
my $slow = q(SET order_engine.debug_commit_delay = '2s'; SELECT order_engine.receive_stock('hot', 5, ref => 'slow'));
my $receipt = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('shop'), '-c', $slow ], '>', \my $printed);
ok($node->poll_query_until('shop', q(SELECT EXISTS (SELECT FROM order_engine.stock_movement WHERE ref = 'slow'))), 'a receipt is seen');
shop(q(SELECT order_engine.set_stock_mode('hot', 'row')));
is(shop(q(SELECT on_hand FROM order_engine.stock WHERE sku = 'hot')), 11, 'a switch counts it once');
shop(q(SELECT order_engine.set_stock_mode('hot', 'escrow')));
is(available('hot'), 11, 'and back again');
$receipt->finish;
is(available('hot'), 11, 'it comes no second time');

#
# Without shared memory.
#
my $buy = q(SELECT order_id FROM order_engine.create_order(1, '[{"sku": "hot", "quantity": 1, "unit_price": 1}]'));
my $paid = shop($buy);
my $cancelled = shop($buy);
$node->append_conf('postgresql.conf', q(shared_preload_libraries = ''));
$node->restart;
is(refused($buy), '55000', 'without shared_preload_libraries none is sold');
is(available('hot'), 9, 'but it is known how many there are');
is(shop("SELECT outcome FROM order_engine.pay_order($paid, 'p', 1)"), 'paid', 'what was sold is paid');
shop("SELECT order_engine.cancel_order($cancelled)");
shop(q(SELECT order_engine.receive_stock('hot', 2)));
is(available('hot'), 12, 'and what is cancelled or received comes back');
shop(q(SELECT order_engine.set_stock_mode('hot', 'row')));
is(shop(q(SELECT remaining FROM order_engine.deduct_stock('hot', 1))), 11, 'switched back it is sold');
is(refused(q(SELECT order_engine.set_stock_mode('hot', 'escrow'))), '55000', 'and stays in mode row');
$node->append_conf('postgresql.conf', q(shared_preload_libraries = 'order_engine'));
$node->restart;

#
# A SKU that the keeper may switch is fought over, and then it is not.
#
shop(q(SELECT order_engine.set_stock_mode('warm', 'auto')));
($session, $pid) = take('warm', 1);
my $other = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('shop'), '-c', q(SELECT order_engine.deduct_stock('warm', 1)) ], '>', \$printed);
ok($node->poll_query_until('shop', "SELECT count(*) > 0 FROM pg_stat_activity WHERE $pid = ANY (pg_blocking_pids(pid))"), 'somebody waits for its row');
$session->query_safe('COMMIT');
$session->quit;
$other->finish;
ok($node->poll_query_until('shop', q(SELECT mode = 'escrow' FROM order_engine.stock WHERE sku = 'warm')), 'the keeper switches it to escrow');
ok($node->poll_query_until('shop', q(SELECT mode = 'row' FROM order_engine.stock WHERE sku = 'warm')), 'and back when it has cooled down');
is(shop(q(SELECT on_hand, auto_mode FROM order_engine.stock WHERE sku = 'warm')), '8|t', 'with nothing lost');

done_testing();
