# What is sold out is told to the client, and leaves no line in the server log unless
# order_engine.log_refusals says so.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/lib';
use OrderEngine;

my $shop = OrderEngine::new_shop('main', conf => "log_statement = none\nlog_min_error_statement = error\n");
$shop->safe_psql('shop', q{SELECT order_engine.receive_stock('tea', 1)});

# What psql says and what the log gains by these statements; the last one marks its end.
sub told_and_logged
{
	my ($sql) = @_;
	my $offset = -s $shop->logfile;
	my $mark = 'mark ' . $offset;
	my (undef, undef, $err) = $shop->psql('shop', $sql, on_error_stop => 0);
	$shop->safe_psql('shop', "DO \$\$BEGIN RAISE LOG '$mark'; END\$\$");
	my $log = slurp_file($shop->logfile, $offset);
	like($log, qr/$mark/, 'the log is there');
	return ($err, $log);
}

my $create = q{SELECT order_engine.create_order(1, '[{"sku": "tea", "quantity": 2}]')};
my $short = qr/ERROR:  insufficient stock/;
my ($told, $logged) = told_and_logged("$create;");
like($told, qr/$short\nDETAIL:  \{"short": \[\{"sku": "tea", "requested": 2, "available": 1\}\]\}\nHINT:/, 'the client is told');
unlike($logged, qr/insufficient|create_order/, 'the log is not, nor of the statement');

($told, $logged) = told_and_logged(q{SELECT order_engine.deduct_stock('tea', 2); SELECT order_engine.adjust_stock('tea', -2);});
is(scalar(() = $told =~ /$short/g), 2, 'by every call');
unlike($logged, qr/insufficient|_stock/, 'of none is the log');

($told, $logged) = told_and_logged("DO \$\$BEGIN PERFORM * FROM order_engine.create_order(1, '[{\"sku\": \"tea\", \"quantity\": 2}]'); END\$\$;");
like($told, $short, 'from within a function too');
unlike($logged, qr/insufficient|create_order/, 'and no log');

($told, $logged) = told_and_logged("SET order_engine.log_refusals = on; $create;");
like($told, $short, 'with the setting the client is told');
like($logged, qr/$short.*STATEMENT:  .*create_order/s, 'and the log, as of any error');

($told, $logged) = told_and_logged(q{SELECT order_engine.create_order(1, '[{"sku": "coffee", "quantity": 1}]');});
like($logged, qr/ERROR:  unknown SKU "coffee"/, 'an unknown SKU is a mistake, and logged');
($told, $logged) = told_and_logged(q{DO $$BEGIN RAISE 'insufficient stock' USING ERRCODE = 'OE001'; END$$;});
like($logged, $short, 'an error of a user function is its own');
($told, $logged) = told_and_logged("CREATE ROLE web; SET ROLE web; SET order_engine.log_refusals = on;");
like($told, qr/permission denied to set parameter "order_engine.log_refusals"/, 'a superuser decides');
$shop->stop;
done_testing();
