/*
 * shared.h
 *		Shared memory of the engine: one pair of hooks for all modules.
 */
#ifndef ORDER_ENGINE_SHARED_H
#define ORDER_ENGINE_SHARED_H

#include "utils/hsearch.h"

/*
 * Asks for a named area of size() bytes, zeroed, and a tranche of `locks` LWLocks
 * of the same name; from a module's init.  size() is asked when all libraries are
 * preloaded.  When the server starts, *area is set in every process.  The locks
 * are there by then: GetNamedLWLockTranche(name); without locks (0) there is no
 * tranche.  `name` must be a literal.
 * Without shared_preload_libraries *area stays NULL: the caller must cope.
 */
extern void shared_request(const char *name, Size (*size)(void), int locks, void **area);

/*
 * Asks for a hash table of at most *entries entries, whose keys are blobs of key_size
 * bytes at their beginning; from a module's init, when *entries is as the server was
 * started with.  entry_size() is asked when all libraries are preloaded.  *table as
 * *area.  Of which lock covers it, and that no more than *entries are put in, its module
 * takes care.
 */
extern void shared_request_hash(const char *name, Size key_size, Size (*entry_size)(void),
								const int *entries, HTAB **table);

/* Installs the hooks; from _PG_init, before the modules' inits. */
extern void shared_init(void);

#endif /* ORDER_ENGINE_SHARED_H */
