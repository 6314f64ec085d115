/*
 * order_row.h
 *		The row of an order as C values, and one change of it.
 */
#ifndef ORDER_ENGINE_ORDER_ROW_H
#define ORDER_ENGINE_ORDER_ROW_H

#include "base/context.h"
#include "machine/machine.h"
#include "order/line.h"
#include "shop/row.h"

/* The row of an order as C values; what is not here is read from its slot. */
typedef struct OrderRow
{
	int64		order_id;
	int64		user_id;
	const char *state;
	int			machine_id;
	int			version;
	Numeric		amount;
	Numeric		captured;
	Numeric		refunded;
	const char *currency; /* NULL: none */
	Jsonb	   *adjustments;
	Jsonb	   *attributes;
	bool		has_due_at;
	TimestampTz due_at;
	bool		has_lines; /* create_order() has made it, from one line or more */
} OrderRow;

/* A payment or refund as events show it; what it points to is the caller's. */
typedef struct OrderPayment
{
	const char *ref;
	Numeric		amount;
	const char *outcome;
} OrderPayment;

/* One change of an order: what happened, by whom. */
typedef struct OrderChange
{
	const Machine	   *machine;
	const Transition   *transition; /* NULL: the state stays */
	const char		   *event;
	const char		   *from_state;		 /* NULL: creation */
	const char		   *idempotency_key; /* NULL: none */
	Jsonb			   *attributes;		 /* of this event; NULL: {} */
	const OrderPayment *payment;		 /* NULL: none */
	const OrderLines   *lines;			 /* NULL: read when needed */
	TimestampTz			at;				 /* the clock under the row lock */
	bool				keep_stock;		 /* the caller applies the stock effect itself */
	bool leaves_room; /* what every later event repeats is new: it must leave room for them */
	ActionContext context;
} OrderChange;

/*
 * Reads an order's row from a slot laid out as `attno` says.  What is not a number
 * of C is allocated in the caller's context or points into the slot: it is good
 * for as long as both are.  23502 for a null that cannot be one.
 */
extern void order_row_read(const AttrNumber *attno, TupleTableSlot *slot, OrderRow *row);

/* The columns of a row, each in the place of its OrderColumn. */
typedef struct OrderValues
{
	Datum values[ORDER_COLUMNS];
	bool  nulls[ORDER_COLUMNS];
} OrderValues;

/*
 * A new order as it is where nobody says otherwise: in the first state of the
 * machine, empty, worth nothing, due after `due` (NULL: never).  Null are its ids
 * and what may be.
 */
extern void
order_row_new(OrderValues *row, const Machine *machine, TimestampTz now, const Interval *due);

static inline void
order_row_set(OrderValues *row, OrderColumn column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

/* When what is due after `due` happens, counted from now. */
extern Datum order_row_due_at(TimestampTz now, const Interval *due);

/* captured - refunded - (0 in a void state, else amount), 0 unless positive. */
extern Numeric order_row_refund_due(const Machine *machine, const OrderRow *row);

#endif /* ORDER_ENGINE_ORDER_ROW_H */
