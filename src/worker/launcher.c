/*
 * launcher.c
 *		Starts the workers of each database.
 *
 * A static background worker, connected to no database.  For each database in
 * order_engine.databases it runs one dynamic worker of each kind, starts it again
 * when it ended, and ends it when the database leaves the list.  The dynamic
 * workers are never restarted by the postmaster, so that a database can be dropped
 * under them.
 *
 * Shared memory: one byte, written by the launcher alone and read by whoever asks
 * why a worker does not run; no lock, since what it says is old news in any case.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/shared.h"
#include "base/wake.h"
#include "worker/launcher.h"
#include "worker/worker.h"

#define RESTART_MS 1000

static const struct
{
	const char *type;
	const char *function;
} kinds[WAKE_KINDS] = {
	[WAKE_RELAY] = {"order_engine relay", "relay_main"},
	[WAKE_KEEPER] = {"order_engine keeper", "keeper_main"},
};

char *launcher_databases; /* a setting, which PostgreSQL sets and resets */

static bool preloaded = false; /* by the postmaster, for all its processes */

/* a worker waits for a slot; NULL without preload */
static volatile bool *shown_full;

COMPAT_WORKER_MAIN(order_engine_launcher_main);

typedef struct Watched
{
	char					name[NAMEDATALEN];
	BackgroundWorkerHandle *handles[WAKE_KINDS];	/* NULL: none was started */
	int64					not_before[WAKE_KINDS]; /* of the next start, by clock_ms() */
	bool					missing;				/* and the log says so */
	bool					full;					/* no slot for a worker: likewise */
	bool					listed;					/* scratch of follow_list() */
} Watched;

static List *watched = NIL; /* follow_list() makes it anew; it ends with the launcher */

static void
stop_workers(Watched *w)
{
	for (int kind = 0; kind < WAKE_KINDS; kind++)
		if (w->handles[kind])
		{
			TerminateBackgroundWorker(w->handles[kind]);
			pfree(w->handles[kind]);
			w->handles[kind] = NULL;
		}
}

/* The workers are this launcher's: the next one starts its own. */
static void
stop_all_workers(int code, Datum arg)
{
	ListCell *cell;

	foreach(cell, watched)
		stop_workers(lfirst(cell));
}

static Watched *
find_watched(const char *name)
{
	ListCell *cell;

	foreach(cell, watched)
	{
		Watched *w = lfirst(cell);

		if (strcmp(w->name, name) == 0)
			return w;
	}
	return NULL;
}

/* Makes `watched` agree with order_engine.databases; in TopMemoryContext. */
static void
follow_list(void)
{
	char	 *names_text = pstrdup(launcher_databases);
	List	 *names;
	ListCell *cell;

	if (!SplitIdentifierString(names_text, ',', &names))
		names = NIL; /* cannot be: the check hook has seen it */
	foreach(cell, watched)
		((Watched *) lfirst(cell))->listed = false;
	foreach(cell, names)
	{
		Watched *w = find_watched(lfirst(cell));

		if (w == NULL)
		{
			w = palloc0(sizeof(Watched));
			strlcpy(w->name, lfirst(cell), NAMEDATALEN);
			watched = lappend(watched, w);
		}
		w->listed = true;
	}
	foreach(cell, watched)
	{
		Watched *w = lfirst(cell);

		if (!w->listed)
		{
			stop_workers(w);
			watched = foreach_delete_current(watched, cell);
			pfree(w);
		}
	}
	list_free(names);
	pfree(names_text);
}

/* By a sequential scan: a process without a database has no other way to read pg_database. */
static Oid
find_connectable(const char *name)
{
	Relation	  rel = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(rel, 0, NULL);
	Oid			  found = InvalidOid;
	HeapTuple	  tuple;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (strcmp(NameStr(database->datname), name) == 0 && database->datallowconn &&
			database->datconnlimit != DATCONNLIMIT_INVALID_DB)
			found = database->oid;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * The database of that name, if it takes connections and nobody is dropping or
 * renaming it.  The lock is what a connection takes; it goes with the
 * transaction.
 */
static Oid
find_database(const char *name)
{
	Oid		database = find_connectable(name);
	LOCKTAG tag;

	if (!OidIsValid(database))
		return InvalidOid;
	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, database, 0);
	if (LockAcquire(&tag, RowExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return InvalidOid;
	return database;
}

/* Others may only have the slots for a moment (parallel queries, workers that still end). */
static void
note_full(Watched *w, WakeKind kind)
{
	if (!w->full)
		ereport(
			LOG,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("could not start \"%s\" for database \"%s\"", kinds[kind].type, w->name),
			 errdetail(
				 "All background worker slots are in use.  The launcher tries again every second."),
			 errhint(
				 "Increase max_worker_processes: order_engine needs one, and %d for each database.",
				 WAKE_KINDS)));
	w->full = true;
}

static void
note_missing(Watched *w, bool missing)
{
	if (missing && !w->missing)
		ereport(
			LOG,
			(errmsg("database \"%s\" of order_engine.databases cannot be connected to", w->name),
			 errdetail(
				 "It does not exist, does not allow connections or is being dropped.  The launcher looks again every second."),
			 errhint(
				 "Create it, or take it from order_engine.databases and reload.  A name with capital letters needs double quotes there.")));
	w->missing = missing;
}

static bool
is_complete(const Watched *w)
{
	for (int kind = 0; kind < WAKE_KINDS; kind++)
		if (w->handles[kind] == NULL)
			return false;
	return true;
}

static bool
is_due(Watched *w, WakeKind kind, int64 now)
{
	pid_t pid;

	if (w->handles[kind] && GetBackgroundWorkerPid(w->handles[kind], &pid) == BGWH_STOPPED)
	{
		pfree(w->handles[kind]);
		w->handles[kind] = NULL;
		w->not_before[kind] = now + RESTART_MS;
	}
	return w->handles[kind] == NULL && now >= w->not_before[kind];
}

/* Starts what is due of one database. */
static void
tend_database(Watched *w, int64 now)
{
	bool due[WAKE_KINDS];
	bool any = false;
	Oid	 database;

	for (int kind = 0; kind < WAKE_KINDS; kind++)
	{
		due[kind] = is_due(w, kind, now);
		any = any || due[kind];
	}
	if (!any)
		return;

	StartTransactionCommand();
	database = find_database(w->name);
	for (int kind = 0; kind < WAKE_KINDS; kind++)
		if (due[kind])
		{
			w->not_before[kind] = now + RESTART_MS;
			if (OidIsValid(database) && !worker_register(kinds[kind].type, kinds[kind].function,
														 w->name, database, &w->handles[kind]))
				note_full(w, kind);
		}
	CommitTransactionCommand();
	if (is_complete(w))
		w->full = false;
	note_missing(w, !OidIsValid(database));
}

static void
show_full(void)
{
	bool	  full = false;
	ListCell *cell;

	foreach(cell, watched)
		full = full || ((Watched *) lfirst(cell))->full;
	*shown_full = full;
}

/* Whoever reloads wants to know what is still missing. */
static void
forget_missing(void)
{
	ListCell *cell;

	foreach(cell, watched)
		((Watched *) lfirst(cell))->missing = false;
}

/* Without a worker that should be there, look again soon; a worker's end sets the latch. */
static long
launcher_timeout(void)
{
	ListCell *cell;

	foreach(cell, watched)
		if (!is_complete(lfirst(cell)))
			return RESTART_MS;
	return -1;
}

void
order_engine_launcher_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	before_shmem_exit(stop_all_workers, (Datum) 0);
	MemoryContextSwitchTo(TopMemoryContext);

	while (!ShutdownRequestPending)
	{
		int64	  now = clock_ms();
		ListCell *cell;

		follow_list();
		foreach(cell, watched)
			tend_database(lfirst(cell), now);
		show_full();
		if (worker_wait(PGINVALID_SOCKET, launcher_timeout()))
			forget_missing();
	}
	proc_exit(1); /* 0 would mean never again */
}

/* ---- what others ask ---- */

bool
launcher_is_preloaded(void)
{
	return preloaded;
}

bool
launcher_has_database(Oid database)
{
	char	 *copy = pstrdup(launcher_databases);
	char	 *name = get_database_name(database);
	List	 *names;
	ListCell *cell;
	bool	  found = false;

	if (name && SplitIdentifierString(copy, ',', &names))
		foreach(cell, names)
			found = found || strcmp(lfirst(cell), name) == 0;
	return found;
}

bool
launcher_is_full(void)
{
	return shown_full && *shown_full;
}

/* ---- start of the module ---- */

static bool
check_databases(char **newval, void **extra, GucSource source)
{
	char *copy = pstrdup(*newval);
	List *names;
	bool  valid = SplitIdentifierString(copy, ',', &names);

	if (!valid)
		GUC_check_errdetail("List syntax is invalid.");
	list_free(names);
	pfree(copy);
	return valid;
}

static Size
shown_size(void)
{
	return sizeof(*shown_full);
}

static void
register_launcher(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = RESTART_MS / 1000;
	strlcpy(worker.bgw_library_name, "order_engine", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "order_engine_launcher_main",
			sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "order_engine launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "order_engine launcher", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}

void
launcher_init(void)
{
	DefineCustomStringVariable("order_engine.databases",
							   "Databases in which the relay and the keeper run.",
							   "A list of names. Takes effect on reload.", &launcher_databases, "",
							   PGC_SIGHUP, GUC_LIST_INPUT, check_databases, NULL, NULL);
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	preloaded = true;
	shared_request("order_engine launcher", shown_size, 0, (void **) &shown_full);
	register_launcher();
}
