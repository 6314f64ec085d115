/*
 * amount.c
 *		Amounts of money; owns order_engine.amounts_as.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "base/amount.h"
#include "base/detail.h"

typedef enum AmountForm
{
	AMOUNT_NUMBER,
	AMOUNT_TEXT
} AmountForm;

static const struct config_enum_entry forms[] = {
	{"number", AMOUNT_NUMBER, false},
	{"text", AMOUNT_TEXT, false},
	{NULL, 0, false},
};

/* the setting, which PostgreSQL sets and resets */
static int setting_form = AMOUNT_NUMBER;

void
amount_init(void)
{
	DefineCustomEnumVariable("order_engine.amounts_as", "How events and documents show amounts.",
							 "As JSON numbers, or as text: the same digits in a string.",
							 &setting_form, AMOUNT_NUMBER, forms, PGC_SUSET, 0, NULL, NULL, NULL);
}

void
amount_check(Numeric value, const char *name)
{
	if (numeric_is_nan(value) || numeric_is_inf(value))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" must be a finite number", name)));
	if (amount_compare(value, amount_zero()) < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" must not be negative", name)));
	amount_check_length(value, name);
}

void
amount_check_length(Numeric value, const char *name)
{
	size_t length = strlen(amount_text(value));

	if (length > AMOUNT_MAX_LENGTH)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" must be at most %d characters long", name, AMOUNT_MAX_LENGTH),
			 detail_set("length", detail_number(length), "limit", detail_number(AMOUNT_MAX_LENGTH),
						NULL),
			 errhint("What is given or computed for an order is limited to that, sign and decimal "
					 "point included.")));
}

Numeric
amount_add(Numeric a, Numeric b)
{
	return numeric_add_opt_error(a, b, NULL);
}

Numeric
amount_subtract(Numeric a, Numeric b)
{
	return numeric_sub_opt_error(a, b, NULL);
}

int
amount_compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

Numeric
amount_zero(void)
{
	static Numeric zero; /* made once, in TopMemoryContext, for ever */

	if (zero == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		zero = int64_to_numeric(0);
		MemoryContextSwitchTo(old);
	}
	return zero;
}

Numeric
amount_round(Numeric a, int decimals)
{
	return DatumGetNumeric(
		DirectFunctionCall2(numeric_round, NumericGetDatum(a), Int32GetDatum(decimals)));
}

int
amount_scale(Numeric a)
{
	return DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(a)));
}

char *
amount_text(Numeric a)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(a)));
}

Numeric
amount_parse(const char *text)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

bool
amount_as_text(void)
{
	return setting_form == AMOUNT_TEXT;
}

void
amount_append_json(StringInfo json, Numeric a)
{
	if (amount_as_text())
		appendStringInfoChar(json, '"');
	appendStringInfoString(json, amount_text(a));
	if (amount_as_text())
		appendStringInfoChar(json, '"');
}
