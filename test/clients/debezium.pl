# Debezium reads the outbox, as doc/debezium.md says.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/lib';
use Clients;

my $shop = Clients::new_shop(conf => <<'CONF');
wal_level = logical
max_wal_senders = 4
max_replication_slots = 4
autovacuum = off
order_engine.journal_rotate_size = '8kB'
CONF
my ($sql) = slurp_file('doc/debezium.md') =~ /^```sql\n(.*?)^```$/ms;
$shop->safe_psql('shop', $sql);
Clients::run_program($shop, 'debezium', 'ReadOutbox');

# What the router needs is there, under the name of the outbox and not of one of its tables.
is($shop->safe_psql('shop', 'SELECT tablename, rowfilter FROM pg_publication_tables'), 'outbox|',
	'the publication has the outbox as one table');
$shop->stop('immediate');
done_testing();
