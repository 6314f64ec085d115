/*
 * journal_backlog.c
 *		Counts what a journal's consumer has not acknowledged.
 *
 * Reads what the reader would read, without any lock but ACCESS SHARE on the
 * leaves and under a snapshot that is taken behind it.  Counting stops at a limit; what
 * lies behind it is estimated from the size of the leaves.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "storage/bufmgr.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "journal/position_internal.h"
#include "journal/scan_internal.h"
#include "shop/row.h"

#define COUNT_LIMIT 100000

typedef struct Count
{
	Journal				journal;
	const JournalState *state;		/* NULL: nothing was ever consumed */
	List			  **eras;		/* see scan_has_others() */
	TupleTableSlot	   *slot;		/* of the leaf */
	AttrNumber			created_at; /* in it */
	JournalBacklog	   *backlog;
} Count;

/* False once the limit is reached. */
static bool
count_row(Count *count)
{
	JournalBacklog *backlog = count->backlog;
	TimestampTz		at = DatumGetTimestampTz(row_require(count->slot, count->created_at));
	bool			should_free;
	HeapTuple		tuple = ExecFetchSlotHeapTuple(count->slot, false, &should_free);

	if (backlog->rows == 0 || at < backlog->oldest)
		backlog->oldest = at;
	backlog->rows++;
	backlog->bytes += tuple->t_len;
	if (should_free)
		heap_freetuple(tuple);
	return backlog->rows < COUNT_LIMIT;
}

/* Rows of this era: the batch's behind the position, and all that no tick has seen. */
static bool
count_entry(IndexScanDesc scan, const LeafEntry *entry, void *argument)
{
	Count			   *count = argument;
	const JournalState *state = count->state;

	if (state && !state->other_eras && entry->id <= state->last_id &&
		snapshot_sees(state->snapshot, entry->xid))
		return true;
	return !index_fetch_heap(scan, count->slot) || count_row(count);
}

/* Rows that a restore brought. */
static bool
count_other(IndexScanDesc scan, const LeafEntry *entry, void *argument)
{
	Count			   *count = argument;
	const JournalState *state = count->state;
	uint64				writer;

	if (scan_era_consumed(count->eras, count->journal, scan, entry) ||
		!index_fetch_heap(scan, count->slot))
		return true;
	writer = scan_row_writer(count->slot);
	if (state && (snapshot_past(state->adopted, writer) ||
				  (state->other_eras && entry->id <= state->last_id &&
				   snapshot_past(state->snapshot, writer))))
		return true;
	return count_row(count);
}

static bool
count_leaf(Count *count, Oid relid, Snapshot snapshot)
{
	const JournalState *state = count->state;
	const TickSnapshot *before = NULL;
	LeafScan			leaf;
	bool				complete;

	if (!scan_open(&leaf, count->journal, relid, snapshot))
		return true;
	if (state)
		before = state->last_id == JOURNAL_WHOLE && !state->other_eras ? state->snapshot
																	   : state->consumed;
	count->slot = table_slot_create(leaf.rel, NULL);
	count->created_at = leaf.attno[ENTRY_CREATED_AT];
	complete = scan_between(&leaf, journal_era(), before, NULL, count_entry, count) &&
			   scan_others(&leaf, journal_era(), count_other, count);
	ExecDropSingleTupleTableSlot(count->slot);
	scan_close(&leaf);
	return complete;
}

static int64
leaf_size(Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	int64	 size = (int64) RelationGetNumberOfBlocks(rel) * BLCKSZ;

	table_close(rel, NoLock);
	return size;
}

/* So many are waiting that they are most of what there is. */
static void
estimate(JournalBacklog *backlog, int64 size)
{
	if (size <= backlog->bytes)
		return;
	backlog->rows = (int64) ((double) size / backlog->bytes * backlog->rows);
	backlog->bytes = size;
}

void
journal_backlog(Journal journal, JournalBacklog *backlog)
{
	JournalState state;
	List		*eras = NIL;
	Count		 count = {.journal = journal, .eras = &eras, .backlog = backlog};
	bool		 complete = true;
	int64		 size = 0;
	int			 nleaves;
	Leaf		*leaves;
	Snapshot	 snapshot;

	memset(backlog, 0, sizeof(*backlog));
	if (position_read(journal, journal_era(), &state))
		count.state = &state;
	leaves = ring_lock(journals[journal].table, AccessShareLock, &nleaves);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	for (int i = 0; i < nleaves; i++)
	{
		complete = complete && count_leaf(&count, leaves[i].relid, snapshot);
		size += leaf_size(leaves[i].relid);
	}
	UnregisterSnapshot(snapshot);
	if (!complete)
		estimate(backlog, size);
}
