/*
 * call.h
 *		What every SQL-callable function does with its arguments and results.
 */
#ifndef ORDER_ENGINE_CALL_H
#define ORDER_ENGINE_CALL_H

#include "access/tupdesc.h"
#include "commands/trigger.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/jsonb.h"

/* Raises 22004, naming the argument, if argument n is null. */
extern void call_require(FunctionCallInfo fcinfo, int n, const char *name);

/* What a trigger is called with; 39P01 unless the function was called as a trigger. */
extern TriggerData *call_trigger(FunctionCallInfo fcinfo);

/*
 * The same of a row trigger: 39P01 unless `timing` (TRIGGER_TYPE_BEFORE or _AFTER)
 * and one of `events` (TRIGGER_TYPE_INSERT | ...) are what it was fired for, since
 * a table's owner may hang the function where he likes.
 */
extern TriggerData *call_row_trigger(FunctionCallInfo fcinfo, int timing, int events);

/* Argument n as a C string, palloc'ed, NULL for null. */
extern char *call_text(FunctionCallInfo fcinfo, int n);

/* NULL for the null of JSON, which is what many clients send for what they do not have. */
extern Jsonb *call_present(Jsonb *value);

/* Argument n as jsonb, where it is or palloc'ed, NULL for null, be it SQL's or JSON's. */
extern Jsonb *call_jsonb(FunctionCallInfo fcinfo, int n);

/* True if one of its characters is below the space, or DEL. */
extern bool call_has_control_characters(const char *value);

/* Names and references are 1 to 255 bytes long without control characters: asks; raises 22023. */
#define CALL_MAX_NAME_LENGTH 255
extern bool call_is_name(const char *value);
extern void call_check_name(const char *value, const char *name);

/* Raises 22023 unless the value is a JSON object (NULL passes). */
extern void call_check_object(Jsonb *value, const char *name);

/* The JSON object {} and the array []: constants, to be left as they are. */
extern Jsonb *call_empty_object(void);
extern Jsonb *call_empty_array(void);

/* Columns of a row to be returned: null for a time of 0, and for a text that is NULL. */
extern void call_set_time(Datum *value, bool *isnull, TimestampTz time);
extern void call_set_text(Datum *value, bool *isnull, const char *text);

/*
 * The row that a function with OUT parameters returns.  `cache` is a static
 * variable of the function: its shape is found once in a backend, and again if
 * the function's row type is another one since.
 */
extern Datum call_row(FunctionCallInfo fcinfo, TupleDesc *cache, Datum *values, bool *nulls);

#endif /* ORDER_ENGINE_CALL_H */
