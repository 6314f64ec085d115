/*
 * escrow_account.c
 *		The account of a transaction by itself: prints TAP.  Built and run by
 *		test/t/escrow_account.pl, with src/stock/escrow_account.c and without a server.
 */
#include "postgres.h"

#include <stdio.h>

#include "stock/escrow_account_internal.h"

#undef printf

static int	tests;
static bool passed = true;

static EscrowAccount account;
static EscrowLevel	 levels[10];
static int			 nlevels;
static int64		 available; /* to others */

static void
is(int64 got, int64 expected, const char *what)
{
	bool same = got == expected;

	printf("%s %d - %s\n", same ? "ok" : "not ok", ++tests, what);
	if (!same)
		printf("# got %lld, expected %lld\n", (long long) got, (long long) expected);
	passed = passed && same;
}

static void
begin(int64 quantity)
{
	account = (EscrowAccount){0};
	nlevels = 0;
	available = quantity;
}

static void
enter(SubTransactionId subid)
{
	if (!escrow_account_is_at(&account, subid))
		escrow_account_enter(&account, &levels[nlevels++], subid);
}

static void
take(SubTransactionId subid, int64 quantity)
{
	int64 need = escrow_account_need(&account, quantity);

	enter(subid);
	available -= need;
	escrow_account_claim(&account, need);
	escrow_account_move(&account, -quantity);
}

static void
give(SubTransactionId subid, int64 quantity)
{
	enter(subid);
	escrow_account_move(&account, quantity);
}

static void
roll_back(SubTransactionId subid)
{
	int64 claimed;

	(void) escrow_account_forget(&account, subid, &claimed);
	available += claimed;
}

static void
test_transaction(void)
{
	begin(10);
	take(1, 4);
	is(available, 6, "what is taken is gone for others");
	is(escrow_account_own(&account), 0, "and nothing is kept");
	give(1, 3);
	is(available, 6, "what is returned is not there for others");
	is(escrow_account_need(&account, 5), 2, "but it is taken first");
	is(available + escrow_account_own(&account), 9, "and there when it commits");
	is(available + account.claimed, 10, "all is there when it rolls back");
}

static void
test_subtransactions(void)
{
	begin(10);
	take(1, 2);
	take(2, 3);
	roll_back(2);
	is(available, 8, "a subtransaction gives back what it claimed");
	roll_back(3);
	is(available, 8, "and one that did nothing, nothing");
	take(4, 3);
	is(escrow_account_keep(&account, 4, 1) != NULL, true,
	   "its level is merged into that of its parent");
	is(account.level->subid, 1, "which is the innermost again");
	is(account.claimed, 5, "with what it claimed");
	take(6, 1);
	is(escrow_account_keep(&account, 6, 5) == NULL, true,
	   "or becomes that of a parent without one");
	roll_back(5);
	is(available, 5, "which gives it back when it rolls back itself");
}

/* What an outer level returned, an inner one has used. */
static void
test_own_returns(void)
{
	begin(0);
	give(1, 5);
	take(2, 4);
	is(available, 0, "own returns are taken without a claim");
	is(escrow_account_own(&account), 1, "as many as there are");
	roll_back(2);
	is(escrow_account_own(&account), 5, "and are there again after a rollback");
	is(available, 0, "of which others have nothing");
}

/* Whoever is refused another SKU, with what an outer level returned already. */
static void
test_unclaimed(void)
{
	begin(10);
	take(1, 2);
	give(1, 3);
	take(2, 1);
	enter(2);
	escrow_account_claim(&account, 4);
	escrow_account_unclaim(&account, 4);
	is(escrow_account_own(&account), 2, "what is given back leaves own returns");
	is(account.claimed, 2, "and what was claimed before");
	roll_back(2);
	is(available, 8, "and is not given back again by a rollback");
	is(escrow_account_own(&account), 3, "which leaves the outer level alone");
}

int
main(void)
{
	test_transaction();
	test_subtransactions();
	test_own_returns();
	test_unclaimed();
	printf("1..%d\n", tests);
	return passed ? 0 : 1;
}
