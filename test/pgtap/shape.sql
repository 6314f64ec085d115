-- The tables belong to a role that is no superuser, and whatever it does to a column
-- that C code reads ends in an error that says so, not in a server that is down.
SET client_min_messages = error;
SELECT order_engine.receive_stock('A', 10) \gset
SELECT order_engine.journal_tick('outbox') \gset
SELECT order_id FROM order_engine.create_order(1, '[{"sku": "A", "quantity": 1, "unit_price": 5}]') \gset

-- What can be done to each column; what PostgreSQL itself does not allow (keys of
-- partitions, columns of the view) is no danger.
CREATE TEMP TABLE alteration AS
SELECT c.relname::text AS relation, a.attname::text AS col, what, format(statement, c.oid::regclass, a.attname) AS statement
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
	LATERAL (VALUES ('type', CASE a.atttypid WHEN 'text'::regtype THEN 'ALTER TABLE %1$s ALTER %2$I DROP DEFAULT, ALTER %2$I TYPE bytea USING ''''::bytea'
			WHEN 'bigint'::regtype THEN 'ALTER TABLE %1$s ALTER %2$I DROP DEFAULT, ALTER %2$I TYPE text USING ''''::text'
			ELSE 'ALTER TABLE %1$s ALTER %2$I DROP DEFAULT, ALTER %2$I TYPE bigint USING 8::bigint' END),
		('nullable', CASE WHEN a.attnotnull THEN 'ALTER TABLE %1$s ALTER %2$I DROP NOT NULL' END),
		('name', 'ALTER TABLE %1$s RENAME %2$I TO %2$s_2'),
		('gone', 'ALTER TABLE %1$s DROP %2$I CASCADE')) AS v (what, statement)
WHERE c.relnamespace = 'order_engine'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND statement IS NOT NULL
	-- nobody but setup(), which is SQL, reads these
	AND NOT (c.relname = 'shop' AND a.attname <> 'relay_paused');

\ir ../lib/consequence.sql

CREATE TEMP TABLE result AS
SELECT a.*, pg_temp.consequence(a.statement, format('SELECT order_engine.pay_order(%s, ''p'', 5)', :order_id)) AS outcome FROM alteration a;

-- Tables of another kind have nothing that could be written to.
CREATE TEMP TABLE kind AS
SELECT what, pg_temp.consequence(statement, call) AS outcome
FROM (VALUES
	('stock', 'DROP TABLE order_engine.stock; CREATE TABLE order_engine.stock (sku text NOT NULL PRIMARY KEY, on_hand bigint NOT NULL, reserved bigint NOT NULL, version bigint NOT NULL, mode text NOT NULL, auto_mode boolean NOT NULL) PARTITION BY HASH (sku)',
		'SELECT order_engine.available(''A'')'),
	('stock_movement', 'DROP TABLE order_engine.stock_movement; CREATE TABLE order_engine.stock_movement (sku text NOT NULL, quantity bigint NOT NULL, reason text NOT NULL, ref text, actor text NOT NULL, at timestamptz NOT NULL) PARTITION BY HASH (sku)',
		'SELECT order_engine.receive_stock(''A'', 1)'),
	('machine', 'ALTER TABLE order_engine.machine RENAME TO machine_2; CREATE TABLE order_engine.machine (LIKE order_engine.machine_2) PARTITION BY LIST (machine_id)',
		'SELECT order_engine.create_order(1, ''[{"sku": "A", "quantity": 1}]'')'),
	('a leaf of orders', 'DROP TABLE order_engine.orders_0; CREATE TABLE order_engine.orders_0 PARTITION OF order_engine.orders FOR VALUES WITH (MODULUS 4, REMAINDER 0) PARTITION BY HASH (order_id order_engine.order_slot_ops)',
		'SELECT count(order_engine.create_order(u, ''[{"sku": "A", "quantity": 1}]'')) FROM generate_series(1, 20) u'),
	('a leaf of outbox', 'DROP TABLE order_engine.outbox_0; CREATE TABLE order_engine.outbox_0 PARTITION OF order_engine.outbox FOR VALUES IN (0) PARTITION BY LIST (type)',
		'SELECT order_engine.emit(''a'', ''b'', ''c'', ''{}'')'),
	('an outbox by text', 'ALTER TABLE order_engine.outbox RENAME TO outbox_old; CREATE TABLE order_engine.outbox (LIKE order_engine.outbox_old) PARTITION BY LIST (type); CREATE TABLE order_engine.outbox_t PARTITION OF order_engine.outbox FOR VALUES IN (''t'')',
		'SELECT order_engine.outbox_ring()'),
	('payments by an expression', 'ALTER TABLE order_engine.payment RENAME TO payment_old; CREATE TABLE order_engine.payment (LIKE order_engine.payment_old) PARTITION BY HASH ((order_id + 1))',
		'SELECT order_engine.get_order(1)'),
	('payments by another hash', 'ALTER TABLE order_engine.payment RENAME TO payment_old; CREATE TABLE order_engine.payment (LIKE order_engine.payment_old) PARTITION BY HASH (order_id); CREATE TABLE order_engine.payment_x0 PARTITION OF order_engine.payment FOR VALUES WITH (MODULUS 4, REMAINDER 0)',
		'SELECT order_engine.get_order(1)'),
	('payments in a list', 'ALTER TABLE order_engine.payment RENAME TO payment_old; CREATE TABLE order_engine.payment (LIKE order_engine.payment_old) PARTITION BY LIST (order_id)',
		'SELECT order_engine.get_order(1)'),
	('a shop whose row is found by another index', 'DROP INDEX order_engine.shop_single_row; CREATE INDEX shop_single_row ON order_engine.shop (shop_id); ALTER TABLE order_engine.shop ALTER relay_paused DROP NOT NULL',
		'SELECT order_engine.pause_relay()')) AS v (what, statement, call);

-- From 18 on NOT NULL may be said of a column that has nulls (elsewhere: a syntax error).
CREATE TEMP TABLE not_valid AS
SELECT relation, col, pg_temp.consequence(format('ALTER TABLE order_engine.%1$s ALTER %2$s DROP NOT NULL; ALTER TABLE order_engine.%1$s DISABLE TRIGGER USER; SET LOCAL session_replication_role = replica; UPDATE order_engine.%1$s SET %2$s = NULL;'
		' SET LOCAL session_replication_role = origin; ALTER TABLE order_engine.%1$s ADD CONSTRAINT later NOT NULL %2$s NOT VALID', relation, col), call) AS outcome
FROM (VALUES ('machine', 'definition', 'SELECT order_engine.machine_diagram(''order'')'),
	('machine', 'name', 'SELECT order_engine.define_machine(''x'', ''{"final": ["done"], "transitions": [{"from": null, "event": "create", "to": "done"}]}'')'),
	('stock', 'on_hand', 'SELECT order_engine.available(''A'')'),
	('order_line', 'sku', format('SELECT order_engine.cancel_order(%s)', :order_id)),
	('orders', 'attributes', format('SELECT order_engine.get_order(%s)', :order_id)),
	('journal_position', 'identity', 'SELECT order_engine.journal_tick(''outbox'')'),
	('outbox', 'created_at', 'SELECT lag_events FROM order_engine.relay_lag()')) AS v (relation, col, call);

-- The trigger functions on tables and for events that they were not made for.
CREATE TABLE public.other (id int PRIMARY KEY, order_id text, user_id text, state text, machine_id text, version text, subtotal text, amount int, captured int,
	refunded int, currency int, idempotency_key int, request_hash int, adjustments int, attributes int, private int, created_at int, updated_at int, due_at int,
	sku int, on_hand text, reserved text, mode int, auto_mode text, aggregatetype int, aggregateid int, type int, payload int, headers int, topic int, partition text);
CREATE TEMP TABLE hung AS
SELECT function, timing, event, unit, relation, pg_temp.consequence(
	format('CREATE TRIGGER hung %s %s ON %s FOR EACH %s EXECUTE FUNCTION order_engine.%s(%s)', timing, event, relation, unit, function,
		CASE WHEN function LIKE 'attached%' THEN '1, state, version' END),
	CASE WHEN relation = 'public.other' THEN 'WITH inserted AS (INSERT INTO public.other (id, amount) VALUES (1, 1) RETURNING 1) SELECT 1 FROM inserted'
		ELSE format('UPDATE order_engine.orders SET attributes = ''{"a": 1}'' WHERE order_id = %s', :order_id) END) AS outcome
FROM unnest(ARRAY['orders_before_insert', 'orders_before_update', 'orders_after_change', 'stock_before', 'stock_after', 'outbox_before_insert',
		'attached_before', 'attached_after']) AS function,
	unnest(ARRAY['BEFORE', 'AFTER']) AS timing, unnest(ARRAY['ROW', 'STATEMENT']) AS unit,
	(VALUES ('public.other', 'INSERT'), ('order_engine.orders', 'UPDATE')) AS v (relation, event);

SELECT plan(9);
SELECT is_empty($$SELECT what, outcome FROM kind WHERE outcome <> '55000'$$, 'tables of another kind are refused');
SELECT is_empty($$SELECT relation, col, outcome FROM not_valid WHERE outcome <> CASE WHEN current_setting('server_version_num')::int >= 180000 THEN '55000' ELSE 'not allowed' END$$,
	'so are columns whose nulls were there before NOT NULL');
SELECT is_empty($$SELECT * FROM hung WHERE relation = 'public.other' AND outcome NOT IN ('39P01', '55000', 'not allowed')$$,
	'trigger functions refuse other tables');
SELECT is_empty($$SELECT * FROM hung WHERE relation <> 'public.other' AND unit = 'STATEMENT' AND outcome NOT IN ('39P01', 'not allowed')$$,
	'and events that they are not for');
SELECT is_empty($$SELECT relation, col, what, outcome FROM result WHERE outcome NOT IN ('55000', 'not allowed')$$, 'every alteration is refused at the next call');
SELECT cmp_ok((SELECT count(*) FROM result WHERE outcome = '55000' AND what = 'type'), '>', 70::bigint, 'most types can be altered');
SELECT cmp_ok((SELECT count(*) FROM result WHERE outcome = '55000' AND what = 'nullable'), '>', 40::bigint, 'and NOT NULL dropped');
SELECT is((SELECT outcome FROM order_engine.pay_order(:order_id, 'p', 5)), 'paid', 'with the tables as they were, all goes well');
ALTER TABLE order_engine.orders ADD COLUMN a_note text, ADD COLUMN number bigint DEFAULT 7;
SELECT is((SELECT state FROM order_engine.ship_order(:order_id)), 'shipped', 'and with columns more');
SELECT * FROM finish();
