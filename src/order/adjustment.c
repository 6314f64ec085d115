/*
 * adjustment.c
 *		Adjustments as they are stored and shown.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "base/amount.h"
#include "order/adjustment.h"
#include "order/line.h"

typedef void (*Conversion)(const JsonbValue *key, JsonbValue *value);

static bool
key_is(const JsonbValue *key, const char *name)
{
	return key->val.string.len == strlen(name) &&
		   memcmp(key->val.string.val, name, key->val.string.len) == 0;
}

/* Of a line's number only what says which line, whatever zeros there are behind its point. */
static void
to_number(const JsonbValue *key, JsonbValue *value)
{
	bool  is_line_no = key_is(key, "line_no");
	char *text;

	if (value->type != jbvString || !(is_line_no || key_is(key, "amount")))
		return;
	text = pnstrdup(value->val.string.val, value->val.string.len);
	value->val.numeric =
		is_line_no ? int64_to_numeric(strtoll(text, NULL, 10)) : amount_parse(text);
	value->type = jbvNumeric;
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
Jsonb *
adjustment_shown(Jsonb *stored)
{
	if (!amount_as_text() || !JB_ROOT_IS_ARRAY(stored) || JB_ROOT_IS_SCALAR(stored) ||
		JB_ROOT_COUNT(stored) == 0)
		return stored;
	return converted(stored, to_text);
}
