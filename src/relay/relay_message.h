/*
 * relay_message.h
 *		From an event of the outbox to the message that is published.
 */
#ifndef ORDER_ENGINE_RELAY_MESSAGE_H
#define ORDER_ENGINE_RELAY_MESSAGE_H

#include "journal/outbox.h"
#include "relay/publisher.h"

/*
 * Makes the message of an event, as Debezium's outbox router would.  What it
 * consists of points into the row or is palloc'ed.  The payload's bytes are
 * never changed.
 */
extern void
relay_message_build(const OutboxRow *row, const char *topic_prefix, PublisherMessage *message);

#endif /* ORDER_ENGINE_RELAY_MESSAGE_H */
