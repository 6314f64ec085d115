/*
 * mark_internal.h
 *		A position, and whose snapshots may not see it.
 */
#ifndef ORDER_ENGINE_MARK_INTERNAL_H
#define ORDER_ENGINE_MARK_INTERNAL_H

#include "storage/lock.h"

#include "journal/position_internal.h"

/* A position, and the transactions whose snapshots may not see it. */
typedef struct Mark
{
	TickSnapshot		 *consumed;
	TickSnapshot		 *adopted;
	int32				  ring; /* of the position */
	TransactionId		  xmin; /* who wrote the position */
	int					  nblockers;
	VirtualTransactionId *blockers;
} Mark;

/* Notes a position that this transaction has not written; all of it in `context`. */
extern Mark *mark_take(const JournalState *state, MemoryContext context);

/* Forgets blockers that have no snapshot as old any more. */
extern void mark_refresh(Mark *mark);

/* True if somebody may have a snapshot that does not see it; `patient` as standby_blocks(). */
extern bool mark_is_blocked(const Mark *mark, bool patient);

#endif /* ORDER_ENGINE_MARK_INTERNAL_H */
