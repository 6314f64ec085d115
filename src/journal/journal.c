/*
 * journal.c
 *		Ticks and positions: what a consumer has read, and what comes next.
 *
 * Owns the table journal_position.  Every row of it is a whole position; the
 * newest of this cluster's era counts.  Rows are only ever appended, under the
 * journal's lock (lock_journal(), to the end of the transaction), so entries
 * are committed in their order; reading needs no lock.  The table has a ring of
 * two leaves: rotation lets the next row go to the other one and empties the
 * first when no snapshot can need it.  Each journal has two leaves of its own, so
 * that what one of them is emptied of is nothing that another needs.
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

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/call.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/detail.h"
#include "journal/journal_internal.h"
#include "shop/owner.h"
#include "shop/row.h"

/* Rows of other eras come with a restore only: no need to look at each tick. */
#define OTHER_ERAS_INTERVAL_MS 10000

/*
 * While a snapshot in use keeps the table of positions from being emptied, ticks
 * come less often, and so with more events in each: for every leaf that it could
 * fill by so much, up to the maximum.
 */
#define PACE_MS 25
#define MAX_PACE_MS 250

PG_FUNCTION_INFO_V1(order_engine_journal_tick);
PG_FUNCTION_INFO_V1(order_engine_journal_batch);
PG_FUNCTION_INFO_V1(order_engine_journal_acknowledge);
PG_FUNCTION_INFO_V1(order_engine_journal_rotate);
PG_FUNCTION_INFO_V1(order_engine_journal_expire);

static int64 others_due_at[JOURNALS]; /* of clock_ms(), by this process; 0: not looked yet */
static int64 tick_due_at[JOURNALS];	  /* likewise: no tick before */
static int64 put_off_until[JOURNALS]; /* tick_due_at, if one was asked for before; 0: it was not */

/* ---- snapshots ---- */

bool
tick_sees(const TickSnapshot *snapshot, uint64 xid)
{
	uint32 low = 0, high;

	if (snapshot == NULL || xid >= snapshot->xmax)
		return false;
	if (xid < snapshot->xmin)
		return true;
	high = snapshot->nxip;
	while (low < high)
	{
		uint32 middle = low + (high - low) / 2;

		if (snapshot->xip[middle] == xid)
			return false;
		if (snapshot->xip[middle] < xid)
			low = middle + 1;
		else
			high = middle;
	}
	return true;
}

bool
tick_past(const TickSnapshot *snapshot, uint64 xid)
{
	return snapshot != NULL && xid < snapshot->xmin;
}

TickSnapshot *
tick_copy(const TickSnapshot *snapshot, MemoryContext context)
{
	TickSnapshot *copy;

	if (snapshot == NULL)
		return NULL;
	copy = MemoryContextAlloc(context, VARSIZE(snapshot));
	memcpy(copy, snapshot, VARSIZE(snapshot));
	return copy;
}

/* Names this transaction as one in progress, if it has an id, which its own snapshots never do. */
static TickSnapshot *
tick_without_own(const TickSnapshot *snapshot)
{
	uint64		  own = U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
	uint32		  place = 0;
	TickSnapshot *copy = palloc(VARSIZE(snapshot) + sizeof(uint64));

	memcpy(copy, snapshot, VARSIZE(snapshot));
	if (own == 0 || !tick_sees(snapshot, own))
		return copy;
	while (place < snapshot->nxip && snapshot->xip[place] < own)
		place++;
	copy->xip[place] = own;
	memcpy(&copy->xip[place + 1], &snapshot->xip[place], sizeof(uint64) * (snapshot->nxip - place));
	copy->nxip++;
	copy->xmin = Min(copy->xmin, own);
	SET_VARSIZE(copy, VARSIZE(snapshot) + sizeof(uint64));
	return copy;
}

static TickSnapshot *
tick_take(Snapshot snapshot)
{
	Datum value;

	PushActiveSnapshot(snapshot);
	value = OidFunctionCall0(F_PG_CURRENT_SNAPSHOT);
	PopActiveSnapshot();
	return tick_without_own((TickSnapshot *) DatumGetPointer(value));
}

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

/*
 * And locks what its holder reads and then writes to, as a writer from the first:
 * REINDEX of a leaf lets readers in, and waits for them when it has the leaf.
 */
static void
lock_journal(Journal journal)
{
	LOCKTAG tag = lock_tag(journal);
	int		nleaves;

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	pfree(ring_lock(SHOP_JOURNAL_POSITION, RowExclusiveLock, &nleaves));
}

bool
journal_lock_if_free(Journal journal)
{
	LOCKTAG tag = lock_tag(journal);

	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
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
state_decode(const PositionRow *row, Journal journal, int ring, JournalState *state)
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

	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid, C_COLLATION_OID,
						   F_TEXTEQ, CStringGetTextDatum(journals[journal].name));
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
			state_decode(&row, journal, leaf->ring, state);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(row.slot);
	index_close(index, NoLock);
	table_close(rel, NoLock);
	return found;
}

bool
state_find(Journal journal, int64 era, int64 batch, JournalState *state)
{
	int		 nleaves;
	Leaf	*leaves = ring_lock(SHOP_JOURNAL_POSITION, AccessShareLock, &nleaves);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool	 found = false;

	memset(state, 0, sizeof(JournalState));
	for (int i = 0; i < nleaves; i++)
		found |= find_in_leaf(&leaves[i], snapshot, journal, era, batch, state);
	UnregisterSnapshot(snapshot);
	pfree(leaves);
	return found;
}

bool
state_read(Journal journal, int64 era, JournalState *state)
{
	return state_find(journal, era, -1, state);
}

static void
set_snapshot(RowTable *table, TupleTableSlot *slot, int column, TickSnapshot *snapshot)
{
	if (snapshot)
		row_set(table, slot, column, PointerGetDatum(snapshot));
}

void
state_append(JournalState *state)
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
state_fold(JournalState *state)
{
	if (state->last_id != JOURNAL_WHOLE || state->snapshot == NULL)
		return;
	if (state->other_eras)
		state->adopted = state->snapshot;
	else
		state->consumed = state->snapshot;
}

static void
state_tell(const JournalState *state, JournalPosition *position)
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

/* The highest generation and batch of other clusters that a restore brought. */
static void
inherit_numbers(JournalState *state)
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

/*
 * The first position in this cluster.  What a restore brought into the leaves
 * is best left behind there, so that they can be emptied.
 */
static void
state_begin(Journal journal, JournalState *state)
{
	ring_require_whole(journal);
	memset(state, 0, sizeof(JournalState));
	state->journal = journal;
	state->era = journal_era();
	state->tick_at = GetCurrentTimestamp();
	state->tick_id = random_uuid();
	state->last_id = JOURNAL_WHOLE;
	state->ring = journal * POSITION_LEAVES;
	inherit_numbers(state);
	state->current_ring = state->generation > 0 ? ring_leave(journal) : ring_current(journal);
}

/* The newest position; it becomes this cluster's first one.  Under the journal's lock. */
static void
state_get(Journal journal, JournalState *state)
{
	int32 timeline = (int32) GetWALInsertionTimeLine();

	if (!state_read(journal, journal_era(), state))
		state_begin(journal, state);
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

	lock_journal(journal);
	state_get(journal, &state);
	state_append(&state);
	commit_synchronously();
	state_tell(&state, position);
}

void
journal_position(Journal journal, JournalPosition *position)
{
	JournalState state;

	if (state_read(journal, journal_era(), &state))
		state_tell(&state, position);
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
	if (leaves_have_others(state->journal, leaves, nleaves, snapshot, next->adopted))
		return true;
	if (next->adopted == NULL)
	{
		state->adopted = next->snapshot;
		state_append(state);
		next->entry = state->entry;
	}
	next->adopted = next->snapshot;
	return false;
}

/* The tick that follows, with a snapshot of its own; false: nothing to read. */
static bool
next_tick(JournalState *state, JournalState *next)
{
	int		 nleaves;
	Leaf	*leaves = ring_lock(journals[state->journal].table, AccessShareLock, &nleaves);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool	 found;

	*next = *state;
	state_fold(next);
	next->snapshot = tick_take(snapshot);
	next->other_eras = find_others(state, next, leaves, nleaves, snapshot);
	found = next->other_eras || leaves_have_rows(state->journal, leaves, nleaves, snapshot,
												 next->consumed, next->snapshot);
	UnregisterSnapshot(snapshot);
	pfree(leaves);
	return found;
}

static int
tick_pace(const JournalState *state)
{
	int excess = ring_position_excess(state->ring);

	return Min(PACE_MS * Max(excess - 1, 0), MAX_PACE_MS);
}

int64
journal_put_off(Journal journal)
{
	return put_off_until[journal];
}

bool
journal_tick(Journal journal, JournalPosition *position)
{
	JournalState state, next;
	int64		 now = clock_ms();

	put_off_until[journal] = now < tick_due_at[journal] ? tick_due_at[journal] : 0;
	if (put_off_until[journal] > 0)
		return false;
	lock_journal(journal);
	state_get(journal, &state);
	state_tell(&state, position);
	if (state.last_id != JOURNAL_WHOLE || !next_tick(&state, &next))
		return false;

	next.batch++;
	next.tick_id = random_uuid();
	next.tick_at = GetCurrentTimestamp();
	next.last_id = 0;
	state_append(&next);
	tick_due_at[journal] = now + tick_pace(&next);
	commit_synchronously();
	state_tell(&next, position);
	return true;
}

void
journal_acknowledge(Journal journal, int64 batch, int64 last_id)
{
	JournalState state;

	lock_journal(journal);
	state_get(journal, &state);
	if (state.batch != batch)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("batch " INT64_FORMAT " of the journal is not the present one", batch),
				 detail_set("batch", detail_id(batch), "present", detail_id(state.batch), NULL),
				 errhint("Another consumer went on meanwhile.  Open the journal again.")));
	if (last_id <= state.last_id)
		return;
	state.last_id = last_id;
	state_append(&state);
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
	state_append(state);
	return expired;
}

void
journal_expire(Journal journal, int64 retention_ms)
{
	JournalState	state;
	JournalPosition position;

	lock_journal(journal);
	state_get(journal, &state);
	if (state.last_id == JOURNAL_WHOLE || expire_batch(&state, retention_ms))
		(void) journal_tick(journal, &position);
}

void
journal_init(void)
{
	ring_init();
}

/* ---- SQL: for tests and for the curious ---- */

static Journal
journal_argument(FunctionCallInfo fcinfo)
{
	char		  *name;
	StringInfoData list;

	call_require(fcinfo, 0, "journal");
	name = call_text(fcinfo, 0);
	initStringInfo(&list);
	for (int i = 0; i < JOURNALS; i++)
	{
		if (strcmp(journals[i].name, name) == 0)
			return i;
		appendStringInfo(&list, i == 0 ? "%s" : ", %s", journals[i].name);
	}
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("journal \"%s\" does not exist", name),
					errhint("The journals are: %s.", list.data)));
}

Datum
order_engine_journal_tick(PG_FUNCTION_ARGS)
{
	Journal			journal = journal_argument(fcinfo);
	JournalPosition position;
	OwnerScope		owner;
	bool			found;

	owner_begin(&owner);
	found = journal_tick(journal, &position);
	owner_end(&owner);
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_INT64(position.batch);
}

static bool
put_id(int64 id, TupleTableSlot *slot, void *argument)
{
	ReturnSetInfo *rsinfo = argument;
	Datum		   value = Int64GetDatum(id);
	bool		   isnull = false;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	return true;
}

Datum
order_engine_journal_batch(PG_FUNCTION_ARGS)
{
	Journal		   journal = journal_argument(fcinfo);
	JournalReader *reader;
	OwnerScope	   owner;

	call_require(fcinfo, 1, "batch");
	call_require(fcinfo, 2, "after_id");
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	owner_begin(&owner);
	reader =
		journal_reader_open(journal, PG_GETARG_INT64(1), PG_GETARG_INT64(2), CurrentMemoryContext);
	while (journal_read(reader, put_id, fcinfo->resultinfo) > 0)
		;
	journal_reader_close(reader);
	owner_end(&owner);
	return (Datum) 0;
}

Datum
order_engine_journal_acknowledge(PG_FUNCTION_ARGS)
{
	Journal	   journal = journal_argument(fcinfo);
	OwnerScope owner;

	call_require(fcinfo, 1, "batch");
	owner_begin(&owner);
	journal_acknowledge(journal, PG_GETARG_INT64(1),
						PG_ARGISNULL(2) ? JOURNAL_WHOLE : PG_GETARG_INT64(2));
	owner_end(&owner);
	PG_RETURN_VOID();
}

Datum
order_engine_journal_rotate(PG_FUNCTION_ARGS)
{
	Journal	   journal = journal_argument(fcinfo);
	OwnerScope owner;
	int		   emptied;

	owner_begin(&owner);
	emptied = journal_rotate(journal);
	owner_end(&owner);
	PG_RETURN_INT32(emptied);
}

Datum
order_engine_journal_expire(PG_FUNCTION_ARGS)
{
	Journal	   journal = journal_argument(fcinfo);
	OwnerScope owner;

	call_require(fcinfo, 1, "retention_ms");
	if (PG_GETARG_INT64(1) < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"retention_ms\" must not be negative")));
	owner_begin(&owner);
	journal_expire(journal, PG_GETARG_INT64(1));
	owner_end(&owner);
	PG_RETURN_VOID();
}
