/*
 * order.h
 *		An order: its row, and the one way in which it changes.
 *
 * One version = one order_event row = at most one outbox row.  Whoever changes
 * an order (a call, raw SQL through the triggers, the keeper) ends in
 * order_changed().
 */
#ifndef ORDER_ENGINE_ORDER_H
#define ORDER_ENGINE_ORDER_H

#include "base/compat.h"
#include "machine/machine.h"
#include "order/line.h"
#include "order/order_row.h"
#include "shop/owner.h"
#include "shop/row.h"

/* An order that is locked by this transaction while a call acts on it. */
typedef struct LockedOrder
{
	RowScope		scope;
	OwnerScope		owner;
	RowTable	   *table;
	TupleTableSlot *old;
	TupleTableSlot *next; /* filled by order_write() */
	OrderRow		row;  /* before the change; after order_write(): as written */
	const Machine  *machine;
	int				state; /* index of row.state */
	TimestampTz		at;	   /* the clock under the row lock */
} LockedOrder;

/* What order_write() changes beside version and updated_at. */
typedef struct OrderUpdate
{
	const Transition *transition; /* NULL: the state stays */
	Numeric			  captured;	  /* NULL: stays */
	Numeric			  refunded;	  /* NULL: stays */
} OrderUpdate;

/* Locks the tables that an action on orders may write, see row_lock_tables(). */
extern void order_lock_tables(void);

/*
 * Acts as the tables' owner, begins a scope and locks the order.  OE012 if
 * there is none; `call` names the caller.  order_end() after it, always.
 */
extern void order_begin(LockedOrder *order, int64 order_id, const char *call);
extern void order_end(LockedOrder *order);

/*
 * The same without waiting: false if there is no such order or another
 * transaction holds it.  order_end() follows in either case.
 */
extern bool order_begin_if_free(LockedOrder *order, int64 order_id, const char *call);

/*
 * The lines of an order, and what they and its adjustments take from stock.  False if it
 * was made with lines and shows none.
 */
extern bool order_find_lines(RowScope *scope, const OrderRow *row, OrderLines *lines);

/*
 * The same.  XX001 if it was made with lines and shows none: an order must not be moved,
 * its stock left held, because somebody took its lines away.
 */
extern void order_lines(RowScope *scope, const OrderRow *row, OrderLines *lines);

/*
 * What a change of an order demands of the version before it, which stands in
 * `old`: that it is recorded.  It is not while the statement that wrote it is still
 * under way (a call in its RETURNING, a user's trigger that writes the rows of its
 * statement again, a guard that writes its own order).  09000 then, since the
 * order's events would come in another order than its versions.
 */
extern void order_check_recorded(RowScope *scope, TupleTableSlot *old, const OrderRow *row);

/* True if `captured` - `refunded` covers the amount. */
extern bool order_covers(const OrderRow *row, Numeric captured, Numeric refunded);

/* True if the transition has no guard, or it agrees to this move of the row in `old`. */
extern bool order_guard_allows(RowTable *table, TupleTableSlot *old, const Machine *machine,
							   const Transition *transition, Jsonb *attributes);

/*
 * What must hold of any move, whoever makes it: OE041 unless it is paid, OE013 unless the
 * guard agrees.
 */
extern void order_check_move(RowTable *table, TupleTableSlot *old, const Machine *machine,
							 const OrderRow *row, const Transition *transition, Jsonb *attributes);

/*
 * The move that a change of state by raw SQL means: the first defined that is
 * not the keeper's.  OE010 if there is none.
 */
extern const Transition *order_infer_move(const Machine *machine, const char *from, const char *to);

/*
 * True if a column has the same value in both rows, whatever its form: an ORM
 * writes all columns back through its language's types, 19.90 as 19.9, a time
 * without its microseconds.
 */
extern bool order_same_value(TupleTableSlot *a, TupleTableSlot *b, AttrNumber attno);

/* OE014, naming them, if columns that only the engine writes have other values. */
extern void order_check_unchanged(TupleDesc desc, const AttrNumber *attno, TupleTableSlot *meant,
								  TupleTableSlot *written);

/* The machine of an order that names none. */
#define ORDER_DEFAULT_MACHINE "order"

/* An event's own attributes: a JSON object, as text at most 8 kB long (22023, 54000). */
#define ORDER_MAX_EVENT_ATTRIBUTES 8192
extern void order_check_attributes(Jsonb *attributes);

/* Raise OE011, OE020, OE014 (naming these columns). */
pg_noreturn extern void order_raise_version(int expected, int actual, const char *state);
pg_noreturn extern void order_raise_key_mismatch(const char *key, TimestampTz first_seen);
pg_noreturn extern void order_raise_direct_write(const List *columns);

/*
 * Writes the next version of the row, checks what users' triggers made of it (OE010,
 * OE011, OE014) and records the change.  Raises as row_update() and order_changed();
 * fills what `change` says of the move.  The order's row is the new one afterwards.
 */
extern void order_write(LockedOrder *order, const OrderUpdate *update, OrderChange *change);

/*
 * Records one change: stock effect, order_event, outbox.  The row is written and
 * its lock held.  Raises as order_lines(), stock_apply() and event_append().
 */
extern void order_changed(RowScope *scope, const OrderRow *row, OrderChange *change);

/* The stock effect of a change whose lines are given.  Raises as stock_apply(). */
extern void order_apply_stock(RowScope *scope, const OrderRow *row, OrderChange *change);

#endif /* ORDER_ENGINE_ORDER_H */
