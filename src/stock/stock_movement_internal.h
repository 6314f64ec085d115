/*
 * stock_movement_internal.h
 *		What came in and what went out, and why.
 */
#ifndef ORDER_ENGINE_STOCK_MOVEMENT_INTERNAL_H
#define ORDER_ENGINE_STOCK_MOVEMENT_INTERNAL_H

#include "shop/row.h"

/* Reasons that stand in rows; users may give the first two, and words of their own. */
#define STOCK_REASON_RECEIPT "receipt"
#define STOCK_REASON_ADJUSTMENT "adjustment"
#define STOCK_REASON_DEDUCT "deduct"
#define STOCK_REASON_CONFIRM "confirm"
#define STOCK_REASON_RESTOCK "restock"
#define STOCK_REASON_RESERVATION "reservation"
#define STOCK_REASON_OPENED "opened"
#define STOCK_REASON_CLOSED "closed"
#define STOCK_REASON_RECONCILE "reconcile"
#define STOCK_REASON_DIRECT "direct" /* of movements that a trigger writes */

typedef struct StockMovement
{
	const char *sku;
	int64		quantity;
	const char *reason;
	const char *ref; /* NULL: not idempotent */
	const char *actor;
} StockMovement;

/* Writes a movement.  Raises as row_insert(). */
extern void stock_movement_insert(RowScope *scope, const StockMovement *movement);

/*
 * True if this movement stands already.  The caller has locked its stock row, so
 * what is read here is no older than that row.  OE020 if the ref was used for
 * another quantity.
 */
extern bool stock_movement_is_replay(RowScope *scope, const StockMovement *movement);

/*
 * For who has locked no row: writes the movement, or false if it stands already; waits for
 * who has its ref and is undecided.  OE020 as above, 40001 if this transaction's snapshot
 * does not see the other.
 */
extern bool stock_movement_claim(RowScope *scope, const StockMovement *movement);

#endif /* ORDER_ENGINE_STOCK_MOVEMENT_INTERNAL_H */
