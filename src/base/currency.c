/*
 * currency.c
 *		Currencies; owns order_engine.default_currency.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "base/amount.h"
#include "base/currency.h"
#include "base/detail.h"

/* the setting, which PostgreSQL sets and resets; in upper case, empty: none */
static char *setting_default;

/* The active codes of ISO 4217 with a minor unit, and its decimals: sorted, five bytes each. */
static const char minor_units[] =
	/* clang-format off */
	"AED2 AFN2 ALL2 AMD2 AOA2 ARS2 AUD2 AWG2 AZN2 BAM2 BBD2 BDT2 BHD3 BIF0 BMD2 BND2 "
	"BOB2 BOV2 BRL2 BSD2 BTN2 BWP2 BYN2 BZD2 CAD2 CDF2 CHE2 CHF2 CHW2 CLF4 CLP0 CNY2 "
	"COP2 COU2 CRC2 CUP2 CVE2 CZK2 DJF0 DKK2 DOP2 DZD2 EGP2 ERN2 ETB2 EUR2 FJD2 FKP2 "
	"GBP2 GEL2 GHS2 GIP2 GMD2 GNF0 GTQ2 GYD2 HKD2 HNL2 HTG2 HUF2 IDR2 ILS2 INR2 IQD3 "
	"IRR2 ISK0 JMD2 JOD3 JPY0 KES2 KGS2 KHR2 KMF0 KPW2 KRW0 KWD3 KYD2 KZT2 LAK2 LBP2 "
	"LKR2 LRD2 LSL2 LYD3 MAD2 MDL2 MGA2 MKD2 MMK2 MNT2 MOP2 MRU2 MUR2 MVR2 MWK2 MXN2 "
	"MXV2 MYR2 MZN2 NAD2 NGN2 NIO2 NOK2 NPR2 NZD2 OMR3 PAB2 PEN2 PGK2 PHP2 PKR2 PLN2 "
	"PYG0 QAR2 RON2 RSD2 RUB2 RWF0 SAR2 SBD2 SCR2 SDG2 SEK2 SGD2 SHP2 SLE2 SOS2 SRD2 "
	"SSP2 STN2 SVC2 SYP2 SZL2 THB2 TJS2 TMT2 TND3 TOP2 TRY2 TTD2 TWD2 TZS2 UAH2 UGX0 "
	"USD2 USN2 UYI0 UYU2 UYW4 UZS2 VED2 VES2 VND0 VUV0 WST2 XAD2 XAF0 XCD2 XCG2 XOF0 "
	"XPF0 YER2 ZAR2 ZMW2 ZWG2 ";
/* clang-format on */
#define ENTRY_LENGTH (CURRENCY_LENGTH + 2)

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

/* Compares the codes only, of a currency and of an entry of the table. */
static int
compare_code(const void *currency, const void *entry)
{
	return memcmp(currency, entry, CURRENCY_LENGTH);
}

int
currency_decimals(const char *currency)
{
	const char *entry;

	if (currency == NULL || strlen(currency) != CURRENCY_LENGTH)
		return -1;
	entry = bsearch(currency, minor_units, sizeof(minor_units) / ENTRY_LENGTH, ENTRY_LENGTH,
					compare_code);
	return entry ? entry[CURRENCY_LENGTH] - '0' : -1;
}

Numeric
currency_round(const char *currency, Numeric amount)
{
	int		decimals = currency_decimals(currency);
	Numeric rounded;

	if (decimals < 0 || amount_scale(amount) <= decimals)
		return amount;
	rounded = amount_round(amount, decimals);
	return amount_compare(rounded, amount) == 0 ? amount : rounded;
}

bool
currency_can_express(const char *currency, Numeric amount)
{
	return currency_round(currency, amount) == amount;
}

void
currency_check(const char *currency, Numeric amount, const char *name)
{
	int decimals = currency_decimals(currency);

	if (currency_can_express(currency, amount))
		return;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("\"%s\" has more decimals than %s has", name, currency),
					detail_set("amount", amount_text(amount), "currency", detail_text(currency),
							   "decimals", detail_number(decimals), NULL),
					errhint("Round it to %d decimals before you pass it.", decimals)));
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
