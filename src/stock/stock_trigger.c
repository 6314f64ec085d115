/*
 * stock_trigger.c
 *		Stock written by hand: what may be, its movement, and the counter of a SKU in mode
 *		escrow.
 *
 * A write by hand changes the row, in mode escrow too, where the row is as of the last
 * fold; there the counter follows by as much as the row's free quantity changes.  The
 * SKU is pinned before its row is written, while that is locked: whoever loads it later
 * would see what is not committed.
 *
 * The triggers fire always.  What replication or a restore applies is a copy of what was
 * checked elsewhere: it is written as it comes, and only the counter follows.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/builtins.h"

#include "base/call.h"
#include "base/context.h"
#include "base/detail.h"
#include "base/errors.h"
#include "shop/direct_write.h"
#include "shop/owner.h"
#include "shop/shop.h"
#include "stock/escrow.h"
#include "stock/stock_claim_internal.h"
#include "stock/stock_event_internal.h"
#include "stock/stock_movement_internal.h"
#include "stock/stock_row_internal.h"
#include "stock/stock_shortage_internal.h"

PG_FUNCTION_INFO_V1(order_engine_stock_before);
PG_FUNCTION_INFO_V1(order_engine_stock_after);

/* What a trigger was fired for; by its operation one of the rows is NULL. */
typedef struct HandWrite
{
	Relation		rel;
	const char	   *operation;
	TupleTableSlot *old;
	TupleTableSlot *new;
	int64	   version; /* that the new row has, or is given by us */
	bool	   applied; /* as it comes, by replication or a restore */
	AttrNumber attno[ROW_MAX_COLUMNS];
} HandWrite;

/* 0 for null, which the table's constraints do not let through. */
static int64
hand_quantity(const HandWrite *write, TupleTableSlot *slot, int column)
{
	bool  isnull;
	Datum value = slot_getattr(slot, write->attno[column], &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static void
read_trigger(FunctionCallInfo fcinfo, int timing, int events, HandWrite *write)
{
	TriggerData *data = call_row_trigger(fcinfo, timing, events);

	if (RelationGetRelid(data->tg_relation) != shop_table(SHOP_STOCK))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("this function can only be called as a trigger of table \"%s\"",
							   stock_columns.table)));
	write->rel = data->tg_relation;
	write->operation = direct_write_operation(data->tg_event);
	write->old = TRIGGER_FIRED_BY_INSERT(data->tg_event) ? NULL : data->tg_trigslot;
	write->new = TRIGGER_FIRED_BY_INSERT(data->tg_event)   ? data->tg_trigslot
				 : TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newslot
														   : NULL;
	write->applied = SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;
	row_layout(write->rel, &stock_columns, write->attno);
	if (write->new)
		write->version = hand_quantity(write, write->new, STOCK_VERSION);
}

static char *
hand_sku(const HandWrite *write, TupleTableSlot *slot)
{
	bool  isnull;
	Datum value = slot_getattr(slot, write->attno[STOCK_SKU], &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static bool
column_changed(const HandWrite *write, int column)
{
	return !row_same_column(write->old, write->new, write->attno[column]);
}

/* True if the column of a new row is neither this nor null, which is left to the constraints. */
static bool
column_differs(const HandWrite *write, int column, Datum expected)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(write->rel), write->attno[column] - 1);
	NullableDatum	  value;

	value.value = slot_getattr(write->new, att->attnum, &value.isnull);
	return !value.isnull && !row_same_value(att, value, (NullableDatum){expected});
}

/* A new row is what receive_stock() would make; by hand only on_hand is given. */
static List *
forbidden_in_insert(const HandWrite *write)
{
	List *columns = NIL;

	if (column_differs(write, STOCK_RESERVED, Int64GetDatum(0)))
		columns = lappend_int(columns, STOCK_RESERVED);
	if (column_differs(write, STOCK_VERSION, Int64GetDatum(1)))
		columns = lappend_int(columns, STOCK_VERSION);
	if (column_differs(write, STOCK_MODE, CStringGetTextDatum(STOCK_ROW_MODE)))
		columns = lappend_int(columns, STOCK_MODE);
	if (column_differs(write, STOCK_AUTO_MODE, BoolGetDatum(false)))
		columns = lappend_int(columns, STOCK_AUTO_MODE);
	if (column_differs(write, STOCK_OPEN, BoolGetDatum(true)))
		columns = lappend_int(columns, STOCK_OPEN);
	if (column_differs(write, STOCK_EPOCH, Int64GetDatum(0)))
		columns = lappend_int(columns, STOCK_EPOCH);
	return columns;
}

/* Only on_hand may change, and with it the version, by one. */
static List *
forbidden_in_update(const HandWrite *write)
{
	static const int fixed[] = {STOCK_SKU,		 STOCK_RESERVED, STOCK_MODE,
								STOCK_AUTO_MODE, STOCK_OPEN,	 STOCK_EPOCH};
	int64			 step = column_changed(write, STOCK_ON_HAND) ? 1 : 0;
	List			*columns = NIL;

	for (int i = 0; i < lengthof(fixed); i++)
		if (column_changed(write, fixed[i]))
			columns = lappend_int(columns, fixed[i]);
	if (write->version != hand_quantity(write, write->old, STOCK_VERSION) + step)
		columns = lappend_int(columns, STOCK_VERSION);
	return columns;
}

static void
check_hand_write(const HandWrite *write)
{
	List	 *columns = write->old ? forbidden_in_update(write) : forbidden_in_insert(write);
	List	 *names = NIL;
	ListCell *lc;

	foreach(lc, columns)
		names = lappend(names, unconstify(char *, stock_columns.columns[lfirst_int(lc)].name));
	if (names)
		direct_write_refuse(write->rel, write->operation, names);
	if (write->old == NULL && hand_sku(write, write->new))
		call_check_name(hand_sku(write, write->new), stock_columns.columns[STOCK_SKU].name);
}

/*
 * The version follows on_hand, whether the writer left it or, as an ORM does,
 * raised it.
 */
static HeapTuple
follow_version(HandWrite *write, HeapTuple tuple)
{
	int	  attno = write->attno[STOCK_VERSION];
	Datum version;
	bool  isnull = false;

	if (!column_changed(write, STOCK_ON_HAND) || column_changed(write, STOCK_VERSION))
		return tuple;
	write->version++;
	version = Int64GetDatum(write->version);
	return heap_modify_tuple_by_cols(tuple, RelationGetDescr(write->rel), 1, &attno, &version,
									 &isnull);
}

/* ---- the counter ---- */

static bool
is_escrow(const HandWrite *write, TupleTableSlot *slot)
{
	return hand_quantity(write, slot, STOCK_EPOCH) != 0;
}

/* The entry is no longer this row's. */
static void
remove_entry(const HandWrite *write)
{
	char *sku = hand_sku(write, write->old);

	escrow_bar(sku, false);
	escrow_remove_at_commit(sku);
}

/*
 * NULL if what is applied in this transaction has brought the row into mode escrow: nobody
 * counts it before that has committed.
 */
static EscrowPin *
pin_row(const HandWrite *write)
{
	char	  *sku = hand_sku(write, write->old);
	EscrowPin *pin = escrow_pin(sku);

	if (pin == NULL && !(write->applied && row_is_own(write->old)))
		pin = stock_pin_locked(sku);
	return pin;
}

/* Only what is applied as it comes may change the mode or the SKU. */
static void
pin_before_update(const HandWrite *write)
{
	OwnerScope owner;

	if (!is_escrow(write, write->old))
		return;
	owner_begin(&owner);
	if (column_changed(write, STOCK_EPOCH) || column_changed(write, STOCK_SKU))
		remove_entry(write);
	else
		(void) pin_row(write);
	owner_end(&owner);
}

static void
take(EscrowPin *pin, const char *sku, int64 quantity)
{
	StockShortage shortage = {0};

	if (escrow_claim(pin, quantity))
	{
		escrow_take(pin, quantity);
		return;
	}
	stock_shortage_add_short(&shortage, sku, quantity, Min(escrow_free(pin), quantity - 1));
	stock_shortage_raise(&shortage);
}

/* After an update that left the mode as it was. */
static void
follow_row(const HandWrite *write)
{
	int64 freed = hand_quantity(write, write->new, STOCK_ON_HAND) -
				  hand_quantity(write, write->new, STOCK_RESERVED) -
				  hand_quantity(write, write->old, STOCK_ON_HAND) +
				  hand_quantity(write, write->old, STOCK_RESERVED);
	char	  *sku = hand_sku(write, write->new);
	EscrowPin *pin = pin_row(write);

	if (pin == NULL)
		return;
	if (freed > 0)
		escrow_receive(pin, freed);
	else if (freed < 0 && (!write->applied || escrow_is_loaded(pin)))
		take(pin, sku, -freed);
}

static void
change_counter(const HandWrite *write)
{
	if (write->old == NULL || !is_escrow(write, write->old))
		return;
	if (write->new == NULL)
		remove_entry(write);
	else if (is_escrow(write, write->new) && !column_changed(write, STOCK_EPOCH) &&
			 !column_changed(write, STOCK_SKU))
		follow_row(write);
}

/*
 * All rows go at once.  What nothing applies is refused by a trigger that comes behind.
 */
static void
remove_entries(void)
{
	OwnerScope	   owner;
	EscrowCounter *counters;
	int			   n;

	owner_begin(&owner);
	counters = escrow_counters(&n);
	for (int i = 0; i < n; i++)
	{
		escrow_bar(counters[i].sku, false);
		escrow_remove_at_commit(counters[i].sku);
	}
	pfree(counters);
	owner_end(&owner);
}

/* ---- the triggers ---- */

static bool
is_truncate(TriggerEvent event)
{
	return TRIGGER_FIRED_BY_TRUNCATE(event) && TRIGGER_FIRED_BEFORE(event);
}

/* Checks before the table's constraints speak; the AFTER trigger has the last word. */
Datum
order_engine_stock_before(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	HandWrite	 write;
	HeapTuple	 tuple;

	if (is_truncate(call_trigger(fcinfo)->tg_event))
	{
		if (RelationGetRelid(data->tg_relation) == shop_table(SHOP_STOCK) &&
			SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
			remove_entries();
		return PointerGetDatum(NULL);
	}
	read_trigger(fcinfo, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE, &write);
	tuple = write.old ? data->tg_newtuple : data->tg_trigtuple;
	if (!write.applied)
	{
		tuple = write.old ? follow_version(&write, tuple) : tuple;
		check_hand_write(&write);
	}
	if (write.old)
		pin_before_update(&write);
	return PointerGetDatum(tuple);
}

static void
refuse_delete(const HandWrite *write, const char *reason, const char *hint)
{
	char *sku = hand_sku(write, write->old);

	ereport(
		ERROR,
		(errcode(ERRCODE_OE_DIRECT_WRITE),
		 errmsg("cannot delete stock of SKU \"%s\" because %s", sku, reason),
		 detail_set("relation", detail_text(stock_columns.table), "operation",
					detail_text("DELETE"), "stock",
					detail_object(
						"sku", detail_text(sku), "on_hand",
						detail_number(hand_quantity(write, write->old, STOCK_ON_HAND)), "reserved",
						detail_number(hand_quantity(write, write->old, STOCK_RESERVED)), NULL),
					NULL),
		 errhint("%s", hint), errtable(write->rel)));
}

static void
check_deletable(const HandWrite *write)
{
	if (is_escrow(write, write->old))
		refuse_delete(write, "it is in mode escrow",
					  "Switch it back first: order_engine.set_stock_mode(sku, 'row').");
	if (hand_quantity(write, write->old, STOCK_RESERVED) > 0)
		refuse_delete(write, "some of it is reserved",
					  "Wait until the orders that hold it have let it go.");
}

/* As it was, or is; a row that is not there has nothing. */
static StockState
hand_state(const HandWrite *write, TupleTableSlot *slot)
{
	StockState state = STOCK_NO_STATE;
	bool	   isnull;

	if (slot == NULL)
		return state;
	state.on_hand = hand_quantity(write, slot, STOCK_ON_HAND);
	state.reserved = hand_quantity(write, slot, STOCK_RESERVED);
	state.open = DatumGetBool(slot_getattr(slot, write->attno[STOCK_OPEN], &isnull));
	return state;
}

static void
insert_hand_movement(RowScope *scope, const char *sku, int64 quantity)
{
	ActionContext context;
	StockMovement movement = {.sku = sku, .quantity = quantity, .reason = STOCK_REASON_DIRECT};

	context_parse(NULL, &context);
	movement.actor = context.actor;
	stock_movement_insert(scope, &movement);
}

static void
record(const HandWrite *write)
{
	StockState	before = hand_state(write, write->old);
	StockState	after = hand_state(write, write->new);
	const char *sku = hand_sku(write, write->new ? write->new : write->old);
	int64		version =
		  write->new ? write->version : hand_quantity(write, write->old, STOCK_VERSION) + 1;
	RowScope   scope;
	OwnerScope owner;

	if (after.on_hand == before.on_hand)
		return;
	owner_begin(&owner);
	row_scope_begin(&scope, "a change of stock");
	insert_hand_movement(&scope, sku, after.on_hand - before.on_hand);
	stock_event_note(&scope, sku, version, &before, &after);
	row_scope_end(&scope);
	owner_end(&owner);
}

/*
 * Checks what was really written, since a user's own BEFORE trigger may have
 * changed the row after ours, and records it: not in the BEFORE
 * trigger, which ON CONFLICT DO UPDATE fires for rows that are not inserted.
 */
Datum
order_engine_stock_after(PG_FUNCTION_ARGS)
{
	HandWrite write;

	read_trigger(fcinfo, TRIGGER_TYPE_AFTER,
				 TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE, &write);
	if (!write.applied && write.new)
		check_hand_write(&write);
	else if (!write.applied)
		check_deletable(&write);
	change_counter(&write);
	if (!write.applied)
		record(&write);
	return PointerGetDatum(NULL);
}
