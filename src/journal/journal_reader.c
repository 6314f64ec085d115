/*
 * journal_reader.c
 *		Reads batches: what one snapshot sees and the one before it did not.
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

#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "journal/position_internal.h"
#include "journal/scan_internal.h"

/* An entry of the window is 16 bytes; the window is halved when it is full. */
#define WINDOW_FIRST 1024
#define WINDOW_MAX (2 * 1024 * 1024)

typedef struct WindowEntry
{
	int64			id;
	ItemPointerData tid;
	uint16			leaf; /* index into JournalReader.leaves */
} WindowEntry;

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

JournalReader *
journal_reader_open(Journal journal, int64 batch, int64 after_id, MemoryContext parent)
{
	MemoryContext context =
		AllocSetContextCreate(parent, "order_engine journal reader", ALLOCSET_DEFAULT_SIZES);
	MemoryContext  old = MemoryContextSwitchTo(context);
	JournalReader *reader = palloc0(sizeof(JournalReader));

	reader->context = context;
	reader->after = after_id;
	if (batch < 0 || !position_find(journal, journal_era(), batch, &reader->state) ||
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
	consumed = scan_era_consumed(&reader->eras, state->journal, scan, entry);
	MemoryContextSwitchTo(old);
	if (consumed || !index_fetch_heap(scan, collector->slot))
		return true;
	writer = scan_row_writer(collector->slot);
	if (snapshot_past(state->snapshot, writer) && !snapshot_past(state->adopted, writer))
		add_entry(reader, entry, collector->leaf);
	return true;
}

static void
collect_leaf(JournalReader *reader, int i, Snapshot snapshot)
{
	JournalState *state = &reader->state;
	Collector	  collector = {.reader = reader, .leaf = i};
	LeafScan	  leaf;

	if (!scan_open(&leaf, state->journal, reader->leaves[i].relid, snapshot))
		return;
	if (state->other_eras)
	{
		collector.slot = table_slot_create(leaf.rel, NULL);
		scan_others(&leaf, state->era, collect_other, &collector);
		ExecDropSingleTupleTableSlot(collector.slot);
	}
	else
		scan_between(&leaf, state->era, state->consumed, state->snapshot, collect_entry,
					 &collector);
	scan_close(&leaf);
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
		scan_layout(reader->state.journal, open[i].rel, open[i].attno);
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
