/*
 * line.h
 *		What was ordered: the lines and the adjustments of an order.
 */
#ifndef ORDER_ENGINE_LINE_H
#define ORDER_ENGINE_LINE_H

#include "lib/stringinfo.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "shop/row.h"
#include "stock/stock.h"

typedef struct OrderLine
{
	const char *sku;
	const char *stock_key;	/* which stock row to take from; NULL: not stocked */
	int32		quantity;	/* > 0 */
	Numeric		unit_price; /* >= 0 */
	Jsonb	   *attributes; /* NULL: {} */
} OrderLine;

typedef struct OrderLines
{
	int		   nlines;
	OrderLine *lines; /* line_no = place + 1 */
	int		   nkeys;
	StockLine *keys; /* what the order takes: summed per stock key, sorted by it */
} OrderLines;

/*
 * Parses create_order's `lines`.  22023 naming the line and the key for what is
 * no line, 54000 for too many of them.  What they point to is palloc'ed or the
 * JSON's.
 */
extern void line_parse(Jsonb *json, OrderLines *lines);

/* Adds to what the lines take from stock; the strings stay the caller's. */
extern void line_add_stock(OrderLines *lines, const StockLine *more, int nmore);

/* Sum of quantity x unit_price; 0 for none. */
extern Numeric line_subtotal(const OrderLines *lines);

/* The kind of the adjustment that the engine makes where it rounds; nobody else gives it. */
#define LINE_ROUNDING "rounding"

/*
 * Checks create_order's `adjustments` and returns their sum.  22023 naming the
 * adjustment and the key, also for an amount that the currency cannot express.
 */
extern Numeric line_parse_adjustments(Jsonb *json, int nlines, const char *currency);

/* Writes the lines of a new order.  Raises as row_insert(). */
extern void line_insert(RowScope *scope, int64 order_id, const OrderLines *lines);

/*
 * Reads the lines of an order, none if it has none.  They are palloc'ed and point
 * into rows of the scope: they are good until it ends, or the caller's context does.
 */
extern void line_read(RowScope *scope, int64 order_id, OrderLines *lines);

/* Appends them as a JSON array, as events show them. */
extern void line_json(StringInfo json, const OrderLines *lines);

#endif /* ORDER_ENGINE_LINE_H */
