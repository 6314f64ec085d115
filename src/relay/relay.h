/*
 * relay.h
 *		The background worker that publishes the outbox.
 */
#ifndef ORDER_ENGINE_RELAY_H
#define ORDER_ENGINE_RELAY_H

#include "datatype/timestamp.h"

#include "base/property.h"
#include "journal/outbox.h"

/* What relay_status.state says. */
typedef enum RelayState
{
	RELAY_STOPPED,	/* no relay runs in this database */
	RELAY_DISABLED, /* order_engine.publisher is none */
	RELAY_RUNNING,
	RELAY_PAUSED,
	RELAY_UNREACHABLE, /* the broker is: the relay waits */
	RELAY_BLOCKED,	   /* an event is refused, or the configuration wrong: tried again */
} RelayState;

#define RELAY_ERROR_LENGTH 512

/* What a relay tells about itself, in shared memory. */
typedef struct RelayStatus
{
	RelayState		state;
	OutboxPublisher publisher;
	int64			generation; /* of the journal's position */
	int64			batch;		/* of the last acknowledged event; 0: none yet */
	int64			event_id;
	int64			published; /* since `since` */
	int64			refused;
	TimestampTz		since;		  /* the relay's start */
	TimestampTz		published_at; /* 0: nothing yet */
	TimestampTz		error_at;	  /* 0: no error */
	char			error[RELAY_ERROR_LENGTH];
} RelayStatus;

/*
 * Reads order_engine.kafka_config_file, then order_engine.kafka_config, which
 * wins.  False and *error (palloc'ed) if one cannot be read.
 */
extern bool relay_read_properties(List **properties, char **error);

/* True if pause_relay() is in effect.  In a transaction, as the tables' owner. */
extern bool relay_is_paused(void);

/*
 * The status of a relay that starts: the last error of the one before is kept.  From the relay
 * only.
 */
extern RelayStatus relay_status_start(void);

/* Makes a status visible to relay_status; from the relay only. */
extern void relay_status_set(const RelayStatus *status);

/* Defines the settings, asks for shared memory; from _PG_init. */
extern void relay_init(void);

#endif /* ORDER_ENGINE_RELAY_H */
