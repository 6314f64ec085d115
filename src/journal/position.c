/*
 * position.c
 *		Positions: what a consumer has read.
 *
 * Owns the table journal_position.  Every row of it is a whole position; the
 * newest of this cluster's era counts.  Rows are only ever appended, under the
 * journal's lock (position_lock(), to the end of the transaction), so entries
 * are committed in their order; reading needs no lock.  The table has a ring of
 * two leaves: rotation lets the next row go to the other one and empties the
 * first when no snapshot can need it.  Each journal has two leaves of its own, so
 * that what one of them is emptied of is nothing that another needs.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "journal/position_internal.h"

/* A leaf of positions is full at this part of a journal's leaf, but not before the minimum. */
#define POSITION_LEAF_PART 8
#define POSITION_LEAF_MIN_BLOCKS (512 * 1024 / BLCKSZ)

/* ---- the lock ---- */

static LOCKTAG
lock_tag(Journal journal)
{
	LOCKTAG tag;

	/* of an object that does not exist, so it is in nobody's way who locks the table */
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId, shop_table(SHOP_JOURNAL_POSITION),
					   journal + 1);
	return tag;
}

void
position_lock(Journal journal)
{
	LOCKTAG tag = lock_tag(journal);
	int		nleaves;

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	pfree(ring_lock(SHOP_JOURNAL_POSITION, RowExclusiveLock, &nleaves));
}

bool
position_lock_if_free(Journal journal)
{
	LOCKTAG tag = lock_tag(journal);
	int		nleaves;

	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL &&
		   ring_lock_if_free(SHOP_JOURNAL_POSITION, RowExclusiveLock, &nleaves) != NULL;
}

/* ---- positions ---- */

/* A row of the table, and where its columns stand. */
typedef struct PositionRow
{
	TupleTableSlot *slot;
	AttrNumber		attno[POSITION_COLUMNS];
} PositionRow;

static Datum
position_get(const PositionRow *row, int column)
{
	return row_require(row->slot, row->attno[column]);
}

static int64
position_int64(const PositionRow *row, int column)
{
	return DatumGetInt64(position_get(row, column));
}

static int32
position_int32(const PositionRow *row, int column)
{
	return DatumGetInt32(position_get(row, column));
}

static pg_uuid_t
position_uuid(const PositionRow *row, int column)
{
	return *DatumGetUUIDP(position_get(row, column));
}

static TickSnapshot *
position_snapshot(const PositionRow *row, int column)
{
	bool  isnull;
	Datum value = slot_getattr(row->slot, row->attno[column], &isnull);

	return isnull ? NULL : (TickSnapshot *) PG_DETOAST_DATUM_COPY(value);
}

static void
decode_row(const PositionRow *row, Journal journal, int ring, JournalState *state)
{
	bool isnull;

	state->journal = journal;
	state->entry = position_int64(row, POSITION_ENTRY);
	state->generation = position_int64(row, POSITION_GENERATION);
	state->identity = position_uuid(row, POSITION_IDENTITY);
	state->era = position_int64(row, POSITION_ERA);
	state->timeline = position_int32(row, POSITION_TIMELINE);
	state->batch = position_int64(row, POSITION_BATCH);
	state->tick_id = position_uuid(row, POSITION_TICK_ID);
	state->tick_at = DatumGetTimestampTz(position_get(row, POSITION_TICK_AT));
	state->other_eras = DatumGetBool(position_get(row, POSITION_OTHER_ERAS));
	state->consumed = position_snapshot(row, POSITION_CONSUMED);
	state->adopted = position_snapshot(row, POSITION_ADOPTED);
	state->snapshot = position_snapshot(row, POSITION_SNAPSHOT);
	state->last_id = position_int64(row, POSITION_LAST_ID);
	state->current_ring = position_int32(row, POSITION_CURRENT_RING);
	state->ring = ring;
	state->xmin =
		DatumGetTransactionId(slot_getsysattr(row->slot, MinTransactionIdAttributeNumber, &isnull));
}

/* Walks a leaf of positions backwards; entries above the one in `state` only. */
static bool
find_in_leaf(Leaf *leaf, Snapshot snapshot, Journal journal, int64 era, int64 batch,
			 JournalState *state)
{
	Relation rel = table_open(leaf->relid, NoLock);
	Relation index = index_open(
		ring_index(rel, 3, (const char *const[]){"journal", "era", "entry"}), AccessShareLock);
	PositionRow	  row = {.slot = table_slot_create(rel, NULL)};
	IndexScanDesc scan = compat_index_beginscan(rel, index, snapshot, 2);
	ScanKeyData	  keys[2];
	bool		  found = false;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(journals[journal].name));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(era));
	row_layout(rel, &position_columns, row.attno);
	index_rescan(scan, keys, 2, NULL, 0);
	while (!found && index_getnext_slot(scan, BackwardScanDirection, row.slot))
	{
		int64 here = position_int64(&row, POSITION_BATCH);

		if (position_int64(&row, POSITION_ENTRY) <= state->entry || (batch >= 0 && here < batch))
			break;
		found = batch < 0 || here == batch;
		if (found)
			decode_row(&row, journal, leaf->ring, state);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(row.slot);
	index_close(index, NoLock);
	table_close(rel, NoLock);
	return found;
}

/* In leaves that were locked before the snapshot was taken; `batch` negative: of any batch. */
static bool
find_in_leaves(Leaf *leaves, int nleaves, Snapshot snapshot, Journal journal, int64 era,
			   int64 batch, JournalState *state)
{
	bool found = false;

	memset(state, 0, sizeof(JournalState));
	for (int i = 0; i < nleaves; i++)
		found |= find_in_leaf(&leaves[i], snapshot, journal, era, batch, state);
	return found;
}

bool
position_find(Journal journal, int64 era, int64 batch, JournalState *state)
{
	int		 nleaves;
	Leaf	*leaves = ring_lock(SHOP_JOURNAL_POSITION, AccessShareLock, &nleaves);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool	 found = find_in_leaves(leaves, nleaves, snapshot, journal, era, batch, state);

	UnregisterSnapshot(snapshot);
	pfree(leaves);
	return found;
}

bool
position_seen(Journal journal, int64 era, Snapshot snapshot, JournalState *state)
{
	int	  nleaves;
	Leaf *leaves = ring_leaves(SHOP_JOURNAL_POSITION, &nleaves);
	bool  found = find_in_leaves(leaves, nleaves, snapshot, journal, era, -1, state);

	pfree(leaves);
	return found;
}

bool
position_read(Journal journal, int64 era, JournalState *state)
{
	return position_find(journal, era, -1, state);
}

static void
set_snapshot(RowTable *table, TupleTableSlot *slot, int column, TickSnapshot *snapshot)
{
	if (snapshot)
		row_set(table, slot, column, PointerGetDatum(snapshot));
}

void
position_append(JournalState *state)
{
	RowScope		scope;
	RowTable	   *table;
	TupleTableSlot *slot;

	state->entry++;
	row_scope_begin(&scope, "order_engine.journal_tick()");
	table = row_open(&scope, ring_leaf(SHOP_JOURNAL_POSITION, state->ring), &position_columns);
	slot = row_slot(table);
	row_new(table, slot);
	row_set(table, slot, POSITION_JOURNAL, CStringGetTextDatum(journals[state->journal].name));
	row_set(table, slot, POSITION_ENTRY, Int64GetDatum(state->entry));
	row_set(table, slot, POSITION_GENERATION, Int64GetDatum(state->generation));
	row_set(table, slot, POSITION_IDENTITY, UUIDPGetDatum(&state->identity));
	row_set(table, slot, POSITION_ERA, Int64GetDatum(state->era));
	row_set(table, slot, POSITION_TIMELINE, Int32GetDatum(state->timeline));
	row_set(table, slot, POSITION_BATCH, Int64GetDatum(state->batch));
	row_set(table, slot, POSITION_TICK_ID, UUIDPGetDatum(&state->tick_id));
	row_set(table, slot, POSITION_TICK_AT, TimestampTzGetDatum(state->tick_at));
	row_set(table, slot, POSITION_OTHER_ERAS, BoolGetDatum(state->other_eras));
	set_snapshot(table, slot, POSITION_CONSUMED, state->consumed);
	set_snapshot(table, slot, POSITION_ADOPTED, state->adopted);
	set_snapshot(table, slot, POSITION_SNAPSHOT, state->snapshot);
	row_set(table, slot, POSITION_LAST_ID, Int64GetDatum(state->last_id));
	row_set(table, slot, POSITION_CURRENT_RING, Int32GetDatum(state->current_ring));
	row_set(table, slot, POSITION_AT, TimestampTzGetDatum(GetCurrentTimestamp()));
	row_set(table, slot, POSITION_RING, Int32GetDatum(state->ring));
	row_insert(table, slot);
	row_scope_end(&scope);
}

void
position_fold(JournalState *state)
{
	if (state->last_id != JOURNAL_WHOLE || state->snapshot == NULL)
		return;
	if (state->other_eras)
		state->adopted = state->snapshot;
	else
		state->consumed = state->snapshot;
}

void
position_inherit(JournalState *state)
{
	int		 nleaves;
	Leaf	*leaves = ring_lock(SHOP_JOURNAL_POSITION, AccessShareLock, &nleaves);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());

	for (int i = 0; i < nleaves; i++)
	{
		Relation	  rel = table_open(leaves[i].relid, NoLock);
		PositionRow	  row = {.slot = table_slot_create(rel, NULL)};
		TableScanDesc scan;
		ScanKeyData	  key;

		row_layout(rel, &position_columns, row.attno);
		ScanKeyInit(&key, row.attno[POSITION_JOURNAL], BTEqualStrategyNumber, F_TEXTEQ,
					CStringGetTextDatum(journals[state->journal].name));
		scan = table_beginscan(rel, snapshot, 1, &key);
		while (table_scan_getnextslot(scan, ForwardScanDirection, row.slot))
		{
			state->generation = Max(state->generation, position_int64(&row, POSITION_GENERATION));
			state->batch = Max(state->batch, position_int64(&row, POSITION_BATCH));
		}
		table_endscan(scan);
		ExecDropSingleTupleTableSlot(row.slot);
		table_close(rel, NoLock);
	}
	UnregisterSnapshot(snapshot);
}

/* ---- their leaves ---- */

Leaf *
position_leaves(Journal journal, int *nleaves)
{
	int	  n;
	Leaf *leaves = ring_leaves(SHOP_JOURNAL_POSITION, &n);

	*nleaves = 0;
	for (int i = 0; i < n; i++)
		if (leaves[i].ring / POSITION_LEAVES == (int) journal)
			leaves[(*nleaves)++] = leaves[i];
	return leaves;
}

/* At so many a leaf is full. */
static BlockNumber
leaf_full_blocks(void)
{
	uint64 part = ring_leaf_size() / BLCKSZ / POSITION_LEAF_PART;

	return Max(part, POSITION_LEAF_MIN_BLOCKS);
}

int
position_excess(int ring)
{
	BlockNumber blocks = ring_leaf_blocks(ring_leaf(SHOP_JOURNAL_POSITION, ring));

	return blocks == InvalidBlockNumber ? 0 : blocks / leaf_full_blocks();
}
