/*
 * currency.h
 *		Currencies: three letters, and how many decimals an amount of each may have.
 */
#ifndef ORDER_ENGINE_CURRENCY_H
#define ORDER_ENGINE_CURRENCY_H

#include "utils/numeric.h"

#define CURRENCY_LENGTH 3 /* ISO 4217 */

/*
 * A currency as it is stored: in upper case, palloc'ed; NULL for NULL.  22023 unless it is
 * three ASCII letters.
 */
extern char *currency_parse(const char *given);

/* order_engine.default_currency, NULL if it is empty. */
extern const char *currency_default(void);

/*
 * The decimals of the minor unit that ISO 4217 gives an active currency; -1: no limit, as it
 * is for NULL and for any code that has none there.
 */
extern int currency_decimals(const char *currency);

/* The nearest amount that the currency can express, half up; the amount itself if it can. */
extern Numeric currency_round(const char *currency, Numeric amount);

/* True if the currency can express the amount; what counts is its value: 10.000 EUR is one. */
extern bool currency_can_express(const char *currency, Numeric amount);

/* Raises 22023 unless it can; `name` is what the caller calls the amount. */
extern void currency_check(const char *currency, Numeric amount, const char *name);

/* Defines the setting; from _PG_init. */
extern void currency_init(void);

#endif /* ORDER_ENGINE_CURRENCY_H */
