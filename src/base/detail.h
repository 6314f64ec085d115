/*
 * detail.h
 *		The DETAIL of an error: one line, a JSON object, that programs read.
 *
 *		ereport(ERROR, (errcode(...), errmsg(...),
 *						detail_set("order_id", detail_id(id), "state", detail_text(state), NULL),
 *						errhint(...)));
 *
 * It is never translated.  All that is returned is palloc'ed JSON.
 */
#ifndef ORDER_ENGINE_DETAIL_H
#define ORDER_ENGINE_DETAIL_H

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

/* Inside ereport(): the DETAIL, an object as detail_object() makes it of the same arguments. */
#define detail_set(...) errdetail_internal("%s", detail_object(__VA_ARGS__))

/*
 * An object of pairs of a name and a value, ended by NULL.  A value is JSON as these
 * functions make it; a pair whose value is NULL is left out.
 */
extern char *detail_object(const char *name, ...) __attribute__((sentinel));

/* Adds a pair to an object, which is "{}" at first. */
extern void detail_add(StringInfo object, const char *name, const char *value);

/* A string; null for NULL. */
extern char *detail_text(const char *value);

/* A number; an id, which is a string, as in events; a time, in UTC. */
extern char *detail_number(int64 value);
extern char *detail_id(int64 value);
extern char *detail_time(TimestampTz value);

/* An array of values; of strings. */
extern char *detail_array(const List *values);
extern char *detail_texts(const List *strings);

#endif /* ORDER_ENGINE_DETAIL_H */
