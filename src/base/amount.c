/*
 * amount.c
 *		Amounts of money.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "base/amount.h"
#include "base/detail.h"

void
amount_check(Numeric value, const char *name)
{
	size_t length;

	if (numeric_is_nan(value) || numeric_is_inf(value))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" must be a finite number", name)));
	if (amount_compare(value, amount_zero()) < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" must not be negative", name)));
	length = strlen(amount_text(value));
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

char *
amount_text(Numeric a)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(a)));
}
