/*
 * escrow_account.c
 *		What a transaction has claimed and moved of one SKU, by subtransactions: pure.
 */
#include "postgres.h"

#include "stock/escrow_account_internal.h"

int64
escrow_account_need(const EscrowAccount *account, int64 quantity)
{
	int64 own = escrow_account_own(account);

	Assert(own >= 0);
	return quantity > own ? quantity - own : 0;
}

void
escrow_account_enter(EscrowAccount *account, EscrowLevel *level, SubTransactionId subid)
{
	*level = (EscrowLevel){.outer = account->level, .subid = subid};
	account->level = level;
}

void
escrow_account_claim(EscrowAccount *account, int64 quantity)
{
	account->level->claimed += quantity;
	account->claimed += quantity;
}

void
escrow_account_unclaim(EscrowAccount *account, int64 quantity)
{
	Assert(account->level->claimed >= quantity);
	escrow_account_claim(account, -quantity);
	Assert(escrow_account_own(account) >= 0);
}

void
escrow_account_move(EscrowAccount *account, int64 delta)
{
	account->level->net += delta;
	account->net += delta;
	Assert(escrow_account_own(account) >= 0);
}

EscrowLevel *
escrow_account_keep(EscrowAccount *account, SubTransactionId subid, SubTransactionId parent)
{
	EscrowLevel *level = account->level;

	if (!escrow_account_is_at(account, subid))
		return NULL;
	if (level->outer == NULL || level->outer->subid != parent)
	{
		level->subid = parent;
		return NULL;
	}
	level->outer->claimed += level->claimed;
	level->outer->net += level->net;
	account->level = level->outer;
	return level;
}

EscrowLevel *
escrow_account_forget(EscrowAccount *account, SubTransactionId subid, int64 *claimed)
{
	EscrowLevel *level = account->level;

	*claimed = 0;
	if (!escrow_account_is_at(account, subid))
		return NULL;
	*claimed = level->claimed;
	account->claimed -= level->claimed;
	account->net -= level->net;
	account->level = level->outer;
	return level;
}
