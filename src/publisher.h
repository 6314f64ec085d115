/*
 * publisher.h
 *		The whole interface between the relay and what it publishes to.
 *
 * A publisher knows no tables, runs in the relay's main thread only, and never
 * raises from inside a foreign library's callback.  All strings are the
 * caller's and may be reused when the call returns.
 */
#ifndef ORDER_ENGINE_PUBLISHER_H
#define ORDER_ENGINE_PUBLISHER_H

typedef struct PublisherHeader
{
	const char *name;
	const char *value;			/* not NUL-terminated */
	size_t		length;
} PublisherHeader;

typedef struct PublisherMessage
{
	uint64		tag;			/* the relay's own mark, given back with the outcome */
	const char *topic;
	int32		partition;		/* -1: by key */
	const char *key;			/* NULL: none */
	size_t		key_length;
	const char *value;			/* NULL: tombstone */
	size_t		value_length;
	const PublisherHeader *headers;
	int			nheaders;
} PublisherMessage;

typedef enum PublisherResult
{
	PUBLISHER_OK,				/* accepted; an outcome will come */
	PUBLISHER_FULL,				/* poll, then offer it again */
	PUBLISHER_REFUSED,			/* this message can never be sent; last_error() says why */
	PUBLISHER_BROKEN,			/* close, open again, resume from the stored position */
} PublisherResult;

typedef enum PublisherOutcomeStatus
{
	PUBLISHER_DELIVERED,
	PUBLISHER_REJECTED,			/* the broker refuses this message */
	PUBLISHER_FAILED,			/* not known to be delivered; nothing wrong with the message */
} PublisherOutcomeStatus;

typedef struct PublisherOutcome
{
	uint64		tag;
	PublisherOutcomeStatus status;
} PublisherOutcome;

typedef struct Publisher
{
	/* Connects lazily; `config` as `order_engine.kafka_config`.  NULL and *error (palloc'ed) on bad configuration. */
	void	   *(*open) (const char *client_id, const char *config, const char *config_file, char **error);
	PublisherResult (*publish) (void *state, const PublisherMessage *message);

	/* Collects up to `max` outcomes without waiting; returns how many.  *broken is set when the handle must be reopened. */
	int			(*poll) (void *state, PublisherOutcome *outcomes, int max, bool *broken);

	/* A descriptor that becomes readable when poll() has something, -1: none (poll by time). */
	int			(*descriptor) (void *state);
	const char *(*last_error) (void *state);
	bool		(*reachable) (void *state);

	/* Ends within about `timeout_ms`; what is not acknowledged by then is unknown. */
	void		(*close) (void *state, int timeout_ms);
} Publisher;

/* Writes each message to the server log. */
extern const Publisher *log_publisher(void);

/* The symbol that order_engine_kafka exports: `const Publisher *order_engine_kafka_publisher(void)`. */
#define KAFKA_PUBLISHER_LIBRARY "$libdir/order_engine_kafka"
#define KAFKA_PUBLISHER_SYMBOL "order_engine_kafka_publisher"

#endif							/* ORDER_ENGINE_PUBLISHER_H */
