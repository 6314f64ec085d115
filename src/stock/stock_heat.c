/*
 * stock_heat.c
 *		Which rows of stock are fought over.
 *
 * A table in shared memory of the SKUs, of all databases, for which calls have waited
 * lately.  Where there is no room, one that nobody has waited for in a while makes it;
 * if there is none, a wait is not counted: a hot SKU comes again.
 *
 * An entry's fields:
 *		key, window and bar		under the lock EXCLUSIVE; read under it
 *		waits, last_at			atomic; under the lock, SHARED, the entry stays
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "base/shared.h"
#include "shop/shop.h"
#include "stock/escrow_entry_internal.h"
#include "stock/stock_heat_internal.h"

#define AREA_NAME "order_engine stock heat"
#define TABLE_NAME "order_engine stock heat entries"

#define IDLE_MS 60000
#define BAR_MS (60 * 60 * 1000)

typedef struct StockHeat
{
	EscrowKey		 key;
	pg_atomic_uint64 waits;
	pg_atomic_uint64 last_at;
	uint64			 window_waits; /* what `waits` was when the window began */
	TimestampTz		 window_at;
	TimestampTz		 barred_until; /* 0: it is not */
} StockHeat;

static const int max_entries = 500;

/* Set in the postmaster; NULL without preload. */
static HTAB *entries;
static void *area; /* nothing but its lock */

static inline LWLock *
heat_lock(void)
{
	return &GetNamedLWLockTranche(AREA_NAME)->lock;
}

static bool
count_known(const EscrowKey *key, TimestampTz now)
{
	StockHeat *heat;

	LWLockAcquire(heat_lock(), LW_SHARED);
	heat = hash_search(entries, key, HASH_FIND, NULL);
	if (heat)
	{
		pg_atomic_fetch_add_u64(&heat->waits, 1);
		pg_atomic_write_u64(&heat->last_at, now);
	}
	LWLockRelease(heat_lock());
	return heat != NULL;
}

/* ---- under the lock, EXCLUSIVE ---- */

static bool
is_idle(StockHeat *heat, TimestampTz now)
{
	return heat->barred_until <= now &&
		   TimestampDifferenceExceeds((TimestampTz) pg_atomic_read_u64(&heat->last_at), now,
									  IDLE_MS);
}

static void
remove_idle(TimestampTz now)
{
	HASH_SEQ_STATUS scan;
	StockHeat	   *heat;

	hash_seq_init(&scan, entries);
	while ((heat = hash_seq_search(&scan)) != NULL)
		if (is_idle(heat, now))
			(void) hash_search(entries, &heat->key, HASH_REMOVE, NULL);
}

/* NULL if there is no room. */
static StockHeat *
find_or_make(const EscrowKey *key, TimestampTz now)
{
	StockHeat *heat = hash_search(entries, key, HASH_FIND, NULL);

	if (heat)
		return heat;
	if (hash_get_num_entries(entries) >= max_entries)
		remove_idle(now);
	if (hash_get_num_entries(entries) >= max_entries)
		return NULL;
	heat = hash_search(entries, key, HASH_ENTER_NULL, NULL);
	if (heat == NULL)
		return NULL;
	pg_atomic_init_u64(&heat->waits, 0);
	pg_atomic_init_u64(&heat->last_at, now);
	heat->window_waits = 0;
	heat->window_at = now;
	heat->barred_until = 0;
	return heat;
}

static bool
is_over(const StockHeat *heat, TimestampTz now)
{
	return TimestampDifferenceExceeds(heat->window_at, now, STOCK_HEAT_WINDOW_MS);
}

static void
begin_window(StockHeat *heat, TimestampTz now)
{
	heat->window_waits = pg_atomic_read_u64(&heat->waits);
	heat->window_at = now;
}

/* ---- for who waits ---- */

void
stock_heat_count(const char *sku)
{
	TimestampTz now = GetCurrentTimestamp();
	EscrowKey	key;
	StockHeat  *heat;

	if (entries == NULL)
		return;
	escrow_key_set(&key, sku);
	if (count_known(&key, now))
		return;
	LWLockAcquire(heat_lock(), LW_EXCLUSIVE);
	heat = find_or_make(&key, now);
	if (heat)
		pg_atomic_fetch_add_u64(&heat->waits, 1);
	LWLockRelease(heat_lock());
}

void
stock_heat_bar(const char *sku)
{
	TimestampTz now = GetCurrentTimestamp();
	EscrowKey	key;
	StockHeat  *heat;

	if (entries == NULL)
		return;
	escrow_key_set(&key, sku);
	LWLockAcquire(heat_lock(), LW_EXCLUSIVE);
	heat = find_or_make(&key, now);
	if (heat)
		heat->barred_until = TimestampTzPlusMilliseconds(now, BAR_MS);
	LWLockRelease(heat_lock());
}

/* ---- for the keeper ---- */

bool
stock_heat_is_barred(const char *sku)
{
	TimestampTz now = GetCurrentTimestamp();
	EscrowKey	key;
	StockHeat  *heat;
	bool		barred;

	if (entries == NULL)
		return false;
	escrow_key_set(&key, sku);
	LWLockAcquire(heat_lock(), LW_SHARED);
	heat = hash_search(entries, &key, HASH_FIND, NULL);
	barred = heat && heat->barred_until > now;
	LWLockRelease(heat_lock());
	return barred;
}

static bool
is_ours(const StockHeat *heat, Oid stock)
{
	return heat->key.database == MyDatabaseId && heat->key.stock == stock;
}

/* Copies of all that are this database's. */
static StockHeat *
copy_ours(int *n)
{
	Oid				stock = shop_table(SHOP_STOCK);
	StockHeat	   *copies = palloc(sizeof(StockHeat) * max_entries);
	HASH_SEQ_STATUS scan;
	StockHeat	   *heat;

	*n = 0;
	LWLockAcquire(heat_lock(), LW_SHARED);
	hash_seq_init(&scan, entries);
	while ((heat = hash_seq_search(&scan)) != NULL)
		if (is_ours(heat, stock))
			copies[(*n)++] = *heat;
	LWLockRelease(heat_lock());
	return copies;
}

static void
renew_windows(TimestampTz now)
{
	Oid				stock = shop_table(SHOP_STOCK);
	HASH_SEQ_STATUS scan;
	StockHeat	   *heat;

	LWLockAcquire(heat_lock(), LW_EXCLUSIVE);
	hash_seq_init(&scan, entries);
	while ((heat = hash_seq_search(&scan)) != NULL)
		if (is_ours(heat, stock) && is_over(heat, now))
			begin_window(heat, now);
	LWLockRelease(heat_lock());
}

List *
stock_heat_find(int waits)
{
	TimestampTz now = GetCurrentTimestamp();
	List	   *skus = NIL;
	StockHeat  *copies;
	int			n;

	if (entries == NULL)
		return NIL;
	copies = copy_ours(&n);
	for (int i = 0; i < n; i++)
		if (copies[i].barred_until <= now &&
			pg_atomic_read_u64(&copies[i].waits) - copies[i].window_waits >= waits)
			skus = lappend(skus, copies[i].key.sku);
	renew_windows(now);
	return skus;
}

void
stock_heat_visit(StockHeatVisitor visit, void *argument)
{
	StockHeat *copies;
	int		   n;

	if (entries == NULL)
		return;
	copies = copy_ours(&n);
	for (int i = 0; i < n; i++)
		visit(copies[i].key.sku, pg_atomic_read_u64(&copies[i].waits), argument);
	pfree(copies);
}

/* ---- shared memory ---- */

static Size
entry_size(void)
{
	return sizeof(StockHeat);
}

static Size
area_size(void)
{
	return MAXIMUM_ALIGNOF;
}

void
stock_heat_init(void)
{
	shared_request(AREA_NAME, area_size, 1, &area);
	shared_request_hash(TABLE_NAME, sizeof(EscrowKey), entry_size, &max_entries, &entries);
}
