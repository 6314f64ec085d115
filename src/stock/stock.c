/*
 * stock.c
 *		The calls: receive_stock(), adjust_stock(), deduct_stock().
 */
#include "postgres.h"

#include "base/call.h"
#include "base/context.h"
#include "base/detail.h"
#include "base/errors.h"
#include "shop/owner.h"
#include "stock/stock.h"
#include "stock/stock_event_internal.h"
#include "stock/stock_movement_internal.h"
#include "stock/stock_row_internal.h"
#include "stock/stock_shortage_internal.h"

PG_FUNCTION_INFO_V1(order_engine_receive_stock);
PG_FUNCTION_INFO_V1(order_engine_adjust_stock);
PG_FUNCTION_INFO_V1(order_engine_deduct_stock);

/* Reads the reason, argument 2; some belong to orders, deductions and the trigger. */
static const char *
read_reason(FunctionCallInfo fcinfo, const char *by_default)
{
	static const char *const reserved[] = {STOCK_REASON_DIRECT,		 STOCK_REASON_DEDUCT,
										   STOCK_REASON_CONFIRM,	 STOCK_REASON_RESTOCK,
										   STOCK_REASON_RESERVATION, STOCK_REASON_OPENED,
										   STOCK_REASON_CLOSED,		 STOCK_REASON_RECONCILE};
	const char				*reason;

	if (PG_ARGISNULL(2))
		return by_default;
	reason = call_text(fcinfo, 2);
	call_check_name(reason, "reason");
	for (int i = 0; i < lengthof(reserved); i++)
		if (strcmp(reason, reserved[i]) == 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("reason \"%s\" is reserved", reason),
							errhint("The engine writes it itself; choose another word.")));
	return reason;
}

static void
check_positive(int64 quantity)
{
	if (quantity <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"quantity\" must be positive")));
}

static void
check_delta(int64 delta)
{
	if (delta == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"delta\" must not be zero")));
	if (delta == PG_INT64_MIN) /* it has no negative */
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("\"delta\" is out of range")));
}

/* All three take sku, quantity (or delta), something of their own, ref, context. */
static void
read_movement(FunctionCallInfo fcinfo, const char *quantity, StockMovement *movement)
{
	ActionContext parsed;

	call_require(fcinfo, 0, "sku");
	call_require(fcinfo, 1, quantity);
	context_parse(call_jsonb(fcinfo, 4), &parsed);
	movement->sku = call_text(fcinfo, 0);
	movement->quantity = PG_GETARG_INT64(1);
	movement->ref = call_text(fcinfo, 3);
	movement->actor = parsed.actor;
	call_check_name(movement->sku, "sku");
	if (movement->ref)
		call_check_name(movement->ref, "ref");
}

static void
lock_known(StockRow *stock, const char *sku)
{
	StockShortage shortage = {0};

	if (stock_row_lock(stock, sku))
		return;
	stock_shortage_add_unknown(&shortage, sku);
	stock_shortage_raise(&shortage);
}

static void
check_version(const StockRow *stock, int64 expected)
{
	if (stock->version != expected)
		ereport(ERROR,
				(errcode(ERRCODE_OE_VERSION_CONFLICT),
				 errmsg("stock of SKU \"%s\" has changed", stock->sku),
				 detail_set("sku", detail_text(stock->sku), "expected", detail_number(expected),
							"actual", detail_number(stock->version), NULL),
				 errhint("Read the stock again and decide anew.")));
}

static void
check_available(const StockRow *stock, int64 quantity, int64 available)
{
	StockShortage shortage = {0};

	if (available >= quantity)
		return;
	stock_shortage_add_short(&shortage, stock->sku, quantity, available);
	stock_shortage_raise(&shortage);
}

/* What is lost or broken is gone, whether it is for sale or not. */
static int64
available_for(const StockRow *stock, const StockMovement *movement)
{
	return strcmp(movement->reason, STOCK_REASON_DEDUCT) == 0 ? stock_row_available(stock)
															  : stock_row_free(stock);
}

/*
 * Writes the movement and its effect on on_hand, for which the row is locked.
 * False if it is a replay, which is looked at before the version, since a retry
 * carries the old one.  `expected` NULL: whatever the version is.
 */
static bool
move_stock(StockRow *stock, const StockMovement *movement, const int64 *expected)
{
	if (stock_movement_is_replay(stock->scope, movement))
		return false;
	if (expected)
		check_version(stock, *expected);
	if (movement->quantity < 0)
		check_available(stock, -movement->quantity, available_for(stock, movement));
	stock_row_change(stock, movement->quantity, 0);
	stock_movement_insert(stock->scope, movement);
	return true;
}

/* (on_hand, available, version, replayed) */
static Datum
stock_answer(FunctionCallInfo fcinfo, const StockRow *stock, bool replayed)
{
	static TupleDesc desc; /* found once, see call_row() */
	Datum			 values[] = {
				   Int64GetDatum(stock->on_hand),
				   Int64GetDatum(Max(stock_row_available(stock), 0)),
				   Int64GetDatum(stock->version),
				   BoolGetDatum(replayed),
	   };
	bool nulls[lengthof(values)] = {false};

	return call_row(fcinfo, &desc, values, nulls);
}

/* True unless it is a replay, which makes no new row of stock that was deleted since. */
static bool
receive(StockRow *stock, const StockMovement *movement)
{
	if (!stock_row_lock(stock, movement->sku))
	{
		stock->on_hand = stock->reserved = stock->version = 0;
		stock->open = true;
		if (stock_movement_is_replay(stock->scope, movement))
			return false;
		stock_row_lock_or_create(stock, movement->sku);
	}
	return move_stock(stock, movement, NULL);
}

Datum
order_engine_receive_stock(PG_FUNCTION_ARGS)
{
	StockMovement movement;
	StockRow	  stock;
	RowScope	  scope;
	OwnerScope	  owner;
	bool		  moved;

	read_movement(fcinfo, "quantity", &movement);
	movement.reason = read_reason(fcinfo, STOCK_REASON_RECEIPT);
	check_positive(movement.quantity);

	owner_begin(&owner);
	row_scope_begin(&scope, "receive_stock()");
	stock_row_open(&stock, &scope);
	moved = receive(&stock, &movement);
	row_scope_end(&scope);
	owner_end(&owner);
	return stock_answer(fcinfo, &stock, !moved);
}

Datum
order_engine_adjust_stock(PG_FUNCTION_ARGS)
{
	StockMovement movement;
	StockRow	  stock;
	RowScope	  scope;
	OwnerScope	  owner;
	bool		  moved;

	read_movement(fcinfo, "delta", &movement);
	movement.reason = read_reason(fcinfo, STOCK_REASON_ADJUSTMENT);
	check_delta(movement.quantity);

	owner_begin(&owner);
	row_scope_begin(&scope, "adjust_stock()");
	stock_row_open(&stock, &scope);
	lock_known(&stock, movement.sku);
	moved = move_stock(&stock, &movement, NULL);
	row_scope_end(&scope);
	owner_end(&owner);
	return stock_answer(fcinfo, &stock, !moved);
}

/*
 * A deduction without a ref of a row that nobody changes meanwhile: no lock is
 * taken before the row is written.  False if that did not go.
 */
static bool
deduct_unlocked(StockRow *stock, const StockMovement *movement, const int64 *expected)
{
	if (movement->ref != NULL || !stock_row_find(stock, movement->sku) ||
		(expected && stock->version != *expected) ||
		stock_row_available(stock) < -movement->quantity ||
		!stock_row_change_if_unchanged(stock, movement->quantity, 0))
		return false;
	stock_movement_insert(stock->scope, movement);
	return true;
}

Datum
order_engine_deduct_stock(PG_FUNCTION_ARGS)
{
	static TupleDesc desc; /* found once, see call_row() */
	StockMovement	 movement;
	StockRow		 stock;
	RowScope		 scope;
	OwnerScope		 owner;
	int64			 version = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	const int64		*expected = PG_ARGISNULL(2) ? NULL : &version;
	Datum			 values[2];
	bool			 nulls[lengthof(values)] = {false};

	read_movement(fcinfo, "quantity", &movement);
	check_positive(movement.quantity);
	movement.reason = STOCK_REASON_DEDUCT;
	movement.quantity = -movement.quantity;

	owner_begin(&owner);
	row_scope_begin(&scope, "deduct_stock()");
	stock_row_open(&stock, &scope);
	if (!deduct_unlocked(&stock, &movement, expected))
	{
		lock_known(&stock, movement.sku);
		(void) move_stock(&stock, &movement, expected);
	}
	row_scope_end(&scope);
	owner_end(&owner);

	values[0] = Int64GetDatum(Max(stock_row_available(&stock), 0));
	values[1] = Int64GetDatum(stock.version);
	return call_row(fcinfo, &desc, values, nulls);
}

void
stock_init(void)
{
	stock_shortage_init();
	stock_event_init();
}
