# The window of the relay by itself: what was handed out, what of it is delivered, up to
# where the position may move, what goes out again.  It needs no server, so the tests are a
# program, test/lib/relay_window.c, which is built here.
use strict;
use warnings;

use FindBin;

my $top = "$FindBin::RealBin/../..";
my $program = ($ENV{TESTDATADIR} // '/tmp') . '/relay_window';
my $config = $ENV{PG_CONFIG} // 'pg_config';
chomp(my $headers = qx($config --includedir-server));

mkdir $ENV{TESTDATADIR} if $ENV{TESTDATADIR};
system($ENV{CC} // 'cc', '-Wall', "-I$top/src", "-I$headers", '-o', $program,
	"$top/test/lib/relay_window.c", "$top/src/relay/relay_window.c") == 0 or die 'could not build the window';
exec($program) or die "could not run $program: $!";
