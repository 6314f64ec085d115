/*
 * stock_heat_internal.h
 *		Which rows of stock are fought over.
 */
#ifndef ORDER_ENGINE_STOCK_HEAT_INTERNAL_H
#define ORDER_ENGINE_STOCK_HEAT_INTERNAL_H

#include "nodes/pg_list.h"

/* How many waits there are in so long a time where a row is called hot. */
#define STOCK_HEAT_WINDOW_MS 10000

/* Counts a call that met another at this row of stock.  Does not raise. */
extern void stock_heat_count(const char *sku);

/*
 * Says that somebody works with this SKU in a way that mode escrow does not know: for an
 * hour, or until it is forgotten, the keeper leaves it in mode row.  Does not raise.
 */
extern void stock_heat_bar(const char *sku);
extern bool stock_heat_is_barred(const char *sku);

/*
 * SKUs that as many calls have waited for since their window began, and are not barred;
 * begins new windows.  For one process in a database.
 */
extern List *stock_heat_find(int waits);

/* Calls that have waited, by SKU, in no order. */
typedef void (*StockHeatVisitor)(const char *sku, int64 waits, void *argument);
extern void stock_heat_visit(StockHeatVisitor visit, void *argument);

/* Asks for shared memory; from stock_init(). */
extern void stock_heat_init(void);

#endif /* ORDER_ENGINE_STOCK_HEAT_INTERNAL_H */
