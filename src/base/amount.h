/*
 * amount.h
 *		Amounts of money.
 */
#ifndef ORDER_ENGINE_AMOUNT_H
#define ORDER_ENGINE_AMOUNT_H

#include "utils/numeric.h"

/*
 * An amount of money that is given, or computed for an order, is no longer when
 * printed, with sign and point.  Sums of payments may be: nobody gives them.
 */
#define AMOUNT_MAX_LENGTH 48

/* Raises 22023 unless the value is finite, not negative and within that limit. */
extern void amount_check(Numeric value, const char *name);

/*
 * Arithmetic on amounts.  Results are palloc'ed, but for the zero, which is kept for ever;
 * 22003 beyond what a numeric holds.  The comparison is less than, equal to or greater than 0.
 */
extern Numeric amount_add(Numeric a, Numeric b);
extern Numeric amount_subtract(Numeric a, Numeric b);
extern int	   amount_compare(Numeric a, Numeric b);
extern Numeric amount_zero(void);
extern char	  *amount_text(Numeric a);

#endif /* ORDER_ENGINE_AMOUNT_H */
