-- What the relay says and hears in SQL.  No worker runs here; test/t/relay_*.pl has one.
-- needs to be preloaded
-- needs no publisher
\pset null '(null)'
CREATE EXTENSION order_engine;

-- Before setup() there is no view; the function answers all the same.
SELECT state, reason, publisher, pid, published FROM order_engine.relay_state();
\set VERBOSITY sqlstate
SELECT * FROM order_engine.relay_lag();
SELECT order_engine.pause_relay();
SELECT order_engine.resume_relay();
\set VERBOSITY default

SET client_min_messages = error;
SELECT order_engine.setup(4);
RESET client_min_messages;
SELECT * FROM order_engine.relay_status;

-- With nobody to publish to there is no lag.  The function counts what the outbox keeps.
SELECT count(order_engine.emit('parcel', 'P-' || n, 'parcel.sent', '{}')) FROM generate_series(1, 10) n;
SELECT lag_events, lag_bytes BETWEEN 10 * 60 AND 10 * 300 AS lag_bytes, lag_seconds BETWEEN 0 AND 60 AS lag_seconds
FROM order_engine.relay_lag();
BEGIN;
SELECT order_engine.emit('parcel', 'P-11', 'parcel.sent', '{}') IS NOT NULL AS emitted;
SELECT lag_events FROM order_engine.relay_lag();
ROLLBACK;
SELECT lag_events FROM order_engine.relay_lag();

-- What is acknowledged does not count, what comes later does.
SELECT order_engine.journal_tick('outbox') AS batch \gset
SELECT lag_events FROM order_engine.relay_lag();
SELECT id AS fourth FROM order_engine.journal_batch('outbox', :batch) AS id ORDER BY id OFFSET 3 LIMIT 1 \gset
SELECT order_engine.journal_acknowledge('outbox', :batch, :fourth);
SELECT lag_events FROM order_engine.relay_lag();
SELECT order_engine.emit('parcel', 'P-12', 'parcel.sent', '{}') IS NOT NULL AS emitted;
SELECT lag_events FROM order_engine.relay_lag();
SELECT order_engine.journal_acknowledge('outbox', :batch);
SELECT lag_events FROM order_engine.relay_lag();
SELECT order_engine.journal_acknowledge('outbox', order_engine.journal_tick('outbox'));
SELECT lag_events, lag_bytes, lag_seconds FROM order_engine.relay_lag();

SELECT state, lag_events, lag_bytes, lag_seconds FROM order_engine.relay_status;

-- The brake is durable, and tells whether it moved.
SELECT order_engine.pause_relay();
SELECT order_engine.pause_relay();
SELECT relay_paused FROM order_engine.shop;
BEGIN;
SELECT order_engine.resume_relay();
ROLLBACK;
SELECT relay_paused FROM order_engine.shop;
SELECT order_engine.resume_relay();
SELECT order_engine.resume_relay();
\set VERBOSITY sqlstate
BEGIN READ ONLY;
SELECT order_engine.pause_relay();
ROLLBACK;
\set VERBOSITY default

-- Nobody takes it off by hand.
UPDATE order_engine.shop SET relay_paused = true;

-- Settings of the relay are the server's, and those that may hold secrets a superuser's.
SET order_engine.publisher = 'kafka';
SELECT name, boot_val, unit, context FROM pg_settings
WHERE name IN ('order_engine.databases', 'order_engine.publisher', 'order_engine.topic_prefix', 'order_engine.kafka_config',
	'order_engine.kafka_config_file', 'order_engine.worker_idle_timeout')
ORDER BY name COLLATE "C";
CREATE ROLE regress_relay_nobody;
SET ROLE regress_relay_nobody;
\set VERBOSITY sqlstate
SHOW order_engine.kafka_config;
SHOW order_engine.kafka_config_file;
RESET ROLE;
DROP ROLE regress_relay_nobody;
