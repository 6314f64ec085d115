/*
 * stock_journal.h
 *		Changes of stock in mode escrow on their way into the table stock.
 */
#ifndef ORDER_ENGINE_STOCK_JOURNAL_H
#define ORDER_ENGINE_STOCK_JOURNAL_H

#include "utils/snapshot.h"

#include "journal/journal.h"
#include "shop/row.h"

/* What a row says: by how much on_hand and reserved of a row of stock change. */
typedef struct StockChange
{
	const char *sku;
	int64		on_hand;  /* units, to be added */
	int64		reserved; /* the same */
	int64		epoch;	  /* of the row of stock; a change of another epoch counts for nothing */
} StockChange;

/*
 * Appends a change in the caller's transaction and scope.  Who does has pinned the
 * SKU, or holds its lock, so that nobody loads or switches it meanwhile.
 */
extern void stock_journal_append(RowScope *scope, const StockChange *change);

/*
 * Adds up changes, modulo 2^64: they come in another order than that of their commits, so what is
 * summed halfway may be no quantity.
 */
static inline int64
stock_change_sum(int64 a, int64 b)
{
	return (int64) ((uint64) a + (uint64) b);
}

/* Gets a change, whose sku is valid in this call only. */
typedef void (*StockChangeVisitor)(const StockChange *change, void *argument);

/*
 * Locks the leaves of positions and of the journal, ACCESS SHARE, to the end of the
 * transaction.  Before the snapshot is taken under which they are read: then no leaf
 * is emptied that it still needs, on a standby neither.
 */
extern void stock_journal_lock(void);

/*
 * Visits, in no order, what this snapshot sees of the journal and is not folded by what it
 * sees of the positions, of all eras; `sku` NULL: of all SKUs.  A row of stock under the
 * same snapshot, and these changes of its epoch, are what there is.  After
 * stock_journal_lock(); runs in parallel workers and on standbys, as any role.  40001 if
 * the snapshot is older than a leaf's present files.
 */
extern void stock_journal_unfolded(Snapshot snapshot, const char *sku, StockChangeVisitor visit,
								   void *argument);

/* ---- folding, by one process at a time, in a transaction of its own ---- */

typedef struct StockFold StockFold;

/*
 * Takes the journal's lock, its leaves, and the snapshot.  NULL if that would be to wait
 * for somebody, or there is nothing to fold.  A batch that somebody has left
 * unacknowledged is what is to be folded, and nothing else then; so are rows that a
 * restore brought.  The caller has locked the table, ROW EXCLUSIVE.  55000 while it is
 * still being restored.
 */
extern StockFold *stock_fold_begin(void);

/* Visits what is to be folded, in no order; once. */
extern void stock_fold_visit(StockFold *fold, StockChangeVisitor visit, void *argument);

/*
 * Appends the position that counts all that was visited as folded, from this
 * transaction's commit on.  What the transaction itself has appended to the journal comes
 * with the next fold.
 */
extern void stock_fold_end(StockFold *fold);

/* In its place: nothing is folded. */
extern void stock_fold_leave(StockFold *fold);

#endif /* ORDER_ENGINE_STOCK_JOURNAL_H */
