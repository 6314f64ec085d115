/*
 * calls.c
 *		How often a second a statement answers, be it with an error: pgbench ends a
 *		client at its first one.
 *
 *		calls CONNINFO CLIENTS SECONDS SQLSTATE STATEMENT
 *
 * Each client, a thread with a connection of its own, executes STATEMENT, prepared, in
 * autocommit, again and again.  Each answer must have that SQLSTATE (00000: no error).
 * Prints the answers a second of all clients together; the first half second does not
 * count.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

#define WARM_UP 500000 /* microseconds */

static const char *conninfo;
static const char *sqlstate;
static const char *statement;

static atomic_long answers;
static atomic_int  stopping;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "calls: %s: %s\n", what, why);
	exit(1);
}

static PGconn *
open_client(void)
{
	PGconn	 *conn = PQconnectdb(conninfo);
	PGresult *result;

	if (PQstatus(conn) != CONNECTION_OK)
		die("could not connect", PQerrorMessage(conn));
	result = PQprepare(conn, "call", statement, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		die(statement, PQerrorMessage(conn));
	PQclear(result);
	return conn;
}

static void
call(PGconn *conn)
{
	PGresult   *result = PQexecPrepared(conn, "call", 0, NULL, NULL, NULL, 0);
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (PQstatus(conn) != CONNECTION_OK || strcmp(state ? state : "00000", sqlstate) != 0)
		die(statement, state ? PQerrorMessage(conn) : "no error came");
	PQclear(result);
	atomic_fetch_add(&answers, 1);
}

static void *
client(void *conn)
{
	while (!atomic_load(&stopping))
		call(conn);
	PQfinish(conn);
	return NULL;
}

int
main(int argc, char **argv)
{
	pthread_t *threads;
	long	   before;
	int		   clients;
	int		   seconds;

	if (argc != 6)
		die("usage", "calls CONNINFO CLIENTS SECONDS SQLSTATE STATEMENT");
	conninfo = argv[1];
	clients = atoi(argv[2]);
	seconds = atoi(argv[3]);
	sqlstate = argv[4];
	statement = argv[5];

	threads = calloc(clients, sizeof(*threads));
	for (int i = 0; i < clients; i++)
		pthread_create(&threads[i], NULL, client, open_client());
	usleep(WARM_UP);
	before = atomic_load(&answers);
	sleep(seconds);
	printf("%.0f\n", (double) (atomic_load(&answers) - before) / seconds);
	atomic_store(&stopping, 1);
	for (int i = 0; i < clients; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	return 0;
}
