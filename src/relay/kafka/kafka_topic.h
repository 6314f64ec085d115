/*
 * kafka_topic.h
 *		Hands messages to librdkafka, the first to each partition alone.
 *
 * Why alone: a partition that has seen nothing of a producer takes any
 * sequence number as its first.  So if the broker refuses the first request (it
 * tells of a new topic's partitions a moment before it leads them) and takes
 * the second, which is under way already, the first can never be written any
 * more, and librdkafka counts it as delivered.  Once a partition has taken
 * something, it takes nothing behind a gap.
 *
 * So the first message to a partition is its probe, and those behind it are
 * held here until the probe is delivered; other partitions do not wait for it.
 * Where a topic's messages go is known when it has taken one: until then that
 * one is the probe of the whole topic.
 */
#ifndef ORDER_ENGINE_KAFKA_TOPIC_H
#define ORDER_ENGINE_KAFKA_TOPIC_H

#include <librdkafka/rdkafka.h>

#include "relay/publisher.h"

#define MAX_TOPIC_LENGTH 249

/* The topics of a handle, and the messages that are held. */
typedef struct TopicSet TopicSet;

/* What cannot be handed to librdkafka after all, though it was taken. */
typedef void (*TopicRefused)(void *state, uint64 tag, rd_kafka_resp_err_t err, const char *topic);

/*
 * Once for each handle.  Nothing here waits; opening and sending may raise 53200.  For
 * the relay's main thread, outside librdkafka's callbacks, where nothing else is said.
 */
extern TopicSet *kafka_topics_open(void);

/* Once, when the handle is made and before anything is sent. */
extern void kafka_topics_attach(TopicSet *topics, rd_kafka_t *rk);

/*
 * Sends a message or holds a copy of it.  QUEUE_FULL: there is no room now;
 * other errors are librdkafka's.
 */
extern rd_kafka_resp_err_t kafka_topics_send(TopicSet *topics, const PublisherMessage *message);

/* A message was delivered.  For the delivery callback: allocates nothing, raises nothing. */
extern void
kafka_topics_note_delivery(TopicSet *topics, const rd_kafka_message_t *message, uint64 tag);

/*
 * Sends what waits no longer, as far as librdkafka has room; `refused` is told
 * what it cannot send.
 */
extern void kafka_topics_send_held(TopicSet *topics, TopicRefused refused, void *state);

/* How many are held. */
extern int kafka_topics_held(const TopicSet *topics);

/* Forgets those that are held, telling of each. */
extern void kafka_topics_give_up_held(TopicSet *topics, TopicRefused refused, void *state);

/*
 * Closing takes two steps: all that was made from the handle goes before it,
 * what librdkafka's threads may still look at behind it.  The second may be
 * called from any thread.
 */
extern void kafka_topics_release(TopicSet *topics);
extern void kafka_topics_free(TopicSet *topics);

#endif /* ORDER_ENGINE_KAFKA_TOPIC_H */
