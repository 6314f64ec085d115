-- Amounts that a currency cannot express: refused where they are given, rounded where they are summed.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql
SELECT on_hand FROM receive_stock('tea', 1000);
-- An order of one line, and what it costs.
CREATE FUNCTION public.new_order(price text, in_currency text, adjustments text DEFAULT '[]', key text DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
	SELECT order_id FROM order_engine.create_order(1, format('[{"sku": "tea", "quantity": 1, "unit_price": %s}]', price)::jsonb, key,
		currency => in_currency, adjustments => new_order.adjustments::jsonb)
$$;
CREATE FUNCTION public.cost(of_order bigint, OUT subtotal numeric, OUT adjustments jsonb, OUT amount numeric, OUT everywhere boolean) LANGUAGE sql AS $$
	SELECT o.subtotal, o.adjustments, o.amount, o.adjustments = d -> 'adjustments' AND o.adjustments = payload::jsonb -> 'adjustments' AND
		o.amount = (d ->> 'amount')::numeric AND o.amount = (payload ->> 'amount')::numeric AND
		o.amount = o.subtotal + (SELECT coalesce(sum((a ->> 'amount')::numeric), 0) FROM jsonb_array_elements(o.adjustments) a)
	FROM order_engine.orders o, order_engine.get_order(order_id) d, order_engine.outbox
	WHERE order_id = of_order AND aggregateid = of_order::text AND type = 'order.created'
$$;

--
-- A float's 0.1 + 0.2 is an order of 0.30, which can be paid and given back.
--
SELECT new_order('0.30000000000000004', 'EUR', key => 'float') AS id \gset
SELECT * FROM cost(:id);
SELECT unit_price FROM order_line WHERE order_id = :id;
SELECT replayed, order_id = :id AS same, amount FROM create_order(1, '[{"sku": "tea", "quantity": 1, "unit_price": 0.30000000000000004}]', 'float', currency => 'eur');
SELECT outcome, state FROM pay_order(:id, 'p', 0.3);
SELECT state, refunded FROM refund_order(:id, 'r');
SELECT p.state, p.version FROM (SELECT (replay_events(1, e.version, e.event, e.from_state, e.to_state ORDER BY e.version)).* FROM order_event e WHERE order_id = :id) p;
SELECT payload -> 'refund_due' AS refund_due FROM outbox WHERE aggregateid = :'id' ORDER BY id DESC LIMIT 1;
-- What is summed is rounded once, half up, behind the shop's own adjustments; where nothing is to be rounded, nothing is said.
SELECT r.price, r.currency, m.* FROM (VALUES
	('0.005', 'EUR', '[]'), ('0.0049', 'EUR', '[]'), ('2.675', 'EUR', '[{"kind": "shipping", "amount": 4.90}]'),
	('1.004', 'EUR', '[{"kind": "discount", "amount": -1}, {"kind": "tax", "amount": 0.19, "line_no": 1}]'),
	('10.000', 'EUR', '[{"kind": "fee", "amount": 1.0000}]'), ('10', 'EUR', '[]'),
	('99.5', 'JPY', '[]'), ('99.4999', 'JPY', '[]'), ('100.00', 'JPY', '[]'), ('0.4', 'JPY', '[]'),
	('1.2345', 'KWD', '[]'), ('1.234', 'KWD', '[]'), ('1.23455', 'CLF', '[]'),
	('0.30000000000000004', 'PTS', '[]'), ('0.005', 'XAU', '[]'), ('0.005', NULL, '[]'),
	('0.29999999999999993', 'EUR', '[{"kind": "discount", "amount": -0.30}]'),
	('0.004999999999999999999999999999999999999999999', 'EUR', '[{"kind": "fee", "amount": 1}]'),
	('123456789012345678901234567890123456789012345.6', 'JPY', '[]')) AS r (price, currency, adjustments), cost(new_order(r.price, r.currency, r.adjustments)) m;
-- The lines' sum counts, not each line.
SELECT order_id AS id FROM create_order(1, '[{"sku": "tea", "quantity": 3, "unit_price": 0.335}, {"sku": "tea", "quantity": 1, "unit_price": 0.001}]', currency => 'EUR') \gset
SELECT * FROM cost(:id);
-- An order that costs nothing then is paid by nothing.
SELECT new_order('0.004', 'EUR') AS id \gset
SELECT outcome, state FROM pay_order(:id, 'free', 0);
-- The default currency rounds, too; what it is later does not touch the order.
SET order_engine.default_currency = 'JPY';
SELECT new_order('1.5', NULL, key => 'default') AS id \gset
SELECT * FROM cost(:id);
SET order_engine.default_currency = 'KWD';
SELECT new_order('1.5', NULL, key => 'default') = :id AS same;
RESET order_engine.default_currency;

--
-- What is given must be an amount that there is.
--
SELECT r.price, r.currency, r.adjustments, attempt(format('SELECT new_order(%L, %L, %L)', r.price, r.currency, r.adjustments)) FROM (VALUES
	('1', 'EUR', '[{"kind": "tax", "amount": 0.005}]'), ('1', 'EUR', '[{"kind": "tax", "amount": 1}, {"kind": "discount", "amount": "-0.001"}]'),
	('1', 'JPY', '[{"kind": "fee", "amount": 0.1}]'), ('1', 'KWD', '[{"kind": "fee", "amount": 0.0001}]'),
	('1', 'EUR', '[{"kind": "rounding", "amount": 0.01}]'), ('1', NULL, '[{"kind": "rounding", "amount": 0.01}]'),
	('0.005', 'EUR', '[{"kind": "discount", "amount": -0.01}]'), ('0.001', 'EUR', '[{"kind": "discount", "amount": -0.01}]'),
	('0.0049999999999999999999999999999999999999999999', 'EUR', '[]'),
	('999999999999999999999999999999999999999999999.99', 'JPY', '[{"kind": "fee", "amount": 999999999999999999999999999999999999999999999999}]')) AS r (price, currency, adjustments);
SELECT hint FROM refusal($$SELECT new_order('1', 'JPY', '[{"kind": "fee", "amount": 0.1}]')$$);
SELECT hint FROM refusal($$SELECT new_order('1', 'JPY', '[{"kind": "rounding", "amount": 1}]')$$);
-- Payments go by their own currency, else by the order's; refunds by the order's.
SELECT new_order('10', 'EUR') AS euros, new_order('10', 'JPY') AS yen, new_order('10', 'KWD') AS dinars, new_order('10', NULL) AS anything \gset
SELECT p.of_currency, p.arguments, attempt(format('SELECT pay_order(%s, ''a'', %s)', p.of_order, p.arguments)) FROM (VALUES
	(:euros, 'EUR', '1.005'), (:euros, 'EUR', '1.005, ''EUR'' '), (:euros, 'EUR', '0.5, ''JPY'' '), (:euros, 'EUR', '1.0005, ''kwd'' '),
	(:yen, 'JPY', '0.5'), (:dinars, 'KWD', '1.2345'), (:anything, NULL, '1.005, ''EUR'' ')) AS p (of_order, of_currency, arguments);
SELECT hint FROM refusal(format('SELECT pay_order(%s, ''a'', 1.005)', :euros));
SELECT p.ref, p.amount, p.currency, r.outcome, r.captured FROM (VALUES
	(:euros, 'a', 1.000, NULL), (:euros, 'b', 0.001, 'KWD'), (:euros, 'c', 0.001, 'PTS'), (:yen, 'a', 10.000, 'JPY'),
	(:dinars, 'a', 9.999, NULL), (:dinars, 'b', 0.001, NULL), (:anything, 'a', 9.9999, NULL), (:anything, 'b', 0.005, 'XAU')) AS p (of_order, ref, amount, currency),
	pay_order(p.of_order, p.ref, p.amount, p.currency) r;
-- A repeated payment is answered, whatever it says.
SELECT outcome, replayed FROM pay_order(:euros, 'a', 1.005);
SELECT attempt(format('SELECT refund_order(%s, ''r'', 0.005)', :euros)), attempt(format('SELECT refund_order(%s, ''r'', 0.5)', :yen));
SELECT refunded FROM refund_order(:euros, 'r', 0.500);
SELECT refunded, replayed FROM refund_order(:euros, 'r', 0.005);
SELECT refunded FROM refund_order(:dinars, 'r', 0.001);
SELECT refunded FROM refund_order(:anything, 'r', 0.00001);
-- By hand.
SELECT r.*, attempt(format('INSERT INTO orders (order_id, user_id, currency, subtotal, amount, adjustments) VALUES (next_order_id(1), 1, %L, 10.005, %s, %L)', r.currency, r.amount, r.adjustments)) FROM (VALUES
	('eur', '10.005', '[]'), ('EUR', '10.010', '[]'), ('EUR', '10.01', '[{"kind": "rounding", "amount": 0.005}]'), ('EUR', '1', '[{"kind": "fee", "amount": 0.005}]'),
	('JPY', '10.01', '[]'), (NULL, '10.005', '[{"kind": "fee", "amount": 0.005}]')) AS r (currency, amount, adjustments);

--
-- The decimals of every currency: an amount with one more is refused.
--
SELECT d.decimals, c.currency, attempt(format('SELECT pay_order(%s, %L, %s, %L)', :anything, c.currency, d.fits, c.currency)) AS fits, attempt(format('SELECT pay_order(%s, %L, %s, %L)', :anything, c.currency || '+', d.beyond, c.currency)) ~ '^22023' AS refused
INTO TEMP TABLE decimals
FROM (VALUES (0, 1, 0.1, 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'), (3, 0.001, 0.0001, 'BHD IQD JOD KWD LYD OMR TND'), (4, 0.0001, 0.00001, 'CLF UYW'),
	(2, 0.01, 0.001, 'AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG')) AS d (decimals, fits, beyond, currencies),
	LATERAL regexp_split_to_table(d.currencies, ' ') AS c (currency);
SELECT decimals, count(*), count(*) FILTER (WHERE fits IS NULL AND refused) AS as_it_should FROM decimals GROUP BY 1 ORDER BY 1;
-- Codes without a minor unit, and those of nobody, take any.
SELECT c.currency, attempt(format('SELECT pay_order(%s, %L, 0.0000000001, %L)', :anything, c.currency, c.currency)) FROM (VALUES ('XAU'), ('XDR'), ('XXX'), ('PTS'), ('AAA'), ('ZZZ')) AS c (currency);
