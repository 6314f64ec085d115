/*
 * stock_event_internal.h
 *		Events of stock: a SKU sells out, or can be bought again.
 */
#ifndef ORDER_ENGINE_STOCK_EVENT_INTERNAL_H
#define ORDER_ENGINE_STOCK_EVENT_INTERNAL_H

#include "shop/row.h"

/* A row of stock, before a change of it or after. */
typedef struct StockState
{
	int64 on_hand;
	int64 reserved;
	bool  open;
} StockState;

/* Before a row is made, and after it is deleted. */
#define STOCK_NO_STATE ((StockState){.open = true})

/*
 * True where changes of stock may publish events: who locks the tables that he may write
 * locks the outbox then, too.
 */
extern bool stock_event_wanted(void);

/*
 * Publishes what a change of the row means to buyers, if anything: that nothing is available
 * any more, or that something is again.  The row is written, and its lock held; `version` is
 * the one that the change has made.  Raises as outbox_append().
 */
extern void stock_event_note(RowScope *scope, const char *sku, int64 version,
							 const StockState *before, const StockState *after);

/* The setting; from stock_init(). */
extern void stock_event_init(void);

#endif /* ORDER_ENGINE_STOCK_EVENT_INTERNAL_H */
