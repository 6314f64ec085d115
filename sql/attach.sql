-- State machines on tables that users own.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION order_engine;
CREATE ROLE regress_attach_shop;
CREATE ROLE regress_attach_user;
CREATE ROLE regress_attach_writer;
SELECT order_engine.grant_access('regress_attach_shop', 'owner');
SET ROLE regress_attach_shop;
SELECT order_engine.setup(2);
SELECT order_engine.grant_access('regress_attach_user', 'operator');
SELECT order_engine.define_machine('ticket', '{"final": ["closed"], "transitions": [
	{"from": null, "event": "create", "to": "open"},
	{"from": "open", "event": "assign", "to": "working", "publish": "ticket.assigned"},
	{"from": "working", "event": "give_up", "to": "open", "publish": null},
	{"from": "working", "event": "solve", "to": "closed"}]}') AS machine_id \gset
RESET ROLE;
CREATE SCHEMA regress_attach AUTHORIZATION regress_attach_user;

-- A table that has rows already, of a user who does not own the shop.
SET ROLE regress_attach_user;
CREATE TABLE regress_attach.ticket (id bigint PRIMARY KEY, status text, revision int, title text);
INSERT INTO regress_attach.ticket VALUES (1, 'open', 1, 'old'), (2, 'strange', NULL, 'odd'), (3, NULL, NULL, 'without');
SELECT order_engine.attach_machine('regress_attach.ticket', 'status', 'ticket', 'revision');
GRANT USAGE ON SCHEMA regress_attach TO regress_attach_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON regress_attach.ticket TO regress_attach_writer;
RESET ROLE;

-- Who writes needs no privilege of the engine.
CREATE VIEW outbox AS
SELECT row_number() OVER (ORDER BY id) AS n, aggregatetype, aggregateid, type,
	(payload::jsonb - 'event_id' - 'at') AS payload, payload ->> 'event_id' = id::text AS id_inside
FROM order_engine.outbox;
SET ROLE regress_attach_writer;
-- What the writer leaves out is filled in; what he names must be right.
INSERT INTO regress_attach.ticket (id, title) VALUES (10, 'new') RETURNING status, revision;
INSERT INTO regress_attach.ticket VALUES (11, 'open', 1, 'new') RETURNING status, revision;
INSERT INTO regress_attach.ticket VALUES (12, 'working', 1, 'new');
INSERT INTO regress_attach.ticket VALUES (12, 'nothing', 1, 'new');
INSERT INTO regress_attach.ticket VALUES (12, 'open', -1, 'new');
INSERT INTO regress_attach.ticket VALUES (12, 'open', 2, 'new');
-- ORMs count from 0 or from 1.
BEGIN;
INSERT INTO regress_attach.ticket VALUES (12, 'open', 0, 'new') RETURNING status, revision;
ROLLBACK;
-- Legal moves, with the version left alone and raised; illegal ones.
UPDATE regress_attach.ticket SET status = 'working' WHERE id = 10 RETURNING revision;
UPDATE regress_attach.ticket SET status = 'open', revision = revision + 1 WHERE id = 10 AND revision = 2 RETURNING revision;
UPDATE regress_attach.ticket SET status = 'closed' WHERE id = 10;
UPDATE regress_attach.ticket SET status = 'nothing' WHERE id = 10;
UPDATE regress_attach.ticket SET status = NULL WHERE id = 10;
UPDATE regress_attach.ticket SET status = 'working', revision = 3 WHERE id = 10 RETURNING revision;
UPDATE regress_attach.ticket SET status = 'closed' WHERE id = 10 RETURNING revision;
UPDATE regress_attach.ticket SET status = 'open' WHERE id = 10;
-- Any change is a new version; one that leaves the state alone publishes nothing.
UPDATE regress_attach.ticket SET title = 'changed' WHERE id = 10 RETURNING revision;
UPDATE regress_attach.ticket SET title = 'x', revision = 4 WHERE id = 10;
UPDATE regress_attach.ticket SET revision = 5 WHERE id = 10;
UPDATE regress_attach.ticket SET revision = 7 WHERE id = 10;
UPDATE regress_attach.ticket SET revision = NULL WHERE id = 10;
-- The key names the row to all who follow its events.
UPDATE regress_attach.ticket SET id = 99 WHERE id = 10;
UPDATE regress_attach.ticket SET id = 10 WHERE id = 10 RETURNING revision;
-- ON CONFLICT and MERGE are writers like others.
INSERT INTO regress_attach.ticket (id, title) VALUES (11, 'again') ON CONFLICT (id) DO UPDATE SET status = 'working', title = excluded.title RETURNING status, revision;
INSERT INTO regress_attach.ticket (id) VALUES (11) ON CONFLICT (id) DO NOTHING;
INSERT INTO regress_attach.ticket (id, status) VALUES (11, 'closed') ON CONFLICT (id) DO UPDATE SET status = excluded.status RETURNING status, revision;
MERGE INTO regress_attach.ticket t USING (VALUES (1, 'closed'), (13, 'open')) AS s (id, status) ON t.id = s.id
	WHEN MATCHED THEN UPDATE SET status = s.status WHEN NOT MATCHED THEN INSERT (id, status) VALUES (s.id, s.status);
MERGE INTO regress_attach.ticket t USING (VALUES (1, 'working'), (13, 'open')) AS s (id, status) ON t.id = s.id
	WHEN MATCHED THEN UPDATE SET status = s.status WHEN NOT MATCHED THEN INSERT (id, status) VALUES (s.id, s.status);
-- Rows that were there before: one in an unknown state cannot move, one without a state may begin.
UPDATE regress_attach.ticket SET title = 'still odd' WHERE id = 2 RETURNING status, revision;
UPDATE regress_attach.ticket SET status = 'open' WHERE id = 2;
UPDATE regress_attach.ticket SET status = 'closed' WHERE id = 3;
UPDATE regress_attach.ticket SET status = 'open' WHERE id = 3 RETURNING status, revision;
-- What is gone is gone quietly, what is undone too.
DELETE FROM regress_attach.ticket WHERE id = 3;
BEGIN;
INSERT INTO regress_attach.ticket (id) VALUES (14);
ROLLBACK;
RESET ROLE;
SELECT * FROM outbox ORDER BY n;

-- What a user's own BEFORE trigger makes of the row is held against the rules too.
CREATE FUNCTION regress_attach.meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	CASE new.title WHEN 'skip' THEN new.status := 'closed'; WHEN 'none' THEN new.status := NULL;
		WHEN 'jump' THEN new.revision := 17; WHEN 'rename' THEN new.id := 1000; ELSE END CASE;
	RETURN new;
END $$;
CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON regress_attach.ticket FOR EACH ROW EXECUTE FUNCTION regress_attach.meddle();
UPDATE regress_attach.ticket SET title = 'skip' WHERE id = 13;
UPDATE regress_attach.ticket SET title = 'none' WHERE id = 13;
UPDATE regress_attach.ticket SET title = 'jump' WHERE id = 13;
UPDATE regress_attach.ticket SET title = 'rename' WHERE id = 13;
INSERT INTO regress_attach.ticket (id, title) VALUES (15, 'skip');
INSERT INTO regress_attach.ticket (id, title) VALUES (15, 'none');
DROP TRIGGER meddle ON regress_attach.ticket;
-- What replication applies is copied as it is.
SET session_replication_role = replica;
INSERT INTO regress_attach.ticket VALUES (16, 'closed', 40, 'copied');
RESET session_replication_role;

-- Again changes nothing; a new version of the machine takes the place of the old one when it is attached.
SET ROLE regress_attach_user;
SELECT order_engine.attach_machine('regress_attach.ticket', 'status', 'ticket', 'revision');
SELECT tgname, replace(encode(tgargs, 'escape'), '\000', ' ') = :'machine_id' || ' status revision ' AS as_before FROM pg_trigger
WHERE tgrelid = 'regress_attach.ticket'::regclass ORDER BY tgname;
SELECT order_engine.define_machine('ticket', '{"transitions": [
	{"from": null, "event": "create", "to": "open"}, {"from": "open", "event": "flip", "to": "closed"}, {"from": "closed", "event": "flop", "to": "open"}]}') > :machine_id AS newer;
UPDATE regress_attach.ticket SET status = 'closed' WHERE id = 13;
SELECT order_engine.attach_machine('regress_attach.ticket', 'status', 'ticket');
UPDATE regress_attach.ticket SET status = 'closed' WHERE id = 13 RETURNING revision;
-- Detached.
DROP TRIGGER "0_order_engine_attached_before" ON regress_attach.ticket;
DROP TRIGGER "0_order_engine_attached_after" ON regress_attach.ticket;
UPDATE regress_attach.ticket SET status = 'whatever' WHERE id = 13 RETURNING status;

-- A state of an enum, a bigint version, a key of two columns, partitions.
CREATE TYPE regress_attach.light AS ENUM ('red', 'green');
CREATE DOMAIN regress_attach.counter AS bigint;
CREATE TABLE regress_attach.lamp (street text, no int, light regress_attach.light, n regress_attach.counter, PRIMARY KEY (no, street)) PARTITION BY LIST (street);
CREATE TABLE regress_attach.lamp_a PARTITION OF regress_attach.lamp FOR VALUES IN ('a "1"');
SELECT order_engine.define_machine('lamp', '{"transitions": [{"from": null, "event": "create", "to": "red"},
	{"from": "red", "event": "go", "to": "green"}, {"from": "green", "event": "stop", "to": "red"}]}') > 0 AS published;
SELECT order_engine.attach_machine('regress_attach.lamp', 'light', 'lamp', 'n');
SELECT order_engine.attach_machine('regress_attach.lamp', state_column => 'light', machine => 'lamp', version_column => 'n');
CREATE TABLE regress_attach.lamp_b PARTITION OF regress_attach.lamp FOR VALUES IN ('b');
INSERT INTO regress_attach.lamp (street, no) VALUES ('a "1"', 7), ('b', 8);
UPDATE regress_attach.lamp SET light = 'green' WHERE no = 7 RETURNING n;
UPDATE regress_attach.lamp_b SET light = 'red', n = 9;
UPDATE regress_attach.lamp SET street = 'b' WHERE no = 7;
RESET ROLE;
SELECT aggregatetype, aggregateid, type, payload FROM outbox WHERE aggregatetype = 'lamp' ORDER BY n;
-- A key whose text depends on settings: for consumers it is one key all the same.
CREATE TABLE regress_attach.slot (at timestamptz, weight float8, code bytea, lasts interval, light text,
	PRIMARY KEY (at, weight, code, lasts));
SELECT order_engine.attach_machine('regress_attach.slot', 'light', 'lamp');
INSERT INTO regress_attach.slot VALUES ('2026-02-01 10:00+00', 0.1::float4, 'ab', '1 day');
BEGIN;
SET LOCAL datestyle = 'German'; SET LOCAL timezone = 'Asia/Tokyo'; SET LOCAL extra_float_digits = 0; SET LOCAL bytea_output = 'escape'; SET LOCAL intervalstyle = 'iso_8601';
UPDATE regress_attach.slot SET light = 'green' RETURNING at, weight, code, lasts;
COMMIT;
SELECT aggregateid, type, payload -> 'key' AS key FROM outbox WHERE aggregateid LIKE '%2026-02-01%' OR aggregateid LIKE '%01.02.2026%' ORDER BY n;
-- A version that does not fit any more.
CREATE TABLE regress_attach.full (id int PRIMARY KEY, light text, n int);
INSERT INTO regress_attach.full VALUES (1, 'red', 2147483647);
SELECT order_engine.attach_machine('regress_attach.full', 'light', 'lamp', 'n');
UPDATE regress_attach.full SET light = 'green';
-- The table changed under the machine.
ALTER TABLE regress_attach.full RENAME light TO colour;
INSERT INTO regress_attach.full VALUES (2);
SELECT order_engine.attach_machine('regress_attach.full', 'colour', 'lamp', 'n');
INSERT INTO regress_attach.full VALUES (2) RETURNING colour;
ALTER TABLE regress_attach.full DROP CONSTRAINT full_pkey;
INSERT INTO regress_attach.full VALUES (3);
-- Read-only means read-only.
BEGIN READ ONLY;
SELECT order_engine.attach_machine('regress_attach.lamp', 'light', 'lamp', 'n');
ROLLBACK;

-- What cannot be attached.
CREATE TABLE regress_attach.bad (id int, key int, status text, number int, many text[], made text GENERATED ALWAYS AS ('x') STORED, count int GENERATED ALWAYS AS (1) STORED,
	flag boolean, small smallint, PRIMARY KEY (id, key));
CREATE TABLE regress_attach.no_key (id int, status text);
CREATE VIEW regress_attach.a_view AS SELECT * FROM regress_attach.bad;
CREATE TABLE regress_attach.named (status text PRIMARY KEY, n int);
SELECT order_engine.attach_machine(NULL, 'status', 'lamp');
SELECT order_engine.attach_machine('regress_attach.bad', NULL, 'lamp');
SELECT order_engine.attach_machine('regress_attach.bad', 'status', NULL);
SELECT order_engine.attach_machine('regress_attach.bad', 'status', 'nothing');
SELECT order_engine.attach_machine('regress_attach.bad', 'status', '');
SELECT order_engine.attach_machine('regress_attach.bad', 'status', repeat('x', 10000));
SELECT order_engine.attach_machine(0, 'status', 'lamp');
SELECT order_engine.attach_machine(4294967295::oid, 'status', 'lamp');
SELECT order_engine.attach_machine('regress_attach.a_view', 'status', 'lamp');
SELECT order_engine.attach_machine('regress_attach.bad_pkey', 'status', 'lamp');
SELECT order_engine.attach_machine('regress_attach.lamp_a', 'light', 'lamp');
SELECT order_engine.attach_machine('regress_attach.no_key', 'status', 'lamp');
SELECT order_engine.attach_machine('order_engine.orders', 'state', 'lamp');
SELECT order_engine.attach_machine('pg_catalog.pg_class', 'relname', 'lamp');
SELECT order_engine.attach_machine('regress_attach.bad', 'nothing', 'lamp');
SELECT order_engine.attach_machine('regress_attach.bad', 'ctid', 'lamp');
SELECT order_engine.attach_machine('regress_attach.bad', '', 'lamp');
SELECT order_engine.attach_machine('regress_attach.bad', 'number', 'lamp');
SELECT order_engine.attach_machine('regress_attach.bad', 'many', 'lamp');
SELECT order_engine.attach_machine('regress_attach.bad', 'made', 'lamp');
SELECT order_engine.attach_machine('regress_attach.named', 'status', 'lamp');
SELECT order_engine.attach_machine('regress_attach.bad', 'status', 'lamp', 'nothing');
SELECT order_engine.attach_machine('regress_attach.bad', 'status', 'lamp', 'status');
SELECT order_engine.attach_machine('regress_attach.bad', 'status', 'lamp', 'small');
SELECT order_engine.attach_machine('regress_attach.bad', 'status', 'lamp', 'count');
SELECT order_engine.attach_machine('regress_attach.bad', 'status', 'lamp', 'key');
-- Machines of orders.
SELECT order_engine.attach_machine('regress_attach.bad', 'status', 'order');
SELECT order_engine.define_machine('stock', '{"transitions": [{"from": null, "event": "create", "to": "a"}, {"from": "a", "event": "x", "to": "a"}]}') > 0 AS published;
SELECT order_engine.attach_machine('regress_attach.bad', 'status', 'stock');
SELECT order_engine.define_machine('paying', '{"transitions": [{"from": null, "event": "create", "to": "a"}, {"from": "a", "event": "x", "to": "a", "requires_payment": true}]}') > 0 AS published,
	order_engine.define_machine('waiting', '{"transitions": [{"from": null, "event": "create", "to": "a", "due": "1 s", "due_event": "x"}, {"from": "a", "event": "x", "to": "a"}]}') > 0 AS published,
	order_engine.define_machine('kept', '{"transitions": [{"from": null, "event": "create", "to": "a"}, {"from": "a", "event": "x", "to": "a", "keeper_only": true}]}') > 0 AS published;
SELECT order_engine.attach_machine('regress_attach.bad', 'status', 'paying');
SELECT order_engine.attach_machine('regress_attach.bad', 'status', 'waiting');
SELECT order_engine.attach_machine('regress_attach.bad', 'status', 'kept');
-- Only the owner of the table, and only who may attach at all.
SET ROLE regress_attach_user;
SELECT order_engine.attach_machine('regress_attach.no_key', 'status', 'lamp');
SET ROLE regress_attach_writer;
SELECT order_engine.attach_machine('regress_attach.lamp', 'light', 'lamp');
RESET ROLE;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'regress_attach.bad'::regclass;
-- Triggers made by hand are told what is wrong with them.
CREATE TRIGGER t BEFORE INSERT ON regress_attach.bad FOR EACH ROW EXECUTE FUNCTION order_engine.attached_before();
INSERT INTO regress_attach.bad VALUES (1, 1);
DROP TRIGGER t ON regress_attach.bad;
CREATE TRIGGER t BEFORE INSERT ON regress_attach.bad FOR EACH STATEMENT EXECUTE FUNCTION order_engine.attached_after(1, status);
INSERT INTO regress_attach.bad VALUES (1, 1);
DROP TRIGGER t ON regress_attach.bad;
CREATE TRIGGER t BEFORE INSERT ON regress_attach.bad FOR EACH ROW EXECUTE FUNCTION order_engine.attached_before(x, status);
INSERT INTO regress_attach.bad VALUES (1, 1);
DROP TRIGGER t ON regress_attach.bad;
CREATE TRIGGER t BEFORE INSERT ON regress_attach.bad FOR EACH ROW EXECUTE FUNCTION order_engine.attached_before(4711, status);
INSERT INTO regress_attach.bad VALUES (1, 1);

DROP SCHEMA regress_attach CASCADE;
DROP OWNED BY regress_attach_shop CASCADE;
DROP OWNED BY regress_attach_user, regress_attach_writer;
DROP ROLE regress_attach_shop, regress_attach_user, regress_attach_writer;
