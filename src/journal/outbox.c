/*
 * outbox.c
 *		Appends events to the outbox journal, and reads them for the relay.
 *
 * Events come in three ways: from the engine (outbox_append), from emit(), and
 * by plain INSERT or COPY, which the BEFORE INSERT trigger checks as emit()
 * checks its arguments.  What the broker would refuse is refused here, in the
 * transaction that has it.  Takes no locks but the leaf's.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/call.h"
#include "base/compat.h"
#include "base/context.h"
#include "base/detail.h"
#include "base/wake.h"
#include "journal/outbox.h"
#include "shop/order_id.h"
#include "shop/owner.h"
#include "shop/shop.h"
#include "shop/slot.h"

/*
 * What a message has beside key, value and the row's own headers: headers that
 * the relay adds, which repeat type and aggregate at most twice, and the
 * record's frame.
 */
#define MESSAGE_OVERHEAD 1024
#define NAME_REPEATS 3

#define MAX_TOPIC_LENGTH 249
#define MAX_AGGREGATETYPE_LENGTH 200
#define MAX_PREFIX_LENGTH (MAX_TOPIC_LENGTH - MAX_AGGREGATETYPE_LENGTH)

PG_FUNCTION_INFO_V1(order_engine_emit);
PG_FUNCTION_INFO_V1(order_engine_outbox_ring);
PG_FUNCTION_INFO_V1(order_engine_outbox_before_insert);

/* the settings, which PostgreSQL sets and resets */
static int max_message_bytes = 1000000;
int		   outbox_retention = 86400;
char	  *outbox_topic_prefix;
int		   outbox_publisher = OUTBOX_TO_NOBODY;

static const struct config_enum_entry publisher_options[] = {
	[OUTBOX_TO_NOBODY] = {"none", OUTBOX_TO_NOBODY, false},
	[OUTBOX_TO_LOG] = {"log", OUTBOX_TO_LOG, false},
	[OUTBOX_TO_KAFKA] = {"kafka", OUTBOX_TO_KAFKA, false},
	{NULL, 0, false},
};

/* ---- checks ---- */

/* The parts of a message whose size counts. */
typedef struct MessageSize
{
	Size names; /* aggregatetype, aggregateid, type */
	Size payload;
	Size headers;
	Size headroom;
} MessageSize;

static void
check_size(const MessageSize *part)
{
	Size size = part->payload + part->headers + NAME_REPEATS * part->names + MESSAGE_OVERHEAD +
				part->headroom;

	if (likely(size <= max_message_bytes))
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
		 errmsg("event is too large to be published"),
		 detail_set("size", detail_number(size), "limit", detail_number(max_message_bytes),
					"payload", detail_number(part->payload), "headers",
					detail_number(part->headers), NULL),
		 errhint(
			 "Publish a reference to the data instead, or raise order_engine.max_message_bytes together with the broker's limits.")));
}

/* Names that the broker keeps from producers, though they have the right characters. */
static bool
is_reserved_topic(const char *value)
{
	static const char *const names[] = {".",
										"..",
										"__consumer_offsets",
										"__transaction_state",
										"__share_group_state",
										"__cluster_metadata"};

	for (int i = 0; i < lengthof(names); i++)
		if (strcmp(value, names[i]) == 0)
			return true;
	return false;
}

static bool
has_only_topic_characters(const char *value)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	return value[strspn(value, allowed)] == '\0';
}

static bool
is_topic_name(const char *value, int max_length)
{
	size_t length = strlen(value);

	return length > 0 && length <= max_length && !is_reserved_topic(value) &&
		   has_only_topic_characters(value);
}

static int
column_detail(const char *column, const char *value)
{
	char *shown = pnstrdup(value, pg_mbcliplen(value, strlen(value), CALL_MAX_NAME_LENGTH));

	return detail_set("column", detail_text(column), "value", detail_text(shown), NULL);
}

static void
check_topic_part(const char *value)
{
	if (!is_topic_name(value, MAX_AGGREGATETYPE_LENGTH))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("aggregatetype cannot be part of a topic's name"),
			 column_detail("aggregatetype", value),
			 errhint(
				 "Use 1 to %d letters, digits, dots, underscores and hyphens, but no name that Kafka reserves.",
				 MAX_AGGREGATETYPE_LENGTH)));
}

/* Consumers take what is of such a type for the truth about an order, or stock. */
static void
check_not_reserved(const char *aggregatetype)
{
	if (aggregatetype && (strcmp(aggregatetype, ORDER_AGGREGATE_TYPE) == 0 ||
						  strcmp(aggregatetype, STOCK_AGGREGATE_TYPE) == 0))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("aggregatetype \"%s\" belongs to the engine", aggregatetype),
			 column_detail("aggregatetype", aggregatetype),
			 errhint("Only the engine publishes events of this type; choose another name for your "
					 "own.")));
}

void
outbox_check_aggregatetype(const char *value)
{
	check_topic_part(value);
	check_not_reserved(value);
}

static void
check_topic(const char *value)
{
	if (!is_topic_name(value, MAX_TOPIC_LENGTH))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("topic is not a name that Kafka accepts"), column_detail("topic", value),
			 errhint(
				 "Use 1 to %d letters, digits, dots, underscores and hyphens, but no name that Kafka reserves.",
				 MAX_TOPIC_LENGTH)));
}

/* The topic that the relay will choose for what names none. */
static void
check_default_topic(const char *aggregatetype)
{
	char topic[MAX_TOPIC_LENGTH + 2]; /* what does not fit is too long already */

	snprintf(topic, sizeof(topic), "%s%s", outbox_topic_prefix, aggregatetype);
	check_topic(topic);
}

static void
check_partition(int32 partition)
{
	if (partition < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("partition must not be negative"),
				 detail_set("column", detail_text("partition"), "value", detail_number(partition),
							NULL),
				 errhint("Leave it null to let the key decide.")));
}

static void
raise_headers(const char *problem, const char *name)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		 errmsg("headers are not what a message can carry"), column_detail(problem, name),
		 errhint(
			 "Headers are a flat JSON object of strings, numbers and nulls, with names of 1 to %d bytes without control characters.",
			 CALL_MAX_NAME_LENGTH)));
}

/*
 * Of a header's value as the relay writes it: of a number all digits, however short it is
 * stored.
 */
static Size
header_size(const JsonbValue *value)
{
	char *text;
	Size  size;

	if (value->type != jbvNumeric)
		return value->type == jbvString ? value->val.string.len : 0;
	text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	size = strlen(text);
	pfree(text);
	return size;
}

/* Raises 22023 unless the headers are a flat object; returns their size in a message. */
static Size
check_headers(Jsonb *headers)
{
	JsonbIterator	  *iterator;
	JsonbValue		   value;
	JsonbIteratorToken token;
	char			  *name = "";
	Size			   size = 0;

	if (headers == NULL)
		return 0;
	if (!JB_ROOT_IS_OBJECT(headers))
		raise_headers("headers", "no object");
	iterator = JsonbIteratorInit(&headers->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			name = pnstrdup(value.val.string.val, value.val.string.len);
			if (!call_is_name(name))
				raise_headers("headers", name);
			size += value.val.string.len + 8;
		}
		else if (token == WJB_VALUE)
		{
			if (value.type != jbvString && value.type != jbvNumeric && value.type != jbvNull)
				raise_headers("headers", name);
			size += header_size(&value);
		}
	}
	return size;
}

/* A row of the outbox, as a trigger meets it. */
typedef struct NewRow
{
	HeapTuple		  tuple;
	TupleDesc		  desc;
	const AttrNumber *attno; /* [OUTBOX_COLUMNS] */
} NewRow;

static Datum
new_get(const NewRow *row, int column, bool *isnull)
{
	return heap_getattr(row->tuple, row->attno[column], row->desc, isnull);
}

/* NULL for null, which NOT NULL refuses later where it must. */
static char *
new_text(const NewRow *row, int column)
{
	bool  isnull;
	Datum value = new_get(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static Size
new_size(const NewRow *row, int column)
{
	bool  isnull;
	Datum value = new_get(row, column, &isnull);

	return isnull ? 0 : toast_raw_datum_size(value) - VARHDRSZ;
}

static void
check_payloads(const NewRow *row)
{
	bool payload_null, bytes_null;

	(void) new_get(row, OUTBOX_PAYLOAD, &payload_null);
	(void) new_get(row, OUTBOX_PAYLOAD_BYTES, &bytes_null);
	if (!payload_null && !bytes_null)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an event has either payload or payload_bytes"),
				 detail_set("columns", detail_texts(list_make2("payload", "payload_bytes")), NULL),
				 errhint("Leave one of them null; both null is a tombstone.")));
}

/* All but the names. */
static void
check_message(const NewRow *row)
{
	MessageSize size = {0};
	char	   *topic = new_text(row, OUTBOX_TOPIC);
	char	   *aggregatetype = new_text(row, OUTBOX_AGGREGATETYPE);
	bool		isnull;
	Datum		value;

	if (topic)
		check_topic(topic);
	else if (aggregatetype)
		check_default_topic(aggregatetype);
	value = new_get(row, OUTBOX_PARTITION, &isnull);
	if (!isnull)
		check_partition(DatumGetInt32(value));
	check_payloads(row);
	value = new_get(row, OUTBOX_HEADERS, &isnull);
	size.headers = check_headers(isnull ? NULL : DatumGetJsonbP(value));
	size.names = new_size(row, OUTBOX_AGGREGATETYPE) + new_size(row, OUTBOX_AGGREGATEID) +
				 new_size(row, OUTBOX_TYPE);
	size.payload = new_size(row, OUTBOX_PAYLOAD) + new_size(row, OUTBOX_PAYLOAD_BYTES);
	check_size(&size);
}

static void
check_names(const char *aggregatetype, const char *aggregateid, const char *type)
{
	check_topic_part(aggregatetype);
	call_check_name(aggregateid, "aggregateid");
	call_check_name(type, "type");
}

/* The names as emit() wants them; what is null its constraint tells better. */
static void
check_new_names(const NewRow *row)
{
	char *aggregatetype = new_text(row, OUTBOX_AGGREGATETYPE);
	char *aggregateid = new_text(row, OUTBOX_AGGREGATEID);
	char *type = new_text(row, OUTBOX_TYPE);

	if (aggregatetype && aggregateid && type)
		check_names(aggregatetype, aggregateid, type);
}

static int64
new_int64(const NewRow *row, int column)
{
	bool  isnull;
	Datum value = new_get(row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/* ---- append ---- */

/* What a row of the outbox says, whoever writes it. */
typedef struct Draft
{
	int64		id;
	const char *aggregatetype;
	const char *aggregateid;
	const char *type;
	const char *payload;
	int			payload_length;
	Jsonb	   *headers;
	const char *topic;
	int32		partition; /* -1: none */
} Draft;

/*
 * Users' BEFORE triggers may enrich a row of the engine, but not change what the
 * journal lives by, nor make the message one that the broker refuses.
 */
static void
check_written(RowTable *table, TupleTableSlot *slot, const Draft *draft, int ring)
{
	bool   should_free;
	NewRow row = {
		.tuple = ExecFetchSlotHeapTuple(slot, false, &should_free),
		.desc = RelationGetDescr(table->rel),
		.attno = table->attno,
	};
	char *aggregatetype = new_text(&row, OUTBOX_AGGREGATETYPE);

	if (new_int64(&row, OUTBOX_ID) != draft->id || new_int64(&row, OUTBOX_ERA) != journal_era() ||
		DatumGetInt32(row_get_required(table, slot, OUTBOX_RING)) != ring ||
		new_int64(&row, OUTBOX_XID) != (int64) U64FromFullTransactionId(GetTopFullTransactionId()))
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("a trigger on table \"%s\" changed a column of the order engine",
						RelationGetRelationName(table->rel)),
				 detail_set("columns", detail_texts(list_make4("id", "xid", "era", "ring")), NULL),
				 errhint("A BEFORE trigger there must leave these columns alone.")));
	check_new_names(&row);
	if (aggregatetype && strcmp(aggregatetype, draft->aggregatetype) != 0)
		check_not_reserved(aggregatetype);
	check_message(&row);
	if (should_free)
		heap_freetuple(row.tuple);
}

static void
append(RowScope *scope, const Draft *draft)
{
	static const ShopTable outbox = SHOP_OUTBOX;
	int					   ring;
	RowTable			  *table;
	TupleTableSlot		  *slot;

	row_lock_tables(&outbox, 1, RowExclusiveLock);
	table = row_open(scope, journal_leaf(JOURNAL_OUTBOX, &ring), &outbox_columns);
	slot = row_slot(table);
	row_new(table, slot);
	row_set(table, slot, OUTBOX_ID, Int64GetDatum(draft->id));
	row_set(table, slot, OUTBOX_AGGREGATETYPE, CStringGetTextDatum(draft->aggregatetype));
	row_set(table, slot, OUTBOX_AGGREGATEID, CStringGetTextDatum(draft->aggregateid));
	row_set(table, slot, OUTBOX_TYPE, CStringGetTextDatum(draft->type));
	if (draft->payload)
		row_set(table, slot, OUTBOX_PAYLOAD,
				PointerGetDatum(cstring_to_text_with_len(draft->payload, draft->payload_length)));
	if (draft->headers)
		row_set(table, slot, OUTBOX_HEADERS, JsonbPGetDatum(draft->headers));
	row_set(table, slot, OUTBOX_CREATED_AT, TimestampTzGetDatum(GetCurrentTimestamp()));
	if (draft->topic)
		row_set(table, slot, OUTBOX_TOPIC, CStringGetTextDatum(draft->topic));
	if (draft->partition >= 0)
		row_set(table, slot, OUTBOX_PARTITION, Int32GetDatum(draft->partition));
	row_set(table, slot, OUTBOX_XID, FullTransactionIdGetDatum(GetTopFullTransactionId()));
	row_set(table, slot, OUTBOX_ERA, Int64GetDatum(journal_era()));
	row_set(table, slot, OUTBOX_RING, Int32GetDatum(ring));
	row_insert(table, slot);
	if (table->user_triggers)
		check_written(table, slot, draft, ring);
	wake_at_commit(WAKE_RELAY);
}

static void
push_header(JsonbParseState **state, const char *name, const char *value)
{
	JsonbValue json = {.type = jbvString};

	if (value == NULL)
		return;
	json.val.string.val = unconstify(char *, name);
	json.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &json);
	json.val.string.val = unconstify(char *, value);
	json.val.string.len = strlen(value);
	pushJsonbValue(state, WJB_VALUE, &json);
}

static Jsonb *
event_headers(const OutboxEvent *event)
{
	JsonbParseState *state = NULL;
	char			 seq[32];

	if (event->seq == 0 && event->traceparent == NULL && event->tracestate == NULL)
		return NULL;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (event->seq != 0)
	{
		pg_lltoa(event->seq, seq);
		push_header(&state, "seq", seq);
	}
	push_header(&state, "traceparent", event->traceparent);
	push_header(&state, "tracestate", event->tracestate);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

int64
outbox_next_id(const char *aggregateid)
{
	char *end = NULL;
	int64 order_id = 0;

	errno = 0;
	if (aggregateid && isdigit((unsigned char) aggregateid[0]))
		order_id = strtoi64(aggregateid, &end, 10);
	if (end == NULL || *end != '\0' || errno != 0)
		return order_id_next(slot_lowest_owned());
	return order_id_next(slot_of_order(order_id));
}

void
outbox_append(RowScope *scope, const OutboxEvent *event)
{
	MessageSize size = {
		.names = strlen(event->aggregatetype) + strlen(event->aggregateid) + strlen(event->type),
		.payload = event->payload_length,
		.headers = event->tracestate ? strlen(event->tracestate) : 0,
		.headroom = event->headroom,
	};
	Draft draft = {
		.id = event->id,
		.aggregatetype = event->aggregatetype,
		.aggregateid = event->aggregateid,
		.type = event->type,
		.payload = event->payload,
		.payload_length = event->payload_length,
		.headers = event_headers(event),
		.partition = -1,
	};

	check_topic_part(event->aggregatetype);
	check_default_topic(event->aggregatetype);
	check_size(&size);
	append(scope, &draft);
}

/* ---- emit() ---- */

/* The session's trace goes along, unless the caller gave one. */
static Jsonb *
add_traceparent(Jsonb *headers)
{
	ActionContext	   context;
	JsonbParseState	  *state = NULL;
	JsonbIterator	  *iterator;
	JsonbIteratorToken token;
	JsonbValue		   value;
	JsonbValue		  *result = NULL;

	context_parse(NULL, &context);
	if (context.traceparent == NULL ||
		getKeyJsonValueFromContainer(&headers->root, "traceparent", strlen("traceparent"), &value))
		return headers;
	iterator = JsonbIteratorInit(&headers->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_END_OBJECT)
			push_header(&state, "traceparent", context.traceparent);
		result =
			pushJsonbValue(&state, token, token == WJB_KEY || token == WJB_VALUE ? &value : NULL);
	}
	return JsonbValueToJsonb(result);
}

/* emit(aggregatetype, aggregateid, type, payload, headers, topic, partition) */
static void
read_draft(FunctionCallInfo fcinfo, Draft *draft)
{
	static const char *const required[] = {"aggregatetype", "aggregateid", "type"};
	MessageSize				 size = {0};

	for (int i = 0; i < lengthof(required); i++)
		call_require(fcinfo, i, required[i]);
	draft->aggregatetype = call_text(fcinfo, 0);
	draft->aggregateid = call_text(fcinfo, 1);
	draft->type = call_text(fcinfo, 2);
	check_names(draft->aggregatetype, draft->aggregateid, draft->type);
	check_not_reserved(draft->aggregatetype);
	draft->payload = call_text(fcinfo, 3);
	draft->payload_length = draft->payload ? strlen(draft->payload) : 0;
	draft->headers = call_jsonb(fcinfo, 4);
	if (draft->headers == NULL)
		draft->headers = call_empty_object();
	size.headers = check_headers(draft->headers);
	draft->headers = add_traceparent(draft->headers);
	if (JB_ROOT_COUNT(draft->headers) == 0)
		draft->headers = NULL;
	draft->topic = call_text(fcinfo, 5);
	if (draft->topic)
		check_topic(draft->topic);
	else
		check_default_topic(draft->aggregatetype);
	draft->partition = -1;
	if (!PG_ARGISNULL(6))
	{
		draft->partition = PG_GETARG_INT32(6);
		check_partition(draft->partition);
	}
	size.names = strlen(draft->aggregatetype) + strlen(draft->aggregateid) + strlen(draft->type);
	size.payload = draft->payload_length;
	check_size(&size);
}

Datum
order_engine_emit(PG_FUNCTION_ARGS)
{
	Draft	   draft;
	OwnerScope owner;
	RowScope   scope;

	read_draft(fcinfo, &draft);
	owner_begin(&owner);
	row_scope_begin(&scope, "order_engine.emit()");
	draft.id = outbox_next_id(draft.aggregateid);
	append(&scope, &draft);
	row_scope_end(&scope);
	owner_end(&owner);
	PG_RETURN_INT64(draft.id);
}

/* ---- plain INSERT and COPY ---- */

/* The default of column ring: where rows are appended now. */
Datum
order_engine_outbox_ring(PG_FUNCTION_ARGS)
{
	static const ShopTable outbox = SHOP_OUTBOX;
	int					   ring;

	row_lock_tables(&outbox, 1, RowExclusiveLock);
	(void) journal_leaf(JOURNAL_OUTBOX, &ring);
	PG_RETURN_INT32(ring);
}

/* The row with what only the engine knows, whatever the writer gave. */
static HeapTuple
stamp_new_row(const NewRow *row)
{
	static const int columns[] = {OUTBOX_ID, OUTBOX_CREATED_AT, OUTBOX_XID, OUTBOX_ERA};
	int				 attnos[lengthof(columns)];
	bool			 nulls[lengthof(columns)] = {0};
	Datum			 values[lengthof(columns)];

	for (int i = 0; i < lengthof(columns); i++)
		attnos[i] = row->attno[columns[i]];
	values[0] = Int64GetDatum(outbox_next_id(new_text(row, OUTBOX_AGGREGATEID)));
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[2] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[3] = Int64GetDatum(journal_era());
	return heap_modify_tuple_by_cols(row->tuple, row->desc, lengthof(columns), attnos, values,
									 nulls);
}

Datum
order_engine_outbox_before_insert(PG_FUNCTION_ARGS)
{
	TriggerData *data = call_row_trigger(fcinfo, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_INSERT);
	AttrNumber	 attno[OUTBOX_COLUMNS];
	NewRow		 row = {data->tg_trigtuple, RelationGetDescr(data->tg_relation), attno};

	if (!journal_is_leaf(JOURNAL_OUTBOX, RelationGetRelid(data->tg_relation)))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("this function can only be called as a trigger of table outbox")));
	row_layout(data->tg_relation, &outbox_columns, attno);
	check_new_names(&row);
	check_not_reserved(new_text(&row, OUTBOX_AGGREGATETYPE));
	check_message(&row);
	wake_at_commit(WAKE_RELAY);
	return PointerGetDatum(stamp_new_row(&row));
}

/* ---- what the relay reads ---- */

/* A chunk in the making. */
typedef struct Chunk
{
	MemoryContext context;
	int			  max_rows;
	Size		  max_bytes;
	OutboxRow	**rows;
	int			  nrows;
	Size		  bytes;
	Oid			  relid; /* whose attribute numbers these are */
	AttrNumber	  attno[OUTBOX_COLUMNS];
} Chunk;

static void
find_attributes(Chunk *chunk, Oid relid)
{
	Relation rel;

	if (chunk->relid == relid)
		return;
	rel = table_open(relid, NoLock); /* the reader has it locked */
	row_layout(rel, &outbox_columns, chunk->attno);
	table_close(rel, NoLock);
	chunk->relid = relid;
}

/* Of a column that is NOT NULL, which may not be validated for rows of before. */
static const char *
copy_name(const Chunk *chunk, TupleTableSlot *slot, int column)
{
	return TextDatumGetCString(row_require(slot, chunk->attno[column]));
}

/* NULL of null. */
static struct varlena *
copy_value(const Chunk *chunk, TupleTableSlot *slot, int column)
{
	bool  isnull;
	Datum value = slot_getattr(slot, chunk->attno[column], &isnull);

	return isnull ? NULL : PG_DETOAST_DATUM_COPY(value);
}

static OutboxRow *
copy_row(const Chunk *chunk, int64 id, TupleTableSlot *slot)
{
	OutboxRow	   *row = palloc(sizeof(OutboxRow));
	struct varlena *topic = copy_value(chunk, slot, OUTBOX_TOPIC);
	struct varlena *payload = copy_value(chunk, slot, OUTBOX_PAYLOAD);
	struct varlena *value = payload ? payload : copy_value(chunk, slot, OUTBOX_PAYLOAD_BYTES);
	bool			isnull;
	Datum			partition = slot_getattr(slot, chunk->attno[OUTBOX_PARTITION], &isnull);

	row->id = id;
	row->created_at = DatumGetTimestampTz(row_require(slot, chunk->attno[OUTBOX_CREATED_AT]));
	row->aggregatetype = copy_name(chunk, slot, OUTBOX_AGGREGATETYPE);
	row->aggregateid = copy_name(chunk, slot, OUTBOX_AGGREGATEID);
	row->type = copy_name(chunk, slot, OUTBOX_TYPE);
	row->topic = topic ? text_to_cstring(topic) : NULL;
	row->partition = isnull ? -1 : DatumGetInt32(partition);
	row->headers = (Jsonb *) copy_value(chunk, slot, OUTBOX_HEADERS);
	row->value = value ? VARDATA(value) : NULL;
	row->value_length = value ? VARSIZE(value) - VARHDRSZ : 0;
	row->binary = value != payload;
	return row;
}

static Size
row_size(const OutboxRow *row)
{
	return sizeof(OutboxRow) + strlen(row->aggregatetype) + strlen(row->aggregateid) +
		   strlen(row->type) + (row->headers ? VARSIZE(row->headers) : 0) + row->value_length;
}

static bool
add_to_chunk(int64 id, TupleTableSlot *slot, void *argument)
{
	Chunk		 *chunk = argument;
	MemoryContext old = MemoryContextSwitchTo(chunk->context);
	OutboxRow	 *row;

	find_attributes(chunk, slot->tts_tableOid);
	row = copy_row(chunk, id, slot);
	chunk->rows[chunk->nrows++] = row;
	chunk->bytes += row_size(row);
	MemoryContextSwitchTo(old);
	return chunk->nrows < chunk->max_rows && chunk->bytes < chunk->max_bytes;
}

int
outbox_read(JournalReader *reader, int max_rows, Size max_bytes, MemoryContext context,
			OutboxRow ***rows)
{
	Chunk chunk = {.context = context, .max_rows = max_rows, .max_bytes = max_bytes};

	chunk.rows = MemoryContextAlloc(context, sizeof(OutboxRow *) * max_rows);
	(void) journal_read(reader, add_to_chunk, &chunk);
	*rows = chunk.rows;
	return chunk.nrows;
}

/* ---- settings ---- */

/* With a prefix that passes, no aggregatetype makes a topic's name too long. */
static bool
check_topic_prefix(char **value, void **extra, GucSource source)
{
	if (strlen(*value) <= MAX_PREFIX_LENGTH && has_only_topic_characters(*value))
		return true;
	GUC_check_errdetail(
		"A prefix of topics is at most %d letters, digits, dots, underscores and hyphens.",
		MAX_PREFIX_LENGTH);
	return false;
}

const char *
outbox_publisher_name(OutboxPublisher publisher)
{
	return publisher_options[publisher].name;
}

void
outbox_init(void)
{
	DefineCustomEnumVariable("order_engine.publisher", "What the relay publishes events to.", NULL,
							 &outbox_publisher, OUTBOX_TO_NOBODY, publisher_options, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable(
		"order_engine.max_message_bytes", "Largest message that the broker accepts.",
		"An event that would be larger is refused in the transaction that has it.",
		&max_message_bytes, 1000000, 16384, MaxAllocSize / 2, PGC_SUSET, GUC_UNIT_BYTE, NULL, NULL,
		NULL);
	DefineCustomIntVariable(
		"order_engine.outbox_retention",
		"How long events are kept at least when order_engine.publisher is none.", NULL,
		&outbox_retention, 86400, 1, INT_MAX / 2, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	/* not PGC_SIGHUP: ALTER DATABASE gives each shop of a cluster its own */
	DefineCustomStringVariable(
		"order_engine.topic_prefix", "Prefix of the topic of events that name none.",
		"The topic is this prefix followed by the aggregate type.", &outbox_topic_prefix,
		"outbox.event.", PGC_SUSET, 0, check_topic_prefix, NULL, NULL);
}
