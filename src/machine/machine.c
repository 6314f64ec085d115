/*
 * machine.c
 *		Publishes state machines, finds them again, and asks their guards.
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

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/call.h"
#include "base/compat.h"
#include "base/detail.h"
#include "machine/machine.h"
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

/* ---- the cache ---- */

/* Relcache callback: may run in any transaction state, so it only counts. */
static void
machine_invalidate(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == machine_relid)
		machine_epoch++;
}

void
machine_init(void)
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

/* NOT NULL may be a promise that older rows do not keep. */
static Datum
column_value(Relation rel, HeapTuple tuple, AttrNumber attno)
{
	bool  isnull;
	Datum value = heap_getattr(tuple, attno, RelationGetDescr(rel), &isnull);

	if (isnull)
		ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
						errmsg("column \"%s\" must not be null",
							   NameStr(TupleDescAttr(RelationGetDescr(rel), attno - 1)->attname))));
	return value;
}

static void
read_row(Relation rel, const AttrNumber *attno, HeapTuple tuple, MachineRow *row)
{
	row->machine_id = DatumGetInt32(column_value(rel, tuple, attno[MACHINE_MACHINE_ID]));
	row->xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);
	row->name = TextDatumGetCString(column_value(rel, tuple, attno[MACHINE_NAME]));
	row->definition = DatumGetJsonbPCopy(column_value(rel, tuple, attno[MACHINE_DEFINITION]));
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
find_row(int column, RegProcedure equal, Datum value, MachineRow *row)
{
	Relation	rel = row_open_for_reading(SHOP_MACHINE);
	Snapshot	snapshot = current_snapshot(rel);
	AttrNumber	attno[MACHINE_COLUMNS];
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	HeapTuple	found = NULL;

	row_layout(rel, &machine_columns, attno);
	ScanKeyEntryInitialize(&key, 0, attno[column], BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, equal, value);
	scan = systable_beginscan(rel, InvalidOid, false, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (found == NULL || DatumGetInt32(column_value(rel, tuple, attno[MACHINE_MACHINE_ID])) >
								 DatumGetInt32(column_value(rel, found, attno[MACHINE_MACHINE_ID])))
			found = heap_copytuple(tuple);
	memset(row, 0, sizeof(MachineRow));
	if (found)
		read_row(rel, attno, found, row);
	systable_endscan(scan);
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
	Relation	rel = row_open_for_reading(SHOP_MACHINE);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	AttrNumber	attno[MACHINE_COLUMNS];
	HeapTuple	tuple;
	int			highest = 0;

	row_layout(rel, &machine_columns, attno);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		highest = Max(highest, DatumGetInt32(column_value(rel, tuple, attno[MACHINE_MACHINE_ID])));
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return highest;
}

/* ---- finding machines ---- */

/* A Machine that stays: nothing of a failed try does. */
static const Machine *
load_machine(const MachineRow *row)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "order_engine machine", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Machine		 *machine = machine_parse(row->machine_id, row->name, row->definition);

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

	if (likely(entry && entry->epoch == machine_epoch))
		return entry->machine;

	context = AllocSetContextCreate(CurrentMemoryContext, "order_engine machine row",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	machine = reload_machine(relid, machine_id, entry);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
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

int
machine_state(const Machine *machine, const char *name)
{
	for (int i = 0; i < machine->nstates; i++)
		if (strcmp(machine->states[i], name) == 0)
			return i;
	return -1;
}

int
machine_event(const Machine *machine, const char *name)
{
	for (int i = 0; i < machine->nevents; i++)
		if (strcmp(machine->events[i], name) == 0)
			return i;
	return -1;
}

const Transition *
machine_move(const Machine *machine, int state, int event)
{
	if (state < 0 || event < 0)
		return NULL;
	return machine->matrix[state * machine->nevents + event];
}

const Transition *
machine_move_between(const Machine *machine, int from, int to)
{
	const Transition *keeper = NULL;

	for (int i = 0; i < machine->ntransitions; i++)
	{
		const Transition *transition = &machine->transitions[i];

		if (transition->from < 0 || transition->from != from || transition->to != to)
			continue;
		if (!transition->keeper_only)
			return transition;
		if (keeper == NULL)
			keeper = transition;
	}
	return keeper;
}

List *
machine_allowed(const Machine *machine, int state)
{
	List *events = NIL;

	for (int i = 0; i < machine->ntransitions; i++)
	{
		const Transition *transition = &machine->transitions[i];

		if (transition->from >= 0 && transition->from == state && !transition->keeper_only)
			events = lappend(events, unconstify(char *, machine->events[transition->event]));
	}
	return events;
}

/* ---- guards ---- */

/* DETAIL and HINT for everything that can be wrong with a guard. */
static int
guard_detail(const char *guard)
{
	detail_set("guard", detail_text(guard), NULL);
	return errhint(
		"A guard is a function (order_engine.orders, text, jsonb) RETURNS boolean SECURITY DEFINER.");
}

/* Raises unless the function can serve as a guard. */
static void
check_guard(Oid function, const char *guard)
{
	HeapTuple tuple =
		OidIsValid(function) ? SearchSysCache1(PROCOID, ObjectIdGetDatum(function)) : NULL;
	Form_pg_proc proc;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
						errmsg("guard function %s does not exist", guard), guard_detail(guard)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prokind != PROKIND_FUNCTION || proc->proretset || proc->prorettype != BOOLOID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("guard function %s does not return boolean", guard), guard_detail(guard)));
	if (!proc->prosecdef)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("guard function %s is not SECURITY DEFINER", guard), guard_detail(guard)));
	ReleaseSysCache(tuple);
}

static void
guard_argument_types(Oid *types)
{
	types[0] = get_rel_type_id(shop_table(SHOP_ORDERS));
	types[1] = TEXTOID;
	types[2] = JSONBOID;
}

/*
 * The guard as stored, found anew for each call, so that DROP and CREATE
 * FUNCTION are noticed.  By its exact name: what the current user may see does
 * not matter.
 */
static Oid
stored_guard(const Transition *transition)
{
	Oid types[3];
	Oid schema = get_namespace_oid(transition->guard_schema, true);

	guard_argument_types(types);
	return GetSysCacheOid3(
		PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(transition->guard_function),
		PointerGetDatum(buildoidvector(types, lengthof(types))), ObjectIdGetDatum(schema));
}

/* The guard as written by a publisher: as he sees it, and may execute it. */
static Oid
published_guard(const Transition *transition)
{
	Oid	  types[3];
	List *name = list_make1(makeString(unconstify(char *, transition->guard_function)));
	Oid	  function;

	if (transition->guard_schema)
		name = lcons(makeString(unconstify(char *, transition->guard_schema)), name);
	guard_argument_types(types);
	function = LookupFuncName(name, lengthof(types), types, true);
	check_guard(function, transition->guard);
	if (compat_function_aclcheck(function, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, transition->guard);
	return function;
}

/*
 * The guard leaves nothing behind that would run later as somebody else: what is
 * deferred to the commit (constraint triggers, cursors WITH HOLD) runs as whoever
 * commits, the tables' owner in a worker, a superuser perhaps in a session.  Nor do
 * its settings stay: a search_path would be that of the owner's triggers, and of the
 * session.
 */
bool
machine_guard_allows(const Transition *transition, const char *event, Datum order,
					 Jsonb *attributes)
{
	Oid			  function = stored_guard(transition);
	MemoryContext context;
	MemoryContext old;
	FmgrInfo	  flinfo;
	LOCAL_FCINFO(call, 3);
	Oid	 user;
	int	 sec_context;
	int	 guc_level;
	bool allows;

	check_guard(function, transition->guard);
	/* what the function's language keeps for it goes with the context */
	context =
		AllocSetContextCreate(CurrentMemoryContext, "order_engine guard", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	fmgr_info(function, &flinfo);
	InitFunctionCallInfoData(*call, &flinfo, 3, DEFAULT_COLLATION_OID, NULL, NULL);
	call->args[0] = (NullableDatum){order, false};
	call->args[1] = (NullableDatum){CStringGetTextDatum(event), false};
	call->args[2] =
		(NullableDatum){JsonbPGetDatum(attributes ? attributes : call_empty_object()), false};
	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(user, sec_context | SECURITY_RESTRICTED_OPERATION);
	guc_level = NewGUCNestLevel();
	allows = DatumGetBool(FunctionCallInvoke(call)) && !call->isnull;
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(user, sec_context);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return allows;
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
	Machine *machine = machine_parse(0, name, definition);

	for (int i = 0; i < machine->ntransitions; i++)
	{
		const Transition *transition = &machine->transitions[i];
		Oid				  function;

		if (transition->guard == NULL)
			continue;
		function = published_guard(transition);
		definition = replace_guard(
			definition, i,
			quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
									   get_func_name(function)));
	}
	/* what is stored must be readable */
	(void) machine_parse(0, name, definition);
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
 * its transaction: ids are dense.  Raises as machine_parse() does, and for a
 * guard as machine_guard_allows() does; 42501 too if the caller may not execute
 * the guard, 25006 in a read-only transaction.
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
	PG_RETURN_INT32(publish(call_text(fcinfo, 0), call_jsonb(fcinfo, 1)));
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
