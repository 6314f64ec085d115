/*
 * shared.h
 *		Shared memory of the engine: one pair of hooks for all modules.
 */
#ifndef ORDER_ENGINE_SHARED_H
#define ORDER_ENGINE_SHARED_H

/*
 * Asks for a named area; from a module's init.  When the server starts, *area
 * is set in every process and `init` called once on the zeroed memory (locks
 * named in `tranche` are available to it: GetNamedLWLockTranche(name)).
 * Without shared_preload_libraries *area stays NULL: the caller must cope.
 */
extern void shared_request(const char *name, Size size, int locks, void (*init) (void *area), void **area);

/* Installs the hooks; from _PG_init, before the modules' inits. */
extern void shared_init(void);

#endif							/* ORDER_ENGINE_SHARED_H */
