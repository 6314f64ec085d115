/*
 * reservation_row.h
 *		The row of a reservation as C values: found, locked, made, resolved.
 *
 * Whoever changes a reservation locks its row, then takes stock, then writes the row:
 * who has stock in hand and inserts the same id never waits for somebody who waits for
 * that stock.
 */
#ifndef ORDER_ENGINE_RESERVATION_ROW_H
#define ORDER_ENGINE_RESERVATION_ROW_H

#include "datatype/timestamp.h"

#include "shop/row.h"
#include "stock/stock.h"

typedef enum HoldState
{
	HOLD_HELD,
	HOLD_CONFIRMED,
	HOLD_CANCELLED,
	HOLD_EXPIRED,
	HOLD_ORDERED /* an order has taken it over */
} HoldState;

/* Units by stock key, sorted as stock_apply() wants them. */
typedef struct HoldLines
{
	int		   n;
	StockLine *lines;
} HoldLines;

/* What names it. */
typedef struct ReservationKey
{
	const char *reservation_id;
	bool		has_user;
	int64		user_id;
} ReservationKey;

typedef struct Reservation
{
	RowScope	   *scope;
	RowTable	   *table;
	TupleTableSlot *row; /* as read */
	ReservationKey	key;
	int64			id;
	HoldState		state;
	bool			was_held;  /* false: it was cancelled before it was tried */
	HoldLines		lines;	   /* that were reserved */
	HoldLines		confirmed; /* of these */
	int64			order_id;  /* 0: none */
	TimestampTz		created_at;
	TimestampTz		expires_at; /* 0: it was not held */
} Reservation;

/* The state as rows, answers and errors say it. */
extern const char *reservation_state(HoldState state);

/* Opens the leaf in which the reservation lies, or would.  OE060 as row_open_leaf(). */
extern void reservation_open(Reservation *reservation, RowScope *scope, const ReservationKey *key);

/* Reads it as the scope's snapshot sees it; false if there is none. */
extern bool reservation_find(Reservation *reservation);

/* Locks it and reads its latest version; false if there is none; 40001 as row_find_locked(). */
extern bool reservation_lock(Reservation *reservation);

/* The same by its own id, unless another holds it: false then, too. */
extern bool reservation_lock_if_free(Reservation *reservation, RowScope *scope, int64 id);

/*
 * Makes the row: the key, the state, the lines and the times are what *reservation says.  False,
 * with nothing written, if another transaction has made one of this key since the snapshot: look
 * for it again.  40001 where that cannot be seen.
 */
extern bool reservation_insert(Reservation *reservation, const char *actor);

/* True if one of this key stands, whatever the snapshot sees, or was in the making until now. */
extern bool reservation_is_taken(Reservation *reservation);

/* Writes the next state, and what goes with it, of a reservation that is locked. */
extern void reservation_resolve(Reservation *reservation, HoldState state, const char *actor);

/* Writes another expires_at, of a reservation that is locked. */
extern void
reservation_set_expiry(Reservation *reservation, TimestampTz expires_at, const char *actor);

/* Equal units of equal keys. */
extern bool reservation_same_lines(const HoldLines *a, const HoldLines *b);

#endif /* ORDER_ENGINE_RESERVATION_ROW_H */
