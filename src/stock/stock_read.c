/*
 * stock_read.c
 *		What is available: available(), availability(), the view stock_now.
 *
 * Of a SKU in mode escrow that is in shared memory, its counter.  Else the row under the
 * caller's snapshot (row_reading_snapshot()), in mode escrow with what that snapshot sees
 * of its journal and is not folded yet.  Without a scope.  The locks of the table are given
 * back at once: who looks and then reserves must not come to write with a lock of reading
 * in hand, for which REINDEX waits.
 *
 * A leaf of the journal that is emptied, or written anew, is so for older snapshots too.  So
 * where the journal is read its leaves are locked first, and then a snapshot is taken, where one
 * can be had.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/snapmgr.h"

#include "base/call.h"
#include "journal/stock_journal.h"
#include "shop/row_scan.h"
#include "shop/shop.h"
#include "stock/escrow.h"
#include "stock/stock_read_internal.h"
#include "stock/stock_row_internal.h"

PG_FUNCTION_INFO_V1(order_engine_available);
PG_FUNCTION_INFO_V1(order_engine_availability);
PG_FUNCTION_INFO_V1(order_engine_stock_now_rows);

/* ---- what is not folded yet ---- */

typedef struct UnfoldedKey
{
	char  sku[CALL_MAX_NAME_LENGTH + 1]; /* padded with zeros */
	int64 epoch;
} UnfoldedKey;

typedef struct Unfolded
{
	UnfoldedKey key;
	int64		on_hand;
	int64		reserved;
} Unfolded;

static void
set_key(UnfoldedKey *key, const char *sku, int64 epoch)
{
	memset(key, 0, sizeof(*key));
	strlcpy(key->sku, sku, sizeof(key->sku));
	key->epoch = epoch;
}

static void
add_change(const StockChange *change, void *argument)
{
	UnfoldedKey key;
	Unfolded   *sum;
	bool		found;

	set_key(&key, change->sku, change->epoch);
	sum = hash_search((HTAB *) argument, &key, HASH_ENTER, &found);
	if (!found)
		sum->on_hand = sum->reserved = 0;
	sum->on_hand = stock_change_sum(sum->on_hand, change->on_hand);
	sum->reserved = stock_change_sum(sum->reserved, change->reserved);
}

/* By SKU and epoch; of one SKU, or NULL: of all. */
static HTAB *
read_unfolded(Snapshot snapshot, const char *sku)
{
	HASHCTL control = {
		.keysize = sizeof(UnfoldedKey),
		.entrysize = sizeof(Unfolded),
		.hcxt = CurrentMemoryContext,
	};
	HTAB *sums = hash_create("order_engine unfolded stock", sku ? 1 : 256, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	stock_journal_unfolded(snapshot, sku, add_change, sums);
	return sums;
}

/* ---- rows ---- */

typedef struct StockReader
{
	RowScan	   rows; /* by sku */
	AttrNumber attno[STOCK_COLUMNS];
	bool	   many;	 /* will be asked for many SKUs */
	bool	   locked;	 /* the journal, and since before the snapshot, if there is a choice */
	HTAB	  *unfolded; /* NULL: not needed so far; of all SKUs if it is asked for many */
} StockReader;

/* What a row says, with what is not folded yet. */
typedef struct StockNow
{
	bool  escrow;
	bool  open;
	int64 on_hand;
	int64 reserved;
	int64 version;
} StockNow;

/* The leaves of the journal, and of its positions. */
static void
lock_journal(void)
{
	static const ShopTable tables[] = {SHOP_JOURNAL_POSITION, SHOP_STOCK_JOURNAL};

	row_lock_tables(tables, lengthof(tables), AccessShareLock);
	stock_journal_lock();
}

/* NULL: there is none but the caller's. */
static Snapshot
snapshot_behind_locks(void)
{
	lock_journal();
	return IsolationUsesXactSnapshot() || IsInParallelMode() ? NULL : GetLatestSnapshot();
}

/* With this snapshot; NULL: with the caller's. */
static void
reader_open_with(StockReader *reader, bool many, Snapshot snapshot)
{
	Relation stock = row_open_for_reading(SHOP_STOCK);

	row_layout(stock, &stock_columns, reader->attno);
	row_scan_open(&reader->rows, stock, SHOP_STOCK, snapshot, 1, &reader->attno[STOCK_SKU]);
	reader->many = many;
	reader->locked = false;
	reader->unfolded = NULL;
}

static void
reader_open_locked(StockReader *reader, bool many)
{
	reader_open_with(reader, many, snapshot_behind_locks());
	reader->locked = true;
}

/* The journal will not be needed on most occasions, so it is locked when it is. */
static void
reader_open(StockReader *reader, bool many)
{
	if (RecoveryInProgress())
		reader_open_locked(reader, many);
	else
		reader_open_with(reader, many, NULL);
}

static void
reader_close(StockReader *reader)
{
	row_scan_close(&reader->rows, AccessShareLock);
}

static int64
get_quantity(const StockReader *reader, TupleTableSlot *slot, int column)
{
	return DatumGetInt64(row_require(slot, reader->attno[column]));
}

static void
add_unfolded(StockReader *reader, const char *sku, int64 epoch, StockNow *now)
{
	UnfoldedKey key;
	Unfolded   *sum;

	if (reader->unfolded == NULL)
		reader->unfolded = read_unfolded(reader->rows.snapshot, reader->many ? NULL : sku);
	set_key(&key, sku, epoch);
	sum = hash_search(reader->unfolded, &key, HASH_FIND, NULL);
	if (sum == NULL)
		return;
	now->on_hand = stock_change_sum(now->on_hand, sum->on_hand);
	now->reserved = stock_change_sum(now->reserved, sum->reserved);
	if (sum->on_hand != 0 || sum->reserved != 0)
		now->version++; /* by the next fold */
}

static void
read_row(StockReader *reader, TupleTableSlot *slot, const char *sku, StockNow *now)
{
	int64 epoch = get_quantity(reader, slot, STOCK_EPOCH);

	now->escrow = epoch != 0;
	now->open = DatumGetBool(row_require(slot, reader->attno[STOCK_OPEN]));
	now->on_hand = get_quantity(reader, slot, STOCK_ON_HAND);
	now->reserved = get_quantity(reader, slot, STOCK_RESERVED);
	now->version = get_quantity(reader, slot, STOCK_VERSION);
	if (now->escrow)
		add_unfolded(reader, sku, epoch, now);
}

static int64
available_now(const StockNow *now)
{
	return now->open ? now->on_hand - now->reserved : 0;
}

static bool
find_row(StockReader *reader, const char *sku)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(sku));
	row_scan_begin(&reader->rows, &key);
	return row_scan_next(&reader->rows, ForwardScanDirection);
}

/* False if there is none of that name. */
static bool
reader_find(StockReader *reader, const char *sku, StockNow *now)
{
	if (!find_row(reader, sku))
		return false;
	if (!reader->locked && get_quantity(reader, reader->rows.slot, STOCK_EPOCH) != 0)
	{
		bool many = reader->many;

		reader_close(reader);
		reader_open_locked(reader, many);
		if (!find_row(reader, sku))
			return false;
	}
	read_row(reader, reader->rows.slot, sku, now);
	return true;
}

/* The same. */
static bool
reader_get(StockReader *reader, const char *sku, int64 *available)
{
	StockNow now;

	if (!reader_find(reader, sku, &now))
		return false;
	*available = available_now(&now);
	return true;
}

/* ---- available(), availability() ---- */

/* Not every text is the name of a SKU. */
static bool
look(const char *sku, int64 *available)
{
	if (strlen(sku) > CALL_MAX_NAME_LENGTH || !escrow_look(sku, available))
		return false;
	*available = Max(*available, 0); /* STOCK_CLOSED is less */
	return true;
}

bool
stock_read_available(const char *sku, int64 *available)
{
	StockReader reader;
	bool		found;

	if (look(sku, available))
		return true;
	reader_open(&reader, false);
	found = reader_get(&reader, sku, available);
	reader_close(&reader);
	return found;
}

bool
stock_read_version(const char *sku, int64 *version)
{
	StockReader reader;
	StockNow	now;
	bool		found;

	lock_journal();
	reader_open_with(&reader, false, GetLatestSnapshot());
	reader.locked = true;
	found = reader_find(&reader, sku, &now);
	*version = found ? now.version : 0;
	reader_close(&reader);
	return found;
}

Datum
order_engine_available(PG_FUNCTION_ARGS)
{
	int64 available;

	if (!stock_read_available(text_to_cstring(PG_GETARG_TEXT_PP(0)), &available))
		PG_RETURN_NULL();
	PG_RETURN_INT64(available);
}

Datum
order_engine_availability(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	StockReader	   reader;
	Datum		  *skus;
	bool		  *missing;
	int			   nskus;

	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &skus, &missing,
					  &nskus);
	reader_open(&reader, nskus > 1);
	for (int i = 0; i < nskus; i++)
	{
		Datum values[2] = {skus[i], (Datum) 0};
		bool  nulls[2] = {missing[i], true};

		CHECK_FOR_INTERRUPTS(); /* a null asks for no row */
		if (!missing[i])
		{
			char *sku = TextDatumGetCString(skus[i]);
			int64 available = 0;

			nulls[1] = !look(sku, &available) && !reader_get(&reader, sku, &available);
			values[1] = Int64GetDatum(available);
		}
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	reader_close(&reader);
	return (Datum) 0;
}

/* ---- stock_now ---- */

static void
put_now(ReturnSetInfo *result, StockReader *reader, TupleTableSlot *slot)
{
	Datum	 name = row_require(slot, reader->attno[STOCK_SKU]);
	char	*sku = TextDatumGetCString(name);
	StockNow now;
	int64	 available;
	Datum	 values[5];
	bool	 nulls[lengthof(values)] = {false};

	read_row(reader, slot, sku, &now);
	if (!now.escrow || !look(sku, &available))
		available = available_now(&now);
	values[0] = name;
	values[1] = row_require(slot, reader->attno[STOCK_MODE]);
	values[2] = Int64GetDatum(now.on_hand);
	values[3] = Int64GetDatum(now.reserved);
	values[4] = Int64GetDatum(available);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	pfree(sku);
}

Datum
order_engine_stock_now_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo  *result = (ReturnSetInfo *) fcinfo->resultinfo;
	StockReader		reader;
	TableScanDesc	scan;
	TupleTableSlot *slot;

	InitMaterializedSRF(fcinfo, 0);
	reader_open_locked(&reader, true);
	scan = table_beginscan(reader.rows.rel, reader.rows.snapshot, 0, NULL);
	slot = table_slot_create(reader.rows.rel, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		put_now(result, &reader, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	reader_close(&reader);
	return (Datum) 0;
}
