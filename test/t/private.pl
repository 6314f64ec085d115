# What an order keeps in `private` is found in that column and nowhere else: not in
# events, history, documents, error messages, nor in the server's log.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/lib';
use OrderEngine;

my $word = 'Zaphod-Beeblebrox';
my $private = qq('{"name": "$word", "address": {"street": ["$word"]}}');
my $lines = q('[{"sku": "tea", "quantity": 1, "unit_price": 5}]');

# The log says all it can, but not the statements: those are the callers' words.
my $shop = OrderEngine::new_shop('main', publisher => 'log', conf => <<'EOF');
log_min_messages = debug2
log_error_verbosity = verbose
log_min_error_statement = panic
log_statement = none
order_engine.log_refusals = on
log_checkpoints = off
EOF
my $told = '';    # all that clients were told

sub told
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');
	$shop->psql('shop', "\\set VERBOSITY verbose\n$sql", stdout => \$out, stderr => \$err);
	# psql quotes the line of the statement that an error is in
	$err =~ s/^LINE \d+:.*\n.*\n?//mg;
	$told .= "$out\n$err\n";
	return $out;
}

sub created
{
	my ($arguments) = @_;
	my $id = told("SELECT order_id FROM order_engine.create_order($arguments, private => $private)");
	like($id, qr/^\d+$/, "an order was created ($arguments)");
	return $id;
}

# The lines of a text with the word in them, for a failure's sake.
sub lines_with_word
{
	return join "\n", grep { /\Q$word\E/ } split /\n/, $_[0];
}

$shop->safe_psql('shop', q(SELECT order_engine.receive_stock('tea', 100)));

# Its life, by the calls and by hand.
my $order = created("1, $lines, 'key'");
told("SELECT * FROM order_engine.pay_order($order, 'pay-1', 7)");
told("UPDATE order_engine.orders SET private = private || '{\"more\": \"$word\"}', attributes = '{\"gift\": true}' WHERE order_id = $order");
told("SELECT * FROM order_engine.ship_order($order)");
told("SELECT order_engine.get_order($order)");
told("SELECT * FROM order_engine.get_orders(ARRAY[$order])");
told("SELECT * FROM order_engine.user_orders(1)");
told("SELECT * FROM order_engine.order_history($order)");
my $cancelled = created("1, $lines");
told("SELECT * FROM order_engine.cancel_order($cancelled)");
my $due = created("2, $lines, pay_within => '1 us'");
told('CALL order_engine.tend(1000)');

# All that can be refused while the word is at hand.
foreach my $call (
	"create_order(1, $lines, 'key', attributes => '{\"another\": 1}', private => $private)",
	"create_order(1, '[{\"sku\": \"tea\", \"quantity\": 1000}]', private => $private)",
	"create_order(1, '[{\"sku\": \"nothing\", \"quantity\": 1}]', private => $private)",
	"create_order(1, '[{\"sku\": \"tea\", \"quantity\": 0}]', private => $private)",
	"create_order(1, $lines, private => '[\"$word\"]')",
	"create_order(1, $lines, private => '\"$word\"')",
	"pay_order($order, 'pay-2', 'NaN')",
	"fire($order, 'pay')",
	"fire($order, 'ship', 1)",
	"refund_order($order, 'r', 1000)")
{
	told("SELECT order_engine.$call");
}
foreach my $change ("state = 'pending'", 'version = 1', 'user_id = 2', 'refunded = 5')
{
	told("UPDATE order_engine.orders SET $change WHERE order_id = $order");
}
told("INSERT INTO order_engine.orders (order_id, user_id, private) VALUES (1, 1, $private)");
told("INSERT INTO order_engine.orders (user_id, state, private) VALUES (1, 'paid', $private)");
foreach my $given (['refunded', 1], ['adjustments', 'NULL'], ['amount', -1], ['captured', "'NaN'"], ['state', "''"], ['version', 7], ['user_id', 'NULL'])
{
	my ($column, $value) = @$given;
	my %row = (order_id => 'order_engine.next_order_id(1)', user_id => 1, private => $private, $column => $value);
	told(sprintf('INSERT INTO order_engine.orders (%s) VALUES (%s)', join(', ', keys %row), join(', ', values %row)));
}
told("INSERT INTO order_engine.orders_$_ SELECT order_engine.next_order_id(1), 1, 'pending', 1, 1, 0, 0, 0, 0, NULL, NULL, NULL, '[]', '{}', $private, now(), now(), now()")
	foreach (0, 1);
told("DELETE FROM order_engine.orders WHERE order_id = $order");

# Rules of the shop's own that the engine's writes break: PostgreSQL would show the row.
$shop->safe_psql('shop', q(ALTER TABLE order_engine.orders ADD CONSTRAINT tagged CHECK (attributes ? 'tag') NOT VALID));
told("SELECT * FROM order_engine.create_order(1, $lines, private => $private)");
told("SELECT * FROM order_engine.complete_order($order)");
like($told, qr/violates check constraint "tagged"/, "a constraint of the shop's own was broken");
$shop->safe_psql('shop', q(
	ALTER TABLE order_engine.orders DROP CONSTRAINT tagged;
	ALTER TABLE order_engine.orders ADD COLUMN warehouse text;
	UPDATE order_engine.orders SET warehouse = 'berlin';
	ALTER TABLE order_engine.orders ALTER warehouse SET NOT NULL));
told("SELECT * FROM order_engine.create_order(1, $lines, private => $private)");
like($told, qr/violates not-null constraint/, 'and a column of its own was left empty');

# Keys of the shop's own that an order breaks: PostgreSQL would show them, and those of the other order.
my $leaf = $shop->safe_psql('shop', q(SELECT 'order_engine.orders_' || order_engine.slot_of_user(9) % 4));
sub broken
{
	my ($sql) = @_;
	my $before = length $told;
	told("SELECT * FROM order_engine.$sql");
	return substr($told, $before);
}
$shop->safe_psql('shop', 'ALTER TABLE order_engine.orders ALTER warehouse DROP NOT NULL');
foreach my $rule (
	"CREATE UNIQUE INDEX taken ON $leaf (private) WHERE user_id = 9",
	"CREATE UNIQUE INDEX taken ON $leaf (state, (private ->> 'name')) WHERE user_id = 9",
	"ALTER TABLE $leaf ADD CONSTRAINT taken EXCLUDE USING btree (state WITH =, (private -> 'address' ->> 'street') WITH =) WHERE (user_id = 9)")
{
	$shop->safe_psql('shop', $rule);
	my $first = created("9, $lines");
	my $kind = $rule =~ /EXCLUDE/ ? qr/conflicting key value violates exclusion/ : qr/duplicate key value violates unique/;
	like(broken("create_order(9, $lines, private => $private)"), qr/$kind constraint "taken"/, "a second order breaks it: $rule");
	like(broken("create_order(9, $lines, 'a key', private => $private)"), qr/$kind constraint "taken"/, 'and one with an idempotency key');
	told("SELECT * FROM order_engine.cancel_order($first)");
	if ($rule =~ /state/)
	{
		my $second = created("9, $lines");
		like(broken("cancel_order($second)"), qr/$kind constraint "taken"/, 'and a move');
	}
	$shop->safe_psql('shop', $rule =~ /INDEX/ ? 'DROP INDEX order_engine.taken' : "ALTER TABLE $leaf DROP CONSTRAINT taken");
	$shop->safe_psql('shop', q(SET session_replication_role = replica; DELETE FROM order_engine.orders WHERE user_id = 9));
}

is(lines_with_word($told), '', 'no answer and no error tells it');
like($told, qr/OE001/, 'errors were told');

# Every column of every table.
my @columns = split /\n/, $shop->safe_psql('shop', q(
	SELECT format('%I.%I', c.relname, a.attname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
	WHERE c.relnamespace = 'order_engine'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
		AND a.attnum > 0 AND NOT a.attisdropped));
my @found = grep {
	my ($table, $column) = split /\./;
	$shop->safe_psql('shop', "SELECT EXISTS (SELECT FROM order_engine.$table WHERE $column\::text LIKE '%$word%')") eq 't'
} @columns;
is_deeply(\@found, ['orders.private'], 'of all columns only orders.private holds it');
cmp_ok($shop->safe_psql('shop', 'SELECT count(*) FROM order_engine.order_event'), '>', 6, 'history was written');

# Nor does a log that tells of statements, if they have parameters and it is told to leave those out.
my $script = PostgreSQL::Test::Utils::tempdir() . '/create.sql';
append_to_file($script, "SELECT * FROM order_engine.create_order(:buyer, :lines, private => :private);\n");
sub call_with_parameters
{
	my ($buyer, $word, $limit) = @_;
	$shop->safe_psql('shop', "ALTER DATABASE shop SET log_parameter_max_length = $limit");
	$shop->command_ok([ 'pgbench', '-n', '-M', 'extended', '-t', 1, '-f', $script, '-D', "buyer=$buyer",
		'-D', 'lines=[{"sku": "tea", "quantity": 1, "unit_price": 5}]', '-D', qq(private={"name": "$word"}), 'shop' ],
		"an order was created with parameters, log_parameter_max_length = $limit");
}
$shop->safe_psql('shop', "ALTER DATABASE shop SET $_")
	foreach (q(log_statement = 'all'), 'log_min_duration_statement = 0', 'log_min_error_statement = error');
call_with_parameters(10, 'Trillian', -1);
call_with_parameters(11, $word, 0);
$shop->safe_psql('shop', q(ALTER TABLE order_engine.orders ADD CONSTRAINT refused CHECK (user_id <> 12) NOT VALID));
$shop->command_fails([ 'pgbench', '-n', '-M', 'extended', '-t', 1, '-f', $script, '-D', 'buyer=12',
	'-D', 'lines=[{"sku": "tea", "quantity": 1}]', '-D', qq(private={"name": "$word"}), 'shop' ], 'an order with parameters was refused');

$shop->stop;
my $log = slurp_file($shop->logfile);
like($log, qr/OE001/, 'the log tells of errors');
like($log, qr/parameters:.*Trillian/i, 'and of parameters if nobody tells it not to');
like($log, qr/violates check constraint "refused".*STATEMENT:  SELECT \* FROM order_engine.create_order\(\$1, \$2/s, 'and of statements that fail');
is(lines_with_word($log), '', 'and does not tell it');

done_testing();
