
/* ---- journal: ticks and batches; for tests and for the curious ---- */

CREATE FUNCTION order_engine.journal_tick(journal text) RETURNS bigint
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_journal_tick';
COMMENT ON FUNCTION order_engine.journal_tick(text) IS
'internal: stores the next tick of a journal, with a synchronous commit, and returns its batch number; null if there is nothing to read, the last batch is not acknowledged whole, or the last tick of this session was a moment ago and journal_position, which a snapshot in use keeps from being emptied, is large. Errors: 22023 for an unknown journal.';
REVOKE ALL ON FUNCTION order_engine.journal_tick(text) FROM PUBLIC;

CREATE FUNCTION order_engine.journal_batch(journal text, batch bigint, after_id bigint DEFAULT 0) RETURNS SETOF bigint
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_journal_batch';
COMMENT ON FUNCTION order_engine.journal_batch(text, bigint, bigint) IS
'internal: the ids above after_id of a batch of a journal, ascending. Errors: 55000 for a batch that is not known (any more).';
REVOKE ALL ON FUNCTION order_engine.journal_batch(text, bigint, bigint) FROM PUBLIC;

CREATE FUNCTION order_engine.journal_acknowledge(journal text, batch bigint, last_id bigint DEFAULT NULL) RETURNS void
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_journal_acknowledge';
COMMENT ON FUNCTION order_engine.journal_acknowledge(text, bigint, bigint) IS
'internal: stores that the rows of a batch up to last_id are consumed; null: all of them. Errors: 55000 if it is not the newest batch, or the journal is stock_journal.';
REVOKE ALL ON FUNCTION order_engine.journal_acknowledge(text, bigint, bigint) FROM PUBLIC;

CREATE FUNCTION order_engine.journal_rotate(journal text) RETURNS int
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_journal_rotate';
COMMENT ON FUNCTION order_engine.journal_rotate(text) IS
'internal: empties the leaves whose rows are consumed and returns how many, moves on from a full leaf, adds one if none is empty. Waits for nobody; what is busy is left to the next call.';
REVOKE ALL ON FUNCTION order_engine.journal_rotate(text) FROM PUBLIC;

CREATE FUNCTION order_engine.journal_expire(journal text, retention_ms bigint) RETURNS void
LANGUAGE C AS 'MODULE_PATHNAME', 'order_engine_journal_expire';
COMMENT ON FUNCTION order_engine.journal_expire(text, bigint) IS
'internal: counts the rows of a journal without a consumer that are older than retention_ms milliseconds as consumed; they stay at most twice as long, until the next rotation. Does nothing while another has the journal''s lock. Errors: 22023 for a negative time, 55000 for stock_journal.';
REVOKE ALL ON FUNCTION order_engine.journal_expire(text, bigint) FROM PUBLIC;

/*
 * Leaves are emptied whole: to vacuum one because rows were inserted is of no use.
 * Of journal_position each journal has two of its own, from twice its number on.
 * Row triggers on a partitioned table reach its leaves, those attached later
 * too; TRUNCATE triggers do not, so each leaf gets its own (journal_rotation.c does
 * it for the leaves that it adds).
 */
CREATE FUNCTION order_engine.create_journals() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $journals$
DECLARE
	relation regclass;
BEGIN
	CREATE TABLE order_engine.journal_position (
		journal text COLLATE "C" NOT NULL,
		entry bigint NOT NULL,
		generation bigint NOT NULL,
		identity uuid NOT NULL,
		era bigint NOT NULL,
		timeline int NOT NULL,
		batch bigint NOT NULL,
		tick_id uuid NOT NULL,
		tick_at timestamptz NOT NULL,
		other_eras boolean NOT NULL,
		consumed pg_snapshot,
		adopted pg_snapshot,
		snapshot pg_snapshot,
		last_id bigint NOT NULL,
		current_ring int NOT NULL,
		at timestamptz NOT NULL,
		ring int NOT NULL
	) PARTITION BY LIST (ring);
	CREATE INDEX journal_position_entry ON order_engine.journal_position (journal, era, entry);
	FOR leaf IN 0 .. 3 LOOP
		EXECUTE format('CREATE TABLE order_engine.journal_position_%s PARTITION OF order_engine.journal_position FOR VALUES IN (%s) WITH (autovacuum_vacuum_insert_threshold = -1)', leaf, leaf);
	END LOOP;

	CREATE TABLE order_engine.outbox (
		id bigint NOT NULL,
		aggregatetype text COLLATE "C" NOT NULL,
		aggregateid text COLLATE "C" NOT NULL,
		type text COLLATE "C" NOT NULL,
		payload json,
		headers jsonb,
		created_at timestamptz NOT NULL,
		topic text COLLATE "C",
		partition int,
		payload_bytes bytea,
		xid xid8 NOT NULL,
		era bigint NOT NULL,
		ring int NOT NULL DEFAULT order_engine.outbox_ring()
	) PARTITION BY LIST (ring);
	CREATE INDEX outbox_xid ON order_engine.outbox (era, xid, id);
	FOR leaf IN 0 .. 2 LOOP
		EXECUTE format('CREATE TABLE order_engine.outbox_%s PARTITION OF order_engine.outbox FOR VALUES IN (%s) WITH (autovacuum_vacuum_insert_threshold = -1)', leaf, leaf);
	END LOOP;

	CREATE TABLE order_engine.stock_journal (
		id bigint NOT NULL,
		sku text COLLATE "C" NOT NULL,
		on_hand bigint NOT NULL,
		reserved bigint NOT NULL,
		epoch bigint NOT NULL,
		created_at timestamptz NOT NULL,
		xid xid8 NOT NULL,
		era bigint NOT NULL,
		ring int NOT NULL
	) PARTITION BY LIST (ring);
	CREATE INDEX stock_journal_xid ON order_engine.stock_journal (era, xid, id) INCLUDE (sku);
	FOR leaf IN 0 .. 2 LOOP
		EXECUTE format('CREATE TABLE order_engine.stock_journal_%s PARTITION OF order_engine.stock_journal FOR VALUES IN (%s) WITH (autovacuum_vacuum_insert_threshold = -1)', leaf, leaf);
	END LOOP;

	-- fires after the users' own: what it checks and sets is what is written
	CREATE TRIGGER "~order_engine_before" BEFORE INSERT ON order_engine.outbox
		FOR EACH ROW EXECUTE FUNCTION order_engine.outbox_before_insert();
	CREATE TRIGGER "0_order_engine_direct_write" BEFORE UPDATE OR DELETE ON order_engine.outbox
		FOR EACH ROW EXECUTE FUNCTION order_engine.refuse_direct_write();
	FOREACH relation IN ARRAY ARRAY['order_engine.stock_journal', 'order_engine.journal_position']::regclass[] LOOP
		EXECUTE format('CREATE TRIGGER "0_order_engine_direct_write" BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION order_engine.refuse_direct_write()', relation);
	END LOOP;
	FOR relation IN
		SELECT leaf.relid FROM unnest(ARRAY['order_engine.outbox', 'order_engine.stock_journal', 'order_engine.journal_position']::regclass[]) AS parent,
			pg_partition_tree(parent) AS leaf
	LOOP
		EXECUTE format('CREATE TRIGGER "0_order_engine_truncate" BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION order_engine.refuse_direct_write()', relation);
	END LOOP;
END
$journals$;
COMMENT ON FUNCTION order_engine.create_journals() IS 'internal: creates the journals and the table of positions; called by setup()';
REVOKE ALL ON FUNCTION order_engine.create_journals() FROM PUBLIC;
