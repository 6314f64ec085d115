/*
 * scan_internal.h
 *		Finds rows of a journal by what one snapshot sees and another did not.
 */
#ifndef ORDER_ENGINE_SCAN_INTERNAL_H
#define ORDER_ENGINE_SCAN_INTERNAL_H

#include "access/genam.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#include "journal/position_internal.h"

/*
 * Where the columns ENTRY_... stand in a leaf that is open and locked; 55000 unless it
 * has the shape that setup() gave it.
 */
extern void scan_layout(Journal journal, Relation rel, AttrNumber attno[ENTRY_COLUMNS]);

/* A leaf that is open for scans; the caller has it locked for as long. */
typedef struct LeafScan
{
	Relation   rel;
	Relation   index;
	AttrNumber attno[ENTRY_COLUMNS];
	Snapshot   snapshot;
} LeafScan;

typedef struct LeafEntry
{
	int64			era;
	uint64			xid;
	int64			id;
	ItemPointerData tid;
} LeafEntry;

/*
 * Called for each index entry, dead ones included; false ends the scan.
 * index_fetch_heap() brings the entry's row, if the snapshot sees it.
 */
typedef bool (*EntryVisitor)(IndexScanDesc scan, const LeafEntry *entry, void *argument);

/*
 * For a leaf that was locked before the snapshot was taken.  False if it has no
 * pages.  55000 if it has no index on (era, xid, id), or as scan_layout().
 */
extern bool scan_open(LeafScan *leaf, Journal journal, Oid relid, Snapshot snapshot);

/* Not after scan_open() was false; keeps the lock. */
extern void scan_close(LeafScan *leaf);

/* Entries of all other eras.  False if the visitor ended it. */
extern bool scan_others(LeafScan *leaf, int64 era, EntryVisitor visitor, void *argument);

/*
 * Entries of an era that `before` does not see; of those, what `after` sees (NULL:
 * all).  Likewise.
 */
extern bool scan_between(LeafScan *leaf, int64 era, const TickSnapshot *before,
						 const TickSnapshot *after, EntryVisitor visitor, void *argument);

/*
 * True if there is a row that the snapshot sees and `before` does not (`after`
 * as above); or so much garbage that it is not worth telling.
 */
extern bool
scan_has_rows(LeafScan *leaf, int64 era, const TickSnapshot *before, const TickSnapshot *after);

/*
 * True if there is a row of another era that the snapshot sees, whoever brought
 * it is not past for `adopted`, and (unless `eras` is NULL) that era's own
 * position does not cover; *eras remembers these positions.
 */
extern bool scan_has_others(LeafScan *leaf, int64 era, const TickSnapshot *adopted, Journal journal,
							List **eras);

/* The same in any of these leaves, all of them locked before the snapshot was taken. */
extern bool
scan_leaves_have_rows(Journal journal, const Leaf *leaves, int nleaves, Snapshot snapshot,
					  const TickSnapshot *before, const TickSnapshot *after);
extern bool scan_leaves_have_others(Journal journal, const Leaf *leaves, int nleaves,
									Snapshot snapshot, const TickSnapshot *adopted);

/*
 * True if the cluster that a row comes from had consumed it, as far as what was
 * restored with it knows, by what the scan's snapshot sees of the positions, whose
 * leaves are locked from before it; *eras remembers.
 */
extern bool
scan_era_consumed(List **eras, Journal journal, IndexScanDesc scan, const LeafEntry *entry);

/*
 * The transaction that really wrote the row in the slot, a subtransaction perhaps; 0,
 * before everything, if that is too long ago to be told.
 */
extern uint64 scan_row_writer(TupleTableSlot *slot);

#endif /* ORDER_ENGINE_SCAN_INTERNAL_H */
