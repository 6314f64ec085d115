/*
 * launcher.h
 *		Starts the workers of each database.
 */
#ifndef ORDER_ENGINE_LAUNCHER_H
#define ORDER_ENGINE_LAUNCHER_H

/* order_engine.databases, as this process sees it. */
extern char *launcher_databases;

/* True if the server has a launcher, on a standby once it is promoted. */
extern bool launcher_is_preloaded(void);

/* True if the list has the database of that OID.  In a transaction. */
extern bool launcher_has_database(Oid database);

/* True if the launcher could not start a worker lately, for there was no slot left. */
extern bool launcher_is_full(void);

/* Defines order_engine.databases, asks for shared memory, registers the launcher; from _PG_init. */
extern void launcher_init(void);

#endif /* ORDER_ENGINE_LAUNCHER_H */
