-- Orders written by raw SQL: the same rules as for the calls.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql
SET order_engine.actor = 'sql';
CREATE FUNCTION public.new_order(u bigint) RETURNS bigint LANGUAGE sql AS $$
	SELECT order_id FROM order_engine.create_order(u, '[{"sku": "tea", "quantity": 1, "unit_price": 10.00}]')
$$;
CREATE FUNCTION public.history(of_order bigint) RETURNS TABLE (version int, event text, from_state text, to_state text, actor text, published text)
LANGUAGE sql AS $$
	SELECT e.version, e.event, e.from_state, e.to_state, e.actor, o.type FROM order_engine.order_event e
	LEFT JOIN order_engine.outbox o ON o.aggregateid = of_order::text AND (o.payload ->> 'version')::int = e.version
	WHERE e.order_id = of_order ORDER BY e.version
$$;
CREATE VIEW public.stock_held AS SELECT sku, on_hand, reserved FROM stock ORDER BY sku;
SELECT on_hand FROM receive_stock('tea', 100);

--
-- UPDATE: a move is checked, versioned, recorded, published; stock follows.
--
SELECT new_order(1) AS id \gset
SELECT attempt(format('UPDATE orders SET state = ''paid'' WHERE order_id = %s', :id));
SELECT attempt(format('UPDATE orders SET state = ''shipped'' WHERE order_id = %s', :id));
SELECT attempt(format('UPDATE orders SET state = ''nowhere'' WHERE order_id = %s', :id));
SELECT attempt(format('UPDATE orders SET state = NULL WHERE order_id = %s', :id));
SELECT outcome FROM pay_order(:id, 'p', 10);
UPDATE orders SET state = 'shipped' WHERE order_id = :id RETURNING state, version, due_at;
-- The pattern of every ORM.
UPDATE orders SET state = 'completed', version = version + 1 WHERE order_id = :id AND version = 3 RETURNING state, version;
UPDATE orders SET state = 'completed', version = version + 1 WHERE order_id = :id AND version = 3 RETURNING state, version;
SELECT attempt(format('UPDATE orders SET version = 3 WHERE order_id = %s', :id));
SELECT attempt(format('UPDATE orders SET version = version + 2 WHERE order_id = %s', :id));
SELECT attempt(format('UPDATE orders SET version = NULL WHERE order_id = %s', :id));
-- Who saves all columns writes back the version that he read: expected is that one. What nobody can have read was counted on from.
SELECT v AS version, attempt(format('UPDATE orders SET version = %s, attributes = ''{}'' WHERE order_id = %s', v, :id)) FROM unnest(ARRAY[3, 2, 1, 0, -1, -2147483648, 6, 2147483647]) v;
BEGIN;
-- Read when it was version 4, which it is: saved as it was read, or counted on.
SAVEPOINT s;
UPDATE orders SET version = 4, attributes = '{"saved": true}' WHERE order_id = :id RETURNING version;
ROLLBACK TO s;
UPDATE orders SET version = 5, attributes = '{"saved": true}' WHERE order_id = :id RETURNING version;
ROLLBACK TO s;
-- Read when it was version 3, and counted on to 4 without asking for 3 in WHERE: the same statement as the first of these, and taken as that.
UPDATE orders SET version = 4, attributes = '{"lost": "update"}' WHERE order_id = :id RETURNING version;
ROLLBACK;
SELECT a.assignment, attempt(format('UPDATE orders SET %s WHERE order_id = %s', a.assignment, :id))
FROM (VALUES ('attributes = NULL'), ('private = NULL'), ('updated_at = NULL'), ('attributes = ''[]'''), ('private = ''1''')) AS a (assignment);
-- What a user may change without a move is the event update.
UPDATE orders SET attributes = '{"gift": true}', private = '{"name": "Ada"}' WHERE order_id = :id RETURNING state, version;
SELECT * FROM history(:id);
SELECT new_order(2) AS id \gset
UPDATE orders SET due_at = '2100-01-01', updated_at = '2099-01-01' WHERE order_id = :id RETURNING version, due_at = '2100-01-01' AS due, updated_at = '2099-01-01' AS updated;
SELECT * FROM stock_held;
-- cancel is defined before expire, and expire is the keeper's.
UPDATE orders SET state = 'cancelled' WHERE order_id = :id RETURNING state, version, due_at, updated_at < '2099-01-01' AS touched;
SELECT * FROM history(:id);
SELECT * FROM stock_held;

-- What only the engine writes, one column after the other; leaf by leaf too.
SELECT new_order(3) AS id \gset
SELECT a.assignment, attempt(format('UPDATE orders SET %s WHERE order_id = %s', a.assignment, :id)) FROM (VALUES
	('order_id = next_order_id(user_id)'), ('order_id = order_id + (1 << 12)'), ('user_id = 4'), ('machine_id = 2'), ('subtotal = 1'), ('amount = 1'), ('captured = 10'),
	('refunded = 1'), ('currency = ''EUR'''), ('idempotency_key = ''k'''), ('request_hash = ''k'''),
	('adjustments = ''[{}]'''), ('created_at = ''2020-01-01'''), ('captured = 10, state = ''paid''')) AS a (assignment);
SELECT attempt(format('UPDATE %s SET captured = 1 WHERE order_id = %s', (SELECT tableoid::regclass FROM orders WHERE order_id = :id), :id));
SELECT attempt(format('DELETE FROM orders WHERE order_id = %s', :id)), attempt('TRUNCATE orders'), attempt('TRUNCATE orders_1');
SELECT attempt(format('DELETE FROM %s WHERE order_id = %s', (SELECT tableoid::regclass FROM orders WHERE order_id = :id), :id));
SELECT version FROM orders WHERE order_id = :id;

--
-- INSERT: the id is given, the rest may be left out.
--
INSERT INTO orders (order_id, user_id) VALUES (next_order_id(4), 4)
	RETURNING order_id AS id, state, version, machine_id, amount, due_at > now() AS due, created_at = updated_at AS fresh \gset
SELECT :'state', :version, :machine_id, :amount, :'due', :'fresh';
SELECT * FROM history(:id);
SELECT attempt('INSERT INTO orders (order_id, user_id) VALUES (next_order_id(4), 5)');
SELECT attempt('INSERT INTO orders (order_id, user_id) VALUES (next_order_id(4), NULL)');
-- an id that will be handed out one day is not one for today; one that was, by a clock that ran ahead, is
SELECT attempt('INSERT INTO orders (order_id, user_id) VALUES (next_order_id(4) + (60000::bigint << 22), 4)');
SELECT attempt('INSERT INTO orders (order_id, user_id) VALUES ((2::bigint ^ 62)::bigint | (slot_of_user(4) << 12), 4)');
SELECT attempt('INSERT INTO orders (order_id, user_id) VALUES (next_order_id(4) - (86400000::bigint << 22), 4)');
SET order_engine.debug_clock_offset = 60000;
SELECT next_order_id(4) AS ahead \gset
RESET order_engine.debug_clock_offset;
SELECT attempt(format('INSERT INTO orders (order_id, user_id) VALUES (%s, 4)', :ahead));
-- Without an id there is no telling which of several partitions it belongs in, even if null and 0 lead to the right one.
SELECT u AS first FROM generate_series(1, 10000) u WHERE slot_of_user(u) = 0 LIMIT 1 \gset
SELECT i.statement, attempt('INSERT INTO ' || i.statement) FROM (VALUES
	('orders (user_id) VALUES (4)'), ('orders (order_id, user_id) VALUES (NULL, 4)'), ('orders (order_id, user_id) VALUES (0, 4)'),
	(format('orders (user_id) VALUES (%s)', :first)), (format('orders (order_id, user_id) VALUES (0, %s)', :first)),
	(format('orders_0 (user_id) VALUES (%s)', :first)), ('orders (user_id) VALUES (NULL)'),
	('orders (user_id) VALUES (4) ON CONFLICT (order_id) DO UPDATE SET state = excluded.state')) AS i (statement);
INSERT INTO orders (user_id) VALUES (4);
-- ORMs count from 0 or from 1.
INSERT INTO orders (order_id, user_id, state, version) VALUES (next_order_id(4), 4, NULL, 0), (next_order_id(4), 4, 'pending', 1) RETURNING state, version;
SELECT c.assignment, attempt(format('INSERT INTO orders (order_id, user_id, %s) VALUES (next_order_id(4), 4, %s)', split_part(c.assignment, '=', 1), split_part(c.assignment, '=', 2)))
FROM (VALUES ('state=''paid'''), ('state=''nowhere'''), ('version=2'), ('machine_id=77'), ('captured=1'), ('request_hash=''x'''), ('amount=-1'), ('amount=''NaN'''), ('adjustments=''{}'''), ('attributes=''[]'''), ('private=''7''')) AS c (assignment);
SELECT attempt('INSERT INTO orders (order_id, user_id, idempotency_key) VALUES (next_order_id(4), 4, ''twice''), (next_order_id(4), 4, ''twice'')');
-- Nothing that is wrong gets as far as PostgreSQL's own constraints, which would show the whole row.
SELECT attempt('INSERT INTO orders (order_id, user_id, refunded) VALUES (next_order_id(4), 4, 1)');
SELECT attempt(format('INSERT INTO orders_%s (order_id, user_id) VALUES (next_order_id(4), 4)', (slot_of_user(4) + 1) % 4));
SELECT attempt(format('INSERT INTO orders_%s SELECT next_order_id(4), 4, ''pending'', 1, 1, 0, 0, 0, 0, NULL, NULL, NULL, ''[]'', ''{}'', ''{}'', now(), now(), now()', (slot_of_user(4) + 1) % 4));
INSERT INTO orders (order_id, user_id, adjustments, attributes, private) VALUES (next_order_id(4), 4, NULL, NULL, NULL) RETURNING adjustments, attributes, private;
-- Some ORMs send the null of JSON.
INSERT INTO orders (order_id, user_id, adjustments, attributes, private) VALUES (next_order_id(4), 4, 'null', 'null', 'null') RETURNING adjustments, attributes, private;
-- Adjustments are stored in one form, whoever wrote them last.
CREATE FUNCTION public.adjust() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.adjustments := '[{"kind": "fee", "amount": "1.50", "label": null}]'; RETURN NEW; END $$;
CREATE TRIGGER z_adjust BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION public.adjust();
SELECT attempt('INSERT INTO orders (order_id, user_id) VALUES (next_order_id(4), 4)');
DROP TRIGGER z_adjust ON orders;
-- A key that raw SQL claimed is taken for create_order() too.
INSERT INTO orders (order_id, user_id, idempotency_key) VALUES (next_order_id(4), 4, 'raw');
SELECT left(attempt($$SELECT create_order(4, '[{"sku": "tea", "quantity": 1}]', 'raw')$$), 50);

-- ON CONFLICT (order_id) DO UPDATE: the update is a move, the insert a creation.
INSERT INTO orders (order_id, user_id, state) VALUES (:id, 4, 'cancelled')
	ON CONFLICT (order_id) DO UPDATE SET state = excluded.state RETURNING state, version;
SELECT next_order_id(4) AS id2 \gset
INSERT INTO orders (order_id, user_id) VALUES (:id2, 4) ON CONFLICT (order_id) DO UPDATE SET state = excluded.state RETURNING state, version;
INSERT INTO orders (order_id, user_id) VALUES (:id2, 4) ON CONFLICT DO NOTHING;
SELECT attempt(format('INSERT INTO orders (order_id, user_id, state) VALUES (%s, 4, ''shipped'') ON CONFLICT (order_id) DO UPDATE SET state = excluded.state', :id2));
SELECT * FROM history(:id);
SELECT * FROM history(:id2);

-- MERGE
MERGE INTO orders o USING (VALUES (:id2::bigint, 'cancelled'), (next_order_id(6), NULL)) AS s (order_id, state) ON o.order_id = s.order_id
	WHEN MATCHED THEN UPDATE SET state = s.state
	WHEN NOT MATCHED THEN INSERT (order_id, user_id) VALUES (s.order_id, 6);
SELECT state, version FROM orders WHERE order_id = :id2 OR user_id = 6 ORDER BY version;

-- COPY
SELECT next_order_id(7) AS id3 \gset
CREATE TEMP TABLE given AS SELECT :id3::bigint AS order_id, 7::bigint AS user_id;
\set file `mktemp -u /tmp/order_trigger.XXXXXX`
COPY given TO :'file';
COPY orders (order_id, user_id) FROM :'file';
\setenv FILE :file
\! rm -f "$FILE"
SELECT * FROM history(:id3);

--
-- Users' triggers: ours hold whatever they do.
--
-- A BEFORE trigger that comes after ours changes the state that was meant.
CREATE FUNCTION public.meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.state := TG_ARGV[0]; RETURN NEW; END $$;
SELECT new_order(10) AS id \gset
CREATE TRIGGER z_meddle BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION public.meddle('cancelled');
UPDATE orders SET attributes = '{"x": 1}' WHERE order_id = :id RETURNING state, version;
SELECT * FROM history(:id);
DROP TRIGGER z_meddle ON orders;
SELECT new_order(10) AS id \gset
CREATE TRIGGER z_meddle BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION public.meddle('completed');
SELECT attempt(format('UPDATE orders SET state = ''cancelled'' WHERE order_id = %s', :id));
SELECT attempt(format('SELECT cancel_order(%s)', :id));
DROP TRIGGER z_meddle ON orders;
CREATE FUNCTION public.pocket() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.captured := 10; RETURN NEW; END $$;
CREATE TRIGGER z_pocket BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION public.pocket();
SELECT attempt(format('UPDATE orders SET attributes = ''{}'' WHERE order_id = %s', :id));
SELECT attempt(format('SELECT cancel_order(%s)', :id)), attempt('SELECT new_order(1)');
DROP TRIGGER z_pocket ON orders;
CREATE FUNCTION public.swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER z_swallow BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION public.swallow();
SELECT attempt(format('SELECT cancel_order(%s)', :id)), attempt('SELECT new_order(1)');
DROP TRIGGER z_swallow ON orders;
-- A BEFORE trigger may change what a user may change, of a call's row too.
CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.attributes := NEW.attributes || '{"stamped": true}'; RETURN NEW; END $$;
CREATE TRIGGER z_stamp BEFORE INSERT OR UPDATE OF state ON orders FOR EACH ROW EXECUTE FUNCTION public.stamp();
SELECT new_order(11) AS id \gset
SELECT attributes FROM orders WHERE order_id = :id;
SELECT payload -> 'attributes' AS published FROM outbox WHERE aggregateid = :'id';
UPDATE orders SET attributes = '{}' WHERE order_id = :id RETURNING attributes;
SELECT state FROM cancel_order(:id);
SELECT attributes FROM orders WHERE order_id = :id;
DROP TRIGGER z_stamp ON orders;
-- An AFTER trigger that changes the row again comes later in history too, whoever moved it.
CREATE FUNCTION public.follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE order_engine.orders SET attributes = attributes || '{"followed": true}' WHERE order_id = NEW.order_id;
	RETURN NULL;
END $$;
CREATE TRIGGER follow AFTER UPDATE OF state ON orders FOR EACH ROW WHEN (NEW.state = 'cancelled') EXECUTE FUNCTION public.follow();
SELECT new_order(12) AS id \gset
UPDATE orders SET state = 'cancelled' WHERE order_id = :id;
SELECT version, attributes FROM orders WHERE order_id = :id;
SELECT * FROM history(:id);
SELECT new_order(12) AS id \gset
SELECT state, version FROM cancel_order(:id);
SELECT * FROM history(:id);
DROP TRIGGER follow ON orders;
-- A user's trigger that writes a line of the order which the engine is writing is refused as ever.
CREATE FUNCTION public.ride() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO order_engine.order_line (order_id, line_no, sku, quantity, unit_price) VALUES (NEW.order_id, 1, 'free', 1, 0);
	RETURN NEW;
END $$;
CREATE TRIGGER ride BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION public.ride();
SELECT attempt('SELECT new_order(13)');
DROP TRIGGER ride ON orders;
-- Columns of a user's own, with defaults and constraints, are honoured by the calls.
ALTER TABLE orders ADD COLUMN region text NOT NULL DEFAULT 'eu', ADD COLUMN twice numeric GENERATED ALWAYS AS (amount * 2) STORED;
SELECT new_order(14) AS id \gset
SELECT region, twice FROM orders WHERE order_id = :id;
ALTER TABLE orders ADD CONSTRAINT no_cancel CHECK (state <> 'cancelled' OR region <> 'eu') NOT VALID;
SELECT attempt(format('SELECT cancel_order(%s)', :id));
ALTER TABLE orders DROP CONSTRAINT no_cancel, DROP COLUMN twice;
-- A user's table may reference orders.
CREATE TABLE public.parcel (order_id bigint REFERENCES orders);
INSERT INTO public.parcel VALUES (:id);
SELECT attempt('INSERT INTO public.parcel VALUES (1)') ~ '^23503' AS refused;
SELECT state FROM cancel_order(:id);

--
-- What replication or a restore applies is copied as it is: no second event, no second stock effect.
--
SELECT * FROM stock_held;
SELECT count(*) AS events FROM order_event \gset
SET session_replication_role = replica;
INSERT INTO orders (order_id, user_id, state, machine_id, version, captured, created_at, updated_at) VALUES (next_order_id(20), 20, 'completed', 1, 7, 5, now(), now());
UPDATE orders SET state = 'paid', version = 9 WHERE user_id = 20;
RESET session_replication_role;
SELECT count(*) - :events AS more_events FROM order_event;
SELECT * FROM stock_held;
SELECT state, version, captured FROM orders WHERE user_id = 20;

--
-- A node owns the slots whose leaves it has; any other is refused.
--
SELECT u AS elsewhere FROM generate_series(1, 100) u WHERE slot_of_user(u) % 4 = 3 LIMIT 1 \gset
SELECT u AS here FROM generate_series(1, 100) u WHERE slot_of_user(u) % 4 = 2 LIMIT 1 \gset
SELECT new_order(:elsewhere) AS id \gset
ALTER TABLE orders DETACH PARTITION orders_3;
SELECT regexp_replace(attempt(format('SELECT new_order(%s)', :elsewhere)), 'slot(":)? \d+', 'slot\1 N', 'g');
SELECT regexp_replace(attempt(format('SELECT cancel_order(%s)', :id)), 'slot(":)? \d+', 'slot\1 N', 'g');
SELECT state FROM cancel_order(new_order(:here));
ALTER TABLE orders ATTACH PARTITION orders_3 FOR VALUES WITH (MODULUS 4, REMAINDER 3);
SELECT state FROM cancel_order(:id);

-- Every event repeats the order's attributes: new ones leave room for what comes later.
SELECT order_id AS roomy FROM order_engine.create_order(77, '[{"sku": "x", "stocked": false, "quantity": 1, "unit_price": 5}]') \gset
SELECT regexp_replace(attempt(format('UPDATE order_engine.orders SET attributes = jsonb_build_object(''a'', repeat(''x'', 990000)) WHERE order_id = %s', :roomy)), ': \d+', ': N', 'g');
UPDATE order_engine.orders SET attributes = jsonb_build_object('a', repeat('x', 980000)) WHERE order_id = :roomy;
UPDATE order_engine.orders SET private = '{"b": 1}' WHERE order_id = :roomy;
SELECT order_engine.pay_order(:roomy, 'p', 5, attributes => '{"a": 1e9000}');
SELECT order_engine.pay_order(:roomy, 'p', 5, attributes => jsonb_build_object('a', repeat(E'\x01', 2000)));
SELECT outcome FROM order_engine.pay_order(:roomy, repeat('"', 255), 5, attributes => jsonb_build_object('a', repeat('x', 8000)));

-- Keys, currencies and ids that the calls would not take.
SELECT attempt(format('INSERT INTO orders (order_id, user_id, idempotency_key) VALUES (%s, %s, %L)', next_order_id(:here), :here, ''));
SELECT attempt(format('INSERT INTO orders (order_id, user_id, idempotency_key) VALUES (%s, %s, %L)', next_order_id(:here), :here, repeat('x', 256))) ~ '255 bytes' AS refused;
SELECT attempt(format('INSERT INTO orders (order_id, user_id, currency) VALUES (%s, %s, %L)', next_order_id(:here), :here, E'E\nUR'));
SELECT attempt(format('INSERT INTO orders (order_id, user_id) VALUES (%s, %s)', next_order_id(:here) | (-9223372036854775808), :here)) ~ 'does not belong' AS refused;
