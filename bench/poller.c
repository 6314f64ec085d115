/*
 * poller.c
 *		The outbox poller that a user would write instead of the relay: delete a
 *		chunk with SKIP LOCKED, publish it, commit once Kafka has it all.
 *
 *		poller CONNINFO BROKERS TOPIC [CHUNK [IDLE_MS]]
 *
 * At least once, as the relay is: a crash between Kafka's answer and the commit
 * publishes the chunk again.  Idle, it polls every IDLE_MS.  Ends at SIGTERM.
 */
#include <endian.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>

#define TAKE                                                                   \
	"WITH taken AS ("                                                          \
	"DELETE FROM plain.outbox WHERE id IN ("                                   \
	"SELECT id FROM plain.outbox ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)" \
	"RETURNING id, aggregateid, type, payload, headers) "                      \
	"SELECT id::text, aggregateid, type, payload, headers->>'seq' FROM taken ORDER BY id"

static volatile sig_atomic_t stopping = 0;
static long					 failures = 0;

static void
stop(int signo)
{
	stopping = 1;
}

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "poller: %s: %s\n", what, why);
	exit(1);
}

static void
delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
	if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
		failures++;
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char error[256];

	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		die(name, error);
}

/* The settings are those that the relay runs with. */
static rd_kafka_t *
open_producer(const char *brokers)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t		*producer;
	char			 error[256];

	set(conf, "bootstrap.servers", brokers);
	set(conf, "enable.idempotence", "true");
	set(conf, "partitioner", "murmur2_random");
	set(conf, "socket.nagle.disable", "true");
	set(conf, "linger.ms", "0");
	set(conf, "queue.buffering.max.messages", "1000000");
	rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	if (producer == NULL)
		die("could not start the producer", error);
	return producer;
}

static void
command(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		die(sql, PQerrorMessage(conn));
	PQclear(result);
}

static void
publish(rd_kafka_t *producer, const char *topic, PGresult *rows, int row)
{
	rd_kafka_resp_err_t error;

	do
	{
		error = rd_kafka_producev(
			producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
			RD_KAFKA_V_KEY(PQgetvalue(rows, row, 1), PQgetlength(rows, row, 1)),
			RD_KAFKA_V_VALUE(PQgetvalue(rows, row, 3), PQgetlength(rows, row, 3)),
			RD_KAFKA_V_HEADER("id", PQgetvalue(rows, row, 0), PQgetlength(rows, row, 0)),
			RD_KAFKA_V_HEADER("type", PQgetvalue(rows, row, 2), PQgetlength(rows, row, 2)),
			RD_KAFKA_V_HEADER("content-type", "application/json", -1),
			RD_KAFKA_V_HEADER("seq", PQgetvalue(rows, row, 4), PQgetlength(rows, row, 4)),
			RD_KAFKA_V_END);
		if (error == RD_KAFKA_RESP_ERR__QUEUE_FULL)
			rd_kafka_poll(producer, 10);
	} while (error == RD_KAFKA_RESP_ERR__QUEUE_FULL);
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
		die("could not publish", rd_kafka_err2str(error));
}

/* Publishes one chunk; returns how many events it had. */
static int
turn(PGconn *conn, rd_kafka_t *producer, const char *topic, int chunk)
{
	uint64_t	limit = htobe64((uint64_t) chunk);
	const char *values[] = {(char *) &limit};
	int			lengths[] = {sizeof(limit)};
	int			formats[] = {1};
	PGresult   *rows;
	int			count;

	command(conn, "BEGIN");
	rows = PQexecPrepared(conn, "take", 1, values, lengths, formats, 0);
	if (PQresultStatus(rows) != PGRES_TUPLES_OK)
		die("could not read the outbox", PQerrorMessage(conn));
	count = PQntuples(rows);
	for (int row = 0; row < count; row++)
		publish(producer, topic, rows, row);
	PQclear(rows);
	rd_kafka_flush(producer, 60000);
	if (failures > 0 || rd_kafka_outq_len(producer) > 0)
		die("events not delivered", topic);
	command(conn, "COMMIT");
	return count;
}

int
main(int argc, char **argv)
{
	PGconn	   *conn;
	rd_kafka_t *producer;
	int			chunk = argc > 4 ? atoi(argv[4]) : 10000;
	int			idle_ms = argc > 5 ? atoi(argv[5]) : 10;

	if (argc < 4)
		die("usage", "poller CONNINFO BROKERS TOPIC [CHUNK [IDLE_MS]]");
	signal(SIGTERM, stop);
	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK)
		die("could not connect", PQerrorMessage(conn));
	PQclear(PQprepare(conn, "take", TAKE, 1, (Oid[]){20}));
	producer = open_producer(argv[2]);

	while (!stopping)
	{
		if (turn(conn, producer, argv[3], chunk) == 0)
			usleep(idle_ms * 1000);
	}
	rd_kafka_destroy(producer);
	PQfinish(conn);
	return 0;
}
