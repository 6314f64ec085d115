/*
 * adjustment.h
 *		Adjustments: as they are stored, and as they are shown.
 */
#ifndef ORDER_ENGINE_ADJUSTMENT_H
#define ORDER_ENGINE_ADJUSTMENT_H

#include "utils/jsonb.h"
#include "utils/numeric.h"

/*
 * What is stored of adjustments that line_parse_adjustments() has checked: numbers where
 * strings were given, without the keys that are null.  Equal requests have equal ones.
 */
extern Jsonb *adjustment_stored(Jsonb *given);

/* The same with the engine's own at their end; NULL: there is nothing to round. */
extern Jsonb *adjustment_rounded(Jsonb *stored, Numeric rounding);

/* As events and documents show them, see amount_as_text(). */
extern Jsonb *adjustment_shown(Jsonb *stored);

#endif /* ORDER_ENGINE_ADJUSTMENT_H */
