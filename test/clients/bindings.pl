# What drivers send, which calls take it as it is, and why there are no overloads for the
# rest: what each would cost is seen here too.
use strict;
use warnings;

use Test::More;

use lib 'test/lib';
use Clients;

my $shop = Clients::new_shop();
$shop->safe_psql('shop', q{SELECT order_engine.receive_stock('cup', 1000)}, extra_params => [ '-U', 'shop_owner' ]);
Clients::run_program($shop, 'python', 'bindings.py');

# ---- overloads ----

# An overload of create_order() or pay_order() with another type for what that type is
# doubtful for, then some SQL; all of it is undone.
sub with_overload
{
	my ($overload, $query) = @_;
	my ($out, $err) = ('', '');
	$shop->psql('shop', "BEGIN;\n$overload;\n$query", stdout => \$out, stderr => \$err);
	return $err =~ /ERROR:  (.*)/ ? $1 : $out;
}

sub create_with
{
	my ($type) = @_;
	return "CREATE FUNCTION order_engine.create_order(user_id bigint, lines $type) RETURNS int LANGUAGE sql AS 'SELECT 1'";
}

# what a driver that asks the server for the types of a statement's parameters is told
my $infer = q{PREPARE s AS SELECT * FROM order_engine.%s; SELECT parameter_types FROM pg_prepared_statements};
my $infer_create = sprintf $infer, 'create_order($1, $2)';
my $infer_pay = sprintf $infer, q{pay_order($1, 'ref', $2)};
my $literal = q{SELECT true FROM order_engine.create_order(42, '[{"sku": "cup", "quantity": 1}]')};

is(with_overload('SELECT', "$literal; $infer_create") =~ s/^\s+//r, "t\n{bigint,jsonb}", 'without an overload a literal is jsonb, and so is a parameter');
is(with_overload(create_with('json'), $literal), 'function order_engine.create_order(integer, unknown) is not unique',
	'with one for json every literal is ambiguous');
is(with_overload(create_with('json'), $infer_create), 'function order_engine.create_order(unknown, unknown) is not unique',
	'and every parameter');
is(with_overload(create_with('text'), $infer_create), '{bigint,text}', 'with one for text every parameter is text, so that no codec for jsonb is used');
is(with_overload(create_with('json') . ';' . create_with('text'), $infer_create), '{bigint,text}', 'with both, too');
is(with_overload('SELECT', $infer_pay) =~ s/^\s+//r, '{bigint,numeric}', 'an amount is numeric');
my $floats = q{CREATE FUNCTION order_engine.pay_order(order_id bigint, payment_ref text, amount double precision)
	RETURNS numeric LANGUAGE sql AS 'SELECT amount::numeric'};
is(with_overload($floats, $infer_pay), '{bigint,"double precision"}', 'with an overload for floats it is one');
is(with_overload($floats, q{SELECT * FROM order_engine.pay_order(4711, 'ref', '1234567890123456.78')}), '1234567890123460',
	'and rounded before it arrives');

$shop->stop;
done_testing();
