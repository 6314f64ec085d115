/*
 * present_internal.h
 *		The leaf of a journal that rows are appended to now.
 */
#ifndef ORDER_ENGINE_PRESENT_INTERNAL_H
#define ORDER_ENGINE_PRESENT_INTERNAL_H

#include "journal/journal.h"

/* Its number. */
extern int present_ring(Journal journal);

/* Lets writers go on in this leaf, which is empty. */
extern void present_set(Journal journal, int ring);

/*
 * Lets writers go on in an empty leaf, if there is one; returns its number, else the present
 * one's.
 */
extern int present_leave(Journal journal);

/* Asks for shared memory, registers a callback; from journal_init(). */
extern void present_init(void);

#endif /* ORDER_ENGINE_PRESENT_INTERNAL_H */
