/*
 * escrow_account_internal.h
 *		What a transaction has claimed and moved of one SKU, by subtransactions: pure.
 *
 * Units that are claimed have left what is free to others.  The net is what the
 * transaction returned less what it took.  Claimed and net together are what it could
 * still take without asking, never negative, and what goes back when it commits; when
 * it, or a subtransaction, rolls back, what was claimed there goes back.
 */
#ifndef ORDER_ENGINE_ESCROW_ACCOUNT_INTERNAL_H
#define ORDER_ENGINE_ESCROW_ACCOUNT_INTERNAL_H

#include "c.h"

typedef struct EscrowLevel
{
	struct EscrowLevel *outer;
	SubTransactionId	subid;
	int64				claimed;
	int64				net;
} EscrowLevel;

/* All zeros: nothing yet. */
typedef struct EscrowAccount
{
	EscrowLevel *level;	  /* the innermost; NULL: none */
	int64		 claimed; /* of all levels */
	int64		 net;	  /* the same */
} EscrowAccount;

/* What can be taken without claiming more. */
static inline int64
escrow_account_own(const EscrowAccount *account)
{
	return account->claimed + account->net;
}

/* Whether the innermost level is that of this subtransaction. */
static inline bool
escrow_account_is_at(const EscrowAccount *account, SubTransactionId subid)
{
	return account->level && account->level->subid == subid;
}

/* What is to be claimed before so much can be taken; 0 if nothing. */
extern int64 escrow_account_need(const EscrowAccount *account, int64 quantity);

/* Begins a level, in memory of the caller's. */
extern void
escrow_account_enter(EscrowAccount *account, EscrowLevel *level, SubTransactionId subid);

/*
 * At the innermost level: claimed so much; of what was claimed there and not taken, gave so much
 * back; moved so much, taken is negative.
 */
extern void escrow_account_claim(EscrowAccount *account, int64 quantity);
extern void escrow_account_unclaim(EscrowAccount *account, int64 quantity);
extern void escrow_account_move(EscrowAccount *account, int64 delta);

/*
 * The end of a subtransaction: what the level, if there is one, becomes its parent's, or
 * is forgotten and *claimed set to what goes back.  Returns the level that is no longer
 * needed, or NULL.
 */
extern EscrowLevel *
escrow_account_keep(EscrowAccount *account, SubTransactionId subid, SubTransactionId parent);
extern EscrowLevel *
escrow_account_forget(EscrowAccount *account, SubTransactionId subid, int64 *claimed);

#endif /* ORDER_ENGINE_ESCROW_ACCOUNT_INTERNAL_H */
