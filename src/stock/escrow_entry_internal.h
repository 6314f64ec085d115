/*
 * escrow_entry_internal.h
 *		The free quantities of SKUs in mode escrow, in shared memory.
 */
#ifndef ORDER_ENGINE_ESCROW_ENTRY_INTERNAL_H
#define ORDER_ENGINE_ESCROW_ENTRY_INTERNAL_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lock.h"

#include "base/call.h"

/* Padded with zeros: its bytes are compared. */
typedef struct EscrowKey
{
	Oid	 database;
	Oid	 stock; /* the table */
	char sku[CALL_MAX_NAME_LENGTH + 1];
} EscrowKey;

typedef struct EscrowEntry EscrowEntry;

/* What an entry tells about itself. */
typedef struct EscrowStatistics
{
	char		sku[CALL_MAX_NAME_LENGTH + 1];
	int64		epoch;
	bool		open;
	int64		free;
	int64		in_flight;
	int64		taken;
	int64		refused;
	int64		waits;
	int64		folds;
	TimestampTz last_fold;
	int			fold_failures; /* since the last fold */
	uint64		changes;
	bool		quiet; /* open, and nobody had a pin while this was read */
} EscrowStatistics;

/* Of this database and its table of stock; 55000 if there is none.  The SKU is a name. */
extern void escrow_key_set(EscrowKey *key, const char *sku);

/* True if there is shared memory for entries: preloaded, and not switched off. */
extern bool escrow_entry_possible(void);

/* True if this database has entries. */
extern bool escrow_entry_any(void);

/*
 * True if there is no room for one more, also when room has been made, which is tried at most once
 * a second.
 */
extern bool escrow_entry_full(void);

typedef enum EscrowFound
{
	ESCROW_NONE,   /* there is no such entry */
	ESCROW_BARRED, /* it is kept from new pins */
	ESCROW_OPEN,
} EscrowFound;

/*
 * Pins an entry that is open: it stays where and what it is until escrow_entry_unpin(),
 * and who bars it waits for this transaction.  Does not fail after escrow_entry_any().
 */
extern EscrowFound escrow_entry_pin(const EscrowKey *key, EscrowEntry **entry);

/*
 * The same without a pin: how much can be sold, or STOCK_CLOSED.  Barred too where the leader
 * of this worker has a pin.
 */
extern EscrowFound escrow_entry_look(const EscrowKey *key, int64 *available);

/* ---- with a pin ---- */

/* Takes so much off what is free; false, and nothing, if there is less. */
extern bool	 escrow_entry_claim(EscrowEntry *entry, int64 quantity);
extern int64 escrow_entry_free(EscrowEntry *entry);
extern int64 escrow_entry_epoch(EscrowEntry *entry);
extern bool	 escrow_entry_is_closed(EscrowEntry *entry);

/* Gives back what was claimed.  Neither allocates nor raises, as the next. */
extern void escrow_entry_give_back(EscrowEntry *entry, int64 claimed);

/*
 * The end of a transaction that had claimed so much and gives so much: `taken` is what
 * it took, negative if it returned more.
 */
extern void escrow_entry_unpin(EscrowEntry *entry, int64 claimed, int64 given, int64 taken);

/* As escrow_wait_for_others(); with a pin of one's own. */
extern bool escrow_entry_wait(EscrowEntry *entry, int timeout_ms);

/* ---- under the SKU's lock, EXCLUSIVE ---- */

/*
 * Keeps new pins away.  *entry is NULL if there is none and, if one was to be made, no room
 * for it.  True if it was made.  *entry is set last.
 */
extern bool escrow_entry_bar(const EscrowKey *key, bool make, EscrowEntry **entry);

/* True if another process has a pin of the barred entry; then *transaction is whose. */
extern bool
escrow_entry_pinned_by(EscrowEntry *entry, int process, VirtualTransactionId *transaction);

/* Of an entry that is barred, when nobody has a pin. */
extern void escrow_entry_set_closed(EscrowEntry *entry, bool closed);
extern void escrow_entry_remove(EscrowEntry *entry);

/* Lets pins in again, with a new epoch and free quantity, or as it was; removes it. */
extern void escrow_entry_open(EscrowEntry *entry, int64 epoch, int64 free);
extern void escrow_entry_unbar(EscrowEntry *entry);

/* Makes an entry that is open at once; false for want of room.  One that is there stays. */
extern bool escrow_entry_add(const EscrowKey *key, int64 epoch, int64 free, bool closed);

/* ---- statistics ---- */

/* No pin is needed; nothing if there is no such entry. */
extern void escrow_entry_count_refusal(const EscrowKey *key);
extern void escrow_entry_count_fold(const EscrowKey *key);
extern void escrow_entry_count_fold_failure(const EscrowKey *key);

/* Entries of this database and table, in no order; palloc'ed. */
extern EscrowStatistics *escrow_entry_statistics(int *n);

/* From escrow_init(). */
extern void escrow_entry_init(void);

#endif /* ORDER_ENGINE_ESCROW_ENTRY_INTERNAL_H */
