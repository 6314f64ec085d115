# The workers act as the tables' owner to the end of each transaction: what the owner
# hangs on its tables to run at the commit must not run as the superuser that the
# worker's process belongs to, and one such check that fails delays no other order.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = OrderEngine::new_node('worker_owner');
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE keeps_shop LOGIN');
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', <<'EOF');
CREATE EXTENSION order_engine;
SELECT order_engine.grant_access('keeps_shop', 'owner');
CREATE SCHEMA own AUTHORIZATION keeps_shop;
EOF
$node->safe_psql('shop', <<'EOF', extra_params => ['-U', 'keeps_shop']);
SELECT order_engine.setup(4);
SELECT order_engine.receive_stock('a', 100);
CREATE TABLE own.seen (what text, session_user_name name, current_user_name name);
CREATE FUNCTION own.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO own.seen VALUES (TG_TABLE_NAME, session_user, current_user);
	RETURN NULL;
END $$;
CREATE FUNCTION own.refuse_odd_users() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.user_id % 2 = 1 THEN
		RAISE 'not this one';
	END IF;
	RETURN NULL;
END $$;
DO $$
BEGIN
	FOR leaf IN 0 .. 3 LOOP
		EXECUTE format('CREATE CONSTRAINT TRIGGER at_commit AFTER UPDATE ON order_engine.orders_%s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION own.note()', leaf);
		EXECUTE format('CREATE CONSTRAINT TRIGGER check_user AFTER UPDATE ON order_engine.orders_%s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION own.refuse_odd_users()', leaf);
	END LOOP;
	FOR leaf IN 0 .. 1 LOOP
		EXECUTE format('CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON order_engine.journal_position_%s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION own.note()', leaf);
	END LOOP;
END $$;
SELECT count(order_engine.create_order(u, '[{"sku": "a", "quantity": 1}]', pay_within => '1 second')) FROM generate_series(1, 6) u;
EOF

ok($node->poll_query_until('shop', "SELECT count(*) = 3 FROM order_engine.orders WHERE state = 'cancelled'"),
	'orders expire beside some whose deferred constraints do not hold');
is($node->safe_psql('shop', "SELECT string_agg(DISTINCT user_id::text, ' ' ORDER BY user_id::text) FROM order_engine.orders WHERE state = 'pending'"),
	'1 3 5', 'and those stay');
ok($node->log_contains(qr/due event of order \d+ failed: not this one/), 'and the log says why');

$node->append_conf('postgresql.conf', "order_engine.publisher = 'log'\n");
$node->reload;
ok($node->poll_query_until('shop', "SELECT count(*) > 0 FROM own.seen WHERE what LIKE 'journal_position%'"), 'the relay writes too');
is($node->safe_psql('shop', "SELECT string_agg(DISTINCT current_user_name, ' ') FROM own.seen"), 'keeps_shop',
	'what fires at the commit of a worker runs as the owner of the tables');
isnt($node->safe_psql('shop', 'SELECT string_agg(DISTINCT session_user_name, \' \') FROM own.seen'), 'keeps_shop',
	'in a process that is somebody else\'s');
$node->stop;
done_testing();
