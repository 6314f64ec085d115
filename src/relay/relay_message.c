/*
 * relay_message.c
 *		Builds the message of an event.  Pure functions.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "relay/relay_message.h"

#define OWN_HEADERS 3 /* id, type, content-type */
#define JSON_TYPE "application/json"

static void
set_header(PublisherHeader *header, const char *name, const char *value, size_t length)
{
	header->name = name;
	header->value = value;
	header->length = length;
}

/* A header's value as text: strings without quotes, the rest as JSON; JSON's null is a null. */
static void
set_header_from_json(PublisherHeader *header, const char *name, const JsonbValue *value)
{
	char *text;

	switch (value->type)
	{
		case jbvNull:
			set_header(header, name, NULL, 0);
			return;
		case jbvString:
			set_header(header, name, value->val.string.val, value->val.string.len);
			return;
		case jbvNumeric:
			text = DatumGetCString(
				DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
			break;
		case jbvBool:
			text = value->val.boolean ? "true" : "false";
			break;
		default:
			text = JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
			break;
	}
	set_header(header, name, text, strlen(text));
}

/* `id` and `type` are the event's own, whatever the row says. */
static bool
is_reserved(const char *name)
{
	return strcmp(name, "id") == 0 || strcmp(name, "type") == 0;
}

/* Sets out[] to the row's headers; returns how many, and whether content-type is among them. */
static int
add_row_headers(Jsonb *headers, PublisherHeader *out, bool *content_type)
{
	JsonbIterator	  *it = JsonbIteratorInit(&headers->root);
	JsonbValue		   value;
	JsonbIteratorToken token;
	const char		  *name = NULL;
	int				   n = 0;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE && !is_reserved(name))
		{
			set_header_from_json(&out[n++], name, &value);
			if (pg_strcasecmp(name, "content-type") == 0)
				*content_type = true;
		}
	}
	return n;
}

static void
build_headers(const OutboxRow *row, PublisherMessage *message)
{
	int				 room = OWN_HEADERS + (row->headers ? JB_ROOT_COUNT(row->headers) : 0);
	PublisherHeader *headers = palloc(sizeof(PublisherHeader) * room);
	char			*id = palloc(MAXINT8LEN + 1);
	int				 id_length = pg_lltoa(row->id, id);
	bool			 content_type = false;
	int				 n = 0;

	set_header(&headers[n++], "id", id, id_length);
	set_header(&headers[n++], "type", row->type, strlen(row->type));
	if (row->headers)
		n += add_row_headers(row->headers, headers + n, &content_type);
	if (!content_type && row->value && !row->binary)
		set_header(&headers[n++], "content-type", JSON_TYPE, strlen(JSON_TYPE));
	message->headers = headers;
	message->nheaders = n;
}

void
relay_message_build(const OutboxRow *row, const char *topic_prefix, PublisherMessage *message)
{
	message->topic = row->topic ? row->topic : psprintf("%s%s", topic_prefix, row->aggregatetype);
	message->partition = row->partition;
	message->key = row->aggregateid;
	message->key_length = strlen(row->aggregateid);
	message->value = row->value;
	message->value_length = row->value_length;
	build_headers(row, message);
}
