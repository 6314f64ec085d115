/*
 * launcher.h
 *		Starts the workers of each database.
 */
#ifndef ORDER_ENGINE_LAUNCHER_H
#define ORDER_ENGINE_LAUNCHER_H

/* Defines order_engine.databases, registers the launcher; from _PG_init. */
extern void launcher_init(void);

#endif /* ORDER_ENGINE_LAUNCHER_H */
