/*
 * journal_read.c
 *		Reads batches: what one snapshot sees and the one before it did not.
 *
 * Whether a snapshot sees a row is judged by the row's top-level transaction
 * id, which the index on (era, xid, id) carries, so most of a journal is never
 * looked at: a batch is the range of transactions between the two snapshots'
 * upper ends, and one probe for each that was in progress at the first and is
 * not at the second.  Whether a row is there at all (its transaction or
 * subtransaction committed) is what an ordinary snapshot taken now says: it is
 * younger than the tick, so it sees all that the tick sees.
 *
 * A batch can be of any size.  The reader keeps a window of the addresses of
 * the rows with the lowest ids still to be read, fetches those one by one, and
 * fills the window again when they are through.  Addresses outlive the
 * transaction in which they were found: a leaf is not emptied before the batch
 * is acknowledged; only garbage may go meanwhile and give its place to a younger
 * row, so the row's id is compared.  Somebody may write the whole leaf anew
 * (VACUUM FULL, CLUSTER, ALTER TABLE), which moves rows: then its files are
 * others than those noted, and the window is filled again.
 *
 * Takes ACCESS SHARE on all leaves, within the transaction only, and always
 * before the snapshot: an ALTER TABLE that writes a leaf anew while its lock is
 * waited for makes all of its rows look younger than a snapshot from before.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "base/compat.h"
#include "journal/journal_internal.h"
#include "shop/row.h"

/* An entry of the window is 16 bytes; the window is halved when it is full. */
#define WINDOW_FIRST 1024
#define WINDOW_MAX (2 * 1024 * 1024)

/* Dead index entries after which a look for rows gives up. */
#define MAX_GARBAGE 1000

typedef struct WindowEntry
{
	int64			id;
	ItemPointerData tid;
	uint16			leaf; /* index into JournalReader.leaves */
} WindowEntry;

/* The last position of each era that was met, and whether there is one. */
typedef struct EraPosition
{
	bool		 known;
	JournalState state; /* only its era is set, unless known */
} EraPosition;

struct JournalReader
{
	MemoryContext context; /* holds all of this */
	JournalState  state;   /* of the batch */
	List		 *eras;	   /* of EraPosition, for batches of other eras */
	Leaf		 *leaves;  /* when the window was filled, by OID */
	int			  nleaves;
	Oid			 *files;   /* theirs then */
	int64		  after;   /* rows up to this id are read, or not asked for */
	WindowEntry	 *entries; /* in id order, once filled */
	int			  nentries;
	int			  allocated;
	int			  next;
	bool		  filled;
	bool		  more; /* there are entries at or above `bound` */
	int64		  bound;
};

/* ---- one leaf ---- */

void
leaf_layout(Journal journal, Relation rel, AttrNumber attno[ENTRY_COLUMNS])
{
	row_layout(rel, &journals[journal].entry, attno);
}

bool
leaf_open(LeafScan *leaf, Journal journal, Oid relid, Snapshot snapshot)
{
	leaf->rel = table_open(relid, NoLock);
	if (RelationGetNumberOfBlocks(leaf->rel) == 0)
	{
		table_close(leaf->rel, NoLock);
		return false;
	}
	leaf_layout(journal, leaf->rel, leaf->attno);
	leaf->index = index_open(ring_entry_index(leaf->rel), AccessShareLock);
	leaf->snapshot = snapshot;
	return true;
}

void
leaf_close(LeafScan *leaf)
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

bool
leaf_visit(LeafScan *leaf, int64 era, uint64 from, uint64 to, EntryVisitor visitor, void *argument)
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
leaf_visit_others(LeafScan *leaf, int64 era, EntryVisitor visitor, void *argument)
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

	if (filter->after && !tick_sees(filter->after, entry->xid))
		return true;
	return filter->visitor(scan, entry, filter->argument);
}

bool
leaf_visit_between(LeafScan *leaf, int64 era, const TickSnapshot *before, const TickSnapshot *after,
				   EntryVisitor visitor, void *argument)
{
	Filter filter = {.after = after, .visitor = visitor, .argument = argument};

	for (int i = 0; before && i < before->nxip; i++)
		if ((after == NULL || tick_sees(after, before->xip[i])) &&
			!leaf_visit(leaf, era, before->xip[i], before->xip[i] + 1, visitor, argument))
			return false;
	return leaf_visit(leaf, era, before ? before->xmax : 0, after ? after->xmax : PG_UINT64_MAX,
					  filter_entry, &filter);
}

/* The low half of it stands in the row; the row is not older than half the space of ids. */
uint64
row_writer(TupleTableSlot *slot)
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
leaf_has_rows(LeafScan *leaf, int64 era, const TickSnapshot *before, const TickSnapshot *after)
{
	Look look = {.slot = table_slot_create(leaf->rel, NULL)};
	bool found = !leaf_visit_between(leaf, era, before, after, look_at_entry, &look);

	ExecDropSingleTupleTableSlot(look.slot);
	return found;
}

static const EraPosition *
era_position(List **eras, Journal journal, int64 era)
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
	position->known = state_read(journal, era, &position->state);
	position->state.era = era;
	*eras = lappend(*eras, position);
	return position;
}

bool
era_consumed(List **eras, Journal journal, const LeafEntry *entry)
{
	const EraPosition  *position = era_position(eras, journal, entry->era);
	const JournalState *state = &position->state;

	if (!position->known)
		return false;
	return tick_sees(state->consumed, entry->xid) ||
		   (!state->other_eras && entry->id <= state->last_id &&
			tick_sees(state->snapshot, entry->xid));
}

static bool
look_at_other(IndexScanDesc scan, const LeafEntry *entry, void *argument)
{
	Look *look = argument;

	if (look->eras && era_consumed(look->eras, look->journal, entry))
		return true;
	return !index_fetch_heap(scan, look->slot) || tick_past(look->adopted, row_writer(look->slot));
}

bool
leaf_has_others(LeafScan *leaf, int64 era, const TickSnapshot *adopted, Journal journal,
				List **eras)
{
	Look look = {
		.slot = table_slot_create(leaf->rel, NULL),
		.adopted = adopted,
		.journal = journal,
		.eras = eras,
	};
	bool found = !leaf_visit_others(leaf, era, look_at_other, &look);

	ExecDropSingleTupleTableSlot(look.slot);
	return found;
}

bool
leaves_have_rows(Journal journal, const Leaf *leaves, int nleaves, Snapshot snapshot,
				 const TickSnapshot *before, const TickSnapshot *after)
{
	bool found = false;

	for (int i = 0; i < nleaves && !found; i++)
	{
		LeafScan leaf;

		if (!leaf_open(&leaf, journal, leaves[i].relid, snapshot))
			continue;
		found = leaf_has_rows(&leaf, journal_era(), before, after);
		leaf_close(&leaf);
	}
	return found;
}

bool
leaves_have_others(Journal journal, const Leaf *leaves, int nleaves, Snapshot snapshot,
				   const TickSnapshot *adopted)
{
	List *eras = NIL;
	bool  found = false;

	for (int i = 0; i < nleaves && !found; i++)
	{
		LeafScan leaf;

		if (!leaf_open(&leaf, journal, leaves[i].relid, snapshot))
			continue;
		found = leaf_has_others(&leaf, journal_era(), adopted, journal, &eras);
		leaf_close(&leaf);
	}
	return found;
}

/* ---- the reader ---- */

JournalReader *
journal_reader_open(Journal journal, int64 batch, int64 after_id, MemoryContext parent)
{
	MemoryContext context =
		AllocSetContextCreate(parent, "order_engine journal reader", ALLOCSET_DEFAULT_SIZES);
	MemoryContext  old = MemoryContextSwitchTo(context);
	JournalReader *reader = palloc0(sizeof(JournalReader));

	reader->context = context;
	reader->after = after_id;
	if (batch < 0 || !state_find(journal, journal_era(), batch, &reader->state) ||
		reader->state.snapshot == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("batch " INT64_FORMAT " of the journal is not known", batch)));
	reader->allocated = WINDOW_FIRST;
	reader->entries = palloc(reader->allocated * sizeof(WindowEntry));
	MemoryContextSwitchTo(old);
	return reader;
}

void
journal_reader_close(JournalReader *reader)
{
	MemoryContextDelete(reader->context);
}

static int
compare_entries(const void *a, const void *b)
{
	int64 left = ((const WindowEntry *) a)->id;
	int64 right = ((const WindowEntry *) b)->id;

	return left < right ? -1 : left > right;
}

/*
 * Makes room: the upper half of the ids has to wait for another window.  Rows
 * come nearly in id order, so this happens about once a window.
 */
static void
halve_window(JournalReader *reader)
{
	qsort(reader->entries, reader->nentries, sizeof(WindowEntry), compare_entries);
	reader->nentries /= 2;
	reader->bound = reader->entries[reader->nentries].id;
	reader->more = true;
	while (reader->nentries > 0 && reader->entries[reader->nentries - 1].id == reader->bound)
		reader->nentries--;
}

static void
add_entry(JournalReader *reader, const LeafEntry *entry, int leaf)
{
	if (reader->nentries == WINDOW_MAX)
		halve_window(reader);
	if (entry->id >= reader->bound)
	{
		reader->more = true;
		return;
	}
	if (reader->nentries == reader->allocated)
	{
		reader->allocated *= 2;
		reader->entries = repalloc(reader->entries, reader->allocated * sizeof(WindowEntry));
	}
	reader->entries[reader->nentries++] = (WindowEntry){
		.id = entry->id,
		.tid = entry->tid,
		.leaf = leaf,
	};
}

typedef struct Collector
{
	JournalReader  *reader;
	int				leaf;
	TupleTableSlot *slot; /* batches of other eras only */
} Collector;

static bool
collect_entry(IndexScanDesc scan, const LeafEntry *entry, void *argument)
{
	Collector *collector = argument;

	if (entry->id > collector->reader->after)
		add_entry(collector->reader, entry, collector->leaf);
	return true;
}

/* What other clusters' transaction ids say is nothing here; what counts is who brought the row. */
static bool
collect_other(IndexScanDesc scan, const LeafEntry *entry, void *argument)
{
	Collector	  *collector = argument;
	JournalReader *reader = collector->reader;
	JournalState  *state = &reader->state;
	MemoryContext  old;
	uint64		   writer;
	bool		   consumed;

	if (entry->id <= reader->after || entry->id >= reader->bound)
		return collect_entry(scan, entry, argument);
	old = MemoryContextSwitchTo(reader->context);
	consumed = era_consumed(&reader->eras, state->journal, entry);
	MemoryContextSwitchTo(old);
	if (consumed || !index_fetch_heap(scan, collector->slot))
		return true;
	writer = row_writer(collector->slot);
	if (tick_past(state->snapshot, writer) && !tick_past(state->adopted, writer))
		add_entry(reader, entry, collector->leaf);
	return true;
}

static void
collect_leaf(JournalReader *reader, int i, Snapshot snapshot)
{
	JournalState *state = &reader->state;
	Collector	  collector = {.reader = reader, .leaf = i};
	LeafScan	  leaf;

	if (!leaf_open(&leaf, state->journal, reader->leaves[i].relid, snapshot))
		return;
	if (state->other_eras)
	{
		collector.slot = table_slot_create(leaf.rel, NULL);
		leaf_visit_others(&leaf, state->era, collect_other, &collector);
		ExecDropSingleTupleTableSlot(collector.slot);
	}
	else
		leaf_visit_between(&leaf, state->era, state->consumed, state->snapshot, collect_entry,
						   &collector);
	leaf_close(&leaf);
}

/* Finds the rows with the lowest ids above reader->after; false if there are none. */
static bool
fill_window(JournalReader *reader, Snapshot snapshot)
{
	if (reader->filled && !reader->more)
		return false;
	reader->filled = true;
	reader->more = false;
	reader->bound = PG_INT64_MAX;
	reader->next = reader->nentries = 0;
	for (int i = 0; i < reader->nleaves; i++)
		collect_leaf(reader, i, snapshot);
	qsort(reader->entries, reader->nentries, sizeof(WindowEntry), compare_entries);
	return reader->nentries > 0;
}

/* A leaf, open until the end of a chunk. */
typedef struct ReadLeaf
{
	Relation		rel;
	TupleTableSlot *slot; /* NULL: no row was read yet */
	AttrNumber		attno[ENTRY_COLUMNS];
	BlockNumber		nblocks;
} ReadLeaf;

/* False if it is another leaf than before, or has other files: then rows have moved. */
static bool
note_leaf(JournalReader *reader, int i, Leaf leaf, Relation rel)
{
	bool same =
		reader->leaves[i].relid == leaf.relid && reader->files[i] == rel->rd_rel->relfilenode;

	reader->leaves[i] = leaf;
	reader->files[i] = rel->rd_rel->relfilenode;
	return same;
}

/* To arrays that are the same for no leaf. */
static void
resize_leaves(JournalReader *reader, int nleaves)
{
	if (reader->nleaves == nleaves)
		return;
	reader->leaves = MemoryContextAllocZero(reader->context, sizeof(Leaf) * nleaves);
	reader->files = MemoryContextAllocZero(reader->context, sizeof(Oid) * nleaves);
	reader->nleaves = nleaves;
}

/*
 * Locks all leaves; from then on to the end of the transaction rows stay where
 * they are.  If they have moved since the window was filled, it is forgotten.
 */
static ReadLeaf *
open_leaves(JournalReader *reader)
{
	int		  n;
	Leaf	 *leaves;
	ReadLeaf *open;

	/* other eras' positions are looked up on the way, and those are always locked first */
	if (reader->state.other_eras)
		pfree(ring_lock(SHOP_JOURNAL_POSITION, AccessShareLock, &n));
	leaves = ring_lock(journals[reader->state.journal].table, AccessShareLock, &n);
	open = palloc0(sizeof(ReadLeaf) * n);
	resize_leaves(reader, n);
	for (int i = 0; i < n; i++)
	{
		open[i].rel = table_open(leaves[i].relid, NoLock);
		leaf_layout(reader->state.journal, open[i].rel, open[i].attno);
		open[i].nblocks = RelationGetNumberOfBlocks(open[i].rel);
		if (!note_leaf(reader, i, leaves[i], open[i].rel))
			reader->filled = false;
	}
	if (!reader->filled)
		reader->next = reader->nentries = 0;
	pfree(leaves);
	return open;
}

static void
close_leaves(ReadLeaf *open, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (open[i].slot)
			ExecDropSingleTupleTableSlot(open[i].slot);
		table_close(open[i].rel, NoLock);
	}
	pfree(open);
}

/* The row of an entry; NULL if it was garbage, or is gone and something else stands there. */
static TupleTableSlot *
read_entry(ReadLeaf *leaf, WindowEntry *entry, Snapshot snapshot)
{
	if (leaf->slot == NULL)
		leaf->slot = table_slot_create(leaf->rel, NULL);
	if (ItemPointerGetBlockNumber(&entry->tid) >= leaf->nblocks ||
		!table_tuple_fetch_row_version(leaf->rel, &entry->tid, snapshot, leaf->slot) ||
		DatumGetInt64(row_require(leaf->slot, leaf->attno[ENTRY_ID])) != entry->id)
		return NULL;
	return leaf->slot;
}

int64
journal_read(JournalReader *reader, JournalRow row, void *argument)
{
	ReadLeaf *open = open_leaves(reader);
	Snapshot  snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool	  proceed = true;
	int64	  count = 0;

	while (proceed && (reader->next < reader->nentries || fill_window(reader, snapshot)))
	{
		WindowEntry	   *entry = &reader->entries[reader->next++];
		TupleTableSlot *slot;

		CHECK_FOR_INTERRUPTS();
		reader->after = entry->id;
		slot = read_entry(&open[entry->leaf], entry, snapshot);
		if (slot == NULL)
			continue;
		count++;
		proceed = row(entry->id, slot, argument);
	}
	close_leaves(open, reader->nleaves);
	UnregisterSnapshot(snapshot);
	return count;
}
