/*
 * escrow_lock_internal.h
 *		The heavyweight locks of escrow, and waits that end.
 */
#ifndef ORDER_ENGINE_ESCROW_LOCK_INTERNAL_H
#define ORDER_ENGINE_ESCROW_LOCK_INTERNAL_H

#include "storage/lock.h"
#include "utils/timestamp.h"

#include "stock/escrow_entry_internal.h"

/*
 * The lock of a SKU, to the end of the transaction, or until it is given back; false if
 * it was not to be waited for and is not free.
 */
extern bool escrow_lock_sku(const EscrowKey *key, LOCKMODE mode, bool wait);
extern void escrow_unlock_sku(const EscrowKey *key, LOCKMODE mode);

/* Waits until nobody has a lock of the SKU that this one conflicts with. */
extern void escrow_await_sku(const EscrowKey *key, LOCKMODE mode);

/* The lock under which entries are loaded; nobody waits for a SKU while he has it. */
extern void escrow_lock_load(Oid stock);
extern void escrow_unlock_load(Oid stock);

/* Locks waited for within it are waited for until then: 55P03. */
typedef struct EscrowDeadline
{
	int			guc_level;
	TimestampTz at;
} EscrowDeadline;

extern void escrow_deadline_begin(EscrowDeadline *deadline, int timeout_ms);
extern void escrow_deadline_renew(const EscrowDeadline *deadline);
extern void escrow_deadline_end(EscrowDeadline *deadline);

#endif /* ORDER_ENGINE_ESCROW_LOCK_INTERNAL_H */
