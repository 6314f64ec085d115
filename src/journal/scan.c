/*
 * scan.c
 *		Finds rows of a journal by what one snapshot sees and another did not.
 *
 * Whether a snapshot sees a row is judged by the row's top-level transaction
 * id, which the index on (era, xid, id) carries, so most of a journal is never
 * looked at: a batch is the range of transactions between the two snapshots'
 * upper ends, and one probe for each that was in progress at the first and is
 * not at the second.  Whether a row is there at all (its transaction or
 * subtransaction committed) is what an ordinary snapshot taken now says: it is
 * younger than the tick, so it sees all that the tick sees.
 *
 * The caller has ACCESS SHARE on the leaves, always from before the snapshot: an
 * ALTER TABLE that writes a leaf anew while its lock is waited for makes all of its
 * rows look younger than a snapshot from before.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/xid8.h"

#include "base/compat.h"
#include "journal/scan_internal.h"

/* Dead index entries after which a look for rows gives up. */
#define MAX_GARBAGE 1000

/* The last position of each era that was met, and whether there is one. */
typedef struct EraPosition
{
	bool		 known;
	JournalState state; /* only its era is set, unless known */
} EraPosition;

/* ---- one leaf ---- */

void
scan_layout(Journal journal, Relation rel, AttrNumber attno[ENTRY_COLUMNS])
{
	const JournalKind *kind = &journals[journal];
	AttrNumber		   all[ROW_MAX_COLUMNS];

	row_layout(rel, columns_tables[kind->table], all);
	for (int i = 0; i < ENTRY_COLUMNS; i++)
		attno[i] = all[kind->entry[i]];
}

bool
scan_open(LeafScan *leaf, Journal journal, Oid relid, Snapshot snapshot)
{
	leaf->rel = table_open(relid, NoLock);
	if (RelationGetNumberOfBlocks(leaf->rel) == 0)
	{
		table_close(leaf->rel, NoLock);
		return false;
	}
	scan_layout(journal, leaf->rel, leaf->attno);
	leaf->index = index_open(ring_entry_index(leaf->rel), AccessShareLock);
	leaf->snapshot = snapshot;
	return true;
}

void
scan_close(LeafScan *leaf)
{
	index_close(leaf->index, NoLock);
	table_close(leaf->rel, NoLock);
}

static bool
visit(LeafScan *leaf, int nkeys, ScanKey keys, EntryVisitor visitor, void *argument)
{
	IndexScanDesc scan = compat_index_beginscan(leaf->rel, leaf->index, leaf->snapshot, nkeys);
	TupleDesc	  desc = RelationGetDescr(leaf->index);
	bool		  proceed = true;
	ItemPointer	  tid;

	/* the keys are all that is needed: most entries' rows are not visited here */
	scan->xs_want_itup = true;
	index_rescan(scan, keys, nkeys, NULL, 0);
	while (proceed && (tid = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
	{
		LeafEntry entry;
		bool	  isnull;

		CHECK_FOR_INTERRUPTS();
		entry.era = DatumGetInt64(index_getattr(scan->xs_itup, 1, desc, &isnull));
		entry.xid = U64FromFullTransactionId(
			DatumGetFullTransactionId(index_getattr(scan->xs_itup, 2, desc, &isnull)));
		entry.id = DatumGetInt64(index_getattr(scan->xs_itup, 3, desc, &isnull));
		entry.tid = *tid;
		proceed = visitor(scan, &entry, argument);
	}
	index_endscan(scan);
	return proceed;
}

/* Entries of an era with `from` <= xid < `to`.  False if the visitor ended it. */
static bool
visit_range(LeafScan *leaf, int64 era, uint64 from, uint64 to, EntryVisitor visitor, void *argument)
{
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(era));
	ScanKeyInit(&keys[1], 2, BTGreaterEqualStrategyNumber, F_XID8GE,
				FullTransactionIdGetDatum(FullTransactionIdFromU64(from)));
	ScanKeyInit(&keys[2], 2, BTLessStrategyNumber, F_XID8LT,
				FullTransactionIdGetDatum(FullTransactionIdFromU64(to)));
	return visit(leaf, 3, keys, visitor, argument);
}

bool
scan_others(LeafScan *leaf, int64 era, EntryVisitor visitor, void *argument)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTLessStrategyNumber, F_INT8LT, Int64GetDatum(era));
	if (!visit(leaf, 1, &key, visitor, argument))
		return false;
	ScanKeyInit(&key, 1, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(era));
	return visit(leaf, 1, &key, visitor, argument);
}

/* Leaves out of a range what the later snapshot does not see. */
typedef struct Filter
{
	const TickSnapshot *after;
	EntryVisitor		visitor;
	void			   *argument;
} Filter;

static bool
filter_entry(IndexScanDesc scan, const LeafEntry *entry, void *argument)
{
	Filter *filter = argument;

	if (filter->after && !snapshot_sees(filter->after, entry->xid))
		return true;
	return filter->visitor(scan, entry, filter->argument);
}

bool
scan_between(LeafScan *leaf, int64 era, const TickSnapshot *before, const TickSnapshot *after,
			 EntryVisitor visitor, void *argument)
{
	Filter filter = {.after = after, .visitor = visitor, .argument = argument};

	for (int i = 0; before && i < before->nxip; i++)
		if ((after == NULL || snapshot_sees(after, before->xip[i])) &&
			!visit_range(leaf, era, before->xip[i], before->xip[i] + 1, visitor, argument))
			return false;
	return visit_range(leaf, era, before ? before->xmax : 0, after ? after->xmax : PG_UINT64_MAX,
					   filter_entry, &filter);
}

/* The low half of it stands in the row; the row is not older than half the space of ids. */
uint64
scan_row_writer(TupleTableSlot *slot)
{
	bool		  isnull;
	TransactionId xid =
		DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull));
	FullTransactionId next = ReadNextFullTransactionId();
	uint32			  epoch = EpochFromFullTransactionId(next);

	if (!TransactionIdIsNormal(xid))
		return 0;
	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return U64FromFullTransactionId(FullTransactionIdFromEpochAndXid(epoch, xid));
}

/* ---- is there anything ---- */

typedef struct Look
{
	TupleTableSlot	   *slot;
	int					garbage;
	Journal				journal;
	const TickSnapshot *adopted;
	List			  **eras;
} Look;

static bool
look_at_entry(IndexScanDesc scan, const LeafEntry *entry, void *argument)
{
	Look *look = argument;

	return !index_fetch_heap(scan, look->slot) && ++look->garbage < MAX_GARBAGE;
}

bool
scan_has_rows(LeafScan *leaf, int64 era, const TickSnapshot *before, const TickSnapshot *after)
{
	Look look = {.slot = table_slot_create(leaf->rel, NULL)};
	bool found = !scan_between(leaf, era, before, after, look_at_entry, &look);

	ExecDropSingleTupleTableSlot(look.slot);
	return found;
}

static const EraPosition *
era_position(List **eras, Journal journal, int64 era, Snapshot snapshot)
{
	EraPosition *position;
	ListCell	*lc;

	foreach(lc, *eras)
	{
		position = lfirst(lc);
		if (position->state.era == era)
			return position;
	}
	position = palloc0(sizeof(EraPosition));
	position->known = position_seen(journal, era, snapshot, &position->state);
	position->state.era = era;
	*eras = lappend(*eras, position);
	return position;
}

bool
scan_era_consumed(List **eras, Journal journal, IndexScanDesc scan, const LeafEntry *entry)
{
	const EraPosition  *position = era_position(eras, journal, entry->era, scan->xs_snapshot);
	const JournalState *state = &position->state;

	if (!position->known)
		return false;
	return snapshot_sees(state->consumed, entry->xid) ||
		   (!state->other_eras && entry->id <= state->last_id &&
			snapshot_sees(state->snapshot, entry->xid));
}

static bool
look_at_other(IndexScanDesc scan, const LeafEntry *entry, void *argument)
{
	Look *look = argument;

	if (look->eras && scan_era_consumed(look->eras, look->journal, scan, entry))
		return true;
	return !index_fetch_heap(scan, look->slot) ||
		   snapshot_past(look->adopted, scan_row_writer(look->slot));
}

bool
scan_has_others(LeafScan *leaf, int64 era, const TickSnapshot *adopted, Journal journal,
				List **eras)
{
	Look look = {
		.slot = table_slot_create(leaf->rel, NULL),
		.adopted = adopted,
		.journal = journal,
		.eras = eras,
	};
	bool found = !scan_others(leaf, era, look_at_other, &look);

	ExecDropSingleTupleTableSlot(look.slot);
	return found;
}

bool
scan_leaves_have_rows(Journal journal, const Leaf *leaves, int nleaves, Snapshot snapshot,
					  const TickSnapshot *before, const TickSnapshot *after)
{
	bool found = false;

	for (int i = 0; i < nleaves && !found; i++)
	{
		LeafScan leaf;

		if (!scan_open(&leaf, journal, leaves[i].relid, snapshot))
			continue;
		found = scan_has_rows(&leaf, journal_era(), before, after);
		scan_close(&leaf);
	}
	return found;
}

bool
scan_leaves_have_others(Journal journal, const Leaf *leaves, int nleaves, Snapshot snapshot,
						const TickSnapshot *adopted)
{
	List *eras = NIL;
	bool  found = false;

	for (int i = 0; i < nleaves && !found; i++)
	{
		LeafScan leaf;

		if (!scan_open(&leaf, journal, leaves[i].relid, snapshot))
			continue;
		found = scan_has_others(&leaf, journal_era(), adopted, journal, &eras);
		scan_close(&leaf);
	}
	return found;
}
