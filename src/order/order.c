/*
 * order.c
 *		Orders change here: locked, moved, recorded.
 *
 * The row lock of the order comes first, the locks of stock rows after it, in
 * the order of their keys; nothing locks an order while it holds stock.  All
 * that decides about a change is read under the order's lock.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "base/amount.h"
#include "base/call.h"
#include "base/detail.h"
#include "base/errors.h"
#include "machine/machine_catalog.h"
#include "machine/machine_guard.h"
#include "order/adjustment.h"
#include "order/event.h"
#include "order/order.h"
#include "shop/slot.h"

PG_FUNCTION_INFO_V1(order_engine_fire);

bool
order_find_lines(RowScope *scope, const OrderRow *row, OrderLines *lines)
{
	line_read(scope, row->order_id, lines);
	adjustment_add_stock(row->adjustments, lines);
	return !row->has_lines || lines->nlines > 0;
}

void
order_lines(RowScope *scope, const OrderRow *row, OrderLines *lines)
{
	if (!order_find_lines(scope, row, lines))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the lines of order " INT64_FORMAT " are missing", row->order_id),
				 detail_set("order_id", detail_id(row->order_id), NULL),
				 errhint("Restore them in table \"order_line\": they say what the order holds of "
						 "the stock.")));
}

/*
 * A version that another transaction wrote is recorded, or was copied without a record on
 * purpose.
 */
void
order_check_recorded(RowScope *scope, TupleTableSlot *old, const OrderRow *row)
{
	bool		  isnull;
	TransactionId xmin =
		DatumGetTransactionId(slot_getsysattr(old, MinTransactionIdAttributeNumber, &isnull));

	if (!TransactionIdIsCurrentTransactionId(xmin) ||
		event_exists(scope, row->order_id, row->version))
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
		 errmsg("version %d of order " INT64_FORMAT " is not recorded yet", row->version,
				row->order_id),
		 detail_set("order_id", detail_id(row->order_id), "version", detail_number(row->version),
					NULL),
		 errhint(
			 "The statement that writes it records it at its end: make each change of an order "
			 "by a statement of its own, not in the RETURNING, a trigger or a guard of another; "
			 "and what was written without triggers, in another transaction.")));
}

pg_noreturn static void
raise_not_found(int64 order_id)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_OE_ORDER_NOT_FOUND),
		 errmsg("order " INT64_FORMAT " does not exist", order_id),
		 detail_set("order_id", detail_id(order_id), NULL),
		 errhint("Check the id; its last digits get lost where numbers are floating point, as in "
				 "JavaScript.")));
}

void
order_raise_version(int expected, int actual, const char *state)
{
	ereport(ERROR,
			(errcode(ERRCODE_OE_VERSION_CONFLICT),
			 errmsg("the order has changed: version %d was expected, it is %d", expected, actual),
			 detail_set("expected", detail_number(expected), "actual", detail_number(actual),
						"state", detail_text(state), NULL),
			 errhint("Read the order again and decide anew.")));
}

void
order_raise_key_mismatch(const char *key, TimestampTz first_seen)
{
	ereport(ERROR,
			(errcode(ERRCODE_OE_IDEMPOTENCY_KEY_MISMATCH),
			 errmsg("this idempotency key was used for another request"),
			 detail_set("key", detail_text(key), "first_seen", detail_time(first_seen), NULL),
			 errhint("Use a new key for a new request; repeat a request unchanged.")));
}

/* What counts is how long it is in an event: a number may be far longer there than it is stored. */
void
order_check_attributes(Jsonb *attributes)
{
	int length;

	call_check_object(attributes, "attributes");
	if (attributes == NULL || JB_ROOT_COUNT(attributes) == 0)
		return;
	length = strlen(JsonbToCString(NULL, &attributes->root, VARSIZE(attributes)));
	if (length > ORDER_MAX_EVENT_ATTRIBUTES)
		ereport(
			ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("\"attributes\" of an event has more than %d bytes",
					ORDER_MAX_EVENT_ATTRIBUTES),
			 detail_set("bytes", detail_number(length), "limit",
						detail_number(ORDER_MAX_EVENT_ATTRIBUTES), NULL),
			 errhint(
				 "They are counted as JSON text.  Keep what belongs to the order in the order's attributes.")));
}

/* With the events allowed from the order's state in DETAIL. */
pg_noreturn static void
raise_illegal(const Machine *machine, const char *state, const char *key, const char *value)
{
	List *allowed = machine_allowed(machine, machine_state(machine, state));

	ereport(
		ERROR,
		(errcode(ERRCODE_OE_ILLEGAL_TRANSITION),
		 strcmp(key, "event") == 0
			 ? errmsg("event \"%s\" is not allowed in state \"%s\"", value, state)
			 : errmsg("an order cannot go from state \"%s\" to \"%s\"", state, value),
		 detail_set("from", detail_text(state), key, detail_text(value), "allowed",
					detail_texts(allowed), NULL),
		 errhint(
			 "The events that are allowed now are in DETAIL; see also order_engine.allowed_events().")));
}

const Transition *
order_infer_move(const Machine *machine, const char *from, const char *to)
{
	const Transition *transition =
		machine_move_between(machine, machine_state(machine, from), machine_state(machine, to));

	if (transition == NULL || transition->keeper_only)
		raise_illegal(machine, from, "to", to);
	return transition;
}

/* Columns that only the engine writes, once an order exists. */
static const int engine_columns[] = {ORDER_ORDER_ID,	 ORDER_USER_ID,		ORDER_MACHINE_ID,
									 ORDER_SUBTOTAL,	 ORDER_AMOUNT,		ORDER_CAPTURED,
									 ORDER_REFUNDED,	 ORDER_CURRENCY,	ORDER_IDEMPOTENCY_KEY,
									 ORDER_REQUEST_HASH, ORDER_ADJUSTMENTS, ORDER_CREATED_AT};

/* Clients whose times have milliseconds cut off the rest, or round. */
static bool
same_time(TimestampTz a, TimestampTz b)
{
	int64 distance;

	return !pg_sub_s64_overflow(a, b, &distance) && distance > -1000 && distance < 1000;
}

bool
order_same_value(TupleTableSlot *a, TupleTableSlot *b, AttrNumber attno)
{
	bool  a_null;
	bool  b_null;
	Datum a_value = slot_getattr(a, attno, &a_null);
	Datum b_value = slot_getattr(b, attno, &b_null);

	if (a_null || b_null)
		return a_null == b_null;
	switch (TupleDescAttr(a->tts_tupleDescriptor, attno - 1)->atttypid)
	{
		case NUMERICOID:
			return amount_compare(DatumGetNumeric(a_value), DatumGetNumeric(b_value)) == 0;
		case JSONBOID:
			return compareJsonbContainers(&DatumGetJsonbP(a_value)->root,
										  &DatumGetJsonbP(b_value)->root) == 0;
		case TIMESTAMPTZOID:
			return same_time(DatumGetTimestampTz(a_value), DatumGetTimestampTz(b_value));
		default:
			return row_same_column(a, b, attno);
	}
}

void
order_check_unchanged(TupleDesc desc, const AttrNumber *attno, TupleTableSlot *meant,
					  TupleTableSlot *written)
{
	List *columns = NIL;

	for (int i = 0; i < lengthof(engine_columns); i++)
	{
		AttrNumber n = attno[engine_columns[i]];

		if (!order_same_value(meant, written, n))
			columns = lappend(columns, NameStr(TupleDescAttr(desc, n - 1)->attname));
	}
	if (columns)
		order_raise_direct_write(columns);
}

void
order_raise_direct_write(const List *columns)
{
	ereport(ERROR,
			(errcode(ERRCODE_OE_DIRECT_WRITE),
			 errmsg("these columns of table \"orders\" are written by the order engine only"),
			 detail_set("relation", detail_text("orders"), "columns", detail_texts(columns), NULL),
			 errhint("Leave these columns alone; payments and refunds are recorded by "
					 "order_engine.pay_order() and order_engine.refund_order().")));
}

void
order_lock_tables(void)
{
	static const ShopTable tables[] = {SHOP_ORDERS,	 SHOP_ORDER_LINE, SHOP_ORDER_EVENT,
									   SHOP_PAYMENT, SHOP_STOCK,	  SHOP_STOCK_MOVEMENT,
									   SHOP_OUTBOX};

	row_lock_tables(tables, lengthof(tables), RowExclusiveLock);
}

static bool
lock_order(LockedOrder *order, int64 order_id, const char *call, LockWaitPolicy wait)
{
	ScanKeyData key;

	memset(order, 0, sizeof(*order));
	owner_begin(&order->owner);
	row_scope_begin(&order->scope, call);
	order_lock_tables();
	order->table =
		row_open_leaf(&order->scope, SHOP_ORDERS, slot_of_order(order_id), &order_columns);
	order->old = row_slot(order->table);

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(order_id));
	if (!row_find_locked(order->table,
						 row_unique_index(order->table, 1, (const int[]){ORDER_ORDER_ID}), 1, &key,
						 wait, order->old))
		return false;

	order_row_read(order->table->attno, order->old, &order->row);
	order_check_recorded(&order->scope, order->old, &order->row);
	order->machine = machine_get(order->row.machine_id);
	order->state = machine_state(order->machine, order->row.state);
	order->at = GetCurrentTimestamp();
	return true;
}

void
order_begin(LockedOrder *order, int64 order_id, const char *call)
{
	if (!lock_order(order, order_id, call, LockWaitBlock))
		raise_not_found(order_id);
}

bool
order_begin_if_free(LockedOrder *order, int64 order_id, const char *call)
{
	return lock_order(order, order_id, call, LockWaitSkip);
}

void
order_end(LockedOrder *order)
{
	row_scope_end(&order->scope);
	owner_end(&order->owner);
}

bool
order_covers(const OrderRow *row, Numeric captured, Numeric refunded)
{
	return amount_compare(amount_subtract(captured, refunded), row->amount) >= 0;
}

/*
 * Guards take a row of orders, and what we hold is one of a leaf: the same
 * columns, perhaps in another order.
 */
static Datum
as_row_of_orders(RowTable *table, TupleTableSlot *slot)
{
	Relation			parent = table_open(shop_table(SHOP_ORDERS), AccessShareLock);
	TupleDesc			desc = RelationGetDescr(parent);
	TupleConversionMap *map = convert_tuples_by_name(RelationGetDescr(table->rel), desc);
	HeapTuple			tuple = ExecCopySlotHeapTuple(slot);
	Datum				row;

	if (map)
		tuple = execute_attr_map_tuple(tuple, map);
	row = heap_copy_tuple_as_datum(tuple, desc);
	table_close(parent, NoLock);
	return row;
}

bool
order_guard_allows(RowTable *table, TupleTableSlot *old, const Machine *machine,
				   const Transition *transition, Jsonb *attributes)
{
	return transition->guard == NULL ||
		   machine_guard_allows(transition, machine->events[transition->event],
								as_row_of_orders(table, old),
								attributes ? attributes : call_empty_object());
}

pg_noreturn static void
raise_guard(const Transition *transition)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_OE_GUARD_REJECTED), errmsg("the guard of this transition refuses it"),
		 detail_set("guard", detail_text(transition->guard), NULL),
		 errhint(
			 "The guard is a function of the shop's own; it says when the transition is allowed.")));
}

pg_noreturn static void
raise_payment_required(const OrderRow *row)
{
	ereport(ERROR,
			(errcode(ERRCODE_OE_PAYMENT_REQUIRED),
			 errmsg("order " INT64_FORMAT " is not paid", row->order_id),
			 detail_set("captured", amount_text(row->captured), "refunded",
						amount_text(row->refunded), "amount", amount_text(row->amount), NULL),
			 errhint("Record the payment with order_engine.pay_order().")));
}

void
order_check_move(RowTable *table, TupleTableSlot *old, const Machine *machine, const OrderRow *row,
				 const Transition *transition, Jsonb *attributes)
{
	if (transition->requires_payment && !order_covers(row, row->captured, row->refunded))
		raise_payment_required(row);
	if (!order_guard_allows(table, old, machine, transition, attributes))
		raise_guard(transition);
}

void
order_apply_stock(RowScope *scope, const OrderRow *row, OrderChange *change)
{
	char ref[64];

	if (change->transition == NULL || change->transition->stock == STOCK_NONE ||
		change->lines->nkeys == 0)
		return;
	snprintf(ref, sizeof(ref), INT64_FORMAT "/%d", row->order_id, row->version);
	stock_apply(scope, change->transition->stock, change->lines->keys, change->lines->nkeys, ref,
				change->context.actor);
}

void
order_changed(RowScope *scope, const OrderRow *row, OrderChange *change)
{
	OrderLines		  lines;
	const OrderLines *given = change->lines;

	if (given == NULL && change->transition && change->transition->stock != STOCK_NONE)
	{
		order_lines(scope, row, &lines);
		change->lines = &lines;
	}
	if (!change->keep_stock)
		order_apply_stock(scope, row, change);
	event_append(scope, row, change);
	change->lines = given;
}

/*
 * When the new state's due event fires: what the transition says, counted from now.
 * A due time stays where a move stays in the state, unless it is the due event
 * itself, which would fire for ever.
 */
static void
set_due_at(LockedOrder *order, const Transition *transition)
{
	const Machine *machine = order->machine;

	if (transition->due)
		row_set(order->table, order->next, ORDER_DUE_AT,
				order_row_due_at(order->at, transition->due));
	else if (transition->to != transition->from ||
			 transition->event == machine->due_event[transition->from])
		row_set_null(order->table, order->next, ORDER_DUE_AT);
}

static void
fill_next_version(LockedOrder *order, const OrderUpdate *update)
{
	RowTable *table = order->table;

	row_copy(table, order->next, order->old);
	row_set(table, order->next, ORDER_VERSION, Int32GetDatum(order->row.version + 1));
	row_set(table, order->next, ORDER_UPDATED_AT, TimestampTzGetDatum(order->at));
	if (update->captured)
		row_set(table, order->next, ORDER_CAPTURED, NumericGetDatum(update->captured));
	if (update->refunded)
		row_set(table, order->next, ORDER_REFUNDED, NumericGetDatum(update->refunded));
	if (update->transition)
	{
		row_set(table, order->next, ORDER_STATE,
				CStringGetTextDatum(order->machine->states[update->transition->to]));
		set_due_at(order, update->transition);
	}
}

/* A row on its way through users' BEFORE triggers. */
typedef struct Meant
{
	LockedOrder	   *order;
	TupleTableSlot *slot; /* as the engine means it */
	OrderChange	   *change;
} Meant;

/* The due time of a move that a trigger chose, unless it chose that, too. */
static void
settle_due_at(RowTable *table, TupleTableSlot *slot, const Meant *meant)
{
	const Interval *due = meant->change->transition->due;

	if (!row_same_column(meant->slot, slot, table->attno[ORDER_DUE_AT]))
		return;
	row_replace(table, slot, ORDER_DUE_AT,
				due ? order_row_due_at(meant->order->at, due) : (Datum) 0, due == NULL);
}

/*
 * A user's BEFORE trigger has had its hand in the row: hold what it gives back
 * against what was meant.  A state of its own choice must be a legal move too.
 */
static void
settle(RowTable *table, TupleTableSlot *slot, void *argument)
{
	Meant		  *meant = argument;
	LockedOrder	  *order = meant->order;
	OrderChange	  *change = meant->change;
	const Machine *machine = order->machine;
	OrderRow	   row;

	order_check_unchanged(RelationGetDescr(table->rel), table->attno, meant->slot, slot);
	order_row_read(table->attno, slot, &row);
	if (row.version != order->row.version + 1)
		order_raise_version(order->row.version + 1, row.version, row.state);
	if (strcmp(row.state,
			   machine->states[change->transition ? change->transition->to : order->state]) == 0)
		return;
	change->transition = order_infer_move(machine, order->row.state, row.state);
	change->event = machine->events[change->transition->event];
	order_check_move(table, order->old, machine, &row, change->transition, change->attributes);
	settle_due_at(table, slot, meant);
}

void
order_write(LockedOrder *order, const OrderUpdate *update, OrderChange *change)
{
	static const int columns[] = {ORDER_STATE,	  ORDER_VERSION,	ORDER_CAPTURED,
								  ORDER_REFUNDED, ORDER_UPDATED_AT, ORDER_DUE_AT};
	RowTable		*table = order->table;
	Meant			 meant = {.order = order, .change = change};

	change->machine = order->machine;
	change->from_state = order->row.state;
	change->transition = update->transition;
	change->at = order->at;

	order->next = row_slot(table);
	fill_next_version(order, update);
	meant.slot = row_meant(table, order->next);
	table->settle = settle;
	table->settle_argument = &meant;
	row_update(table, order->old, order->next, lengthof(columns), columns);
	table->settle = NULL;
	order_row_read(table->attno, order->next, &order->row);
	order_changed(&order->scope, &order->row, change);
}

/* ---- fire() ---- */

/* The retry of a call that already did its work: its answer again. */
static bool
find_replay(LockedOrder *order, const char *event, const char *key, Datum *values)
{
	char	   *first_event;
	char	   *to_state;
	int			version;
	TimestampTz at;

	if (key == NULL || !event_find_key(&order->scope, order->row.order_id, key, &first_event,
									   &to_state, &version, &at))
		return false;
	if (strcmp(first_event, event) != 0)
		order_raise_key_mismatch(key, at);
	values[1] = CStringGetTextDatum(to_state);
	values[2] = Int32GetDatum(version);
	return true;
}

static const Transition *
legal_move(LockedOrder *order, const char *event, Jsonb *attributes)
{
	int				  index = machine_event(order->machine, event);
	const Transition *transition =
		index >= 0 && order->state >= 0 ? machine_move(order->machine, order->state, index) : NULL;

	if (transition == NULL || transition->keeper_only)
		raise_illegal(order->machine, order->row.state, "event", event);
	order_check_move(order->table, order->old, order->machine, &order->row, transition, attributes);
	return transition;
}

/* The arguments from `first` on are the same for fire() and its verbs. */
static Datum
fire(FunctionCallInfo fcinfo, char *event, int first)
{
	static TupleDesc shape; /* of call_row(); all of them return the same row */
	LockedOrder		 order;
	OrderUpdate		 update = {0};
	OrderChange		 change = {0};
	Datum			 values[4];
	bool			 nulls[4] = {false};
	bool			 replayed;

	call_require(fcinfo, 0, "order_id");
	change.event = event;
	change.idempotency_key = call_text(fcinfo, first + 1);
	if (change.idempotency_key)
		call_check_name(change.idempotency_key, "idempotency_key");
	change.attributes = call_jsonb(fcinfo, first + 2);
	order_check_attributes(change.attributes);
	context_parse(call_jsonb(fcinfo, first + 3), &change.context);

	order_begin(&order, PG_GETARG_INT64(0), "fire()");
	replayed = find_replay(&order, event, change.idempotency_key, values);
	if (!replayed)
	{
		if (!PG_ARGISNULL(first) && PG_GETARG_INT32(first) != order.row.version)
			order_raise_version(PG_GETARG_INT32(first), order.row.version, order.row.state);
		update.transition = legal_move(&order, event, change.attributes);
		order_write(&order, &update, &change);
		values[1] = CStringGetTextDatum(order.row.state);
		values[2] = Int32GetDatum(order.row.version);
	}
	order_end(&order);

	values[0] = PG_GETARG_DATUM(0);
	values[3] = BoolGetDatum(replayed);
	return call_row(fcinfo, &shape, values, nulls);
}

Datum
order_engine_fire(PG_FUNCTION_ARGS)
{
	char *event;

	call_require(fcinfo, 1, "event");
	event = call_text(fcinfo, 1);
	call_check_name(event, "event");
	return fire(fcinfo, event, 2);
}

#define VERB(function, event)                       \
	PG_FUNCTION_INFO_V1(order_engine_##function);   \
	Datum order_engine_##function(PG_FUNCTION_ARGS) \
	{                                               \
		return fire(fcinfo, event, 1);              \
	}

VERB(ship_order, "ship")
VERB(complete_order, "complete")
VERB(cancel_order, "cancel")
VERB(request_refund, "request_refund")
VERB(confirm_refund, "confirm_refund")
VERB(reject_refund, "reject_refund")
