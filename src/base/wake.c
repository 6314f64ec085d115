/*
 * wake.c
 *		Wake-ups of workers at the commit of what concerns them.
 *
 * Shared memory: one place per database.  `database`, `pid` and `latch` are
 * written under the lock; `database` is read without it, in which case a
 * wake-up may go to the wrong worker or none, which costs a moment's delay.
 * `wanted` is atomic: whoever raises it from 0 to 1 sets the latch, so that
 * concurrent commits cost one.  It is raised after the commit has become
 * visible and taken down before the worker takes its snapshot.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/shared.h"
#include "base/wake.h"

#define AREA_NAME "order_engine wake"

typedef struct Place
{
	Oid				 database;		  /* InvalidOid: free */
	pid_t			 pid[WAKE_KINDS]; /* 0: nobody waits */
	Latch			*latch[WAKE_KINDS];
	pg_atomic_uint32 wanted[WAKE_KINDS];
} Place;

static Place *places; /* NULL without preload */
static int	  nplaces;

/* of who is woken */
static WakeKind my_kind;
static Place   *my_place;

/* of who wakes: reset at the end of each transaction */
static bool at_commit[WAKE_KINDS];

static inline LWLock *
places_lock(void)
{
	return &GetNamedLWLockTranche(AREA_NAME)->lock;
}

static Place *
find_place(Oid database)
{
	if (places == NULL)
		return NULL;
	for (int i = 0; i < nplaces; i++)
		if (places[i].database == database)
			return &places[i];
	return NULL;
}

/* ---- who wakes ---- */

static void
wake(WakeKind kind)
{
	Place *place = find_place(MyDatabaseId);

	if (place == NULL || pg_atomic_exchange_u32(&place->wanted[kind], 1) != 0)
		return;
	LWLockAcquire(places_lock(), LW_SHARED);
	if (place->latch[kind])
		SetLatch(place->latch[kind]);
	LWLockRelease(places_lock());
}

void
wake_at_commit(WakeKind kind)
{
	at_commit[kind] = true;
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
			wake(kind);
		at_commit[kind] = false;
	}
}

/* ---- who is woken ---- */

static bool
is_used(const Place *place)
{
	for (int kind = 0; kind < WAKE_KINDS; kind++)
		if (place->pid[kind] != 0)
			return true;
	return false;
}

/* This database's place, else a free one, else one of a database in which nobody waits any more. */
static Place *
choose_place(void)
{
	Place *place = find_place(MyDatabaseId);

	if (place == NULL)
		place = find_place(InvalidOid);
	for (int i = 0; place == NULL && i < nplaces; i++)
		if (!is_used(&places[i]))
			place = &places[i];
	if (place == NULL)
		elog(ERROR, "no place left for another worker");
	return place;
}

/* Runs after the callbacks that the worker registered itself. */
static void
leave_place(int code, Datum arg)
{
	LWLockAcquire(places_lock(), LW_EXCLUSIVE);
	my_place->pid[my_kind] = 0;
	my_place->latch[my_kind] = NULL;
	LWLockRelease(places_lock());
}

bool
wake_take_place(WakeKind kind)
{
	Place *place;
	bool   taken;

	LWLockAcquire(places_lock(), LW_EXCLUSIVE);
	place = choose_place();
	taken = place->pid[kind] == 0;
	if (taken)
	{
		place->database = MyDatabaseId;
		place->pid[kind] = MyProcPid;
		place->latch[kind] = MyLatch;
		my_place = place;
		my_kind = kind;
	}
	LWLockRelease(places_lock());
	if (taken)
		before_shmem_exit(leave_place, (Datum) 0);
	return taken;
}

void
wake_clear(void)
{
	(void) pg_atomic_exchange_u32(&my_place->wanted[my_kind], 0);
}

int
wake_place(void)
{
	Place *place = find_place(MyDatabaseId);

	return place ? place - places : -1;
}

int
wake_places(void)
{
	return nplaces;
}

int
wake_pid(WakeKind kind)
{
	Place *place = find_place(MyDatabaseId);

	return place ? place->pid[kind] : 0;
}

static void
init_places(void *area)
{
	Place *fresh = area;

	for (int i = 0; i < nplaces; i++)
		for (int kind = 0; kind < WAKE_KINDS; kind++)
			pg_atomic_init_u32(&fresh[i].wanted[kind], 0);
}

void
wake_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	if (!process_shared_preload_libraries_in_progress)
		return;
	nplaces = max_worker_processes;
	shared_request(AREA_NAME, mul_size(nplaces, sizeof(Place)), 1, init_places, (void **) &places);
}
