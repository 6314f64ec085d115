# The keeper releases holds whose time is over, within a second, around those that others
# have locked and past one that fails; and it deletes those that were resolved for long.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $shop = OrderEngine::new_shop('reservation', conf => 'restart_after_crash = on');
my $sql = sub { my ($query) = @_; return $shop->safe_psql('shop', $query) };
my $becomes_true = sub { my ($query, $name) = @_; ok($shop->poll_query_until('shop', $query), $name) };
my $hold = sub {
	my ($name, $sku, $ttl) = @_;
	return $sql->(qq(SELECT status FROM order_engine.try_reserve('$name', '[{"sku": "$sku", "quantity": 1}]', '$ttl')));
};
my $state = sub { my ($name) = @_; return $sql->("SELECT state FROM order_engine.reservation WHERE reservation_id = '$name'") };
my $is_expired = sub {
	my ($name) = @_;
	return "SELECT state = 'expired' FROM order_engine.reservation WHERE reservation_id = '$name'";
};

$sql->("SELECT order_engine.receive_stock(sku, 100000) FROM unnest(ARRAY['a', 'b', 'held']) AS sku");
$becomes_true->("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'order_engine keeper'", 'a keeper runs');

# Soon: how late is told by the row itself.
$hold->('soon', 'a', '1 second');
$becomes_true->($is_expired->('soon'), 'a hold expires');
is($sql->("SELECT actor || ' ' || (resolved_at >= expires_at) || ' ' || (resolved_at < expires_at + '1 minute') FROM order_engine.reservation"),
	'keeper true true', 'by the keeper, not before its time');
note('late by ' . $sql->('SELECT resolved_at - expires_at FROM order_engine.reservation'));
is($sql->("SELECT reserved FROM order_engine.stock WHERE sku = 'a'"), 0, 'and its stock is free');

# One that somebody has locked is nobody's reason to wait.
$hold->('locked', 'b', '1 second');
my $buyer = $shop->background_psql('shop');
$buyer->query_safe("BEGIN; SELECT order_engine.confirm_reservation('locked')");
$hold->('behind', 'a', '1 second');
$becomes_true->($is_expired->('behind'), 'holds behind a locked one expire');
$buyer->query_safe('COMMIT');
$buyer->quit;
is($state->('locked'), 'confirmed', 'and the locked one is confirmed');

# Nor is stock that somebody holds on to: what needs it rests together, orders too.
$sql->(<<'EOF');
SELECT count(order_engine.try_reserve('crowd ' || n, jsonb_build_array(jsonb_build_object('sku', (ARRAY['held', 'a', 'b'])[1 + n % 3], 'quantity', 1)), '1 hour')) FROM generate_series(1, 900) n;
SELECT count(order_engine.create_order(n, '[{"sku": "held", "quantity": 1}]', pay_within => '1 hour')) FROM generate_series(1, 10) n;
EOF
my $clerk = $shop->background_psql('shop');
$clerk->query_safe("BEGIN; SELECT order_engine.adjust_stock('held', 1, 'count')");
$sql->("BEGIN; SET LOCAL session_replication_role = replica; UPDATE order_engine.reservation SET expires_at = now() WHERE reservation_id LIKE 'crowd %'; UPDATE order_engine.orders SET due_at = now(); COMMIT");
$becomes_true->("SELECT count(*) = 300 FROM order_engine.reservation WHERE state = 'held'", 'all others expire beside many that need a locked row');
is($sql->("SELECT count(*) FROM order_engine.reservation WHERE state = 'held' AND NOT lines ? 'held'"), 0, 'which stay');
$becomes_true->("SELECT resting = 310 AND last_error_code = '55P03' AND due = 310 FROM order_engine.keeper_status", 'and rest, and are due');
$clerk->query_safe('COMMIT');
$clerk->quit;
$becomes_true->("SELECT count(*) = 0 FROM order_engine.reservation WHERE state = 'held'", 'they expire when the row is free');
$becomes_true->("SELECT count(*) = 10 FROM order_engine.orders WHERE state = 'cancelled'", 'so do the orders');
is($sql->("SELECT sum(reserved) FROM order_engine.stock"), 0, 'and nothing is held any more');

# One that fails delays no other, and says which it is; one that ends the keeper does not end the next one.
$sql->(<<'EOF');
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.state = 'expired' AND NEW.reservation_id = 'bad' THEN
		RAISE 'not this one';
	ELSIF NEW.state = 'expired' AND NEW.reservation_id = 'deadly' THEN
		PERFORM set_config('exit_on_error', 'on', true);
		RAISE 'nor this one';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON order_engine.reservation FOR EACH ROW EXECUTE FUNCTION public.refuse();
EOF
$hold->('bad', 'a', '1 second');
$hold->('good', 'a', '1 second');
$becomes_true->($is_expired->('good'), 'holds beside one that fails expire');
is($state->('bad'), 'held', 'which stays');
my $id = $sql->("SELECT id FROM order_engine.reservation WHERE reservation_id = 'bad'");
ok($shop->log_contains(qr/expiry of reservation $id failed: not this one/), 'and the log says why');
is($sql->("SELECT last_error || ' ' || (last_error_order_id IS NULL) FROM order_engine.keeper_status"), 'not this one true', 'so does keeper_status');
$hold->('deadly', 'a', '1 second');
OrderEngine::wait_for { slurp_file($shop->logfile) =~ /expiry of reservation \d+ ended the keeper/ } 'the keeper to be ended';
$hold->('after', 'a', '1 second');
$becomes_true->($is_expired->('after'), 'the next keeper goes on');
is($state->('deadly'), 'held', 'past what ended the last one');
$sql->("DROP TRIGGER refuse ON order_engine.reservation; SELECT order_engine.cancel_reservation(name) FROM unnest('{bad,deadly}'::text[]) name");
$hold->('stays', 'a', '1 hour');

# Killed in the midst of it, nothing is released twice.
$sql->("SELECT count(order_engine.try_reserve('many ' || n, '[{\"sku\": \"a\", \"quantity\": 1}, {\"sku\": \"b\", \"quantity\": 2}]', '1 second')) FROM generate_series(1, 5000) n");
$becomes_true->("SELECT count(*) > 250 FROM order_engine.reservation WHERE reservation_id LIKE 'many %' AND state = 'expired'", 'many expire');
$sql->("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'order_engine keeper'");
$becomes_true->("SELECT count(*) = 5000 FROM order_engine.reservation WHERE reservation_id LIKE 'many %' AND state = 'expired'", 'all of them, past the end of a keeper');
is($sql->("SELECT string_agg(sku || ' ' || reserved, ', ' ORDER BY sku) FROM order_engine.stock"), 'a 1, b 0, held 0', 'each once');

# Purged when they have been resolved for long; what is held stays.
$shop->append_conf('postgresql.conf', "order_engine.reservation_retention = '1 s'");
$shop->reload;
$becomes_true->("SELECT count(*) = 1 FROM order_engine.reservation", 'what was resolved for long is deleted');
is($state->('stays'), 'held', 'what is held stays');
# a foreign key of the shop's own has its say, and holds up nothing else
$sql->("CREATE TABLE public.note (id bigint REFERENCES order_engine.reservation (id))");
$hold->('noted', 'a', '1 hour');
$sql->("INSERT INTO public.note SELECT id FROM order_engine.reservation WHERE reservation_id = 'noted'; SELECT order_engine.cancel_reservation('noted')");
$hold->('later', 'b', '1 second');
$becomes_true->($is_expired->('later'), 'holds expire while the purge is refused');
is($state->('noted'), 'cancelled', 'and what is referred to is kept');
$sql->('DROP TABLE public.note');
$becomes_true->("SELECT count(*) = 1 FROM order_engine.reservation", 'until nothing refers to it');

# The searches read the indexes that are made for them, however many rows there are.
foreach my $query ("SELECT r.id FROM order_engine.reservation r WHERE r.resolved_at < now() LIMIT 1000",
	"SELECT r.id, r.expires_at FROM order_engine.reservation r WHERE r.resolved_at IS NULL AND r.expires_at <= now() AND (r.expires_at, r.id) > ('-infinity', 0) ORDER BY r.expires_at, r.id LIMIT 10000")
{
	unlike($sql->("SET enable_seqscan = off; EXPLAIN (COSTS OFF) $query"), qr/Seq Scan|Index Scan using reservation_\d+_pkey/, "by an index: $query");
}
done_testing();
