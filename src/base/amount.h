/*
 * amount.h
 *		Amounts of money.
 */
#ifndef ORDER_ENGINE_AMOUNT_H
#define ORDER_ENGINE_AMOUNT_H

#include "lib/stringinfo.h"
#include "utils/numeric.h"

/*
 * An amount of money that is given, or computed for an order, is no longer when
 * printed, with sign and point.  Sums of payments may be: nobody gives them.
 */
#define AMOUNT_MAX_LENGTH 48

/* Raises 22023 unless the value is finite, not negative and within that limit. */
extern void amount_check(Numeric value, const char *name);

/* Raises 22023 unless the value is within that limit. */
extern void amount_check_length(Numeric value, const char *name);

/*
 * Arithmetic on amounts.  Results are palloc'ed, but for the zero, which is kept for ever;
 * 22003 beyond what a numeric holds.  The comparison is less than, equal to or greater than 0.
 */
extern Numeric amount_add(Numeric a, Numeric b);
extern Numeric amount_subtract(Numeric a, Numeric b);
extern int	   amount_compare(Numeric a, Numeric b);
extern Numeric amount_zero(void);
extern Numeric amount_round(Numeric a, int decimals); /* half up, away from zero */
extern int	   amount_scale(Numeric a);				  /* the decimals it is written with */
extern char	  *amount_text(Numeric a);
extern Numeric amount_parse(const char *text); /* 22P02 if it is none */

/*
 * order_engine.amounts_as: true if events and documents show amounts as text.  Appends one as
 * they do, a JSON number or a string of the same digits.
 */
extern bool amount_as_text(void);
extern void amount_append_json(StringInfo json, Numeric a);

/* Defines the setting; from _PG_init. */
extern void amount_init(void);

#endif /* ORDER_ENGINE_AMOUNT_H */
