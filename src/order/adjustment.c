/*
 * adjustment.c
 *		Adjustments as they are stored and shown.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "base/amount.h"
#include "order/adjustment.h"

typedef void (*Conversion)(const JsonbValue *key, JsonbValue *value);

static bool
key_is(const JsonbValue *key, const char *name)
{
	return key->val.string.len == strlen(name) &&
		   memcmp(key->val.string.val, name, key->val.string.len) == 0;
}

/* Only its whole digits, whatever zeros there are behind its point. */
static void
to_count(JsonbValue *value)
{
	char *text = value->type == jbvString ? pnstrdup(value->val.string.val, value->val.string.len)
										  : amount_text(value->val.numeric);

	value->val.numeric = int64_to_numeric(strtoll(text, NULL, 10));
	value->type = jbvNumeric;
}

static void
to_number(const JsonbValue *key, JsonbValue *value)
{
	if (key_is(key, "line_no") || key_is(key, "quantity"))
		to_count(value);
	else if (value->type == jbvString && key_is(key, "amount"))
	{
		value->val.numeric = amount_parse(pnstrdup(value->val.string.val, value->val.string.len));
		value->type = jbvNumeric;
	}
}

static void
to_text(const JsonbValue *key, JsonbValue *value)
{
	char *text;

	if (value->type != jbvNumeric || !key_is(key, "amount"))
		return;
	text = amount_text(value->val.numeric);
	value->type = jbvString;
	value->val.string.val = text;
	value->val.string.len = strlen(text);
}

/* The array with the values of its objects converted; a key that is null was not given. */
static Jsonb *
converted(Jsonb *adjustments, Conversion convert)
{
	JsonbIterator	  *it = JsonbIteratorInit(&adjustments->root);
	JsonbParseState	  *state = NULL;
	JsonbValue		  *result = NULL;
	JsonbValue		   key;
	JsonbValue		   value;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if (token != WJB_KEY)
		{
			result = pushJsonbValue(&state, token, token < WJB_BEGIN_ARRAY ? &value : NULL);
			continue;
		}
		key = value;
		JsonbIteratorNext(&it, &value, true);
		if (value.type == jbvNull)
			continue;
		convert(&key, &value);
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbValueToJsonb(result);
}

Jsonb *
adjustment_stored(Jsonb *given)
{
	return JB_ROOT_COUNT(given) == 0 ? given : converted(given, to_number);
}

Jsonb *
adjustment_rounded(Jsonb *stored, Numeric rounding)
{
	char *added;

	if (rounding == NULL)
		return stored;
	added = psprintf("[{\"kind\": \"%s\", \"amount\": %s}]", LINE_ROUNDING, amount_text(rounding));
	return DatumGetJsonbP(
		DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(stored),
							DirectFunctionCall1(jsonb_in, CStringGetDatum(added))));
}

/* What a restore has copied may be anything. */
static bool
is_list(Jsonb *stored)
{
	return JB_ROOT_IS_ARRAY(stored) && !JB_ROOT_IS_SCALAR(stored) && JB_ROOT_COUNT(stored) > 0;
}

/* False if the adjustment takes nothing. */
static bool
read_stock(JsonbContainer *adjustment, StockLine *line)
{
	JsonbValue key;
	JsonbValue quantity;
	bool	   failed;

	if (!getKeyJsonValueFromContainer(adjustment, "stock_key", strlen("stock_key"), &key) ||
		!getKeyJsonValueFromContainer(adjustment, "quantity", strlen("quantity"), &quantity) ||
		key.type != jbvString || quantity.type != jbvNumeric)
		return false;
	line->stock_key = pnstrdup(key.val.string.val, key.val.string.len);
	line->quantity = numeric_int4_opt_error(quantity.val.numeric, &failed);
	return !failed && line->quantity > 0;
}

void
adjustment_add_stock(Jsonb *stored, OrderLines *lines)
{
	StockLine *taken;
	int		   n = 0;

	if (!is_list(stored))
		return;
	taken = palloc(sizeof(StockLine) * JB_ROOT_COUNT(stored));
	for (int i = 0; i < JB_ROOT_COUNT(stored); i++)
	{
		JsonbValue *adjustment = getIthJsonbValueFromContainer(&stored->root, i);

		if (adjustment->type == jbvBinary && JsonContainerIsObject(adjustment->val.binary.data) &&
			read_stock(adjustment->val.binary.data, &taken[n]))
			n++;
	}
	if (n > 0)
		line_add_stock(lines, taken, n);
}

Jsonb *
adjustment_shown(Jsonb *stored)
{
	if (!amount_as_text() || !is_list(stored))
		return stored;
	return converted(stored, to_text);
}
