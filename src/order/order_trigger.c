/*
 * order_trigger.c
 *		The rules for whoever writes `orders` by SQL: the same as for the calls.
 *
 * BEFORE triggers check early and fill in; a user's BEFORE trigger may come
 * after ours, so the AFTER trigger checks what was finally written, and only
 * then records the change.  All fire in origin mode only: what replication or
 * a restore applies is copied as it is.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/amount.h"
#include "base/call.h"
#include "base/currency.h"
#include "base/detail.h"
#include "base/errors.h"
#include "machine/machine_catalog.h"
#include "order/adjustment.h"
#include "order/order.h"
#include "shop/order_id.h"
#include "shop/slot.h"

PG_FUNCTION_INFO_V1(order_engine_orders_before_insert);
PG_FUNCTION_INFO_V1(order_engine_orders_before_update);
PG_FUNCTION_INFO_V1(order_engine_orders_after_change);

/* What is read of the row is what the leaves have: no other table will do. */
static TriggerData *
orders_trigger(FunctionCallInfo fcinfo, int timing, int events)
{
	TriggerData *trigger = call_row_trigger(fcinfo, timing, events);

	if (!shop_is_leaf(SHOP_ORDERS, RelationGetRelid(trigger->tg_relation)))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("this function can only be called as a trigger of table orders")));
	return trigger;
}

/* New values for some columns of the row that a BEFORE trigger returns. */
typedef struct RowPatch
{
	int	  n;
	int	  columns[ORDER_COLUMNS];
	Datum values[ORDER_COLUMNS];
	bool  nulls[ORDER_COLUMNS];
} RowPatch;

static void
patch_set(RowPatch *patch, AttrNumber attno, Datum value, bool isnull)
{
	patch->columns[patch->n] = attno;
	patch->values[patch->n] = value;
	patch->nulls[patch->n++] = isnull;
}

static Datum
patched(RowPatch *patch, Relation rel, HeapTuple tuple)
{
	if (patch->n > 0)
		tuple = heap_modify_tuple_by_cols(tuple, RelationGetDescr(rel), patch->n, patch->columns,
										  patch->values, patch->nulls);
	return PointerGetDatum(tuple);
}

/* ---- INSERT ---- */

static void
check_slot(int64 order_id, int64 user_id)
{
	if (order_id > 0 && slot_of_order(order_id) == slot_of_user(user_id))
		return;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("order id " INT64_FORMAT " does not belong to user " INT64_FORMAT,
						   order_id, user_id),
					detail_set("slot_of_order", detail_number(slot_of_order(order_id)),
							   "slot_of_user", detail_number(slot_of_user(user_id)), NULL),
					errhint("Take the id from order_engine.next_order_id(user_id).")));
}

static void
check_leaf(Relation rel, int64 order_id)
{
	if (shop_leaf(SHOP_ORDERS, slot_of_order(order_id)) == RelationGetRelid(rel))
		return;
	ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
					errmsg("order id " INT64_FORMAT " does not belong in partition \"%s\"",
						   order_id, RelationGetRelationName(rel)),
					errhint("Insert into order_engine.orders."), errtable(rel)));
}

static void
check_object(TupleTableSlot *slot, AttrNumber attno, const char *name)
{
	bool  isnull;
	Datum value = slot_getattr(slot, attno, &isnull);

	call_check_object(isnull ? NULL : DatumGetJsonbP(value), name);
}

/* What was given, 0 for null. */
static Numeric
check_amount(TupleTableSlot *slot, AttrNumber attno, const char *name)
{
	bool  isnull;
	Datum value = slot_getattr(slot, attno, &isnull);

	if (isnull)
		return amount_zero();
	amount_check(DatumGetNumeric(value), name);
	return DatumGetNumeric(value);
}

/* What a constraint would refuse with all of the row, private data included, in its DETAIL. */
static void
check_amounts(TupleTableSlot *slot, const AttrNumber *attno)
{
	Numeric captured = check_amount(slot, attno[ORDER_CAPTURED], "captured");
	Numeric refunded = check_amount(slot, attno[ORDER_REFUNDED], "refunded");

	if (amount_compare(refunded, captured) > 0)
		order_raise_direct_write(list_make2("captured", "refunded"));
	(void) check_amount(slot, attno[ORDER_SUBTOTAL], "subtotal");
	(void) check_amount(slot, attno[ORDER_AMOUNT], "amount");
}

/* What of a row its writer may choose; the amounts of an order that exists are the engine's. */
static void
check_given(TupleTableSlot *slot, const AttrNumber *attno)
{
	check_object(slot, attno[ORDER_ATTRIBUTES], "attributes");
	check_object(slot, attno[ORDER_PRIVATE], "private");
}

/* NULL for null. */
static char *
get_text(TupleTableSlot *slot, AttrNumber attno)
{
	bool  isnull;
	Datum value = slot_getattr(slot, attno, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* The same limits as create_order() has. */
static void
check_name(TupleTableSlot *slot, AttrNumber attno, const char *name)
{
	char *value = get_text(slot, attno);

	if (value)
		call_check_name(value, name);
}

static void
check_id(int64 order_id, int64 user_id)
{
	check_slot(order_id, user_id);
	order_id_check(order_id);
}

static void
check_new(TupleTableSlot *slot, const AttrNumber *attno)
{
	check_amounts(slot, attno);
	check_name(slot, attno[ORDER_IDEMPOTENCY_KEY], "idempotency_key");
}

/* The machine that was given, or the one that orders have. */
static const Machine *
machine_of_new(TupleTableSlot *slot, AttrNumber attno)
{
	bool		   isnull;
	Datum		   machine_id = slot_getattr(slot, attno, &isnull);
	const Machine *machine;
	OwnerScope	   owner;

	owner_begin(&owner);
	machine =
		isnull ? machine_latest(ORDER_DEFAULT_MACHINE) : machine_get(DatumGetInt32(machine_id));
	owner_end(&owner);
	return machine;
}

/* As create_order() stores it. */
static void
fill_in_currency(RowPatch *patch, AttrNumber attno, TupleTableSlot *slot)
{
	const char *given = currency_parse(get_text(slot, attno));
	const char *currency = given ? given : currency_default();

	if (currency)
		patch_set(patch, attno, CStringGetTextDatum(currency), false);
}

/* Into how many partitions setup() has divided `orders`, wherever they are now. */
static int
partition_count(Oid leaf)
{
	ListCell *lc;

	foreach(lc, shop_partitions(shop_table(SHOP_ORDERS)))
	{
		ShopPartition *partition = lfirst(lc);

		if (partition->relid == leaf)
			return partition->bound->modulus;
	}
	return 0; /* cannot be: orders_trigger() has seen that it is one */
}

/*
 * An id for a row that came without.  Where there are several partitions this one
 * was chosen by the id that is missing, so that only some users' would fit here.
 */
static int64
draw_id(Relation leaf, int64 user_id, bool isnull)
{
	int partitions = partition_count(RelationGetRelid(leaf));

	if (partitions != 1)
		ereport(
			ERROR,
			(errcode(isnull ? ERRCODE_NULL_VALUE_NOT_ALLOWED : ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a new order must be given its order_id"),
			 detail_set("user_id", detail_id(user_id), "partitions", detail_number(partitions),
						NULL),
			 errhint(
				 "Take it from order_engine.next_order_id(user_id). An id is drawn for null or 0 only where setup() has made one partition.")));
	return order_id_next(slot_of_user(user_id));
}

/* What drivers and ORMs send for an id that they do not know: null, or the 0 of a number. */
static void
settle_id(RowPatch *patch, Relation leaf, const AttrNumber *attno, TupleTableSlot *slot)
{
	int64 user_id = DatumGetInt64(row_require(slot, attno[ORDER_USER_ID]));
	bool  isnull;
	Datum given = slot_getattr(slot, attno[ORDER_ORDER_ID], &isnull);
	int64 order_id = isnull ? 0 : DatumGetInt64(given);

	if (order_id == 0)
	{
		patch_set(patch, attno[ORDER_ORDER_ID], Int64GetDatum(draw_id(leaf, user_id, isnull)),
				  false);
		return;
	}
	check_id(order_id, user_id);
	check_leaf(leaf, order_id);
}

/* ORMs count from 0 or from 1; the engine from 1. */
static void
settle_version(RowPatch *patch, const AttrNumber *attno, TupleTableSlot *slot)
{
	bool  isnull;
	Datum version = slot_getattr(slot, attno[ORDER_VERSION], &isnull);

	if (!isnull && DatumGetInt32(version) == 0)
		patch_set(patch, attno[ORDER_VERSION], Int32GetDatum(1), false);
}

/* NULL for null, SQL's or JSON's: ORMs send either for what they do not have. */
static Jsonb *
get_jsonb(TupleTableSlot *slot, AttrNumber attno)
{
	bool  isnull;
	Datum value = slot_getattr(slot, attno, &isnull);

	return isnull ? NULL : call_present(DatumGetJsonbP(value));
}

static bool
is_given(TupleTableSlot *slot, const AttrNumber *attno, int column)
{
	if (column == ORDER_ADJUSTMENTS || column == ORDER_ATTRIBUTES || column == ORDER_PRIVATE)
		return get_jsonb(slot, attno[column]) != NULL;
	return !slot_attisnull(slot, attno[column]);
}

/* The same; whether the currency can express them is seen when it is settled. */
static void
fill_in_adjustments(RowPatch *patch, const AttrNumber *attno, TupleTableSlot *slot)
{
	Jsonb *given = get_jsonb(slot, attno[ORDER_ADJUSTMENTS]);

	if (given == NULL)
		return;
	(void) line_parse_adjustments(given, 1, NULL);
	patch_set(patch, attno[ORDER_ADJUSTMENTS], JsonbPGetDatum(adjustment_stored(given)), false);
}

/* What was not given is as in any new order. */
static void
fill_in(RowPatch *patch, const AttrNumber *attno, TupleTableSlot *slot)
{
	const Machine *machine = machine_of_new(slot, attno[ORDER_MACHINE_ID]);
	bool		   due_given = !slot_attisnull(slot, attno[ORDER_DUE_AT]);
	OrderValues new;

	order_row_new(&new, machine, GetCurrentTimestamp(), due_given ? NULL : machine->creation->due);
	for (int i = 0; i < ORDER_COLUMNS; i++)
		if (!new.nulls[i] && !is_given(slot, attno, i))
			patch_set(patch, attno[i], new.values[i], false);
}

Datum
order_engine_orders_before_insert(PG_FUNCTION_ARGS)
{
	TriggerData	   *trigger = orders_trigger(fcinfo, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_INSERT);
	TupleTableSlot *slot = trigger->tg_trigslot;
	AttrNumber		attno[ROW_MAX_COLUMNS];
	RowPatch		patch = {0};

	row_layout(trigger->tg_relation, &order_columns, attno);
	settle_id(&patch, trigger->tg_relation, attno, slot);
	check_new(slot, attno);
	call_check_object(get_jsonb(slot, attno[ORDER_ATTRIBUTES]), "attributes");
	call_check_object(get_jsonb(slot, attno[ORDER_PRIVATE]), "private");
	settle_version(&patch, attno, slot);
	fill_in_currency(&patch, attno[ORDER_CURRENCY], slot);
	fill_in_adjustments(&patch, attno, slot);
	fill_in(&patch, attno, slot);
	return patched(&patch, trigger->tg_relation, trigger->tg_trigtuple);
}

pg_noreturn static void
raise_first_state(const char *given, const Machine *machine)
{
	const Transition *creation = machine->creation;
	List			 *allowed = list_make1(unconstify(char *, machine->events[creation->event]));

	ereport(ERROR, (errcode(ERRCODE_OE_ILLEGAL_TRANSITION),
					errmsg("a new order cannot be in state \"%s\"", given),
					detail_set("from", detail_text(NULL), "to", detail_text(given), "allowed",
							   detail_texts(allowed), NULL),
					errhint("Leave state null: a new order of this machine begins in state \"%s\".",
							machine->states[creation->to])));
}

pg_noreturn static void
raise_first_version(const OrderRow *row)
{
	ereport(ERROR, (errcode(ERRCODE_OE_VERSION_CONFLICT), errmsg("a new order has version 1"),
					detail_set("expected", detail_number(row->version), "actual", detail_number(1),
							   "state", detail_text(row->state), NULL),
					errhint("Leave the version null, 0 or 1.")));
}

/* A user's trigger may have written them after they were brought into the form that is stored. */
static void
check_adjustments(const OrderRow *row)
{
	Jsonb *stored;

	(void) line_parse_adjustments(row->adjustments, 1, row->currency);
	stored = adjustment_stored(row->adjustments);
	if (compareJsonbContainers(&stored->root, &row->adjustments->root) != 0)
		order_raise_direct_write(list_make1("adjustments"));
}

/* What a new order by raw SQL must be: unpaid, in its first state and version. */
static void
check_inserted(TupleTableSlot *slot, const AttrNumber *attno, const OrderRow *row,
			   const Machine *machine)
{
	const char *currency = currency_parse(row->currency);
	bool		isnull;

	check_id(row->order_id, row->user_id);
	check_new(slot, attno);
	check_given(slot, attno);
	if (currency && strcmp(row->currency, currency) != 0)
		order_raise_direct_write(list_make1("currency"));
	currency_check(currency, row->amount, "amount");
	check_adjustments(row);
	if (strcmp(row->state, machine->states[machine->creation->to]) != 0)
		raise_first_state(row->state, machine);
	if (row->version != 1)
		raise_first_version(row);
	if (amount_compare(row->captured, amount_zero()) != 0 ||
		amount_compare(row->refunded, amount_zero()) != 0)
		order_raise_direct_write(list_make2("captured", "refunded"));
	(void) slot_getattr(slot, attno[ORDER_REQUEST_HASH], &isnull);
	if (!isnull)
		order_raise_direct_write(list_make1("request_hash"));
}

static void
inserted(TriggerData *trigger, const AttrNumber *attno, RowScope *scope)
{
	TupleTableSlot *slot = trigger->tg_trigslot;
	OrderLines		lines = {0}; /* none; what the adjustments take is held all the same */
	OrderRow		row;
	OrderChange		change = {0};
	bool			isnull;
	Datum			key;

	order_row_read(attno, slot, &row);
	change.machine = machine_get(row.machine_id);
	check_inserted(slot, attno, &row, change.machine);
	change.transition = change.machine->creation;
	change.event = change.machine->events[change.transition->event];
	adjustment_add_stock(row.adjustments, &lines);
	change.lines = &lines;
	change.leaves_room = true;
	change.at = GetCurrentTimestamp();
	key = slot_getattr(slot, attno[ORDER_IDEMPOTENCY_KEY], &isnull);
	change.idempotency_key = isnull ? NULL : TextDatumGetCString(key);
	context_parse(NULL, &change.context);
	order_check_move(row_open(scope, RelationGetRelid(trigger->tg_relation), &order_columns), slot,
					 change.machine, &row, change.transition, row.attributes);
	order_changed(scope, &row, &change);
}

/* ---- UPDATE ---- */

static void
keep(RowPatch *patch, TupleTableSlot *old, AttrNumber attno)
{
	bool  isnull;
	Datum value = slot_getattr(old, attno, &isnull);

	patch_set(patch, attno, value, isnull);
}

/* What came back with the same value stays in the form that the engine gave it. */
static void
keep_forms(RowPatch *patch, const AttrNumber *attno, TupleTableSlot *old)
{
	static const int columns[] = {ORDER_SUBTOTAL, ORDER_AMOUNT,		 ORDER_CAPTURED,
								  ORDER_REFUNDED, ORDER_ADJUSTMENTS, ORDER_CREATED_AT};

	for (int i = 0; i < lengthof(columns); i++)
		keep(patch, old, attno[columns[i]]);
}

/*
 * The version that a row was read with which now comes as `version`: that same one if
 * it is too low, since ORMs that save all columns write back what they read; and who
 * writes a later one has counted on.
 */
static int
version_read(int version, const OrderRow *old)
{
	return version < old->version ? version : version - 1;
}

static void
next_version(RowPatch *patch, const AttrNumber *attno, const OrderRow *old, const OrderRow *new)
{
	if (new->version == old->version)
		patch_set(patch, attno[ORDER_VERSION], Int32GetDatum(old->version + 1), false);
	else if (new->version != old->version + 1)
		order_raise_version(version_read(new->version, old), old->version, old->state);
}

/* NULL: the state stays. */
static const Transition *
move_meant(const OrderRow *old, const OrderRow *new)
{
	const Transition *move;
	OwnerScope		  owner;

	if (strcmp(old->state, new->state) == 0)
		return NULL;
	owner_begin(&owner);
	move = order_infer_move(machine_get(old->machine_id), old->state, new->state);
	owner_end(&owner);
	return move;
}

/* A due time that nobody gave is the new state's, or as it was. */
static void
next_due(RowPatch *patch, const AttrNumber *attno, TupleTableSlot *old, const Transition *move,
		 TimestampTz now)
{
	if (move == NULL)
		keep(patch, old, attno[ORDER_DUE_AT]);
	else
		patch_set(patch, attno[ORDER_DUE_AT],
				  move->due ? order_row_due_at(now, move->due) : (Datum) 0, move->due == NULL);
}

Datum
order_engine_orders_before_update(PG_FUNCTION_ARGS)
{
	TriggerData	   *trigger = orders_trigger(fcinfo, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_UPDATE);
	TupleTableSlot *old_slot = trigger->tg_trigslot;
	TupleTableSlot *new_slot = trigger->tg_newslot;
	AttrNumber		attno[ROW_MAX_COLUMNS];
	RowPatch		patch = {0};
	OrderRow		old;
	OrderRow new;
	TimestampTz		  now = GetCurrentTimestamp();
	const Transition *move;

	row_layout(trigger->tg_relation, &order_columns, attno);
	order_check_unchanged(RelationGetDescr(trigger->tg_relation), attno, old_slot, new_slot);
	order_row_read(attno, old_slot, &old);
	order_row_read(attno, new_slot, &new);
	row_require(new_slot, attno[ORDER_PRIVATE]);
	row_require(new_slot, attno[ORDER_UPDATED_AT]);
	check_given(new_slot, attno);
	next_version(&patch, attno, &old, &new);
	keep_forms(&patch, attno, old_slot);
	if (order_same_value(old_slot, new_slot, attno[ORDER_UPDATED_AT]))
		patch_set(&patch, attno[ORDER_UPDATED_AT], TimestampTzGetDatum(now), false);

	move = move_meant(&old, &new);
	if (order_same_value(old_slot, new_slot, attno[ORDER_DUE_AT]))
		next_due(&patch, attno, old_slot, move, now);
	return patched(&patch, trigger->tg_relation, trigger->tg_newtuple);
}

static void
updated(TriggerData *trigger, const AttrNumber *attno, RowScope *scope)
{
	OrderRow	old;
	OrderRow	row;
	OrderChange change = {0};
	RowTable   *table = row_open(scope, RelationGetRelid(trigger->tg_relation), &order_columns);

	order_check_unchanged(RelationGetDescr(trigger->tg_relation), attno, trigger->tg_trigslot,
						  trigger->tg_newslot);
	check_given(trigger->tg_newslot, attno);
	order_row_read(attno, trigger->tg_trigslot, &old);
	order_row_read(attno, trigger->tg_newslot, &row);
	order_check_recorded(scope, trigger->tg_trigslot, &old);
	if (row.version != old.version + 1)
		order_raise_version(version_read(row.version, &old), old.version, old.state);

	change.machine = machine_get(row.machine_id);
	change.event = "update";
	change.from_state = old.state;
	change.leaves_room =
		!row_same_column(trigger->tg_trigslot, trigger->tg_newslot, attno[ORDER_ATTRIBUTES]);
	change.at = GetCurrentTimestamp();
	context_parse(NULL, &change.context);
	if (strcmp(old.state, row.state) != 0)
	{
		change.transition = order_infer_move(change.machine, old.state, row.state);
		change.event = change.machine->events[change.transition->event];
		order_check_move(table, trigger->tg_trigslot, change.machine, &row, change.transition,
						 NULL);
	}
	order_changed(scope, &row, &change);
}

/*
 * The row was locked by the statement that wrote it, and stays so: nobody can
 * have written a later version when this runs.
 */
Datum
order_engine_orders_after_change(PG_FUNCTION_ARGS)
{
	TriggerData *trigger =
		orders_trigger(fcinfo, TRIGGER_TYPE_AFTER, TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE);
	AttrNumber attno[ROW_MAX_COLUMNS];
	OwnerScope owner;
	RowScope   scope;

	row_layout(trigger->tg_relation, &order_columns, attno);
	owner_begin(&owner);
	row_scope_begin(&scope, "a change of an order");
	order_lock_tables();
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		inserted(trigger, attno, &scope);
	else
		updated(trigger, attno, &scope);
	row_scope_end(&scope);
	owner_end(&owner);
	return PointerGetDatum(NULL);
}
