# The event contract: what is really published is what doc/event.schema.json says, and
# nothing that it does not say.
# needs Python jsonschema
use strict;
use warnings;

use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/lib';
use OrderEngine;

my $schema_file = 'doc/event.schema.json';
my $stock_schema_file = 'doc/stock_event.schema.json';
my $schema = JSON::PP::decode_json(slurp_file($schema_file));
my $stock_schema = JSON::PP::decode_json(slurp_file($stock_schema_file));
my $shop = OrderEngine::new_shop('main');

# Prints for each event of a file (one a line) what is wrong with it, if anything.
my $validator = <<'PYTHON';
import json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for line in open(sys.argv[2]):
    print("; ".join(sorted("%s: %s" % (e.json_path, e.message) for e in validator.iter_errors(json.loads(line)))) or "valid")
PYTHON

sub validate
{
	return validate_by($schema_file, @_);
}

sub validate_by
{
	my ($schema_file, @events) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/events';
	my ($out, $err) = ('', '');
	append_to_file($file, join("\n", @events) . "\n");
	IPC::Run::run([ 'python3', '-c', $validator, $schema_file, $file ], '>', \$out, '2>', \$err);
	unlink $file;
	is($err, '', 'the validator ran');
	return split /\n/, $out;
}

# Every type of event there is, with all that they can hold.
my $everything = <<'SQL';
SET order_engine.actor = 'test';
SELECT order_engine.receive_stock('tea', 100);
CREATE FUNCTION pg_temp.new(amount numeric, currency text DEFAULT 'EUR', OUT order_id bigint) LANGUAGE sql AS
$$SELECT order_id FROM order_engine.create_order(-42, format('[{"sku": "tea", "quantity": 1, "unit_price": %s}]', amount)::jsonb, currency => new.currency)$$;
DO $do$
DECLARE
	id bigint;
BEGIN
	PERFORM order_engine.create_order(9223372036854775807,
		'[{"sku": "tea", "quantity": 2, "unit_price": "19.90", "attributes": {"color": "grün", "n": [1, null, "\n"]}}, {"sku": "card \" \\", "quantity": 1, "stocked": false}]', 'key ' || current_setting('order_engine.amounts_as'),
		adjustments => '[{"kind": "discount", "amount": -5.00, "line_no": 1, "label": "spring", "stock_key": "tea", "quantity": 1}, {"kind": "shipping", "amount": "4.90"}]',
		attributes => '{"channel": "web"}', private => '{"name": "Ann"}');
	-- paid in parts, shipped, completed
	id := pg_temp.new(10);
	PERFORM order_engine.pay_order(id, 'a', 4), order_engine.pay_order(id, 'b', 5, 'USD'), order_engine.pay_order(id, 'c', 6, attributes => '{"card": "visa"}'), order_engine.pay_order(id, 'd', 1);
	PERFORM order_engine.refund_order(id, 'e', 1);
	PERFORM order_engine.ship_order(id, attributes => '{"parcel": "1Z"}'), order_engine.complete_order(id);
	-- overpaid, refund asked for, refused, given
	id := pg_temp.new(0.00000000000000000000000000001, 'PTS');
	PERFORM order_engine.pay_order(id, 'a', 99999999999999999999999999999999999999);
	PERFORM order_engine.request_refund(id), order_engine.reject_refund(id), order_engine.request_refund(id), order_engine.confirm_refund(id);
	PERFORM order_engine.refund_order(id, 'b');
	-- rounded, refunded at once
	id := pg_temp.new(2.99999999999999997);
	PERFORM order_engine.pay_order(id, 'a', 3);
	PERFORM order_engine.refund_order(id, 'b');
	-- cancelled, expired, changed by hand
	PERFORM order_engine.cancel_order(pg_temp.new(1));
	PERFORM order_engine.create_order(1, '[{"sku": "tea", "quantity": 1}]', pay_within => '1 us');
	id := pg_temp.new(0);
	UPDATE order_engine.orders SET attributes = '{"gift": true}' WHERE order_id = id;
END $do$;
CALL order_engine.tend(1000);
SQL
# Amounts as numbers and as text.
$shop->safe_psql('shop', $everything);
my @events = split /\n/, $shop->safe_psql('shop', 'SELECT payload FROM order_engine.outbox ORDER BY id');
my $amount = qr/"(?:amount|unit_price|captured|refunded|refund_due)": ?+/;
is(scalar(grep { /$amount"/ } @events), 0, 'amounts are numbers');
like(join("\n", @events), qr/"kind": "rounding"/, 'one is rounded');
# The keeper publishes too, and has begun with what the database had then.
$shop->safe_psql('shop', 'ALTER DATABASE shop SET order_engine.amounts_as = text');
$shop->restart;
$shop->safe_psql('shop', $everything);
my @texts = split /\n/, $shop->safe_psql('shop', 'SELECT payload FROM order_engine.outbox ORDER BY id OFFSET ' . @events);
is(scalar(grep { /$amount(?!")/ } @texts), 0, 'or all of them are text');
is(scalar(@texts), scalar(@events), 'which is all that differs');
push @events, @texts;

my %types = map { $_ => 1 } split /\n/, $shop->safe_psql('shop', 'SELECT DISTINCT type FROM order_engine.outbox');
my @expected = split /\n/, $shop->safe_psql('shop',
	'SELECT publish FROM order_engine.machine_transition WHERE machine_id = 1 AND publish IS NOT NULL');
is_deeply([ sort keys %types ],
	[ sort @expected, map { "order.$_" } qw(updated payment payment_mismatch refund_payment) ], 'there is an event of every type');

my @verdicts = validate(@events);
is(scalar(@verdicts), scalar(@events), 'every event was looked at');
foreach my $n (0 .. $#events)
{
	is($verdicts[$n], 'valid', 'event ' . JSON::PP::decode_json($events[$n])->{event}) or diag($events[$n]);
}

# The other way round: no field that the contract does not know.
sub unknown_fields
{
	my ($value, $schema) = @_;
	$schema = (grep { ($_->{type} // '') eq 'object' } @{ $schema->{oneOf} })[0] if $schema->{oneOf};
	return map { unknown_fields($_, $schema->{items}) } @$value if ref $value eq 'ARRAY' && $schema->{items};
	return () unless ref $value eq 'HASH' && $schema->{properties};
	return map {
		my $known = $schema->{properties}{$_};
		$known ? unknown_fields($value->{$_}, $known) : $_
	} keys %$value;
}
my %unknown = map { $_ => 1 } map { unknown_fields(JSON::PP::decode_json($_), $schema) } @events;
is_deeply([ sort keys %unknown ], [], 'the contract names every field');

# The same of stock, whatever the SKU.
$shop->safe_psql('shop', <<'SQL');
SET order_engine.stock_events = on;
SELECT order_engine.receive_stock(s, 1), order_engine.set_stock_open(s, false), order_engine.set_stock_open(s, true), order_engine.deduct_stock(s, 1)
FROM unnest(ARRAY[E'a "\\ ü', '42', repeat('x', 255)]) s;
INSERT INTO order_engine.stock (sku, on_hand) VALUES ('much', 9223372036854775807);
SQL
my @stock_events = split /\n/, $shop->safe_psql('shop', q{SELECT payload FROM order_engine.outbox WHERE aggregatetype = 'stock' ORDER BY id});
is(scalar(@stock_events), 13, 'each crossing is an event');
is_deeply([ validate_by($stock_schema_file, @stock_events) ], [ ('valid') x 13 ], 'and each is valid');
is_deeply([ map { unknown_fields(JSON::PP::decode_json($_), $stock_schema) } @stock_events ], [], 'and known to the contract');
foreach my $key (sort keys %{ JSON::PP::decode_json($stock_events[0]) })
{
	my $event = JSON::PP::decode_json($stock_events[0]);
	delete $event->{$key};
	isnt((validate_by($stock_schema_file, JSON::PP::encode_json($event)))[0], 'valid', "without $key it is not");
}

# The validator can tell: the contract holds nothing that is not meant.
my %spoilt = (
	'an id that is a number' => sub { $_[0]{order_id} = 7 },
	'an amount that is no decimal' => sub { $_[0]{amount} = '1,00' },
	'an amount that is nothing' => sub { $_[0]{amount} = undef },
	'a missing field' => sub { delete $_[0]{refund_due} },
	'another schema version' => sub { $_[0]{schema_version} = 2 },
	'a negative amount' => sub { $_[0]{captured} = -1 },
	'a time without a zone' => sub { $_[0]{at} = '2026-01-01T00:00:00' },
	'an unknown outcome' => sub { $_[0]{payment} = { ref => 'a', amount => 1, outcome => 'lost' } },
	'a line without a sku' => sub { delete $_[0]{lines}[0]{sku} });
foreach my $what (sort keys %spoilt)
{
	my $event = JSON::PP::decode_json($events[0]);
	$spoilt{$what}->($event);
	my ($verdict) = validate(JSON::PP::encode_json($event));
	isnt($verdict, 'valid', "$what is not valid");
}

$shop->stop;
done_testing();
