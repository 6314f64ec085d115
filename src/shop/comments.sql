
/* ---- comments: what the tables and views of setup() say about themselves ---- */

/*
 * As data, since setup() adds what is missing to a shop that exists.  col is null for
 * the relation itself.  A version that changes a text replaces the old one in migrate(),
 * where it still stands.
 */
CREATE FUNCTION order_engine.table_comments() RETURNS TABLE (relation text, col text, comment text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $comments$
VALUES
	('shop', NULL, 'What is true of the whole shop, in one row.'),
	('shop', 'schema_version', 'The version of the tables, which setup() migrates; at least 1.'),
	('shop', 'partitions', 'Leaves of each order table, a power of two from 1 to 1024; fixed by the first setup().'),
	('shop', 'shop_id', 'Identifies this shop, also in a dump or a copy of it.'),
	('shop', 'relay_paused', 'True from pause_relay() to resume_relay().'),
	('shop', 'created_at', 'When setup() made the tables.'),

	('order_id_lease', NULL, 'All ids of orders and events that were ever handed out lie below this mark; internal.'),

	('machine', NULL, 'Published state machines, which never change; by define_machine() only.'),
	('machine', 'machine_id', 'Identifies one version of a machine; orders.machine_id refers to it.'),
	('machine', 'name', 'The name of the machine; of several versions the highest machine_id is that of new orders.'),
	('machine', 'definition', 'The definition as define_machine() got it.'),
	('machine', 'published_at', 'When it was published.'),

	('orders', NULL, 'Orders, one row each, partitioned by the slot of order_id; written by the calls, or by hand within the same rules.'),
	('orders', 'order_id', 'Identifies the order; from next_order_id(user_id), so the user''s slot is in it.'),
	('orders', 'user_id', 'Whose order it is; the caller''s own number, or user_id_of() of the caller''s text.'),
	('orders', 'state', 'The state in the order''s machine.'),
	('orders', 'machine_id', 'The machine that it follows, for as long as it lives.'),
	('orders', 'version', 'Raised by one with each change, from 1; the number of its events.'),
	('orders', 'subtotal', 'The sum of quantity * unit_price of its lines, in its currency.'),
	('orders', 'amount', 'What is to be paid, subtotal and adjustments; in its currency.'),
	('orders', 'captured', 'The sum of its captured payments, in its currency.'),
	('orders', 'refunded', 'The sum of its refunds, in its currency; at most captured.'),
	('orders', 'currency', 'The currency of all its amounts; null if none was given.'),
	('orders', 'idempotency_key', 'The key of the call that created it, unique for its user; null if there was none.'),
	('orders', 'request_hash', 'Tells whether a call with the same key is the same request; empty without a key, null for an order that raw SQL inserted.'),
	('orders', 'adjustments', 'Discounts, shipping, taxes, fees, rounding: a JSON array of {"kind", "amount", "line_no", "label", "stock_key", "quantity"}, the last two for what takes stock.'),
	('orders', 'attributes', 'The caller''s own JSON object; published with each event.'),
	('orders', 'private', 'The caller''s own JSON object, which leaves this column for no event, history, document, error or log.'),
	('orders', 'created_at', 'When it was created.'),
	('orders', 'updated_at', 'When it was changed last.'),
	('orders', 'due_at', 'When the keeper fires the due event of its state; null for never.'),

	('order_line', NULL, 'Lines of orders, as they were given to create_order(); never changed.'),
	('order_line', 'order_id', 'The order that it belongs to.'),
	('order_line', 'line_no', 'Its place among the order''s lines, from 1.'),
	('order_line', 'sku', 'What is sold.'),
	('order_line', 'stock_key', 'The row of stock that it takes from; null for what is not stocked.'),
	('order_line', 'quantity', 'Units, at least 1.'),
	('order_line', 'unit_price', 'The price of one unit in the order''s currency, as it was given; not negative.'),
	('order_line', 'attributes', 'The caller''s own JSON object; published with each event of the order.'),

	('order_event', NULL, 'The history of orders, one row for each version; appended by the engine, never changed.'),
	('order_event', 'order_id', 'The order that it happened to.'),
	('order_event', 'version', 'The version of the order that it made.'),
	('order_event', 'event', 'The event of the machine; or what leaves the state alone: update, payment, payment_mismatch, refund_payment.'),
	('order_event', 'from_state', 'The state before it; null for the creation.'),
	('order_event', 'to_state', 'The state after it; the same as before where the event leaves it alone.'),
	('order_event', 'actor', 'Who did it: the context''s, else order_engine.actor, else the session user.'),
	('order_event', 'reason', 'Why, in the words of the caller''s context; null if he gave none.'),
	('order_event', 'idempotency_key', 'The key of the call; null if there was none.'),
	('order_event', 'attributes', 'What the caller said of this event, a JSON object.'),
	('order_event', 'traceparent', 'The W3C trace in which it happened; null if none was given.'),
	('order_event', 'at', 'When it happened.'),

	('payment', NULL, 'Money in and back, one row for each payment or refund; appended by pay_order() and refund_order(), never changed.'),
	('payment', 'order_id', 'The order that it belongs to.'),
	('payment', 'kind', 'capture, or refund.'),
	('payment', 'payment_ref', 'The payment provider''s or the caller''s reference, unique for order and kind.'),
	('payment', 'amount', 'What was captured or given back, in its currency; not negative.'),
	('payment', 'currency', 'The currency of the amount; null if none was given.'),
	('payment', 'outcome', 'What pay_order() answered: paid, overpaid, partly_paid, refund_due or mismatch; of a refund refunded.'),
	('payment', 'version', 'The version of the order that it made.'),
	('payment', 'attributes', 'What the caller said of it, a JSON object.'),
	('payment', 'at', 'When it was recorded.'),

	('reservation', NULL, 'Stock held for a while, one row each, partitioned by the slot of id; by try_reserve() and its like only.'),
	('reservation', 'id', 'Identifies it in the shop; the slot of user_id is in it, or of reservation_id where that is null.'),
	('reservation', 'reservation_id', 'The caller''s name of it, unique for user_id.'),
	('reservation', 'user_id', 'Whose it is; null if none was named.'),
	('reservation', 'state', 'held, confirmed, cancelled, expired, or ordered (an order has taken it over).'),
	('reservation', 'lines', 'The units that were reserved, a JSON object of stock keys; reserved still while the state is held; null if it was cancelled before.'),
	('reservation', 'confirmed', 'The units of them that were confirmed, a JSON object of stock keys; null unless the state is confirmed.'),
	('reservation', 'order_id', 'The order that took it over; null for none.'),
	('reservation', 'actor', 'Who changed it last: the context''s, else order_engine.actor, else the session user; keeper where it expired.'),
	('reservation', 'created_at', 'When it was made.'),
	('reservation', 'expires_at', 'When the keeper releases it, if it is held then; null if it was cancelled before.'),
	('reservation', 'resolved_at', 'When it was confirmed, cancelled, expired or ordered; null while it is held.'),

	('stock', NULL, 'Stock, one row for each stock key; in mode escrow as of the last fold. stock_now has what is so now.'),
	('stock', 'sku', 'The stock key; lines name it, or their SKU is it.'),
	('stock', 'on_hand', 'Units that are there, those reserved among them.'),
	('stock', 'reserved', 'Units that orders and reservations hold, from 0 to on_hand; written by the engine only.'),
	('stock', 'version', 'Raised by one with each change, in mode escrow with each fold; what expected_version of deduct_stock() means.'),
	('stock', 'mode', 'How it is kept: row, or escrow for a hot one.'),
	('stock', 'auto_mode', 'Whether the keeper chooses the mode, by how the SKU sells.'),
	('stock', 'open', 'Whether it is for sale; by set_stock_open().'),
	('stock', 'epoch', 'Rows of stock_journal that say so belong to this row; 0 in mode row; internal.'),

	('stock_movement', NULL, 'The audit of the stock: every change of on_hand, one row each; appended by the engine, never changed.'),
	('stock_movement', 'sku', 'The stock key.'),
	('stock_movement', 'quantity', 'Units that were added; negative for those taken away, 0 where only the sale was opened or closed.'),
	('stock_movement', 'reason', 'Why: the caller''s word, or confirm, restock, deduct, direct, opened, closed, reservation, reconcile.'),
	('stock_movement', 'ref', 'The caller''s reference, the order''s id and version, or the reservation''s id; unique for stock key and reason, null if there is none.'),
	('stock_movement', 'actor', 'Who did it: the context''s, else order_engine.actor, else the session user.'),
	('stock_movement', 'at', 'When it was recorded.'),

	('outbox', NULL, 'Events on their way out, appended with what they tell of, emptied when all are delivered; the columns are those of Debezium''s outbox event router.'),
	('outbox', 'id', 'Identifies the event; rises for each key.'),
	('outbox', 'aggregatetype', 'What the event is about: order, or a word of the caller''s; decides the topic where topic is null.'),
	('outbox', 'aggregateid', 'The key of the message: for an order its id in decimals.'),
	('outbox', 'type', 'The type of the event, such as order.paid.'),
	('outbox', 'payload', 'The value of the message, sent as it is; null sends a tombstone, unless payload_bytes is there.'),
	('outbox', 'headers', 'More headers of the message, a flat JSON object; null for none.'),
	('outbox', 'created_at', 'When the event was written.'),
	('outbox', 'topic', 'The topic; null for order_engine.topic_prefix followed by aggregatetype.'),
	('outbox', 'partition', 'The partition of the topic, from 0; null for the one that the key decides.'),
	('outbox', 'payload_bytes', 'The value of the message where it is no JSON; null where payload is it.'),
	('outbox', 'xid', 'The transaction that wrote it; internal.'),
	('outbox', 'era', 'The cluster that wrote it; internal.'),
	('outbox', 'ring', 'The leaf that it lies in; internal.'),

	('stock_journal', NULL, 'Changes of stock in mode escrow on their way into the table stock; appended by the engine, emptied when they are there; internal.'),
	('stock_journal', 'id', 'Identifies the change.'),
	('stock_journal', 'sku', 'The stock key.'),
	('stock_journal', 'on_hand', 'Units that on_hand goes up by, or down where it is negative.'),
	('stock_journal', 'reserved', 'Units that reserved goes up by, or down where it is negative.'),
	('stock_journal', 'epoch', 'The epoch of the row of stock that it changes; of another epoch it counts for nothing.'),
	('stock_journal', 'created_at', 'When it was written.'),
	('stock_journal', 'xid', 'The transaction that wrote it.'),
	('stock_journal', 'era', 'The cluster that wrote it.'),
	('stock_journal', 'ring', 'The leaf that it lies in.'),

	('journal_position', NULL, 'How far each journal has been read; the newest entry of this cluster counts; internal.'),
	('journal_position', 'journal', 'Whose position it is: outbox or stock_journal.'),
	('journal_position', 'entry', 'Numbers the positions of a journal and an era.'),
	('journal_position', 'generation', 'Raised when another cluster goes on with the journal, after a restore or a failover.'),
	('journal_position', 'identity', 'Identifies the cluster.'),
	('journal_position', 'era', 'The cluster in whose transaction ids the snapshots are.'),
	('journal_position', 'timeline', 'The timeline of the server.'),
	('journal_position', 'batch', 'The newest batch, from 1; 0 before the first.'),
	('journal_position', 'tick_id', 'Identifies the tick that began the batch.'),
	('journal_position', 'tick_at', 'When that was.'),
	('journal_position', 'other_eras', 'True if the batch is of rows that a restore brought.'),
	('journal_position', 'consumed', 'Rows that this snapshot sees were consumed before the batch; null for none.'),
	('journal_position', 'adopted', 'The same for rows that a restore brought, by who brought them; null for none.'),
	('journal_position', 'snapshot', 'Rows that this snapshot sees, and consumed does not, are the batch; null before the first.'),
	('journal_position', 'last_id', 'The last event of the batch that is delivered with all before it.'),
	('journal_position', 'current_ring', 'The leaf of the journal that was written to.'),
	('journal_position', 'at', 'When the position was stored.'),
	('journal_position', 'ring', 'The leaf that this row lies in.'),

	('machine_transition', 'machine_id', 'The machine, one version of it.'),
	('machine_transition', 'name', 'Its name.'),
	('machine_transition', 'transition_no', 'The place in the definition, from 1.'),
	('machine_transition', 'from_state', 'The state that it leaves; null for the creation.'),
	('machine_transition', 'event', 'The event that makes it.'),
	('machine_transition', 'to_state', 'The state that it leads to.'),
	('machine_transition', 'stock', 'What it does to the stock of the order: reserve, confirm, release, restock or none.'),
	('machine_transition', 'publish', 'The type of the event that is published; null for none.'),
	('machine_transition', 'due', 'How long after it the due event fires; null for never.'),
	('machine_transition', 'due_event', 'What the keeper fires then; null without due.'),
	('machine_transition', 'guard', 'The function that has to allow it; null for none.'),
	('machine_transition', 'requires_payment', 'Whether captured - refunded must cover the amount.'),
	('machine_transition', 'keeper_only', 'Whether only the keeper may make it.'),
	('machine_transition', 'to_final', 'Whether the state that it leads to is final.'),
	('machine_transition', 'to_void', 'Whether an order in that state is void: nothing is owed for it.'),

	('stock_now', 'sku', 'The stock key.'),
	('stock_now', 'mode', 'row or escrow.'),
	('stock_now', 'on_hand', 'Units that are there, those reserved among them.'),
	('stock_now', 'reserved', 'Units that orders hold.'),
	('stock_now', 'available', 'Units that can be reserved now, as available() says.'),

	('relay_status', 'state', 'stopped, disabled, running, paused, unreachable or blocked.'),
	('relay_status', 'reason', 'Why it is stopped, disabled or paused; null otherwise.'),
	('relay_status', 'publisher', 'What it publishes to: none, log or kafka; where none runs, the setting.'),
	('relay_status', 'pid', 'Its process; null where none runs.'),
	('relay_status', 'generation', 'Counts the clusters that went on with this outbox; null until the relay has opened it.'),
	('relay_status', 'batch', 'The batch of last_event_id; null if there is none yet.'),
	('relay_status', 'last_event_id', 'The last event that is acknowledged with all before it; null for none.'),
	('relay_status', 'published', 'Events acknowledged since the relay''s start.'),
	('relay_status', 'refused', 'Refusals of events since then, each try counted.'),
	('relay_status', 'lag_events', 'Events committed and not acknowledged, estimated above 100000; null where the publisher is none.'),
	('relay_status', 'lag_bytes', 'Their size in bytes; null where the publisher is none.'),
	('relay_status', 'lag_seconds', 'The age of the oldest of them in seconds, 0 if there is none; null where the publisher is none.'),
	('relay_status', 'since', 'The relay''s start; null if there was none since the server''s.'),
	('relay_status', 'last_published_at', 'When an event was acknowledged last; null for not since the relay''s start.'),
	('relay_status', 'last_error', 'What went wrong last; null for nothing since the server''s start.'),
	('relay_status', 'last_error_at', 'When that was; null for never.'),

	('stat_stock', 'sku', 'The stock key.'),
	('stat_stock', 'mode', 'How it is kept: row or escrow.'),
	('stat_stock', 'free', 'Units that can be taken now; null in mode row, and while the mode is being switched.'),
	('stat_stock', 'in_flight', 'Units that transactions hold which have not ended.'),
	('stat_stock', 'taken', 'Units that transactions took, less what each of them gave back itself.'),
	('stat_stock', 'refused', 'How often there were too few.'),
	('stat_stock', 'waits', 'How often somebody waited: for a switch, for what others held, in mode row for the row.'),
	('stat_stock', 'folds', 'How often its changes went into the row.'),
	('stat_stock', 'last_fold', 'When they last did; null if not yet.'),

	('keeper_status', 'state', 'running or stopped.'),
	('keeper_status', 'reason', 'Why it is stopped; null if it runs.'),
	('keeper_status', 'pid', 'Its process; null where none runs.'),
	('keeper_status', 'due', 'Orders and reservations that are due now, those resting among them; counted up to 10000.'),
	('keeper_status', 'late', 'Orders and reservations that are due for more than a minute; counted up to 10000.'),
	('keeper_status', 'oldest_due_at', 'Since when the oldest of them is due; null if none is.'),
	('keeper_status', 'resting', 'Orders and reservations that are passed over for a while since they failed, at the last pass; null if there was none.'),
	('keeper_status', 'since', 'The keeper''s start; null if there was none since the server''s.'),
	('keeper_status', 'last_pass_at', 'When the keeper, or tend(), had looked at all that was due; null for not since the server''s start, or not known without shared_preload_libraries.'),
	('keeper_status', 'last_error', 'What failed last, up to 255 bytes; null for nothing since the server''s start, and for who may not read all orders.'),
	('keeper_status', 'last_error_code', 'Its SQLSTATE; null for nothing.'),
	('keeper_status', 'last_error_order_id', 'The order that it failed for; null where it was not for one order.'),
	('keeper_status', 'last_error_at', 'When that was; null for never.')
$comments$;
COMMENT ON FUNCTION order_engine.table_comments() IS
'internal: the comments of what setup() makes, one row for each relation (col null) and column';
REVOKE ALL ON FUNCTION order_engine.table_comments() FROM PUBLIC;

/* What has a comment already keeps it: it may be the owner's own. */
CREATE FUNCTION order_engine.comment_tables() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $comment$
DECLARE
	item record;
BEGIN
	FOR item IN
		SELECT CASE WHEN t.col IS NOT NULL THEN 'COLUMN' WHEN c.relkind = 'v' THEN 'VIEW' WHEN c.relkind = 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
			format('order_engine.%I', t.relation) || coalesce('.' || quote_ident(t.col), '') AS name, t.comment
		FROM order_engine.table_comments() t
			JOIN pg_class c ON c.relnamespace = 'order_engine'::regnamespace AND c.relname = t.relation
			LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = t.col AND NOT a.attisdropped
		WHERE (t.col IS NULL AND obj_description(c.oid, 'pg_class') IS NULL)
			OR (a.attnum IS NOT NULL AND col_description(c.oid, a.attnum) IS NULL)
	LOOP
		EXECUTE format('COMMENT ON %s %s IS %L', item.kind, item.name, item.comment);
	END LOOP;
END
$comment$;
COMMENT ON FUNCTION order_engine.comment_tables() IS
'internal: gives the tables, views and columns of setup() the comments that they do not have yet; called by setup()';
REVOKE ALL ON FUNCTION order_engine.comment_tables() FROM PUBLIC;
