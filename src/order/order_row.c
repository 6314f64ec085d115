/*
 * order_row.c
 *		The row of an order as C values.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "base/amount.h"
#include "base/call.h"
#include "order/order_row.h"

void
order_row_read(const AttrNumber *attno, TupleTableSlot *slot, OrderRow *row)
{
	bool  isnull;
	Datum value;

#define GET(column) row_require(slot, attno[column])
	row->order_id = DatumGetInt64(GET(ORDER_ORDER_ID));
	row->user_id = DatumGetInt64(GET(ORDER_USER_ID));
	row->state = TextDatumGetCString(GET(ORDER_STATE));
	row->machine_id = DatumGetInt32(GET(ORDER_MACHINE_ID));
	row->version = DatumGetInt32(GET(ORDER_VERSION));
	row->amount = DatumGetNumeric(GET(ORDER_AMOUNT));
	row->captured = DatumGetNumeric(GET(ORDER_CAPTURED));
	row->refunded = DatumGetNumeric(GET(ORDER_REFUNDED));
	row->adjustments = DatumGetJsonbP(GET(ORDER_ADJUSTMENTS));
	row->attributes = DatumGetJsonbP(GET(ORDER_ATTRIBUTES));
	value = slot_getattr(slot, attno[ORDER_CURRENCY], &isnull);
	row->currency = isnull ? NULL : TextDatumGetCString(value);
	row->due_at = DatumGetTimestampTz(slot_getattr(slot, attno[ORDER_DUE_AT], &isnull));
	row->has_due_at = !isnull;
	(void) slot_getattr(slot, attno[ORDER_REQUEST_HASH], &isnull);
	row->has_lines = !isnull;
#undef GET
}

void
order_row_new(OrderValues *row, const Machine *machine, TimestampTz now, const Interval *due)
{
	memset(row->nulls, true, sizeof(row->nulls));
	order_row_set(row, ORDER_STATE, CStringGetTextDatum(machine->states[machine->creation->to]));
	order_row_set(row, ORDER_MACHINE_ID, Int32GetDatum(machine->machine_id));
	order_row_set(row, ORDER_VERSION, Int32GetDatum(1));
	order_row_set(row, ORDER_SUBTOTAL, NumericGetDatum(amount_zero()));
	order_row_set(row, ORDER_AMOUNT, NumericGetDatum(amount_zero()));
	order_row_set(row, ORDER_CAPTURED, NumericGetDatum(amount_zero()));
	order_row_set(row, ORDER_REFUNDED, NumericGetDatum(amount_zero()));
	order_row_set(row, ORDER_ADJUSTMENTS, JsonbPGetDatum(call_empty_array()));
	order_row_set(row, ORDER_ATTRIBUTES, JsonbPGetDatum(call_empty_object()));
	order_row_set(row, ORDER_PRIVATE, JsonbPGetDatum(call_empty_object()));
	order_row_set(row, ORDER_CREATED_AT, TimestampTzGetDatum(now));
	order_row_set(row, ORDER_UPDATED_AT, TimestampTzGetDatum(now));
	if (due)
		order_row_set(row, ORDER_DUE_AT, order_row_due_at(now, due));
}

Datum
order_row_due_at(TimestampTz now, const Interval *due)
{
	return DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now),
							   IntervalPGetDatum((Interval *) due));
}

Numeric
order_row_refund_due(const Machine *machine, const OrderRow *row)
{
	int		state = machine_state(machine, row->state);
	Numeric kept = amount_subtract(row->captured, row->refunded);
	Numeric due =
		state >= 0 && machine->void_state[state] ? kept : amount_subtract(kept, row->amount);

	return amount_compare(due, amount_zero()) > 0 ? due : amount_zero();
}
