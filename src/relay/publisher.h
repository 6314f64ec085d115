/*
 * publisher.h
 *		The whole interface between the relay and what it publishes to.
 *
 * A publisher knows no tables, runs in the relay's main thread only, and never
 * raises from inside a foreign library's callback.  It never waits for the
 * other side.  Only two calls wait at all, for threads of their own: open()
 * until they have started, close() until they have ended or its time is over
 * (one may be in the resolver).  All strings are the caller's and may be reused
 * when the call returns.
 */
#ifndef ORDER_ENGINE_PUBLISHER_H
#define ORDER_ENGINE_PUBLISHER_H

#include "base/property.h"

typedef struct PublisherHeader
{
	const char *name;
	const char *value; /* not NUL-terminated; NULL: null */
	size_t		length;
} PublisherHeader;

typedef struct PublisherMessage
{
	uint64				   tag; /* the relay's own mark, given back with the outcome */
	const char			  *topic;
	int32				   partition; /* -1: by key */
	const char			  *key;		  /* NULL: none */
	size_t				   key_length;
	const char			  *value; /* NULL: tombstone */
	size_t				   value_length;
	const PublisherHeader *headers;
	int					   nheaders;
} PublisherMessage;

typedef enum PublisherResult
{
	PUBLISHER_OK,	   /* accepted, perhaps held back for a while; an outcome will come */
	PUBLISHER_FULL,	   /* poll, then offer it again */
	PUBLISHER_REFUSED, /* this message cannot be sent; last_error() says why */
	PUBLISHER_BROKEN,  /* close, open again, resume from the stored position */
} PublisherResult;

typedef enum PublisherStatus
{
	PUBLISHER_DELIVERED,
	PUBLISHER_REJECTED, /* the broker refuses it; none of its key behind it is delivered */
	PUBLISHER_FAILED,	/* not known to be delivered; nothing wrong with the message */
} PublisherStatus;

typedef struct PublisherOutcome
{
	uint64			tag;
	PublisherStatus status;
} PublisherOutcome;

/* Whether anything can be delivered to anybody. */
typedef enum PublisherReach
{
	PUBLISHER_UNTRIED, /* opened a moment ago: nobody has answered yet, or failed to */
	PUBLISHER_REACHABLE,
	PUBLISHER_UNREACHABLE, /* last_error() says why */
} PublisherReach;

typedef struct Publisher
{
	/*
	 * Connects lazily: only the configuration, and files that it names, are
	 * looked at.  `properties` is a list of Property; the later of two with one
	 * name wins.  The handle outlives any memory context.  NULL and *error
	 * (palloc'ed) if they are wrong.
	 */
	void *(*open)(const char *client_id, List *properties, char **error);

	/* Takes a message, to send it later, or says at once why not. */
	PublisherResult (*publish)(void *state, const PublisherMessage *message);

	/*
	 * Collects up to `max` outcomes without waiting; returns how many (call
	 * again while it is `max`).  *broken is set when the handle must be
	 * reopened.
	 */
	int (*poll)(void *state, PublisherOutcome *outcomes, int max, bool *broken);

	/*
	 * A descriptor that becomes readable when poll() has something, PGINVALID_SOCKET: none
	 * (poll after every publish).
	 */
	pgsocket (*descriptor)(void *state);

	/* What went wrong last, "" if nothing did; valid until the next call. */
	const char *(*last_error)(void *state);

	/* Whether anybody can be reached, by what was learnt in poll() and by the time since. */
	PublisherReach (*reach)(void *state);

	/*
	 * Gives up what is not acknowledged (its fate is unknown) and frees the
	 * handle, waiting for its threads at most `timeout_ms`.  False if they still
	 * run then: they end by themselves, but exit() must not be called.
	 */
	bool (*close)(void *state, int timeout_ms);
} Publisher;

/* Writes each message to the server log. */
extern const Publisher *log_publisher(void);

/*
 * The symbol that order_engine_kafka exports: `const Publisher
 * *order_engine_kafka_publisher(void)`.
 */
typedef const Publisher *(*PublisherEntry)(void);
#define KAFKA_PUBLISHER_LIBRARY "$libdir/order_engine_kafka"
#define KAFKA_PUBLISHER_SYMBOL "order_engine_kafka_publisher"

#endif /* ORDER_ENGINE_PUBLISHER_H */
