# The clock of the machine is set back by a day: what happens every few seconds goes on
# happening, what rests for a while does not rest for that day, and what is kept for a time
# is not kept for ever.
use strict;
use warnings;

use FindBin;
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
system_or_bail($ENV{CC} // 'cc', '-shared', '-fPIC', '-o', "$dir/clock.so", "$FindBin::RealBin/../lib/clock.c");

# In place: the servers have mapped the file.
sub set_clock
{
	my ($seconds) = @_;
	open(my $file, -e "$dir/offset" ? '+<' : '>', "$dir/offset") or die $!;
	syswrite($file, pack('q', $seconds)) == 8 or die $!;
	close($file);
	return;
}

set_clock(0);
my $node = OrderEngine::new_node('main', conf => <<'EOF');
autovacuum = off
order_engine.outbox_retention = 1s
order_engine.journal_rotate_size = '8kB'
EOF
{
	local $ENV{LD_PRELOAD} = "$dir/clock.so";
	local $ENV{CLOCK_OFFSET} = "$dir/offset";
	$node->start;
}
OrderEngine::make_shop($node, 'shop');
my $sql = sub { return $node->safe_psql('shop', $_[0]) };
my $emit = q{SELECT order_engine.emit('note', 'n', 'note.written', '1')};
my $expired = sub { return $node->poll_query_until('shop', 'SELECT count(*) = 0 FROM order_engine.outbox') };

# ---- the keeper ----

# An order that rests: its event fails for now.
$sql->(<<'EOF');
SELECT order_engine.receive_stock('a', 10);
CREATE TABLE fails (since timestamptz);
INSERT INTO fails VALUES (now());
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF EXISTS (SELECT FROM public.fails) AND NEW.state <> OLD.state THEN RAISE 'not now'; END IF; RETURN NEW; END $$;
CREATE TRIGGER fail BEFORE UPDATE ON order_engine.orders FOR EACH ROW EXECUTE FUNCTION fail();
SELECT order_id FROM order_engine.create_order(1, '[{"sku": "a", "quantity": 1}]');
UPDATE order_engine.orders SET due_at = '2020-01-01';
EOF
OrderEngine::wait_for { slurp_file($node->logfile) =~ /due event of order \d+ failed: not now/ } 'the order to fail';
$sql->($emit);
ok($node->poll_query_until('shop', 'SELECT max(batch) > 0 FROM order_engine.journal_position WHERE last_id = 0'), 'an event waits for its retention');

set_clock(-86400);
is($sql->("SELECT max(tick_at) > clock_timestamp() + '23 hours' FROM order_engine.journal_position"), 't', 'the clock is set back');
$sql->('DELETE FROM fails');
ok($node->poll_query_until('shop', "SELECT state = 'cancelled' FROM order_engine.orders"), '... and the order that rested is tried again');
ok($expired->(), '... and the event from before expires');
$sql->($emit);
ok($expired->(), '... and one from after it');

# ---- the relay ----

set_clock(0);
$sql->("ALTER SYSTEM SET order_engine.publisher = 'log'; SELECT pg_reload_conf()");
$sql->($emit);
OrderEngine::wait_relayed($node);
set_clock(-86400);
# As a restore brings it: from another cluster.
$sql->(<<'EOF');
SET session_replication_role = replica;
INSERT INTO order_engine.outbox (id, aggregatetype, aggregateid, type, created_at, xid, era)
VALUES (1, 'note', 'restored', 'note.written', now(), '100', 1);
EOF
OrderEngine::wait_for { slurp_file($node->logfile) =~ /key "restored"/ } 'the event from another cluster to be published';
pass('events that a restore brings are looked for when the clock was set back, too');

$node->stop;
done_testing();
