# Django: checkout, webhook and version conflict, by calls and by the ORM.
use strict;
use warnings;

use Test::More;

use lib 'test/lib';
use Clients;

my $shop = Clients::new_shop();
Clients::run_program($shop, 'python', 'with_django.py');
Clients::check_shop($shop);
$shop->stop;
done_testing();
