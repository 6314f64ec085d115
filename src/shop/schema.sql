\echo Use "CREATE EXTENSION order_engine" to load this file. \quit

/* The schema is a member of the extension, so that nobody can prepare one of
 * this name with traps in it before the extension is installed. */
CREATE SCHEMA order_engine;
COMMENT ON SCHEMA order_engine IS 'orders, stock and their events: the rules live below every writer';
