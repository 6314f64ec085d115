/*
 * relay_chunk.c
 *		The part of a batch that is in memory, on its way to the publisher.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "relay/relay_chunk.h"

#define CHUNK_BYTES (4 * 1024 * 1024)

void
relay_chunk_init(RelayChunk *chunk)
{
	chunk->context =
		AllocSetContextCreate(TopMemoryContext, "order_engine relay chunk", ALLOCSET_DEFAULT_SIZES);
}

void
relay_chunk_read(RelayChunk *chunk, int64 batch, int64 acked)
{
	if (chunk->reader == NULL)
		chunk->reader = journal_reader_open(JOURNAL_OUTBOX, batch, acked, TopMemoryContext);
	MemoryContextReset(chunk->context);
	chunk->taken = 0;
	chunk->nrows =
		outbox_read(chunk->reader, RELAY_CHUNK_EVENTS, CHUNK_BYTES, chunk->context, &chunk->rows);
	chunk->at_end = chunk->nrows == 0;
}

OutboxRow *
relay_chunk_first(const RelayChunk *chunk)
{
	return chunk->taken < chunk->nrows ? chunk->rows[chunk->taken] : NULL;
}

void
relay_chunk_take(RelayChunk *chunk)
{
	chunk->taken++;
}

void
relay_chunk_drop(RelayChunk *chunk)
{
	if (chunk->reader)
		journal_reader_close(chunk->reader);
	MemoryContextReset(chunk->context);
	*chunk = (RelayChunk){.context = chunk->context};
}
