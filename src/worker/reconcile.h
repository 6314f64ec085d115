/*
 * reconcile.h
 *		Whether the books balance, and what can be mended without guessing.
 */
#ifndef ORDER_ENGINE_RECONCILE_H
#define ORDER_ENGINE_RECONCILE_H

/* A broken invariant. */
typedef struct ReconcileFinding
{
	const char *name; /* of the invariant */
	const char *key;  /* of what breaks it */
	const char *expected;
	const char *actual;
	bool		repaired;
} ReconcileFinding;

/* The finding is good inside the call. */
typedef void (*ReconcileReport)(const ReconcileFinding *finding, void *argument);

/*
 * Reads everything under one snapshot that is newer than the locks which keep it true,
 * and reports what is broken.  `repair`: what can be is put right, once it has been
 * seen again under its lock; 0A000 in a transaction with one snapshot, 25006 if it is
 * read-only.  55000 without tables.
 */
extern void reconcile_run(bool repair, ReconcileReport report, void *argument);

/* Defines the setting; from _PG_init. */
extern void reconcile_init(void);

/* For the keeper: starts a process that does it when order_engine.reconcile_interval is over. */
extern void reconcile_when_due(void);

#endif /* ORDER_ENGINE_RECONCILE_H */
