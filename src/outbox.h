/*
 * outbox.h
 *		Events on their way out: rows of the outbox journal.
 */
#ifndef ORDER_ENGINE_OUTBOX_H
#define ORDER_ENGINE_OUTBOX_H

#include "row.h"

typedef struct OutboxEvent
{
	int64		id;				/* drawn by order_id_next() under the aggregate's lock */
	const char *aggregatetype;
	const char *aggregateid;
	const char *type;
	const char *payload;		/* JSON text, NUL-terminated */
	int			payload_length;
	int			seq;			/* the aggregate's version; 0: none */
	const char *traceparent;	/* W3C, checked already; NULL: none */
	const char *tracestate;
	int			headroom;		/* bytes that must stay free below the size limit */
} OutboxEvent;

/*
 * Appends one event in the caller's transaction and scope, and wakes the relay
 * at commit.  53400 (with the size and the limit) if the broker would refuse
 * it.
 */
extern void outbox_append(RowScope *scope, const OutboxEvent *event);

/* From _PG_init. */
extern void outbox_init(void);

#endif							/* ORDER_ENGINE_OUTBOX_H */
