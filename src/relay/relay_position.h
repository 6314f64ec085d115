/*
 * relay_position.h
 *		Up to where the outbox is delivered, and up to where its tables know it.
 */
#ifndef ORDER_ENGINE_RELAY_POSITION_H
#define ORDER_ENGINE_RELAY_POSITION_H

#define RELAY_STORE_MS 100 /* it is stored at most this often while events flow */

/* To be changed by these functions only, but for `acked`, which delivery moves. */
typedef struct RelayPosition
{
	bool  known; /* false: read it before all else */
	int64 generation;
	int64 batch;	 /* the newest tick's, 0: none */
	int64 acked;	 /* its events up to this id are delivered, or JOURNAL_WHOLE */
	int64 stored;	 /* and up to here the table knows it */
	int64 stored_at; /* by clock_ms() */
} RelayPosition;

/* Reads it from the tables; in a transaction, as their owner (journal_open()'s terms). */
extern void relay_position_open(RelayPosition *position);

/* True if nothing is left of the batch. */
extern bool relay_position_is_whole(const RelayPosition *position);

/* True if the tables do not know it yet. */
extern bool relay_position_is_ahead(const RelayPosition *position);

/* True if it is time to store it: now and then, and at once at a batch's end. */
extern bool relay_position_is_due(const RelayPosition *position, int64 now);

/* Stores it, if the tables do not know it yet; in a transaction, as their owner. */
extern void relay_position_store(RelayPosition *position, int64 now);

/*
 * Behind a whole batch: on to the next, whose events may be used when the
 * transaction has committed (journal_tick()'s terms).  False if there is none.
 */
extern bool relay_position_next(RelayPosition *position);

#endif /* ORDER_ENGINE_RELAY_POSITION_H */
