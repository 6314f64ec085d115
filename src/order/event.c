/*
 * event.c
 *		Writes order_event, and the event contract that consumers rely on
 *		(doc/event.schema.json): fields may be added, never changed.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "base/amount.h"
#include "base/call.h"
#include "journal/outbox.h"
#include "order/adjustment.h"
#include "order/event.h"
#include "shop/order_id.h"
#include "shop/slot.h"

/*
 * The event that brings new attributes of the order, the first one not least,
 * leaves this much room below the size limit, so that no later one, a payment
 * least of all, is refused for its size.
 */
#define LATER_EVENTS_HEADROOM 16384

static RowTable *
open_events(RowScope *scope, int64 order_id)
{
	return row_open_leaf(scope, SHOP_ORDER_EVENT, slot_of_order(order_id), &event_columns);
}

static void
set_text(RowTable *table, TupleTableSlot *slot, int column, const char *value)
{
	if (value)
		row_set(table, slot, column, CStringGetTextDatum(value));
}

static void
insert_event(RowScope *scope, const OrderRow *row, const OrderChange *change)
{
	RowTable	   *table = open_events(scope, row->order_id);
	TupleTableSlot *slot = row_slot(table);

	row_new(table, slot);
	row_set(table, slot, EVENT_ORDER_ID, Int64GetDatum(row->order_id));
	row_set(table, slot, EVENT_VERSION, Int32GetDatum(row->version));
	set_text(table, slot, EVENT_EVENT, change->event);
	set_text(table, slot, EVENT_FROM_STATE, change->from_state);
	set_text(table, slot, EVENT_TO_STATE, row->state);
	set_text(table, slot, EVENT_ACTOR, change->context.actor);
	set_text(table, slot, EVENT_REASON, change->context.reason);
	set_text(table, slot, EVENT_IDEMPOTENCY_KEY, change->idempotency_key);
	row_set(table, slot, EVENT_ATTRIBUTES,
			JsonbPGetDatum(change->attributes ? change->attributes : call_empty_object()));
	set_text(table, slot, EVENT_TRACEPARENT, change->context.traceparent);
	row_set(table, slot, EVENT_AT, TimestampTzGetDatum(change->at));
	row_insert(table, slot);
}

static void
json_id(StringInfo json, const char *key, int64 id)
{
	char text[32];

	pg_lltoa(id, text);
	appendStringInfoString(json, key);
	appendStringInfoChar(json, '"');
	appendStringInfoString(json, text);
	appendStringInfoChar(json, '"');
}

static void
json_text(StringInfo json, const char *key, const char *value)
{
	appendStringInfoString(json, key);
	if (value)
		escape_json(json, value);
	else
		appendStringInfoString(json, "null");
}

static void
json_amount(StringInfo json, const char *key, Numeric value)
{
	appendStringInfoString(json, key);
	amount_append_json(json, value);
}

static void
json_field(StringInfo json, const char *key, Jsonb *value)
{
	appendStringInfoString(json, key);
	if (value)
		(void) JsonbToCString(json, &value->root, VARSIZE(value));
	else
		appendStringInfoString(json, "{}");
}

static void
json_payment(StringInfo json, const OrderPayment *payment)
{
	appendStringInfoString(json, ",\"payment\":");
	if (payment == NULL)
	{
		appendStringInfoString(json, "null");
		return;
	}
	json_text(json, "{\"ref\":", payment->ref);
	json_amount(json, ",\"amount\":", payment->amount);
	json_text(json, ",\"outcome\":", payment->outcome);
	appendStringInfoChar(json, '}');
}

static void
build_payload(StringInfo json, int64 event_id, const OrderRow *row, const OrderChange *change,
			  const OrderLines *lines)
{
	static const int utc = 0;
	char			 text[MAXDATELEN + 1];

	appendStringInfoString(json, "{\"schema_version\":1");
	json_id(json, ",\"event_id\":", event_id);
	json_id(json, ",\"order_id\":", row->order_id);
	json_id(json, ",\"user_id\":", row->user_id);
	appendStringInfoString(json, ",\"version\":");
	pg_ltoa(row->version, text);
	appendStringInfoString(json, text);
	json_text(json, ",\"event\":", change->event);
	json_text(json, ",\"from\":", change->from_state);
	json_text(json, ",\"to\":", row->state);
	JsonEncodeDateTime(text, TimestampTzGetDatum(change->at), TIMESTAMPTZOID, &utc);
	json_text(json, ",\"at\":", text);
	json_amount(json, ",\"amount\":", row->amount);
	json_text(json, ",\"currency\":", row->currency);
	json_amount(json, ",\"captured\":", row->captured);
	json_amount(json, ",\"refunded\":", row->refunded);
	json_amount(json, ",\"refund_due\":", order_row_refund_due(change->machine, row));
	json_payment(json, change->payment);
	appendStringInfoString(json, ",\"lines\":");
	line_json(json, lines);
	json_field(json, ",\"adjustments\":", adjustment_shown(row->adjustments));
	json_field(json, ",\"attributes\":", row->attributes);
	json_field(json, ",\"event_attributes\":", change->attributes);
	appendStringInfoChar(json, '}');
}

/* The type of what is published, NULL for what is not. */
static const char *
publish_type(const OrderChange *change)
{
	if (change->transition)
		return change->transition->publish;
	if (strcmp(change->event, "update") == 0)
		return ORDER_AGGREGATE_TYPE ".updated";
	return psprintf("%s.%s", ORDER_AGGREGATE_TYPE, change->event);
}

static void
publish(RowScope *scope, const OrderRow *row, const OrderChange *change, const char *type)
{
	char			  aggregateid[32];
	OrderLines		  read;
	const OrderLines *lines = change->lines;
	StringInfoData	  json;
	OutboxEvent		  event = {
			  .id = order_id_next(slot_of_order(row->order_id)),
			  .aggregatetype = ORDER_AGGREGATE_TYPE,
			  .aggregateid = aggregateid,
			  .type = type,
			  .seq = row->version,
			  .traceparent = change->context.traceparent,
			  .tracestate = change->context.tracestate,
			  .headroom = change->leaves_room ? LATER_EVENTS_HEADROOM : 0,
	  };

	if (lines == NULL)
	{
		line_read(scope, row->order_id, &read);
		lines = &read;
	}
	pg_lltoa(row->order_id, aggregateid);
	initStringInfo(&json);
	build_payload(&json, event.id, row, change, lines);
	event.payload = json.data;
	event.payload_length = json.len;
	outbox_append(scope, &event);
}

void
event_append(RowScope *scope, const OrderRow *row, const OrderChange *change)
{
	const char *type = publish_type(change);

	insert_event(scope, row, change);
	if (type)
		publish(scope, row, change, type);
}

static Oid
events_index(RowTable *table)
{
	return row_unique_index(table, 2, (const int[]){EVENT_ORDER_ID, EVENT_VERSION});
}

bool
event_exists(RowScope *scope, int64 order_id, int version)
{
	RowTable   *table = open_events(scope, order_id);
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(order_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(version));
	return row_find(table, events_index(table), 2, keys, row_slot(table));
}

/* The row lock of the order makes what is found here final: nobody else can add a version now. */
bool
event_find_key(RowScope *scope, int64 order_id, const char *idempotency_key, char **event,
			   char **to_state, int *version, TimestampTz *at)
{
	RowTable   *table = open_events(scope, order_id);
	ScanKeyData key;
	ListCell   *lc;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(order_id));
	foreach(lc, row_find_all(table, events_index(table), 1, &key))
	{
		TupleTableSlot *slot = lfirst(lc);
		bool			isnull;
		Datum			found = row_get(table, slot, EVENT_IDEMPOTENCY_KEY, &isnull);

		if (isnull || strcmp(TextDatumGetCString(found), idempotency_key) != 0)
			continue;
		*event = TextDatumGetCString(row_get_required(table, slot, EVENT_EVENT));
		*to_state = TextDatumGetCString(row_get_required(table, slot, EVENT_TO_STATE));
		*version = DatumGetInt32(row_get_required(table, slot, EVENT_VERSION));
		*at = DatumGetTimestampTz(row_get_required(table, slot, EVENT_AT));
		return true;
	}
	return false;
}
