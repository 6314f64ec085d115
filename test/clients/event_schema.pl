# doc/event.schema.json in the validators of other languages: they compile it, take what is
# published and refuse what is not.  (tap/event_contract does it with Python's, at length.)
use strict;
use warnings;

use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/lib';
use Clients;

my $shop = Clients::new_shop();
$shop->safe_psql('shop', <<'SQL', extra_params => [ '-U', 'web' ]);
DO $do$
DECLARE
	id bigint;
BEGIN
	SELECT order_id INTO id FROM order_engine.create_order(42,
		'[{"sku": "cup", "quantity": 1, "unit_price": "19.90", "attributes": {"color": "grün"}}]', 'basket-1', currency => 'EUR',
		adjustments => '[{"kind": "discount", "amount": -5.00, "line_no": 1, "label": "spring", "stock_key": "cup", "quantity": 1}, {"kind": "shipping", "amount": "4.90"}]');
	PERFORM order_engine.pay_order(id, 'dollars', 1, 'USD'), order_engine.pay_order(id, 'part', 9.80), order_engine.pay_order(id, 'rest', 10);
	UPDATE order_engine.orders SET attributes = '{"gift": true}' WHERE order_id = id;
	PERFORM order_engine.refund_order(id, 'some', 1), order_engine.ship_order(id);
	SELECT order_id INTO id FROM order_engine.create_order(42, '[{"sku": "cup", "quantity": 1}]');
	PERFORM order_engine.cancel_order(id);
END $do$;
SQL
my @events = split /\n/, $shop->safe_psql('shop', 'SELECT payload FROM order_engine.outbox ORDER BY id');
is(join(' ', map { JSON::PP::decode_json($_)->{event} } @events),
	'create payment_mismatch payment pay update refund_payment ship create cancel', 'there are events of all sorts');

my %spoilt = (
	'no event' => sub { %{ $_[0] } = () },
	'an id that is a number' => sub { $_[0]{order_id} = 7 },
	'a missing amount' => sub { delete $_[0]{amount} },
	'a negative amount' => sub { $_[0]{captured} = -1 },
	'another schema version' => sub { $_[0]{schema_version} = 2 },
	'a time without a zone' => sub { $_[0]{at} = '2026-01-01T00:00:00' },
	'an unknown outcome' => sub { $_[0]{payment} = { ref => 'a', amount => 1, outcome => 'lost' } },
	'a line without a sku' => sub { delete $_[0]{lines}[0]{sku} });
my @cases = map { qq({"what": "event ) . JSON::PP::decode_json($_)->{event} . qq(", "valid": true, "event": $_}) } @events;
foreach my $what (sort keys %spoilt)
{
	my $event = JSON::PP::decode_json($events[0]);
	$spoilt{$what}->($event);
	push @cases, qq({"what": "refuses $what", "valid": false, "event": ) . JSON::PP::encode_json($event) . '}';
}
my $file = PostgreSQL::Test::Utils::tempdir() . '/events';
append_to_file($file, join("\n", @cases) . "\n");

Clients::run_program($shop, 'node', 'validate_events.js', EVENTS => $file);
Clients::run_program($shop, 'java', 'ValidateEvents', EVENTS => $file);
$shop->stop;
done_testing();
