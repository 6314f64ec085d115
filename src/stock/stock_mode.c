/*
 * stock_mode.c
 *		The mode of a SKU's stock, switched: set_stock_mode().
 *
 * A switch is part of its caller's transaction.  In this order: the row of stock is
 * locked, so nobody who works by the row is under way, and no fold writes it; the SKU is
 * barred, so nobody who works by the counter is; then a snapshot is taken, and
 * whatever is not folded yet goes into the row.  The row's epoch says which changes of
 * the journal count for it: with a new one, or none, those from before are dead.
 *
 * The entry changes at the commit, behind the bar: who waits for it finds the row
 * and the entry of the same mode.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "base/call.h"
#include "journal/stock_journal.h"
#include "shop/order_id.h"
#include "shop/owner.h"
#include "shop/slot.h"
#include "stock/escrow.h"
#include "stock/stock_event_internal.h"
#include "stock/stock_mode_internal.h"
#include "stock/stock_shortage_internal.h"

#define CALL_NAME "set_stock_mode()"

#define AUTO_MODE "auto" /* to who calls; in rows it is a column of its own */

PG_FUNCTION_INFO_V1(order_engine_set_stock_mode);
PG_FUNCTION_INFO_V1(order_engine_set_stock_modes);

/* What has not been folded into a row. */
typedef struct Unfolded
{
	int64 epoch;
	int64 on_hand;
	int64 reserved;
} Unfolded;

/* Of the next version of the row; those that do not change are as they were. */
typedef struct NextRow
{
	int64 on_hand;
	int64 reserved;
	int64 epoch;
} NextRow;

static int64
get_number(const StockRow *stock, int column)
{
	return DatumGetInt64(row_get_required(stock->table, stock->row, column));
}

static void
tell_mode(const StockRow *stock, StockMode *mode)
{
	mode->escrow = stock->escrow;
	mode->is_auto = DatumGetBool(row_get_required(stock->table, stock->row, STOCK_AUTO_MODE));
}

bool
stock_mode_find(StockRow *stock, const char *sku, StockMode *mode)
{
	if (!stock_row_find(stock, sku))
		return false;
	tell_mode(stock, mode);
	return true;
}

bool
stock_mode_lock(StockRow *stock, const char *sku, StockMode *mode)
{
	if (!stock_row_lock(stock, sku))
		return false;
	tell_mode(stock, mode);
	return true;
}

/* ---- what goes into the row ---- */

static int64
add_quantity(const StockRow *stock, int64 quantity, int64 delta)
{
	int64 sum;

	if (pg_add_s64_overflow(quantity, delta, &sum))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("quantity of SKU \"%s\" is out of range", stock->sku)));
	return sum;
}

/* StockChangeVisitor */
static void
add_change(const StockChange *change, void *argument)
{
	Unfolded *unfolded = argument;

	if (change->epoch != unfolded->epoch)
		return;
	unfolded->on_hand += change->on_hand;
	unfolded->reserved += change->reserved;
}

/*
 * The snapshot comes after the locks: of the row, so no fold writes it, of the SKU, of the
 * leaves.
 */
static void
read_unfolded(const StockRow *stock, Unfolded *unfolded)
{
	Snapshot snapshot;

	stock_journal_lock();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	stock_journal_unfolded(snapshot, stock->sku, add_change, unfolded);
	UnregisterSnapshot(snapshot);
}

static void
switch_to_row(const StockRow *stock, NextRow *next)
{
	Unfolded unfolded = {.epoch = get_number(stock, STOCK_EPOCH)};

	escrow_bar(stock->sku, false);
	read_unfolded(stock, &unfolded);
	next->on_hand = add_quantity(stock, stock->on_hand, unfolded.on_hand);
	next->reserved = add_quantity(stock, stock->reserved, unfolded.reserved);
	next->epoch = 0;
	escrow_remove_at_commit(stock->sku);
}

static void
switch_to_escrow(const StockRow *stock, NextRow *next)
{
	escrow_bar(stock->sku, true);
	next->epoch = order_id_next(slot_lowest_owned());
	escrow_open_at_commit(stock->sku, next->epoch, stock_row_free(stock));
	escrow_close_at_commit(stock->sku, !stock->open);
}

/* ---- the next version of the row ---- */

static void
set_number(StockRow *stock, int column, int64 value, int *columns, int *ncolumns)
{
	if (get_number(stock, column) == value)
		return;
	row_set(stock->table, stock->next, column, Int64GetDatum(value));
	columns[(*ncolumns)++] = column;
}

static void
check_number(const StockRow *stock, int column, int64 expected)
{
	if (DatumGetInt64(row_get_required(stock->table, stock->next, column)) != expected)
		ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
						errmsg("a trigger on table \"%s\" changed column \"%s\" of SKU \"%s\"",
							   stock_columns.table, stock_columns.columns[column].name, stock->sku),
						errhint("A BEFORE trigger there may change columns of its own only.")));
}

/* A user's BEFORE trigger has no say in these. */
static void
check_written(const StockRow *stock, const NextRow *next)
{
	check_number(stock, STOCK_ON_HAND, next->on_hand);
	check_number(stock, STOCK_RESERVED, next->reserved);
	check_number(stock, STOCK_EPOCH, next->epoch);
	check_number(stock, STOCK_VERSION, stock->version);
}

static void
write_row(StockRow *stock, const NextRow *next, const StockMode *mode)
{
	int columns[STOCK_COLUMNS];
	int ncolumns = 0;

	row_copy(stock->table, stock->next, stock->row);
	set_number(stock, STOCK_ON_HAND, next->on_hand, columns, &ncolumns);
	set_number(stock, STOCK_RESERVED, next->reserved, columns, &ncolumns);
	set_number(stock, STOCK_EPOCH, next->epoch, columns, &ncolumns);
	set_number(stock, STOCK_VERSION, ++stock->version, columns, &ncolumns);
	row_set(stock->table, stock->next, STOCK_MODE,
			CStringGetTextDatum(mode->escrow ? STOCK_ESCROW_MODE : STOCK_ROW_MODE));
	columns[ncolumns++] = STOCK_MODE;
	row_set(stock->table, stock->next, STOCK_AUTO_MODE, BoolGetDatum(mode->is_auto));
	columns[ncolumns++] = STOCK_AUTO_MODE;
	row_update(stock->table, stock->row, stock->next, ncolumns, columns);
	check_written(stock, next);
}

/* What is folded may have sold the SKU out, or brought it back. */
static void
note_change(StockRow *stock, const NextRow *next)
{
	StockState before = {stock->on_hand, stock->reserved, stock->open};
	StockState after = {next->on_hand, next->reserved, stock->open};

	stock->on_hand = next->on_hand;
	stock->reserved = next->reserved;
	stock_event_note(stock->scope, stock->sku, stock->version, &before, &after);
}

bool
stock_mode_change(StockRow *stock, const StockMode *old, const StockMode *new)
{
	NextRow next = {
		.on_hand = stock->on_hand,
		.reserved = stock->reserved,
		.epoch = get_number(stock, STOCK_EPOCH),
	};

	if (old->escrow == new->escrow && old->is_auto == new->is_auto)
		return false;
	if (old->escrow && !new->escrow)
		switch_to_row(stock, &next);
	else if (new->escrow && !old->escrow)
		switch_to_escrow(stock, &next);
	write_row(stock, &next, new);
	stock->escrow = new->escrow;
	note_change(stock, &next);
	return true;
}

/* ---- set_stock_mode() ---- */

typedef enum WantedMode
{
	WANT_ROW,
	WANT_ESCROW,
	WANT_AUTO, /* stays as it is until the keeper switches it */
} WantedMode;

static WantedMode
read_mode(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {STOCK_ROW_MODE, STOCK_ESCROW_MODE, AUTO_MODE};
	const char				*name;

	call_require(fcinfo, 1, "mode");
	name = call_text(fcinfo, 1);
	for (int i = 0; i < lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("there is no stock mode \"%s\"", name),
					errhint("Modes are \"%s\", \"%s\" and \"%s\".", names[0], names[1], names[2])));
}

static void
raise_unknown(const char *sku)
{
	StockShortage shortage = {0};

	stock_shortage_add_unknown(&shortage, sku);
	stock_shortage_raise(&shortage);
}

static bool
set_mode(StockRow *stock, const char *sku, WantedMode wanted)
{
	StockMode old;
	StockMode new;

	if (!stock_mode_lock(stock, sku, &old))
		raise_unknown(sku);
	new.is_auto = wanted == WANT_AUTO;
	new.escrow = wanted == WANT_AUTO ? old.escrow : wanted == WANT_ESCROW;
	return stock_mode_change(stock, &old, &new);
}

/*
 * Those in mode escrow first: who has pinned one of them is waited for, and he may wait for a
 * row that is in mode row.  Of either kind in the order of the SKUs, as all do who lock several
 * rows of stock.
 */
static void
put_escrow_first(StockRow *stock, char **skus, int nskus)
{
	char **others = palloc(sizeof(char *) * (nskus + 1));
	int	   nothers = 0;
	int	   n = 0;

	for (int i = 0; i < nskus; i++)
	{
		StockMode mode;

		CHECK_FOR_INTERRUPTS();
		if (stock_mode_find(stock, skus[i], &mode) && mode.escrow)
			skus[n++] = skus[i];
		else
			others[nothers++] = skus[i];
	}
	memcpy(&skus[n], others, sizeof(char *) * nothers);
	pfree(others);
}

/* Returns how many changed. */
static int
set_modes(char **skus, int nskus, WantedMode wanted)
{
	int		   changed = 0;
	StockRow   stock;
	RowScope   scope;
	OwnerScope owner;

	owner_begin(&owner);
	row_scope_begin(&scope, CALL_NAME);
	stock_row_open(&stock, &scope);
	if (nskus > 1)
		put_escrow_first(&stock, skus, nskus);
	for (int i = 0; i < nskus; i++)
		changed += set_mode(&stock, skus[i], wanted) ? 1 : 0;
	row_scope_end(&scope);
	owner_end(&owner);
	return changed;
}

Datum
order_engine_set_stock_mode(PG_FUNCTION_ARGS)
{
	char *sku;

	call_require(fcinfo, 0, "sku");
	sku = call_text(fcinfo, 0);
	call_check_name(sku, "sku");
	PG_RETURN_BOOL(set_modes(&sku, 1, read_mode(fcinfo)) > 0);
}

static int
compare_skus(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static int
leave_out_repeated(char **skus, int nskus)
{
	int n = 0;

	qsort(skus, nskus, sizeof(char *), compare_skus);
	for (int i = 0; i < nskus; i++)
		if (n == 0 || strcmp(skus[n - 1], skus[i]) != 0)
			skus[n++] = skus[i];
	return n;
}

/* Argument 0: sorted, each once. */
static char **
read_skus(FunctionCallInfo fcinfo, int *nskus)
{
	Datum *values;
	bool  *missing;
	char **skus;

	call_require(fcinfo, 0, "skus");
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &values, &missing,
					  nskus);
	skus = palloc(sizeof(char *) * (*nskus + 1));
	for (int i = 0; i < *nskus; i++)
	{
		if (missing[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("\"skus\" must not contain nulls")));
		skus[i] = TextDatumGetCString(values[i]);
		call_check_name(skus[i], "sku");
	}
	*nskus = leave_out_repeated(skus, *nskus);
	return skus;
}

Datum
order_engine_set_stock_modes(PG_FUNCTION_ARGS)
{
	int	   nskus;
	char **skus = read_skus(fcinfo, &nskus);

	PG_RETURN_INT32(set_modes(skus, nskus, read_mode(fcinfo)));
}
