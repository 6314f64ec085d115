/*
 * stock_statistics.c
 *		What SKUs in mode escrow, and fought over ones in mode row, tell: stat_stock.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "base/call.h"
#include "stock/escrow_entry_internal.h"
#include "stock/stock_heat_internal.h"
#include "stock/stock_row_internal.h"

PG_FUNCTION_INFO_V1(order_engine_stock_statistics);

enum
{
	STAT_SKU,
	STAT_MODE,
	STAT_FREE,
	STAT_IN_FLIGHT,
	STAT_TAKEN,
	STAT_REFUSED,
	STAT_WAITS,
	STAT_FOLDS,
	STAT_LAST_FOLD,
	STAT_COLUMNS
};

static void
put_escrow(ReturnSetInfo *result, const EscrowStatistics *statistics)
{
	Datum values[STAT_COLUMNS] = {
		[STAT_SKU] = CStringGetTextDatum(statistics->sku),
		[STAT_MODE] = CStringGetTextDatum(STOCK_ESCROW_MODE),
		[STAT_FREE] = Int64GetDatum(statistics->free),
		[STAT_IN_FLIGHT] = Int64GetDatum(statistics->in_flight),
		[STAT_TAKEN] = Int64GetDatum(statistics->taken),
		[STAT_REFUSED] = Int64GetDatum(statistics->refused),
		[STAT_WAITS] = Int64GetDatum(statistics->waits),
		[STAT_FOLDS] = Int64GetDatum(statistics->folds),
	};
	bool nulls[STAT_COLUMNS] = {[STAT_FREE] = !statistics->open};

	call_set_time(&values[STAT_LAST_FOLD], &nulls[STAT_LAST_FOLD], statistics->last_fold);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* StockHeatVisitor.  A SKU that was in mode row before it came to escrow is shown as what it is. */
static void
put_row(const char *sku, int64 waits, void *argument)
{
	ReturnSetInfo *result = argument;
	Datum		   values[STAT_COLUMNS] = {
				 [STAT_SKU] = CStringGetTextDatum(sku),
				 [STAT_MODE] = CStringGetTextDatum(STOCK_ROW_MODE),
				 [STAT_WAITS] = Int64GetDatum(waits),
	 };
	bool	  nulls[STAT_COLUMNS];
	EscrowKey key;
	int64	  free;

	escrow_key_set(&key, sku);
	if (escrow_entry_look(&key, &free) != ESCROW_NONE)
		return;
	memset(nulls, true, sizeof(nulls));
	nulls[STAT_SKU] = nulls[STAT_MODE] = nulls[STAT_WAITS] = false;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
order_engine_stock_statistics(PG_FUNCTION_ARGS)
{
	ReturnSetInfo	 *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EscrowStatistics *statistics;
	int				  n;

	InitMaterializedSRF(fcinfo, 0);
	statistics = escrow_entry_statistics(&n);
	for (int i = 0; i < n; i++)
		put_escrow(result, &statistics[i]);
	stock_heat_visit(put_row, result);
	return (Datum) 0;
}
