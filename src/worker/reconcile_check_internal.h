/*
 * reconcile_check_internal.h
 *		The invariants, as SQL that finds what breaks them.
 *
 * Each reads under the active snapshot, as whoever is current, inside SPI_connect(), a
 * piece at a time: the memory it takes does not grow with the tables.
 */
#ifndef ORDER_ENGINE_RECONCILE_CHECK_INTERNAL_H
#define ORDER_ENGINE_RECONCILE_CHECK_INTERNAL_H

#include "storage/block.h"

typedef struct CheckRow
{
	const char *name;
	const char *key;
	const char *expected;
	const char *actual;
	int64		delta;		/* what is to be added to mend it; of a counter, what it must be */
	bool		repairable; /* delta says how */
} CheckRow;

typedef void (*CheckVisitor)(const CheckRow *row, void *argument);

#define CHECK_ON_HAND "on_hand"
#define CHECK_RESERVED "reserved"
#define CHECK_COUNTER "counter"
#define CHECK_FOLD "fold"

/* Stock rows against movements, and against what is held; `skus` a text[], 0 for all of them. */
extern void check_stock(Datum skus, CheckVisitor visitor, void *argument);
extern void check_reserved(Datum skus, CheckVisitor visitor, void *argument);

/* Counters of hot SKUs against those: arrays of text, bigint (epochs), bigint. */
extern void
check_counters(Datum skus, Datum epochs, Datum quantities, CheckVisitor visitor, void *argument);

/* Orders with `after` < id <= `last`. */
extern void check_orders(int64 after, int64 last, CheckVisitor visitor, void *argument);

/* The id of the last one of the next orders after this one, and how many they are. */
extern int64 check_next_orders(int64 after, int64 *last);

/* About how many orders there are. */
extern int64 check_count_orders(void);

/* What reservations that were confirmed have taken. */
extern void check_reservations(CheckVisitor visitor, void *argument);

/* Movements of orders in these blocks of their table. */
extern void
check_movements(BlockNumber first, BlockNumber end, CheckVisitor visitor, void *argument);

#endif /* ORDER_ENGINE_RECONCILE_CHECK_INTERNAL_H */
