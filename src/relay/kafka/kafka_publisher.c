/*
 * kafka_publisher.c
 *		Publishes to Apache Kafka with librdkafka's idempotent producer.
 *
 * With kafka_topic.c all that knows librdkafka, in a library of its own that only
 * the relay loads.
 *
 * Threads: librdkafka runs its own, with all signals blocked (it sees to
 * that).  Nothing of PostgreSQL is touched in them: log.queue sends log lines
 * to the main queue and no interceptor or socket callback is set, so every
 * callback of ours, but for the partitioner (kafka_topic.c), runs inside
 * rd_kafka_poll(), in the relay's main thread.  There too an error must not
 * longjmp over librdkafka's frames, so callbacks only fill the arrays below,
 * which are allocated before; what they say is acted upon when rd_kafka_poll()
 * has returned.
 *
 * Memory: messages are copied (RD_KAFKA_MSG_F_COPY); queue.buffering.max.kbytes
 * bounds the copies, which lie outside any memory context.  The handle itself
 * is malloc'ed, as the thread that destroys it may outlive the call.
 */
#include "postgres.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#include "common/string.h"
#include "fmgr.h"
#include "portability/instr_time.h"

#include "relay/kafka/kafka_topic.h"
#include "relay/publisher.h"

PG_MODULE_MAGIC;

#define MAX_IN_FLIGHT 50000
#define LOG_LINES 32
#define LINE_LENGTH 512

/*
 * librdkafka 2.0 never asks its bootstrap servers again; after this long with
 * no broker up, a new handle does.  The property has the name and the default
 * that Kafka's own clients gave it later.
 */
#define REBOOTSTRAP_PROPERTY "metadata.recovery.rebootstrap.trigger.ms"
#define REBOOTSTRAP_MS 300000

/*
 * So long may nobody answer before that counts as an outage although no
 * connection has failed: longer than it takes to make an idle connection that
 * was closed again, of which the next statistics tell.  They tell of the first
 * answer too: until then a new handle may fail at one address of several.
 */
#define STATISTICS_MS 5000
#define FIRST_ANSWER_MS (STATISTICS_MS + 1000)
#define ANSWER_MS (3 * STATISTICS_MS)
#define LASTING_US 1000000

#if RD_KAFKA_VERSION < 0x020000ff
#error "order_engine needs librdkafka 2.0 or newer"
#endif

typedef struct KafkaPublisher
{
	rd_kafka_t		 *rk;
	rd_kafka_queue_t *queue; /* the main queue, for its event descriptor */
	int				  event_fd;
	TopicSet		 *topics;
	int				  in_flight; /* accepted and not yet handed out as outcome */
	bool			  broken;
	bool			  answered;		/* a broker has let this client in */
	bool			  down;			/* no broker is connected */
	bool			  failed;		/* and not only because brokers close idle connections */
	instr_time		  silent_since; /* while down or not answered */
	int				  rebootstrap_ms;
	char			  last_error[LINE_LENGTH]; /* about a message, or the end of the handle */
	char			  trouble[LINE_LENGTH];	   /* the last one with a connection */

	/* filled by callbacks: never more outcomes than messages in flight */
	int				 first_outcome;
	int				 noutcomes;
	PublisherOutcome outcomes[MAX_IN_FLIGHT];
	int				 nlines;
	int				 lost_lines;
	char			 lines[LOG_LINES][LINE_LENGTH];

	int closed_fd; /* the destroyer's end of a pipe, closed when it is done */
} KafkaPublisher;

PGDLLEXPORT const Publisher *order_engine_kafka_publisher(void);

/* ---- callbacks: no palloc, no ereport ---- */

/* What the broker or librdkafka says about this one message, and would say again. */
static bool
concerns_message(rd_kafka_resp_err_t err)
{
	switch (err)
	{
		case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
		case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
		case RD_KAFKA_RESP_ERR_INVALID_MSG:
		case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
		case RD_KAFKA_RESP_ERR_INVALID_RECORD:
		case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
		case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
		case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
		case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
		case RD_KAFKA_RESP_ERR__INVALID_ARG:
		case RD_KAFKA_RESP_ERR__QUEUE_FULL: /* of this message alone */
			return true;
		default:
			return false;
	}
}

static void
set_last_error(KafkaPublisher *kafka, const char *error, const char *topic)
{
	if (topic)
		snprintf(kafka->last_error, LINE_LENGTH, "%s (topic \"%s\")", error, topic);
	else
		strlcpy(kafka->last_error, error, LINE_LENGTH);
}

static void
note_answer(KafkaPublisher *kafka)
{
	kafka->answered = true;
	kafka->down = kafka->failed = false;
}

static void
note_all_down(KafkaPublisher *kafka)
{
	if (kafka->answered && !kafka->down)
		INSTR_TIME_SET_CURRENT(kafka->silent_since);
	kafka->down = true;
	/* a connection that was closed before anybody let us in has not been idle */
	if (!kafka->answered)
		kafka->failed = true;
}

static double
silent_ms(const KafkaPublisher *kafka)
{
	instr_time elapsed;

	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, kafka->silent_since);
	return INSTR_TIME_GET_MILLISEC(elapsed);
}

static bool
is_unreachable(const KafkaPublisher *kafka)
{
	if (kafka->answered && !kafka->down)
		return false;
	if (kafka->answered && kafka->failed)
		return true;
	return silent_ms(kafka) > (kafka->down && kafka->failed ? FIRST_ANSWER_MS : ANSWER_MS);
}

static PublisherOutcome *
add_outcome(KafkaPublisher *kafka, uint64 tag)
{
	PublisherOutcome *outcome =
		&kafka->outcomes[(kafka->first_outcome + kafka->noutcomes++) % MAX_IN_FLIGHT];

	outcome->tag = tag;
	return outcome;
}

static void
on_delivered(KafkaPublisher *kafka, const rd_kafka_message_t *message, PublisherOutcome *outcome)
{
	if (message->offset < 0)
	{
		/* no broker has said where it is: librdkafka infers it from a later one's delivery */
		outcome->status = PUBLISHER_FAILED;
		set_last_error(kafka, "acknowledged without an offset", rd_kafka_topic_name(message->rkt));
		return;
	}
	outcome->status = PUBLISHER_DELIVERED;
	note_answer(kafka);
	kafka_topics_note_delivery(kafka->topics, message, outcome->tag);
}

static void
on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	KafkaPublisher	 *kafka = opaque;
	PublisherOutcome *outcome = add_outcome(kafka, (uint64) (uintptr_t) message->_private);

	if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		on_delivered(kafka, message, outcome);
		return;
	}
	outcome->status = concerns_message(message->err) ? PUBLISHER_REJECTED : PUBLISHER_FAILED;
	if (kafka->broken || message->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE)
		return; /* because of another error, which is the one to tell */
	set_last_error(kafka, rd_kafka_err2str(message->err),
				   message->rkt ? rd_kafka_topic_name(message->rkt) : NULL);
}

/* A message was refused, and none behind it is sent any more: outcomes say it of each. */
static bool
stopped_at_gap(rd_kafka_t *rk)
{
	char reason[1];

	return rd_kafka_fatal_error(rk, reason, sizeof(reason)) == RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE;
}

static void
on_error(rd_kafka_t *rk, int err, const char *reason, void *opaque)
{
	KafkaPublisher *kafka = opaque;

	if (err == RD_KAFKA_RESP_ERR__FATAL && stopped_at_gap(rk))
		return;
	if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		note_all_down(kafka);
	else if (err == RD_KAFKA_RESP_ERR__FATAL)
	{
		rd_kafka_fatal_error(rk, kafka->last_error, LINE_LENGTH);
		kafka->broken = true;
	}
	else if (err != RD_KAFKA_RESP_ERR__TRANSPORT) /* of which on_log() knows more */
	{
		strlcpy(kafka->trouble, reason, LINE_LENGTH);
		kafka->failed = true;
	}
}

/* A broker whose id is known is one of a cluster that has told of itself. */
static bool
knows_cluster(const char *json)
{
	static const char id[] = "\"nodeid\":";

	for (const char *at = strstr(json, id); at; at = strstr(at + 1, id))
		if (isdigit((unsigned char) at[strlen(id)]))
			return true;
	return false;
}

/* Who asks for a password that we do not know lets us say hello first, and closes then. */
static bool
has_lasting_connection(const char *json)
{
	static const char up[] = "\"state\":\"UP\", \"stateage\":";

	for (const char *at = strstr(json, up); at; at = strstr(at + 1, up))
		if (strtol(at + strlen(up), NULL, 10) >= LASTING_US)
			return true;
	return false;
}

/* Nothing else tells of a broker that came, or came back, while there is nothing to send. */
static int
on_statistics(rd_kafka_t *rk, char *json, size_t length, void *opaque)
{
	KafkaPublisher *kafka = opaque;

	if (has_lasting_connection(json) && (kafka->answered || knows_cluster(json)))
		note_answer(kafka);
	return 0;
}

/* What the relay says itself, and that a property of ours is experimental. */
static bool
is_told_already(const char *facility, const char *text)
{
	return strcmp(facility, "FATAL") == 0 ||
		   (strcmp(facility, "CONFWARN") == 0 && strstr(text, "enable.gapless.guarantee") != NULL);
}

/*
 * Brokers close idle connections, which is nothing to tell of, and those of
 * clients that speak otherwise than they do, of which only some versions of
 * librdkafka know.  The level tells both from a failure.
 */
static void
note_connection_end(KafkaPublisher *kafka, int level, const char *text)
{
	bool failed = level <= LOG_ERR;

	snprintf(kafka->trouble, LINE_LENGTH, "%s%s", text,
			 failed || strstr(text, "security.protocol") ? "" : ": is security.protocol right?");
	if (failed)
		kafka->failed = true;
}

static bool
is_idle_end(const KafkaPublisher *kafka, int level)
{
	return level > LOG_ERR && kafka->answered && !is_unreachable(kafka);
}

static void
on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	KafkaPublisher *kafka = rd_kafka_opaque(rk);

	if (is_told_already(facility, text))
		return;
	if (strcmp(facility, "FAIL") == 0 && level < LOG_DEBUG) /* those are asked for, and repeat */
	{
		note_connection_end(kafka, level, text);
		if (is_idle_end(kafka, level))
			return;
	}
	if (kafka->nlines == LOG_LINES)
		kafka->lost_lines++;
	else
		snprintf(kafka->lines[kafka->nlines++], LINE_LENGTH, "%s: %s", facility, text);
}

/* ---- configuration ---- */

/* Properties on which the relay's guarantees and callbacks rest. */
static const char *const owned_properties[] = {
	"enable.idempotence",
	"enable.gapless.guarantee",
	"partitioner",
	"partitioner_cb",
	"msg_order_cmp",
	"queuing.strategy",
	"acks",
	"request.required.acks",
	"retries",
	"message.send.max.retries",
	"max.in.flight",
	"max.in.flight.requests.per.connection",
	"message.timeout.ms",
	"delivery.timeout.ms",
	"transactional.id",
	"transaction.timeout.ms",
	"delivery.report.only.error",
	"dr_cb",
	"dr_msg_cb",
	"error_cb",
	"throttle_cb",
	"stats_cb",
	"log_cb",
	"log.queue",
	"log.connection.close",
	"background_event_cb",
	"socket_cb",
	"connect_cb",
	"closesocket_cb",
	"open_cb",
	"resolve_cb",
	"opaque",
	"default_topic_conf",
	"enabled_events",
	"queue.buffering.max.messages",
	"internal.termination.signal",
	"plugin.library.paths",
	"statistics.interval.ms",
	"oauthbearer_token_refresh_cb",
};

static bool
owned_by_relay(const char *name)
{
	for (int i = 0; i < lengthof(owned_properties); i++)
		if (strcmp(name, owned_properties[i]) == 0)
			return true;
	return false;
}

static bool
set_property(rd_kafka_conf_t *conf, const char *name, const char *value, char **error)
{
	char message[LINE_LENGTH];

	if (rd_kafka_conf_set(conf, name, value, message, sizeof(message)) == RD_KAFKA_CONF_OK)
		return true;
	*error = pstrdup(message);
	return false;
}

static bool
set_defaults(rd_kafka_conf_t *conf, const char *client_id, char **error)
{
	return set_property(conf, "client.id", client_id, error) &&
		   set_property(conf, "socket.nagle.disable", "true", error) &&
		   set_property(conf, "socket.keepalive.enable", "true", error) &&
		   set_property(conf, "linger.ms", "0", error) &&
		   set_property(conf, "log.thread.name", "false", error);
}

static bool
set_rebootstrap(KafkaPublisher *kafka, const char *value, char **error)
{
	char *end;

	errno = 0;
	kafka->rebootstrap_ms = strtoint(value, &end, 10);
	if (errno == 0 && end != value && *end == '\0' && kafka->rebootstrap_ms > 0)
		return true;
	*error = psprintf("invalid value for Kafka property \"%s\"", REBOOTSTRAP_PROPERTY);
	return false;
}

static bool
set_users_property(KafkaPublisher *kafka, rd_kafka_conf_t *conf, const Property *property,
				   char **error)
{
	if (owned_by_relay(property->name))
	{
		*error = psprintf("Kafka property \"%s\" is set by the relay and cannot be configured",
						  property->name);
		return false;
	}
	if (strcmp(property->name, REBOOTSTRAP_PROPERTY) == 0)
		return set_rebootstrap(kafka, property->value, error);
	if (set_property(conf, property->name, property->value, error))
		return true;
	if (property->secret) /* librdkafka's message quotes the value */
		*error = psprintf("invalid value for Kafka property \"%s\"", property->name);
	return false;
}

static bool
set_users_properties(KafkaPublisher *kafka, rd_kafka_conf_t *conf, List *properties, char **error)
{
	ListCell *cell;

	foreach(cell, properties)
		if (!set_users_property(kafka, conf, lfirst(cell), error))
			return false;
	return true;
}

/*
 * No message may overtake another of its key for good: so none is given up for
 * its age, and when the broker refuses one, none behind it is sent.
 */
static bool
set_owned_properties(rd_kafka_conf_t *conf, char **error)
{
	return set_property(conf, "enable.idempotence", "true", error) &&
		   set_property(conf, "enable.gapless.guarantee", "true", error) &&
		   set_property(conf, "message.timeout.ms", "0", error) &&
		   set_property(conf, "queue.buffering.max.messages", CppAsString2(MAX_IN_FLIGHT), error) &&
		   set_property(conf, "statistics.interval.ms", CppAsString2(STATISTICS_MS), error) &&
		   set_property(conf, "log.queue", "true", error) &&
		   set_property(conf, "log.connection.close", "true", error);
}

/* Without it librdkafka would wait for ever. */
static bool
names_a_broker(rd_kafka_conf_t *conf, char **error)
{
	size_t size;

	if (rd_kafka_conf_get(conf, "bootstrap.servers", NULL, &size) == RD_KAFKA_CONF_OK && size > 1)
		return true;
	*error = pstrdup("Kafka property \"bootstrap.servers\" is not set");
	return false;
}

static rd_kafka_conf_t *
make_configuration(KafkaPublisher *kafka, const char *client_id, List *properties, char **error)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	if (!set_defaults(conf, client_id, error) ||
		!set_users_properties(kafka, conf, properties, error) || !names_a_broker(conf, error) ||
		!set_owned_properties(conf, error))
	{
		rd_kafka_conf_destroy(conf);
		return NULL;
	}
	rd_kafka_conf_set_opaque(conf, kafka);
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	rd_kafka_conf_set_error_cb(conf, on_error);
	rd_kafka_conf_set_stats_cb(conf, on_statistics);
	rd_kafka_conf_set_log_cb(conf, on_log);
	return conf;
}

/* ---- the interface ---- */

static bool
start_producer(KafkaPublisher *kafka, rd_kafka_conf_t *conf, char **error)
{
	char   message[LINE_LENGTH];
	uint64 one = 1;

	/* nonblocking: a librdkafka thread writes to it while it holds a lock */
	kafka->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (kafka->event_fd < 0)
	{
		*error = psprintf("could not create event descriptor: %m");
		rd_kafka_conf_destroy(conf);
		return false;
	}
	kafka->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, message, sizeof(message));
	if (kafka->rk == NULL)
	{
		*error = pstrdup(message);
		rd_kafka_conf_destroy(conf);
		close(kafka->event_fd);
		return false;
	}
	rd_kafka_set_log_queue(kafka->rk, NULL);
	kafka->queue = rd_kafka_queue_get_main(kafka->rk);
	rd_kafka_queue_io_event_enable(kafka->queue, kafka->event_fd, &one, sizeof(one));
	return true;
}

static void *
kafka_open(const char *client_id, List *properties, char **error)
{
	KafkaPublisher	*kafka = calloc(1, sizeof(KafkaPublisher));
	rd_kafka_conf_t *conf;

	if (kafka == NULL)
	{
		*error = pstrdup("out of memory");
		return NULL;
	}
	kafka->rebootstrap_ms = REBOOTSTRAP_MS;
	INSTR_TIME_SET_CURRENT(kafka->silent_since);
	kafka->topics = kafka_topics_open();
	conf = make_configuration(kafka, client_id, properties, error);
	if (conf == NULL || !start_producer(kafka, conf, error))
	{
		kafka_topics_release(kafka->topics);
		kafka_topics_free(kafka->topics);
		free(kafka);
		return NULL;
	}
	kafka_topics_attach(kafka->topics, kafka->rk);
	return kafka;
}

static PublisherResult
kafka_publish(void *state, const PublisherMessage *message)
{
	KafkaPublisher	   *kafka = state;
	rd_kafka_resp_err_t err;

	if (kafka->broken)
		return PUBLISHER_BROKEN;
	if (kafka->in_flight == MAX_IN_FLIGHT)
		return PUBLISHER_FULL;
	if (strlen(message->topic) > MAX_TOPIC_LENGTH)
	{
		set_last_error(kafka,
					   "a topic's name has at most " CppAsString2(MAX_TOPIC_LENGTH) " characters",
					   message->topic);
		return PUBLISHER_REFUSED;
	}
	err = kafka_topics_send(kafka->topics, message);
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		kafka->in_flight++;
		return PUBLISHER_OK;
	}
	if (kafka->in_flight > 0 && (err == RD_KAFKA_RESP_ERR__QUEUE_FULL ||
								 (err == RD_KAFKA_RESP_ERR__FATAL && stopped_at_gap(kafka->rk))))
		return PUBLISHER_FULL;
	set_last_error(kafka, rd_kafka_err2str(err), message->topic);
	if (concerns_message(err))
		return PUBLISHER_REFUSED;
	kafka->broken = true;
	return PUBLISHER_BROKEN;
}

/* A message that was taken, and cannot be sent after all. */
static void
refuse_held(void *state, uint64 tag, rd_kafka_resp_err_t err, const char *topic)
{
	KafkaPublisher *kafka = state;

	add_outcome(kafka, tag)->status = concerns_message(err) ? PUBLISHER_REJECTED : PUBLISHER_FAILED;
	if (err != RD_KAFKA_RESP_ERR__PURGE_QUEUE)
		set_last_error(kafka, rd_kafka_err2str(err), topic);
}

/* When nothing is under way any more, nothing will let those go that are held still. */
static void
send_held(KafkaPublisher *kafka)
{
	int held;

	kafka_topics_send_held(kafka->topics, refuse_held, kafka);
	held = kafka_topics_held(kafka->topics);
	if (held > 0 && kafka->in_flight - kafka->noutcomes == held)
		kafka_topics_give_up_held(kafka->topics, refuse_held, kafka);
}

static void
emit_log_lines(KafkaPublisher *kafka)
{
	for (int i = 0; i < kafka->nlines; i++)
		ereport(LOG, (errmsg_internal("librdkafka: %s", kafka->lines[i])));
	if (kafka->lost_lines > 0)
		ereport(LOG, (errmsg_internal("librdkafka: %d more messages", kafka->lost_lines)));
	kafka->nlines = kafka->lost_lines = 0;
}

/* The descriptor tells only of the step from empty to not empty: read it first, then drain. */
static void
serve_callbacks(KafkaPublisher *kafka)
{
	uint64	count;
	ssize_t ignored;

	ignored = read(kafka->event_fd, &count, sizeof(count));
	(void) ignored; /* nothing to read is as good */
	while (rd_kafka_poll(kafka->rk, 0) > 0)
		;
	send_held(kafka);
	emit_log_lines(kafka);
}

static bool
needs_bootstrap(KafkaPublisher *kafka)
{
	if (!is_unreachable(kafka) || silent_ms(kafka) <= kafka->rebootstrap_ms)
		return false;
	ereport(LOG, (errmsg("no Kafka broker has answered for %d ms: beginning anew with "
						 "bootstrap.servers",
						 kafka->rebootstrap_ms)));
	return true;
}

static int
kafka_poll(void *state, PublisherOutcome *outcomes, int max, bool *broken)
{
	KafkaPublisher *kafka = state;
	int				n;

	serve_callbacks(kafka);
	n = Min(max, kafka->noutcomes);
	for (int i = 0; i < n; i++)
		outcomes[i] = kafka->outcomes[(kafka->first_outcome + i) % MAX_IN_FLIGHT];
	kafka->first_outcome = (kafka->first_outcome + n) % MAX_IN_FLIGHT;
	kafka->noutcomes -= n;
	kafka->in_flight -= n;
	*broken = kafka->broken || needs_bootstrap(kafka);
	return n;
}

static pgsocket
kafka_descriptor(void *state)
{
	return ((KafkaPublisher *) state)->event_fd;
}

static const char *
kafka_last_error(void *state)
{
	KafkaPublisher *kafka = state;

	if (kafka->broken || !is_unreachable(kafka))
		return kafka->last_error;
	return kafka->trouble[0] ? kafka->trouble : "no broker answers";
}

static PublisherReach
kafka_reach(void *state)
{
	KafkaPublisher *kafka = state;

	if (is_unreachable(kafka))
		return PUBLISHER_UNREACHABLE;
	return kafka->answered ? PUBLISHER_REACHABLE : PUBLISHER_UNTRIED;
}

/* ---- closing ---- */

/*
 * rd_kafka_destroy() waits for librdkafka's threads, one of which may be in
 * the resolver for long.  So it has a thread of its own.
 */
static void *
destroy(void *arg)
{
	KafkaPublisher *kafka = arg;
	int				closed_fd = kafka->closed_fd;

	rd_kafka_destroy(kafka->rk);
	kafka_topics_free(kafka->topics);
	close(kafka->event_fd);
	free(kafka);
	close(closed_fd);
	return NULL;
}

static bool
start_destroyer(KafkaPublisher *kafka)
{
	pthread_t thread;
	sigset_t  all;
	sigset_t  before;
	int		  failed;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&thread, NULL, destroy, kafka);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!failed)
		pthread_detach(thread);
	return !failed;
}

/* All that was made from the handle goes before it, or its end is never reached. */
static void
release_objects(KafkaPublisher *kafka)
{
	rd_kafka_purge(kafka->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
								  RD_KAFKA_PURGE_F_NON_BLOCKING);
	rd_kafka_queue_io_event_enable(kafka->queue, -1, NULL, 0);
	rd_kafka_queue_destroy(kafka->queue);
	kafka_topics_release(kafka->topics);
}

static bool
kafka_close(void *state, int timeout_ms)
{
	KafkaPublisher *kafka = state;
	int				ends[2];
	struct pollfd	closed = {.events = POLLIN};
	bool			done;

	release_objects(kafka);
	if (pipe(ends) != 0)
		return false; /* no descriptor left: leave the handle to the end of the process */
	kafka->closed_fd = ends[1];
	if (!start_destroyer(kafka))
	{
		close(ends[0]);
		close(ends[1]);
		return false;
	}
	closed.fd = ends[0];
	done = poll(&closed, 1, timeout_ms) > 0;
	close(ends[0]);
	return done;
}

const Publisher *
order_engine_kafka_publisher(void)
{
	static const Publisher publisher = {
		.open = kafka_open,
		.publish = kafka_publish,
		.poll = kafka_poll,
		.descriptor = kafka_descriptor,
		.last_error = kafka_last_error,
		.reach = kafka_reach,
		.close = kafka_close,
	};

	return &publisher;
}
