-- Currencies: how they are written, and which one an order has.
-- needs to be preloaded
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql
SELECT on_hand FROM receive_stock('tea', 100);
-- An order for 10.
CREATE FUNCTION public.new_order(in_currency text, key text DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
	SELECT order_id FROM order_engine.create_order(1, '[{"sku": "tea", "quantity": 1, "unit_price": 10}]', key, currency => in_currency)
$$;

--
-- Three letters, stored in upper case wherever they are written.
--
SELECT new_order('eur', 'lower') AS id \gset
SELECT o.currency, b.payload ->> 'currency' AS published FROM orders o JOIN outbox b ON b.aggregateid = o.order_id::text;
SELECT new_order('EUR', 'lower') = :id AS same_request;
SELECT outcome FROM pay_order(:id, 'p', 10, 'Eur');
SELECT currency FROM payment WHERE order_id = :id;
SELECT outcome FROM pay_order(:id, 'other', 10, 'usd');
INSERT INTO orders (order_id, user_id, currency) VALUES (next_order_id(1), 1, 'usd') RETURNING currency;
SELECT c.given, attempt(format('SELECT new_order(%L)', c.given)), attempt(format('SELECT pay_order(%s, ''q'', 1, %L)', :id, c.given)) = attempt(format('SELECT new_order(%L)', c.given)) AND
	attempt(format('INSERT INTO orders (order_id, user_id, currency) VALUES (next_order_id(1), 1, %L)', c.given)) = attempt(format('SELECT new_order(%L)', c.given)) AS everywhere
FROM (VALUES (''), ('EURO'), ('EU'), ('EU1'), (' EUR'), ('E R'), ('€UR'), ('éur')) AS c (given);
SELECT hint FROM refusal($$SELECT new_order('EURO')$$);
-- What a user's trigger makes of it is not stored.
CREATE FUNCTION public.lower_currency() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.currency := lower(NEW.currency); RETURN NEW; END $$;
CREATE TRIGGER z_lower BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION public.lower_currency();
SELECT attempt('INSERT INTO orders (order_id, user_id, currency) VALUES (next_order_id(1), 1, ''EUR'')');
SELECT attempt('SELECT new_order(''EUR'')');
DROP TRIGGER z_lower ON orders;

--
-- The currency of a new order that names none.
--
SHOW order_engine.default_currency;
SELECT new_order(NULL, 'silent') AS id \gset
SELECT currency IS NULL AS none FROM orders WHERE order_id = :id;
-- Without one, an order takes payments of any currency.
SELECT outcome, captured FROM pay_order(:id, 'a', 4, 'CHF');
SELECT outcome, captured FROM pay_order(:id, 'b', 6, 'SEK');
SET order_engine.default_currency = 'chf';
SHOW order_engine.default_currency;
SELECT new_order(NULL, 'by default') AS id, new_order('eur', 'said') AS id2 \gset
SELECT idempotency_key, currency FROM orders WHERE order_id IN (:id, :id2) ORDER BY 1;
INSERT INTO orders (order_id, user_id) VALUES (next_order_id(1), 1) RETURNING currency;
-- A payment that names none is one in the order's currency.
SELECT new_order('eur') AS id \gset
SELECT outcome FROM pay_order(:id, 'p', 10);
-- A request is what its caller said: another default makes no other request of it.
SET order_engine.default_currency = 'SEK';
SELECT o.currency, r.replayed FROM create_order(1, '[{"sku": "tea", "quantity": 1, "unit_price": 10}]', 'by default') r JOIN orders o USING (order_id);
SELECT o.currency, r.replayed FROM create_order(1, '[{"sku": "tea", "quantity": 1, "unit_price": 10}]', 'silent') r JOIN orders o USING (order_id);
SELECT attempt($$SELECT new_order('CHF', 'by default')$$) ~ '^OE020' AS refused;
-- Neither does one that would not take it any more.
CREATE FUNCTION public.with_fee(key text, OUT order_id bigint, OUT amount numeric, OUT replayed boolean) LANGUAGE sql AS $$
	SELECT order_id, amount, replayed FROM order_engine.create_order(1, '[{"sku": "tea", "quantity": 1, "unit_price": 10}]', key, adjustments => '[{"kind": "fee", "amount": 0.5}]')
$$;
SELECT order_id AS id FROM with_fee('fee') \gset
SET order_engine.default_currency = 'JPY';
SELECT order_id = :id AS same, amount, replayed FROM with_fee('fee');
SELECT attempt($$SELECT with_fee('another fee')$$);
RESET order_engine.default_currency;
-- Bad settings; who may set it, and where.
SET order_engine.default_currency = 'EURO';
SET order_engine.default_currency = 'E1';
CREATE ROLE regress_currency_app;
SET ROLE regress_currency_app;
SET order_engine.default_currency = 'EUR';
RESET ROLE;
DROP ROLE regress_currency_app;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET order_engine.default_currency = ''nok''', current_database()); END $$;
\c
SHOW order_engine.default_currency;
SET search_path = order_engine, public;
SELECT new_order(NULL) AS id \gset
SELECT currency FROM orders WHERE order_id = :id;
