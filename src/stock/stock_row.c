/*
 * stock_row.c
 *		A row of stock: found, locked, changed, made.
 *
 * What makes it safe is that a row is written only as the next version of the very
 * row that was judged: either row_update_if_unchanged() finds it unchanged, or the
 * row is locked (FOR NO KEY UPDATE), judged again and written under that lock, which
 * is held until the transaction ends.  Rows of several SKUs are locked in the order
 * of their keys.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "common/int.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "base/errors.h"
#include "stock/stock_event_internal.h"
#include "stock/stock_heat_internal.h"
#include "stock/stock_row_internal.h"

void
stock_row_open(StockRow *stock, RowScope *scope)
{
	static const int	   key[] = {STOCK_SKU};
	static const ShopTable tables[] = {SHOP_STOCK, SHOP_STOCK_MOVEMENT, SHOP_OUTBOX};

	row_lock_tables(tables, stock_event_wanted() ? 3 : 2, RowExclusiveLock);
	stock->scope = scope;
	stock->table = row_open(scope, shop_table(SHOP_STOCK), &stock_columns);
	stock->index = row_unique_index(stock->table, lengthof(key), key);
	stock->row = row_slot(stock->table);
	stock->next = row_slot(stock->table);
}

void
stock_row_open_another(StockRow *stock, const StockRow *opened)
{
	*stock = *opened;
	stock->row = row_slot(stock->table);
}

static int64
get_quantity(StockRow *stock, int column)
{
	return DatumGetInt64(row_get_required(stock->table, stock->row, column));
}

static void
read_row(StockRow *stock)
{
	stock->on_hand = get_quantity(stock, STOCK_ON_HAND);
	stock->reserved = get_quantity(stock, STOCK_RESERVED);
	stock->version = get_quantity(stock, STOCK_VERSION);
	stock->open = DatumGetBool(row_get_required(stock->table, stock->row, STOCK_OPEN));
	stock->epoch = get_quantity(stock, STOCK_EPOCH);
	stock->escrow = stock->epoch != 0;
}

static void
init_key(StockRow *stock, const char *sku, ScanKey key)
{
	stock->sku = sku;
	stock->escrow = false;
	ScanKeyInit(key, 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(sku));
}

bool
stock_row_find(StockRow *stock, const char *sku)
{
	ScanKeyData key;

	init_key(stock, sku, &key);
	if (!row_find(stock->table, stock->index, 1, &key, stock->row))
		return false;
	read_row(stock);
	return true;
}

static bool
lock_row(StockRow *stock, const char *sku, LockWaitPolicy wait)
{
	ScanKeyData key;

	init_key(stock, sku, &key);
	if (!row_find_locked(stock->table, stock->index, 1, &key, wait, stock->row))
		return false;
	read_row(stock);
	return true;
}

bool
stock_row_lock(StockRow *stock, const char *sku)
{
	return lock_row(stock, sku, LockWaitBlock);
}

bool
stock_row_lock_to_fold(StockRow *stock, const char *sku)
{
	bool locked = lock_row(stock, sku, LockWaitSkip);

	stock->escrow = false;
	return locked;
}

static int64
add_quantity(const StockRow *stock, int64 quantity, int64 delta)
{
	int64 sum;

	if (pg_add_s64_overflow(quantity, delta, &sum))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("quantity of SKU \"%s\" is out of range", stock->sku)));
	return sum;
}

/*
 * Makes the next version of the row, with one version more.  Afterwards *stock
 * is what it will be.  Returns how many `columns` change.
 */
static int
make_next(StockRow *stock, int64 on_hand, int64 reserved, int *columns)
{
	int ncolumns = 0;

	Assert(!stock->escrow);
	row_copy(stock->table, stock->next, stock->row);
	stock->version++;
	row_set(stock->table, stock->next, STOCK_VERSION, Int64GetDatum(stock->version));
	columns[ncolumns++] = STOCK_VERSION;
	if (on_hand != 0)
	{
		stock->on_hand = add_quantity(stock, stock->on_hand, on_hand);
		row_set(stock->table, stock->next, STOCK_ON_HAND, Int64GetDatum(stock->on_hand));
		columns[ncolumns++] = STOCK_ON_HAND;
	}
	if (reserved != 0)
	{
		stock->reserved = add_quantity(stock, stock->reserved, reserved);
		row_set(stock->table, stock->next, STOCK_RESERVED, Int64GetDatum(stock->reserved));
		columns[ncolumns++] = STOCK_RESERVED;
	}
	return ncolumns;
}

static int64
next_quantity(StockRow *stock, int column)
{
	return DatumGetInt64(row_get_required(stock->table, stock->next, column));
}

static void
check_column(const StockRow *stock, int column, bool as_meant)
{
	if (!as_meant)
		ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
						errmsg("a trigger on table \"%s\" changed column \"%s\" of SKU \"%s\"",
							   stock_columns.table, stock_columns.columns[column].name, stock->sku),
						errhint("A BEFORE trigger there may change columns of its own only.")));
}

/* A user's BEFORE trigger may have a column of his own, but not a say in ours. */
static void
check_written(StockRow *stock)
{
	if (!stock->table->user_triggers)
		return;
	check_column(stock, STOCK_ON_HAND, next_quantity(stock, STOCK_ON_HAND) == stock->on_hand);
	check_column(stock, STOCK_RESERVED, next_quantity(stock, STOCK_RESERVED) == stock->reserved);
	check_column(stock, STOCK_VERSION, next_quantity(stock, STOCK_VERSION) == stock->version);
	check_column(stock, STOCK_OPEN,
				 DatumGetBool(row_get_required(stock->table, stock->next, STOCK_OPEN)) ==
					 stock->open);
}

static StockState
state_of(const StockRow *stock)
{
	return (StockState){stock->on_hand, stock->reserved, stock->open};
}

static void
note_change(const StockRow *stock, const StockState *before)
{
	StockState after = state_of(stock);

	stock_event_note(stock->scope, stock->sku, stock->version, before, &after);
}

void
stock_row_change(StockRow *stock, int64 on_hand, int64 reserved)
{
	StockState before = state_of(stock);
	int		   columns[STOCK_COLUMNS];
	int		   ncolumns = make_next(stock, on_hand, reserved, columns);

	row_update(stock->table, stock->row, stock->next, ncolumns, columns);
	check_written(stock);
	note_change(stock, &before);
}

bool
stock_row_change_if_unchanged(StockRow *stock, int64 on_hand, int64 reserved)
{
	StockState before = state_of(stock);
	int		   columns[STOCK_COLUMNS];
	int		   ncolumns = make_next(stock, on_hand, reserved, columns);

	if (!row_update_if_unchanged(stock->table, stock->row, stock->next, ncolumns, columns))
	{
		stock_heat_count(stock->sku);
		return false;
	}
	note_change(stock, &before);
	return true;
}

void
stock_row_set_open(StockRow *stock, bool open)
{
	static const int columns[] = {STOCK_VERSION, STOCK_OPEN};
	StockState		 before = state_of(stock);

	row_copy(stock->table, stock->next, stock->row);
	stock->version++;
	stock->open = open;
	row_set(stock->table, stock->next, STOCK_VERSION, Int64GetDatum(stock->version));
	row_set(stock->table, stock->next, STOCK_OPEN, BoolGetDatum(open));
	row_update(stock->table, stock->row, stock->next, lengthof(columns), columns);
	check_written(stock);
	note_change(stock, &before);
}

/*
 * Creates the row, empty; what comes in next makes it version 1.  Under
 * READ COMMITTED another may have created it meanwhile.
 */
static bool
insert_empty(StockRow *stock, const char *sku)
{
	ItemPointerData other;

	stock->on_hand = stock->reserved = stock->version = 0;
	stock->open = true;
	row_new(stock->table, stock->next);
	row_set(stock->table, stock->next, STOCK_SKU, CStringGetTextDatum(sku));
	row_set(stock->table, stock->next, STOCK_ON_HAND, Int64GetDatum(0));
	row_set(stock->table, stock->next, STOCK_RESERVED, Int64GetDatum(0));
	row_set(stock->table, stock->next, STOCK_VERSION, Int64GetDatum(0));
	row_set(stock->table, stock->next, STOCK_MODE, CStringGetTextDatum(STOCK_ROW_MODE));
	row_set(stock->table, stock->next, STOCK_AUTO_MODE, BoolGetDatum(false));
	row_set(stock->table, stock->next, STOCK_OPEN, BoolGetDatum(true));
	row_set(stock->table, stock->next, STOCK_EPOCH, Int64GetDatum(0));
	if (row_insert_unless(stock->table, stock->next, stock->index, &other))
	{
		check_written(stock);
		return true;
	}
	row_check_conflict(NULL);
	return false;
}

void
stock_row_lock_or_create(StockRow *stock, const char *sku)
{
	bool created = false;

	while (!stock_row_lock(stock, sku))
	{
		if (created)
			ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
							errmsg("a trigger on table \"%s\" changed SKU \"%s\"",
								   stock_columns.table, sku)));
		created = insert_empty(stock, sku);
		row_scope_refresh(stock->scope);
	}
}
