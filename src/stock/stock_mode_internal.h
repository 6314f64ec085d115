/*
 * stock_mode_internal.h
 *		The mode of a SKU's stock, switched.
 */
#ifndef ORDER_ENGINE_STOCK_MODE_INTERNAL_H
#define ORDER_ENGINE_STOCK_MODE_INTERNAL_H

#include "stock/stock_row_internal.h"

/* What a row of stock says about it. */
typedef struct StockMode
{
	bool escrow;
	bool is_auto; /* the keeper switches it */
} StockMode;

/* Reads a row's mode as the scope's snapshot sees it.  False if there is none. */
extern bool stock_mode_find(StockRow *stock, const char *sku, StockMode *mode);

/*
 * Locks the row, in whatever mode it is, and reads its mode.  False if there is none.
 */
extern bool stock_mode_lock(StockRow *stock, const char *sku, StockMode *mode);

/*
 * Gives a row that is locked so another mode, with one version more, and folds into it
 * what has not been folded yet; false if it has that mode already.  Waits for
 * transactions that change this stock: 55P03 after order_engine.stock_switch_timeout.
 * 53400 and 55000 as escrow_bar().
 */
extern bool stock_mode_change(StockRow *stock, const StockMode *old, const StockMode *wanted);

#endif /* ORDER_ENGINE_STOCK_MODE_INTERNAL_H */
