/*
 * latency.c
 *		How long an event takes from the writer's commit to a consumer of Kafka.
 *
 *		latency CONNINFO BROKERS TOPIC PARTITIONS RATE SECONDS STATEMENT
 *
 * Writers execute STATEMENT, prepared and in autocommit, RATE times a second in
 * all, with $1 = the aggregate's id and $2 = the payload.  Each notes when its commit
 * has returned; the consumer, in the same process and on the same clock, notes
 * when it holds the event.  Prints one JSON line with the percentiles in
 * milliseconds of (consumed - committed).  Fails if an event does not arrive.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>

#define WRITERS 4
#define PATIENCE 30 /* seconds to wait for the last event */

static const char *conninfo;
static const char *brokers;
static const char *topic;
static const char *statement;
static int		   partitions;
static int		   rate;
static int		   total;
static int		   warm_up; /* the first events, not counted */

static _Atomic int64_t *committed; /* [total], ns */
static int64_t		   *consumed;  /* [total], ns; 0: not yet */
static atomic_int		next_event;
static int64_t			start;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "latency: %s: %s\n", what, why);
	exit(1);
}

static int64_t
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void
sleep_until(int64_t when)
{
	struct timespec ts = {when / 1000000000, when % 1000000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) != 0)
		;
}

static void
write_event(PGconn *conn, int event)
{
	char		   aggregate[32];
	char		   payload[256];
	const char	  *values[] = {aggregate, payload};
	PGresult	  *result;
	ExecStatusType status;

	snprintf(aggregate, sizeof(aggregate), "%d", event % 1000);
	snprintf(payload, sizeof(payload), "{\"n\": %d, \"padding\": \"%0170d\"}", event, event);
	result = PQexecPrepared(conn, "write", 2, values, NULL, NULL, 0);
	atomic_store(&committed[event], now());
	status = PQresultStatus(result);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		die(statement, PQerrorMessage(conn));
	PQclear(result);
}

/* Takes the next event of the common schedule, waits for its time, writes it. */
static void *
writer(void *unused)
{
	PGconn	 *conn = PQconnectdb(conninfo);
	PGresult *result;
	int		  event;

	if (PQstatus(conn) != CONNECTION_OK)
		die("could not connect", PQerrorMessage(conn));
	result = PQprepare(conn, "write", statement, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		die(statement, PQerrorMessage(conn));
	PQclear(result);
	while ((event = atomic_fetch_add(&next_event, 1)) < total)
	{
		sleep_until(start + (int64_t) event * 1000000000 / rate);
		write_event(conn, event);
	}
	PQfinish(conn);
	return NULL;
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char error[256];

	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		die(name, error);
}

static rd_kafka_t *
open_consumer(void)
{
	rd_kafka_conf_t					*conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
	rd_kafka_t						*consumer;
	char							 error[256];

	set(conf, "bootstrap.servers", brokers);
	set(conf, "group.id", "bench_latency");
	set(conf, "enable.auto.commit", "false");
	set(conf, "socket.nagle.disable", "true");
	set(conf, "fetch.wait.max.ms", "100");
	consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
	if (consumer == NULL)
		die("could not start the consumer", error);
	rd_kafka_poll_set_consumer(consumer);
	for (int p = 0; p < partitions; p++)
	{
		int64_t low, high;

		/* an offset fixed now: "the end" would be looked up later */
		if (rd_kafka_query_watermark_offsets(consumer, topic, p, &low, &high, 10000) !=
			RD_KAFKA_RESP_ERR_NO_ERROR)
			die("could not read the offsets of", topic);
		rd_kafka_topic_partition_list_add(list, topic, p)->offset = high;
	}
	if (rd_kafka_assign(consumer, list) != RD_KAFKA_RESP_ERR_NO_ERROR)
		die("could not read", topic);
	rd_kafka_topic_partition_list_destroy(list);
	return consumer;
}

/* The event's number, -1 if the message is none of ours. */
static int
event_number(const rd_kafka_message_t *message)
{
	char head[32] = {0};
	int	 event;

	if (message->err || message->payload == NULL)
		return -1;
	memcpy(head, message->payload, message->len < sizeof(head) ? message->len : sizeof(head) - 1);
	if (sscanf(head, "{\"n\": %d", &event) != 1)
		return -1;
	return event >= 0 && event < total ? event : -1;
}

static void
consume(rd_kafka_t *consumer)
{
	int		seen = 0;
	int64_t deadline = start + ((int64_t) total / rate + PATIENCE) * 1000000000;

	while (seen < total && now() < deadline)
	{
		rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 100);
		int					event;

		if (message == NULL)
			continue;
		event = event_number(message);
		if (event >= 0 && consumed[event] == 0)
		{
			consumed[event] = now();
			seen++;
		}
		rd_kafka_message_destroy(message);
	}
	if (seen < total)
	{
		fprintf(stderr, "latency: %d of %d events arrived\n", seen, total);
		exit(1);
	}
}

static int
compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *) a;
	int64_t y = *(const int64_t *) b;

	return (x > y) - (x < y);
}

static void
report(void)
{
	int		 count = total - warm_up;
	int64_t *waits = malloc(sizeof(int64_t) * count);
	double	 seconds;

	for (int event = warm_up; event < total; event++)
		waits[event - warm_up] = consumed[event] - atomic_load(&committed[event]);
	seconds = (atomic_load(&committed[total - 1]) - atomic_load(&committed[warm_up])) / 1e9;
	qsort(waits, count, sizeof(int64_t), compare);
	printf(
		"{\"events\": %d, \"rate\": %.0f, \"p50_ms\": %.2f, \"p90_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f}\n",
		count, count / seconds, waits[count / 2] / 1e6, waits[count * 9 / 10] / 1e6,
		waits[(int64_t) count * 99 / 100] / 1e6, waits[count - 1] / 1e6);
	free(waits);
}

int
main(int argc, char **argv)
{
	pthread_t	threads[WRITERS];
	rd_kafka_t *consumer;

	if (argc != 8)
		die("usage", "latency CONNINFO BROKERS TOPIC PARTITIONS RATE SECONDS STATEMENT");
	conninfo = argv[1];
	brokers = argv[2];
	topic = argv[3];
	partitions = atoi(argv[4]);
	rate = atoi(argv[5]);
	warm_up = rate;
	total = rate * atoi(argv[6]) + warm_up;
	statement = argv[7];
	committed = calloc(total, sizeof(*committed));
	consumed = calloc(total, sizeof(*consumed));

	consumer = open_consumer();
	start = now() + 500000000;
	for (int i = 0; i < WRITERS; i++)
		pthread_create(&threads[i], NULL, writer, NULL);
	consume(consumer);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	report();
	rd_kafka_consumer_close(consumer);
	rd_kafka_destroy(consumer);
	return 0;
}
