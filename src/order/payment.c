/*
 * payment.c
 *		Money that came in and money that went back.
 *
 * A webhook always gets a stable answer: every payment is recorded once per
 * (order, kind, payment_ref), and what it meant is decided once, under the row
 * lock of the order, where it meets expiry and cancellation.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "base/amount.h"
#include "base/call.h"
#include "base/currency.h"
#include "base/detail.h"
#include "base/errors.h"
#include "order/order.h"
#include "shop/slot.h"
#include "stock/stock.h"

#define KIND_CAPTURE "capture"
#define KIND_REFUND "refund"

typedef struct PaymentCall
{
	const char *kind;
	char	   *ref;
	Numeric		amount; /* NULL (refunds only): all that is left */
	char	   *currency;
	OrderUpdate update;
	OrderChange change;
} PaymentCall;

PG_FUNCTION_INFO_V1(order_engine_pay_order);
PG_FUNCTION_INFO_V1(order_engine_refund_order);

static RowTable *
open_payments(LockedOrder *order)
{
	return row_open_leaf(&order->scope, SHOP_PAYMENT, slot_of_order(order->row.order_id),
						 &payment_columns);
}

/*
 * The outcome of a payment that was recorded before, NULL if this is a new one.
 * The order's row lock makes the answer final; under REPEATABLE READ a payment
 * that this snapshot cannot see has changed the order's row, so taking that
 * lock has already failed with 40001.
 */
static char *
find_recorded(LockedOrder *order, const char *kind, const char *ref)
{
	RowTable	   *table = open_payments(order);
	TupleTableSlot *slot = row_slot(table);
	Oid				index = row_unique_index(
					table, 3, (const int[]){PAYMENT_ORDER_ID, PAYMENT_KIND, PAYMENT_PAYMENT_REF});
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(order->row.order_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(kind));
	ScanKeyInit(&keys[2], 3, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(ref));
	if (!row_find(table, index, 3, keys, slot))
		return NULL;
	return TextDatumGetCString(row_get_required(table, slot, PAYMENT_OUTCOME));
}

static void
record(LockedOrder *order, PaymentCall *call, const char *outcome)
{
	RowTable	   *table = open_payments(order);
	TupleTableSlot *slot = row_slot(table);

	row_new(table, slot);
	row_set(table, slot, PAYMENT_ORDER_ID, Int64GetDatum(order->row.order_id));
	row_set(table, slot, PAYMENT_KIND, CStringGetTextDatum(call->kind));
	row_set(table, slot, PAYMENT_PAYMENT_REF, CStringGetTextDatum(call->ref));
	row_set(table, slot, PAYMENT_AMOUNT, NumericGetDatum(call->amount));
	if (call->currency)
		row_set(table, slot, PAYMENT_CURRENCY, CStringGetTextDatum(call->currency));
	row_set(table, slot, PAYMENT_OUTCOME, CStringGetTextDatum(outcome));
	row_set(table, slot, PAYMENT_VERSION, Int32GetDatum(order->row.version + 1));
	row_set(
		table, slot, PAYMENT_ATTRIBUTES,
		JsonbPGetDatum(call->change.attributes ? call->change.attributes : call_empty_object()));
	row_set(table, slot, PAYMENT_AT, TimestampTzGetDatum(order->at));
	row_insert(table, slot);
}

/* Records the payment and what it makes of the order: one version, one event. */
static void
apply(LockedOrder *order, PaymentCall *call, const char *event, const char *outcome)
{
	OrderPayment shown = {call->ref, call->amount, outcome};

	record(order, call, outcome);
	call->change.event = event;
	call->change.payment = &shown;
	order_write(order, &call->update, &call->change);
	call->change.payment = NULL;
}

/* The move of this event if the machine and the guard allow it now, else NULL. */
static const Transition *
possible_move(LockedOrder *order, const char *event, Jsonb *attributes)
{
	int				  index = machine_event(order->machine, event);
	const Transition *transition =
		index >= 0 && order->state >= 0 ? machine_move(order->machine, order->state, index) : NULL;

	if (transition == NULL || transition->keeper_only ||
		!order_guard_allows(order->table, order->old, order->machine, transition, attributes))
		return NULL;
	return transition;
}

/*
 * A machine may reserve only when it is paid; what is sold out by then refuses the
 * move.  So do lines that somebody took away: the money is there all the same.
 */
static bool
has_stock(LockedOrder *order, const Transition *move, OrderLines *lines)
{
	if (move->stock == STOCK_NONE)
		return true;
	return order_find_lines(&order->scope, &order->row, lines) &&
		   stock_suffices(&order->scope, move->stock, lines->keys, lines->nkeys);
}

static const char *
pay(LockedOrder *order, PaymentCall *call)
{
	const OrderRow	 *row = &order->row;
	const Transition *move;
	OrderLines		  lines;

	currency_check(call->currency ? call->currency : row->currency, call->amount, "amount");
	if (call->currency && row->currency && pg_strcasecmp(call->currency, row->currency) != 0)
	{
		apply(order, call, "payment_mismatch", "mismatch");
		return "mismatch";
	}

	call->update.captured = amount_add(row->captured, call->amount);
	move = possible_move(order, "pay", call->change.attributes);
	if (move == NULL)
	{
		apply(order, call, "payment", "refund_due");
		return "refund_due";
	}
	if (!order_covers(row, call->update.captured, row->refunded))
	{
		apply(order, call, "payment", "partly_paid");
		return "partly_paid";
	}
	if (!has_stock(order, move, &lines))
	{
		apply(order, call, "payment", "refund_due");
		return "refund_due";
	}
	call->update.transition = move;
	call->change.lines = move->stock == STOCK_NONE ? NULL : &lines;
	if (amount_compare(amount_subtract(call->update.captured, row->refunded), row->amount) > 0)
	{
		apply(order, call, "pay", "overpaid");
		return "overpaid";
	}
	apply(order, call, "pay", "paid");
	return "paid";
}

static void
check_refund(const OrderRow *row, Numeric left, Numeric amount)
{
	if (amount_compare(amount, left) <= 0 && amount_compare(amount, amount_zero()) > 0)
		return;
	ereport(ERROR, (errcode(ERRCODE_OE_REFUND_EXCEEDS),
					errmsg("the refund exceeds what is left of the payments of order " INT64_FORMAT,
						   row->order_id),
					detail_set("captured", amount_text(row->captured), "refunded",
							   amount_text(row->refunded), "given", amount_text(amount), NULL),
					errhint("At most captured - refunded can go back.")));
}

static const char *
refund(LockedOrder *order, PaymentCall *call)
{
	const OrderRow *row = &order->row;
	Numeric			left = amount_subtract(row->captured, row->refunded);
	OrderLines		lines;

	if (call->amount == NULL)
		call->amount = left;
	else
		currency_check(row->currency, call->amount, "amount");
	check_refund(row, left, call->amount);

	call->update.refunded = amount_add(row->refunded, call->amount);
	if (amount_compare(call->update.refunded, row->captured) == 0)
		call->update.transition = possible_move(order, "refund", call->change.attributes);
	if (call->update.transition && !has_stock(order, call->update.transition, &lines))
		call->update.transition = NULL;
	if (call->update.transition && call->update.transition->stock != STOCK_NONE)
		call->change.lines = &lines;
	apply(order, call, call->update.transition ? "refund" : "refund_payment", "refunded");
	return "refunded";
}

Datum
order_engine_pay_order(PG_FUNCTION_ARGS)
{
	static TupleDesc shape; /* of call_row() */
	LockedOrder		 order;
	PaymentCall		 call = {.kind = KIND_CAPTURE};
	const char		*outcome;
	Datum			 values[6];
	bool			 nulls[6] = {false};

	call_require(fcinfo, 0, "order_id");
	call_require(fcinfo, 1, "payment_ref");
	call_require(fcinfo, 2, "amount");
	call.ref = call_text(fcinfo, 1);
	call_check_name(call.ref, "payment_ref");
	call.amount = PG_GETARG_NUMERIC(2);
	amount_check(call.amount, "amount");
	call.currency = currency_parse(call_text(fcinfo, 3));
	call.change.attributes = call_jsonb(fcinfo, 4);
	order_check_attributes(call.change.attributes);
	context_parse(call_jsonb(fcinfo, 5), &call.change.context);

	order_begin(&order, PG_GETARG_INT64(0), "pay_order()");
	outcome = find_recorded(&order, call.kind, call.ref);
	values[1] = BoolGetDatum(outcome != NULL);
	if (outcome == NULL)
		outcome = pay(&order, &call);
	values[0] = CStringGetTextDatum(outcome);
	values[2] = PG_GETARG_DATUM(0);
	values[3] = CStringGetTextDatum(order.row.state);
	values[4] = Int32GetDatum(order.row.version);
	values[5] = datumCopy(NumericGetDatum(order.row.captured), false, -1);
	order_end(&order);
	return call_row(fcinfo, &shape, values, nulls);
}

Datum
order_engine_refund_order(PG_FUNCTION_ARGS)
{
	static TupleDesc shape; /* of call_row() */
	LockedOrder		 order;
	PaymentCall		 call = {.kind = KIND_REFUND};
	bool			 replayed;
	Datum			 values[5];
	bool			 nulls[5] = {false};

	call_require(fcinfo, 0, "order_id");
	call_require(fcinfo, 1, "refund_ref");
	call.ref = call_text(fcinfo, 1);
	call_check_name(call.ref, "refund_ref");
	if (!PG_ARGISNULL(2))
	{
		call.amount = PG_GETARG_NUMERIC(2);
		amount_check(call.amount, "amount");
		if (amount_compare(call.amount, amount_zero()) == 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("\"amount\" of a refund must be positive")));
	}
	call.change.attributes = call_jsonb(fcinfo, 3);
	order_check_attributes(call.change.attributes);
	context_parse(call_jsonb(fcinfo, 4), &call.change.context);

	order_begin(&order, PG_GETARG_INT64(0), "refund_order()");
	replayed = find_recorded(&order, call.kind, call.ref) != NULL;
	if (!replayed)
		(void) refund(&order, &call);
	values[0] = BoolGetDatum(replayed);
	values[1] = PG_GETARG_DATUM(0);
	values[2] = CStringGetTextDatum(order.row.state);
	values[3] = Int32GetDatum(order.row.version);
	values[4] = datumCopy(NumericGetDatum(order.row.refunded), false, -1);
	order_end(&order);
	return call_row(fcinfo, &shape, values, nulls);
}
