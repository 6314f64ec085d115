# The account of a transaction that changes a hot SKU by itself: what it claimed, took and
# returned, by subtransactions.  It needs no server, so the tests are a program,
# test/lib/escrow_account.c, which is built here.
use strict;
use warnings;

use FindBin;

my $top = "$FindBin::RealBin/../..";
my $program = ($ENV{TESTDATADIR} // '/tmp') . '/escrow_account';
my $config = $ENV{PG_CONFIG} // 'pg_config';
chomp(my $headers = qx($config --includedir-server));

mkdir $ENV{TESTDATADIR} if $ENV{TESTDATADIR};
system($ENV{CC} // 'cc', '-Wall', "-I$top/src", "-I$headers", '-o', $program,
	"$top/test/lib/escrow_account.c", "$top/src/stock/escrow_account.c") == 0 or die 'could not build the account';
exec($program) or die "could not run $program: $!";
