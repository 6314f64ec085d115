/*
 * escrow_lock.c
 *		The heavyweight locks of escrow, and waits that end.
 *
 * They are advisory locks that SQL cannot take, since their fourth field is our own; so
 * the deadlock detector sees who waits for them, and pg_locks shows it.  Two SKUs whose
 * names have the same hash of 64 bits share a lock, and wait for each other now and then.
 *
 * Order: stock row, the SKU's lock, the load lock, leaves of journals.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/guc.h"

#include "stock/escrow_lock_internal.h"

/* SQL has 1 for keys of 64 bits and 2 for pairs of keys */
#define FIELD_OF_SKU 0x4f45
#define FIELD_OF_LOAD 0x4f46

static void
set_sku_tag(LOCKTAG *tag, const EscrowKey *key)
{
	uint64 hash =
		hash_bytes_extended((const unsigned char *) key->sku, strlen(key->sku), key->stock);

	SET_LOCKTAG_ADVISORY(*tag, key->database, (uint32) (hash >> 32), (uint32) hash, FIELD_OF_SKU);
}

bool
escrow_lock_sku(const EscrowKey *key, LOCKMODE mode, bool wait)
{
	LOCKTAG tag;

	set_sku_tag(&tag, key);
	return LockAcquire(&tag, mode, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
escrow_unlock_sku(const EscrowKey *key, LOCKMODE mode)
{
	LOCKTAG tag;

	set_sku_tag(&tag, key);
	(void) LockRelease(&tag, mode, false);
}

void
escrow_await_sku(const EscrowKey *key, LOCKMODE mode)
{
	CHECK_FOR_INTERRUPTS();
	(void) escrow_lock_sku(key, mode, true);
	escrow_unlock_sku(key, mode);
}

void
escrow_lock_load(Oid stock)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, stock, 0, FIELD_OF_LOAD);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

void
escrow_unlock_load(Oid stock)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, stock, 0, FIELD_OF_LOAD);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

/* ---- waits that end ---- */

/* An error takes the setting back, as the transaction or subtransaction does. */
void
escrow_deadline_begin(EscrowDeadline *deadline, int timeout_ms)
{
	deadline->guc_level = NewGUCNestLevel();
	deadline->at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	escrow_deadline_renew(deadline);
}

/* What is left of the time is what the next lock is waited for; a caller's own limit stays. */
void
escrow_deadline_renew(const EscrowDeadline *deadline)
{
	long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline->at);
	char value[32];

	if (left == 0)
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						errmsg("canceling statement due to lock timeout")));
	if (LockTimeout > 0 && LockTimeout <= left)
		return;
	snprintf(value, sizeof(value), "%ld", left);
	(void) set_config_option("lock_timeout", value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
}

void
escrow_deadline_end(EscrowDeadline *deadline)
{
	AtEOXact_GUC(true, deadline->guc_level);
}
