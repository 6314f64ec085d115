/*
 * reservation_row.c
 *		The row of a reservation as C values.
 *
 * Owns the table reservation.  A row lies in the leaf of its user, else of its own name,
 * and its id has that slot in it; so its key, which is unique in the leaf, is unique.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "catalog/pg_index.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "order/reservation.h"
#include "order/reservation_row.h"
#include "shop/order_id.h"
#include "shop/shop.h"
#include "shop/slot.h"

static const char *const state_names[] = {
	[HOLD_HELD] = "held",		[HOLD_CONFIRMED] = "confirmed", [HOLD_CANCELLED] = "cancelled",
	[HOLD_EXPIRED] = "expired", [HOLD_ORDERED] = "ordered",
};

const char *
reservation_state(HoldState state)
{
	return state_names[state];
}

/* ---- lines as JSON: an object of units by stock key ---- */

static int
compare_keys(const void *a, const void *b)
{
	return strcmp(((const StockLine *) a)->stock_key, ((const StockLine *) b)->stock_key);
}

static Jsonb *
lines_to_json(const HoldLines *lines)
{
	JsonbParseState *state = NULL;
	JsonbValue		*object;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < lines->n; i++)
	{
		const char *key = lines->lines[i].stock_key;
		JsonbValue	name = {.type = jbvString};
		JsonbValue	units = {.type = jbvNumeric};

		name.val.string.val = unconstify(char *, key);
		name.val.string.len = strlen(key);
		units.val.numeric = int64_to_numeric(lines->lines[i].quantity);
		pushJsonbValue(&state, WJB_KEY, &name);
		pushJsonbValue(&state, WJB_VALUE, &units);
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(object);
}

static void
lines_from_json(Jsonb *json, HoldLines *lines)
{
	JsonbIterator *it = JsonbIteratorInit(&json->root);
	JsonbValue	   value;

	lines->n = 0;
	lines->lines = palloc(sizeof(StockLine) * Max(JB_ROOT_COUNT(json), 1));
	(void) JsonbIteratorNext(&it, &value, true);
	while (JsonbIteratorNext(&it, &value, true) == WJB_KEY)
	{
		StockLine *line = &lines->lines[lines->n++];

		line->stock_key = pnstrdup(value.val.string.val, value.val.string.len);
		(void) JsonbIteratorNext(&it, &value, true);
		line->quantity =
			DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value.val.numeric)));
	}
	qsort(lines->lines, lines->n, sizeof(StockLine), compare_keys);
}

bool
reservation_same_lines(const HoldLines *a, const HoldLines *b)
{
	if (a->n != b->n)
		return false;
	for (int i = 0; i < a->n; i++)
		if (compare_keys(&a->lines[i], &b->lines[i]) != 0 ||
			a->lines[i].quantity != b->lines[i].quantity)
			return false;
	return true;
}

/* ---- the row, read ---- */

void
reservation_lock_tables(void)
{
	static const ShopTable tables[] = {SHOP_RESERVATION, SHOP_STOCK, SHOP_STOCK_MOVEMENT};

	row_lock_tables(tables, lengthof(tables), RowExclusiveLock);
}

static int
slot_of_key(const ReservationKey *key)
{
	return key->has_user ? slot_of_user(key->user_id) : slot_of_text(key->reservation_id);
}

static void
open_leaf(Reservation *reservation, RowScope *scope, int slot)
{
	memset(reservation, 0, sizeof(*reservation));
	reservation->scope = scope;
	reservation->table = row_open_leaf(scope, SHOP_RESERVATION, slot, &reservation_columns);
	reservation->row = row_slot(reservation->table);
}

void
reservation_open(Reservation *reservation, RowScope *scope, const ReservationKey *key)
{
	open_leaf(reservation, scope, slot_of_key(key));
	reservation->key = *key;
}

static HoldState
read_state(RowTable *table, TupleTableSlot *row)
{
	char *name = TextDatumGetCString(row_get_required(table, row, RESERVATION_STATE));

	for (int i = 0; i < lengthof(state_names); i++)
		if (strcmp(name, state_names[i]) == 0)
			return i;
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("a reservation is in state \"%s\", which there is not", name)));
}

/* False if it is null. */
static bool
read_lines(Reservation *reservation, int column, HoldLines *lines)
{
	bool  isnull;
	Datum json = row_get(reservation->table, reservation->row, column, &isnull);

	*lines = (HoldLines){0};
	if (!isnull)
		lines_from_json(DatumGetJsonbP(json), lines);
	return !isnull;
}

static void
read_row(Reservation *reservation)
{
	RowTable	   *table = reservation->table;
	TupleTableSlot *row = reservation->row;
	bool			isnull;

	reservation->id = DatumGetInt64(row_get_required(table, row, RESERVATION_ID));
	reservation->key.reservation_id =
		TextDatumGetCString(row_get_required(table, row, RESERVATION_RESERVATION_ID));
	reservation->key.user_id = DatumGetInt64(row_get(table, row, RESERVATION_USER_ID, &isnull));
	reservation->key.has_user = !isnull;
	reservation->state = read_state(table, row);
	reservation->was_held = read_lines(reservation, RESERVATION_LINES, &reservation->lines);
	(void) read_lines(reservation, RESERVATION_CONFIRMED, &reservation->confirmed);
	reservation->order_id = DatumGetInt64(row_get(table, row, RESERVATION_ORDER_ID, &isnull));
	reservation->created_at =
		DatumGetTimestampTz(row_get_required(table, row, RESERVATION_CREATED_AT));
	reservation->expires_at =
		DatumGetTimestampTz(row_get(table, row, RESERVATION_EXPIRES_AT, &isnull));
}

/* Without a user there is one row of a name only because nulls are not distinct. */
static void
check_nulls(Oid index)
{
	HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	bool	  distinct;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", index);
	distinct = !((Form_pg_index) GETSTRUCT(tuple))->indnullsnotdistinct;
	ReleaseSysCache(tuple);
	if (distinct)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("an index of table \"%s\" must be NULLS NOT DISTINCT",
							   reservation_columns.table),
						errhint("Create the index again that order_engine.setup() made.")));
}

static Oid
key_index(const Reservation *reservation)
{
	Oid index = row_unique_index(reservation->table, 2,
								 (const int[]){RESERVATION_RESERVATION_ID, RESERVATION_USER_ID});

	if (!reservation->key.has_user)
		check_nulls(index);
	return index;
}

static void
init_keys(const ReservationKey *key, ScanKeyData *keys)
{
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(key->reservation_id));
	if (key->has_user)
		ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(key->user_id));
	else
		ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNULL, 2, InvalidStrategy, InvalidOid,
							   InvalidOid, InvalidOid, (Datum) 0);
}

bool
reservation_find(Reservation *reservation)
{
	ScanKeyData keys[2];

	init_keys(&reservation->key, keys);
	if (!row_find(reservation->table, key_index(reservation), lengthof(keys), keys,
				  reservation->row))
		return false;
	read_row(reservation);
	return true;
}

bool
reservation_lock(Reservation *reservation)
{
	ScanKeyData keys[2];

	init_keys(&reservation->key, keys);
	if (!row_find_locked(reservation->table, key_index(reservation), lengthof(keys), keys,
						 LockWaitBlock, reservation->row))
		return false;
	read_row(reservation);
	return true;
}

bool
reservation_lock_if_free(Reservation *reservation, RowScope *scope, int64 id)
{
	ScanKeyData key;

	open_leaf(reservation, scope, slot_of_order(id));
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	if (!row_find_locked(reservation->table,
						 row_unique_index(reservation->table, 1, (const int[]){RESERVATION_ID}), 1,
						 &key, LockWaitSkip, reservation->row))
		return false;
	read_row(reservation);
	return true;
}

bool
reservation_is_taken(Reservation *reservation)
{
	ScanKeyData keys[2];

	init_keys(&reservation->key, keys);
	return row_key_is_taken(reservation->table, key_index(reservation), lengthof(keys), keys);
}

/* ---- the row, written ---- */

bool
reservation_insert(Reservation *reservation, const char *actor)
{
	RowTable			 *table = reservation->table;
	const ReservationKey *key = &reservation->key;
	TupleTableSlot		 *slot = row_slot(table);
	ItemPointerData		  other;

	reservation->id = order_id_next(slot_of_key(key));
	row_new(table, slot);
	row_set(table, slot, RESERVATION_ID, Int64GetDatum(reservation->id));
	row_set(table, slot, RESERVATION_RESERVATION_ID, CStringGetTextDatum(key->reservation_id));
	if (key->has_user)
		row_set(table, slot, RESERVATION_USER_ID, Int64GetDatum(key->user_id));
	row_set(table, slot, RESERVATION_STATE,
			CStringGetTextDatum(reservation_state(reservation->state)));
	row_set(table, slot, RESERVATION_ACTOR, CStringGetTextDatum(actor));
	row_set(table, slot, RESERVATION_CREATED_AT, TimestampTzGetDatum(reservation->created_at));
	if (reservation->was_held)
	{
		row_set(table, slot, RESERVATION_LINES, JsonbPGetDatum(lines_to_json(&reservation->lines)));
		row_set(table, slot, RESERVATION_EXPIRES_AT, TimestampTzGetDatum(reservation->expires_at));
	}
	if (reservation->state != HOLD_HELD)
		row_set(table, slot, RESERVATION_RESOLVED_AT, TimestampTzGetDatum(reservation->created_at));
	if (row_insert_unless(table, slot, key_index(reservation), &other))
		return true;
	row_check_conflict("Another transaction has made or cancelled this reservation.");
	return false;
}

void
reservation_resolve(Reservation *reservation, HoldState state, const char *actor)
{
	static const int columns[] = {RESERVATION_STATE, RESERVATION_CONFIRMED, RESERVATION_ORDER_ID,
								  RESERVATION_ACTOR, RESERVATION_RESOLVED_AT};
	RowTable		*table = reservation->table;
	TupleTableSlot	*next = row_slot(table);

	reservation->state = state;
	row_copy(table, next, reservation->row);
	row_set(table, next, RESERVATION_STATE, CStringGetTextDatum(reservation_state(state)));
	if (state == HOLD_CONFIRMED)
		row_set(table, next, RESERVATION_CONFIRMED,
				JsonbPGetDatum(lines_to_json(&reservation->confirmed)));
	if (state == HOLD_ORDERED)
		row_set(table, next, RESERVATION_ORDER_ID, Int64GetDatum(reservation->order_id));
	row_set(table, next, RESERVATION_ACTOR, CStringGetTextDatum(actor));
	row_set(table, next, RESERVATION_RESOLVED_AT, TimestampTzGetDatum(GetCurrentTimestamp()));
	row_update(table, reservation->row, next, lengthof(columns), columns);
}

void
reservation_set_expiry(Reservation *reservation, TimestampTz expires_at, const char *actor)
{
	static const int columns[] = {RESERVATION_ACTOR, RESERVATION_EXPIRES_AT};
	RowTable		*table = reservation->table;
	TupleTableSlot	*next = row_slot(table);

	reservation->expires_at = expires_at;
	row_copy(table, next, reservation->row);
	row_set(table, next, RESERVATION_ACTOR, CStringGetTextDatum(actor));
	row_set(table, next, RESERVATION_EXPIRES_AT, TimestampTzGetDatum(expires_at));
	row_update(table, reservation->row, next, lengthof(columns), columns);
}
