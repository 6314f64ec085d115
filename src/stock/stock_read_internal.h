/*
 * stock_read_internal.h
 *		What is available of a SKU, as available() tells it.
 */
#ifndef ORDER_ENGINE_STOCK_READ_INTERNAL_H
#define ORDER_ENGINE_STOCK_READ_INTERNAL_H

#include "c.h"

/*
 * What is free of a SKU, in either mode, as the active snapshot sees it or by shared
 * memory; false if there is none of that name.  As any role, on standbys and in parallel
 * workers too; 40001 where a snapshot is too old, and there is but one.
 */
extern bool stock_read_available(const char *sku, int64 *available);

/*
 * The version that its row has, or in mode escrow will have when all that is committed by now is
 * folded; false if there is no row.  Locks nothing but the journal against being emptied.
 */
extern bool stock_read_version(const char *sku, int64 *version);

#endif /* ORDER_ENGINE_STOCK_READ_INTERNAL_H */
