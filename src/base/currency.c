/*
 * currency.c
 *		Currencies; owns order_engine.default_currency.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "base/currency.h"
#include "base/detail.h"

/* the setting, which PostgreSQL sets and resets; in upper case, empty: none */
static char *setting_default;

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_currency(const char *given)
{
	return is_letter(given[0]) && is_letter(given[1]) && is_letter(given[2]) && given[3] == '\0';
}

static void
to_upper(char *currency)
{
	for (char *c = currency; *c; c++)
		*c = pg_ascii_toupper((unsigned char) *c);
}

char *
currency_parse(const char *given)
{
	char *currency;

	if (given == NULL)
		return NULL;
	if (!is_currency(given))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"currency\" must be three letters"),
				 detail_set("currency", detail_text(given), NULL),
				 errhint("Give the code of ISO 4217, such as EUR, or three letters of your own for "
						 "what is no such currency.")));
	currency = pstrdup(given);
	to_upper(currency);
	return currency;
}

const char *
currency_default(void)
{
	return setting_default[0] ? setting_default : NULL;
}

/* What is kept is in upper case. */
static bool
check_default(char **value, void **extra, GucSource source)
{
	if (**value != '\0' && !is_currency(*value))
	{
		GUC_check_errdetail("A currency is three letters, such as EUR.");
		return false;
	}
	to_upper(*value);
	return true;
}

void
currency_init(void)
{
	DefineCustomStringVariable("order_engine.default_currency",
							   "The currency of a new order whose creator does not say it.",
							   "Empty: the order has none.", &setting_default, "", PGC_SUSET, 0,
							   check_default, NULL, NULL);
}
