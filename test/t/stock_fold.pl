# The keeper folds what escrow has changed into the rows of stock, while it is killed, the
# server is, leaves are rotated, and standbys and dumps look: what a row and the changes not
# folded say is at any time exactly what was committed, and nothing is folded twice or lost.
#
# Changes are appended by hand (test/lib/escrow.sql), each together with a row in a ledger.
use strict;
use warnings;

use FindBin;
use IPC::Run ();
use OrderEngine;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{ORDER_ENGINE_LONG} ? 20 : 4;
my $helpers = slurp_file("$FindBin::RealBin/../lib/escrow.sql");
my $skus = 20;

my $shop = OrderEngine::new_shop('shop', databases => 'shop, copy', allows_streaming => 1, conf => <<'EOF_CONF');
restart_after_crash = on
autovacuum = off
order_engine.journal_rotate_size = '8kB'
EOF_CONF
my $sql = sub { my ($query) = @_; return $shop->safe_psql('shop', $query) };

$sql->($helpers . <<"EOF_SQL");
CREATE TABLE public.ledger (sku text, on_hand bigint, reserved bigint);
SELECT public.escrow('sku' || n, 1000, 7) FROM generate_series(1, $skus) n;
INSERT INTO public.ledger SELECT 'sku' || n, 1000, 0 FROM generate_series(1, $skus) n;
CREATE FUNCTION public.sell(of_sku text, on_hand bigint, reserved bigint) RETURNS void LANGUAGE sql AS \$\$
	INSERT INTO public.ledger VALUES (of_sku, on_hand, reserved);
	SELECT public.change(of_sku, on_hand, reserved);
\$\$;
CREATE VIEW public.differences AS
	SELECT l.sku, l.on_hand, l.reserved, e.on_hand AS has_on_hand, e.reserved AS has_reserved FROM public.stock_by_escrow e
		JOIN (SELECT sku, sum(on_hand) AS on_hand, sum(reserved) AS reserved FROM public.ledger GROUP BY sku) l USING (sku)
	WHERE (l.on_hand, l.reserved) IS DISTINCT FROM (e.on_hand, e.reserved);
EOF_SQL

# Sells at random, in several sessions, some in a transaction that stays open for a while, some
# of it rolled back.
my $script = PostgreSQL::Test::Utils::tempdir() . '/sell.sql';
append_to_file($script, <<"EOF_SQL");
\\set n random(1, $skus)
\\set m random(1, $skus)
\\set q random(1, 5)
BEGIN;
SELECT public.sell('sku:n', 0, :q);
SAVEPOINT s;
SELECT public.sell('sku:m', 7, 7);
ROLLBACK TO s;
SELECT public.sell('sku:m', :q, 0);
COMMIT;
EOF_SQL

sub start_load
{
	my ($out, $err) = ('', '');
	return IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-T', 600, '-R', 400, '-f', $script, $shop->connstr('shop') ], '<', \undef, '>', \$out, '2>', \$err);
}

sub keeper
{
	return "SELECT pid FROM pg_stat_activity WHERE backend_type = 'order_engine keeper' AND datname = 'shop'";
}

sub folds
{
	return $sql->("SELECT coalesce(max(batch), 0) FROM order_engine.journal_position WHERE journal = 'stock_journal'");
}

sub differences
{
	my ($node, $database) = @_;
	my ($status, $out, $err);

	# a leaf that is emptied between the statement's snapshot and its look is 40001
	do { $status = $node->psql($database // 'shop', 'SELECT * FROM public.differences', stdout => \$out, stderr => \$err) }
	  while ($err // '') =~ /could not serialize access/;
	die $err if $status != 0;
	return $out;
}

# All is folded, exactly, by what is in the rows alone.
sub is_folded
{
	my ($node, $database, $what) = @_;
	ok($node->poll_query_until($database, 'SELECT count(*) = 0 FROM order_engine.stock_journal_unfolded()'), "$what: all is folded");
	is(differences($node, $database), '', '... exactly');
	return;
}

# ---- killed ----

foreach my $round (1 .. $rounds)
{
	my $before = folds();
	my $load = start_load();
	ok($shop->poll_query_until('shop', "SELECT max(batch) > $before + 3 FROM order_engine.journal_position WHERE journal = 'stock_journal'"), "round $round: stock is folded beside a sale");
	is(differences($shop), '', '... and what is seen is what was sold, at any time');
	my $pid = $sql->(keeper());
	if ($round % 2 == 1)
	{
		kill 'KILL', $pid;
		$load->kill_kill;
		# the postmaster may not have noticed yet
		OrderEngine::wait_for { ($shop->psql('shop', keeper()))[1] !~ /^$pid$/m } 'the crash';
		$shop->poll_query_until('shop', 'SELECT true');
	}
	else
	{
		OrderEngine::crash($shop, OrderEngine::processes($shop));
		$load->kill_kill;
	}
	is(differences($shop), '', '... after a kill, too');
	is_folded($shop, 'shop', '... and when it is quiet');
}
is($sql->("SELECT count(*) FROM (SELECT id FROM order_engine.stock_journal GROUP BY id HAVING count(*) > 1) d"), 0, 'no id came twice');
ok($shop->poll_query_until('shop', <<'EOF_SQL'), 'and the leaves are emptied');
SELECT count(*) FILTER (WHERE pg_relation_size(relid) > 0) <= 1 FROM pg_partition_tree('order_engine.stock_journal') WHERE isleaf
EOF_SQL

# ---- a SKU that cannot be folded ----

$sql->(<<'EOF_SQL');
CREATE FUNCTION public.stubborn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF new.sku = 'sku1' THEN
		RAISE 'not this one' USING ERRCODE = 'query_canceled';
	END IF;
	RETURN new;
END $$;
CREATE TRIGGER stubborn BEFORE UPDATE ON order_engine.stock FOR EACH ROW EXECUTE FUNCTION public.stubborn();
EOF_SQL
my $keeper = $sql->(keeper());
foreach my $n (1 .. 3)
{
	$sql->("SELECT public.sell('sku1', 1, 1), public.sell('sku2', 1, 1)");
	ok($shop->poll_query_until('shop', "SELECT count(*) = 0 FROM order_engine.stock_journal_unfolded('sku2')"), 'a SKU beside one whose trigger raises is folded');
}
cmp_ok($sql->("SELECT count(*) FROM order_engine.stock_journal_unfolded('sku1')"), '>', 0, '... that one is not');
is(differences($shop), '', '... but counts all the same');
ok($shop->log_contains(qr/could not fold stock of SKU "sku1": not this one \(57014\)/), '... and the log says why');
my $told = () = slurp_file($shop->logfile) =~ /could not fold stock of SKU "sku1"/g;
cmp_ok($told, '<', 3, '... once a minute');
is($sql->(keeper()), $keeper, '... by the same keeper');
$sql->('DROP TRIGGER stubborn ON order_engine.stock');
is_folded($shop, 'shop', 'when it no longer raises');

# ---- a standby ----

$shop->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($shop, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = off\nmax_standby_streaming_delay = '100ms'\n");
$standby->start;
my $load = start_load();
my $start = folds();
my ($looks, $refused, @wrong) = (0, 0);
# Each look is right, or refused: leaves are emptied here without regard to it.
while (folds() < $start + 20 || $looks < 50)
{
	my ($code, $out, $err) = $standby->psql('shop', 'SELECT * FROM public.differences');
	$looks++;
	if ($code == 0)
	{
		push @wrong, $out if $out ne '';
	}
	else
	{
		$refused++;
		push @wrong, $err unless $err =~ /could not serialize access|conflict with recovery/;
	}
}
is(join("\n", @wrong), '', 'a standby sees what was sold, at any time');
cmp_ok($refused, '<', $looks / 2, '... mostly');
note("$looks looks, $refused refused");
$load->kill_kill;

# Promoted, it goes on, under another generation.
$load = start_load();
my $now = folds();
$shop->poll_query_until('shop', "SELECT max(batch) > $now + 2 FROM order_engine.journal_position WHERE journal = 'stock_journal'");
$shop->stop('immediate');
$load->kill_kill;
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
is(differences($standby), '', 'promoted: what is seen is what was sold');
$standby->safe_psql('shop', "SELECT public.sell('sku1', 1, 1)");
is_folded($standby, 'shop', 'promoted');
is($standby->safe_psql('shop', "SELECT count(DISTINCT generation) > 1 FROM order_engine.journal_position WHERE journal = 'stock_journal' AND generation > 0"), 't', '... under a new generation');
$standby->stop;
$shop->start;

# ---- dumped with changes that are not folded ----

is_folded($shop, 'shop', 'started again');
# Nobody folds while somebody has the lock.
my $admin = $shop->background_psql('shop');
$sql->("SELECT public.sell('sku' || n, 3, 2) FROM generate_series(1, $skus) n");
is_folded($shop, 'shop', 'before the dump');
$admin->query_safe("BEGIN; LOCK TABLE order_engine.stock IN SHARE MODE");
$sql->("SELECT public.sell('sku' || n, 1, 1) FROM generate_series(1, $skus) n");
my $dump = PostgreSQL::Test::Utils::tempdir() . '/shop.dump';
$shop->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $shop->connstr('shop') ], 'a shop is dumped');
is($sql->('SELECT count(*) FROM order_engine.stock_journal_unfolded()'), $skus, '... with changes that are not folded');
$admin->query_safe('COMMIT');
$admin->quit;

# Into the same cluster, whose transaction ids mean the same there.  Its keeper runs meanwhile.
$shop->safe_psql('postgres', 'CREATE DATABASE copy');
$shop->command_ok([ 'pg_restore', '-d', $shop->connstr('copy'), $dump ], 'restored into the same cluster, beside its keeper');
is_folded($shop, 'copy', 'the same cluster');
$shop->safe_psql('copy', "SELECT public.sell('sku1', 1, 1)");
is_folded($shop, 'copy', '... and goes on');

# Into another one, where they mean nothing.
my $other = OrderEngine::new_node('other');
$other->start;
$other->safe_psql('postgres', 'CREATE DATABASE shop');
$other->command_ok([ 'pg_restore', '-d', $other->connstr('shop'), $dump ], 'restored into another cluster');
is_folded($other, 'shop', 'another cluster');
$other->safe_psql('shop', "SELECT public.sell('sku1', 1, 1)");
is_folded($other, 'shop', '... and goes on');

# In several processes, the rows before the indexes.
$other->safe_psql('postgres', 'CREATE DATABASE parts');
$other->append_conf('postgresql.conf', "order_engine.databases = 'shop, parts'\n");
$other->reload;
$other->command_ok([ 'pg_restore', '-j', 3, '-d', $other->connstr('parts'), $dump ], 'restored by several processes');
is_folded($other, 'parts', 'by several processes');
$other->stop;

is_folded($shop, 'shop', 'the shop that was dumped');
$shop->stop;
done_testing();
