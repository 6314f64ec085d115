/*
 * outbox.h
 *		Events on their way out: rows of the outbox journal.
 */
#ifndef ORDER_ENGINE_OUTBOX_H
#define ORDER_ENGINE_OUTBOX_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#include "journal/journal.h"
#include "shop/row.h"

/* the aggregate types of orders and of stock; that of an attached table is its machine's name */
#define ORDER_AGGREGATE_TYPE "order"
#define STOCK_AGGREGATE_TYPE "stock"

typedef struct OutboxEvent
{
	int64		id; /* drawn by outbox_next_id() under the aggregate's lock */
	const char *aggregatetype;
	const char *aggregateid;
	const char *type;
	const char *payload; /* JSON text, NUL-terminated */
	int			payload_length;
	int64		seq;		 /* the aggregate's version; 0: none */
	const char *traceparent; /* W3C, checked already; NULL: none */
	const char *tracestate;
	int			headroom; /* bytes that must stay free below the size limit */
} OutboxEvent;

/*
 * An id for the next event about this aggregate, in the slot of an order of
 * that id; in the lowest slot that is owned, if it is no order's id or NULL.
 * Ids of one slot increase, ids of two need not within a millisecond: so
 * whoever writes events of one key, they have one slot.
 */
extern int64 outbox_next_id(const char *aggregateid);

/*
 * Appends one event in the caller's transaction and scope, and wakes the relay
 * at commit.  53400 (with the size and the limit) if the broker would refuse
 * it.
 */
extern void outbox_append(RowScope *scope, const OutboxEvent *event);

/* Raises 22023 unless this can be part of a topic's name and is not one of the engine's own. */
extern void outbox_check_aggregatetype(const char *value);

/* A row of the outbox as the relay reads it. */
typedef struct OutboxRow
{
	int64		id;
	TimestampTz created_at;
	const char *aggregatetype;
	const char *aggregateid;
	const char *type;
	const char *topic;	   /* NULL: outbox_topic_prefix and aggregatetype */
	int32		partition; /* -1: by key */
	Jsonb	   *headers;   /* NULL: none; a flat object of strings, numbers and nulls */
	const char *value;	   /* the payload's bytes, not NUL-terminated; NULL: tombstone */
	size_t		value_length;
	bool		binary; /* value is payload_bytes, not JSON */
} OutboxRow;

/*
 * Reads the next rows of a batch of the outbox and returns how many: at least
 * one and at most `max_rows`, no more once they fill `max_bytes`; 0: the batch is
 * at its end.  *rows is an array of pointers; it, and all that they point to, lives
 * until `context` is reset.
 */
extern int outbox_read(JournalReader *reader, int max_rows, Size max_bytes, MemoryContext context,
					   OutboxRow ***rows);

/* order_engine.publisher: to whom the relay publishes. */
typedef enum OutboxPublisher
{
	OUTBOX_TO_NOBODY,
	OUTBOX_TO_LOG,
	OUTBOX_TO_KAFKA,
} OutboxPublisher;

extern int outbox_publisher; /* an OutboxPublisher, as this process sees the setting */

/* As the setting spells it; never goes away. */
extern const char *outbox_publisher_name(OutboxPublisher publisher);

/* order_engine.outbox_retention, in seconds: for journal_expire() where there is no publisher. */
extern int outbox_retention;

/*
 * order_engine.topic_prefix: the topic of an event that names none is this and its
 * aggregatetype.
 */
extern char *outbox_topic_prefix;

/* Defines the settings; from _PG_init. */
extern void outbox_init(void);

#endif /* ORDER_ENGINE_OUTBOX_H */
