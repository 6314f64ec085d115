/*
 * escrow_pending_internal.h
 *		What the current transaction has to do with SKUs in escrow.
 */
#ifndef ORDER_ENGINE_ESCROW_PENDING_INTERNAL_H
#define ORDER_ENGINE_ESCROW_PENDING_INTERNAL_H

#include "stock/escrow.h"
#include "stock/escrow_entry_internal.h"

/*
 * The pin of a SKU that has no entry and cannot get one now: its lock, SHARE, is held
 * already, and by this record to the end of the transaction, or of the subtransaction in
 * which it was taken.  Prepared first, so that nothing fails between.
 */
extern EscrowPin *escrow_pin_by_lock(const EscrowKey *key, int64 epoch);

#endif /* ORDER_ENGINE_ESCROW_PENDING_INTERNAL_H */
