/*
 * mark.c
 *		A position, and whose snapshots may not see it.
 */
#include "postgres.h"

#include "storage/proc.h"
#include "storage/procarray.h"

#include "journal/mark_internal.h"
#include "journal/standby_internal.h"

/* The transactions here whose snapshots may not see it; palloc'ed. */
static VirtualTransactionId *
users_of_older(const Mark *mark, int *n)
{
	return GetCurrentVirtualXIDs(mark->xmin, true, false, PROC_IN_VACUUM, n);
}

static bool
contains(const VirtualTransactionId *list, int n, VirtualTransactionId wanted)
{
	for (int i = 0; i < n; i++)
		if (VirtualTransactionIdEquals(list[i], wanted))
			return true;
	return false;
}

void
mark_refresh(Mark *mark)
{
	int					  kept = 0;
	int					  n;
	VirtualTransactionId *now = users_of_older(mark, &n);

	for (int i = 0; i < mark->nblockers; i++)
		if (contains(now, n, mark->blockers[i]))
			mark->blockers[kept++] = mark->blockers[i];
	mark->nblockers = kept;
	pfree(now);
}

/*
 * Notes the position and who may have a snapshot that does not see it.  The
 * position was read before the processes are looked at, so its transaction has
 * left the array of running ones: who takes a snapshot later sees it.  A
 * snapshot whose xmin is above the writer sees it too, and so does one that a
 * noted transaction takes anew.  The xmin of a prepared transaction, or of one
 * that runs no statement at the time, is not set: it has no snapshot.  (Whoever
 * imports a snapshot later, from a transaction that ends before his own, is not
 * seen; pg_dump's workers end before their leader.)
 */
Mark *
mark_take(const JournalState *state, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Mark		 *mark = palloc0(sizeof(Mark));

	mark->consumed = snapshot_copy(state->consumed);
	mark->adopted = snapshot_copy(state->adopted);
	mark->ring = state->ring;
	mark->xmin = state->xmin;
	mark->blockers = users_of_older(mark, &mark->nblockers);
	MemoryContextSwitchTo(old);
	return mark;
}

bool
mark_is_blocked(const Mark *mark, bool patient)
{
	return mark->nblockers > 0 || standby_blocks(mark->xmin, patient);
}
