/*
 * guard.h
 *		Refuses what only the engine may write.
 */
#ifndef ORDER_ENGINE_GUARD_H
#define ORDER_ENGINE_GUARD_H

#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "compat.h"

/*
 * Raises OE014 for a direct write to a table of the engine.  `operation` is the
 * SQL command (INSERT, ...); `columns`, a list of names, tells which of them
 * may not be written, NIL: the whole row.  From triggers.
 */
pg_noreturn extern void guard_refuse(Relation rel, const char *operation, List *columns);

#endif							/* ORDER_ENGINE_GUARD_H */
