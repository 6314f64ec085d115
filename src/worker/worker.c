/*
 * worker.c
 *		The launcher, and the envelope that the engine's workers share.
 *
 * The launcher is a static background worker, connected to no database.  For
 * each database in order_engine.databases it runs one dynamic worker of each
 * kind, starts it again when it ended, and ends it when the database leaves
 * the list.  The dynamic workers are never restarted by the postmaster, so
 * that a database can be dropped under them.
 */
#include "postgres.h"

#include <signal.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/varlena.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/wake.h"
#include "shop/owner.h"
#include "shop/shop.h"
#include "worker/worker.h"

#define RESTART_MS 1000
#define CLAIM_RETRY_MS 100
#define LAST_LOCK_TIMEOUT "500ms"

static const struct
{
	const char *type;
	const char *function;
} kinds[WAKE_KINDS] = {
	[WAKE_RELAY] = {"order_engine relay", "relay_main"},
	[WAKE_KEEPER] = {"order_engine keeper", "keeper_main"},
};

/* settings, which PostgreSQL sets and resets */
static char *databases; /* order_engine.databases */
int			 worker_idle_timeout = 1000;

/* of a worker: set by worker_begin(), reset by worker_end(), or by worker_try() after an error */
static OwnerScope			 owner_scope; /* whom to go back to */
static volatile sig_atomic_t in_transaction = false;

COMPAT_WORKER_MAIN(order_engine_launcher_main);

/* ---- the envelope of a worker ---- */

/*
 * A worker in a transaction may be waiting for a lock: there it must die; outside it can end
 * well.
 */
static void
on_terminate(SIGNAL_ARGS)
{
	SignalHandlerForShutdownRequest(postgres_signal_arg);
	if (in_transaction)
		die(postgres_signal_arg);
}

/*
 * Of what can cancel a statement only the lock timeout may: a cancelled wait for
 * synchronous standbys would look like a commit that they confirmed.
 */
static void
on_interrupt(SIGNAL_ARGS)
{
	if (get_timeout_indicator(LOCK_TIMEOUT, false))
		StatementCancelHandler(postgres_signal_arg);
}

/*
 * Settings of the database or the owner must not change what a worker does.  As
 * PGC_S_OVERRIDE they are what reset_session() goes back to.
 */
static void
pin_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"session_replication_role", "origin"},
		{"row_security", "on"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{COMPAT_TRANSACTION_TIMEOUT, "0"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * Guards and users' triggers run in the workers, and may have set what they like for
 * their session, and locked it.  Outside a transaction, so that the next one
 * begins with it.
 */
static void
reset_session(void)
{
	ResetAllOptions();
	LockReleaseAll(USER_LOCKMETHOD, true);
}

void
worker_start(WakeKind kind, Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, on_terminate);
	pqsignal(SIGINT, on_interrupt);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	pin_settings();

	while (!wake_take_place(kind))
	{
		(void) worker_wait(PGINVALID_SOCKET, CLAIM_RETRY_MS);
		if (worker_stopping())
			proc_exit(0);
	}
	pgstat_report_activity(STATE_IDLE, NULL);
}

const char *
worker_database(void)
{
	return MyBgworkerEntry->bgw_extra;
}

bool
worker_stopping(void)
{
	return ShutdownRequestPending;
}

bool
worker_begin(const char *activity)
{
	reset_session();
	in_transaction = true;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!shop_is_whole())
	{
		PopActiveSnapshot();
		CommitTransactionCommand();
		in_transaction = false;
		return false;
	}
	pgstat_report_activity(STATE_RUNNING, activity);
	owner_begin(&owner_scope);

	/* asked to stop already, so no signal will end a wait */
	if (worker_stopping())
	{
		(void) set_config_option("lock_timeout", LAST_LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
		(void) set_config_option("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	}
	return true;
}

/*
 * Commits as the owner: deferred triggers, which are his, fire there, and this
 * process is a superuser's.  The commit restores the settings, not the user.
 */
void
worker_end(void)
{
	/* a lock was granted as its timeout came: that is not to cancel a wait for standbys */
	if (get_timeout_indicator(LOCK_TIMEOUT, true))
		QueryCancelPending = false;
	PopActiveSnapshot();
	CommitTransactionCommand();
	SetUserIdAndSecContext(owner_scope.userid, owner_scope.sec_context);
	in_transaction = false;
	ProcDiePending = false; /* came too late for this transaction; worker_stopping() tells */

	/* or autovacuum never hears of the rows written here */
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

bool
worker_try(const char *activity, void (*work)(void))
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = true;

	PG_TRY();
	{
		if (worker_begin(activity))
		{
			work();
			worker_end();
		}
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		EmitErrorReport();
		AbortCurrentTransaction(); /* restores the user, too */
		FlushErrorState();
		in_transaction = false;
		QueryCancelPending = ProcDiePending = false;
		done = false;
		RESUME_INTERRUPTS();
		pgstat_report_activity(STATE_IDLE, NULL);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return done;
}

bool
worker_wait(pgsocket fd, long timeout_ms)
{
	static uint32 wait_event = 0; /* found once in a process */
	int			  events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;

	if (wait_event == 0)
		wait_event = compat_wait_event("OrderEngineWorkerMain");
	if (timeout_ms >= 0)
		events |= WL_TIMEOUT;
	if (fd != PGINVALID_SOCKET)
		events |= WL_SOCKET_READABLE;
	(void) WaitLatchOrSocket(MyLatch, events, fd, timeout_ms, wait_event);
	ResetLatch(MyLatch);

	/* barriers too: DROP DATABASE of another database waits for us there */
	CHECK_FOR_INTERRUPTS();
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}

/* ---- the launcher ---- */

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
	char	 *names_text = pstrdup(databases);
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

/* False if there is no background worker slot left. */
static bool
start_worker(Watched *w, WakeKind kind, Oid database)
{
	BackgroundWorker worker;
	MemoryContext	 context = MemoryContextSwitchTo(TopMemoryContext);
	bool			 started;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "order_engine", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, kinds[kind].function, sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_type, kinds[kind].type, sizeof(worker.bgw_type));
	strlcpy(worker.bgw_extra, w->name, sizeof(worker.bgw_extra));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "%s of %s", kinds[kind].type, w->name);
	started = RegisterDynamicBackgroundWorker(&worker, &w->handles[kind]);
	MemoryContextSwitchTo(context);
	if (!started)
		w->handles[kind] = NULL;
	return started;
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
				 "It does not exist, does not allow connections or is being dropped.  The launcher looks again every second.")));
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
			if (OidIsValid(database) && !start_worker(w, kind, database))
				note_full(w, kind);
		}
	CommitTransactionCommand();
	if (is_complete(w))
		w->full = false;
	note_missing(w, !OidIsValid(database));
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
		(void) worker_wait(PGINVALID_SOCKET, launcher_timeout());
	}
	proc_exit(1); /* 0 would mean never again */
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

static void
define_settings(void)
{
	DefineCustomStringVariable("order_engine.databases",
							   "Databases in which the relay and the keeper run.",
							   "A list of names. Takes effect on reload.", &databases, "",
							   PGC_SIGHUP, GUC_LIST_INPUT, check_databases, NULL, NULL);
	DefineCustomIntVariable(
		"order_engine.worker_idle_timeout", "How long a worker with nothing to do sleeps.",
		"What it waits for wakes it at once; this is for what has no signal, such as COMMIT PREPARED.",
		&worker_idle_timeout, 1000, 100, 3600000, PGC_SIGHUP, GUC_UNIT_MS | GUC_NOT_IN_SAMPLE, NULL,
		NULL, NULL);
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
worker_init(void)
{
	define_settings();
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	register_launcher();
}
