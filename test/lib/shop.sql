\set ECHO none
-- The shop of a test of regress: its names without their schema, and attempt().
CREATE EXTENSION order_engine;
SET client_min_messages = error;
SELECT order_engine.setup(4) \g /dev/null
RESET client_min_messages;
SET search_path = order_engine, public;
\ir attempt.sql
