/*
 * journal_internal.h
 *		What the files of the journal share: journal.c (positions and ticks),
 *		journal_ring.c (leaves and rotation), journal_read.c (batches).
 */
#ifndef ORDER_ENGINE_JOURNAL_INTERNAL_H
#define ORDER_ENGINE_JOURNAL_INTERNAL_H

#include "access/relscan.h"
#include "storage/itemptr.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#include "journal/journals_internal.h"
#include "shop/shop.h"

/* ---- snapshots ---- */

/*
 * A pg_snapshot, whose binary form is an on-disk format (xid8funcs.c) and so
 * cannot change.  xip is sorted.
 */
typedef struct TickSnapshot
{
	int32  varlena;
	uint32 nxip;
	uint64 xmin;
	uint64 xmax;
	uint64 xip[FLEXIBLE_ARRAY_MEMBER];
} TickSnapshot;

/* True if the transaction had ended when the snapshot was taken; NULL is before everything. */
extern bool tick_sees(const TickSnapshot *snapshot, uint64 xid);

/*
 * True if all transactions up to this one had ended; NULL is before everything.
 * For the xmin of a row, which may be a subtransaction's: a snapshot names the
 * top ones alone.
 */
extern bool tick_past(const TickSnapshot *snapshot, uint64 xid);

/* A copy in `context`; NULL of NULL. */
extern TickSnapshot *tick_copy(const TickSnapshot *snapshot, MemoryContext context);

/* A leaf of a journal, or of journal_position. */
typedef struct Leaf
{
	int ring;
	Oid relid;
} Leaf;

/* ---- the position: one row of journal_position says it all ---- */

typedef struct JournalState
{
	Journal		  journal;
	int64		  entry; /* counts the rows of an era */
	int64		  generation;
	pg_uuid_t	  identity;
	int64		  era;
	int32		  timeline;
	int64		  batch; /* the newest tick */
	pg_uuid_t	  tick_id;
	TimestampTz	  tick_at;
	bool		  other_eras; /* this batch is of rows that a restore brought */
	TickSnapshot *consumed;	  /* rows that it sees were consumed before this batch; NULL: none */
	TickSnapshot
		*adopted; /* the same for rows of other eras, by the transaction that brought them */
	TickSnapshot *snapshot; /* this batch's; NULL: no batch yet */
	int64		  last_id;
	int32		  current_ring; /* the leaf that was written to */
	int32		  ring;			/* the leaf of journal_position that this row is in */
	TransactionId xmin;			/* who wrote the row */
} JournalState;

/*
 * The newest position of an era under a fresh snapshot, in the current context;
 * false if there is none.  Locks the table of positions (ring_lock()).
 */
extern bool state_read(Journal journal, int64 era, JournalState *state);

/* The same for the newest position of a batch. */
extern bool state_find(Journal journal, int64 era, int64 batch, JournalState *state);

/* Appends the position (with entry + 1).  Under the journal's lock. */
extern void state_append(JournalState *state);

/* Counts the batch, which is acknowledged whole, among what is consumed. */
extern void state_fold(JournalState *state);

/* Each journal's positions have leaves of their own, those from journal * POSITION_LEAVES on. */
#define POSITION_LEAVES 2

/* The leaves of a journal's positions, in the order of their numbers; palloc'ed. */
extern Leaf *position_leaves(Journal journal, int *nleaves);

/*
 * The journal's lock, held to the end of the transaction by whoever changes the
 * position or rotates.  Taken before any lock on a leaf that others could wait for.
 * False if somebody else has it.
 */
extern bool journal_lock_if_free(Journal journal);

/* ---- leaves ---- */

/* The leaves of a table partitioned by ring, in the order of their numbers; palloc'ed. */
extern Leaf *ring_leaves(ShopTable table, int *nleaves);

/*
 * The same, by OID, each locked in this mode to the end of the transaction in
 * that order, in which ALTER TABLE of the whole table locks them too: so neither
 * waits for the other in a circle.  To be called before the snapshot is taken
 * under which they are read: one from before the end of a wait sees nothing of
 * what was written anew meanwhile.
 */
extern Leaf *ring_lock(ShopTable table, LOCKMODE mode, int *nleaves);

/* The leaf with this number; 55000 if there is none. */
extern Oid ring_leaf(ShopTable table, int number);

/* The index of a leaf on these columns; 55000 if it has none. */
extern Oid ring_index(Relation rel, int ncolumns, const char *const *columns);

/* The one by which batches are read, on (era, xid, id). */
extern Oid ring_entry_index(Relation rel);

/* The number of the leaf that rows are appended to now. */
extern int ring_current(Journal journal);

/* Raises 55000 while the table is still being restored. */
extern void ring_require_whole(Journal journal);

/*
 * Lets writers go on in an empty leaf, if there is one; returns its number, else the present
 * one's.
 */
extern int ring_leave(Journal journal);

/*
 * How many times over this leaf of positions is full: more than once, something keeps the
 * other one from being emptied.
 */
extern int ring_position_excess(int ring);

/* From journal_init(). */
extern void ring_init(void);

/* ---- reading a leaf's index on (era, xid, id) ---- */

/*
 * Where these stand in a leaf that is open and locked; 55000 unless it has the shape that
 * setup() gave it.
 */
extern void leaf_layout(Journal journal, Relation rel, AttrNumber attno[ENTRY_COLUMNS]);

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
 * pages.  55000 if it has no index on (era, xid, id), or as leaf_layout().
 */
extern bool leaf_open(LeafScan *leaf, Journal journal, Oid relid, Snapshot snapshot);
extern void leaf_close(LeafScan *leaf);

/* Entries of an era with `from` <= xid < `to`.  False if the visitor ended it. */
extern bool
leaf_visit(LeafScan *leaf, int64 era, uint64 from, uint64 to, EntryVisitor visitor, void *argument);

/* Entries of all other eras. */
extern bool leaf_visit_others(LeafScan *leaf, int64 era, EntryVisitor visitor, void *argument);

/* Entries of an era that `before` does not see; of those, what `after` sees (NULL: all). */
extern bool leaf_visit_between(LeafScan *leaf, int64 era, const TickSnapshot *before,
							   const TickSnapshot *after, EntryVisitor visitor, void *argument);

/*
 * True if there is a row that the snapshot sees and `before` does not (`after`
 * as above); or so much garbage that it is not worth telling.
 */
extern bool
leaf_has_rows(LeafScan *leaf, int64 era, const TickSnapshot *before, const TickSnapshot *after);

/*
 * True if there is a row of another era that the snapshot sees, whoever brought
 * it is not past for `adopted`, and (unless `eras` is NULL) that era's own
 * position does not cover; *eras remembers these positions.
 */
extern bool leaf_has_others(LeafScan *leaf, int64 era, const TickSnapshot *adopted, Journal journal,
							List **eras);

/*
 * True if the cluster that a row comes from had consumed it, as far as what was
 * restored with it knows; *eras remembers.
 */
extern bool era_consumed(List **eras, Journal journal, const LeafEntry *entry);

/* The same, in all of these leaves. */
extern bool leaves_have_rows(Journal journal, const Leaf *leaves, int nleaves, Snapshot snapshot,
							 const TickSnapshot *before, const TickSnapshot *after);
extern bool leaves_have_others(Journal journal, const Leaf *leaves, int nleaves, Snapshot snapshot,
							   const TickSnapshot *adopted);

/* The transaction that really wrote the row in the slot. */
extern uint64 row_writer(TupleTableSlot *slot);

#endif /* ORDER_ENGINE_JOURNAL_INTERNAL_H */
