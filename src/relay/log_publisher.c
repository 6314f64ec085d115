/*
 * log_publisher.c
 *		A publisher that writes each message to the server log: for trying
 *		things out without a broker.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "relay/publisher.h"

/* One message at a time: its outcome is collected before the next is taken. */
typedef struct LogPublisher
{
	bool   pending;
	uint64 tag;
} LogPublisher;

static void *
log_open(const char *client_id, List *properties, char **error)
{
	return MemoryContextAllocZero(TopMemoryContext, sizeof(LogPublisher));
}

/* pg_mbcliplen() counts a character as whole of which the value has the first bytes only. */
static int
shown_length(const PublisherMessage *message)
{
	int length = (int) message->value_length;

	return Min(length, pg_mbcliplen(message->value, length, 1024));
}

static PublisherResult
log_publish(void *state, const PublisherMessage *message)
{
	LogPublisher *log = state;

	if (log->pending)
		return PUBLISHER_FULL;
	ereport(LOG, (errmsg("event for topic \"%s\": key \"%.*s\", %zu bytes", message->topic,
						 (int) message->key_length, message->key ? message->key : "",
						 message->value_length),
				  message->value == NULL
					  ? 0
					  : errdetail_internal("%.*s", shown_length(message), message->value)));
	log->pending = true;
	log->tag = message->tag;
	return PUBLISHER_OK;
}

static int
log_poll(void *state, PublisherOutcome *outcomes, int max, bool *broken)
{
	LogPublisher *log = state;

	*broken = false;
	if (!log->pending || max < 1)
		return 0;
	log->pending = false;
	outcomes[0].tag = log->tag;
	outcomes[0].status = PUBLISHER_DELIVERED;
	return 1;
}

static pgsocket
log_descriptor(void *state)
{
	return PGINVALID_SOCKET;
}

static const char *
log_last_error(void *state)
{
	return "";
}

static PublisherReach
log_reach(void *state)
{
	return PUBLISHER_REACHABLE;
}

static bool
log_close(void *state, int timeout_ms)
{
	pfree(state);
	return true;
}

const Publisher *
log_publisher(void)
{
	static const Publisher publisher = {
		.open = log_open,
		.publish = log_publish,
		.poll = log_poll,
		.descriptor = log_descriptor,
		.last_error = log_last_error,
		.reach = log_reach,
		.close = log_close,
	};

	return &publisher;
}
