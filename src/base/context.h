/*
 * context.h
 *		Who did it, why, and in which trace: the `context` of every writing call.
 */
#ifndef ORDER_ENGINE_CONTEXT_H
#define ORDER_ENGINE_CONTEXT_H

#include "utils/jsonb.h"

typedef struct ActionContext
{
	const char *actor;		 /* never NULL */
	const char *reason;		 /* NULL: none */
	const char *traceparent; /* W3C, checked; NULL: none */
	const char *tracestate;	 /* printable ASCII; NULL: none */
} ActionContext;

/*
 * Reads {"actor", "reason", "traceparent", "tracestate"}; NULL stands for {}.
 * What it does not say comes from order_engine.actor (else the session user)
 * and order_engine.traceparent.  22023 for other keys, values that are no
 * strings, control characters, a malformed traceparent or tracestate.
 */
extern void context_parse(Jsonb *json, ActionContext *context);

/* Defines the settings; from _PG_init. */
extern void context_init(void);

#endif /* ORDER_ENGINE_CONTEXT_H */
