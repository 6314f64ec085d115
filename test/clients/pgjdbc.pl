# pgjdbc: checkout, webhook and version conflict.
use strict;
use warnings;

use Test::More;

use lib 'test/lib';
use Clients;

my $shop = Clients::new_shop();
Clients::run_program($shop, 'java', 'WithPgjdbc');
Clients::check_shop($shop);
$shop->stop;
done_testing();
