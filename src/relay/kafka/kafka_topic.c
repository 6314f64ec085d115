/*
 * kafka_topic.c
 *		Hands messages to librdkafka, the first to each partition alone.
 *
 * A Lane is a partition as seen from here: whether it has taken a message of
 * this handle's, its probe, and the messages that are held behind that, in
 * order.  Each topic has one more, for messages of which nobody can say yet
 * where they go; as they could get in the way of any other, it is used only
 * while no other lane of the topic is probed, and all of the topic's messages
 * wait while it is.
 *
 * All but the partitioner runs in the relay's main thread.  What the
 * partitioner touches is malloc'ed, since librdkafka's threads outlive the
 * memory contexts.
 */
#include "postgres.h"

#include "lib/ilist.h"
#include "port/atomics.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "relay/kafka/kafka_topic.h"

#define MAX_HELD_BYTES (16 * 1024 * 1024)

typedef struct Lane
{
	struct Topic *topic;
	bool		  written; /* has taken a message of this handle's */
	bool		  probed;  /* its first message is under way; for good, if one was refused */
	uint64		  probe;   /* that one's tag */
	int			  placed;  /* the partition where that one has arrived, -1: not yet */
	dlist_node	  probe_node;
	dlist_head	  held;
	bool		  ready; /* is in the list of those that have something to do */
	dlist_node	  ready_node;
} Lane;

typedef struct Topic
{
	struct Topic	 *next;
	rd_kafka_topic_t *handle;
	pg_atomic_uint32  npartitions; /* when the partitioner was called last; 0: never yet */
	int				  nlanes;
	Lane			**lanes;	/* by partition; NULL: nothing was sent there */
	Lane			  unplaced; /* of messages whose partition is not known */
	dlist_head		  probed;	/* lanes */
} Topic;

typedef struct TopicEntry
{
	char   name[MAX_TOPIC_LENGTH + 1]; /* hash key */
	Topic *topic;
} TopicEntry;

typedef struct HeldMessage
{
	dlist_node		 node;
	Size			 size;
	PublisherMessage message; /* what it points to lies behind it, but for the topic */
} HeldMessage;

struct TopicSet
{
	rd_kafka_t	 *rk;
	MemoryContext context;
	HTAB		 *by_name;
	Topic		 *first;
	dlist_head	  ready; /* lanes */
	int			  nheld;
	Size		  held_bytes;
};

/* ---- topics ---- */

static HTAB *
make_table(MemoryContext context)
{
	HASHCTL info = {.keysize = sizeof(((TopicEntry *) 0)->name),
					.entrysize = sizeof(TopicEntry),
					.hcxt = context};

	return hash_create("order_engine Kafka topics", 64, &info,
					   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/* Like palloc0(), but without a context. */
static void *
allocate(Size size)
{
	void *memory = calloc(1, size);

	if (memory == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return memory;
}

TopicSet *
kafka_topics_open(void)
{
	TopicSet *topics = allocate(sizeof(TopicSet));

	topics->context = AllocSetContextCreate(TopMemoryContext, "order_engine Kafka topics",
											ALLOCSET_DEFAULT_SIZES);
	topics->by_name = make_table(topics->context);
	dlist_init(&topics->ready);
	return topics;
}

void
kafka_topics_attach(TopicSet *topics, rd_kafka_t *rk)
{
	topics->rk = rk;
}

/*
 * Java's partitioner.  Runs in whichever thread holds the topic's lock,
 * librdkafka's own among them: it computes, leaves word of the number of
 * partitions, and touches nothing else.
 */
static int32_t
choose_partition(const rd_kafka_topic_t *handle, const void *key, size_t length, int32_t count,
				 void *topic, void *opaque)
{
	pg_atomic_write_u32(&((Topic *) topic)->npartitions, count);
	return rd_kafka_msg_partitioner_murmur2_random(handle, key, length, count, topic, opaque);
}

static void
init_lane(Lane *lane, Topic *topic)
{
	lane->topic = topic;
	lane->placed = -1;
	dlist_init(&lane->held);
}

static Topic *
make_topic(TopicSet *topics, const char *name)
{
	Topic				  *topic = allocate(sizeof(Topic));
	rd_kafka_topic_conf_t *conf;

	pg_atomic_init_u32(&topic->npartitions, 0);
	init_lane(&topic->unplaced, topic);
	dlist_init(&topic->probed);
	conf = rd_kafka_default_topic_conf_dup(topics->rk);
	rd_kafka_topic_conf_set_opaque(conf, topic);
	rd_kafka_topic_conf_set_partitioner_cb(conf, choose_partition);
	topic->handle = rd_kafka_topic_new(topics->rk, name, conf);
	if (topic->handle == NULL)
	{
		free(topic);
		return NULL;
	}
	topic->next = topics->first;
	topics->first = topic;
	return topic;
}

/* Kept: the first use of a topic asks for its leader, which takes a round trip. */
static Topic *
get_topic(TopicSet *topics, const char *name)
{
	TopicEntry *entry;
	bool		found;

	entry = hash_search(topics->by_name, name, HASH_ENTER, &found);
	if (!found)
		entry->topic = NULL;
	if (entry->topic == NULL)
		entry->topic = make_topic(topics, name);
	return entry->topic;
}

/* ---- lanes ---- */

static void
grow_lanes(TopicSet *topics, Topic *topic, int nlanes)
{
	Lane **lanes;

	if (nlanes <= topic->nlanes)
		return;
	lanes = MemoryContextAllocZero(topics->context, sizeof(Lane *) * nlanes);
	if (topic->lanes)
	{
		memcpy(lanes, topic->lanes, sizeof(Lane *) * topic->nlanes);
		pfree(topic->lanes);
	}
	topic->lanes = lanes;
	topic->nlanes = nlanes;
}

static Lane *
get_lane(TopicSet *topics, Topic *topic, int partition)
{
	Lane **lane = &topic->lanes[partition];

	if (*lane == NULL)
	{
		*lane = MemoryContextAllocZero(topics->context, sizeof(Lane));
		init_lane(*lane, topic);
	}
	return *lane;
}

/* -1: not known. */
static int
partition_of(const Topic *topic, const PublisherMessage *message, int npartitions)
{
	if (message->partition >= 0)
		return message->partition;
	if (npartitions == 0 || message->key == NULL)
		return -1;
	return rd_kafka_msg_partitioner_murmur2_random(topic->handle, message->key, message->key_length,
												   npartitions, NULL, NULL);
}

static Lane *
place(TopicSet *topics, Topic *topic, const PublisherMessage *message)
{
	int npartitions = pg_atomic_read_u32(&topic->npartitions);
	int partition = partition_of(topic, message, npartitions);

	grow_lanes(topics, topic, npartitions);
	/* a partition that a row names may be one that there is not */
	if (partition < 0 || partition >= topic->nlanes)
		return &topic->unplaced;
	return get_lane(topics, topic, partition);
}

static inline bool
is_occupied(Lane *lane)
{
	return lane->probed || !dlist_is_empty(&lane->held);
}

/* Whether a message that comes to this lane now must wait. */
static bool
must_wait(Lane *lane)
{
	Topic *topic = lane->topic;

	return is_occupied(lane) || (lane == &topic->unplaced && !dlist_is_empty(&topic->probed));
}

static void
mark_ready(TopicSet *topics, Lane *lane)
{
	if (lane->ready)
		return;
	lane->ready = true;
	dlist_push_tail(&topics->ready, &lane->ready_node);
}

/* ---- probes ---- */

static void
start_probe(Lane *lane, uint64 tag)
{
	lane->probed = true;
	lane->probe = tag;
	dlist_push_tail(&lane->topic->probed, &lane->probe_node);
}

static Lane *
find_probe(Topic *topic, uint64 tag)
{
	dlist_iter iter;

	dlist_foreach(iter, &topic->probed)
	{
		Lane *lane = dlist_container(Lane, probe_node, iter.cur);

		if (lane->probe == tag)
			return lane;
	}
	return NULL;
}

void
kafka_topics_note_delivery(TopicSet *topics, const rd_kafka_message_t *message, uint64 tag)
{
	Topic *topic = rd_kafka_topic_opaque(message->rkt);
	Lane  *lane;

	if (likely(dlist_is_empty(&topic->probed)))
		return;
	lane = message->partition < topic->nlanes ? topic->lanes[message->partition] : NULL;
	if (lane == NULL || !lane->probed || lane->probe != tag)
		lane = find_probe(topic, tag);
	if (lane == NULL)
		return;
	lane->placed = message->partition;
	mark_ready(topics, lane);
}

static void
finish_probe(TopicSet *topics, Lane *lane)
{
	Topic *topic = lane->topic;

	if (lane->placed < 0)
		return;
	grow_lanes(topics, topic, lane->placed + 1);
	get_lane(topics, topic, lane->placed)->written = true;
	lane->probed = false;
	lane->placed = -1;
	dlist_delete(&lane->probe_node);
	if (!dlist_is_empty(&topic->unplaced.held))
		mark_ready(topics, &topic->unplaced);
}

/* ---- sending ---- */

/*
 * One object for all: librdkafka 2.0 frees single headers twice when it cannot find the
 * partition.
 */
static rd_kafka_headers_t *
make_headers(const PublisherMessage *message)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(message->nheaders);

	for (int i = 0; i < message->nheaders; i++)
		rd_kafka_header_add(headers, message->headers[i].name, -1, message->headers[i].value,
							message->headers[i].length);
	return headers;
}

static rd_kafka_resp_err_t
produce(TopicSet *topics, Topic *topic, const PublisherMessage *message)
{
	rd_kafka_headers_t *headers = make_headers(message);
	rd_kafka_resp_err_t err;

	err = rd_kafka_producev(
		topics->rk, RD_KAFKA_V_RKT(topic->handle),
		RD_KAFKA_V_PARTITION(message->partition < 0 ? RD_KAFKA_PARTITION_UA : message->partition),
		RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
		RD_KAFKA_V_KEY((void *) message->key, message->key_length),
		RD_KAFKA_V_VALUE((void *) message->value, message->value_length),
		RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE((void *) (uintptr_t) message->tag),
		RD_KAFKA_V_END);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_headers_destroy(headers); /* still ours */
	return err;
}

static rd_kafka_resp_err_t
send_in_lane(TopicSet *topics, Lane *lane, const PublisherMessage *message)
{
	Topic			   *topic = lane->topic;
	uint32				npartitions = pg_atomic_read_u32(&topic->npartitions);
	rd_kafka_resp_err_t err = produce(topics, topic, message);

	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		return err;

	/*
	 * If librdkafka has only just learnt how many partitions there are, the
	 * message may be in another lane: this one alone did not look at it before.
	 */
	if (npartitions != pg_atomic_read_u32(&topic->npartitions))
		lane = place(topics, topic, message);
	if (!lane->written && !lane->probed)
		start_probe(lane, message->tag);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* ---- holding ---- */

static Size
held_size(const PublisherMessage *message)
{
	Size size = sizeof(HeldMessage) + sizeof(PublisherHeader) * message->nheaders +
				message->key_length + message->value_length;

	for (int i = 0; i < message->nheaders; i++)
		size += strlen(message->headers[i].name) + 1 + message->headers[i].length;
	return size;
}

/* Null stays null. */
static char *
put(char **at, const char *bytes, Size length)
{
	char *copy = *at;

	if (bytes == NULL)
		return NULL;
	memcpy(copy, bytes, length);
	*at += length;
	return copy;
}

static HeldMessage *
copy_message(TopicSet *topics, const PublisherMessage *message)
{
	Size			 size = held_size(message);
	HeldMessage		*held = MemoryContextAlloc(topics->context, size);
	PublisherHeader *headers = (PublisherHeader *) (held + 1);
	char			*at = (char *) (headers + message->nheaders);

	held->size = size;
	held->message = *message;
	held->message.topic = NULL;
	held->message.key = put(&at, message->key, message->key_length);
	held->message.value = put(&at, message->value, message->value_length);
	held->message.headers = headers;
	for (int i = 0; i < message->nheaders; i++)
	{
		const PublisherHeader *header = &message->headers[i];

		headers[i].name = put(&at, header->name, strlen(header->name) + 1);
		headers[i].value = put(&at, header->value, header->length);
		headers[i].length = header->length;
	}
	return held;
}

static rd_kafka_resp_err_t
hold(TopicSet *topics, Lane *lane, const PublisherMessage *message)
{
	HeldMessage *held;

	if (topics->nheld > 0 && topics->held_bytes + held_size(message) > MAX_HELD_BYTES)
		return RD_KAFKA_RESP_ERR__QUEUE_FULL;
	held = copy_message(topics, message);
	dlist_push_tail(&lane->held, &held->node);
	topics->nheld++;
	topics->held_bytes += held->size;
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void
drop(TopicSet *topics, HeldMessage *held)
{
	dlist_delete(&held->node);
	topics->nheld--;
	topics->held_bytes -= held->size;
	pfree(held);
}

rd_kafka_resp_err_t
kafka_topics_send(TopicSet *topics, const PublisherMessage *message)
{
	Topic *topic = get_topic(topics, message->topic);
	Lane  *lane;

	if (topic == NULL)
		return rd_kafka_last_error();
	lane = &topic->unplaced;
	if (!is_occupied(lane))
		lane = place(topics, topic, message);
	return must_wait(lane) ? hold(topics, lane, message) : send_in_lane(topics, lane, message);
}

/* ---- sending what was held ---- */

/* Sends the first that is held, or moves it to where it waits for something else. */
static rd_kafka_resp_err_t
send_first(TopicSet *topics, Lane *lane)
{
	HeldMessage		   *held = dlist_head_element(HeldMessage, node, &lane->held);
	Lane			   *target = place(topics, lane->topic, &held->message);
	rd_kafka_resp_err_t err;

	if (target != lane && must_wait(target))
	{
		dlist_delete(&held->node);
		dlist_push_tail(&target->held, &held->node);
		return RD_KAFKA_RESP_ERR_NO_ERROR;
	}
	err = send_in_lane(topics, target, &held->message);
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		drop(topics, held);
	return err;
}

/* Those behind it stay: none of its key must overtake it. */
static void
refuse_first(TopicSet *topics, Lane *lane, rd_kafka_resp_err_t err, TopicRefused refused,
			 void *state)
{
	HeldMessage *held = dlist_head_element(HeldMessage, node, &lane->held);

	refused(state, held->message.tag, err, rd_kafka_topic_name(lane->topic->handle));
	drop(topics, held);
	lane->probed = true;
}

static inline bool
may_send_first(Lane *lane)
{
	Topic *topic = lane->topic;

	return !dlist_is_empty(&lane->held) && !lane->probed &&
		   (lane != &topic->unplaced || dlist_is_empty(&topic->probed));
}

/* False if librdkafka takes no more now. */
static bool
send_lane(TopicSet *topics, Lane *lane, TopicRefused refused, void *state)
{
	rd_kafka_resp_err_t err;

	while (may_send_first(lane))
	{
		err = send_first(topics, lane);
		if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL || err == RD_KAFKA_RESP_ERR__FATAL)
			return false;
		if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
			refuse_first(topics, lane, err, refused, state);
	}
	return true;
}

void
kafka_topics_send_held(TopicSet *topics, TopicRefused refused, void *state)
{
	while (!dlist_is_empty(&topics->ready))
	{
		Lane *lane = dlist_head_element(Lane, ready_node, &topics->ready);

		finish_probe(topics, lane);
		if (!send_lane(topics, lane, refused, state))
			return;
		dlist_delete(&lane->ready_node);
		lane->ready = false;
	}
}

int
kafka_topics_held(const TopicSet *topics)
{
	return topics->nheld;
}

static void
give_up_lane(TopicSet *topics, Lane *lane, TopicRefused refused, void *state)
{
	while (lane && !dlist_is_empty(&lane->held))
	{
		HeldMessage *held = dlist_head_element(HeldMessage, node, &lane->held);

		refused(state, held->message.tag, RD_KAFKA_RESP_ERR__PURGE_QUEUE, NULL);
		drop(topics, held);
	}
}

void
kafka_topics_give_up_held(TopicSet *topics, TopicRefused refused, void *state)
{
	for (Topic *topic = topics->first; topic; topic = topic->next)
	{
		give_up_lane(topics, &topic->unplaced, refused, state);
		for (int i = 0; i < topic->nlanes; i++)
			give_up_lane(topics, topic->lanes[i], refused, state);
	}
}

/* ---- closing ---- */

void
kafka_topics_release(TopicSet *topics)
{
	for (Topic *topic = topics->first; topic; topic = topic->next)
		rd_kafka_topic_destroy(topic->handle);
	MemoryContextDelete(topics->context);
}

void
kafka_topics_free(TopicSet *topics)
{
	Topic *next;

	for (Topic *topic = topics->first; topic; topic = next)
	{
		next = topic->next;
		free(topic);
	}
	free(topics);
}
