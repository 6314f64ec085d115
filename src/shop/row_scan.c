/*
 * row_scan.c
 *		Rows read by an index of their table without a scope.
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "shop/row_scan.h"

void
row_scan_open(RowScan *scan, Relation rel, ShopTable table, Snapshot snapshot, int ncolumns,
			  const AttrNumber *columns)
{
	scan->rel = rel;
	scan->index = row_open_index(rel, ncolumns, columns);
	scan->slot = table_slot_create(rel, NULL);
	scan->snapshot = snapshot ? RegisterSnapshot(snapshot) : row_reading_snapshot(&rel, &table, 1);
	scan->scan = compat_index_beginscan(rel, scan->index, scan->snapshot, ncolumns);
}

void
row_scan_begin(RowScan *scan, ScanKey keys)
{
	index_rescan(scan->scan, keys, scan->scan->numberOfKeys, NULL, 0);
}

bool
row_scan_next(RowScan *scan, ScanDirection direction)
{
	CHECK_FOR_INTERRUPTS();
	return index_getnext_slot(scan->scan, direction, scan->slot);
}

void
row_scan_close(RowScan *scan, LOCKMODE lockmode)
{
	index_endscan(scan->scan);
	UnregisterSnapshot(scan->snapshot);
	ExecDropSingleTupleTableSlot(scan->slot);
	index_close(scan->index, lockmode);
	table_close(scan->rel, lockmode);
}
