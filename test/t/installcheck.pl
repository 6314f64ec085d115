# make installcheck, as users of PGXS know it, from a folder beside the sources: against a
# server that preloads the library and against one that does not.
use strict;
use warnings;
use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
# what it allows of the other suites has their own runs
my @short = ('ISOLATION=order_move journal_rewrite', 'PROVE_TESTS=test/t/relay_window.pl');

sub start_server
{
	my ($name, $conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(extra => [ '-U', 'postgres' ]);
	$node->append_conf('postgresql.conf', $conf);
	$node->start;
	return $node;
}

sub installcheck
{
	my ($node, @arguments) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir();
	my ($out, $err) = ('', '');
	# by the environment or, as here the port, on the command line
	local %ENV = (%ENV, PGHOST => $node->host, PGUSER => 'postgres');
	delete $ENV{PGPORT};
	my @make = ('make', '-C', $folder, '-f', "$top/Makefile", "VPATH=$top", 'installcheck', 'PGPORT=' . $node->port, @arguments);
	my $done = IPC::Run::run(\@make, '<', \undef, '>', \$out, '2>', \$err);
	ok($done, join(' ', $node->name, 'make installcheck', @arguments))
	  or diag($out, $err, map { slurp_file($_) } grep { -e } "$folder/regression.diffs", "$folder/output_iso/regression.diffs");
	return ($out, $err);
}

my $plain = start_server('plain', '');
my ($out, $err) = installcheck($plain, @short);
like($out, qr/^(test not_preloaded +\.\.\. ok|ok \d+ +- not_preloaded)\b/m, 'what is for a server without the library runs there');
like($err, qr{leaves out sql/context\.sql, which needs to be preloaded}, 'what needs it is left out, and that is told');
like($err, qr{leaves out sql/transaction\.sql, which needs prepared transactions}, 'as what needs a setting');
is($plain->safe_psql('postgres', q{SELECT count(*) FROM pg_database WHERE datname ~ 'order_engine'}, extra_params => [ '-U', 'postgres' ]),
	0, 'the databases of the tests are gone');
$plain->stop;

my $preloaded = start_server('preloaded', "shared_preload_libraries = 'order_engine'\norder_engine.databases = 'shop'\nmax_prepared_transactions = 5\n");
installcheck($preloaded, 'REGRESS=context order relay transaction', @short);

# What is left out of the regress tests there.
sub left_out
{
	my ($allowed, $left_out);
	local %ENV = (%ENV, PGHOST => $preloaded->host, PGPORT => $preloaded->port, PGUSER => 'postgres');
	IPC::Run::run([ "$top/test/lib/allowed_tests", 'regress' ], '>', \$allowed, '2>', \$left_out);
	return $left_out;
}

like(left_out(), qr{\A[^\n]*sql/not_preloaded\.sql, which needs not to be preloaded\n\z}, 'there, one test is left out');
$preloaded->append_conf('postgresql.conf', "order_engine.publisher = 'log'");
$preloaded->restart;
like(left_out(), qr{sql/relay\.sql, which needs no publisher\n\z}, 'one more where events are published');
$preloaded->stop;

done_testing();
