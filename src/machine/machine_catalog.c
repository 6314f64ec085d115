/*
 * machine_catalog.c
 *		Publishes state machines, and finds them again.
 *
 * Owns the table `machine` and a per-backend cache of what it says.  A Machine
 * is never changed nor freed: callers may hold it for as long as they like.
 *
 * An entry of the cache is believed while machine_epoch, raised by the relcache
 * callback of the table, stands still; then its row is looked at again.  So
 * other backends learn of a new version, and a backend that loaded a machine
 * which was then rolled back learns that too (an abort replays the
 * transaction's own invalidations).
 *
 * Publishers take a lock of their own until their transaction ends: one at a time,
 * so ids are dense and no version is published twice; readers do not wait.  The
 * table is read under the latest snapshot, in every isolation level: the cache
 * outlives transactions, and a publisher must see what the one before it
 * committed.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/call.h"
#include "base/compat.h"
#include "base/detail.h"
#include "machine/machine_catalog.h"
#include "machine/machine_definition.h"
#include "machine/machine_guard.h"
#include "shop/owner.h"
#include "shop/row.h"
#include "shop/shop.h"

/* A row as it was read: memory of the caller's context. */
typedef struct MachineRow
{
	int			  machine_id; /* 0: none */
	TransactionId xmin;
	char		 *name;
	Jsonb		 *definition;
} MachineRow;

typedef struct MachineEntry
{
	int			   machine_id; /* hash key */
	uint64		   epoch;	   /* believed while this is machine_epoch */
	Oid			   relid;	   /* with xmin, tells the row from another of the same id */
	TransactionId  xmin;
	const Machine *machine;
} MachineEntry;

typedef struct LatestEntry
{
	char   name[MACHINE_MAX_NAME_LENGTH + 1]; /* hash key */
	uint64 epoch;
	int	   machine_id;
} LatestEntry;

static MemoryContext machine_context;	/* parent of each Machine's own */
static HTAB			*machines;			/* MachineEntry; lives as long as the backend */
static HTAB			*latest;			/* LatestEntry; the same */
static Oid			 machine_relid;		/* the table that the cache knows */
static uint64		 machine_epoch = 1; /* raised by machine_invalidate() */

PG_FUNCTION_INFO_V1(order_engine_define_machine);
PG_FUNCTION_INFO_V1(order_engine_machine_changed);
PG_FUNCTION_INFO_V1(order_engine_machine_holding);

/* ---- the cache ---- */

/* Relcache callback: may run in any transaction state, so it only counts. */
static void
machine_invalidate(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == machine_relid)
		machine_epoch++;
}

void
machine_catalog_init(void)
{
	HASHCTL by_id = {.keysize = sizeof(int), .entrysize = sizeof(MachineEntry)};
	HASHCTL by_name = {.keysize = sizeof(((LatestEntry *) 0)->name),
					   .entrysize = sizeof(LatestEntry)};

	machine_context =
		AllocSetContextCreate(TopMemoryContext, "order_engine machines", ALLOCSET_SMALL_SIZES);
	machines = hash_create("order_engine machines", 16, &by_id, HASH_ELEM | HASH_BLOBS);
	latest = hash_create("order_engine machine names", 16, &by_name, HASH_ELEM | HASH_STRINGS);
	CacheRegisterRelcacheCallback(machine_invalidate, (Datum) 0);
}

/* The table; after setup() anew it is another one, and nothing known is true. */
static Oid
current_table(void)
{
	Oid relid = shop_table(SHOP_MACHINE);

	if (relid != machine_relid)
	{
		machine_relid = relid;
		machine_epoch++;
	}
	return relid;
}

/* ---- reading the table ---- */

static void
read_row(TupleTableSlot *slot, const AttrNumber *attno, MachineRow *row)
{
	bool isnull;

	row->machine_id = DatumGetInt32(row_require(slot, attno[MACHINE_MACHINE_ID]));
	row->xmin =
		DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull));
	row->name = TextDatumGetCString(row_require(slot, attno[MACHINE_NAME]));
	row->definition = DatumGetJsonbPCopy(row_require(slot, attno[MACHINE_DEFINITION]));
}

/*
 * What is committed now, registered.  In parallel mode there is no such snapshot:
 * but who sees an order there sees its machine too, which was published before.
 */
static Snapshot
current_snapshot(Relation rel)
{
	static const ShopTable table = SHOP_MACHINE;

	return IsInParallelMode() ? row_reading_snapshot(&rel, &table, 1)
							  : RegisterSnapshot(GetLatestSnapshot());
}

/*
 * Reads the row that a condition on one column gives; of several the one with
 * the highest id.  machine_id stays 0 if there is none.  The table has a row
 * for each version ever published, few enough to go through.
 */
static void
find_row(int column, RegProcedure condition, Datum value, MachineRow *row)
{
	Relation		rel = row_open_for_reading(SHOP_MACHINE);
	Snapshot		snapshot = current_snapshot(rel);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TupleTableSlot *found = table_slot_create(rel, NULL);
	AttrNumber		attno[MACHINE_COLUMNS];
	ScanKeyData		key;
	TableScanDesc	scan;

	row_layout(rel, &machine_columns, attno);
	ScanKeyInit(&key, attno[column], InvalidStrategy, condition, value);
	scan = table_beginscan_strat(rel, snapshot, 1, &key, true, false);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		if (TTS_EMPTY(found) || DatumGetInt32(row_require(slot, attno[MACHINE_MACHINE_ID])) >
									DatumGetInt32(row_require(found, attno[MACHINE_MACHINE_ID])))
			ExecCopySlot(found, slot);
	memset(row, 0, sizeof(MachineRow));
	if (!TTS_EMPTY(found))
		read_row(found, attno, row);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	ExecDropSingleTupleTableSlot(found);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
}

static void
find_by_id(int machine_id, MachineRow *row)
{
	find_row(MACHINE_MACHINE_ID, F_INT4EQ, Int32GetDatum(machine_id), row);
}

static void
find_newest(const char *name, MachineRow *row)
{
	find_row(MACHINE_NAME, F_TEXTEQ, CStringGetTextDatum(name), row);
}

/* The highest id ever given; under the publishers' lock. */
static int
highest_id(void)
{
	MachineRow row;

	find_row(MACHINE_MACHINE_ID, F_INT4GT, Int32GetDatum(0), &row);
	return row.machine_id;
}

/* ---- finding machines ---- */

/* A Machine that stays: nothing of a failed try does. */
static const Machine *
load_machine(const MachineRow *row)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "order_engine machine", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Machine		 *machine = machine_definition_parse(row->machine_id, row->name, row->definition);

	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, machine_context);
	return machine;
}

pg_noreturn static void
refuse_id(int machine_id)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("state machine %d does not exist", machine_id),
					detail_set("machine_id", detail_number(machine_id), NULL),
					errhint("Table order_engine.machine lists what was published.")));
}

/* Looks at the table again; keeps the Machine where its row is the same still. */
static const Machine *
reload_machine(Oid relid, int machine_id, MachineEntry *entry)
{
	uint64	   epoch = machine_epoch; /* before the table is read: what comes later is seen again */
	MachineRow row;

	find_by_id(machine_id, &row);
	if (row.machine_id == 0)
		refuse_id(machine_id);
	if (entry == NULL || entry->relid != relid || entry->xmin != row.xmin)
	{
		const Machine *machine = load_machine(&row);

		entry = hash_search(machines, &machine_id, HASH_ENTER, NULL);
		entry->relid = relid;
		entry->xmin = row.xmin;
		entry->machine = machine;
	}
	entry->epoch = epoch;
	return entry->machine;
}

const Machine *
machine_get(int machine_id)
{
	Oid			   relid = current_table();
	MachineEntry  *entry = hash_search(machines, &machine_id, HASH_FIND, NULL);
	MemoryContext  context;
	MemoryContext  old;
	const Machine *machine;
	OwnerScope	   owner;

	if (likely(entry && entry->epoch == machine_epoch))
		return entry->machine;

	owner_begin(&owner); /* some callers have not yet */

	context = AllocSetContextCreate(CurrentMemoryContext, "order_engine machine row",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	machine = reload_machine(relid, machine_id, entry);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	owner_end(&owner);
	return machine;
}

pg_noreturn static void
refuse_name(const char *name)
{
	char *shown = pnstrdup(name, pg_mbcliplen(name, strlen(name), MACHINE_MAX_NAME_LENGTH));

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("state machine does not exist"),
			 detail_set("machine", detail_text(shown), NULL),
			 errhint("Publish one of this name with order_engine.define_machine().")));
}

const Machine *
machine_latest(const char *name)
{
	LatestEntry *entry;
	uint64		 epoch;
	MachineRow	 row;

	(void) current_table();

	/* a longer key would be cut by the hash table */
	if (strlen(name) > MACHINE_MAX_NAME_LENGTH)
		refuse_name(name);
	AcceptInvalidationMessages(); /* a transaction that has its locks hears of nothing by them */
	entry = hash_search(latest, name, HASH_FIND, NULL);
	if (likely(entry && entry->epoch == machine_epoch))
		return machine_get(entry->machine_id);

	epoch = machine_epoch;
	find_newest(name, &row);
	if (row.machine_id == 0)
		refuse_name(name);
	entry = hash_search(latest, name, HASH_ENTER, NULL);
	entry->machine_id = row.machine_id;
	entry->epoch = epoch;
	return machine_get(row.machine_id);
}

/* ---- publishing ---- */

static Jsonb *
replace_guard(Jsonb *definition, int index, const char *guard)
{
	Datum	   path[3];
	ArrayType *path_array;
	Datum	   value;

	path[0] = CStringGetTextDatum("transitions");
	path[1] = CStringGetTextDatum(psprintf("%d", index));
	path[2] = CStringGetTextDatum("guard");
	path_array = construct_array(path, lengthof(path), TEXTOID, -1, false, TYPALIGN_INT);
	value = JsonbPGetDatum(JsonbValueToJsonb(&(JsonbValue){
		.type = jbvString, .val.string = {strlen(guard), unconstify(char *, guard)}}));
	return DatumGetJsonbP(DirectFunctionCall4(jsonb_set, JsonbPGetDatum(definition),
											  PointerGetDatum(path_array), value,
											  BoolGetDatum(false)));
}

/*
 * Checks a definition whole and gives it as it is stored: its guards are
 * qualified, so that later nobody's search_path matters.
 */
static Jsonb *
checked_definition(const char *name, Jsonb *definition)
{
	Machine *machine = machine_definition_parse(0, name, definition);

	for (int i = 0; i < machine->ntransitions; i++)
	{
		const Transition *transition = &machine->transitions[i];
		Oid				  function;

		if (transition->guard == NULL)
			continue;
		function = machine_guard_find(transition);
		definition = replace_guard(
			definition, i,
			quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
									   get_func_name(function)));
	}
	/* what is stored must be readable */
	(void) machine_definition_parse(0, name, definition);
	return definition;
}

/*
 * To the end of the transaction.  Not a lock on the table, which would be waited for
 * behind REINDEX CONCURRENTLY, and that waits for whoever has a snapshot.
 */
static void
lock_publishers(Oid relid)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId, relid, 1);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

static void
insert_machine(RowScope *scope, Oid relid, int machine_id, const char *name, Jsonb *definition)
{
	RowTable	   *table = row_open(scope, relid, &machine_columns);
	TupleTableSlot *slot = row_slot(table);

	row_new(table, slot);
	row_set(table, slot, MACHINE_MACHINE_ID, Int32GetDatum(machine_id));
	row_set(table, slot, MACHINE_NAME, CStringGetTextDatum(name));
	row_set(table, slot, MACHINE_DEFINITION, JsonbPGetDatum(definition));
	row_set(table, slot, MACHINE_PUBLISHED_AT, TimestampTzGetDatum(GetCurrentTimestamp()));
	row_insert(table, slot);
}

/*
 * Publishes a definition under a name and gives its id, that of the newest
 * version if that says the same.  One publisher at a time, until the end of
 * its transaction: ids are dense.  Raises as machine_definition_parse() does, for a
 * guard as machine_guard_find(), and 25006 in a read-only transaction.
 */
static int
publish(const char *name, Jsonb *definition)
{
	Oid		   relid = shop_table(SHOP_MACHINE);
	Jsonb	  *checked = checked_definition(name, definition);
	OwnerScope owner;
	RowScope   scope;
	MachineRow newest;
	int		   machine_id;

	owner_begin(&owner);
	row_scope_begin(&scope, "define_machine()");
	lock_publishers(relid);
	find_newest(name, &newest);
	if (newest.machine_id > 0 &&
		compareJsonbContainers(&newest.definition->root, &checked->root) == 0)
		machine_id = newest.machine_id;
	else
	{
		machine_id = highest_id() + 1;
		/* before the row can be seen, so that an abort after that is noticed too */
		CacheInvalidateRelcacheByRelid(relid);
		insert_machine(&scope, relid, machine_id, name, checked);
	}
	row_scope_end(&scope);
	owner_end(&owner);
	return machine_id;
}

/* ---- SQL ---- */

Datum
order_engine_define_machine(PG_FUNCTION_ARGS)
{
	call_require(fcinfo, 0, "name");
	call_require(fcinfo, 1, "definition");
	PG_RETURN_INT32(publish(call_text(fcinfo, 0), PG_GETARG_JSONB_P(1)));
}

/*
 * Trigger, ALWAYS: rows that replication or a restore brings are no calls of
 * publish(), and must be noticed all the same.
 */
Datum
order_engine_machine_changed(PG_FUNCTION_ARGS)
{
	CacheInvalidateRelcache(call_trigger(fcinfo)->tg_relation);
	return PointerGetDatum(NULL);
}

/* What an order in this state has of its lines' stock; null for a state that the machine lacks. */
Datum
order_engine_machine_holding(PG_FUNCTION_ARGS)
{
	const Machine *machine = machine_get(PG_GETARG_INT32(0));
	int			   state = machine_state(machine, text_to_cstring(PG_GETARG_TEXT_PP(1)));

	if (state < 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(machine_definition_holding_name(machine->holdings[state])));
}
