/*
 * reservation.h
 *		Stock held for a while before there is an order: try, confirm, cancel.
 */
#ifndef ORDER_ENGINE_RESERVATION_H
#define ORDER_ENGINE_RESERVATION_H

#include "datatype/timestamp.h"

#include "shop/row.h"
#include "stock/stock.h"

/* Locks the tables that a change of a reservation may write, as row_lock_tables() does. */
extern void reservation_lock_tables(void);

/*
 * Lets an order of this user take over what is held under the name, by the user or by
 * nobody: afterwards the order holds `lines`, sorted as stock_apply() wants them.  What is
 * beyond the hold is reserved, what is short of it released.  The tables are locked
 * (reservation_lock_tables()).  OE007 if there is no such reservation, OE004 and OE005
 * unless it is held; raises as stock_hold().
 */
extern void
reservation_take_over(RowScope *scope, const char *reservation_id, int64 user_id, int64 order_id,
					  const StockLine *lines, int nlines, const char *actor);

/*
 * Deletes up to `max` reservations that were resolved longer ago than
 * order_engine.reservation_retention; how many there were.  As the tables' owner.
 */
extern int64 reservation_purge(int64 max);

/* Defines the setting; from _PG_init. */
extern void reservation_init(void);

#endif /* ORDER_ENGINE_RESERVATION_H */
