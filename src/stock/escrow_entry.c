/*
 * escrow_entry.c
 *		The free quantities of SKUs in mode escrow, in shared memory.
 *
 * One hash table for all databases, of order_engine.escrow_skus entries, and beside it,
 * for each process, the virtual transaction that set its pins, and the queues of those who
 * wait for pins to go: these outlive the entries, for who has cleared his bit tells it when
 * the entry is not there for him any more.
 *
 * Who pins.  Whoever changes stock of a SKU in mode escrow, in whatever way (a confirm,
 * which leaves the free quantity alone, and what replication applies included), before
 * he writes anything, and to the end of his transaction.  A pin is a bit in the entry,
 * by the number of the process.  It is set under the table's lock, SHARED, if the entry
 * is not barred; it is cleared without it, by the transaction's callback, when what is
 * free is right again.  That comes after the commit has become visible: so while there
 * is a pin, tables and counter may differ.  Parallel workers change no stock, and
 * prepared transactions are refused a pin.  An entry with a pin is never removed, so its
 * pointer may be kept.
 *
 * Who bars.  Under the SKU's heavyweight lock, EXCLUSIVE (escrow_lock.c), and the table's
 * lock, EXCLUSIVE.  So a bit that is set after that is a pin from before: who bars waits
 * for the virtual transactions of all of them, by their heavyweight locks, and looks
 * at each bit again.  Who finds an entry barred waits for the SKU's lock, SHARE, and looks
 * it up anew; who has a pin already goes on.
 *
 * When load may run.  Under the SKU's lock, EXCLUSIVE, while there is no entry.  Who
 * changes stock without an entry has that lock, SHARE, to the end of his transaction;
 * so nothing is in flight, and what a snapshot shows that is taken then is what is free.
 *
 * What a callback at the end of a transaction may do: change the atomic fields, clear its
 * bit, take the table's lock to lift a bar or to remove an entry.  It neither allocates
 * nor raises, so what it needs is found beforehand.
 *
 * An entry's fields:
 *		key			written when the entry is made, under the lock EXCLUSIVE
 *		epoch		under the lock EXCLUSIVE, while nobody has a pin; read with a pin
 *		barred		under the lock
 *		closed		as epoch, but read under the lock too
 *		unpinned	as key; a queue, told whenever a pin goes, of this entry or of another
 *		pins		atomic words
 *		all else	atomic
 * A database's count of its entries is written under the lock EXCLUSIVE, and read by
 * everybody without.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/database_slot.h"
#include "base/shared.h"
#include "shop/shop.h"
#include "stock/escrow_entry_internal.h"
#include "stock/stock.h"

#define AREA_NAME "order_engine escrow"
#define TABLE_NAME "order_engine escrow entries"

#define BITS_IN_WORD 32

#define ROOM_MS 1000

#define QUEUES 64

struct EscrowEntry
{
	EscrowKey		   key;
	int64			   epoch;
	bool			   barred;
	bool			   closed; /* nothing is sold */
	ConditionVariable *unpinned;
	pg_atomic_uint64   free; /* signed, as the next */
	pg_atomic_uint64   in_flight;
	pg_atomic_uint64   changes; /* transactions that had a pin and have ended */
	pg_atomic_uint64   taken;
	pg_atomic_uint64   refused;
	pg_atomic_uint64   waits;
	pg_atomic_uint64   folds;
	pg_atomic_uint64   last_fold;
	pg_atomic_uint32   fold_failures;
	pg_atomic_uint32   pins[FLEXIBLE_ARRAY_MEMBER];
};

/* Beside the table; entries share queues, by their keys. */
typedef struct EscrowArea
{
	bool				 ready; /* the queues; under the lock */
	ConditionVariable	 queues[QUEUES];
	VirtualTransactionId pinners[FLEXIBLE_ARRAY_MEMBER]; /* of each process; before the first bit */
} EscrowArea;

/* What a database has of its own. */
typedef struct EscrowDatabase
{
	pg_atomic_uint32 entries;
	bool			 counted; /* under the lock: false where the slot was another's since */
} EscrowDatabase;

static int escrow_skus; /* a setting */

static Size database_part;

/* Set in the postmaster; NULL without preload, and where escrow_skus is 0. */
static HTAB		  *entries;
static EscrowArea *area;

static EscrowDatabase *my_database; /* once asked for; it never moves */

static inline LWLock *
table_lock(void)
{
	return &GetNamedLWLockTranche(AREA_NAME)->lock;
}

void
escrow_key_set(EscrowKey *key, const char *sku)
{
	Assert(strlen(sku) < sizeof(key->sku));
	memset(key, 0, sizeof(*key));
	key->database = MyDatabaseId;
	key->stock = shop_table(SHOP_STOCK);
	strlcpy(key->sku, sku, sizeof(key->sku));
}

bool
escrow_entry_possible(void)
{
	return entries != NULL;
}

/* Under the table's lock, as the next. */
static EscrowEntry *
find_entry(const EscrowKey *key)
{
	return hash_search(entries, key, HASH_FIND, NULL);
}

static uint32
count_entries(void)
{
	HASH_SEQ_STATUS scan;
	EscrowEntry	   *entry;
	uint32			n = 0;

	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->key.database == MyDatabaseId)
			n++;
	return n;
}

/* Not under the table's lock.  Entries outlive a slot that nobody held for a while. */
static EscrowDatabase *
find_database(void)
{
	if (my_database == NULL)
	{
		EscrowDatabase *database = database_slot_part(database_part);

		LWLockAcquire(table_lock(), LW_EXCLUSIVE);
		if (!database->counted)
			pg_atomic_write_u32(&database->entries, count_entries());
		database->counted = true;
		LWLockRelease(table_lock());
		my_database = database;
	}
	return my_database;
}

bool
escrow_entry_any(void)
{
	return entries != NULL && pg_atomic_read_u32(&find_database()->entries) > 0;
}

/* ---- making and removing: under the table's lock, EXCLUSIVE ---- */

static ConditionVariable *
queue_of(const EscrowKey *key)
{
	if (!area->ready)
		for (int i = 0; i < QUEUES; i++)
			ConditionVariableInit(&area->queues[i]);
	area->ready = true;
	return &area->queues[get_hash_value(entries, key) % QUEUES];
}

static void
init_entry(EscrowEntry *entry)
{
	entry->epoch = 0;
	entry->barred = false;
	entry->closed = false;
	entry->unpinned = queue_of(&entry->key);
	pg_atomic_init_u64(&entry->free, 0);
	pg_atomic_init_u64(&entry->in_flight, 0);
	pg_atomic_init_u64(&entry->changes, 0);
	pg_atomic_init_u64(&entry->taken, 0);
	pg_atomic_init_u64(&entry->refused, 0);
	pg_atomic_init_u64(&entry->waits, 0);
	pg_atomic_init_u64(&entry->folds, 0);
	pg_atomic_init_u64(&entry->last_fold, 0);
	pg_atomic_init_u32(&entry->fold_failures, 0);
	for (int i = 0; i * BITS_IN_WORD < MaxBackends; i++)
		pg_atomic_init_u32(&entry->pins[i], 0);
}

/* NULL if there is no room. */
static EscrowEntry *
make_entry(const EscrowKey *key)
{
	EscrowEntry *entry;

	if (hash_get_num_entries(entries) >= escrow_skus)
		return NULL;
	entry = hash_search(entries, key, HASH_ENTER_NULL, NULL);
	if (entry == NULL)
		return NULL;
	init_entry(entry);
	pg_atomic_fetch_add_u32(&my_database->entries, 1);
	return entry;
}

static void
remove_entry(EscrowEntry *entry)
{
	if (entry->key.database == MyDatabaseId)
		pg_atomic_fetch_sub_u32(&my_database->entries, 1);
	(void) hash_search(entries, &entry->key, HASH_REMOVE, NULL);
}

static bool
is_full(void)
{
	bool full;

	LWLockAcquire(table_lock(), LW_SHARED);
	full = hash_get_num_entries(entries) >= escrow_skus;
	LWLockRelease(table_lock());
	return full;
}

/* ---- room: entries of databases and tables that are gone ---- */

static int
count_pins(EscrowEntry *entry)
{
	int n = 0;

	for (int i = 0; i * BITS_IN_WORD < MaxBackends; i++)
		n += pg_popcount32(pg_atomic_read_u32(&entry->pins[i]));
	return n;
}

/* The keys of all entries, palloc'ed. */
static EscrowKey *
copy_keys(int *n)
{
	HASH_SEQ_STATUS scan;
	EscrowEntry	   *entry;
	EscrowKey	   *keys = palloc(sizeof(EscrowKey) * escrow_skus);

	*n = 0;
	LWLockAcquire(table_lock(), LW_SHARED);
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		keys[(*n)++] = entry->key;
	LWLockRelease(table_lock());
	return keys;
}

static bool
is_gone(const EscrowKey *key)
{
	if (key->database == MyDatabaseId)
		return !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(key->stock));
	return !SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(key->database));
}

/* Without a pin and a bar it is as if it had never been loaded, whoever may want it yet. */
static void
remove_idle(const EscrowKey *key)
{
	EscrowEntry *entry;

	LWLockAcquire(table_lock(), LW_EXCLUSIVE);
	entry = find_entry(key);
	if (entry && !entry->barred && count_pins(entry) == 0)
		remove_entry(entry);
	LWLockRelease(table_lock());
}

static void
make_room(void)
{
	int		   n;
	EscrowKey *keys = copy_keys(&n);

	for (int i = 0; i < n; i++)
		if (is_gone(&keys[i]))
			remove_idle(&keys[i]);
	pfree(keys);
}

/*
 * Where all entries are in use, it is asked for each change of a SKU that has none: what is gone is
 * looked for every now and then.
 */
bool
escrow_entry_full(void)
{
	static int64 looked_at = 0; /* of this process; 0: never */

	(void) find_database();
	if (!is_full())
		return false;
	if (looked_at != 0 && clock_ms() - looked_at < ROOM_MS)
		return true;
	looked_at = clock_ms();
	make_room();
	return is_full();
}

/* ---- pins ---- */

static inline int
number_of(const PGPROC *process)
{
	return process - ProcGlobal->allProcs;
}

static inline uint32
bit_of(int process)
{
	return ((uint32) 1) << (process % BITS_IN_WORD);
}

static inline bool
has_pin(EscrowEntry *entry, int process)
{
	return (pg_atomic_read_u32(&entry->pins[process / BITS_IN_WORD]) & bit_of(process)) != 0;
}

/* The virtual transaction is there for who sees the bit: setting it is a full barrier. */
static void
set_pin(EscrowEntry *entry)
{
	int me = number_of(MyProc);

	GET_VXID_FROM_PGPROC(area->pinners[me], *MyProc);
	pg_atomic_fetch_or_u32(&entry->pins[me / BITS_IN_WORD], bit_of(me));
}

/*
 * A full barrier too: who finds the bit cleared sees what was done before.  By then the entry may
 * have been removed.
 */
static void
clear_pin(EscrowEntry *entry)
{
	int				   me = number_of(MyProc);
	ConditionVariable *unpinned = entry->unpinned;

	pg_atomic_fetch_and_u32(&entry->pins[me / BITS_IN_WORD], ~bit_of(me));
	ConditionVariableBroadcast(unpinned);
}

EscrowFound
escrow_entry_pin(const EscrowKey *key, EscrowEntry **entry)
{
	EscrowFound	 found = ESCROW_NONE;
	EscrowEntry *there;

	if (!escrow_entry_any())
		return ESCROW_NONE;
	LWLockAcquire(table_lock(), LW_SHARED);
	there = find_entry(key);
	if (there && there->barred)
	{
		pg_atomic_fetch_add_u64(&there->waits, 1);
		found = ESCROW_BARRED;
	}
	else if (there)
	{
		set_pin(there);
		*entry = there;
		found = ESCROW_OPEN;
	}
	LWLockRelease(table_lock());
	return found;
}

static bool
leader_has_pin(EscrowEntry *entry)
{
	return IsParallelWorker() && MyProc->lockGroupLeader &&
		   has_pin(entry, number_of(MyProc->lockGroupLeader));
}

EscrowFound
escrow_entry_look(const EscrowKey *key, int64 *available)
{
	EscrowFound	 found = ESCROW_NONE;
	EscrowEntry *there;

	if (!escrow_entry_any())
		return ESCROW_NONE;
	LWLockAcquire(table_lock(), LW_SHARED);
	there = find_entry(key);
	if (there && (there->barred || leader_has_pin(there)))
		found = ESCROW_BARRED;
	else if (there)
	{
		*available = there->closed ? STOCK_CLOSED : escrow_entry_free(there);
		found = ESCROW_OPEN;
	}
	LWLockRelease(table_lock());
	return found;
}

bool
escrow_entry_claim(EscrowEntry *entry, int64 quantity)
{
	uint64 free = pg_atomic_read_u64(&entry->free);

	do
	{
		if ((int64) free < quantity)
		{
			pg_atomic_fetch_add_u64(&entry->refused, 1);
			return false;
		}
	} while (!pg_atomic_compare_exchange_u64(&entry->free, &free, free - quantity));
	pg_atomic_fetch_add_u64(&entry->in_flight, quantity);
	return true;
}

int64
escrow_entry_free(EscrowEntry *entry)
{
	return (int64) pg_atomic_read_u64(&entry->free);
}

int64
escrow_entry_epoch(EscrowEntry *entry)
{
	return entry->epoch;
}

bool
escrow_entry_is_closed(EscrowEntry *entry)
{
	return entry->closed;
}

void
escrow_entry_give_back(EscrowEntry *entry, int64 claimed)
{
	pg_atomic_fetch_add_u64(&entry->free, claimed);
	pg_atomic_fetch_sub_u64(&entry->in_flight, claimed);
	if (claimed > 0)
		ConditionVariableBroadcast(entry->unpinned);
}

void
escrow_entry_unpin(EscrowEntry *entry, int64 claimed, int64 given, int64 taken)
{
	if (given != 0)
		pg_atomic_fetch_add_u64(&entry->free, given);
	if (claimed != 0)
		pg_atomic_fetch_sub_u64(&entry->in_flight, claimed);
	if (taken > 0)
		pg_atomic_fetch_add_u64(&entry->taken, taken);
	pg_atomic_fetch_add_u64(&entry->changes, 1);
	clear_pin(entry);
}

/* ---- waiting for pins ---- */

static bool
has_other_pins(EscrowEntry *entry)
{
	return count_pins(entry) > (has_pin(entry, number_of(MyProc)) ? 1 : 0);
}

/*
 * Not for the deadlock detector, which the bound makes up for.  It ends early where
 * something has become free, or nobody else has a pin.
 */
bool
escrow_entry_wait(EscrowEntry *entry, int timeout_ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	int64		free = escrow_entry_free(entry);
	long		left = timeout_ms;
	bool		others;

	ConditionVariablePrepareToSleep(entry->unpinned);
	others = left > 0 && has_other_pins(entry);
	if (others)
		pg_atomic_fetch_add_u64(&entry->waits, 1);
	while (left > 0 && escrow_entry_free(entry) <= free && has_other_pins(entry))
	{
		(void) ConditionVariableTimedSleep(entry->unpinned, left, PG_WAIT_EXTENSION);
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
	}
	ConditionVariableCancelSleep();
	return others;
}

/* ---- the bar ---- */

/* The room is made before, as that may fail. */
bool
escrow_entry_bar(const EscrowKey *key, bool make, EscrowEntry **entry)
{
	EscrowEntry *there;
	bool		 made = false;

	if (entries == NULL)
		return false;
	(void) find_database();
	if (make && is_full())
		make_room();
	LWLockAcquire(table_lock(), LW_EXCLUSIVE);
	there = find_entry(key);
	if (there == NULL && make)
	{
		there = make_entry(key);
		made = there != NULL;
	}
	if (there)
		there->barred = true;
	*entry = there;
	LWLockRelease(table_lock());
	return made;
}

bool
escrow_entry_pinned_by(EscrowEntry *entry, int process, VirtualTransactionId *transaction)
{
	if (process == number_of(MyProc) || !has_pin(entry, process))
		return false;
	pg_read_barrier();
	*transaction = area->pinners[process];
	return true;
}

void
escrow_entry_open(EscrowEntry *entry, int64 epoch, int64 free)
{
	LWLockAcquire(table_lock(), LW_EXCLUSIVE);
	entry->epoch = epoch;
	pg_atomic_write_u64(&entry->free, free);
	entry->barred = false;
	LWLockRelease(table_lock());
}

void
escrow_entry_set_closed(EscrowEntry *entry, bool closed)
{
	LWLockAcquire(table_lock(), LW_EXCLUSIVE);
	Assert(entry->barred);
	entry->closed = closed;
	LWLockRelease(table_lock());
}

void
escrow_entry_unbar(EscrowEntry *entry)
{
	LWLockAcquire(table_lock(), LW_EXCLUSIVE);
	entry->barred = false;
	LWLockRelease(table_lock());
}

void
escrow_entry_remove(EscrowEntry *entry)
{
	LWLockAcquire(table_lock(), LW_EXCLUSIVE);
	Assert(count_pins(entry) == 0);
	remove_entry(entry);
	LWLockRelease(table_lock());
}

bool
escrow_entry_add(const EscrowKey *key, int64 epoch, int64 free, bool closed)
{
	EscrowEntry *entry;
	bool		 done = true;

	(void) find_database();
	LWLockAcquire(table_lock(), LW_EXCLUSIVE);
	if (find_entry(key) == NULL)
	{
		entry = make_entry(key);
		done = entry != NULL;
		if (done)
		{
			entry->epoch = epoch;
			entry->closed = closed;
			pg_atomic_write_u64(&entry->free, free);
		}
	}
	LWLockRelease(table_lock());
	return done;
}

/* ---- statistics ---- */

/* The entry, with the table's lock, SHARED; NULL, without the lock, if there is none. */
static EscrowEntry *
hold_entry(const EscrowKey *key)
{
	EscrowEntry *entry;

	if (!escrow_entry_any())
		return NULL;
	LWLockAcquire(table_lock(), LW_SHARED);
	entry = find_entry(key);
	if (entry == NULL)
		LWLockRelease(table_lock());
	return entry;
}

void
escrow_entry_count_refusal(const EscrowKey *key)
{
	EscrowEntry *entry = hold_entry(key);

	if (entry == NULL)
		return;
	pg_atomic_fetch_add_u64(&entry->refused, 1);
	LWLockRelease(table_lock());
}

void
escrow_entry_count_fold(const EscrowKey *key)
{
	TimestampTz	 now = GetCurrentTimestamp();
	EscrowEntry *entry = hold_entry(key);

	if (entry == NULL)
		return;
	pg_atomic_fetch_add_u64(&entry->folds, 1);
	pg_atomic_write_u64(&entry->last_fold, now);
	pg_atomic_write_u32(&entry->fold_failures, 0);
	LWLockRelease(table_lock());
}

void
escrow_entry_count_fold_failure(const EscrowKey *key)
{
	EscrowEntry *entry = hold_entry(key);

	if (entry == NULL)
		return;
	pg_atomic_fetch_add_u32(&entry->fold_failures, 1);
	LWLockRelease(table_lock());
}

/*
 * Whoever has a pin counts as a change before it goes.  The count is read on both sides of
 * the pins and of what is free, so nobody slips through between them.
 */
static void
copy_statistics(EscrowStatistics *statistics, EscrowEntry *entry)
{
	strlcpy(statistics->sku, entry->key.sku, sizeof(statistics->sku));
	statistics->epoch = entry->epoch;
	statistics->open = !entry->barred;
	statistics->changes = pg_atomic_read_u64(&entry->changes);
	pg_read_barrier();
	statistics->quiet = statistics->open && count_pins(entry) == 0;
	statistics->free = escrow_entry_free(entry);
	pg_read_barrier();
	statistics->quiet &= statistics->changes == pg_atomic_read_u64(&entry->changes);
	statistics->in_flight = (int64) pg_atomic_read_u64(&entry->in_flight);
	statistics->taken = (int64) pg_atomic_read_u64(&entry->taken);
	statistics->refused = (int64) pg_atomic_read_u64(&entry->refused);
	statistics->waits = (int64) pg_atomic_read_u64(&entry->waits);
	statistics->folds = (int64) pg_atomic_read_u64(&entry->folds);
	statistics->fold_failures = pg_atomic_read_u32(&entry->fold_failures);
	statistics->last_fold = (TimestampTz) pg_atomic_read_u64(&entry->last_fold);
}

EscrowStatistics *
escrow_entry_statistics(int *n)
{
	Oid				  stock = shop_table(SHOP_STOCK);
	EscrowStatistics *all;
	HASH_SEQ_STATUS	  scan;
	EscrowEntry		 *entry;

	*n = 0;
	if (!escrow_entry_any())
		return NULL;
	all = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(EscrowStatistics) * escrow_skus);
	LWLockAcquire(table_lock(), LW_SHARED);
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->key.database == MyDatabaseId && entry->key.stock == stock)
			copy_statistics(&all[(*n)++], entry);
	LWLockRelease(table_lock());
	return all;
}

/* ---- shared memory ---- */

static Size
entry_size(void)
{
	Size words = (MaxBackends + BITS_IN_WORD - 1) / BITS_IN_WORD;

	return MAXALIGN(offsetof(EscrowEntry, pins) + words * sizeof(pg_atomic_uint32));
}

static Size
area_size(void)
{
	return add_size(offsetof(EscrowArea, pinners),
					mul_size(MaxBackends, sizeof(VirtualTransactionId)));
}

static void
init_database(void *part)
{
	EscrowDatabase *database = part;

	pg_atomic_init_u32(&database->entries, 0);
}

void
escrow_entry_init(void)
{
	/* PostgreSQL refuses settings that need a restart where it has started already */
	GucContext context = process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;

	DefineCustomIntVariable("order_engine.escrow_skus",
							"How many SKUs can be in stock mode escrow at one time.",
							"In all databases of the server together; 0 switches the mode off.",
							&escrow_skus, 1000, 0, 1000000, context, 0, NULL, NULL, NULL);
	if (escrow_skus == 0)
		return;
	shared_request(AREA_NAME, area_size, 1, (void **) &area);
	shared_request_hash(TABLE_NAME, sizeof(EscrowKey), entry_size, &escrow_skus, &entries);
	database_part = database_slot_request(sizeof(EscrowDatabase), init_database);
}
