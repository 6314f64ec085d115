/*
 * relay_chunk.h
 *		The part of a batch that is in memory, on its way to the publisher.
 */
#ifndef ORDER_ENGINE_RELAY_CHUNK_H
#define ORDER_ENGINE_RELAY_CHUNK_H

#include "journal/outbox.h"

#define RELAY_CHUNK_EVENTS 5000

/* Outlives transactions. */
typedef struct RelayChunk
{
	MemoryContext  context; /* of the rows */
	JournalReader *reader;	/* NULL: the next one starts behind the position */
	bool		   at_end;	/* the reader has no more */
	OutboxRow	 **rows;
	int			   nrows;
	int			   taken; /* so many of them are the publisher's */
} RelayChunk;

/* Once, when the process starts. */
extern void relay_chunk_init(RelayChunk *chunk);

/*
 * The batch's next events in the place of these, which are used up; the first
 * ones are those behind `acked`.  In a transaction, as the tables' owner.
 */
extern void relay_chunk_read(RelayChunk *chunk, int64 batch, int64 acked);

/* The first event that is not taken, NULL: none is left.  Valid until the next is read. */
extern OutboxRow *relay_chunk_first(const RelayChunk *chunk);

/* The first event is the publisher's now. */
extern void relay_chunk_take(RelayChunk *chunk);

/* Forgets it all: what is read next starts behind the position.  In or outside a transaction. */
extern void relay_chunk_drop(RelayChunk *chunk);

#endif /* ORDER_ENGINE_RELAY_CHUNK_H */
