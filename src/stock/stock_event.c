/*
 * stock_event.c
 *		Events of stock, and the contract that consumers rely on
 *		(doc/stock_event.schema.json): fields may be added, never changed.
 *
 * What counts is the row, version by version: whoever writes one notes here what it was
 * and what it is.  So each crossing is told once, by the transaction that made it, under
 * the row's lock, which is held until it ends; and events of a SKU come in the order of
 * its versions.  The row of a SKU in mode escrow is written by folds.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "base/context.h"
#include "journal/outbox.h"
#include "stock/stock_event_internal.h"

#define SOLD_OUT "sold_out"
#define AVAILABLE "available"

static bool stock_events; /* the setting, which PostgreSQL sets and resets */

bool
stock_event_wanted(void)
{
	return stock_events;
}

static int64
available(const StockState *state)
{
	return state->open ? state->on_hand - state->reserved : 0;
}

static void
build_payload(StringInfo json, const OutboxEvent *event, const char *name, int64 version,
			  const StockState *state)
{
	static const int utc = 0;
	char			 at[MAXDATELEN + 1];

	JsonEncodeDateTime(at, TimestampTzGetDatum(GetCurrentTimestamp()), TIMESTAMPTZOID, &utc);
	appendStringInfo(json,
					 "{\"schema_version\":1,\"event_id\":\"" INT64_FORMAT "\",\"sku\":", event->id);
	escape_json(json, event->aggregateid);
	appendStringInfo(json,
					 ",\"version\":" INT64_FORMAT
					 ",\"event\":\"%s\",\"at\":\"%s\",\"on_hand\":" INT64_FORMAT
					 ",\"reserved\":" INT64_FORMAT ",\"available\":" INT64_FORMAT ",\"open\":%s}",
					 version, name, at, state->on_hand, state->reserved, available(state),
					 state->open ? "true" : "false");
}

static void
publish(RowScope *scope, const char *sku, int64 version, const char *name, const StockState *state)
{
	ActionContext  session;
	StringInfoData json;
	OutboxEvent	   event = {
		   .id = outbox_next_id(sku),
		   .aggregatetype = STOCK_AGGREGATE_TYPE,
		   .aggregateid = sku,
		   .type = psprintf("%s.%s", STOCK_AGGREGATE_TYPE, name),
		   .seq = version,
	   };

	context_parse(NULL, &session);
	event.traceparent = session.traceparent;
	initStringInfo(&json);
	build_payload(&json, &event, name, version, state);
	event.payload = json.data;
	event.payload_length = json.len;
	outbox_append(scope, &event);
}

void
stock_event_note(RowScope *scope, const char *sku, int64 version, const StockState *before,
				 const StockState *after)
{
	bool was_available = available(before) > 0;
	bool is_available = available(after) > 0;

	if (stock_events && was_available != is_available)
		publish(scope, sku, version, is_available ? AVAILABLE : SOLD_OUT, after);
}

void
stock_event_init(void)
{
	/* not PGC_SIGHUP: ALTER DATABASE decides it for each shop of a cluster */
	DefineCustomBoolVariable(
		"order_engine.stock_events",
		"Publishes an event when a SKU sells out, and when it is available again.", NULL,
		&stock_events, false, PGC_SUSET, 0, NULL, NULL, NULL);
}
