/*
 * shape.h
 *		What C code relies on in the shop's tables, which their owner may alter.
 */
#ifndef ORDER_ENGINE_SHAPE_H
#define ORDER_ENGINE_SHAPE_H

#include "utils/rel.h"

#include "shop/columns.h"

/*
 * Raises 55000, naming the column, unless every column that the engine knows
 * exists in the tables of this schema with the type and the NOT NULL that
 * setup() gave it, and the tables are of the kind that it made and partitioned
 * as it did.  Reads the system caches only, takes no locks.
 */
extern void shape_check(Oid schema);

/*
 * The same for a relation that is open and locked: a plain table, or a leaf,
 * that is to have these columns.  Fills in where they stand; [columns->ncolumns].
 */
extern void shape_check_open(Relation rel, const RowColumns *columns, AttrNumber *attno);

#endif /* ORDER_ENGINE_SHAPE_H */
