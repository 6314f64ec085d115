/*
 * escrow_counter.c
 *		What shared memory says of all SKUs, for who compares it with the tables.
 *
 * While somebody has a pin the two may differ.  So a counter is believed if nobody had one
 * before the snapshot was taken under which the tables are read, nobody has one after it,
 * and nobody had one in between, as the count of changes tells.
 */
#include "postgres.h"

#include "stock/escrow.h"
#include "stock/escrow_entry_internal.h"

static int
compare_counters(const void *a, const void *b)
{
	return strcmp(((const EscrowCounter *) a)->sku, ((const EscrowCounter *) b)->sku);
}

EscrowCounter *
escrow_counters(int *n)
{
	EscrowStatistics *all = escrow_entry_statistics(n);
	EscrowCounter	 *counters =
		MemoryContextAllocHuge(CurrentMemoryContext, sizeof(EscrowCounter) * Max(*n, 1));

	for (int i = 0; i < *n; i++)
	{
		strlcpy(counters[i].sku, all[i].sku, sizeof(counters[i].sku));
		counters[i].epoch = all[i].epoch;
		counters[i].free = all[i].free;
		counters[i].fold_failures = all[i].fold_failures;
		counters[i].quiet = all[i].quiet;
		counters[i].changes = all[i].changes;
	}
	if (all)
		pfree(all);
	qsort(counters, *n, sizeof(EscrowCounter), compare_counters);
	return counters;
}

void
escrow_counters_settle(EscrowCounter *counters, int n)
{
	int			   nnow;
	EscrowCounter *all = escrow_counters(&nnow);

	for (int i = 0; i < n; i++)
	{
		EscrowCounter *now =
			bsearch(&counters[i], all, nnow, sizeof(EscrowCounter), compare_counters);

		counters[i].quiet = counters[i].quiet && now && now->quiet &&
							now->epoch == counters[i].epoch && now->free == counters[i].free &&
							now->changes == counters[i].changes;
	}
	pfree(all);
}
