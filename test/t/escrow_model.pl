# The escrow protocol as a model: spin searches all the ways in which the steps of a few
# processes can mix.  Each scene of test/model/escrow.pml must hold; without any one of its
# guards it must not, or the model would not notice if the code lost it.
#
#   ORDER_ENGINE_SPIN='folding carry'   one scene, or one scene without one guard
# independent of the server
# needs the program spin
use strict;
use warnings;

use FindBin;
use File::Path qw(make_path remove_tree);
use POSIX ();
use Test::More;

my $model = "$FindBin::RealBin/../model/escrow.pml";
my $place = ($ENV{TESTDATADIR} // '/tmp') . '/escrow_model';

sub slurp
{
	my ($file) = @_;
	open(my $in, '<', $file) or die "could not read $file: $!";
	local $/;
	return <$in>;
}

# The lists are in the model.
my $source = slurp($model);
my (@scenes, @mutants);
foreach (split /\n/, $source)
{
	push @scenes, { scene => $1, says => $2 } if m{^#define ([a-z_]+)\s+[0-9]{1,2}\s+/\* (.*) \*/$};
	push @mutants, { guard => $1, scene => $2, says => $3 } if m{^#define ([a-z_]+)\s+[0-9]{3}\s+/\* (\w+): (.*) \*/$};
}

# What its comments name is there: steps of the model, functions and files of ours, but for
# what is PostgreSQL's.
sub unknown_names
{
	my @files = glob("$FindBin::RealBin/../../src/*/*.c");
	my %function = map { $_ => 1 } map { slurp($_) =~ /^(\w+)\(/mg } @files;
	my %file = map { m{([^/]+)$} => 1 } @files;
	my %step = map { $_ => 1 } grep { defined } $source =~ /^(?:inline |(?:active )?proctype )(\w+)\(|^(\w+):$/mg;
	my ($map) = $source =~ /Which step is which function:\n(.*?)Not here:/s;
	my @unknown;

	foreach (grep { /\w/ } split /\n/, $map)
	{
		my ($steps, $functions) = /^ \*\t\t([a-z_(), ]+?)\t+(.*)$/ or push @unknown, $_ and next;
		push @unknown, grep { !$step{$_} } $steps =~ /\w+/g;
		push @unknown, grep { !$function{$_} && !/[A-Z]/ } $functions =~ /(\w+)\(\)/g;
	}
	foreach ($source =~ m{/\*(.*?)\*/}sg)
	{
		push @unknown, grep { !$function{$_} && !$function{"order_engine_$_"} && !$step{$_} && !/[A-Z]/ } /(\w+)\(\)/g;
		push @unknown, grep { !$file{$_} && !/^(?:pan|xact)\.c$/ } /(\w+\.c)\b/g;
	}
	return @unknown;
}

# One search, in a place of its own; what is said there is in a file.
sub search
{
	my ($job) = @_;
	my $without = $job->{guard} ? "-DWITHOUT=$job->{guard}" : '';
	# what fails does so soon: all of the time would be the compiler's
	my $level = $job->{guard} ? 0 : 1;

	make_path($job->{place});
	chdir $job->{place} or die "could not enter $job->{place}: $!";
	foreach my $command (
		"spin -DSCENE=$job->{scene} $without -a $model",
		"cc -O$level -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM=2000 -o pan pan.c",
		'./pan -m100000')
	{
		system("($command) >>said 2>&1") == 0 || $command =~ /^\.\/pan/ or last;
	}
	unlink grep { $_ ne 'said' } glob('*');
	return;
}

sub search_all
{
	my @waiting = @_;
	my $cores = qx(nproc) || 1;
	my $running = 0;

	while (@waiting || $running)
	{
		if (@waiting && $running < $cores)
		{
			my $job = shift @waiting;
			my $pid = fork() // die "could not fork: $!";
			if ($pid == 0)
			{
				search($job);
				POSIX::_exit(0);
			}
			$running++;
		}
		else
		{
			wait();
			$running--;
		}
	}
	return;
}

sub said
{
	my ($job) = @_;
	return -e "$job->{place}/said" ? slurp("$job->{place}/said") : 'nothing was searched';
}

# Everything was searched; or something was found that is no limit of the search.
sub is_complete { return $_[0] =~ /errors: 0$/m && $_[0] !~ /Search not completed|max search depth too small/; }
sub is_found { return $_[0] =~ /^pan:\d+: (?:assertion violated|invalid end state)/m; }

my ($only_scene, $only_guard) = split ' ', $ENV{ORDER_ENGINE_SPIN} // '';
my @jobs = grep {
	(!$only_scene || $_->{scene} eq $only_scene) && (!$only_guard || ($_->{guard} // '') eq $only_guard)
} @scenes, @mutants;
$_->{place} = join('/', $place, $_->{scene}, $_->{guard} // 'whole') foreach @jobs;
remove_tree($place);
search_all(@jobs);
foreach my $job (@jobs)
{
	my $out = said($job);
	if ($job->{guard})
	{
		ok(is_found($out), "$job->{scene} fails without $job->{guard}: $job->{says}") or diag $out;
	}
	else
	{
		ok(is_complete($out), "$job->{scene}: $job->{says}") or diag $out;
	}
}
ok(@scenes > 0 && @mutants > 0, 'there are scenes and guards');
is(join(' ', unknown_names()), '', 'what the comments of the model name is there');
remove_tree($place);
done_testing();
