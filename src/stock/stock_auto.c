/*
 * stock_auto.c
 *		Stock in mode auto: the keeper switches it.
 *
 * A SKU is hot if order_engine.stock_hot_waits calls have waited for its row within ten
 * seconds, and goes to mode escrow if there is room.  It has cooled down, and goes back, when
 * fewer transactions than that changed it within order_engine.stock_cool_down; at once,
 * and for an hour, where somebody needs what mode escrow does not have (stock_heat_bar()).
 *
 * What is to be switched is found first; then each SKU is switched in a transaction of its
 * own, so that one whose row is not to be had keeps no other from it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "stock/escrow_entry_internal.h"
#include "stock/stock_auto.h"
#include "stock/stock_heat_internal.h"
#include "stock/stock_mode_internal.h"

#define MAX_WISHES 32
#define RETRY_MS 10000

typedef struct Wish
{
	char sku[CALL_MAX_NAME_LENGTH + 1];
	bool escrow; /* to be */
} Wish;

/* How many transactions have changed a SKU in mode escrow since. */
typedef struct Watch
{
	char   sku[CALL_MAX_NAME_LENGTH + 1]; /* hash key */
	int64  epoch;
	uint64 changes;
	int64  since;	 /* by clock_ms() */
	int64  again_at; /* where somebody needs mode row */
	int64  seen;	 /* the last round that met it */
} Watch;

/* Of the keeper, as long as it lives. */
static Wish	 wishes[MAX_WISHES];
static int	 nwishes;
static Wish	 current;
static HTAB *watches;
static int64 round_number;

static int hot_waits; /* settings */
static int cool_down_s;

static void
wish(const char *sku, bool escrow)
{
	if (nwishes == MAX_WISHES)
		return;
	strlcpy(wishes[nwishes].sku, sku, sizeof(wishes[nwishes].sku));
	wishes[nwishes++].escrow = escrow;
}

/* ---- what is hot ---- */

static void
find_hot(void)
{
	ListCell *lc;

	if (!escrow_entry_possible())
		return;
	foreach(lc, stock_heat_find(hot_waits))
		if (!escrow_entry_full())
			wish(lfirst(lc), true);
}

/* ---- what has cooled down ---- */

static void
begin_watch(Watch *watch, const EscrowStatistics *statistics)
{
	watch->epoch = statistics->epoch;
	watch->changes = statistics->changes;
	watch->since = clock_ms();
}

static bool
is_cold(Watch *watch, const EscrowStatistics *statistics)
{
	bool cold = false;

	if (watch->epoch != statistics->epoch || statistics->changes - watch->changes >= hot_waits)
		begin_watch(watch, statistics);
	else if (clock_ms() - watch->since >= (int64) cool_down_s * 1000)
	{
		begin_watch(watch, statistics);
		cold = true;
	}
	return cold;
}

/* Not at each round: while a switch waits in vain, nobody buys. */
static bool
is_to_be_tried(Watch *watch, const char *sku)
{
	if (!stock_heat_is_barred(sku) || clock_ms() < watch->again_at)
		return false;
	watch->again_at = clock_ms() + RETRY_MS;
	return true;
}

static void
judge(const EscrowStatistics *statistics)
{
	bool   found;
	Watch *watch = hash_search(watches, statistics->sku, HASH_ENTER, &found);

	if (!found)
	{
		begin_watch(watch, statistics);
		watch->again_at = 0;
	}
	watch->seen = round_number;
	if (is_cold(watch, statistics) || is_to_be_tried(watch, statistics->sku))
		wish(statistics->sku, false);
}

static void
forget_unseen(void)
{
	HASH_SEQ_STATUS scan;
	Watch		   *watch;

	hash_seq_init(&scan, watches);
	while ((watch = hash_seq_search(&scan)) != NULL)
		if (watch->seen != round_number)
			(void) hash_search(watches, watch->sku, HASH_REMOVE, NULL);
}

static void
find_cold(void)
{
	int				  n;
	EscrowStatistics *statistics = escrow_entry_statistics(&n);

	if (watches == NULL)
	{
		HASHCTL control = {.keysize = CALL_MAX_NAME_LENGTH + 1, .entrysize = sizeof(Watch)};

		watches =
			hash_create("order_engine escrow watches", 64, &control, HASH_ELEM | HASH_STRINGS);
	}
	round_number++;
	for (int i = 0; i < n; i++)
		judge(&statistics[i]);
	forget_unseen();
}

void
stock_auto_find(void)
{
	nwishes = 0;
	find_hot();
	find_cold();
}

/* One that fails is not tried again before it is found again. */
bool
stock_auto_next(void)
{
	if (nwishes == 0)
		return false;
	current = wishes[--nwishes];
	return true;
}

/* ---- switching ---- */

/* What is found without its lock is looked at again with it. */
static bool
is_wanted(const StockMode *mode, const Wish *wished)
{
	return mode->is_auto && mode->escrow != wished->escrow;
}

static void
fulfil(StockRow *stock, const Wish *wished)
{
	StockMode old;
	StockMode new = {.escrow = wished->escrow, .is_auto = true};

	if (stock_mode_find(stock, wished->sku, &old) && is_wanted(&old, wished) &&
		stock_mode_lock(stock, wished->sku, &old) && is_wanted(&old, wished))
		(void) stock_mode_change(stock, &old, &new);
}

void
stock_auto_switch(void)
{
	StockRow stock;
	RowScope scope;

	row_scope_begin(&scope, "the keeper");
	stock_row_open(&stock, &scope);
	fulfil(&stock, &current);
	row_scope_end(&scope);
}

void
stock_auto_init(void)
{
	DefineCustomIntVariable("order_engine.stock_hot_waits",
							"Of how many waits within ten seconds a SKU in mode auto becomes hot.",
							NULL, &hot_waits, 100, 1, INT_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("order_engine.stock_cool_down",
							"How long a SKU in mode auto stays in escrow when it is not hot.", NULL,
							&cool_down_s, 60, 1, 24 * 3600, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL,
							NULL);
}
