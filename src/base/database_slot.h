/*
 * database_slot.h
 *		What each database has of its own in shared memory.
 *
 * A module asks for a part of every slot when it starts, and finds that of its
 * database in a backend or worker:
 *
 *		static Size things_part;
 *
 *		things_part = database_slot_request(sizeof(Things), things_init);
 *		...
 *		Things *things = database_slot_part(things_part);
 */
#ifndef ORDER_ENGINE_DATABASE_SLOT_H
#define ORDER_ENGINE_DATABASE_SLOT_H

#include "storage/lwlock.h"

/*
 * Asks for so many bytes in every slot; from a module's init.  What it returns
 * is for database_slot_part().  The part of a database that is new here is zeroed
 * and given to `init` (NULL: zeros will do), which must not raise.
 */
extern Size database_slot_request(Size size, void (*init)(void *part));

/*
 * That part of this database's slot, which stays where it is until this process
 * ends; NULL without shared_preload_libraries.  In a process that is connected to
 * a database, and without database_slot_lock(), which the first call takes.
 */
extern void *database_slot_part(Size part);

/* Covers those fields of parts of which their module says so.  Only with a part in hand. */
extern LWLock *database_slot_lock(void);

/* Asks for shared memory; from _PG_init, after shared_init(). */
extern void database_slot_init(void);

#endif /* ORDER_ENGINE_DATABASE_SLOT_H */
