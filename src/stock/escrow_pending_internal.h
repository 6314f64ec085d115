/*
 * escrow_pending_internal.h
 *		What the current transaction has to do with SKUs in escrow.
 */
#ifndef ORDER_ENGINE_ESCROW_PENDING_INTERNAL_H
#define ORDER_ENGINE_ESCROW_PENDING_INTERNAL_H

#include "stock/escrow.h"
#include "stock/escrow_entry_internal.h"

/* True if this transaction has pinned the SKU already, holds its lock, or has switched it. */
extern bool escrow_is_pending(const EscrowKey *key);

/*
 * The pin of a SKU that has no entry and cannot get one now: its lock, SHARE, has been
 * taken, in this subtransaction.
 */
extern EscrowPin *escrow_pin_by_lock(const EscrowKey *key, int64 epoch);

/* 55000: this transaction has switched the SKU. */
extern void escrow_refuse_switched(const EscrowKey *key);

#endif /* ORDER_ENGINE_ESCROW_PENDING_INTERNAL_H */
