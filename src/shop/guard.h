/*
 * guard.h
 *		Refuses what only the engine may write.
 */
#ifndef ORDER_ENGINE_GUARD_H
#define ORDER_ENGINE_GUARD_H

#include "commands/trigger.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "base/compat.h"

/* The SQL command (INSERT, ...) that fired a trigger. */
extern const char *guard_operation(TriggerEvent event);

/*
 * Raises OE014 for a direct write to a table of the engine.  `operation` as
 * guard_operation() says it; `columns`, a list of names, tells which of them may
 * not be written, NIL: the whole row.  From triggers.
 */
pg_noreturn extern void guard_refuse(Relation rel, const char *operation, List *columns);

#endif /* ORDER_ENGINE_GUARD_H */
