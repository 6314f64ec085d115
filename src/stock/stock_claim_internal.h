/*
 * stock_claim_internal.h
 *		Units of a SKU in mode escrow claimed, with patience.
 */
#ifndef ORDER_ENGINE_STOCK_CLAIM_INTERNAL_H
#define ORDER_ENGINE_STOCK_CLAIM_INTERNAL_H

#include "stock/escrow.h"

/*
 * escrow_claim(), and while it fails and others have pins of the SKU, that again for
 * order_engine.escrow_wait: they may roll back.  For who holds no lock for which they may wait.
 */
extern bool stock_claim(EscrowPin *pin, int64 quantity);

/* True if that setting is not 0, so that a look alone refuses nothing. */
extern bool stock_claim_waits(void);

/*
 * The pin of a SKU whose row is locked, and is in mode escrow, so nobody can switch it.
 */
extern EscrowPin *stock_pin_locked(const char *sku);

/* The setting; from stock_init(). */
extern void stock_claim_init(void);

#endif /* ORDER_ENGINE_STOCK_CLAIM_INTERNAL_H */
