/*
 * position_internal.h
 *		Positions: what a consumer has read.
 */
#ifndef ORDER_ENGINE_POSITION_INTERNAL_H
#define ORDER_ENGINE_POSITION_INTERNAL_H

#include "journal/ring_internal.h"
#include "journal/snapshot_internal.h"

/* One row of journal_position, which says it all; its snapshots are palloc'ed apart. */
typedef struct JournalState
{
	Journal		  journal;
	int64		  entry; /* counts the rows of an era */
	int64		  generation;
	pg_uuid_t	  identity;
	int64		  era;
	int32		  timeline;
	int64		  batch; /* the newest tick */
	pg_uuid_t	  tick_id;
	TimestampTz	  tick_at;
	bool		  other_eras; /* this batch is of rows that a restore brought */
	TickSnapshot *consumed;	  /* rows that it sees were consumed before this batch; NULL: none */
	TickSnapshot
		*adopted; /* the same for rows of other eras, by the transaction that brought them */
	TickSnapshot *snapshot; /* this batch's; NULL: no batch yet */
	int64		  last_id;
	int32		  current_ring; /* the leaf that was written to */
	int32		  ring;			/* the leaf of journal_position that this row is in */
	TransactionId xmin;			/* who wrote the row */
} JournalState;

/*
 * The journal's lock, held to the end of the transaction by whoever changes the
 * position or rotates.  Taken before any lock on a leaf that others could wait for.
 *
 * position_lock() locks what its holder reads and then writes to, too, as a writer from
 * the first: REINDEX of a leaf lets readers in, and waits for them when it has the leaf.
 * position_lock_if_free() waits for neither; false if somebody else has one of them, and
 * then the transaction is to end soon, with what it has got of them.
 */
extern void position_lock(Journal journal);
extern bool position_lock_if_free(Journal journal);

/*
 * The newest position of an era under a fresh snapshot, in the current context;
 * false if there is none.  Locks the table of positions (ring_lock()).
 */
extern bool position_read(Journal journal, int64 era, JournalState *state);

/*
 * The same under a given snapshot, which was taken after the table of positions was
 * locked.  Runs in parallel workers, too.
 */
extern bool position_seen(Journal journal, int64 era, Snapshot snapshot, JournalState *state);

/* As position_read(), the newest position of a batch. */
extern bool position_find(Journal journal, int64 era, int64 batch, JournalState *state);

/* Appends the position, with entry + 1, to its leaf.  Under the journal's lock. */
extern void position_append(JournalState *state);

/* Counts the batch, which is acknowledged whole, among what is consumed. */
extern void position_fold(JournalState *state);

/*
 * Raises generation and batch of the first position of this cluster to the highest of
 * other clusters that a restore brought.
 */
extern void position_inherit(JournalState *state);

/* Each journal's positions have leaves of their own, those from journal * POSITION_LEAVES on. */
#define POSITION_LEAVES 2

/* The leaves of a journal's positions, in the order of their numbers; palloc'ed. */
extern Leaf *position_leaves(Journal journal, int *nleaves);

/*
 * How many times over this leaf of positions is full: more than once, something keeps the
 * other one from being emptied.
 */
extern int position_excess(int ring);

#endif /* ORDER_ENGINE_POSITION_INTERNAL_H */
