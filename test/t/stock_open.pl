# A closed SKU is closed after a restart and a crash too, in both modes, and opens as ever.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $shop = OrderEngine::new_shop('stock_open');
my $sql = sub { my ($query) = @_; return $shop->safe_psql('shop', $query) };

$sql->("SELECT order_engine.receive_stock(s, 2) FROM unnest(ARRAY['hot', 'row']) s");
$sql->("SELECT order_engine.set_stock_mode('hot', 'escrow')");
$sql->("SELECT order_engine.set_stock_open(s, false) FROM unnest(ARRAY['hot', 'row']) s");
foreach my $end ('fast', 'immediate')
{
	$shop->stop($end);
	$shop->start;
	foreach my $sku ('hot', 'row')
	{
		my (undef, undef, $told) = $shop->psql('shop', "SELECT order_engine.deduct_stock('$sku', 1)");
		like($told, qr/"sku": "$sku", "requested": 1, "available": 0, "closed": true/, "SKU $sku is closed after a stop that was $end");
		is($sql->("SELECT order_engine.available('$sku')"), 0, 'and shows nothing');
	}
}
$sql->("SELECT order_engine.set_stock_open(s, true) FROM unnest(ARRAY['hot', 'row']) s");
is($sql->("SELECT (order_engine.deduct_stock(s, 1)).remaining FROM unnest(ARRAY['hot', 'row']) s"), "1\n1", 'opened they sell');
$shop->stop;
done_testing();
