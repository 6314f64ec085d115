/*
 * stock_open.c
 *		set_stock_open(): whether a SKU is for sale.
 *
 * Under the row's lock, as any change of it: a sale that is under way is waited for, and
 * one that comes later is judged by the row as it has become.  Sales in mode escrow do not
 * touch the row, so there the SKU is barred as a switch of its mode does it, and the entry
 * is closed at the commit, behind the bar.  Either way nobody who has found it open commits
 * after the one who closed it.
 */
#include "postgres.h"

#include "base/call.h"
#include "base/context.h"
#include "shop/owner.h"
#include "stock/escrow.h"
#include "stock/stock_mode_internal.h"
#include "stock/stock_movement_internal.h"
#include "stock/stock_row_internal.h"
#include "stock/stock_shortage_internal.h"

PG_FUNCTION_INFO_V1(order_engine_set_stock_open);

static void
lock_known(StockRow *stock, const char *sku, StockMode *mode)
{
	StockShortage shortage = {0};

	if (stock_mode_lock(stock, sku, mode))
		return;
	stock_shortage_add_unknown(&shortage, sku);
	stock_shortage_raise(&shortage);
}

/* No units move; the audit says all the same who did it. */
static void
record(RowScope *scope, const char *sku, bool open, const char *actor)
{
	StockMovement movement = {
		.sku = sku,
		.reason = open ? STOCK_REASON_OPENED : STOCK_REASON_CLOSED,
		.actor = actor,
	};

	stock_movement_insert(scope, &movement);
}

static void
set_open(StockRow *stock, const StockMode *mode, bool open)
{
	if (mode->escrow)
	{
		escrow_bar(stock->sku, false);
		escrow_close_at_commit(stock->sku, !open);
	}
	stock_row_set_open(stock, open);
}

Datum
order_engine_set_stock_open(PG_FUNCTION_ARGS)
{
	char		 *sku;
	bool		  open;
	bool		  changed;
	ActionContext context;
	StockRow	  stock;
	StockMode	  mode;
	RowScope	  scope;
	OwnerScope	  owner;

	call_require(fcinfo, 0, "sku");
	call_require(fcinfo, 1, "open");
	sku = call_text(fcinfo, 0);
	call_check_name(sku, "sku");
	open = PG_GETARG_BOOL(1);
	context_parse(call_jsonb(fcinfo, 2), &context);

	owner_begin(&owner);
	row_scope_begin(&scope, "set_stock_open()");
	stock_row_open(&stock, &scope);
	lock_known(&stock, sku, &mode);
	changed = stock.open != open;
	if (changed)
	{
		set_open(&stock, &mode, open);
		record(&scope, sku, open, context.actor);
	}
	row_scope_end(&scope);
	owner_end(&owner);
	PG_RETURN_BOOL(changed);
}
