# TypeORM: orders as entities, and the calls through query().
use strict;
use warnings;

use Test::More;

use lib 'test/lib';
use Clients;

my $shop = Clients::new_shop();
Clients::run_program($shop, 'node', 'with_typeorm.js');
is($shop->safe_psql('shop', 'SELECT state, version, attributes FROM order_engine.orders WHERE idempotency_key IS NULL'),
	'cancelled|4|{"gift": "maybe"}', 'the order of the entity is where it was left');
$shop->stop;
done_testing();
