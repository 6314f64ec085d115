
/* ---- direct_write: refuses direct writes to what only the engine may write ---- */

CREATE FUNCTION order_engine.refuse_direct_write() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_refuse_direct_write';
COMMENT ON FUNCTION order_engine.refuse_direct_write() IS
'internal: trigger function that refuses a write with OE014 (direct_write)';
REVOKE ALL ON FUNCTION order_engine.refuse_direct_write() FROM PUBLIC;

/*
 * Puts the triggers on the tables.  Row triggers on a partitioned table reach
 * its leaves, those attached later too; TRUNCATE triggers do not, so each leaf
 * gets its own.  The names sort before any letter.
 */
CREATE FUNCTION order_engine.create_direct_write_triggers() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $triggers$
DECLARE
	relation regclass;
BEGIN
	FOREACH relation IN ARRAY ARRAY['order_engine.order_line', 'order_engine.order_event', 'order_engine.payment',
			'order_engine.stock_movement', 'order_engine.machine', 'order_engine.shop']::regclass[] LOOP
		EXECUTE format('CREATE TRIGGER "0_order_engine_direct_write" BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION order_engine.refuse_direct_write()', relation);
	END LOOP;
	CREATE TRIGGER "0_order_engine_direct_write" BEFORE INSERT OR UPDATE ON order_engine.reservation
		FOR EACH ROW EXECUTE FUNCTION order_engine.refuse_direct_write();
	CREATE TRIGGER "0_order_engine_before_delete" BEFORE DELETE ON order_engine.reservation
		FOR EACH ROW EXECUTE FUNCTION order_engine.reservation_before_delete();
	CREATE TRIGGER "0_order_engine_direct_write" BEFORE DELETE ON order_engine.orders
		FOR EACH ROW EXECUTE FUNCTION order_engine.refuse_direct_write();

	FOR relation IN
		SELECT leaf.relid FROM unnest(ARRAY['order_engine.orders', 'order_engine.order_line', 'order_engine.order_event', 'order_engine.payment', 'order_engine.reservation']::regclass[]) AS parent,
			pg_partition_tree(parent) AS leaf
		UNION ALL
		SELECT unnest(ARRAY['order_engine.stock', 'order_engine.stock_movement', 'order_engine.machine', 'order_engine.shop']::regclass[])
	LOOP
		EXECUTE format('CREATE TRIGGER "0_order_engine_truncate" BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION order_engine.refuse_direct_write()', relation);
	END LOOP;
END
$triggers$;
COMMENT ON FUNCTION order_engine.create_direct_write_triggers() IS 'internal: creates the triggers that refuse direct writes; called by setup()';
REVOKE ALL ON FUNCTION order_engine.create_direct_write_triggers() FROM PUBLIC;
