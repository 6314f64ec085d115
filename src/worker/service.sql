
/* ---- service: whether workers serve this database ---- */

CREATE FUNCTION order_engine.notice_service() RETURNS void
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_notice_service';
COMMENT ON FUNCTION order_engine.notice_service() IS
'internal: says in a NOTICE why no worker serves this database and which line the configuration needs, nothing if workers do; called by setup()';
REVOKE ALL ON FUNCTION order_engine.notice_service() FROM PUBLIC;
