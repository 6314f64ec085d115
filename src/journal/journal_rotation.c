/*
 * journal_rotation.c
 *		How the leaves of a journal are emptied, and which one is next.
 *
 * Owns, in the process that rotates, a note of the snapshots that it still has
 * to outlive.
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

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/heap.h"
#include "catalog/index.h"
#include "commands/tablecmds.h"
#include "executor/spi.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "journal/mark_internal.h"
#include "journal/present_internal.h"
#include "journal/scan_internal.h"
#include "journal/standby_internal.h"

/* A leaf may be that much larger for each so many leaves that there are already. */
#define LEAVES_PER_DOUBLING 8

/*
 * What standbys hold back may be a transaction of ours alone: up to so many leaves it is not
 * asked.
 */
#define PATIENT_LEAVES (2 * LEAVES_PER_DOUBLING)

/* A standby that is never up to date counts as quiet when it has gone on so often. */
#define MAX_MOVES 6

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

/* Reset by rotation_reset() for another shop; what a transaction that failed has noted is true. */
static Rotation rotations[JOURNALS];

/* ---- snapshots to outlive ---- */

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
		mark_refresh(rotation->pending);
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

	if (scan_open(&leaf, journal, relid, snapshot))
	{
		consumed = !scan_has_rows(&leaf, journal_era(), mark->consumed, NULL) &&
				   !scan_has_others(&leaf, journal_era(), mark->adopted, journal, NULL);
		scan_close(&leaf);
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
	BlockNumber blocks = ring_leaf_blocks(relid);

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
		if (leaves[i].ring != present && ring_leaf_blocks(leaves[i].relid) > 0)
			used++;
	return used;
}

static int
empty_leaves(Journal journal, const Mark *mark)
{
	int	  nleaves;
	Leaf *leaves = ring_leaves(journals[journal].table, &nleaves);
	int	  current = present_ring(journal);
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
add_leaf(Journal journal, Oid model, int number)
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
advance(Journal journal, JournalState *state)
{
	int			nleaves;
	const Leaf *leaves = ring_leaves(journals[journal].table, &nleaves);
	int			current = present_ring(journal);
	uint64		full = ring_leaf_size() << Min((nleaves - 1) / LEAVES_PER_DOUBLING, 16);
	const Leaf *model = NULL;
	const Leaf *empty = NULL;

	for (int i = 0; i < nleaves; i++)
	{
		BlockNumber blocks = ring_leaf_blocks(leaves[i].relid);

		if (leaves[i].ring == current && (uint64) blocks * BLCKSZ < full)
			return;
		if (blocks == 0 && empty == NULL)
			empty = &leaves[i];
		if (blocks != InvalidBlockNumber)
			model = &leaves[i];
	}
	if (empty)
	{
		state->current_ring = empty->ring;
		position_append(state);
		present_set(journal, empty->ring);
	}
	else if (model)
		add_leaf(journal, model->relid, leaves[nleaves - 1].ring + 1);
}

/*
 * Positions rotate in the same way: the newest one is repeated in the other
 * leaf, and when every snapshot sees it there, the first leaf is emptied.  Not
 * while the positions of other eras are needed.
 */
static void
rotate_positions(JournalState *state, const Mark *mark)
{
	int			nleaves;
	const Leaf *leaves = position_leaves(state->journal, &nleaves);
	bool		needless =
		mark && mark->ring == state->ring && mark->adopted != NULL && state->adopted != NULL;

	for (int i = 0; i < nleaves; i++)
		if (needless && leaves[i].ring != state->ring && ring_leaf_blocks(leaves[i].relid) != 0 &&
			lock_leaf(leaves[i].relid))
			empty_relation(leaves[i].relid);
	if (position_excess(state->ring) == 0)
		return;
	for (int i = 0; i < nleaves; i++)
	{
		if (leaves[i].ring == state->ring || ring_leaf_blocks(leaves[i].relid) > 0)
			continue;
		state->ring = leaves[i].ring;
		position_append(state);
		break;
	}
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

	if (!position_lock_if_free(journal) || !position_read(journal, journal_era(), &state))
		return 0;
	folded = state;
	position_fold(&folded);
	leaves = ring_leaves(journals[journal].table, &nleaves);
	used = used_leaves(leaves, nleaves, present_ring(journal));
	mark = rotation_mark(rotation, &folded, used < PATIENT_LEAVES);
	leaves = position_leaves(journal, &nleaves);
	used += used_leaves(leaves, nleaves, state.ring);
	quiet = standbys_quiet(rotation);

	/* where nobody else writes, only an id that feedback has to pass tells new feedback from old */
	if (used > 0 && (!quiet || standby_blocks(state.xmin, true)))
		(void) GetTopTransactionId();
	advance(journal, &state);
	if (mark && quiet)
		emptied = empty_leaves(journal, mark);
	rotate_positions(&state, quiet ? mark : NULL);
	return emptied;
}
