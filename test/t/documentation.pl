# The documentation tells the truth: its sessions print what they show, its table of
# settings is PostgreSQL's, what it names exists, and what exists is named.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/lib';
use OrderEngine;

my $node = OrderEngine::new_node('main');
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE shop');
my $readme = slurp_file('README.md');
my @pages = ('README.md', glob('doc/*.md'));

# ---- sessions ----

# Lines without what differs from run to run: ids and the width of their columns.
sub normalized
{
	my @lines = grep { /\S/ } split /\n/, $_[0];
	foreach (@lines)
	{
		s/^psql:[^ ]*: //;
		s/\b\d{17,19}\b/ID/g;
		s/\s+$//;
	}
	return \@lines;
}

my $session = join "\n", $readme =~ /<!-- replayed by \S+ -->\n```\n(.*?)\n```/gs;
my $statements = join '', map { "$_\n" } map { /^shop[=-]# (.*)/ ? $1 : () } split /\n/, $session;
(my $shown = $session) =~ s/^shop[=-]# //mg;
my $printed = '';
IPC::Run::run([ 'psql', '-X', '-a', '-d', $node->connstr('shop') ], '<', \$statements, '>&', \$printed);
is_deeply(normalized($printed), normalized($shown), 'the sessions of README print what it shows');

my ($diagram) = $readme =~ /<!-- machine_diagram\('order'\) -->\n```mermaid\n(.*?)```/s;
my $drawn = $node->safe_psql('shop', q{SELECT order_engine.machine_diagram('order')});
is($diagram =~ s/\s+\z//r, $drawn =~ s/\s+\z//r, 'the diagram in README is what machine_diagram() prints');

# ---- examples ----

# Not what they answer (the orders in them do not exist) but that they are SQL, call
# what exists and name its arguments.
$node->safe_psql('shop', q{
	CREATE ROLE web;
	CREATE TABLE public.ticket (id int PRIMARY KEY, status text, version int);
	SET ROLE shop_owner;
	SELECT order_engine.define_machine('ticket', '{"final": ["closed"], "transitions": [
		{"from": null, "event": "create", "to": "open"}, {"from": "open", "event": "close", "to": "closed"}]}');
});
my $examples = 0;
foreach my $page (@pages)
{
	foreach my $example (slurp_file($page) =~ /^```sql\n(.*?)^```/gms)
	{
		my $errors = '';
		$examples++;
		IPC::Run::run([ 'psql', '-X', '-q', '-d', $node->connstr('shop'), '-v', 'ON_ERROR_ROLLBACK=on', '-v', 'VERBOSITY=verbose' ],
			'<', \"BEGIN;\n$example\nROLLBACK;\n", '>', \my $ignored, '2>', \$errors);
		my @wrong = grep { /ERROR:  42(?!501)/ } split /\n/, $errors;
		is("@wrong", '', "$page: " . (split /\n/, $example)[0]);
	}
}
cmp_ok($examples, '>', 15, 'there are examples');

# ---- programs ----

# A block under a comment that names a program and a region is that region, word for word
# but for its indentation, so what is shown is what the suite clients runs.
my %region;
foreach my $program (split /\n/, qx(grep -rlw snippet: test/clients --exclude-dir=node_modules))
{
	my $text = slurp_file($program);
	while ($text =~ m{^([ \t]*)(?:\#|//) snippet: (\w+)\n(.*?)^[ \t]*(?:\#|//) end snippet$}gms)
	{
		my ($indent, $name, $lines) = ($1, $2, $3);
		$region{"$program: $name"} = $lines =~ s/^$indent//mgr;
	}
}
foreach my $page (@pages)
{
	my $text = slurp_file($page);
	while ($text =~ m{^<!-- (test/clients/\S+: \w+) -->\n```\w+\n(.*?)^```$}gms)
	{
		is($2, delete $region{$1} // 'no such region', "$page shows $1");
	}
}
is_deeply([ sort keys %region ], [], 'what is marked to be shown is shown');

# ---- settings ----

my %documented;
foreach my $line (split /\n/, $readme)
{
	next unless $line =~ /^\| `(order_engine\.\w+)` \|/;
	my $setting = $1;
	my (undef, undef, $default, $unit, $what) = split /\s*\|\s*/, $line;
	$documented{$setting} = "$default|$unit";
	cmp_ok(length($what), '>', 15, "README says what $setting is for");
}
# boot_val is what a server without any configuration has
my %existing = map { /^([^|]*)\|(.*)/ } split /\n/, $node->safe_psql('shop', q{
	LOAD 'order_engine';
	SELECT name || '|' || CASE WHEN boot_val = '' THEN 'empty' ELSE '`' || boot_val || '`' END || '|' || coalesce(unit, '')
	FROM pg_settings WHERE name LIKE 'order\_engine.%'});
is_deeply(\%documented, \%existing, "README's settings, their defaults and units are those of pg_settings");

# ---- names ----

my $everything = join "\n", map { slurp_file($_) } @pages;
my %object = map { $_ => 1 } split /\n/, $node->safe_psql('shop', q{
	SELECT proname FROM pg_proc WHERE pronamespace = 'order_engine'::regnamespace
	UNION SELECT relname FROM pg_class WHERE relnamespace = 'order_engine'::regnamespace
	UNION SELECT opcname FROM pg_opclass WHERE opcnamespace = 'order_engine'::regnamespace
	UNION SELECT substr(name, 14) FROM pg_settings WHERE name LIKE 'order\_engine.%'});
my %named = map { $_ => 1 } $everything =~ /\border_engine\.([a-z_]+)\b(?!\.)/g;
is_deeply([ grep { !$object{$_} && !/^(so|control|databases)$/ } sort keys %named ], [], 'whatever is named order_engine.* exists');
my %called = map { $_ => 1 } $everything =~ /`([a-z]+_[a-z_]+)\([^`]*\)`/g;
my %known = map { $_ => 1 } split /\n/, $node->safe_psql('shop', 'SELECT proname FROM pg_proc');
is_deeply([ grep { !$known{$_} } sort keys %called ], [], 'whatever is called exists');

my @public = split /\n/, $node->safe_psql('shop', q{
	SELECT DISTINCT p.proname FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'order_engine')
		AND p.prorettype <> 'trigger'::regtype AND obj_description(p.oid, 'pg_proc') !~ '^(internal|support function)'
	ORDER BY 1});
is_deeply([ grep { $everything !~ /\b\Q$_\E\(/ } @public ], [], 'every function for users is in the guides');

# ---- links ----

my @broken;
foreach my $page (@pages)
{
	my $text = slurp_file($page);
	my ($folder) = $page =~ m{^(.*/)?[^/]*$};
	while ($text =~ /\]\(([^)#\s]*)(?:#([^)\s]*))?\)/g)
	{
		my ($file, $anchor) = ($1 eq '' ? $page : ($folder // '') . $1, $2);
		next if $file =~ m{^(doc/)?https?:};
		push @broken, "$page: $file" unless -e $file;
		next unless defined $anchor && -e $file;
		my %anchors = map { s/[^\w\s-]//gr =~ s/\s/-/gr => 1 } map { lc } slurp_file($file) =~ /^#+ (.*)$/mg;
		push @broken, "$page: $file#$anchor" unless $anchors{$anchor};
	}
}
is_deeply(\@broken, [], 'no link is broken');

$node->stop;
done_testing();
