/*
 * shared.h
 *		Shared memory of the engine: one pair of hooks for all modules.
 */
#ifndef ORDER_ENGINE_SHARED_H
#define ORDER_ENGINE_SHARED_H

/*
 * Asks for a named area of size() bytes, zeroed, and a tranche of `locks` LWLocks
 * of the same name; from a module's init.  size() is asked when all libraries are
 * preloaded.  When the server starts, *area is set in every process.  The locks
 * are there by then: GetNamedLWLockTranche(name); without locks (0) there is no
 * tranche.  `name` must be a literal.
 * Without shared_preload_libraries *area stays NULL: the caller must cope.
 */
extern void shared_request(const char *name, Size (*size)(void), int locks, void **area);

/* Installs the hooks; from _PG_init, before the modules' inits. */
extern void shared_init(void);

#endif /* ORDER_ENGINE_SHARED_H */
