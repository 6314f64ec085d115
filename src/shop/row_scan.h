/*
 * row_scan.h
 *		Rows read by an index of their table without a scope: as any role, on standbys,
 *		in read-only transactions and parallel workers.
 *
 * No plan, no transaction id, and nothing is executed for a row.
 */
#ifndef ORDER_ENGINE_ROW_SCAN_H
#define ORDER_ENGINE_ROW_SCAN_H

#include "access/genam.h"
#include "access/sdir.h"

#include "shop/row.h"

typedef struct RowScan
{
	Relation		rel;
	Relation		index;
	Snapshot		snapshot;
	IndexScanDesc	scan;
	TupleTableSlot *slot; /* the row; its values are good until the next call */
} RowScan;

/*
 * For a relation that row_open_for_reading() or row_open_leaf_for_reading() gave, by
 * a unique index whose first columns are these.  `snapshot` NULL: what
 * row_reading_snapshot() says of this relation.  55000 if there is no such index.
 */
extern void row_scan_open(RowScan *scan, Relation rel, ShopTable table, Snapshot snapshot,
						  int ncolumns, const AttrNumber *columns);

/* Begins with the rows that these keys give, one for each of the columns; any number of times. */
extern void row_scan_begin(RowScan *scan, ScanKey keys);

/* False when there are no more. */
extern bool row_scan_next(RowScan *scan, ScanDirection direction);

/* Closes the relation too.  `lockmode`: the lock to give back, as table_close() has it. */
extern void row_scan_close(RowScan *scan, LOCKMODE lockmode);

#endif /* ORDER_ENGINE_ROW_SCAN_H */
