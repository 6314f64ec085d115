/*
 * wake.c
 *		Wake-ups of workers at the commit of what concerns them.
 *
 * Shared memory: a Waiter for each kind in every database's slot.  `pid` and
 * `latch` are written under the slots' lock; `pid` is read without it, so it may
 * be that of a process which has just ended.  `wanted` is atomic: whoever raises
 * it from 0 to 1 sets the latch, so that concurrent commits cost one.  It is raised
 * after the commit has become visible and taken down before the worker takes its
 * snapshot.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"

#include "base/database_slot.h"
#include "base/wake.h"

typedef struct Waiter
{
	pid_t			 pid; /* 0: nobody waits */
	Latch			*latch;
	pg_atomic_uint32 wanted;
} Waiter;

static Size waiters_part; /* [WAKE_KINDS] */

/* of who is woken: until it ends */
static Waiter *me;

/* of who wakes: reset at the end of each transaction */
static Waiter *at_commit[WAKE_KINDS];

/* NULL without preload. */
static Waiter *
find_waiter(WakeKind kind)
{
	Waiter *waiters = database_slot_part(waiters_part);

	return waiters ? &waiters[kind] : NULL;
}

/* ---- who wakes ---- */

static void
wake(Waiter *waiter)
{
	if (pg_atomic_exchange_u32(&waiter->wanted, 1) != 0)
		return;
	LWLockAcquire(database_slot_lock(), LW_SHARED);
	if (waiter->latch)
		SetLatch(waiter->latch);
	LWLockRelease(database_slot_lock());
}

/* Finds the waiter now: at the commit nothing may fail. */
void
wake_at_commit(WakeKind kind)
{
	at_commit[kind] = find_waiter(kind);
}

void
wake_now(WakeKind kind)
{
	Waiter *waiter = find_waiter(kind);

	if (waiter)
		wake(waiter);
}

/* XACT_EVENT_COMMIT comes after the transaction has become visible. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	for (int kind = 0; kind < WAKE_KINDS; kind++)
	{
		if (at_commit[kind] && event == XACT_EVENT_COMMIT)
			wake(at_commit[kind]);
		at_commit[kind] = NULL;
	}
}

/* ---- who is woken ---- */

/* Runs after the callbacks that the worker registered itself. */
static void
stop_waiting(int code, Datum arg)
{
	LWLockAcquire(database_slot_lock(), LW_EXCLUSIVE);
	me->pid = 0;
	me->latch = NULL;
	LWLockRelease(database_slot_lock());
}

bool
wake_take_place(WakeKind kind)
{
	Waiter *waiter = find_waiter(kind);
	bool	taken;

	LWLockAcquire(database_slot_lock(), LW_EXCLUSIVE);
	taken = waiter->pid == 0;
	if (taken)
	{
		waiter->pid = MyProcPid;
		waiter->latch = MyLatch;
	}
	LWLockRelease(database_slot_lock());
	if (taken)
	{
		me = waiter;
		before_shmem_exit(stop_waiting, (Datum) 0);
	}
	return taken;
}

void
wake_clear(void)
{
	(void) pg_atomic_exchange_u32(&me->wanted, 0);
}

int
wake_pid(WakeKind kind)
{
	Waiter *waiter = find_waiter(kind);

	return waiter ? waiter->pid : 0;
}

static void
init_waiters(void *part)
{
	Waiter *waiters = part;

	for (int kind = 0; kind < WAKE_KINDS; kind++)
		pg_atomic_init_u32(&waiters[kind].wanted, 0);
}

void
wake_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	waiters_part = database_slot_request(WAKE_KINDS * sizeof(Waiter), init_waiters);
}
