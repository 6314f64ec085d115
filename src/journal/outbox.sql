
/* ---- outbox: events on their way out ---- */

CREATE FUNCTION order_engine.emit(aggregatetype text, aggregateid text, type text, payload json,
	headers jsonb DEFAULT '{}', topic text DEFAULT NULL, partition int DEFAULT NULL) RETURNS bigint
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_emit';
COMMENT ON FUNCTION order_engine.emit(text, text, text, json, jsonb, text, int) IS
'Publishes an event of the caller''s own when the transaction commits, and returns its id. aggregatetype: decides the topic, unless topic names one; letters, digits, dots, underscores and hyphens, but not order and stock, which are the engine''s own. aggregateid: the key; events of one key keep their order if they are emitted under a lock of the caller''s. payload: sent as it is, null sends a tombstone. headers: a flat object of strings, numbers and nulls; order_engine.traceparent is added if it is not among them. Errors: 22004 and 22023 for bad arguments, 53400 if the message is larger than order_engine.max_message_bytes.';
REVOKE ALL ON FUNCTION order_engine.emit(text, text, text, json, jsonb, text, int) FROM PUBLIC;

CREATE FUNCTION order_engine.outbox_ring() RETURNS int
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_outbox_ring';
COMMENT ON FUNCTION order_engine.outbox_ring() IS
'internal: default of the column ring of the outbox: the leaf that takes new rows';
REVOKE ALL ON FUNCTION order_engine.outbox_ring() FROM PUBLIC;

CREATE FUNCTION order_engine.outbox_before_insert() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_outbox_before_insert';
COMMENT ON FUNCTION order_engine.outbox_before_insert() IS
'internal: trigger function that checks a row written by hand and sets id, created_at, xid and era';
REVOKE ALL ON FUNCTION order_engine.outbox_before_insert() FROM PUBLIC;
