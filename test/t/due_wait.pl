# order_engine.due_wait: who finds a SKU short, while orders or reservations that are overdue
# hold it, waits for the keeper, and for nothing else.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use OrderEngine;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $shop = OrderEngine::new_shop('due_wait');
my $sql = sub { my ($query) = @_; return $shop->safe_psql('shop', $query) };
my $becomes_true = sub { my ($query, $name) = @_; ok($shop->poll_query_until('shop', $query), $name) };
my $create = sub {
	my ($sku, $more) = @_;
	return qq(order_engine.create_order(1, '[{"sku": "$sku", "quantity": 2}]'$more));
};
my $long = ['SET order_engine.due_wait = 60000'];
my $coupon = q~order_engine.create_order(1, '[{"sku": "wrapping", "stocked": false, "quantity": 1}]',
	adjustments => '[{"kind": "discount", "amount": 0, "stock_key": "coupon", "quantity": 2}]', pay_within => '2 seconds')~;

# An order that is overdue, and locked by somebody, so that the keeper passes it over until
# that one lets go.
sub overdue
{
	my ($call) = @_;
	while (1)
	{
		my $id = $sql->("SELECT order_id FROM $call");
		my $holder = $shop->background_psql('shop');
		if ($holder->query_safe("BEGIN; SELECT state FROM order_engine.orders WHERE order_id = $id FOR UPDATE") =~ /pending/)
		{
			$becomes_true->("SELECT due_at < clock_timestamp() FROM order_engine.orders WHERE order_id = $id", 'an order is overdue');
			return $holder;
		}
		$holder->quit;
	}
}

# A client at work, and what it was told in the end.
my $clients = 0;
sub start
{
	my ($settings, $call) = @_;
	my %client = (out => '', name => 'client ' . ++$clients);
	$client{handle} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $shop->connstr('shop') . " application_name='$client{name}'",
			(map { ('-c', $_) } @$settings, "SELECT * FROM $call") ],
		'>&', \$client{out});
	return \%client;
}
sub told { my ($client) = @_; $client->{handle}->finish; return $client->{out} }
sub waits
{
	my ($client) = @_;
	$becomes_true->("SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = '$client->{name}' AND state = 'active' AND wait_event = 'Extension'",
		"$client->{name} waits");
}

$sql->("SELECT order_engine.receive_stock(s, 2) FROM unnest(ARRAY['a', 'b', 'closed', 'coupon', 'held']) s");
$becomes_true->("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'order_engine keeper'", 'a keeper runs');

my $holder = overdue($create->('a', ", pay_within => '2 seconds'"));
like(told(start(['SET order_engine.due_wait = 0'], $create->('a', ''))), qr/insufficient stock/, 'by default nobody waits');
like(told(start(['SET order_engine.due_wait = 100'], $create->('a', ''))), qr/insufficient stock/, 'who waits does so for a while');
my $buyer = start($long, $create->('a', ''));
waits($buyer);
is($sql->("SELECT count(*) FROM pg_locks l JOIN pg_stat_activity USING (pid) WHERE application_name = '$buyer->{name}' AND l.locktype = 'relation'
	AND l.relation::regclass::text LIKE 'order_engine.%' AND l.mode <> 'AccessShareLock'"), 0, 'with no lock in hand but, while it looks, those of reading');
my $reserver = start($long, q(order_engine.try_reserve('r1', '[{"sku": "a", "quantity": 2}]', '1 hour')));
waits($reserver);

# What somebody holds who is not overdue, and what is unknown, is waited for by nobody: a
# timeout would end who waited for it.
$sql->('SELECT * FROM ' . $create->('held', ", pay_within => '1 hour'"));
my $patient = [ @$long, "SET statement_timeout = '50s'" ];
like(told(start($patient, $create->('held', ''))), qr/insufficient stock/, 'what is held and not overdue is refused at once');
like(told(start($patient, $create->('nothing', ''))), qr/unknown SKU/, 'so is what is unknown');
like(told(start($patient, $create->('b', ", pay_within => '1 hour'"))), qr/pending/, 'what is there is sold at once');
my $other = overdue($create->('closed', ", pay_within => '2 seconds'"));
$sql->("SELECT order_engine.set_stock_open('closed', false)");
like(told(start($patient, $create->('closed', ''))), qr/insufficient stock.*"closed": true/s, 'what is closed is refused at once, overdue or not');
$other->query_safe('ROLLBACK');
$other->quit;
like(told(start([ @$patient, "SET default_transaction_isolation = 'repeatable read'" ], $create->('a', ''))), qr/insufficient stock/,
	'an old snapshot would not see it come');

$holder->query_safe('ROLLBACK');
$holder->quit;
my @told = (told($buyer), told($reserver));
is(scalar(grep { /pending|reserved/ } @told), 1, 'when the keeper has released it, one of the two gets it');
is(scalar(grep { /insufficient stock|sold_out/ } @told), 1, 'and the other is told that it is sold out');

# What an adjustment holds.
$holder = overdue($coupon);
$buyer = start($long, $coupon);
waits($buyer);
$holder->query_safe('ROLLBACK');
$holder->quit;
like(told($buyer), qr/pending/, 'a coupon is waited for, too');

# A reservation.
$sql->(q(SELECT order_engine.receive_stock('kept', 2)));
$sql->(q(SELECT order_engine.try_reserve('r3', '[{"sku": "kept", "quantity": 2}]', '1 us')));
like(told(start($patient, $create->('kept', ''))), qr/pending/, 'an overdue reservation is waited for, too');

# Who reserves waits as well.
$sql->(q(SELECT order_engine.receive_stock('basket', 2)));
$holder = overdue($create->('basket', ", pay_within => '2 seconds'"));
$reserver = start($long, q(order_engine.try_reserve('r4', '[{"sku": "basket", "quantity": 2}]', '1 hour')));
waits($reserver);
$holder->query_safe('ROLLBACK');
$holder->quit;
like(told($reserver), qr/^reserved/, 'who reserves what is overdue gets it');

# With no keeper there is nobody to wait for.
$sql->(q(SELECT order_engine.receive_stock('late', 2)));
$shop->append_conf('postgresql.conf', "order_engine.databases = ''");
$shop->reload;
$becomes_true->("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'order_engine keeper'", 'no keeper runs');
$sql->('SELECT * FROM ' . $create->('late', ", pay_within => '1 us'"));
like(told(start($patient, $create->('late', ''))), qr/insufficient stock/, 'without a keeper nobody waits');
$shop->stop;
done_testing();
