/*
 * stock_row_internal.h
 *		A row of stock: found, locked, changed, made.
 */
#ifndef ORDER_ENGINE_STOCK_ROW_INTERNAL_H
#define ORDER_ENGINE_STOCK_ROW_INTERNAL_H

#include "shop/row.h"
#include "stock/stock.h"

#define STOCK_ROW_MODE "row"
#define STOCK_ESCROW_MODE "escrow"

/* The row that is being worked on. */
typedef struct StockRow
{
	RowScope	   *scope;
	RowTable	   *table;
	Oid				index; /* on sku */
	TupleTableSlot *row;   /* as read */
	TupleTableSlot *next;  /* as it will be written */
	const char	   *sku;
	int64			on_hand;
	int64			reserved;
	int64			version;
	int64			epoch;
	bool			open;	/* for sale */
	bool			escrow; /* its mode; then only a fold and a switch write the row */
} StockRow;

static inline int64
stock_row_free(const StockRow *stock)
{
	return stock->on_hand - stock->reserved;
}

/* What can be sold: STOCK_CLOSED, which is less than any quantity, of a SKU that is closed. */
static inline int64
stock_row_available(const StockRow *stock)
{
	return stock->open ? stock_row_free(stock) : STOCK_CLOSED;
}

/* Locks the tables of stock, and opens the rows' own in this scope. */
extern void stock_row_open(StockRow *stock, RowScope *scope);

/* The same for another row of the scope: as much as is to be read before the first is written. */
extern void stock_row_open_another(StockRow *stock, const StockRow *opened);

/*
 * Reads the row as the scope's snapshot sees it; another may change it.  False if there
 * is none.
 */
extern bool stock_row_find(StockRow *stock, const char *sku);

/*
 * Locks the row and reads its latest version.  False if there is none; 40001 as
 * row_find_locked().
 */
extern bool stock_row_lock(StockRow *stock, const char *sku);

/*
 * The same for a fold: stock_row_change() may write the row in mode escrow.  False, too, if
 * somebody else has locked it.
 */
extern bool stock_row_lock_to_fold(StockRow *stock, const char *sku);

/* As stock_row_lock(), but a row that is not there is made, empty; the next change is version 1. */
extern void stock_row_lock_or_create(StockRow *stock, const char *sku);

/*
 * Writes the next version of the row, which is locked: so many units more, or fewer.  *stock
 * is the new one.  22003 beyond bigint; raises as row_update() and stock_event_note().
 */
extern void stock_row_change(StockRow *stock, int64 on_hand, int64 reserved);

/* The same, but opens or closes its sale. */
extern void stock_row_set_open(StockRow *stock, bool open);

/* stock_row_change() of a row that was only found; false if another changed it since. */
extern bool stock_row_change_if_unchanged(StockRow *stock, int64 on_hand, int64 reserved);

#endif /* ORDER_ENGINE_STOCK_ROW_INTERNAL_H */
