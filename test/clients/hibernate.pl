# Hibernate ORM: the calls by native queries; orders as entities, with the columns that
# changed and with all of them.
use strict;
use warnings;

use Test::More;

use lib 'test/lib';
use Clients;

my $shop = Clients::new_shop();
Clients::run_program($shop, 'java', 'WithHibernate');
is($shop->safe_psql('shop', 'SELECT state, version, attributes, private FROM order_engine.orders WHERE idempotency_key IS NULL'),
	join("\n", ('shipped|4|{"gift": false}|{"name": "Ann"}') x 2), 'each entity is where it was left');
$shop->stop;
done_testing();
