# What administrators do to a shop's tables costs no event and does not stop the relay.
use strict;
use warnings;

use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $events = 20000;
my $chunk = 5000;
my $node = OrderEngine::new_shop('main', publisher => 'log', conf => 'autovacuum = off');
$node->safe_psql('shop', 'CREATE TABLE moved (published bigint)');

# How often each event was published, by its key.
sub published
{
	my ($from) = @_;
	my $log = slurp_file($node->logfile, $from // 0);
	my %count;
	$count{$1}++ while $log =~ /key "(\w+)"/g;
	return %count;
}

# ---- a leaf is written anew in the middle of a batch ----

my $emit = q{SELECT count(order_engine.emit('note', 'n' || g, 'note.written', '1')) FROM generate_series};

# The relay reads each chunk in a transaction of its own: in between, the leaf can be locked.
sub publish_around
{
	my ($rewrite, $what) = @_;
	my $log_start = -s $node->logfile;
	my $before = $node->safe_psql('shop', 'TRUNCATE moved; SELECT published FROM order_engine.relay_state()');
	# What was rolled back leaves a gap, which the new leaf does not have.
	$node->safe_psql('shop', "BEGIN; $emit(1, 300) g; ROLLBACK");
	my $admin = $node->background_psql('shop');
	$admin->query_until(qr/waiting/, <<"EOF");
\\echo waiting
DO \$\$
BEGIN
	WHILE (SELECT published = $before FROM order_engine.relay_state()) LOOP
		PERFORM pg_sleep(0.001);
	END LOOP;
	LOCK TABLE order_engine.outbox_0;
	INSERT INTO moved SELECT published - $before FROM order_engine.relay_state();
	$rewrite;
END
\$\$;
EOF
	$node->safe_psql('shop', "$emit(1, $events) g");
	OrderEngine::wait_relayed($node);
	$admin->quit;
	cmp_ok($node->safe_psql('shop', 'SELECT published FROM moved'), '<', $events - $chunk, "$what before they were read");
	my %published = published($log_start);
	is(scalar(keys %published), $events, '... and every event was published');
	is(scalar(grep { $_ > 1 } values %published), 0, '... once');
	return;
}
publish_around('CLUSTER order_engine.outbox_0 USING outbox_0_era_xid_id_idx', 'rows were moved');
publish_around('ALTER TABLE order_engine.outbox ADD COLUMN x float DEFAULT random()', 'rows were written anew, as a younger transaction\'s,');

# ---- a column gets another type while the relay waits for the table ----

# What it reads would be a pointer of the owner's choice.
my $log_start = -s $node->logfile;
$node->safe_psql('shop', 'SELECT order_engine.pause_relay()');
$node->poll_query_until('shop', "SELECT state = 'paused' FROM order_engine.relay_state()") or die;
$node->safe_psql('shop', "$emit(1, 100) g");
my $owner = $node->background_psql('shop');
$owner->query_safe($_) foreach 'BEGIN', 'ALTER TABLE order_engine.outbox ALTER type TYPE bigint USING 1';
$node->safe_psql('shop', 'SELECT order_engine.resume_relay()');
ok($node->poll_query_until('shop', "SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity USING (pid) WHERE backend_type = 'order_engine relay' AND NOT granted"),
	'the relay waits for a table whose column gets another type');
$owner->query_safe('COMMIT');
OrderEngine::wait_for { slurp_file($node->logfile, $log_start) =~ /ERROR:  column "type" of table "outbox" must exist/ } 'the relay to refuse';
pass('... it says so');
$owner->query_safe("ALTER TABLE order_engine.outbox ALTER type TYPE text USING 'note.written'");
$owner->quit;
OrderEngine::wait_relayed($node);
is(scalar(keys %{ { published($log_start) } }), 100, '... and publishes when it is as it was');
unlike(slurp_file($node->logfile), qr/terminated by signal/, '... by the same server');

# ---- no new leaf can be made: rotation has to wait, publishing has not ----

$node->safe_psql('shop', <<'EOF');
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION refuse();
ALTER SYSTEM SET order_engine.journal_rotate_size = '8kB';
SELECT pg_reload_conf();
EOF
my $relay = $node->safe_psql('shop', 'SELECT pid FROM order_engine.relay_status');
my $reader = $node->background_psql('shop');
$reader->query_safe($_) foreach 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1';
$log_start = -s $node->logfile;
my $round = 0;
until (slurp_file($node->logfile, $log_start) =~ /not now/)
{
	$node->safe_psql('shop', "SELECT count(order_engine.emit('note', 'r' || g, 'note.written', '1')) FROM generate_series($round * 100 + 1, ($round + 1) * 100) g");
	OrderEngine::wait_relayed($node);
	$round++;
}
$node->safe_psql('shop', "SELECT order_engine.emit('note', 'r0', 'note.written', '1')");
OrderEngine::wait_relayed($node);
my %published = published($log_start);
is(scalar(keys %published), $round * 100 + 1, 'every event is published, though no leaf can be added');
is(scalar(grep { $_ > 1 } values %published), 0, '... once');
is($node->safe_psql('shop', 'SELECT pid FROM order_engine.relay_status'), $relay, '... by the same relay');
$reader->query_safe('COMMIT');
$reader->quit;

$node->stop;
done_testing();
