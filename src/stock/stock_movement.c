/*
 * stock_movement.c
 *		What came in and what went out, and why.
 *
 * In row mode a movement is written only together with its stock row.  So who has
 * locked that row sees every movement of the SKU, row_find_locked() taking a new
 * snapshot if the row had changed, and nobody writes one in between.  In mode escrow
 * nobody locks the row: there the unique key is claimed, as an order's is.  A switch
 * waits for whoever is pinned, so the two do not meet.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "base/detail.h"
#include "base/errors.h"
#include "stock/stock.h"
#include "stock/stock_movement_internal.h"

static RowTable *
movement_open(RowScope *scope)
{
	return row_open(scope, shop_table(SHOP_STOCK_MOVEMENT), &movement_columns);
}

static TupleTableSlot *
make_row(RowTable *table, const StockMovement *movement)
{
	TupleTableSlot *slot = row_slot(table);

	row_new(table, slot);
	row_set(table, slot, MOVEMENT_SKU, CStringGetTextDatum(movement->sku));
	row_set(table, slot, MOVEMENT_QUANTITY, Int64GetDatum(movement->quantity));
	row_set(table, slot, MOVEMENT_REASON, CStringGetTextDatum(movement->reason));
	if (movement->ref)
		row_set(table, slot, MOVEMENT_REF, CStringGetTextDatum(movement->ref));
	row_set(table, slot, MOVEMENT_ACTOR, CStringGetTextDatum(movement->actor));
	row_set(table, slot, MOVEMENT_AT, TimestampTzGetDatum(GetCurrentTimestamp()));
	return slot;
}

void
stock_movement_insert(RowScope *scope, const StockMovement *movement)
{
	RowTable *table = movement_open(scope);

	row_insert(table, make_row(table, movement));
}

static void
raise_ref_mismatch(RowTable *table, TupleTableSlot *slot, const StockMovement *movement)
{
	TimestampTz at = DatumGetTimestampTz(row_get_required(table, slot, MOVEMENT_AT));

	ereport(ERROR,
			(errcode(ERRCODE_OE_IDEMPOTENCY_KEY_MISMATCH),
			 errmsg("ref \"%s\" has been used for another quantity of SKU \"%s\"", movement->ref,
					movement->sku),
			 detail_set("key", detail_text(movement->ref), "first_seen", detail_time(at), NULL),
			 errhint("A retry must repeat its first call; a new one needs a new ref.")));
}

static void
init_key(ScanKey key, AttrNumber attno, const char *value)
{
	ScanKeyInit(key, attno, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(value));
}

static Oid
ref_index(RowTable *table)
{
	static const int columns[] = {MOVEMENT_SKU, MOVEMENT_REASON, MOVEMENT_REF};

	return row_unique_index(table, lengthof(columns), columns);
}

/* Finds the movement of that ref.  OE020 if it is of another quantity. */
static bool
find_same(RowTable *table, const StockMovement *movement)
{
	TupleTableSlot *slot = row_slot(table);
	ScanKeyData		keys[3];

	init_key(&keys[0], 1, movement->sku);
	init_key(&keys[1], 2, movement->reason);
	init_key(&keys[2], 3, movement->ref);
	if (!row_find(table, ref_index(table), lengthof(keys), keys, slot))
		return false;
	if (DatumGetInt64(row_get_required(table, slot, MOVEMENT_QUANTITY)) != movement->quantity)
		raise_ref_mismatch(table, slot, movement);
	return true;
}

bool
stock_movement_is_replay(RowScope *scope, const StockMovement *movement)
{
	return movement->ref != NULL && find_same(movement_open(scope), movement);
}

bool
stock_movement_claim(RowScope *scope, const StockMovement *movement)
{
	RowTable	   *table = movement_open(scope);
	TupleTableSlot *slot = make_row(table, movement);
	ItemPointerData other;

	if (movement->ref == NULL)
	{
		row_insert(table, slot);
		return true;
	}
	while (!row_insert_unless(table, slot, ref_index(table), &other))
	{
		row_scope_refresh(scope);
		if (find_same(table, movement))
			return false;
		row_check_conflict("Another transaction has used this ref.");
	}
	return true;
}

void
stock_record_difference(RowScope *scope, const char *sku, int64 quantity, const char *actor)
{
	StockMovement movement = {
		.sku = sku,
		.quantity = quantity,
		.reason = STOCK_REASON_RECONCILE,
		.actor = actor,
	};

	stock_movement_insert(scope, &movement);
}
