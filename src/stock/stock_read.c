/*
 * stock_read.c
 *		What is available: available(), availability().
 *
 * Under the caller's snapshot (row_reading_snapshot()) and without a scope.  The
 * locks are given back at once: who looks and then reserves must not come to write
 * with a lock of reading in hand, for which REINDEX waits.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/fmgroids.h"

#include "shop/row_scan.h"
#include "shop/shop.h"

PG_FUNCTION_INFO_V1(order_engine_available);
PG_FUNCTION_INFO_V1(order_engine_availability);

typedef struct StockReader
{
	RowScan	   rows; /* by sku */
	AttrNumber on_hand;
	AttrNumber reserved;
	AttrNumber open;
} StockReader;

static void
reader_open(StockReader *reader)
{
	Relation   stock = row_open_for_reading(SHOP_STOCK);
	AttrNumber attno[STOCK_COLUMNS];

	row_layout(stock, &stock_columns, attno);
	reader->on_hand = attno[STOCK_ON_HAND];
	reader->reserved = attno[STOCK_RESERVED];
	reader->open = attno[STOCK_OPEN];
	row_scan_open(&reader->rows, stock, SHOP_STOCK, NULL, 1, &attno[STOCK_SKU]);
}

/* What can be sold of a SKU, null if there is none of that name. */
static Datum
reader_get(StockReader *reader, Datum sku, bool *isnull)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ, sku);
	row_scan_begin(&reader->rows, &key);
	*isnull = !row_scan_next(&reader->rows, ForwardScanDirection);
	if (*isnull)
		return (Datum) 0;
	if (!DatumGetBool(row_require(reader->rows.slot, reader->open)))
		return Int64GetDatum(0);
	return Int64GetDatum(DatumGetInt64(row_require(reader->rows.slot, reader->on_hand)) -
						 DatumGetInt64(row_require(reader->rows.slot, reader->reserved)));
}

Datum
order_engine_available(PG_FUNCTION_ARGS)
{
	StockReader reader;
	Datum		available;
	bool		isnull;

	reader_open(&reader);
	available = reader_get(&reader, PG_GETARG_DATUM(0), &isnull);
	row_scan_close(&reader.rows, AccessShareLock);
	if (isnull)
		PG_RETURN_NULL();
	return available;
}

Datum
order_engine_availability(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	StockReader	   reader;
	Datum		  *skus;
	bool		  *missing;
	int			   nskus;

	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &skus, &missing,
					  &nskus);
	reader_open(&reader);
	for (int i = 0; i < nskus; i++)
	{
		Datum values[2] = {skus[i], (Datum) 0};
		bool  nulls[2] = {missing[i], true};

		CHECK_FOR_INTERRUPTS(); /* a null asks for no row */
		if (!missing[i])
			values[1] = reader_get(&reader, skus[i], &nulls[1]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	row_scan_close(&reader.rows, AccessShareLock);
	return (Datum) 0;
}
