-- An ORM writes all columns of an order back, as its language's types have them: numbers
-- without trailing zeros, times without microseconds.  What is the same value is left
-- alone, and stays as it is stored.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
BEGIN;
SELECT plan(39);

-- A machine with due times in two of its states.
SELECT order_engine.define_machine('written back', '{"final": ["done"], "transitions": [
	{"from": null, "event": "create", "to": "open", "due": "1 hour", "due_event": "close"},
	{"from": "open", "event": "pack", "to": "packed"},
	{"from": "packed", "event": "send", "to": "sent", "due": "2 days", "due_event": "close"},
	{"from": "open", "event": "close", "to": "done"}, {"from": "packed", "event": "close", "to": "done"},
	{"from": "sent", "event": "close", "to": "done"}]}') \g /dev/null

-- A number as a client with floating point numbers writes it.
CREATE FUNCTION pg_temp.short(value numeric) RETURNS numeric LANGUAGE sql AS $$ SELECT trim_scale(value) $$;
CREATE FUNCTION pg_temp.short(value jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT CASE jsonb_typeof(value) WHEN 'number' THEN to_jsonb(trim_scale(value::text::numeric))
		WHEN 'array' THEN (SELECT coalesce(jsonb_agg(pg_temp.short(e)), '[]') FROM jsonb_array_elements(value) e)
		WHEN 'object' THEN (SELECT coalesce(jsonb_object_agg(k, pg_temp.short(v)), '{}') FROM jsonb_each(value) m (k, v))
		ELSE value END
$$;
-- A time as a client of milliseconds has it: cut off, or rounded.
CREATE FUNCTION pg_temp.cut(value timestamptz) RETURNS timestamptz LANGUAGE sql AS $$ SELECT date_trunc('milliseconds', value) $$;
CREATE FUNCTION pg_temp.rounded(value timestamptz) RETURNS timestamptz LANGUAGE sql AS $$ SELECT value::timestamptz(3) $$;

-- How each of the clients has the columns that it may not change, or does not mean to.
CREATE TEMP TABLE client (name text, number text, json text, moment text);
INSERT INTO client VALUES
	('JavaScript', 'pg_temp.short(%I)', 'pg_temp.short(%I)', 'pg_temp.cut(%I)'),
	('Java', '%I', 'pg_temp.short(%I)', 'pg_temp.rounded(%I)'),
	('Ruby', '%I + 0.0000', '%I', '%I');

-- An UPDATE that sets every column of an order, those in `changed` to something else.
CREATE FUNCTION pg_temp.write_back(client client, changed jsonb, of_order bigint) RETURNS text LANGUAGE sql AS $$
	SELECT format('UPDATE order_engine.orders SET %s WHERE order_id = %s',
		string_agg(format('%I = %s', attname, coalesce(changed ->> attname::text, format(CASE atttypid
			WHEN 'numeric'::regtype THEN client.number
			WHEN 'jsonb'::regtype THEN client.json
			WHEN 'timestamptz'::regtype THEN client.moment
			ELSE '%I' END, attname))), ', '), of_order)
	FROM pg_attribute WHERE attrelid = 'order_engine.orders'::regclass AND attnum > 0 AND NOT attisdropped
$$;

-- An order whose every value has a form that some client does not keep.
CREATE FUNCTION pg_temp.new_order() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
BEGIN
	SELECT order_id INTO id FROM order_engine.create_order(1, '[{"sku": "x", "stocked": false, "quantity": 1, "unit_price": 19.90}]',
		'key' || clock_timestamp(), adjustments => '[{"kind": "shipping", "amount": 4.10}]', currency => 'EUR', machine => 'written back');
	PERFORM order_engine.pay_order(id, 'p', 7.50);
	PERFORM order_engine.refund_order(id, 'r', 2.50);
	SET LOCAL session_replication_role = replica;
	UPDATE order_engine.orders SET created_at = '2026-01-02 03:04:05.678901+00', updated_at = '2026-01-02 03:04:05.678901+00',
		due_at = '2100-01-02 03:04:05.678901+00' WHERE order_id = id;
	SET LOCAL session_replication_role = origin;
	RETURN id;
END
$$;
CREATE FUNCTION pg_temp.stored(of_order bigint) RETURNS jsonb LANGUAGE sql AS $$
	SELECT to_jsonb(o) - '{state,version,updated_at,due_at}'::text[] FROM order_engine.orders o WHERE order_id = of_order
$$;

-- Returned are the assertions of one client.
CREATE FUNCTION pg_temp.check_client(client client) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	id bigint := pg_temp.new_order();
	before jsonb := pg_temp.stored(id);
	began timestamptz := clock_timestamp();
	o record;
BEGIN
	RETURN NEXT lives_ok(pg_temp.write_back(client, '{}', id), client.name || ' writes everything back');
	SELECT * INTO o FROM order_engine.orders WHERE order_id = id;
	RETURN NEXT is(o.amount::text || ' ' || o.subtotal || ' ' || o.captured || ' ' || o.refunded, '24.00 19.90 7.50 2.50', 'amounts are as they were');
	RETURN NEXT is(pg_temp.stored(id), before, 'and so is what nobody meant to change');
	RETURN NEXT is(o.adjustments::text, '[{"kind": "shipping", "amount": 4.10}]', 'to the last digit');
	RETURN NEXT is(o.due_at, '2100-01-02 03:04:05.678901+00'::timestamptz, 'the due time stays, with its microseconds');
	RETURN NEXT cmp_ok(o.updated_at, '>=', began, 'updated_at moves on');
	RETURN NEXT is((SELECT event FROM order_engine.order_event e WHERE e.order_id = id AND e.version = 4), 'update', 'it is an update');

	RETURN NEXT lives_ok(pg_temp.write_back(client, '{"state": "''packed''", "version": "version + 1"}', id), client.name || ' moves the order');
	SELECT * INTO o FROM order_engine.orders WHERE order_id = id;
	RETURN NEXT is(o.due_at, NULL, 'a due time that was written back does not survive the move');
	RETURN NEXT lives_ok(pg_temp.write_back(client, '{"state": "''sent''"}', id), 'and moves it to where it is due');
	SELECT * INTO o FROM order_engine.orders WHERE order_id = id;
	RETURN NEXT cmp_ok(o.due_at, '>', began + '47 hours', 'a null that was written back is no due time either');
END
$$;
SELECT pg_temp.check_client(c) FROM client c;

-- Another value is another value, be it by the least that counts.
SELECT pg_temp.new_order() AS id \gset
SELECT throws_ok(pg_temp.write_back(c, change, :id), 'OE014', NULL, change ->> 'of' || ' is not for ORMs to change')
FROM client c, (VALUES
	('{"of": "an amount", "amount": "24.000000001"}'::jsonb),
	('{"of": "created_at", "created_at": "created_at + ''1 ms''"}'),
	('{"of": "created_at", "created_at": "''-infinity''"}'),
	('{"of": "an adjustment", "adjustments": "''[{\"kind\": \"shipping\", \"amount\": 4.100001}]''"}'),
	('{"of": "the currency", "currency": "''eur''"}'),
	('{"of": "an amount", "captured": "''NaN''"}')) v (change)
WHERE c.name = 'Ruby';

SELECT * FROM finish();
ROLLBACK;
