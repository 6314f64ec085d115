# Runs random_orders.py against a node; each "ok" that it prints is a test.

package Model;

use strict;
use warnings;

use FindBin;
use IPC::Run ();
use Test::More;

# The interpreter for which Debian packages psycopg2, whatever else is in the path.
my $python = '/usr/bin/python3';

sub run
{
	my ($node, @arguments) = @_;
	my $dsn = sprintf('host=%s port=%s', $node->host, $node->port);
	my ($out, $err) = ('', '');
	my @command = ($python, "$FindBin::RealBin/../model/random_orders.py", '--dsn', $dsn, @arguments);
	my $done = IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err);
	my $failed = 0;
	foreach my $line (split /\n/, $out)
	{
		if ($line =~ /^(not )?ok - (.*)/)
		{
			$failed = defined $1;
			ok(!$failed, $2);
		}
		elsif ($failed)
		{
			diag($line);
		}
		else
		{
			note($line);
		}
	}
	ok($done, 'random_orders.py ran to its end: ' . join(' ', @arguments)) or diag($err);
	return;
}

1;
