/*
 * stock_internal.h
 *		What the files of stock share: movements, and words that stand in rows.
 */
#ifndef ORDER_ENGINE_STOCK_INTERNAL_H
#define ORDER_ENGINE_STOCK_INTERNAL_H

#include "shop/row.h"

#define STOCK_ROW_MODE "row"

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

#endif /* ORDER_ENGINE_STOCK_INTERNAL_H */
