/*
 * worker.h
 *		The envelope that the engine's background workers share.
 *
 * A worker belongs to one kind and one database of order_engine.databases.
 * Its main is
 *
 *		worker_start(WAKE_X, arg);
 *		while (!worker_stopping())
 *		{
 *			long		wait_ms = worker_idle_timeout;
 *
 *			wake_clear();
 *			if (worker_begin("what it does"))
 *			{
 *				... one short transaction as the tables' owner ...
 *				worker_end();
 *			}
 *			(void) worker_wait(PGINVALID_SOCKET, wait_ms);
 *		}
 *		proc_exit(0);
 *
 * An error ends the process; the launcher starts another after a second
 * (but see worker_try()).
 */
#ifndef ORDER_ENGINE_WORKER_H
#define ORDER_ENGINE_WORKER_H

#include "postmaster/bgworker.h"

#include "base/wake.h"

/* How long a worker with nothing to do sleeps, in milliseconds. */
extern int worker_idle_timeout;

/*
 * Signals, connection, and the worker's place in shared memory.  Waits while
 * an earlier worker of this kind still ends in this database, so there is
 * never more than one.  `arg` is the main's argument.
 */
extern void worker_start(WakeKind kind, Datum arg);

/* The first half of that: signals and connection, without a place.  For what nobody wakes. */
extern void worker_connect(Datum arg);

/*
 * Starts a worker in a database, of which worker_database() will be the name; the caller's
 * latch is set when it starts and ends.  False, and NULL, if there is no background worker
 * slot left.  The handle is for the life of this process.
 */
extern bool worker_register(const char *type, const char *function, const char *name, Oid database,
							BackgroundWorkerHandle **handle);

/* The name of the worker's database when it started. */
extern const char *worker_database(void);

/* True once the worker shall end: finish, proc_exit(0). */
extern bool worker_stopping(void);

/*
 * Starts a transaction, as the owner of the tables with a safe search_path and
 * a snapshot.  False, with no transaction, where the extension or its tables
 * do not exist.  Between begin and end SIGTERM is a FATAL error at the next
 * check for interrupts; outside it sets worker_stopping().
 */
extern bool worker_begin(const char *activity);

/*
 * Commits, as the owner of the tables still.  If worker_stopping() is true
 * afterwards, synchronous standbys may not have confirmed the commit: what depends
 * on that must not follow.
 */
extern void worker_end(void);

/*
 * Does `work` in such a transaction, if the tables exist.  An error is logged
 * and ends the transaction but not the process: for what others shall not
 * suffer from, and can be tried again.  False if there was one.
 */
extern bool worker_try(const char *activity, void (*work)(void));

/*
 * Sleeps until the latch is set, `fd` becomes readable (PGINVALID_SOCKET:
 * none) or `timeout_ms` is over (-1: never); then handles interrupts and
 * reloads the configuration: true if it did.  Not inside a transaction.
 */
extern bool worker_wait(pgsocket fd, long timeout_ms);

/* Defines the setting; from _PG_init. */
extern void worker_init(void);

#endif /* ORDER_ENGINE_WORKER_H */
