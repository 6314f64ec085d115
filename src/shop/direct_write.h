/*
 * direct_write.h
 *		Refuses what only the engine may write.
 */
#ifndef ORDER_ENGINE_DIRECT_WRITE_H
#define ORDER_ENGINE_DIRECT_WRITE_H

#include "commands/trigger.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "base/compat.h"

/* The SQL command (INSERT, ...) that fired a trigger. */
extern const char *direct_write_operation(TriggerEvent event);

/*
 * Raises OE014 for a direct write to a table of the engine.  `operation` as
 * direct_write_operation() says it; `columns`, a list of names, tells which of
 * them may not be written, NIL: the whole row.  From triggers.
 */
pg_noreturn extern void direct_write_refuse(Relation rel, const char *operation, List *columns);

#endif /* ORDER_ENGINE_DIRECT_WRITE_H */
