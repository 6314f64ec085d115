/*
 * worker.c
 *		The envelope that the engine's workers share.
 *
 * Keeps, for this process, whether it is in a transaction, whom it acts for and what its
 * database lacks; its place to be woken is wake.c's.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "base/compat.h"
#include "base/wake.h"
#include "shop/owner.h"
#include "shop/shop.h"
#include "worker/worker.h"

#define CLAIM_RETRY_MS 100
#define LAST_LOCK_TIMEOUT "500ms"

int worker_idle_timeout = 1000; /* a setting, which PostgreSQL sets and resets */

/* of a worker: set by worker_begin(), reset by worker_end(), or by worker_try() after an error */
static OwnerScope			 owner_scope; /* whom to go back to */
static volatile sig_atomic_t in_transaction = false;

/* of a worker: what its database lacks to be served, and the log says so; reset by a reload */
typedef enum Lack
{
	LACKS_NOTHING,
	LACKS_TABLES,
	LACKS_EXTENSION,
} Lack;

static Lack lack = LACKS_NOTHING;
static bool tells_lack = false; /* set once: of a database's workers one says it */

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

/* Said once: an empty database of the list may be empty for long. */
static void
note_lack(Lack found)
{
	bool is_new = found != lack && found != LACKS_NOTHING;

	lack = found;
	if (!is_new || !tells_lack)
		return;
	if (found == LACKS_EXTENSION)
		ereport(
			LOG,
			(errmsg(
				 "database \"%s\" of order_engine.databases does not have extension \"order_engine\"",
				 worker_database()),
			 errhint(
				 "Run CREATE EXTENSION order_engine and SELECT order_engine.setup() there, and its workers begin; or take it from order_engine.databases and reload.")));
	else
		ereport(
			LOG,
			(errmsg(
				 "database \"%s\" of order_engine.databases does not have all tables of order_engine",
				 worker_database()),
			 errhint(
				 "Run SELECT order_engine.setup() there, or let the restore end, and its workers begin; or take it from order_engine.databases and reload.")));
}

static inline Lack
find_lack(void)
{
	if (shop_is_whole())
		return LACKS_NOTHING;
	return OidIsValid(get_extension_oid("order_engine", true)) ? LACKS_TABLES : LACKS_EXTENSION;
}

void
worker_connect(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, on_terminate);
	pqsignal(SIGINT, on_interrupt);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	pin_settings();
}

void
worker_start(WakeKind kind, Datum arg)
{
	worker_connect(arg);
	tells_lack = kind == WAKE_KEEPER;
	while (!wake_take_place(kind))
	{
		(void) worker_wait(PGINVALID_SOCKET, CLAIM_RETRY_MS);
		if (worker_stopping())
			proc_exit(0);
	}
	pgstat_report_activity(STATE_IDLE, NULL);
}

bool
worker_register(const char *type, const char *function, const char *name, Oid database,
				BackgroundWorkerHandle **handle)
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
	strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_type, type, sizeof(worker.bgw_type));
	strlcpy(worker.bgw_extra, name, sizeof(worker.bgw_extra));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "%s of %s", type, name);
	started = RegisterDynamicBackgroundWorker(&worker, handle);
	MemoryContextSwitchTo(context);
	if (!started)
		*handle = NULL;
	return started;
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
	note_lack(find_lack());
	if (lack != LACKS_NOTHING)
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
	lack = LACKS_NOTHING;
	return true;
}

void
worker_init(void)
{
	DefineCustomIntVariable(
		"order_engine.worker_idle_timeout", "How long a worker with nothing to do sleeps.",
		"What it waits for wakes it at once; this is for what has no signal, such as COMMIT PREPARED.",
		&worker_idle_timeout, 1000, 100, 3600000, PGC_SIGHUP, GUC_UNIT_MS | GUC_NOT_IN_SAMPLE, NULL,
		NULL, NULL);
}
