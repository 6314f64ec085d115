/*
 * call.c
 *		Arguments and results of SQL-callable functions.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_trigger.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/call.h"

void
call_require(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("\"%s\" must not be null", name)));
}

TriggerData *
call_trigger(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("this function can only be called as a trigger")));
	return (TriggerData *) fcinfo->context;
}

TriggerData *
call_row_trigger(FunctionCallInfo fcinfo, int timing, int events)
{
	TriggerData *data = call_trigger(fcinfo);
	TriggerEvent fired = data->tg_event;
	int			 event = TRIGGER_FIRED_BY_INSERT(fired)	  ? TRIGGER_TYPE_INSERT
						 : TRIGGER_FIRED_BY_UPDATE(fired) ? TRIGGER_TYPE_UPDATE
						 : TRIGGER_FIRED_BY_DELETE(fired) ? TRIGGER_TYPE_DELETE
														  : TRIGGER_TYPE_TRUNCATE;
	bool		 in_time =
		timing == TRIGGER_TYPE_BEFORE ? TRIGGER_FIRED_BEFORE(fired) : TRIGGER_FIRED_AFTER(fired);

	if (!TRIGGER_FIRED_FOR_ROW(fired) || !in_time || !(event & events))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("trigger \"%s\" calls a function that is not for this event",
							   data->tg_trigger->tgname)));
	return data;
}

char *
call_text(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

Jsonb *
call_present(Jsonb *value)
{
	bool is_null = JB_ROOT_IS_SCALAR(value) && JBE_ISNULL(value->root.children[0]);

	return is_null ? NULL : value;
}

Jsonb *
call_jsonb(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : call_present(PG_GETARG_JSONB_P(n));
}

bool
call_has_control_characters(const char *value)
{
	for (const char *c = value; *c; c++)
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			return true;
	return false;
}

bool
call_is_name(const char *value)
{
	size_t length = strlen(value);

	return length >= 1 && length <= CALL_MAX_NAME_LENGTH && !call_has_control_characters(value);
}

void
call_check_name(const char *value, const char *name)
{
	size_t length = strlen(value);

	if (length < 1 || length > CALL_MAX_NAME_LENGTH)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" must be 1 to %d bytes long", name, CALL_MAX_NAME_LENGTH),
						errdetail("It is %zu bytes long.", length)));
	if (call_has_control_characters(value))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" must not contain control characters", name)));
}

void
call_check_object(Jsonb *value, const char *name)
{
	if (value && !JB_ROOT_IS_OBJECT(value))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" must be a JSON object", name)));
}

Jsonb *
call_empty_object(void)
{
	static Jsonb empty = {0}; /* a constant: {} */

	SET_VARSIZE(&empty, sizeof(Jsonb));
	empty.root.header = JB_FOBJECT;
	return &empty;
}

Jsonb *
call_empty_array(void)
{
	static Jsonb empty = {0}; /* a constant: [] */

	SET_VARSIZE(&empty, sizeof(Jsonb));
	empty.root.header = JB_FARRAY;
	return &empty;
}

void
call_set_time(Datum *value, bool *isnull, TimestampTz time)
{
	*value = TimestampTzGetDatum(time);
	*isnull = (time == 0);
}

void
call_set_text(Datum *value, bool *isnull, const char *text)
{
	*value = text ? CStringGetTextDatum(text) : (Datum) 0;
	*isnull = (text == NULL);
}

Datum
call_row(FunctionCallInfo fcinfo, TupleDesc *cache, Datum *values, bool *nulls)
{
	/* a named row type goes with DROP EXTENSION; CREATE EXTENSION makes another one */
	if (*cache == NULL || (*cache)->tdtypeid != get_func_rettype(fcinfo->flinfo->fn_oid))
	{
		TupleDesc	  desc;
		MemoryContext old;

		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		old = MemoryContextSwitchTo(TopMemoryContext);
		*cache = BlessTupleDesc(CreateTupleDescCopy(desc));
		MemoryContextSwitchTo(old);
	}
	return HeapTupleGetDatum(heap_form_tuple(*cache, values, nulls));
}
