/*
 * stock_journal.c
 *		Changes of stock in mode escrow on their way into the table stock.
 *
 * Rows are appended as the outbox's are.  What is not folded yet is read under one
 * snapshot that the caller gives, with the positions that this snapshot sees: so a row
 * of stock under the same snapshot, and these rows, are one state, whatever is folded
 * meanwhile.  No lock is taken for that but ACCESS SHARE on the leaves, from before
 * the snapshot.
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/call.h"
#include "journal/journal_tick_internal.h"
#include "journal/scan_internal.h"
#include "journal/stock_journal.h"
#include "shop/order_id.h"
#include "shop/slot.h"

PG_FUNCTION_INFO_V1(order_engine_stock_journal_unfolded);

/* ---- appending ---- */

void
stock_journal_append(RowScope *scope, const StockChange *change)
{
	static const ShopTable journal = SHOP_STOCK_JOURNAL;
	int					   ring;
	RowTable			  *table;
	TupleTableSlot		  *slot;

	row_lock_tables(&journal, 1, RowExclusiveLock);
	table = row_open(scope, journal_leaf(JOURNAL_STOCK, &ring), &stock_journal_columns);
	slot = row_slot(table);
	row_new(table, slot);
	row_set(table, slot, STOCK_JOURNAL_ID, Int64GetDatum(order_id_next(slot_lowest_owned())));
	row_set(table, slot, STOCK_JOURNAL_SKU, CStringGetTextDatum(change->sku));
	row_set(table, slot, STOCK_JOURNAL_ON_HAND, Int64GetDatum(change->on_hand));
	row_set(table, slot, STOCK_JOURNAL_RESERVED, Int64GetDatum(change->reserved));
	row_set(table, slot, STOCK_JOURNAL_EPOCH, Int64GetDatum(change->epoch));
	row_set(table, slot, STOCK_JOURNAL_CREATED_AT, TimestampTzGetDatum(GetCurrentTimestamp()));
	row_set(table, slot, STOCK_JOURNAL_XID, FullTransactionIdGetDatum(GetTopFullTransactionId()));
	row_set(table, slot, STOCK_JOURNAL_ERA, Int64GetDatum(journal_era()));
	row_set(table, slot, STOCK_JOURNAL_RING, Int32GetDatum(ring));
	row_insert(table, slot);
}

/* ---- reading ---- */

void
stock_journal_lock(void)
{
	int nleaves;

	pfree(ring_lock(SHOP_JOURNAL_POSITION, AccessShareLock, &nleaves));
	pfree(ring_lock(SHOP_STOCK_JOURNAL, AccessShareLock, &nleaves));
}

/* Which rows are read, and for whom; of one leaf after the other. */
typedef struct Reading
{
	bool				own;	  /* rows of this era */
	bool				others;	  /* of other eras */
	const TickSnapshot *consumed; /* rows of this era that it sees are folded */
	const TickSnapshot *adopted;  /* of other eras, those that it is past */
	const TickSnapshot *until;	  /* no row that it does not see; NULL: as the MVCC snapshot says */
	const char		   *sku;	  /* NULL: of all */
	StockChangeVisitor	visit;
	void			   *argument;

	/* of the leaf */
	TupleTableSlot *slot;
	AttrNumber		attno[STOCK_JOURNAL_COLUMNS];
	int				sku_key; /* column of the index that has the SKU; 0: none */
	List		   *eras;	 /* see scan_era_consumed() */
} Reading;

static bool
is_wanted(const Reading *reading, Datum sku)
{
	text *value = DatumGetTextPP(sku);

	return VARSIZE_ANY_EXHDR(value) == strlen(reading->sku) &&
		   memcmp(VARDATA_ANY(value), reading->sku, strlen(reading->sku)) == 0;
}

/* False if the index tells that the row is of another SKU, so that it need not be read. */
static bool
may_be_wanted(const Reading *reading, IndexScanDesc scan)
{
	bool  isnull;
	Datum sku;

	if (reading->sku == NULL || reading->sku_key == 0)
		return true;
	sku = index_getattr(scan->xs_itup, reading->sku_key, RelationGetDescr(scan->indexRelation),
						&isnull);
	return isnull || is_wanted(reading, sku);
}

static int64
read_int64(const Reading *reading, int column)
{
	return DatumGetInt64(row_require(reading->slot, reading->attno[column]));
}

/* The row in the slot. */
static void
visit_row(const Reading *reading)
{
	Datum		sku = row_require(reading->slot, reading->attno[STOCK_JOURNAL_SKU]);
	StockChange change;
	char	   *name;

	if (reading->sku && !is_wanted(reading, sku))
		return;
	name = TextDatumGetCString(sku);
	change.sku = name;
	change.on_hand = read_int64(reading, STOCK_JOURNAL_ON_HAND);
	change.reserved = read_int64(reading, STOCK_JOURNAL_RESERVED);
	change.epoch = read_int64(reading, STOCK_JOURNAL_EPOCH);
	reading->visit(&change, reading->argument);
	pfree(name);
}

static bool
read_entry(IndexScanDesc scan, const LeafEntry *entry, void *argument)
{
	const Reading *reading = argument;

	if (may_be_wanted(reading, scan) && index_fetch_heap(scan, reading->slot))
		visit_row(reading);
	return true;
}

/* What counts of a row that a restore brought is who brought it. */
static bool
read_other(IndexScanDesc scan, const LeafEntry *entry, void *argument)
{
	Reading *reading = argument;
	uint64	 writer;

	if (!may_be_wanted(reading, scan) ||
		scan_era_consumed(&reading->eras, JOURNAL_STOCK, scan, entry) ||
		!index_fetch_heap(scan, reading->slot))
		return true;
	writer = scan_row_writer(reading->slot);
	if (!snapshot_past(reading->adopted, writer) &&
		(reading->until == NULL || snapshot_past(reading->until, writer)))
		visit_row(reading);
	return true;
}

static void
reading_begin(Reading *reading, const LeafScan *leaf)
{
	const Form_pg_index index = leaf->index->rd_index;

	reading->slot = table_slot_create(leaf->rel, NULL);
	row_layout(leaf->rel, &stock_journal_columns, reading->attno);
	reading->sku_key = 0;
	for (int i = index->indnkeyatts; i < index->indnatts; i++)
		if (index->indkey.values[i] == reading->attno[STOCK_JOURNAL_SKU])
			reading->sku_key = i + 1;
}

/* In leaves that were locked before the snapshot was taken. */
static void
read_leaves(Reading *reading, const Leaf *leaves, int nleaves, Snapshot snapshot)
{
	for (int i = 0; i < nleaves; i++)
	{
		LeafScan leaf;

		if (!scan_open(&leaf, JOURNAL_STOCK, leaves[i].relid, snapshot))
			continue;
		reading_begin(reading, &leaf);
		if (reading->own)
			scan_between(&leaf, journal_era(), reading->consumed, reading->until, read_entry,
						 reading);
		if (reading->others)
			scan_others(&leaf, journal_era(), read_other, reading);
		ExecDropSingleTupleTableSlot(reading->slot);
		scan_close(&leaf);
	}
}

void
stock_journal_unfolded(Snapshot snapshot, const char *sku, StockChangeVisitor visit, void *argument)
{
	Reading reading = {
		.own = true, .others = true, .sku = sku, .visit = visit, .argument = argument};
	JournalState state;
	int			 nleaves;
	Leaf		*leaves;

	/* again: a leaf may have been added between the locks and the snapshot */
	leaves = ring_lock(SHOP_JOURNAL_POSITION, AccessShareLock, &nleaves);
	ring_check_seen(SHOP_JOURNAL_POSITION, leaves, nleaves, snapshot);
	leaves = ring_lock(SHOP_STOCK_JOURNAL, AccessShareLock, &nleaves);
	ring_check_seen(SHOP_STOCK_JOURNAL, leaves, nleaves, snapshot);
	if (position_seen(JOURNAL_STOCK, journal_era(), snapshot, &state))
	{
		position_fold(&state);
		reading.consumed = state.consumed;
		reading.adopted = state.adopted;
	}
	read_leaves(&reading, leaves, nleaves, snapshot);
}

static void
put_change(const StockChange *change, void *argument)
{
	ReturnSetInfo *result = argument;
	Datum		   values[] = {CStringGetTextDatum(change->sku), Int64GetDatum(change->on_hand),
							   Int64GetDatum(change->reserved), Int64GetDatum(change->epoch)};
	bool		   nulls[lengthof(values)] = {false};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	pfree(DatumGetPointer(values[0]));
}

Datum
order_engine_stock_journal_unfolded(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	stock_journal_lock();
	stock_journal_unfolded(GetActiveSnapshot(), call_text(fcinfo, 0), put_change,
						   fcinfo->resultinfo);
	return (Datum) 0;
}

/* ---- folding ---- */

/* A batch that is read and acknowledged in the transaction that stores it. */
struct StockFold
{
	JournalState batch;
	Snapshot	 snapshot; /* registered */
	Leaf		*leaves;
	int			 nleaves;
};

/* Where nobody sells by escrow there is nothing to lock. */
static bool
journal_is_empty(void)
{
	int	  nleaves;
	Leaf *leaves = ring_leaves(SHOP_STOCK_JOURNAL, &nleaves);
	bool  empty = true;

	for (int i = 0; i < nleaves && empty; i++)
		empty = ring_leaf_blocks(leaves[i].relid) == 0;
	pfree(leaves);
	return empty;
}

/* A tick that somebody has left there is the batch, else the next one is; false: none. */
static bool
find_batch(StockFold *fold)
{
	JournalState state;

	tick_newest(JOURNAL_STOCK, &state);
	fold->batch = state;
	return state.last_id != JOURNAL_WHOLE ||
		   tick_next(&state, &fold->batch, fold->leaves, fold->nleaves, fold->snapshot);
}

StockFold *
stock_fold_begin(void)
{
	StockFold *fold = palloc0(sizeof(StockFold));

	if (journal_is_empty() || tick_is_put_off(JOURNAL_STOCK) ||
		!position_lock_if_free(JOURNAL_STOCK))
		return NULL;
	ring_require_whole(JOURNAL_STOCK);
	fold->leaves = ring_lock_if_free(SHOP_STOCK_JOURNAL, AccessShareLock, &fold->nleaves);
	if (fold->leaves == NULL)
		return NULL;
	fold->snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (find_batch(fold))
		return fold;
	UnregisterSnapshot(fold->snapshot);
	return NULL;
}

void
stock_fold_visit(StockFold *fold, StockChangeVisitor visit, void *argument)
{
	const JournalState *batch = &fold->batch;
	Reading				reading = {
					.own = !batch->other_eras,
					.others = batch->other_eras,
					.consumed = batch->consumed,
					.adopted = batch->adopted,
					.until = batch->snapshot,
					.visit = visit,
					.argument = argument,
	};

	read_leaves(&reading, fold->leaves, fold->nleaves, fold->snapshot);
}

void
stock_fold_end(StockFold *fold)
{
	fold->batch.last_id = JOURNAL_WHOLE;
	tick_append(&fold->batch);
	stock_fold_leave(fold);
}

void
stock_fold_leave(StockFold *fold)
{
	UnregisterSnapshot(fold->snapshot);
}
