/*
 * escrow_fold.c
 *		Puts what was changed by escrow into the rows of stock.
 *
 * One transaction: the changes of a batch of stock_journal, summed by SKU, are added to
 * the rows of stock, in the order of their keys, and the batch counts as folded.  So row
 * and position move together, and whoever reads both under one snapshot finds each change
 * once.  No counter is touched: what is free is the same before and after.
 *
 * It waits for no row.  What cannot be added now, since somebody has locked the row, or
 * since a user's trigger raises there, is carried: the sum is appended to the journal
 * anew, in this transaction, and comes with the next batch, whose snapshot is the first
 * to see it.  Sums of an epoch that is not the row's are of no row any more: a switch of
 * its mode has put them into it, or it was deleted.  Epochs never come again, so it does
 * not matter which version of the row says so, if it is not older than the batch.
 *
 * A row may be ahead of its batch.  An UPDATE by hand takes from the row itself, and by the
 * counter, what others have returned since the batch's snapshot: then what they returned is not in
 * the row, what was taken before is to go off it, and the CHECK of the row refuses that.  So one
 * SKU's fold fails, for once, as for a trigger: a later batch has both.
 *
 * Owns, in the process that folds, a note of the SKUs that have failed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/lmgr.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/call.h"
#include "base/clock.h"
#include "journal/stock_journal.h"
#include "stock/escrow.h"
#include "stock/stock_event_internal.h"
#include "stock/stock_row_internal.h"

/* So many changes at once: more will have come meanwhile. */
#define MUCH 1000

#define FIRST_RETRY_MS 1000
#define LAST_RETRY_MS (60 * 1000)
#define LOG_MS (60 * 1000)

typedef struct SumKey
{
	const char *sku;
	int64		epoch;
} SumKey;

/* What a batch changes of a SKU. */
typedef struct StockSum
{
	SumKey key; /* hash key */
	int64  on_hand;
	int64  reserved;
	int64  changes; /* so many were summed */
	bool   carried;
} StockSum;

/* A SKU whose row could not be changed. */
typedef struct Failure
{
	char  sku[CALL_MAX_NAME_LENGTH + 1]; /* hash key */
	int64 again_at;						 /* of clock_ms() */
	int64 logged_at;
	int	  delay_ms;
} Failure;

/*
 * Of this process for as long as it lives, and true of a transaction that failed, too: what
 * fails is tried more rarely, and in a subtransaction of its own.
 */
static HTAB *failures;			 /* NULL: none was ever */
static bool	 unfinished = false; /* the last fold has not come to its end */

/* ---- sums ---- */

static uint32
hash_key(const void *key, Size keysize)
{
	const SumKey *sum = key;

	return hash_combine(hash_bytes((const unsigned char *) sum->sku, strlen(sum->sku)),
						hash_bytes((const unsigned char *) &sum->epoch, sizeof(int64)));
}

static int
match_keys(const void *a, const void *b, Size keysize)
{
	const SumKey *x = a;
	const SumKey *y = b;

	return x->epoch != y->epoch || strcmp(x->sku, y->sku) != 0;
}

static HTAB *
make_sums(void)
{
	HASHCTL ctl = {
		.keysize = sizeof(SumKey),
		.entrysize = sizeof(StockSum),
		.hash = hash_key,
		.match = match_keys,
		.hcxt = CurrentMemoryContext,
	};

	return hash_create("order_engine stock sums", 256, &ctl,
					   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

static void
add_change(const StockChange *change, void *argument)
{
	SumKey	  key = {change->sku, change->epoch};
	bool	  found;
	StockSum *sum = hash_search(argument, &key, HASH_ENTER, &found);

	if (!found)
	{
		sum->key.sku = pstrdup(change->sku);
		sum->on_hand = sum->reserved = sum->changes = 0;
		sum->carried = false;
	}
	sum->on_hand = stock_change_sum(sum->on_hand, change->on_hand);
	sum->reserved = stock_change_sum(sum->reserved, change->reserved);
	sum->changes++;
}

static int
compare_sums(const void *a, const void *b)
{
	return strcmp(((const StockSum *) a)->key.sku, ((const StockSum *) b)->key.sku);
}

/* What the batch changes, by SKU; palloc'ed. */
static StockSum *
sum_up(StockFold *batch, int *nsums)
{
	HTAB		   *table = make_sums();
	HASH_SEQ_STATUS scan;
	StockSum	   *sum;
	StockSum	   *sums;

	stock_fold_visit(batch, add_change, table);
	*nsums = 0;
	sums = palloc_extended(sizeof(StockSum) * Max(hash_get_num_entries(table), 1), MCXT_ALLOC_HUGE);
	hash_seq_init(&scan, table);
	while ((sum = hash_seq_search(&scan)) != NULL)
		sums[(*nsums)++] = *sum;
	hash_destroy(table);
	qsort(sums, *nsums, sizeof(StockSum), compare_sums);
	return sums;
}

/* How many of them are of the first one's SKU. */
static int
count_epochs(const StockSum *sums, int n)
{
	int same = 1;

	while (same < n && compare_sums(&sums[0], &sums[same]) == 0)
		same++;
	return same;
}

/* ---- one SKU: its sums, of each epoch one ---- */

/* The one of the row's epoch; NULL: none. */
static StockSum *
sum_of_row(const StockRow *stock, StockSum *sums, int n)
{
	for (int i = 0; i < n; i++)
		if (sums[i].key.epoch == stock->epoch)
			return &sums[i];
	return NULL;
}

static void
carry_sku(StockRow *stock, StockSum *sums, int n)
{
	StockSum *sum;

	if (!stock_row_find(stock, sums->key.sku))
		return;
	sum = sum_of_row(stock, sums, n);
	if (sum)
		sum->carried = true;
}

static void
fold_sku(StockRow *stock, StockSum *sums, int n)
{
	StockSum *sum;

	if (!stock_row_lock_to_fold(stock, sums->key.sku))
	{
		carry_sku(stock, sums, n);
		return;
	}
	sum = sum_of_row(stock, sums, n);
	if (sum == NULL)
		return;
	stock_row_change(stock, sum->on_hand, sum->reserved);
	escrow_count_fold(stock->sku);
}

/* ---- failures ---- */

static Failure *
find_failure(const char *sku)
{
	return failures ? hash_search(failures, sku, HASH_FIND, NULL) : NULL;
}

static void
forget_failure(const char *sku)
{
	if (failures)
		(void) hash_search(failures, sku, HASH_REMOVE, NULL);
}

static Failure *
enter_failure(const char *sku)
{
	HASHCTL	 ctl = {.keysize = CALL_MAX_NAME_LENGTH + 1, .entrysize = sizeof(Failure)};
	bool	 found;
	Failure *failure;

	if (failures == NULL)
		failures = hash_create("order_engine fold failures", 16, &ctl, HASH_ELEM | HASH_STRINGS);
	failure = hash_search(failures, sku, HASH_ENTER, &found);
	if (!found)
	{
		failure->delay_ms = 0;
		failure->logged_at = 0;
	}
	return failure;
}

static void
note_failure(const char *sku, const ErrorData *error)
{
	Failure *failure = enter_failure(sku);
	int64	 now = clock_ms();

	escrow_count_fold_failure(sku);
	failure->delay_ms =
		failure->delay_ms == 0 ? FIRST_RETRY_MS : Min(failure->delay_ms * 2, LAST_RETRY_MS);
	failure->again_at = now + failure->delay_ms;
	if (failure->logged_at != 0 && now - failure->logged_at < LOG_MS)
		return;
	failure->logged_at = now;
	ereport(LOG, (errcode(error->sqlerrcode),
				  errmsg("could not fold stock of SKU \"%s\": %s (%s)", sku, error->message,
						 unpack_sql_state(error->sqlerrcode)),
				  errdetail(
					  "Its changes stay in stock_journal, where they count.  It is tried again.")));
}

/* A cancel request, which nobody makes to a worker: what a trigger raises there is its own. */
static bool
ends_call(const ErrorData *error)
{
	return MyBgworkerEntry == NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED;
}

static void
fold_in_scope(StockSum *sums, int n)
{
	RowScope scope;
	StockRow stock;

	row_scope_begin(&scope, "a fold of stock");
	stock_row_open(&stock, &scope);
	fold_sku(&stock, sums, n);
	row_scope_end(&scope);
	row_check_deferred();
}

/* In a subtransaction; false if it has failed, which is noted. */
static bool
fold_alone(StockSum *sums, int n)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		fold_in_scope(sums, n);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (error == NULL)
		return true;
	if (ends_call(error))
		ReThrowError(error);
	note_failure(sums->key.sku, error);
	return false;
}

static void
carry_in_scope(StockSum *sums, int n)
{
	RowScope scope;
	StockRow stock;

	row_scope_begin(&scope, "a fold of stock");
	stock_row_open(&stock, &scope);
	carry_sku(&stock, sums, n);
	row_scope_end(&scope);
}

/* A SKU by itself, so that its failure is not that of others. */
static void
try_sku(StockSum *sums, int n)
{
	const Failure *failure = find_failure(sums->key.sku);

	if (failure && failure->again_at > clock_ms())
		carry_in_scope(sums, n);
	else if (fold_alone(sums, n))
		forget_failure(sums->key.sku);
	else
		carry_in_scope(sums, n);
}

/* ---- the batch ---- */

/* Those that have not failed, in one scope. */
static void
fold_together(StockSum *sums, int nsums)
{
	RowScope scope;
	StockRow stock;
	int		 n;

	row_scope_begin(&scope, "a fold of stock");
	stock_row_open(&stock, &scope);
	for (int i = 0; i < nsums; i += n)
	{
		n = count_epochs(&sums[i], nsums - i);
		if (find_failure(sums[i].key.sku) == NULL)
			fold_sku(&stock, &sums[i], n);
	}
	row_scope_end(&scope);
	row_check_deferred();
}

/* Those that have failed; `all`: since it is not known which has, or nobody remembers. */
static void
fold_apart(StockSum *sums, int nsums, bool all)
{
	int n;

	for (int i = 0; i < nsums; i += n)
	{
		n = count_epochs(&sums[i], nsums - i);
		if (all || find_failure(sums[i].key.sku))
			try_sku(&sums[i], n);
	}
}

static void
append_carried(const StockSum *sums, int nsums)
{
	RowScope scope;

	row_scope_begin(&scope, "a fold of stock");
	for (int i = 0; i < nsums; i++)
	{
		StockChange change = {
			.sku = sums[i].key.sku,
			.on_hand = sums[i].on_hand,
			.reserved = sums[i].reserved,
			.epoch = sums[i].key.epoch,
		};

		if (sums[i].carried)
			stock_journal_append(&scope, &change);
	}
	row_scope_end(&scope);
}

/* True if that came to more than to write the same rows anew; *more if it was much. */
static bool
is_worth_it(const StockSum *sums, int nsums, bool *more)
{
	int64 carried = 0;
	int64 changes = 0;
	int64 folded = 0;

	for (int i = 0; i < nsums; i++)
	{
		changes += sums[i].changes;
		if (sums[i].carried)
			carried++;
		else
			folded += sums[i].changes;
	}
	*more = folded >= MUCH;
	return changes > carried || nsums == 0;
}

/* The tables as a whole, before any leaf and any row. */
static bool
lock_tables_if_free(void)
{
	static const ShopTable tables[] = {SHOP_STOCK, SHOP_STOCK_MOVEMENT, SHOP_STOCK_JOURNAL,
									   SHOP_OUTBOX};

	for (int i = 0; i < (stock_event_wanted() ? 4 : 3); i++)
		if (!ConditionalLockRelationOid(shop_table(tables[i]), RowExclusiveLock))
			return false;
	return true;
}

bool
escrow_fold(void)
{
	/* a session that folds once and is gone remembers no failure */
	bool	   careful = unfinished || MyBgworkerEntry == NULL;
	StockFold *batch;
	StockSum  *sums;
	int		   nsums;
	bool	   more;

	Assert(!IsolationUsesXactSnapshot());
	if (!lock_tables_if_free() || (batch = stock_fold_begin()) == NULL)
		return false;
	unfinished = true;
	sums = sum_up(batch, &nsums);
	if (!careful)
		fold_together(sums, nsums);
	fold_apart(sums, nsums, careful);
	if (is_worth_it(sums, nsums, &more))
	{
		append_carried(sums, nsums);
		stock_fold_end(batch);
	}
	else
		stock_fold_leave(batch);
	unfinished = false;
	return more;
}
