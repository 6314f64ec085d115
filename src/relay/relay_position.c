/*
 * relay_position.c
 *		Up to where the outbox is delivered, and up to where its tables know it.
 */
#include "postgres.h"

#include "journal/journal.h"
#include "relay/relay_position.h"

void
relay_position_open(RelayPosition *position)
{
	JournalPosition stored;

	journal_open(JOURNAL_OUTBOX, &stored);
	position->generation = stored.generation;
	position->batch = stored.batch;
	position->acked = position->stored = stored.last_id;
	position->known = true;
}

bool
relay_position_is_whole(const RelayPosition *position)
{
	return position->batch == 0 || position->acked == JOURNAL_WHOLE;
}

bool
relay_position_is_ahead(const RelayPosition *position)
{
	return position->acked != position->stored;
}

bool
relay_position_is_due(const RelayPosition *position, int64 now)
{
	return relay_position_is_ahead(position) &&
		   (position->acked == JOURNAL_WHOLE || now >= position->stored_at + RELAY_STORE_MS);
}

void
relay_position_store(RelayPosition *position, int64 now)
{
	if (!relay_position_is_ahead(position))
		return;
	journal_acknowledge(JOURNAL_OUTBOX, position->batch, position->acked);
	position->stored = position->acked;
	position->stored_at = now;
}

bool
relay_position_next(RelayPosition *position)
{
	JournalPosition next;

	if (!journal_tick(JOURNAL_OUTBOX, &next))
		return false;
	position->batch = next.batch;
	position->acked = position->stored = 0;
	return true;
}
