/*
 * stock.c
 *		The calls: receive_stock(), adjust_stock(), deduct_stock().
 *
 * In row mode the row is locked, which shows what its ref was used for.  In mode escrow
 * the SKU is pinned, and then the ref claimed: in that order, for who has claimed it and
 * then waits for a switch to row mode would be waited for by who has locked the row.
 */
#include "postgres.h"

#include "base/call.h"
#include "base/context.h"
#include "base/detail.h"
#include "base/errors.h"
#include "journal/stock_journal.h"
#include "shop/owner.h"
#include "stock/stock.h"
#include "stock/stock_auto.h"
#include "stock/stock_claim_internal.h"
#include "stock/stock_event_internal.h"
#include "stock/stock_heat_internal.h"
#include "stock/stock_mode_internal.h"
#include "stock/stock_movement_internal.h"
#include "stock/stock_read_internal.h"
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

/* A call at work. */
typedef struct StockCall
{
	RowScope	  scope;
	OwnerScope	  owner;
	StockMovement movement;
	StockRow	  stock;
	EscrowPin	 *pin;	 /* NULL: in row mode */
	bool		  found; /* the row, as the snapshot sees it */
	bool		  replayed;
	int64		  available; /* afterwards */
	bool		  available_known;
	bool		  on_hand_known;
} StockCall;

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
begin(StockCall *call, const char *name)
{
	owner_begin(&call->owner);
	row_scope_begin(&call->scope, name);
	stock_row_open(&call->stock, &call->scope);
}

static void
pin(StockCall *call)
{
	const char *sku = call->movement.sku;

	call->pin = escrow_pin(sku);
	if (call->pin)
		return;
	call->found = stock_row_find(&call->stock, sku) && !call->stock.escrow;
	if (call->stock.escrow)
		call->pin = escrow_pin_unloaded(sku);
}

static void
end(StockCall *call)
{
	row_scope_end(&call->scope);
	owner_end(&call->owner);
}

/* Locks the row; false if there is none. */
static bool
lock(StockCall *call)
{
	if (!stock_row_lock(&call->stock, call->movement.sku))
		return false;
	if (call->stock.escrow)
		call->pin = stock_pin_locked(call->movement.sku);
	return true;
}

static void
lock_known(StockCall *call)
{
	StockShortage shortage = {0};

	if (call->pin || lock(call))
		return;
	stock_shortage_add_unknown(&shortage, call->movement.sku);
	stock_shortage_raise(&shortage);
}

static void
raise_short(const StockCall *call, int64 available)
{
	StockShortage shortage = {0};

	stock_shortage_add_short(&shortage, call->movement.sku, -call->movement.quantity, available);
	stock_shortage_raise(&shortage);
}

static void
check_version(const char *sku, int64 actual, int64 expected)
{
	if (actual != expected)
		ereport(ERROR, (errcode(ERRCODE_OE_VERSION_CONFLICT),
						errmsg("stock of SKU \"%s\" has changed", sku),
						detail_set("sku", detail_text(sku), "expected", detail_number(expected),
								   "actual", detail_number(actual), NULL),
						errhint("Read the stock again and decide anew.")));
}

/* What is lost or broken is gone, whether it is for sale or not. */
static bool
is_sale(const StockMovement *movement)
{
	return strcmp(movement->reason, STOCK_REASON_DEDUCT) == 0;
}

static int64
available_for(const StockRow *stock, const StockMovement *movement)
{
	return is_sale(movement) ? stock_row_available(stock) : stock_row_free(stock);
}

/*
 * Writes the movement and its effect on on_hand, for which the row is locked.
 * False if it is a replay, which is looked at before the version, since a retry
 * carries the old one.  `expected` NULL: whatever the version is.
 */
static bool
move_row(StockCall *call, const int64 *expected)
{
	const StockMovement *movement = &call->movement;

	if (stock_movement_is_replay(&call->scope, movement))
		return false;
	if (expected)
		check_version(movement->sku, call->stock.version, *expected);
	if (movement->quantity < 0 && available_for(&call->stock, movement) < -movement->quantity)
		raise_short(call, available_for(&call->stock, movement));
	stock_row_change(&call->stock, movement->quantity, 0);
	stock_movement_insert(&call->scope, movement);
	return true;
}

/* No row is locked, so the ref itself is claimed: while another has it, that waits. */
static bool
move_escrow(StockCall *call)
{
	const StockMovement *movement = &call->movement;
	int64				 quantity = movement->quantity;
	StockChange			 change = {movement->sku, quantity, 0, escrow_epoch(call->pin)};

	if (!stock_movement_claim(&call->scope, movement))
		return false;
	if (quantity > 0)
		escrow_receive(call->pin, quantity);
	else if (is_sale(movement) && escrow_is_closed(call->pin))
		raise_short(call, STOCK_CLOSED);
	else if (stock_claim(call->pin, -quantity))
		escrow_take(call->pin, -quantity);
	else
		raise_short(call, Min(escrow_free(call->pin), -quantity - 1));
	stock_journal_append(&call->scope, &change);
	return true;
}

/* What the row says is as of the last fold; an old snapshot may not see it at all. */
static void
read_escrow(StockCall *call)
{
	row_scope_refresh(&call->scope);
	call->on_hand_known = stock_row_find(&call->stock, call->movement.sku);
	call->available_known = stock_read_available(call->movement.sku, &call->available);
}

static void
move(StockCall *call, const int64 *expected)
{
	call->replayed = !(call->pin ? move_escrow(call) : move_row(call, expected));
}

static void
finish(StockCall *call)
{
	if (call->pin)
		read_escrow(call);
	else
	{
		call->on_hand_known = call->available_known = true;
		call->available = Max(stock_row_available(&call->stock), 0);
	}
	end(call);
}

/* (on_hand, available, version, replayed) */
static Datum
stock_answer(FunctionCallInfo fcinfo, const StockCall *call)
{
	static TupleDesc desc; /* found once, see call_row() */
	Datum			 values[] = {
				   Int64GetDatum(call->stock.on_hand),
				   Int64GetDatum(call->available),
				   Int64GetDatum(call->stock.version),
				   BoolGetDatum(call->replayed),
	   };
	bool nulls[lengthof(values)] = {!call->on_hand_known, !call->available_known, call->pin != NULL,
									false};

	return call_row(fcinfo, &desc, values, nulls);
}

/* A replay makes no new row of stock that was deleted since. */
static void
receive(StockCall *call)
{
	if (call->pin == NULL && !lock(call))
	{
		call->stock.on_hand = call->stock.reserved = call->stock.version = 0;
		call->stock.open = true;
		call->replayed = stock_movement_is_replay(&call->scope, &call->movement);
		if (call->replayed)
			return;
		stock_row_lock_or_create(&call->stock, call->movement.sku);
		if (call->stock.escrow)
			call->pin = stock_pin_locked(call->movement.sku);
	}
	move(call, NULL);
}

Datum
order_engine_receive_stock(PG_FUNCTION_ARGS)
{
	StockCall call = {0};

	read_movement(fcinfo, "quantity", &call.movement);
	call.movement.reason = read_reason(fcinfo, STOCK_REASON_RECEIPT);
	check_positive(call.movement.quantity);

	begin(&call, "receive_stock()");
	pin(&call);
	receive(&call);
	finish(&call);
	return stock_answer(fcinfo, &call);
}

Datum
order_engine_adjust_stock(PG_FUNCTION_ARGS)
{
	StockCall call = {0};

	read_movement(fcinfo, "delta", &call.movement);
	call.movement.reason = read_reason(fcinfo, STOCK_REASON_ADJUSTMENT);
	check_delta(call.movement.quantity);

	begin(&call, "adjust_stock()");
	pin(&call);
	lock_known(&call);
	move(&call, NULL);
	finish(&call);
	return stock_answer(fcinfo, &call);
}

/*
 * A deduction without a ref of a row that nobody changes meanwhile: no lock is
 * taken before the row is written.  False if that did not go.
 */
static bool
deduct_unlocked(StockCall *call, const int64 *expected)
{
	const StockMovement *movement = &call->movement;
	StockRow			*stock = &call->stock;

	if (call->pin || movement->ref != NULL || !call->found ||
		(expected && stock->version != *expected) ||
		stock_row_available(stock) < -movement->quantity ||
		!stock_row_change_if_unchanged(stock, movement->quantity, 0))
		return false;
	stock_movement_insert(&call->scope, movement);
	return true;
}

/*
 * Before anybody is kept waiting: another version than the row's, or than all that is committed
 * makes of it, is refused.  Where it is the row's, its caller is one who needs versions: the keeper
 * gives them to him.
 */
static void
refuse_outdated(StockCall *call, int64 expected)
{
	const char *sku = call->movement.sku;
	int64		version;

	if (!stock_read_version(sku, &version) || version == expected)
		return;
	if (call->stock.version == expected)
	{
		stock_heat_bar(sku);
		row_check_conflict(NULL);
	}
	check_version(sku, version, expected);
}

/*
 * A version is expected of a SKU that the keeper has switched to mode escrow: back to row
 * mode, which has versions.  True if so; *expected is then the version of that row, if it was that
 * of the row before and nothing has changed that was not in it.  Where this transaction does not
 * commit, since it has changed the stock before, say, the keeper switches, so that its retry
 * succeeds.
 */
static bool
demote(StockCall *call, int64 *expected)
{
	StockRow	   *stock = &call->stock;
	const StockMode row = {.is_auto = true};
	StockMode		old;
	StockRow		before;

	if (stock_movement_is_replay(&call->scope, &call->movement) ||
		!stock_mode_find(stock, call->movement.sku, &old) || !old.escrow || !old.is_auto)
		return false;
	refuse_outdated(call, *expected);
	if (!stock_mode_lock(stock, call->movement.sku, &old) || !old.escrow || !old.is_auto)
		return false;
	stock_heat_bar(call->movement.sku);
	before = *stock;
	(void) stock_mode_change(stock, &old, &row);
	if (before.version == *expected && before.on_hand == stock->on_hand &&
		before.reserved == stock->reserved)
		*expected = stock->version;
	row_scope_refresh(&call->scope);
	return true;
}

/*
 * A fold raises the version, whoever else does nothing.  A retry carries the one of its first
 * call.
 */
static void
check_has_versions(StockCall *call, const int64 *expected)
{
	if (call->pin == NULL || expected == NULL ||
		stock_movement_is_replay(&call->scope, &call->movement))
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		 errmsg("stock of SKU \"%s\" is in mode escrow, which has no version to expect",
				call->movement.sku),
		 errhint(
			 "Deduct without \"expected_version\", which takes only what is there, or switch the SKU back with order_engine.set_stock_mode(sku, 'row').")));
}

Datum
order_engine_deduct_stock(PG_FUNCTION_ARGS)
{
	static TupleDesc desc; /* found once, see call_row() */
	StockCall		 call = {0};
	int64			 version = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	const int64		*expected = PG_ARGISNULL(2) ? NULL : &version;
	Datum			 values[2];
	bool			 nulls[lengthof(values)] = {false};

	read_movement(fcinfo, "quantity", &call.movement);
	check_positive(call.movement.quantity);
	call.movement.reason = STOCK_REASON_DEDUCT;
	call.movement.quantity = -call.movement.quantity;

	begin(&call, "deduct_stock()");
	if (!expected || !demote(&call, &version))
		pin(&call);
	if (!deduct_unlocked(&call, expected))
	{
		lock_known(&call);
		check_has_versions(&call, expected);
		move(&call, expected);
	}
	finish(&call);

	values[0] = Int64GetDatum(call.available);
	values[1] = Int64GetDatum(call.stock.version);
	nulls[0] = !call.available_known;
	nulls[1] = call.pin != NULL;
	return call_row(fcinfo, &desc, values, nulls);
}

void
stock_init(void)
{
	stock_claim_init();
	stock_shortage_init();
	stock_event_init();
	stock_heat_init();
	stock_auto_init();
}
