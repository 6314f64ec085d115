# Helpers of the suite `clients`: a shop that a program in another language connects to,
# as the application would, and what must be in it afterwards.
#
#   my $shop = Clients::new_shop();
#   Clients::run_program($shop, 'python', 'with_psycopg.py');
#   Clients::check_shop($shop);
#
# The program finds PGHOST, PGPORT, PGDATABASE and PGUSER (over TCP, a role of level app)
# and the same as DATABASE_URL, and prints TAP.  Every program does the same, for user 42,
# with lines of the SKU "cup" at 19.90 and the currency EUR:
#
#   key             what happens                                               left behind
#   basket-paid     2 cups; checked out again (replayed); paid twice as psp-1  shipped
#                   from a webhook; shipped with version 1 (OE011), then 2
#   basket-twins    1 cup, from two connections at once, REPEATABLE READ:      pending
#                   one waits, gets 40001, and repeats with the same key
#   basket-killed   1 cup; pg_terminate_backend() while the call waits for     pending
#                   the stock; a new connection repeats with the same key
#   basket-short    500 cups: OE001, whose DETAIL is parsed                    nothing
#
# To let a call wait, another connection creates an order of a cup and does not commit:
# pg_stat_activity then shows who waits for a lock.  It rolls back.

package Clients;

use strict;
use warnings;

use Carp qw(croak);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use OrderEngine;

# How a program of each language is started: from the folder of its drivers and its name.
my %command = (
	python => sub { my ($path, $program) = @_; return ("$path/bin/python", '-B', "test/clients/python/$program") },
	go => sub { my ($path, $program) = @_; return ("$path/$program") },
	debezium => sub { my ($path, $program) = @_; return ('java', '-cp', "$path/classes:$path/lib/*", $program) },
	java => sub { my ($path, $program) = @_; return ('java', '-cp', "$path/classes:$path/lib/*", $program) },
	# it looks for modules beside the program, and then in NODE_PATH
	node => sub { my ($path, $program) = @_; return ('env', "NODE_PATH=$path/node_modules", 'node', "test/clients/node/$program") });

# A preloaded node that listens on 127.0.0.1, with a shop of 10 cups that belongs to
# shop_owner, and a role "web" for programs.  Options: as those of OrderEngine::new_node.
sub new_shop
{
	my (%option) = @_;
	$option{conf} = "listen_addresses = '127.0.0.1'\n" . ($option{conf} // '');
	my $node = OrderEngine::new_node('main', %option);
	$node->start;
	$node->safe_psql('postgres', 'CREATE ROLE shop_owner LOGIN; CREATE ROLE web LOGIN');
	# psycopg has bytes for text where the encoding is SQL_ASCII, as it is where there is no locale
	$node->safe_psql('postgres', q{CREATE DATABASE shop TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'});
	$node->safe_psql('shop', q{
		CREATE EXTENSION order_engine;
		SELECT order_engine.grant_access('shop_owner', 'owner')});
	$node->safe_psql('shop', q{
		SELECT order_engine.setup(4);
		SELECT order_engine.grant_access('web', 'app');
		SELECT order_engine.receive_stock('cup', 10)}, extra_params => [ '-U', 'shop_owner' ]);
	return $node;
}

# Runs it and makes its TAP ours; %option: environment variables of its own.
sub run_program
{
	my ($node, $language, $program, %environment) = @_;
	my $path = folder($language);
	my ($out, $err) = ('', '');
	local %ENV = (%ENV, environment($node), %environment);
	my $ended_well = IPC::Run::run([ $command{$language}->($path, $program) ], '<', \undef, '>', \$out, '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default, exception => "$program timed out\n"));
	relay_tap($program, $out);
	ok($ended_well, "$program ended well") or diag($err);
	return;
}

sub environment
{
	my ($node) = @_;
	my $port = $node->port;
	return (PGHOST => '127.0.0.1', PGPORT => $port, PGDATABASE => 'shop', PGUSER => 'web',
		DATABASE_URL => "postgresql://web\@127.0.0.1:$port/shop");
}

# Where test/clients/fetch has put a language's drivers.
sub folder
{
	my ($language) = @_;
	my ($path, $err) = ('', '');
	IPC::Run::run([ 'test/clients/fetch', '--path', $language ], '>', \$path, '2>', \$err) or croak $err;
	chomp $path;
	croak "no drivers in $path: run the tests with script/test" unless -d $path;
	return $path;
}

# Each of its results is one of ours, and there are as many as it planned.
sub relay_tap
{
	my ($program, $out) = @_;
	my ($planned, $seen) = (-1, 0);
	foreach my $line (split /\n/, $out)
	{
		if ($line =~ /^1\.\.(\d+)/)
		{
			$planned = $1;
		}
		elsif ($line =~ /^(not )?ok\b[ \d]*(?:- )?(.*)/)
		{
			$seen++;
			ok(!$1, "$program: $2");
		}
		else
		{
			diag("$program: $line");
		}
	}
	is($seen, $planned, "$program ran what it planned");
	return;
}

# What every program leaves behind, seen from outside.  Orders without a key are its own
# affair (an ORM's INSERT).
sub check_shop
{
	my ($node) = @_;
	is($node->safe_psql('shop', 'SELECT idempotency_key, state, version, amount, captured, currency FROM order_engine.orders
		WHERE idempotency_key IS NOT NULL ORDER BY 1'),
		"basket-killed|pending|1|19.90|0|EUR\nbasket-paid|shipped|3|39.80|39.80|EUR\nbasket-twins|pending|1|19.90|0|EUR",
		'each key has one order, the order that failed has none');
	is($node->safe_psql('shop', 'SELECT payment_ref, outcome, amount FROM order_engine.payment'), 'psp-1|paid|39.80',
		'the webhook that came twice is one payment');
	is($node->safe_psql('shop', q{SELECT order_engine.available('cup')}), 6, 'no cup is taken twice');
	is($node->safe_psql('shop', 'SELECT o.type, count(*) FROM order_engine.outbox o JOIN order_engine.orders r ON o.aggregateid = r.order_id::text
		WHERE r.idempotency_key IS NOT NULL GROUP BY 1 ORDER BY 1'),
		"order.created|3\norder.paid|1\norder.shipped|1", 'nothing is published twice');
	return;
}

1;
