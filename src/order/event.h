/*
 * event.h
 *		The record of a change: a row of order_event and a message in the outbox.
 */
#ifndef ORDER_ENGINE_EVENT_H
#define ORDER_ENGINE_EVENT_H

#include "order/order_row.h"

/*
 * Appends the event of this change to order_event and, if it is published, to
 * the outbox.  53400 if the message would be larger than the broker takes.
 */
extern void event_append(RowScope *scope, const OrderRow *row, const OrderChange *change);

/*
 * Looks an order's events up for an idempotency key.  True if there is one: then
 * *event and *to_state (palloc'ed), *version and *at are what the first call did.
 * The order is locked.
 */
extern bool event_find_key(RowScope *scope, int64 order_id, const char *idempotency_key,
						   char **event, char **to_state, int *version, TimestampTz *at);

/* True if the order has a row of order_event for this version. */
extern bool event_exists(RowScope *scope, int64 order_id, int version);

#endif /* ORDER_ENGINE_EVENT_H */
