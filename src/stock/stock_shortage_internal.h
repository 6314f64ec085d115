/*
 * stock_shortage_internal.h
 *		What is short and what is unknown, line by line.
 */
#ifndef ORDER_ENGINE_STOCK_SHORTAGE_INTERNAL_H
#define ORDER_ENGINE_STOCK_SHORTAGE_INTERNAL_H

#include "stock/stock.h"

/* `available`: STOCK_CLOSED of a SKU that is closed, which the line tells. */
extern void stock_shortage_add_short(StockShortage *shortage, const char *sku, int64 requested,
									 int64 available);

/* `sku` is kept, not copied. */
extern void stock_shortage_add_unknown(StockShortage *shortage, const char *sku);

/* What shared memory says of a SKU that was not claimed; counted when it is refused. */
extern void stock_shortage_add_looked_up(StockShortage *shortage, const char *sku, int64 requested,
										 int64 available);
extern void stock_shortage_count(const StockShortage *shortage);

static inline bool
stock_shortage_is_none(const StockShortage *shortage)
{
	return shortage->short_lines == NIL && shortage->unknown == NIL;
}

/* Settings, and what keeps refusals out of the server log; from stock_init(). */
extern void stock_shortage_init(void);

#endif /* ORDER_ENGINE_STOCK_SHORTAGE_INTERNAL_H */
