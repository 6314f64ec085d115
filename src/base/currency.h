/*
 * currency.h
 *		Currencies: three letters.
 */
#ifndef ORDER_ENGINE_CURRENCY_H
#define ORDER_ENGINE_CURRENCY_H

#define CURRENCY_LENGTH 3 /* ISO 4217 */

/*
 * A currency as it is stored: in upper case, palloc'ed; NULL for NULL.  22023 unless it is
 * three ASCII letters.
 */
extern char *currency_parse(const char *given);

/* order_engine.default_currency, NULL if it is empty. */
extern const char *currency_default(void);

/* Defines the setting; from _PG_init. */
extern void currency_init(void);

#endif /* ORDER_ENGINE_CURRENCY_H */
