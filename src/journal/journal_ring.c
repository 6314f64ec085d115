/*
 * journal_ring.c
 *		The leaves of a journal: which one is written to, how they are emptied.
 *
 * Every batch looks into all leaves, so it never matters for reading which one
 * a writer chose.  That is why nothing here has to be exact, and why a writer
 * never waits: he takes the first leaf whose lock is free at once.
 *
 * Owns a per-backend cache of leaves (a relcache callback marks it stale), the
 * number of the present leaf in shared memory (one atomic word per database;
 * its durable form is journal_position.current_ring), and in the process that
 * rotates a note of the snapshots that it still has to outlive.
 *
 * A leaf is emptied as TRUNCATE does it, by giving it new, empty files, but
 * without the statement: no trigger fires, nobody's and not our own that
 * refuses TRUNCATE, so there is no mode that anybody could ride on.  That is
 * done only under ACCESS EXCLUSIVE taken without waiting, and when under that
 * lock
 *	- no row is left that is not consumed.  A transaction that could still
 *	  commit one, prepared ones among them, holds a lock on the leaf.
 *	- every snapshot that is in use in this database, and on standbys as far as
 *	  they tell, sees the position that says so: emptying takes rows away from
 *	  snapshots, too.  A pg_dump whose copy of journal_position says that an event
 *	  is still to be published has that event.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/nbtree.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/heap.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "commands/tablecmds.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "storage/predicate.h"
#include "storage/procarray.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "journal/journal_internal.h"
#include "shop/row.h"
#include "base/database_slot.h"

/* A leaf may be that much larger for each so many leaves that there are already. */
#define LEAVES_PER_DOUBLING 8

/* A leaf of positions is full at this part of a journal's leaf, but not before the minimum. */
#define POSITION_LEAF_PART 8
#define POSITION_LEAF_MIN_BLOCKS (512 * 1024 / BLCKSZ)

/*
 * What standbys hold back may be a transaction of ours alone: up to so many leaves it is not
 * asked.
 */
#define PATIENT_LEAVES (2 * LEAVES_PER_DOUBLING)

/* A standby that is never up to date counts as quiet when it has gone on so often. */
#define MAX_MOVES 6

typedef struct Ring
{
	Oid			  parent;
	bool		  valid; /* reset by ring_invalidate() */
	int			  nleaves;
	Leaf		 *leaves; /* in `context` */
	MemoryContext context;
} Ring;

typedef struct Place
{
	pg_atomic_uint64
		current[JOURNALS]; /* OID of the journal << 32 | its present ring; 0: not known */
} Place;

/* A position, and the transactions whose snapshots may not see it. */
typedef struct Mark
{
	TickSnapshot		 *consumed;
	TickSnapshot		 *adopted;
	int32				  ring; /* of the position */
	TransactionId		  xmin; /* who wrote the position */
	int					  nblockers;
	VirtualTransactionId *blockers;
} Mark;

/* What journal_rotate() remembers from one call to the next; lives as long as the process. */
typedef struct Rotation
{
	Oid	  positions; /* the table that the marks are of: a shop made anew starts from nothing */
	Mark *safe;		 /* every snapshot sees it; NULL: none yet */
	Mark *pending;
	MemoryContext safe_context;
	MemoryContext pending_context;
	TransactionId held;	   /* by standbys, at the last call */
	TransactionId running; /* the oldest transaction then */
	int			  moves;   /* how often `held` has changed since standbys were quiet */
} Rotation;

static Ring		rings[SHOP_TABLES]; /* of those that are partitioned by ring */
static Rotation rotations[JOURNALS];
static Size		place_part;
static Place   *place = NULL; /* this database's, once asked for: it never moves */

/* Without shared memory: present ring + 1, 0: not known; reset at the end of the transaction. */
static int local_ring[JOURNALS];
static int rotate_size = 65536; /* order_engine.journal_rotate_size, kB */

/* ---- leaves ---- */

/* Relcache callback: only marks. */
static void
ring_invalidate(Datum arg, Oid relid)
{
	for (int i = 0; i < SHOP_TABLES; i++)
		if (relid == InvalidOid || relid == rings[i].parent)
			rings[i].valid = false;
}

static int
compare_rings(const void *a, const void *b)
{
	int left = ((const Leaf *) a)->ring;
	int right = ((const Leaf *) b)->ring;

	return left < right ? -1 : left > right;
}

static void
add_leaves(Ring *ring, const ShopPartition *partition)
{
	ListCell *lc;

	if (get_rel_relkind(partition->relid) != RELKIND_RELATION)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("\"%s\" must be a plain table", get_rel_name(partition->relid)),
						errhint("The order engine needs it as order_engine.setup() made it.")));
	foreach(lc, partition->bound->listdatums)
	{
		Const *value = lfirst_node(Const, lc);

		if (!value->constisnull)
			ring->leaves[ring->nleaves++] =
				(Leaf){.ring = DatumGetInt32(value->constvalue), .relid = partition->relid};
	}
}

/* By the catalogs alone; see shop_partitions(). */
static void
ring_load(Ring *ring, Oid parent)
{
	List	 *partitions;
	ListCell *lc;
	int		  n = 0;

	/* mark first: an invalidation that arrives while loading must win */
	ring->parent = parent;
	ring->valid = true;
	ring->nleaves = 0;
	if (ring->context)
		MemoryContextReset(ring->context);
	else
		ring->context =
			AllocSetContextCreate(TopMemoryContext, "order_engine ring", ALLOCSET_SMALL_SIZES);
	partitions = shop_partitions(parent);
	foreach(lc, partitions)
		n += list_length(((ShopPartition *) lfirst(lc))->bound->listdatums);
	ring->leaves = MemoryContextAlloc(ring->context, sizeof(Leaf) * Max(n, 1));
	foreach(lc, partitions)
		add_leaves(ring, lfirst(lc));
	if (ring->nleaves == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" has no partitions", get_rel_name(parent))));
	qsort(ring->leaves, ring->nleaves, sizeof(Leaf), compare_rings);
}

/* Half a load is none. */
static void
ring_reload(Ring *ring, Oid parent)
{
	PG_TRY();
	{
		ring_load(ring, parent);
	}
	PG_CATCH();
	{
		ring->valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static const Ring *
ring_get(ShopTable table)
{
	Ring *ring = &rings[table];
	Oid	  parent = shop_table(table);

	if (!ring->valid || ring->parent != parent)
		ring_reload(ring, parent);
	return ring;
}

bool
journal_is_leaf(Journal journal, Oid relid)
{
	const Ring *ring = ring_get(journals[journal].table);

	for (int i = 0; i < ring->nleaves; i++)
		if (ring->leaves[i].relid == relid)
			return true;
	return false;
}

Leaf *
ring_leaves(ShopTable table, int *nleaves)
{
	const Ring *ring = ring_get(table);
	Leaf	   *leaves = palloc(sizeof(Leaf) * ring->nleaves);

	memcpy(leaves, ring->leaves, sizeof(Leaf) * ring->nleaves);
	*nleaves = ring->nleaves;
	return leaves;
}

static int
compare_leaves(const void *a, const void *b)
{
	Oid left = ((const Leaf *) a)->relid;
	Oid right = ((const Leaf *) b)->relid;

	return left < right ? -1 : left > right;
}

static Leaf *
leaves_by_oid(ShopTable table, int *nleaves)
{
	Leaf *leaves;

	/* a lock that is held already brings no news */
	AcceptInvalidationMessages();
	leaves = ring_leaves(table, nleaves);
	qsort(leaves, *nleaves, sizeof(Leaf), compare_leaves);
	return leaves;
}

/* Leaves may come and go while one is waited for: until all that are there are locked. */
Leaf *
ring_lock(ShopTable table, LOCKMODE mode, int *nleaves)
{
	Leaf *leaves = leaves_by_oid(table, nleaves);

	for (;;)
	{
		int	  n;
		Leaf *now;
		bool  same;

		for (int i = 0; i < *nleaves; i++)
			LockRelationOid(leaves[i].relid, mode);
		now = leaves_by_oid(table, &n);
		same = n == *nleaves && memcmp(now, leaves, sizeof(Leaf) * n) == 0;
		pfree(leaves);
		leaves = now;
		*nleaves = n;
		if (same)
			return leaves;
	}
}

Oid
ring_leaf(ShopTable table, int number)
{
	const Ring *ring = ring_get(table);

	for (int i = 0; i < ring->nleaves; i++)
		if (ring->leaves[i].ring == number)
			return ring->leaves[i].relid;
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("table \"%s\" has no partition for ring %d", get_rel_name(ring->parent),
						   number)));
}

/* A plain B-tree, ascending in all of its keys, of all rows. */
static bool
index_matches(Relation index, int ncolumns, const char *const *columns)
{
	bool match = index->rd_index->indisvalid && index->rd_rel->relam == BTREE_AM_OID &&
				 index->rd_index->indnkeyatts == ncolumns && !row_index_is_partial(index);

	for (int i = 0; match && i < ncolumns; i++)
	{
		AttrNumber attno = get_attnum(index->rd_index->indrelid, columns[i]);

		match = index->rd_index->indkey.values[i] == attno && index->rd_indoption[i] == 0;
	}
	return match;
}

static void
raise_no_index(Relation rel, int ncolumns, const char *const *columns)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < ncolumns; i++)
		appendStringInfo(&list, i == 0 ? "%s" : ", %s", columns[i]);
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		 errmsg("table \"%s\" has no index on (%s)", RelationGetRelationName(rel), list.data),
		 errhint(
			 "If a restore is under way, it creates the index at its end.  Otherwise create the index.")));
}

Oid
ring_index(Relation rel, int ncolumns, const char *const *columns)
{
	Oid		  found = InvalidOid;
	List	 *indexes = RelationGetIndexList(rel);
	ListCell *lc;

	foreach(lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index_matches(index, ncolumns, columns))
			found = lfirst_oid(lc);
		index_close(index, NoLock);
	}
	list_free(indexes);
	if (!OidIsValid(found))
		raise_no_index(rel, ncolumns, columns);
	return found;
}

Oid
ring_entry_index(Relation rel)
{
	static const char *const columns[] = {"era", "xid", "id"};

	return ring_index(rel, lengthof(columns), columns);
}

/*
 * The index of a partitioned table is valid once those of all leaves are there,
 * so not before the last row of a restore has come, however many processes it has.
 */
void
ring_require_whole(Journal journal)
{
	Relation rel = table_open(shop_table(journals[journal].table), AccessShareLock);

	(void) ring_entry_index(rel);
	table_close(rel, AccessShareLock);
}

/* Size of a leaf; InvalidBlockNumber if that would mean to wait for a lock. */
static BlockNumber
leaf_blocks(Oid relid)
{
	Relation	rel;
	BlockNumber blocks;

	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return InvalidBlockNumber;
	rel = table_open(relid, NoLock);
	blocks = RelationGetNumberOfBlocks(rel);
	table_close(rel, NoLock);
	return blocks;
}

/* At so many a leaf of positions is full. */
static BlockNumber
position_leaf_blocks(void)
{
	uint64 part = (uint64) rotate_size * 1024 / BLCKSZ / POSITION_LEAF_PART;

	return Max(part, POSITION_LEAF_MIN_BLOCKS);
}

int
ring_position_excess(int ring)
{
	BlockNumber blocks = leaf_blocks(ring_leaf(SHOP_JOURNAL_POSITION, ring));

	return blocks == InvalidBlockNumber ? 0 : blocks / position_leaf_blocks();
}

/* ---- the present leaf ---- */

static void
find_place(void)
{
	if (place == NULL)
		place = database_slot_part(place_part);
}

static void
ring_publish(Journal journal, int ring)
{
	find_place();
	if (place)
		pg_atomic_write_u64(&place->current[journal],
							((uint64) shop_table(journals[journal].table) << 32) | (uint32) ring);
	else
		local_ring[journal] = ring + 1;
}

/* The durable form; before the first position, the first leaf. */
static int
ring_stored(Journal journal)
{
	JournalState state;

	if (state_read(journal, journal_era(), &state))
		return state.current_ring;
	return ring_get(journals[journal].table)->leaves[0].ring;
}

int
ring_current(Journal journal)
{
	uint64 word = 0;

	find_place();
	if (place)
		word = pg_atomic_read_u64(&place->current[journal]);
	else if (local_ring[journal] > 0)
		return local_ring[journal] - 1;

	/* a shop that was dropped and made again has another table */
	if (word >> 32 != shop_table(journals[journal].table))
	{
		ring_publish(journal, ring_stored(journal));
		return ring_current(journal);
	}
	return (int) (uint32) word;
}

static void
forget_local_ring(XactEvent event, void *arg)
{
	memset(local_ring, 0, sizeof(local_ring));
}

Oid
journal_leaf(Journal journal, int *number)
{
	int			current = ring_current(journal);
	const Ring *ring = ring_get(journals[journal].table);
	int			first = 0;

	for (int i = 0; i < ring->nleaves; i++)
		if (ring->leaves[i].ring == current)
			first = i;
	for (int i = 0; i < ring->nleaves; i++)
	{
		Leaf leaf = ring->leaves[(first + i) % ring->nleaves];

		if (ConditionalLockRelationOid(leaf.relid, RowExclusiveLock))
		{
			*number = leaf.ring;
			return leaf.relid;
		}
	}

	/* somebody has locked them all by hand */
	*number = ring->leaves[first].ring;
	return ring->leaves[first].relid;
}

int
ring_leave(Journal journal)
{
	int	  nleaves;
	Leaf *leaves = ring_leaves(journals[journal].table, &nleaves);

	for (int i = 0; i < nleaves; i++)
	{
		if (leaf_blocks(leaves[i].relid) > 0)
			continue;
		ring_publish(journal, leaves[i].ring);
		break;
	}
	pfree(leaves);
	return ring_current(journal);
}

/* ---- standbys ---- */

/*
 * A report on a standby is in the way of rotation there as one here is, with its
 * snapshot and with its locks: emptying a leaf replays an ACCESS EXCLUSIVE lock,
 * which waits for the report, all replay with it, and in the end cancels it.
 * What is known of it here is what the standby asks for by hot_standby_feedback:
 * its oldest xmin.  Standbys that do not ask are not waited for.
 */

/* What one standby has its walsender hold back, unless a slot does it. */
static TransactionId
walsender_xmin(WalSnd *walsnd)
{
	pid_t	pid;
	PGPROC *proc;

	SpinLockAcquire(&walsnd->mutex);
	pid = walsnd->pid;
	SpinLockRelease(&walsnd->mutex);
	proc = pid != 0 ? BackendPidGetProc(pid) : NULL;

	/* one with a database decodes: its snapshots are this server's */
	return proc && !OidIsValid(proc->databaseId) ? proc->xmin : InvalidTransactionId;
}

/*
 * No snapshot on a standby with feedback is older than this; invalid if there is no such
 * standby.
 */
static TransactionId
standby_xmin(void)
{
	TransactionId oldest;

	ProcArrayGetReplicationSlotXmin(&oldest, NULL);
	for (int i = 0; i < max_wal_senders; i++)
		oldest = TransactionIdOlder(oldest, walsender_xmin(&WalSndCtl->walsnds[i]));
	return oldest;
}

/*
 * True if a standby may have a snapshot that does not see what this transaction
 * wrote.  Standbys ask for what runs here as well as for what their snapshots
 * need, and do not tell which: while the oldest transaction here (an idle one, a
 * prepared one) is all that they hold back, there may be such a snapshot or not.
 * Who is `patient` waits for the transaction's end all the same.
 */
static bool
standby_blocks(TransactionId writer, bool patient)
{
	TransactionId held = standby_xmin();

	if (!TransactionIdIsValid(held) || TransactionIdPrecedes(writer, held))
		return false;
	return patient || TransactionIdPrecedes(held, GetOldestActiveTransactionId());
}

/*
 * True if nobody on a standby has been at work for longer than since the last
 * call: the locks of a younger snapshot, too, would be in the way.  Feedback
 * comes every few seconds, so this is true for a moment behind each.  A standby
 * that is always late counts as well, if what it holds back has gone on time and
 * again.
 */
static bool
standbys_quiet(Rotation *rotation)
{
	TransactionId held = standby_xmin();
	TransactionId before = rotation->running;
	TransactionId running = GetOldestActiveTransactionId();

	rotation->running = running;
	if (held != rotation->held)
		rotation->moves++;
	rotation->held = held;
	if (TransactionIdIsValid(held) && TransactionIdIsValid(before) &&
		TransactionIdPrecedesOrEquals(held, before) && TransactionIdPrecedes(held, running) &&
		rotation->moves < MAX_MOVES)
		return false;
	rotation->moves = 0;
	return true;
}

/* ---- snapshots to outlive ---- */

/* Keeps of the mark's blockers those that still have a snapshot as old. */
static void
mark_refresh(Mark *mark, bool first)
{
	int					  n;
	int					  kept = 0;
	VirtualTransactionId *now = GetCurrentVirtualXIDs(mark->xmin, true, false, PROC_IN_VACUUM, &n);

	if (first)
	{
		mark->blockers = palloc(sizeof(VirtualTransactionId) * Max(n, 1));
		memcpy(mark->blockers, now, sizeof(VirtualTransactionId) * n);
		mark->nblockers = n;
		pfree(now);
		return;
	}
	for (int i = 0; i < mark->nblockers; i++)
	{
		for (int k = 0; k < n; k++)
		{
			if (!VirtualTransactionIdEquals(mark->blockers[i], now[k]))
				continue;
			mark->blockers[kept++] = mark->blockers[i];
			break;
		}
	}
	mark->nblockers = kept;
	pfree(now);
}

/*
 * Notes the position and who may have a snapshot that does not see it.  The
 * position was read before the processes are looked at, so its transaction has
 * left the array of running ones: who takes a snapshot later sees it.  A
 * snapshot whose xmin is above the writer sees it too, and so does one that a
 * noted transaction takes anew.  The xmin of a prepared transaction, or of one
 * that runs no statement at the time, is not set: it has no snapshot.  (Whoever
 * imports a snapshot later, from a transaction that ends before his own, is not
 * seen; pg_dump's workers end before their leader.)
 */
static Mark *
mark_take(const JournalState *state, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Mark		 *mark = palloc0(sizeof(Mark));

	mark->consumed = tick_copy(state->consumed, context);
	mark->adopted = tick_copy(state->adopted, context);
	mark->ring = state->ring;
	mark->xmin = state->xmin;
	mark_refresh(mark, true);
	MemoryContextSwitchTo(old);
	return mark;
}

static bool
mark_is_blocked(const Mark *mark, bool patient)
{
	return mark->nblockers > 0 || standby_blocks(mark->xmin, patient);
}

static void
rotation_reset(Rotation *rotation, Oid positions)
{
	if (rotation->safe_context == NULL)
	{
		rotation->safe_context =
			AllocSetContextCreate(TopMemoryContext, "order_engine rotation", ALLOCSET_SMALL_SIZES);
		rotation->pending_context =
			AllocSetContextCreate(TopMemoryContext, "order_engine rotation", ALLOCSET_SMALL_SIZES);
	}
	rotation->positions = positions;
	rotation->safe = rotation->pending = NULL;
	MemoryContextReset(rotation->safe_context);
	MemoryContextReset(rotation->pending_context);
}

static void
pending_to_safe(Rotation *rotation)
{
	MemoryContext context = rotation->safe_context;

	rotation->safe = rotation->pending;
	rotation->safe_context = rotation->pending_context;
	rotation->pending = NULL;
	rotation->pending_context = context;
	MemoryContextReset(context);
}

/*
 * The newest position known to be seen by every snapshot in use; NULL: none yet.
 * One that this transaction wrote may never be, nor does anybody else see it: it
 * is for the next call.
 */
static const Mark *
rotation_mark(Rotation *rotation, const JournalState *state, bool patient)
{
	Oid positions = shop_table(SHOP_JOURNAL_POSITION);

	if (rotation->positions != positions)
		rotation_reset(rotation, positions);
	if (TransactionIdIsCurrentTransactionId(state->xmin))
		return rotation->safe;
	if (rotation->pending)
		mark_refresh(rotation->pending, false);
	else
		rotation->pending = mark_take(state, rotation->pending_context);
	if (mark_is_blocked(rotation->pending, patient))
		return rotation->safe;

	/* the old ones are gone; in a quiet database the newest position is safe at once */
	pending_to_safe(rotation);
	rotation->pending = mark_take(state, rotation->pending_context);
	if (!mark_is_blocked(rotation->pending, patient))
		pending_to_safe(rotation);
	return rotation->safe;
}

/* ---- emptying ---- */

static bool
leaf_is_consumed(Journal journal, Oid relid, const Mark *mark)
{
	LeafScan leaf;
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool	 consumed = true;

	if (leaf_open(&leaf, journal, relid, snapshot))
	{
		consumed = !leaf_has_rows(&leaf, journal_era(), mark->consumed, NULL) &&
				   !leaf_has_others(&leaf, journal_era(), mark->adopted, journal, NULL);
		leaf_close(&leaf);
	}
	UnregisterSnapshot(snapshot);
	return consumed;
}

/* Both locks or none; autovacuum may be at work in the TOAST table alone. */
static bool
lock_leaf(Oid relid)
{
	Relation rel;
	Oid		 toast;

	if (!ConditionalLockRelationOid(relid, AccessExclusiveLock))
		return false;
	rel = table_open(relid, NoLock);
	toast = rel->rd_rel->reltoastrelid;
	table_close(rel, NoLock);
	if (!OidIsValid(toast) || ConditionalLockRelationOid(toast, AccessExclusiveLock))
		return true;
	UnlockRelationOid(relid, AccessExclusiveLock);
	return false;
}

/* What TRUNCATE does to a table, without its triggers; see the file's head. */
static void
empty_relation(Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	Oid		 toast = rel->rd_rel->reltoastrelid;

	CheckTableNotInUse(rel, "TRUNCATE");
	heap_truncate_check_FKs(list_make1(rel), false);
	CheckTableForSerializableConflictIn(rel);
	compat_set_new_storage(rel);
	if (OidIsValid(toast))
	{
		Relation toast_rel = table_open(toast, NoLock);

		compat_set_new_storage(toast_rel);
		table_close(toast_rel, NoLock);
	}
	compat_reindex_relation(relid, REINDEX_REL_PROCESS_TOAST);
	pgstat_count_truncate(rel);
	table_close(rel, NoLock);
}

static bool
empty_leaf(Journal journal, Oid relid, const Mark *mark)
{
	BlockNumber blocks = leaf_blocks(relid);

	/* look first without a lock that anybody could have to wait for */
	if (blocks == 0 || blocks == InvalidBlockNumber || !leaf_is_consumed(journal, relid, mark) ||
		!lock_leaf(relid))
		return false;

	/* a slow writer may have come in between; now nobody can */
	if (!leaf_is_consumed(journal, relid, mark))
	{
		UnlockRelationOid(relid, AccessExclusiveLock);
		return false;
	}
	empty_relation(relid);
	return true;
}

/* How many leaves beside the present one are not empty, or busy. */
static int
used_leaves(const Leaf *leaves, int nleaves, int present)
{
	int used = 0;

	for (int i = 0; i < nleaves; i++)
		if (leaves[i].ring != present && leaf_blocks(leaves[i].relid) > 0)
			used++;
	return used;
}

static int
empty_leaves(Journal journal, const Mark *mark)
{
	int	  nleaves;
	Leaf *leaves = ring_leaves(journals[journal].table, &nleaves);
	int	  current = ring_current(journal);
	int	  emptied = 0;

	for (int i = 0; i < nleaves; i++)
		if (leaves[i].ring != current && empty_leaf(journal, leaves[i].relid, mark))
			emptied++;
	pfree(leaves);
	return emptied;
}

/* ---- going on ---- */

static void
execute(const char *command)
{
	int code = SPI_execute(command, false, 0);

	if (code < 0)
		elog(ERROR, "could not execute \"%s\": %s", command, SPI_result_code_string(code));
}

/*
 * Adds a leaf like `model`, which is locked ACCESS SHARE already.  CREATE TABLE
 * and ATTACH PARTITION wait for nobody who reads or writes; the lock that ATTACH
 * takes on the parent is tried first for the sake of the rest (ANALYZE, CREATE
 * INDEX CONCURRENTLY).  The new leaf is used from the next call on, when
 * everybody can see it.
 */
static void
ring_grow(Journal journal, Oid model, int number)
{
	Oid			parent = shop_table(journals[journal].table);
	char	   *table = get_rel_name(parent);
	char	   *schema = get_namespace_name(get_rel_namespace(parent));
	const char *parent_name = quote_qualified_identifier(schema, table);
	const char *leaf_name;

	if (!ConditionalLockRelationOid(parent, ShareUpdateExclusiveLock))
		return;
	while (
		OidIsValid(get_relname_relid(psprintf("%s_%d", table, number), get_rel_namespace(parent))))
		number++;
	leaf_name = quote_qualified_identifier(schema, psprintf("%s_%d", table, number));

	SPI_connect();
	execute(psprintf(
		"CREATE TABLE %s (LIKE %s INCLUDING ALL) WITH (autovacuum_vacuum_insert_threshold = -1)",
		leaf_name, quote_qualified_identifier(schema, get_rel_name(model))));
	execute(psprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES IN (%d)", parent_name,
					 leaf_name, number));
	execute(psprintf(
		"CREATE TRIGGER \"0_order_engine_truncate\" BEFORE TRUNCATE ON %s FOR EACH STATEMENT "
		"EXECUTE FUNCTION %s.refuse_direct_write()",
		leaf_name, quote_identifier(schema)));
	SPI_finish();
}

/* Moves on from a full leaf, to an empty one or by adding one. */
static void
ring_advance(Journal journal, JournalState *state)
{
	int	   nleaves;
	Leaf  *leaves = ring_leaves(journals[journal].table, &nleaves);
	int	   current = ring_current(journal);
	uint64 full = ((uint64) rotate_size * 1024) << Min((nleaves - 1) / LEAVES_PER_DOUBLING, 16);
	Oid	   model = InvalidOid;
	int	   empty = -1;

	for (int i = 0; i < nleaves; i++)
	{
		BlockNumber blocks = leaf_blocks(leaves[i].relid);

		if (leaves[i].ring == current && (uint64) blocks * BLCKSZ < full)
		{
			pfree(leaves);
			return;
		}
		if (blocks == 0 && empty < 0)
			empty = leaves[i].ring;
		if (blocks != InvalidBlockNumber)
			model = leaves[i].relid;
	}
	if (empty < 0)
	{
		if (OidIsValid(model))
			ring_grow(journal, model, leaves[nleaves - 1].ring + 1);
	}
	else
	{
		state->current_ring = empty;
		state_append(state);
		ring_publish(journal, empty);
	}
	pfree(leaves);
}

/*
 * Positions rotate in the same way: the newest one is repeated in the other
 * leaf, and when every snapshot sees it there, the first leaf is emptied.  Not
 * while the positions of other eras are needed.
 */
static void
rotate_positions(JournalState *state, const Mark *mark)
{
	int	  nleaves;
	Leaf *leaves = position_leaves(state->journal, &nleaves);

	for (int i = 0; i < nleaves; i++)
	{
		BlockNumber blocks = leaf_blocks(leaves[i].relid);

		if (leaves[i].ring == state->ring || blocks == 0 || state->adopted == NULL)
			continue;
		if (mark && mark->ring == state->ring && mark->adopted && lock_leaf(leaves[i].relid))
			empty_relation(leaves[i].relid);
	}
	for (int i = 0; i < nleaves; i++)
	{
		if (leaves[i].ring == state->ring || leaf_blocks(leaves[i].relid) > 0 ||
			leaf_blocks(ring_leaf(SHOP_JOURNAL_POSITION, state->ring)) < position_leaf_blocks())
			continue;
		state->ring = leaves[i].ring;
		state_append(state);
		break;
	}
	pfree(leaves);
}

int
journal_rotate(Journal journal)
{
	JournalState state, folded;
	Rotation	*rotation = &rotations[journal];
	const Mark	*mark;
	Leaf		*leaves;
	int			 nleaves;
	int			 used;
	bool		 quiet;
	int			 emptied = 0;

	if (!journal_lock_if_free(journal) || !state_read(journal, journal_era(), &state))
		return 0;
	folded = state;
	state_fold(&folded);
	leaves = ring_leaves(journals[journal].table, &nleaves);
	used = used_leaves(leaves, nleaves, ring_current(journal));
	mark = rotation_mark(rotation, &folded, used < PATIENT_LEAVES);
	leaves = position_leaves(journal, &nleaves);
	used += used_leaves(leaves, nleaves, state.ring);
	quiet = standbys_quiet(rotation);

	/* where nobody else writes, only an id that feedback has to pass tells new feedback from old */
	if (used > 0 && (!quiet || standby_blocks(state.xmin, true)))
		(void) GetTopTransactionId();
	ring_advance(journal, &state);
	if (mark && quiet)
		emptied = empty_leaves(journal, mark);
	rotate_positions(&state, quiet ? mark : NULL);
	return emptied;
}

/* ---- start ---- */

static void
init_place(void *part)
{
	Place *fresh = part;

	for (int i = 0; i < JOURNALS; i++)
		pg_atomic_init_u64(&fresh->current[i], 0);
}

void
ring_init(void)
{
	DefineCustomIntVariable("order_engine.journal_rotate_size",
							"Size at which a leaf of a journal is full and the next one is taken.",
							"It grows with the number of leaves.", &rotate_size, 65536, 8,
							MAX_KILOBYTES, PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	place_part = database_slot_request(sizeof(Place), init_place);
	RegisterXactCallback(forget_local_ring, NULL);
	CacheRegisterRelcacheCallback(ring_invalidate, (Datum) 0);
}
