/*
 * database_slot.c
 *		What each database has of its own in shared memory.
 *
 * A process takes its database's slot when it first asks for a part of it, and
 * holds it until it ends.  As long as anybody holds a slot, it stays that
 * database's: so a pointer into it may be kept, and followed without a lock.
 *
 * There are as many slots as there can be processes, and each holds one at most,
 * so whoever comes finds his database's slot, or one that no database has had
 * yet, or one that nobody holds.  The last is taken away from its database, and
 * what was in it is lost, as it would be in a crash: every module that has
 * something in a slot must be able to go on without.
 *
 * A slot's fields:
 *		database	written under the lock, while nobody holds the slot
 *		holders		under the lock
 *		parts		zeroed and initialized under the lock, when the slot comes to
 *					its database; from then on what their modules say, who may let
 *					the lock cover them too
 * Nobody looks into the slot of another database, but for the first two fields
 * under the lock.  Parts do not share cache lines: some are written by every
 * order, and some read by every order.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/database_slot.h"
#include "base/shared.h"

#define AREA_NAME "order_engine databases"
#define MAX_PARTS 8

typedef struct DatabaseSlot
{
	Oid database; /* InvalidOid: none has had it yet */
	int holders;  /* processes */
} DatabaseSlot;

typedef struct DatabasePart
{
	Size offset; /* in a slot */
	Size size;
	void (*init)(void *part);
} DatabasePart;

/* Filled in the postmaster while it preloads libraries; nothing changes them afterwards. */
static DatabasePart parts[MAX_PARTS];
static int			nparts = 0;
static Size			slot_size = CACHELINEALIGN(sizeof(DatabaseSlot));

static char			*slots;		  /* of slot_size bytes each; NULL without preload */
static DatabaseSlot *held = NULL; /* by this process, until it ends */

LWLock *
database_slot_lock(void)
{
	return &GetNamedLWLockTranche(AREA_NAME)->lock;
}

static inline DatabaseSlot *
slot_at(int i)
{
	return (DatabaseSlot *) (slots + i * slot_size);
}

/* Under the lock, as all that looks for a slot. */
static DatabaseSlot *
find_slot(Oid database)
{
	for (int i = 0; i < MaxBackends; i++)
		if (slot_at(i)->database == database)
			return slot_at(i);
	return NULL;
}

static DatabaseSlot *
find_unheld_slot(void)
{
	for (int i = 0; i < MaxBackends; i++)
		if (slot_at(i)->holders == 0)
			return slot_at(i);
	elog(ERROR, "no slot is left for another database");
}

static void
give_slot(DatabaseSlot *slot, Oid database)
{
	memset(slot, 0, slot_size);
	for (int i = 0; i < nparts; i++)
		if (parts[i].init)
			parts[i].init((char *) slot + parts[i].offset);
	slot->database = database;
}

/* After all that the modules have registered with before_shmem_exit(), who may use their parts. */
static void
release_slot(int code, Datum arg)
{
	LWLockAcquire(database_slot_lock(), LW_EXCLUSIVE);
	held->holders--;
	LWLockRelease(database_slot_lock());
}

static void
hold_slot(void)
{
	DatabaseSlot *slot;

	Assert(OidIsValid(MyDatabaseId));
	LWLockAcquire(database_slot_lock(), LW_EXCLUSIVE);
	slot = find_slot(MyDatabaseId);
	if (slot == NULL)
	{
		slot = find_slot(InvalidOid);
		if (slot == NULL)
			slot = find_unheld_slot();
		give_slot(slot, MyDatabaseId);
	}
	slot->holders++;
	held = slot;
	LWLockRelease(database_slot_lock());
	on_shmem_exit(release_slot, (Datum) 0);
}

void *
database_slot_part(Size part)
{
	if (slots == NULL)
		return NULL;
	if (held == NULL)
		hold_slot();
	return (char *) held + part;
}

Size
database_slot_request(Size size, void (*init)(void *part))
{
	Size offset = slot_size;

	if (!process_shared_preload_libraries_in_progress)
		return 0;
	if (nparts == MAX_PARTS)
		elog(ERROR, "too many parts of a database's slot");
	parts[nparts++] = (DatabasePart){offset, size, init};
	slot_size = CACHELINEALIGN(add_size(slot_size, size));
	return offset;
}

/* MaxBackends is not known before all libraries are preloaded. */
static Size
slots_size(void)
{
	return mul_size(MaxBackends, slot_size);
}

void
database_slot_init(void)
{
	shared_request(AREA_NAME, slots_size, 1, (void **) &slots);
}
