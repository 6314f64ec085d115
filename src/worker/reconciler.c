/*
 * reconciler.c
 *		Reconciles every order_engine.reconcile_interval, and logs what is found.
 *
 * In a process of its own, which the keeper starts and ends: a run may take minutes, in
 * one transaction, and what is due must not wait for it.  Of a database there is one,
 * since the keeper is one.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/guc.h"

#include "base/clock.h"
#include "base/compat.h"
#include "worker/reconcile.h"
#include "worker/worker.h"

#define RECONCILER_TYPE "order_engine reconciler"
#define MAX_INTERVAL_S (30 * 24 * 3600)
#define MAX_LOGGED 20

static int interval_s = 0; /* a setting, which PostgreSQL sets and resets */

/* of the keeper, whose end ends it */
static BackgroundWorkerHandle *running = NULL;	 /* NULL: none was started */
static int64				   waits_since = -1; /* by clock_ms(); -1: it does not */

COMPAT_WORKER_MAIN(reconciler_main);

/* ---- the process ---- */

static void
log_finding(const ReconcileFinding *finding, void *argument)
{
	int64 *n = argument;

	if ((*n)++ >= MAX_LOGGED)
		return;
	ereport(LOG, (errcode(ERRCODE_DATA_CORRUPTED),
				  errmsg("invariant \"%s\" is broken for \"%s\"", finding->name, finding->key),
				  errdetail("Expected is %s, found was %s.", finding->expected, finding->actual)));
}

static void
reconcile_and_log(void)
{
	int64 n = 0;

	reconcile_run(false, log_finding, &n);
	if (n > 0)
		ereport(LOG, (errcode(ERRCODE_DATA_CORRUPTED),
					  errmsg("reconcile() found " INT64_FORMAT " broken invariants in database "
							 "\"%s\"",
							 n, worker_database()),
					  errhint("SELECT * FROM order_engine.reconcile() lists all of them.")));
}

void
reconciler_main(Datum arg)
{
	worker_connect(arg);
	(void) worker_try("reconcile()", reconcile_and_log);
	proc_exit(0);
}

/* ---- the keeper ---- */

static void
stop_reconciler(int code, Datum arg)
{
	if (running)
		TerminateBackgroundWorker(running);
}

static bool
is_running(void)
{
	pid_t pid;

	return running && GetBackgroundWorkerPid(running, &pid) != BGWH_STOPPED;
}

static void
start_reconciler(void)
{
	static bool ends_with_us = false; /* set once */

	if (!ends_with_us)
		before_shmem_exit(stop_reconciler, (Datum) 0);
	ends_with_us = true;
	if (running)
		pfree(running);
	running = NULL;
	if (!worker_register(RECONCILER_TYPE, "reconciler_main", worker_database(), MyDatabaseId,
						 &running))
		ereport(LOG, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					  errmsg("could not start \"%s\" for database \"%s\"", RECONCILER_TYPE,
							 worker_database()),
					  errdetail("All background worker slots are in use.  The keeper tries again "
								"after order_engine.reconcile_interval."),
					  errhint("Increase max_worker_processes.")));
}

void
reconcile_when_due(void)
{
	int64 now = clock_ms();

	if (waits_since < 0 || interval_s == 0 || is_running())
		waits_since = interval_s == 0 ? -1 : now;
	else if (now - waits_since >= (int64) interval_s * 1000)
	{
		waits_since = now;
		start_reconciler();
	}
}

void
reconcile_init(void)
{
	DefineCustomIntVariable("order_engine.reconcile_interval",
							"How often the books are reconciled, and the log says what is broken.",
							"0 turns it off. Counted from the end of one run to the start of the "
							"next; needs the keeper.",
							&interval_s, 0, 0, MAX_INTERVAL_S, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL,
							NULL);
}
