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
use Test::More;

my $model = "$FindBin::RealBin/../model/escrow.pml";
my $place = ($ENV{TESTDATADIR} // '/tmp') . '/escrow_model';

# The lists are in the model.
my (@scenes, @mutants);
open(my $source, '<', $model) or die "could not read $model: $!";
while (<$source>)
{
	push @scenes, { scene => $1, says => $2 } if m{^#define ([a-z_]+)\s+[0-9]{1,2}\s+/\* (.*) \*/$};
	push @mutants, { guard => $1, scene => $2, says => $3 } if m{^#define ([a-z_]+)\s+[0-9]{3}\s+/\* (\w+): (.*) \*/$};
}
close($source);

# What the search says, in a place of its own.
sub search
{
	my ($scene, $guard) = @_;
	my $without = defined $guard ? "-DWITHOUT=$guard" : '';
	# what fails does so soon: most of the time would be the compiler's
	my $level = defined $guard ? 0 : 2;
	my $out = '';

	remove_tree($place);
	make_path($place);
	foreach my $command (
		"spin -DSCENE=$scene $without -a $model",
		"cc -O$level -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM=2000 -o pan pan.c",
		'./pan -m100000')
	{
		$out .= qx(cd $place && $command 2>&1);
		return "$command\n$out" if $? != 0 && $command !~ /^\.\/pan/;
	}
	return $out;
}

# Everything was searched; or something was found that is no limit of the search.
sub is_complete { return $_[0] =~ /errors: 0$/m && $_[0] !~ /Search not completed|max search depth too small/; }
sub is_found { return $_[0] =~ /^pan:\d+: (?:assertion violated|invalid end state)/m; }

my ($only_scene, $only_guard) = split ' ', $ENV{ORDER_ENGINE_SPIN} // '';
foreach my $scene (@scenes)
{
	next if $only_scene && $scene->{scene} ne $only_scene || $only_guard;
	my $out = search($scene->{scene});
	ok(is_complete($out), "$scene->{scene}: $scene->{says}") or diag $out;
}
foreach my $mutant (@mutants)
{
	next if $only_scene && $mutant->{scene} ne $only_scene || $only_guard && $mutant->{guard} ne $only_guard;
	my $out = search($mutant->{scene}, $mutant->{guard});
	ok(is_found($out), "$mutant->{scene} fails without $mutant->{guard}: $mutant->{says}") or diag $out;
}
ok(@scenes > 0 && @mutants > 0, 'there are scenes and guards');
remove_tree($place);
done_testing();
