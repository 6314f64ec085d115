/*
 * due_wait.c
 *		Patience for stock that is held although it is overdue.
 *
 * The keeper releases what is overdue within a moment of itself; who asks in that moment
 * would be told that a SKU is sold out.  He may wait instead.  It is a look only, before the
 * call that takes stock has locked anything, and binds nobody: what is there in the end,
 * that call finds out.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/clock.h"
#include "base/statement.h"
#include "base/wake.h"
#include "order/due_wait.h"
#include "shop/owner.h"

#define FIRST_SLEEP_MS 2
#define LAST_SLEEP_MS 50

static int due_wait_ms; /* the setting, which PostgreSQL sets and resets */

typedef struct Look
{
	const StockLine *lines;
	int				 nlines;
	bool			 overdue;
} Look;

/* The keys and quantities as arrays of SQL. */
static void
line_arrays(const Look *look, Datum *arrays)
{
	Datum *keys = palloc(sizeof(Datum) * look->nlines);
	Datum *quantities = palloc(sizeof(Datum) * look->nlines);

	for (int i = 0; i < look->nlines; i++)
	{
		keys[i] = CStringGetTextDatum(look->lines[i].stock_key);
		quantities[i] = Int64GetDatum(look->lines[i].quantity);
	}
	arrays[0] =
		PointerGetDatum(construct_array(keys, look->nlines, TEXTOID, -1, false, TYPALIGN_INT));
	arrays[1] = PointerGetDatum(construct_array(quantities, look->nlines, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* False if all of it is there, unknown, or not for sale. */
static bool
find_short(const Look *look, Datum *skus)
{
	static Statement statement = {
		"SELECT pg_catalog.array_agg(l.sku) FROM unnest($1, $2) AS l(sku, quantity)"
		" JOIN order_engine.stock s ON s.sku = l.sku"
		" WHERE s.open AND order_engine.available(l.sku) < l.quantity",
		2,
		{TEXTARRAYOID, INT8ARRAYOID}};
	Datum arrays[2];
	bool  isnull;

	line_arrays(look, arrays);
	statement_execute(&statement, arrays, NULL, 0);
	*skus = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return !isnull;
}

/*
 * Of what is overdue the oldest are looked at, which the keeper takes first; an order's lines
 * by their index, in a subquery that no plan can turn round.
 */
static bool
is_overdue(Datum skus)
{
	static Statement statement = {
		"SELECT FROM (SELECT o.order_id, o.adjustments FROM order_engine.orders o"
		"	WHERE o.due_at <= $2 ORDER BY o.due_at LIMIT 1000) o"
		" WHERE (SELECT bool_or(l.stock_key = ANY ($1)) FROM order_engine.order_line l"
		"		WHERE l.order_id = o.order_id)"
		"	OR (SELECT bool_or(a ->> 'stock_key' = ANY ($1)) FROM jsonb_array_elements("
		"		CASE jsonb_typeof(o.adjustments) WHEN 'array' THEN o.adjustments ELSE '[]' END) a)"
		" UNION ALL"
		" SELECT FROM (SELECT r.lines FROM order_engine.reservation r"
		"	WHERE r.resolved_at IS NULL AND r.expires_at <= $2 ORDER BY r.expires_at LIMIT 1000) r"
		" WHERE r.lines ?| $1",
		2,
		{TEXTARRAYOID, TIMESTAMPTZOID}};
	Datum values[] = {skus, TimestampTzGetDatum(GetCurrentTimestamp())};

	return statement_execute(&statement, values, NULL, 1) > 0;
}

static void
look(void *argument)
{
	Look *look = argument;
	Datum skus;

	SPI_connect();
	look->overdue = find_short(look, &skus) && is_overdue(skus);
	SPI_finish();
}

static bool
waits_for_keeper(const StockLine *lines, int nlines)
{
	Look what = {.lines = lines, .nlines = nlines};

	owner_look(look, &what);
	return what.overdue;
}

static void
sleep_ms(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

bool
due_wait_wanted(void)
{
	return due_wait_ms > 0;
}

void
due_wait(const StockLine *lines, int nlines)
{
	int64 deadline;
	int64 left = due_wait_ms;
	long  pause = FIRST_SLEEP_MS;

	if (nlines == 0 || IsolationUsesXactSnapshot() || XactReadOnly || wake_pid(WAKE_KEEPER) == 0)
		return;
	deadline = clock_ms() + left;
	while (left > 0 && waits_for_keeper(lines, nlines))
	{
		wake_now(WAKE_KEEPER);
		sleep_ms(Min(pause, left));
		pause = Min(pause * 2, LAST_SLEEP_MS);
		left = deadline - clock_ms();
	}
}

void
due_wait_init(void)
{
	DefineCustomIntVariable(
		"order_engine.due_wait",
		"How long a call that finds a SKU short waits for the keeper to release what is overdue.",
		"0: not at all.", &due_wait_ms, 0, 0, 60000, PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
}
