/*
 * machine_catalog.h
 *		State machines that are published, for the life of the backend.
 */
#ifndef ORDER_ENGINE_MACHINE_CATALOG_H
#define ORDER_ENGINE_MACHINE_CATALOG_H

#include "machine/machine.h"

/* The machine with this id; from the table at its first use.  22023 if there is none. */
extern const Machine *machine_get(int machine_id);

/* The newest published version of this name.  22023 if there is none. */
extern const Machine *machine_latest(const char *name);

/* Makes the cache; from _PG_init. */
extern void machine_catalog_init(void);

#endif /* ORDER_ENGINE_MACHINE_CATALOG_H */
