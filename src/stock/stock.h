/*
 * stock.h
 *		What is on hand, what of it is reserved, and the movements between.
 */
#ifndef ORDER_ENGINE_STOCK_H
#define ORDER_ENGINE_STOCK_H

#include "machine/machine.h"
#include "nodes/pg_list.h"
#include "shop/row.h"

/* What is available of a SKU whose sale is closed: nothing, for a reason that is told. */
#define STOCK_CLOSED (-1)

typedef struct StockLine
{
	const char *stock_key;
	int64		quantity; /* units, positive */
} StockLine;

/*
 * Applies an effect to all of the lines or, raising, to none.  Lines: one per
 * stock key, summed, sorted by strcmp(), which is the order of COLLATE "C"; in
 * that order the rows are locked, so two calls cannot deadlock.  At most once
 * per stock key under one snapshot: row_scope_refresh() between two calls.
 *
 * `ref` and `actor` go into the movements that confirm and restock write; a ref
 * must be new for (stock key, effect), as <order id>/<version> is, or NULL.
 *
 * A key that is unknown gets a row by what comes back (STOCK_RESTOCK).
 *
 * Keys in mode escrow are pinned and claimed before the first row is locked; while one is
 * short and others are undecided about it, that waits for order_engine.escrow_wait.
 *
 * OE001 with every line that is short, OE002 with every key that is unknown
 * (and the short ones), 22003 where a quantity leaves bigint; in row mode 23514 where less
 * is reserved than the lines hold, and 40001 under REPEATABLE READ and above if a row
 * changed since the snapshot; in mode escrow 55000 or 53400 where nothing can be taken, as
 * escrow_claim() has it.
 */
extern void stock_apply(RowScope *scope, StockEffect effect, const StockLine *lines, int nlines,
						const char *ref, const char *actor);

/*
 * True if what the effect takes is there.  It is then locked, or claimed, so stock_apply() of
 * the same lines in this transaction will find it.  Raises 40001, 55000 and 53400 as that does.
 */
extern bool stock_suffices(RowScope *scope, StockEffect effect, const StockLine *lines, int nlines);

/* Why nothing could be reserved: lists of C strings. */
typedef struct StockShortage
{
	List *short_lines; /* JSON objects, as the DETAIL of OE001 shows them */
	List *unknown;	   /* SKUs */
	List *looked_up;   /* SKUs that were only looked at in shared memory, to be counted */
} StockShortage;

/*
 * False if shared memory alone tells that what these lines reserve is not there; the
 * shortage names those in mode escrow that are short, whatever is true of the others.  As
 * any role, without a scope, a lock, a page or a transaction id.
 */
extern bool stock_look(const StockLine *lines, int nlines, StockShortage *shortage);

/* OE002 if anything is unknown, OE001 if anything is short, else nothing. */
extern void stock_shortage_raise(const StockShortage *shortage);

/*
 * STOCK_RESERVE of all of the lines, or false, with nothing changed and every line
 * that is short, every key that is unknown in the shortage.  Under READ COMMITTED
 * what is short as the scope's snapshot sees it takes no lock and no transaction id.
 * Else as stock_apply(), 55000, 22003 and 40001 too.
 */
extern bool stock_try(RowScope *scope, const StockLine *lines, int nlines, StockShortage *shortage);

/*
 * Changes what is held, all of it or, raising as stock_apply(), nothing: a positive
 * quantity is reserved, a negative one released.  Lines as there.
 */
extern void stock_hold(RowScope *scope, const StockLine *lines, int nlines);

/*
 * STOCK_CONFIRM of what a reservation holds: as stock_apply(), but its movements have
 * a reason of their own, so that their refs are not an order's.
 */
extern void stock_confirm_reservation(RowScope *scope, const StockLine *lines, int nlines,
									  const char *ref, const char *actor);

/*
 * Before the first of several calls for these lines in one transaction: pins all of them that are
 * in mode escrow.  Who switches one of those waits for who has pinned it, and they may wait
 * for a row that an earlier call has locked.
 */
extern void stock_pin(RowScope *scope, const StockLine *lines, int nlines);

/*
 * Writes a movement for a difference that nobody has booked, reason reconcile; the stock
 * itself stays as it is.
 */
extern void
stock_record_difference(RowScope *scope, const char *sku, int64 quantity, const char *actor);

/* Settings, hooks; from _PG_init. */
extern void stock_init(void);

#endif /* ORDER_ENGINE_STOCK_H */
