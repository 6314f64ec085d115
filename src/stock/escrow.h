/*
 * escrow.h
 *		Stock in mode escrow: the free quantity of a hot SKU in shared memory.
 *
 * Whoever changes stock of a SKU pins it first, to the end of his transaction, then
 * claims, takes or returns, then appends to stock_journal:
 *
 *		EscrowPin *pin = escrow_pin(sku);
 *
 *		if (pin && escrow_claim(pin, quantity))
 *		{
 *			escrow_take(pin, quantity);
 *			stock_journal_append(scope, &(StockChange){sku, 0, quantity, escrow_epoch(pin)});
 *		}
 *
 * What was claimed goes back when the transaction, or the savepoint, is rolled back;
 * what was returned is there for others when it has committed, for itself at once.
 */
#ifndef ORDER_ENGINE_ESCROW_H
#define ORDER_ENGINE_ESCROW_H

#include "base/call.h"

/* What the current transaction has to do with a SKU; lives until it ends. */
typedef struct EscrowPin EscrowPin;

/* ---- changing stock: backend or worker, in a transaction that may write ---- */

/*
 * The pin of a SKU, made if there is none yet.  NULL if shared memory has no entry of it:
 * it is in row mode, or not loaded yet, which its row tells.  Waits for a switch of its
 * mode that is under way.  55000 if this transaction has switched it.
 */
extern EscrowPin *escrow_pin(const char *sku);

/*
 * The same for a SKU whose row, as the caller sees it, is in mode escrow, while
 * escrow_pin() gave NULL.  Loads it, with all others that are not yet; where there is no
 * room, or no shared memory, the pin is the SKU's lock, and takes are refused.  NULL if it
 * is in row mode by now.
 */
extern EscrowPin *escrow_pin_unloaded(const char *sku);

/*
 * Makes sure that so many more units can be taken: of what this transaction returned, or
 * claimed before, else of what is free.  False if there are not as many, and claims
 * nothing.  Never waits.  55000 or 53400 (with the hint what to do) if the SKU has no entry.
 */
extern bool escrow_claim(EscrowPin *pin, int64 quantity);

/*
 * Gives back what was claimed, and not taken, since escrow_claimed() said so much, in the same
 * subtransaction: who is refused another SKU withholds nothing of this one.
 */
extern int64 escrow_claimed(const EscrowPin *pin);
extern void	 escrow_unclaim(EscrowPin *pin, int64 claimed_before);

/* Takes units that were claimed. */
extern void escrow_take(EscrowPin *pin, int64 quantity);

/* Returns units that were held; without an entry too. */
extern void escrow_return(EscrowPin *pin, int64 quantity);

/* The same of units that come in; 22003 beyond a quarter of bigint. */
extern void escrow_receive(EscrowPin *pin, int64 quantity);

/*
 * What this transaction could take; without an entry 0.
 */
extern int64 escrow_free(const EscrowPin *pin);

/* False if the pin is the SKU's lock: nothing can be taken then. */
extern bool escrow_is_loaded(const EscrowPin *pin);

/* True if nothing of it is sold, however much is free: what it has is corrected all the same. */
extern bool escrow_is_closed(const EscrowPin *pin);

/* Of the row of stock: what StockChange.epoch must say. */
extern int64 escrow_epoch(const EscrowPin *pin);

/*
 * Waits, at most so long, for the end of other transactions that have pins of this SKU now.  True
 * if there was one to wait for: then claim again.
 */
extern bool escrow_wait_for_others(EscrowPin *pin, int timeout_ms);

/* ---- looking ---- */

/*
 * What this transaction could sell of a SKU, by shared memory alone, and without a pin:
 * true and *quantity (STOCK_CLOSED of one that is closed); false if it has no entry, or that
 * is barred now.  As any role, in parallel workers too.  One atomic read where the database
 * has no entries.
 */
extern bool escrow_look(const char *sku, int64 *quantity);

/* Counts a take that was refused after a look, or a fold, in what stat_stock shows. */
extern void escrow_count_refusal(const char *sku);
extern void escrow_count_fold(const char *sku);
extern void escrow_count_fold_failure(const char *sku);

/* What shared memory says of a SKU. */
typedef struct EscrowCounter
{
	char   sku[CALL_MAX_NAME_LENGTH + 1];
	int64  epoch; /* of the row of stock */
	int64  free;
	int	   fold_failures; /* since its last fold */
	bool   quiet;		  /* nobody has a pin, nobody switches its mode */
	uint64 changes;		  /* raised by each transaction that had a pin, before that goes */
} EscrowCounter;

/* All of this database, by SKU; palloc'ed. */
extern EscrowCounter *escrow_counters(int *n);

/*
 * Of those that escrow_counters() gave before a snapshot was taken, leaves quiet which have
 * not moved until now: they must say what that snapshot sees.
 */
extern void escrow_counters_settle(EscrowCounter *counters, int n);

/* ---- switching the mode, or the sale: under the lock of the row of stock ---- */

/*
 * Locks the SKU and keeps new pins away until the transaction ends; waits for those that
 * there are (55P03 after order_engine.stock_switch_timeout).  A SKU without an entry gets
 * one, if `make` (53400 if there is no room).  55000 if this transaction has pinned it.
 */
extern void escrow_bar(const char *sku, bool make);

/* At commit, the entry that is barred gets this epoch and free quantity, and is open. */
extern void escrow_open_at_commit(const char *sku, int64 epoch, int64 quantity);

/* At commit, the entry that is barred is removed. */
extern void escrow_remove_at_commit(const char *sku);

/* At commit, the entry that is barred, if there is one, sells nothing, or sells again. */
extern void escrow_close_at_commit(const char *sku, bool closed);

/* ---- the keeper ---- */

/* Loads all SKUs in mode escrow that have no entry, as far as nobody is in the way. */
extern void escrow_load_all(void);

/*
 * Folds a batch of stock_journal into the rows of stock, in a transaction of its own, READ
 * COMMITTED, as the tables' owner; nothing where that would be to wait for somebody.  True if
 * there is likely to be more already.
 */
extern bool escrow_fold(void);

/* Settings, shared memory, callbacks; from _PG_init. */
extern void escrow_init(void);

#endif /* ORDER_ENGINE_ESCROW_H */
