-- :count orders of one unit, due at a rate of :rate a second, then how late the keeper is
-- :sku is an expression of n, the number of the order
SET client_min_messages = warning;
CREATE TABLE due (order_id bigint PRIMARY KEY, due_at timestamptz NOT NULL);
CREATE TABLE seen (late interval NOT NULL);

SELECT set_config('bench.first', (clock_timestamp() + :count * interval '0.6 ms' + interval '2 seconds')::text, false),
	set_config('bench.count', :'count', false), set_config('bench.rate', :'rate', false) \g /dev/null
SELECT format('CREATE FUNCTION sku_of(n int) RETURNS text LANGUAGE sql AS $f$ SELECT ''SKU-'' || (%s) $f$', :'sku') \gexec
DO $$
DECLARE
	first timestamptz := current_setting('bench.first');
	rate float := current_setting('bench.rate');
BEGIN
	FOR chunk IN 0 .. current_setting('bench.count')::int / 1000 - 1 LOOP
		INSERT INTO due SELECT o.order_id, o.due_at
		FROM generate_series(1, 1000) n,
			LATERAL order_engine.create_order(n, jsonb_build_array(jsonb_build_object('sku', sku_of(n), 'quantity', 1)),
				pay_within => first + (chunk * 1000 + n) / rate * interval '1 second' - clock_timestamp()) o;
		COMMIT;
	END LOOP;
END
$$;
DO $$
BEGIN
	IF clock_timestamp() > current_setting('bench.first')::timestamptz THEN
		RAISE 'the first order was due before the last was made';
	END IF;
END
$$;

-- as somebody else sees it: the oldest order that is due and pending still
DO $$
DECLARE
	last timestamptz := (SELECT max(due_at) FROM due);
	late interval;
BEGIN
	LOOP
		SELECT clock_timestamp() - min(o.due_at) INTO late FROM order_engine.orders o WHERE o.due_at < clock_timestamp();
		INSERT INTO seen VALUES (coalesce(late, '0'));
		COMMIT;
		EXIT WHEN late IS NULL AND clock_timestamp() > last;
		PERFORM pg_sleep(0.05);
	END LOOP;
END
$$;

SELECT count(*) / extract(epoch FROM max(e.at) - min(d.due_at)) AS per_second,
	percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM e.at - d.due_at)) AS p50,
	percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM e.at - d.due_at)) AS p99,
	(SELECT extract(epoch FROM max(late)) FROM seen) AS latest
FROM due d JOIN order_engine.order_event e USING (order_id) WHERE e.event = 'expire';
