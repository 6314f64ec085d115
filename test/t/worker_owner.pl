# The workers act as the tables' owner to the end of each transaction: what the owner
# hangs on its tables to run at the commit must not run as the superuser that the
# worker's process belongs to, and one such check that fails delays no other order.
# Nor may a function in a partition key, an index or a constraint run as whoever opens
# the table first, nor what a guard sets for its session outlive its transaction.
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

# tend() does the same work in a session, and commits there: what the owner defers is his
# all the same, also what he defers once more.
$node->append_conf('postgresql.conf', "order_engine.databases = ''\norder_engine.publisher = 'none'\norder_engine.outbox_retention = 1\n");
$node->reload;
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('order_engine keeper', 'order_engine relay')"), 'without workers');
$node->safe_psql('shop', <<'EOF', extra_params => [ '-U', 'keeps_shop' ]);
TRUNCATE own.seen;
CREATE TABLE own.again (n int);
CREATE CONSTRAINT TRIGGER again AFTER INSERT ON own.again DEFERRABLE FOR EACH ROW EXECUTE FUNCTION own.note();
CREATE OR REPLACE FUNCTION own.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO own.seen VALUES (TG_TABLE_NAME, session_user, current_user);
	IF TG_TABLE_NAME <> 'again' THEN
		SET CONSTRAINTS ALL DEFERRED;
		INSERT INTO own.again VALUES (1);
	END IF;
	RETURN NULL;
END $$;
SELECT order_engine.create_order(12, '[{"sku": "a", "quantity": 1}]', pay_within => '1 microsecond');
EOF
$node->safe_psql('shop', 'CALL order_engine.tend()');
is($node->safe_psql('shop', 'SELECT state FROM order_engine.orders WHERE user_id = 12'), 'cancelled', 'an order expires by tend()');
is($node->safe_psql('shop', "SELECT string_agg(DISTINCT regexp_replace(what, '_\\d+\$', '') || ' ' || current_user_name, ', ') FROM own.seen"),
	'again keeps_shop, journal_position keeps_shop, orders keeps_shop', 'and what is deferred runs as the owner there too');
$node->safe_psql('shop', 'DROP TABLE own.again CASCADE', extra_params => [ '-U', 'keeps_shop' ]);
$node->safe_psql('shop', <<'EOF', extra_params => [ '-U', 'keeps_shop' ]);
CREATE OR REPLACE FUNCTION own.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
EOF
# Nor do the two of them get into each other's: what the caller has deferred is the
# caller's, and a cursor that the owner leaves open is not filled by the caller.
$node->safe_psql('postgres', 'CREATE ROLE tends_shop LOGIN');
$node->safe_psql('shop', "SELECT order_engine.grant_access('tends_shop'::regrole, 'operator'::text)", extra_params => [ '-U', 'keeps_shop' ]);
$node->safe_psql('shop', <<'EOF', extra_params => [ '-U', 'keeps_shop' ]);
SELECT order_engine.create_order(14, '[{"sku": "a", "quantity": 1}]', pay_within => '1 microsecond');
EOF
like($node->safe_psql('shop', <<'EOF', extra_params => [ '-U', 'tends_shop' ]), qr/^tends_shop$/m, 'what a caller of tend() has deferred runs as the caller');
CREATE TEMP TABLE mine (i int);
CREATE TEMP TABLE ran (who name);
CREATE FUNCTION pg_temp.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO pg_temp.ran VALUES (current_user); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER tell AFTER INSERT ON mine DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.tell();
DO $$ BEGIN INSERT INTO mine VALUES (1); CALL order_engine.tend(60000); END $$;
SELECT who FROM ran;
EOF
is($node->safe_psql('shop', 'SELECT state FROM order_engine.orders WHERE user_id = 14'), 'cancelled', 'and the order has expired');
$node->safe_psql('shop', <<'EOF', extra_params => [ '-U', 'keeps_shop' ]);
CREATE FUNCTION own.left_open() RETURNS name LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'a cursor is filled as %', current_user; RETURN current_user; END $$;
CREATE FUNCTION own.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DECLARE h CURSOR WITH HOLD FOR SELECT own.left_open()'; RETURN NULL; END $$;
CREATE TRIGGER zz AFTER UPDATE ON order_engine.orders FOR EACH ROW WHEN (NEW.user_id = 16) EXECUTE FUNCTION own.hold();
SELECT order_engine.create_order(16, '[{"sku": "a", "quantity": 1}]', pay_within => '1 microsecond');
SELECT order_engine.create_order(18, '[{"sku": "a", "quantity": 1}]', pay_within => '1 microsecond');
EOF
$node->safe_psql('shop', 'CALL order_engine.tend(60000)');
is($node->safe_psql('shop', 'SELECT string_agg(state, \' \' ORDER BY user_id) FROM order_engine.orders WHERE user_id IN (16, 18)'),
	'pending cancelled', 'an order whose trigger leaves a cursor open stays, others expire');
ok(!$node->log_contains(qr/a cursor is filled as \w/), 'and nobody fills it');
$node->safe_psql('shop', 'DROP TRIGGER zz ON order_engine.orders', extra_params => [ '-U', 'keeps_shop' ]);

$node->append_conf('postgresql.conf', "order_engine.databases = 'shop'\norder_engine.publisher = 'log'\n");
$node->reload;

# What a guard does to its session stays in its transaction: a setting, a lock.
$node->safe_psql('postgres', 'CREATE ROLE guards_shop LOGIN');
$node->safe_psql('shop', 'CREATE SCHEMA guards AUTHORIZATION guards_shop');
$node->safe_psql('shop', "SELECT order_engine.grant_access('guards_shop'::regrole, 'operator'::text)", extra_params => [ '-U', 'keeps_shop' ]);
$node->safe_psql('shop', <<'EOF', extra_params => [ '-U', 'guards_shop' ]);
CREATE FUNCTION guards.sets(o order_engine.orders, event text, attributes jsonb) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	SET default_transaction_read_only = on;
	SET search_path = guards;
	PERFORM pg_advisory_lock(4711);
	RETURN true;
END $$;
GRANT USAGE ON SCHEMA guards TO keeps_shop;
SELECT order_engine.define_machine('sets', '{"final": ["done"], "transitions": [{"from": null, "event": "create", "to": "open", "due": "1 second", "due_event": "finish"},
	{"from": "open", "event": "finish", "to": "done", "guard": "guards.sets"}]}');
SELECT state FROM order_engine.create_order(2, '[{"sku": "x", "quantity": 1, "stocked": false}]', machine => 'sets');
EOF
ok($node->poll_query_until('shop', "SELECT count(*) = 1 FROM order_engine.orders WHERE state = 'done'"), 'an order expires whose guard sets things for its session');
$node->safe_psql('shop', q{SELECT order_engine.create_order(8, '[{"sku": "a", "quantity": 1}]', pay_within => '1 second')}, extra_params => [ '-U', 'keeps_shop' ]);
ok($node->poll_query_until('shop', "SELECT state = 'cancelled' FROM order_engine.orders WHERE user_id = 8"), 'and so does the next one');
ok($node->poll_query_until('shop', "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory'"), 'and the lock is gone');

# What the owner has PostgreSQL evaluate: immutable functions are folded when a partition
# key or an index is opened.  Readers, writers and workers are not his to use.
$node->safe_psql('shop', <<'EOF', extra_params => [ '-U', 'keeps_shop' ]);
CREATE FUNCTION own.tells() RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN RAISE LOG 'owner code runs as %', current_user; RETURN 0; END $$;
CREATE FUNCTION own.folded(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN own.tells(); END $$;
DO $$
BEGIN
	FOR leaf IN 0 .. 3 LOOP
		EXECUTE format('CREATE UNIQUE INDEX aa_%1$s ON order_engine.orders_%1$s (order_id) WHERE own.folded(1) = 0', leaf);
		EXECUTE format('ALTER TABLE order_engine.orders_%1$s ADD CONSTRAINT aa CHECK (order_id > own.folded(1))', leaf);
	END LOOP;
	FOR leaf IN 0 .. 2 LOOP
		EXECUTE format('CREATE INDEX aa_outbox_%1$s ON order_engine.outbox_%1$s (era, xid, id) WHERE own.folded(1) = 0', leaf);
	END LOOP;
	CREATE UNIQUE INDEX aa_stock ON order_engine.stock (sku) WHERE own.folded(1) = 0;
END $$;
EOF
my $offset = -s $node->logfile;
my $id = $node->safe_psql('shop', q{SELECT order_id FROM order_engine.create_order(10, '[{"sku": "a", "quantity": 1, "unit_price": 5}]', pay_within => '1 second')});
$node->safe_psql('shop', "SELECT count(*) FROM order_engine.get_order($id), order_engine.user_orders(10), order_engine.order_history($id), order_engine.allowed_events($id), order_engine.available('a'), order_engine.relay_status, order_engine.keeper_status");
# not by SQL of our own, which PostgreSQL plans as whoever asks
ok($node->poll_query_until('shop', "SELECT order_engine.allowed_events($id) = '{}'"), 'calls and workers meet the functions of the owner');
ok($node->log_contains(qr/owner code runs as keeps_shop/, $offset), 'which run as the owner');
ok(!$node->log_contains(qr/owner code runs as (?!keeps_shop)/, $offset), 'and as nobody else');

$node->safe_psql('shop', <<'EOF', extra_params => [ '-U', 'keeps_shop' ]);
BEGIN;
ALTER TABLE order_engine.payment RENAME TO payment_old;
CREATE TABLE order_engine.payment (LIKE order_engine.payment_old INCLUDING DEFAULTS) PARTITION BY HASH ((order_id + own.folded(1)));
DO $$
BEGIN
	FOR i IN 0 .. 3 LOOP
		EXECUTE format('CREATE TABLE order_engine.payment_x%s PARTITION OF order_engine.payment FOR VALUES WITH (MODULUS 4, REMAINDER %s)', i, i);
	END LOOP;
END $$;
COMMIT;
EOF
$offset = -s $node->logfile;
ok($node->wait_for_log(qr/table "payment" must be partitioned by column "order_id"/, $offset), 'the workers do not go on with a table of another shape');
my ($status, $out, $error) = $node->psql('shop', "SELECT order_engine.get_order($id)");
like($error, qr/table "payment" must be partitioned by column "order_id"/, 'nor does a reader');
ok(!$node->log_contains(qr/owner code runs as/, $offset), 'and nothing is evaluated');
$node->stop;
done_testing();
