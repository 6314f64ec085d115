
/* ---- setup: the tables, owned by whoever calls it ---- */

CREATE FUNCTION order_engine.setup(partitions int DEFAULT 16) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $setup$
DECLARE
	found int;
	owner regrole;
BEGIN
	IF partitions IS NULL OR partitions NOT BETWEEN 1 AND 1024 OR partitions & (partitions - 1) <> 0 THEN
		RAISE EXCEPTION 'number of partitions must be a power of two between 1 and 1024'
			USING ERRCODE = '22023', DETAIL = format('{"partitions": %s}', coalesce(partitions::text, 'null')),
				HINT = 'Powers of two are 1, 2, 4, 8, 16 (the default) and so on; take the same number as ever in a shop that exists.';
	END IF;
	PERFORM pg_advisory_xact_lock(hashtextextended('order_engine.setup', 0));

	/* whoever else may look into the table may not trust it: its owner made what it does */
	SELECT c.relowner INTO owner FROM pg_class c WHERE c.oid = to_regclass('order_engine.shop');
	IF pg_get_userbyid(owner) <> current_user THEN
		RAISE EXCEPTION 'the tables belong to role %', owner
			USING ERRCODE = '42501', HINT = format('Run SET ROLE %s first.', owner);
	END IF;
	IF owner IS NOT NULL THEN
		SELECT s.partitions INTO found FROM order_engine.shop s;
		IF found <> setup.partitions THEN
			RAISE EXCEPTION 'the tables exist with % partitions', found
				USING ERRCODE = '55000', DETAIL = format('{"partitions": %s, "requested": %s}', found, partitions),
					HINT = format('The number of partitions is fixed by the first setup(): call order_engine.setup(%s).', found);
		END IF;
		PERFORM order_engine.migrate();
		PERFORM order_engine.comment_tables();
		PERFORM order_engine.notice_service();
		RETURN;
	END IF;
	IF (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
		RAISE WARNING 'the tables will belong to superuser "%"', current_user
			USING HINT = 'What acts for them, triggers that users add among it, runs as a superuser. Give a role order_engine.grant_access(role, ''owner'') and let it run order_engine.setup().';
	END IF;
	PERFORM order_engine.create_tables(partitions);
	PERFORM order_engine.comment_tables();
	PERFORM order_engine.notice_service();
END
$setup$;
COMMENT ON FUNCTION order_engine.setup(int) IS
'Creates the shop''s tables in schema order_engine, owned by the caller; run again after ALTER EXTENSION UPDATE, migrates them. Says in a NOTICE why no worker serves this database, if none does, and which line the configuration needs. partitions: leaves of each order table, a power of two from 1 to 1024, fixed for ever; more than 256 need a larger max_locks_per_transaction (53200 without it). Errors: 22023 for another number, 42501 if the tables belong to another role, 55000 if they exist with another number of partitions.';
REVOKE ALL ON FUNCTION order_engine.setup(int) FROM PUBLIC;

/* Version 1 is the first: there is nothing to migrate from. */
CREATE FUNCTION order_engine.migrate() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $migrate$
DECLARE
	version int := (SELECT s.schema_version FROM order_engine.shop s);
BEGIN
	IF version > 1 THEN
		RAISE EXCEPTION 'the tables are of schema version %, newer than this extension knows', version
			USING ERRCODE = '55000', HINT = 'Install the newer order_engine and run ALTER EXTENSION order_engine UPDATE.';
	END IF;
END
$migrate$;
COMMENT ON FUNCTION order_engine.migrate() IS 'internal: brings the tables to the schema version of this extension; called by setup()';
REVOKE ALL ON FUNCTION order_engine.migrate() FROM PUBLIC;

CREATE FUNCTION order_engine.create_tables(partitions int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $create$
DECLARE
	relation text;
BEGIN
	CREATE TABLE order_engine.shop (
		schema_version int NOT NULL,
		partitions int NOT NULL,
		shop_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
		relay_paused boolean NOT NULL DEFAULT false,
		created_at timestamptz NOT NULL DEFAULT now()
	);
	CREATE UNIQUE INDEX shop_single_row ON order_engine.shop ((true));
	INSERT INTO order_engine.shop (schema_version, partitions) VALUES (1, create_tables.partitions);

	CREATE SEQUENCE order_engine.order_id_lease;

	CREATE TABLE order_engine.machine (
		machine_id int PRIMARY KEY,
		name text COLLATE "C" NOT NULL,
		definition jsonb NOT NULL,
		published_at timestamptz NOT NULL DEFAULT now(),
		UNIQUE (name, machine_id)
	);

	CREATE TABLE order_engine.orders (
		order_id bigint NOT NULL PRIMARY KEY,
		user_id bigint NOT NULL,
		state text COLLATE "C" NOT NULL,
		machine_id int NOT NULL,
		version int NOT NULL,
		subtotal numeric NOT NULL DEFAULT 0,
		amount numeric NOT NULL DEFAULT 0 CHECK (amount >= 0),
		captured numeric NOT NULL DEFAULT 0,
		refunded numeric NOT NULL DEFAULT 0,
		currency text COLLATE "C",
		idempotency_key text COLLATE "C",
		request_hash bytea,
		adjustments jsonb NOT NULL DEFAULT '[]',
		attributes jsonb NOT NULL DEFAULT '{}',
		private jsonb NOT NULL DEFAULT '{}',
		created_at timestamptz NOT NULL,
		updated_at timestamptz NOT NULL,
		due_at timestamptz,
		CONSTRAINT orders_refunded_check CHECK (0 <= refunded AND refunded <= captured)
	) PARTITION BY HASH (order_id order_engine.order_slot_ops);

	CREATE TABLE order_engine.order_line (
		order_id bigint NOT NULL,
		line_no int NOT NULL,
		sku text COLLATE "C" NOT NULL,
		stock_key text COLLATE "C",
		quantity int NOT NULL CHECK (quantity > 0),
		unit_price numeric NOT NULL CHECK (unit_price >= 0),
		attributes jsonb NOT NULL DEFAULT '{}',
		PRIMARY KEY (order_id, line_no)
	) PARTITION BY HASH (order_id order_engine.order_slot_ops);

	CREATE TABLE order_engine.order_event (
		order_id bigint NOT NULL,
		version int NOT NULL,
		event text COLLATE "C" NOT NULL,
		from_state text COLLATE "C",
		to_state text COLLATE "C" NOT NULL,
		actor text NOT NULL,
		reason text,
		idempotency_key text COLLATE "C",
		attributes jsonb NOT NULL DEFAULT '{}',
		traceparent text COLLATE "C",
		at timestamptz NOT NULL,
		PRIMARY KEY (order_id, version)
	) PARTITION BY HASH (order_id order_engine.order_slot_ops);

	CREATE TABLE order_engine.payment (
		order_id bigint NOT NULL,
		kind text COLLATE "C" NOT NULL,
		payment_ref text COLLATE "C" NOT NULL,
		amount numeric NOT NULL,
		currency text COLLATE "C",
		outcome text COLLATE "C" NOT NULL,
		version int NOT NULL,
		attributes jsonb NOT NULL DEFAULT '{}',
		at timestamptz NOT NULL,
		PRIMARY KEY (order_id, kind, payment_ref)
	) PARTITION BY HASH (order_id order_engine.order_slot_ops);

	CREATE TABLE order_engine.reservation (
		id bigint NOT NULL PRIMARY KEY,
		reservation_id text COLLATE "C" NOT NULL,
		user_id bigint,
		state text COLLATE "C" NOT NULL,
		lines jsonb,
		confirmed jsonb,
		order_id bigint,
		actor text NOT NULL,
		created_at timestamptz NOT NULL,
		expires_at timestamptz,
		resolved_at timestamptz
	) PARTITION BY HASH (id order_engine.order_slot_ops);

	FOREACH relation IN ARRAY ARRAY['orders', 'order_line', 'order_event', 'payment', 'reservation'] LOOP
		FOR leaf IN 0 .. partitions - 1 LOOP
			EXECUTE format('CREATE TABLE order_engine.%I PARTITION OF order_engine.%I FOR VALUES WITH (MODULUS %s, REMAINDER %s) %s',
				relation || '_' || leaf, relation, partitions, leaf,
				CASE WHEN relation = 'orders' THEN 'WITH (fillfactor = 70)' END);
		END LOOP;
	END LOOP;
	FOR leaf IN 0 .. partitions - 1 LOOP
		EXECUTE format('CREATE UNIQUE INDEX %I ON order_engine.%I (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL',
			'orders_' || leaf || '_idempotency_key', 'orders_' || leaf);
		EXECUTE format('CREATE UNIQUE INDEX %I ON order_engine.%I (user_id, order_id)',
			'orders_' || leaf || '_user_id', 'orders_' || leaf);
		EXECUTE format('CREATE INDEX %I ON order_engine.%I (due_at) WHERE due_at IS NOT NULL',
			'orders_' || leaf || '_due_at', 'orders_' || leaf);
		EXECUTE format('CREATE UNIQUE INDEX %I ON order_engine.%I (reservation_id, user_id) NULLS NOT DISTINCT',
			'reservation_' || leaf || '_reservation_id', 'reservation_' || leaf);
		EXECUTE format('CREATE INDEX %I ON order_engine.%I (expires_at) WHERE resolved_at IS NULL',
			'reservation_' || leaf || '_expires_at', 'reservation_' || leaf);
		EXECUTE format('CREATE INDEX %I ON order_engine.%I (resolved_at) WHERE resolved_at IS NOT NULL',
			'reservation_' || leaf || '_resolved_at', 'reservation_' || leaf);
	END LOOP;

	CREATE TABLE order_engine.stock (
		sku text COLLATE "C" PRIMARY KEY,
		on_hand bigint NOT NULL DEFAULT 0,
		reserved bigint NOT NULL DEFAULT 0,
		version bigint NOT NULL DEFAULT 1,
		mode text COLLATE "C" NOT NULL DEFAULT 'row' CHECK (mode IN ('row', 'escrow')),
		auto_mode boolean NOT NULL DEFAULT false,
		open boolean NOT NULL DEFAULT true,
		epoch bigint NOT NULL DEFAULT 0,
		CONSTRAINT stock_reserved_check CHECK (0 <= reserved AND reserved <= on_hand)
	) WITH (fillfactor = 50);

	CREATE TABLE order_engine.stock_movement (
		sku text COLLATE "C" NOT NULL,
		quantity bigint NOT NULL,
		reason text COLLATE "C" NOT NULL,
		ref text COLLATE "C",
		actor text NOT NULL,
		at timestamptz NOT NULL DEFAULT clock_timestamp(),
		UNIQUE (sku, reason, ref)
	);

	PERFORM order_engine.create_journals();

	/* ---- the triggers of the engine: last, when everything else is in place ---- */
	PERFORM order_engine.create_direct_write_triggers();
	CREATE TRIGGER "0_order_engine_before_insert" BEFORE INSERT ON order_engine.orders
		FOR EACH ROW EXECUTE FUNCTION order_engine.orders_before_insert();
	-- after the users' own: the due time belongs to the state that is finally written
	CREATE TRIGGER "~order_engine_before_update" BEFORE UPDATE ON order_engine.orders
		FOR EACH ROW EXECUTE FUNCTION order_engine.orders_before_update();
	CREATE TRIGGER "0_order_engine_after_change" AFTER INSERT OR UPDATE ON order_engine.orders
		FOR EACH ROW EXECUTE FUNCTION order_engine.orders_after_change();
	CREATE TRIGGER "0_order_engine_before" BEFORE INSERT OR UPDATE ON order_engine.stock
		FOR EACH ROW EXECUTE FUNCTION order_engine.stock_before();
	CREATE TRIGGER "0_order_engine_after" AFTER INSERT OR UPDATE OR DELETE ON order_engine.stock
		FOR EACH ROW EXECUTE FUNCTION order_engine.stock_after();
	CREATE TRIGGER "0_order_engine_before_truncate" BEFORE TRUNCATE ON order_engine.stock
		FOR EACH STATEMENT EXECUTE FUNCTION order_engine.stock_before();
	-- what replication applies to a SKU in mode escrow changes its counter
	ALTER TABLE order_engine.stock ENABLE ALWAYS TRIGGER "0_order_engine_before";
	ALTER TABLE order_engine.stock ENABLE ALWAYS TRIGGER "0_order_engine_after";
	ALTER TABLE order_engine.stock ENABLE ALWAYS TRIGGER "0_order_engine_before_truncate";
	PERFORM order_engine.create_machines();
	PERFORM order_engine.create_stock_now();
	PERFORM order_engine.create_stat_stock();
	PERFORM order_engine.create_keeper();
	PERFORM order_engine.create_relay();
END
$create$;
COMMENT ON FUNCTION order_engine.create_tables(int) IS 'internal: creates the tables of schema version 1; called by setup()';
REVOKE ALL ON FUNCTION order_engine.create_tables(int) FROM PUBLIC;
