/*
 * journal_tick_internal.h
 *		The batch that comes next.
 */
#ifndef ORDER_ENGINE_JOURNAL_TICK_INTERNAL_H
#define ORDER_ENGINE_JOURNAL_TICK_INTERNAL_H

#include "journal/position_internal.h"

/* True while this process's last tick is too young; see journal_put_off(). */
extern bool tick_is_put_off(Journal journal);

/*
 * The newest position; it becomes this cluster's first one, of this timeline.  Under the
 * journal's lock.
 */
extern void tick_newest(Journal journal, JournalState *state);

/*
 * The batch that follows one that is acknowledged whole, under a snapshot that was taken after
 * the journal's leaves were locked; nothing is stored.  False if there is nothing to read.
 */
extern bool tick_next(JournalState *state, JournalState *next, const Leaf *leaves, int nleaves,
					  Snapshot snapshot);

/* Stores it. */
extern void tick_append(JournalState *next);

#endif /* ORDER_ENGINE_JOURNAL_TICK_INTERNAL_H */
