/*
 * wake.h
 *		Wakes a database's worker when a transaction commits.
 *
 * What waits to be woken takes the place of its kind in its database; who has
 * made something for it to do asks for the wake-up, without knowing who it is.
 */
#ifndef ORDER_ENGINE_WAKE_H
#define ORDER_ENGINE_WAKE_H

typedef enum WakeKind
{
	WAKE_RELAY,
	WAKE_KEEPER,
} WakeKind;

#define WAKE_KINDS (WAKE_KEEPER + 1)

/* Wakes this database's worker of the kind when the current transaction commits. */
extern void wake_at_commit(WakeKind kind);

/* Wakes it at once, for what is there already. */
extern void wake_now(WakeKind kind);

/*
 * Makes this process the one that is woken, until it ends: registers its end with
 * before_shmem_exit(), so callbacks that come first are to be registered after it.
 * False if another process still is.
 */
extern bool wake_take_place(WakeKind kind);

/* The wake-up flag of this process goes down; before the snapshot that shall see what raised it. */
extern void wake_clear(void);

/* The process that is woken in this database, 0 if there is none. */
extern int wake_pid(WakeKind kind);

/* Asks for shared memory; from _PG_init. */
extern void wake_init(void);

#endif /* ORDER_ENGINE_WAKE_H */
