/*
 * property.h
 *		Configuration properties of a publisher: `name=value` pairs, written
 *		like a libpq connection string or as a .properties file.
 */
#ifndef ORDER_ENGINE_PROPERTY_H
#define ORDER_ENGINE_PROPERTY_H

#include "nodes/pg_list.h"

typedef struct Property
{
	char *name;
	char *value;
	bool  secret; /* must not be shown or logged */
} Property;

/*
 * Appends what `text` says to *properties (Property).  Syntax of a libpq
 * connection string: `name=value`, values with spaces in single quotes,
 * backslash escapes.  False and *error (palloc'ed, quoting nothing of `text`) if
 * it cannot be parsed.
 */
extern bool property_parse(const char *text, List **properties, char **error);

/*
 * The same for a file in .properties format: one `name=value` or `name: value`
 * a line, comments after # or ! at its start, a backslash escapes and continues.
 */
extern bool property_read_file(const char *path, List **properties, char **error);

/* A copy of `text` (as property_parse() takes it) fit to be shown: values of secrets replaced. */
extern char *property_mask(const char *text);

#endif /* ORDER_ENGINE_PROPERTY_H */
