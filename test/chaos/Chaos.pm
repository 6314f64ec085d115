# Drives stock_chaos.py, whose head says what it does on which command.
#
#   my $chaos = Chaos->new([$node], '--clients', 12);
#   $chaos->tell('open 100');

package Chaos;

use strict;
use warnings;

use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

# The interpreter for which Debian packages psycopg2, whatever else is in the path.
my $python = '/usr/bin/python3';

# Clients of these nodes: of the one that takes writes.
sub new
{
	my ($class, $nodes, @arguments) = @_;
	my $dsn = sprintf('host=%s port=%s target_session_attrs=read-write',
		join(',', map { $_->host } @$nodes), join(',', map { $_->port } @$nodes));
	my $self = bless { in => '', out => '', err => '', timer => IPC::Run::timeout(600) }, $class;
	$self->{run} = IPC::Run::start([ $python, "$FindBin::RealBin/../chaos/stock_chaos.py", '--dsn', $dsn, @arguments ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err}, $self->{timer});
	return $self;
}

# Gives a command and does not wait for its answer.
sub begin
{
	my ($self, $command) = @_;
	$self->{timer}->start;
	$self->{in} .= "$command\n";
	$self->{run}->pump_nb;
	return;
}

# The answer: what it says besides tests, which are counted here.
sub answer
{
	my ($self) = @_;
	until ($self->{out} =~ /^done\n/m)
	{
		eval { $self->{run}->pump } or BAIL_OUT("stock_chaos.py: $@ $self->{err}");
	}
	(my $answer, $self->{out}) = split /^done\n/m, $self->{out}, 2;
	return grep { !count_test($_) } split /\n/, $answer;
}

sub tell
{
	my ($self, $command) = @_;
	$self->begin($command);
	return $self->answer;
}

# True if the line is a test, or belongs to one.
my $failed = 0;

sub count_test
{
	my ($line) = @_;
	if ($line =~ /^(not )?ok - (.*)/)
	{
		$failed = defined $1;
		ok(!$failed, $2);
		return 1;
	}
	return 0 unless $line =~ /^#/;
	$failed ? diag($line) : note($line);
	return 1;
}

sub finish
{
	my ($self) = @_;
	# servers that were started meanwhile have the other end of its standard input open too
	$self->begin('quit');
	ok($self->{run}->finish, 'stock_chaos.py ran to its end') or diag($self->{err});
	return;
}

1;
