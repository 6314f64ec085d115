/*
 * adjustment.h
 *		Adjustments: as they are stored, and as they are shown.
 */
#ifndef ORDER_ENGINE_ADJUSTMENT_H
#define ORDER_ENGINE_ADJUSTMENT_H

#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "order/line.h"

/*
 * What is stored of adjustments that line_parse_adjustments() has checked: numbers where
 * strings were given, counts without a point, without the keys that are null.  Equal
 * requests have equal ones.
 */
extern Jsonb *adjustment_stored(Jsonb *given);

/* The same with the engine's own at their end; NULL: there is nothing to round. */
extern Jsonb *adjustment_rounded(Jsonb *stored, Numeric rounding);

/*
 * Adds what the adjustments of an order take (a coupon, points) to what its lines take
 * from stock.  What a restore has copied may be anything: what makes no sense takes
 * nothing.
 */
extern void adjustment_add_stock(Jsonb *stored, OrderLines *lines);

/* As events and documents show them, see amount_as_text(). */
extern Jsonb *adjustment_shown(Jsonb *stored);

#endif /* ORDER_ENGINE_ADJUSTMENT_H */
