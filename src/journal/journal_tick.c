/*
 * journal_tick.c
 *		Ticks: what comes next for a consumer, and what he has read of it.
 *
 * Why a batch may be published once its tick has committed.  A transaction
 * that the tick's snapshot sees had left the array of running transactions
 * when the snapshot was taken, and it leaves only after its commit record is
 * in the WAL buffers, whether it waited for the flush (synchronous_commit) or
 * not.  The tick's own commit record is inserted after the snapshot was taken,
 * so it lies behind all of those.  WAL is flushed in order: when the tick's
 * commit has flushed its record, all of theirs are flushed too, and where there
 * are synchronous standbys, it has waited for them up to that place.  A flush
 * that fails is a PANIC, so nobody gets to publish what it left behind.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/detail.h"
#include "journal/journal_tick_internal.h"
#include "journal/present_internal.h"
#include "journal/scan_internal.h"

/* Rows of other eras come with a restore only: no need to look at each tick. */
#define OTHER_ERAS_INTERVAL_MS 10000

/*
 * While a snapshot in use keeps the table of positions from being emptied, ticks
 * come less often, and so with more events in each: for every leaf that it could
 * fill by so much, up to the maximum.
 */
#define PACE_MS 25
#define MAX_PACE_MS 250

/*
 * By clock_ms(), of this process for as long as it lives: they only pace it, so what
 * a transaction that failed has left here does no harm, nor does another shop.
 */
static int64 others_due_at[JOURNALS]; /* 0: not looked yet */
static int64 tick_due_at[JOURNALS];	  /* 0: no tick yet */
static int64 put_off_until[JOURNALS]; /* set by each journal_tick(); 0: it was not put off */

static void
tell(const JournalState *state, JournalPosition *position)
{
	*position = (JournalPosition){
		.generation = state->generation,
		.identity = state->identity,
		.batch = state->batch,
		.tick_id = state->tick_id,
		.tick_at = state->tick_at,
		.last_id = state->last_id,
	};
}

static pg_uuid_t
random_uuid(void)
{
	return *DatumGetUUIDP(OidFunctionCall0(F_GEN_RANDOM_UUID));
}

/*
 * This transaction's commit flushes and waits for synchronous standbys,
 * whatever the settings say.  ForceSyncCommit() is for a position table that
 * somebody made UNLOGGED: without WAL of its own a commit would not flush.
 */
static void
commit_synchronously(void)
{
	if (synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_FLUSH)
		(void) set_config_option("synchronous_commit", "on", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	ForceSyncCommit();
}

/*
 * The first position in this cluster.  What a restore brought into the leaves
 * is best left behind there, so that they can be emptied.
 */
static void
first_position(Journal journal, JournalState *state)
{
	ring_require_whole(journal);
	memset(state, 0, sizeof(JournalState));
	state->journal = journal;
	state->era = journal_era();
	state->tick_at = GetCurrentTimestamp();
	state->tick_id = random_uuid();
	state->last_id = JOURNAL_WHOLE;
	state->ring = journal * POSITION_LEAVES;
	position_inherit(state);
	state->current_ring = state->generation > 0 ? present_leave(journal) : present_ring(journal);
}

void
tick_newest(Journal journal, JournalState *state)
{
	int32 timeline = (int32) GetWALInsertionTimeLine();

	if (!position_read(journal, journal_era(), state))
		first_position(journal, state);
	if (state->timeline == timeline)
		return;
	state->timeline = timeline;
	state->generation++;
	state->identity = random_uuid();
}

void
journal_open(Journal journal, JournalPosition *position)
{
	JournalState state;

	position_lock(journal);
	tick_newest(journal, &state);
	position_append(&state);
	commit_synchronously();
	tell(&state, position);
}

void
journal_position(Journal journal, JournalPosition *position)
{
	JournalState state;

	if (position_read(journal, journal_era(), &state))
		tell(&state, position);
	else
		memset(position, 0, sizeof(JournalPosition));
}

static bool
others_due(Journal journal)
{
	int64 now = clock_ms();

	if (others_due_at[journal] > now)
		return false;
	others_due_at[journal] = now + OTHER_ERAS_INTERVAL_MS;
	return true;
}

/*
 * Looks for rows that a restore brought.  If there are none to read, what
 * stands there of other eras is consumed: from the first time on that this is
 * known, the old positions are not needed any more.
 */
static bool
find_others(JournalState *state, JournalState *next, const Leaf *leaves, int nleaves,
			Snapshot snapshot)
{
	if (!others_due(state->journal))
		return false;
	if (scan_leaves_have_others(state->journal, leaves, nleaves, snapshot, next->adopted))
		return true;
	if (next->adopted == NULL)
	{
		state->adopted = next->snapshot;
		position_append(state);
		next->entry = state->entry;
	}
	next->adopted = next->snapshot;
	return false;
}

bool
tick_next(JournalState *state, JournalState *next, const Leaf *leaves, int nleaves,
		  Snapshot snapshot)
{
	*next = *state;
	position_fold(next);
	next->snapshot = snapshot_take(snapshot);
	next->other_eras = find_others(state, next, leaves, nleaves, snapshot);
	if (!next->other_eras && !scan_leaves_have_rows(state->journal, leaves, nleaves, snapshot,
													next->consumed, next->snapshot))
		return false;
	next->batch++;
	next->tick_id = random_uuid();
	next->tick_at = GetCurrentTimestamp();
	next->last_id = 0;
	return true;
}

static int
tick_pace(const JournalState *state)
{
	int excess = position_excess(state->ring);

	return Min(PACE_MS * Max(excess - 1, 0), MAX_PACE_MS);
}

void
tick_append(JournalState *next)
{
	position_append(next);
	tick_due_at[next->journal] = clock_ms() + tick_pace(next);
}

bool
tick_is_put_off(Journal journal)
{
	int64 due_at = tick_due_at[journal];

	put_off_until[journal] = clock_ms() < due_at ? due_at : 0;
	return put_off_until[journal] > 0;
}

int64
journal_put_off(Journal journal)
{
	return put_off_until[journal];
}

/* With a snapshot of its own. */
static bool
find_next(JournalState *state, JournalState *next)
{
	int		 nleaves;
	Leaf	*leaves;
	Snapshot snapshot;
	bool	 found;

	/* or rows that a restore still brings would be marked as read */
	ring_require_whole(state->journal);
	leaves = ring_lock(journals[state->journal].table, AccessShareLock, &nleaves);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	found = tick_next(state, next, leaves, nleaves, snapshot);
	UnregisterSnapshot(snapshot);
	pfree(leaves);
	return found;
}

bool
journal_tick(Journal journal, JournalPosition *position)
{
	JournalState state, next;

	if (tick_is_put_off(journal))
		return false;
	position_lock(journal);
	tick_newest(journal, &state);
	tell(&state, position);
	if (state.last_id != JOURNAL_WHOLE || !find_next(&state, &next))
		return false;

	tick_append(&next);
	commit_synchronously();
	tell(&next, position);
	return true;
}

void
journal_acknowledge(Journal journal, int64 batch, int64 last_id)
{
	JournalState state;

	position_lock(journal);
	tick_newest(journal, &state);
	if (state.batch != batch)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("batch " INT64_FORMAT " of the journal is not the present one", batch),
				 detail_set("batch", detail_id(batch), "present", detail_id(state.batch), NULL),
				 errhint("Another consumer went on meanwhile.  Open the journal again.")));
	if (last_id <= state.last_id)
		return;
	state.last_id = last_id;
	position_append(&state);
}

/*
 * True if the batch expires now.  A tick of the future is as good as new (the
 * clock was set back), but only for as long as a new one: it gets the time of
 * today, from which it expires like any other.
 */
static bool
expire_batch(JournalState *state, int64 retention_ms)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		expired = (now - state->tick_at) / 1000 >= retention_ms;

	if (expired)
		state->last_id = JOURNAL_WHOLE;
	else if (state->tick_at > now)
		state->tick_at = now;
	else
		return false;
	position_append(state);
	return expired;
}

void
journal_expire(Journal journal, int64 retention_ms)
{
	JournalState	state;
	JournalPosition position;

	if (!position_lock_if_free(journal))
		return;
	tick_newest(journal, &state);
	if (state.last_id == JOURNAL_WHOLE || expire_batch(&state, retention_ms))
		(void) journal_tick(journal, &position);
}
