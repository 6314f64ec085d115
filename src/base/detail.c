/*
 * detail.c
 *		The DETAIL of an error as a JSON object.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "base/detail.h"

void
detail_add(StringInfo object, const char *name, const char *value)
{
	if (value == NULL)
		return;
	object->len--; /* the brace */
	appendStringInfoString(object, object->len > 1 ? ", \"" : "\"");
	appendStringInfoString(object, name);
	appendStringInfoString(object, "\": ");
	appendStringInfoString(object, value);
	appendStringInfoChar(object, '}');
}

char *
detail_object(const char *name, ...)
{
	StringInfoData json;
	va_list		   values;

	initStringInfo(&json);
	appendStringInfoString(&json, "{}");
	va_start(values, name);
	for (; name; name = va_arg(values, const char *))
		detail_add(&json, name, va_arg(values, const char *));
	va_end(values);
	return json.data;
}

char *
detail_text(const char *value)
{
	StringInfoData json;

	if (value == NULL)
		return pstrdup("null");
	initStringInfo(&json);
	escape_json(&json, value);
	return json.data;
}

char *
detail_number(int64 value)
{
	char *text = palloc(MAXINT8LEN + 1);

	pg_lltoa(value, text);
	return text;
}

char *
detail_id(int64 value)
{
	return psprintf("\"" INT64_FORMAT "\"", value);
}

char *
detail_time(TimestampTz value)
{
	static const int utc = 0;

	return detail_text(JsonEncodeDateTime(NULL, TimestampTzGetDatum(value), TIMESTAMPTZOID, &utc));
}

char *
detail_array(const List *values)
{
	StringInfoData json;
	ListCell	  *lc;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	foreach(lc, values)
	{
		if (foreach_current_index(lc) > 0)
			appendStringInfoString(&json, ", ");
		appendStringInfoString(&json, lfirst(lc));
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}

char *
detail_texts(const List *strings)
{
	List	 *values = NIL;
	ListCell *lc;

	foreach(lc, strings)
		values = lappend(values, detail_text(lfirst(lc)));
	return detail_array(values);
}
