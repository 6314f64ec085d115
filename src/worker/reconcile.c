/*
 * reconcile.c
 *		reconcile(): reads the books under one snapshot, and mends what can be.
 *
 * Locks, ACCESS SHARE, every table and leaf before it takes its snapshot: to a snapshot
 * older than what writes or empties a table anew, that table is empty.  For the length
 * of a run they are in the way of whoever alters a table or empties a journal's leaf,
 * and of nobody else.
 *
 * Every action of the engine changes both sides of an invariant in one transaction, so
 * any snapshot finds them equal, and a difference stays what it is until somebody mends
 * it.  Who repairs is alone (a lock of his own, to the end of his transaction), locks
 * the stock rows in the order of their keys, and only then takes the snapshot under
 * which he looks again: what was mended meanwhile, by whomever, is not broken any more.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/context.h"
#include "base/statement.h"
#include "journal/stock_journal.h"
#include "shop/owner.h"
#include "shop/row.h"
#include "shop/shop.h"
#include "stock/stock.h"
#include "worker/reconcile.h"
#include "worker/reconcile_check_internal.h"

/* Blocks of movements that are looked at in one piece. */
#define PIECE_BLOCKS 2048

PG_FUNCTION_INFO_V1(order_engine_reconcile);

typedef struct Reconciliation
{
	ReconcileReport	 report;
	void			*argument;
	ArrayBuildState *skus; /* to be repaired; NULL: nothing is */
	bool			 repair;
	List			*rows; /* CheckRow, seen again under their locks */
	MemoryContext	 context;
} Reconciliation;

/* ---- what it reads, and how far it is ---- */

/* To the end of the transaction: others that would repair wait. */
static void
lock_repairs(void)
{
	LOCKTAG tag;

	/* of an object that does not exist, so it is in nobody's way who locks the table */
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId, shop_table(SHOP_STOCK), 1);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Who comes to write has the tables as a writer from the first (row_lock_tables()). */
static void
lock_tables(bool repair)
{
	static const ShopTable written[] = {SHOP_STOCK, SHOP_STOCK_MOVEMENT, SHOP_STOCK_JOURNAL};

	if (repair)
		row_lock_tables(written, lengthof(written), RowExclusiveLock);
	for (int i = 0; i < SHOP_TABLES; i++)
	{
		LockRelationOid(shop_table(i), AccessShareLock);
		list_free(find_all_inheritors(shop_table(i), AccessShareLock, NULL));
	}
	stock_journal_lock();
}

/* 40001 where the only snapshot is older than what wrote a table anew. */
static void
check_snapshot(void)
{
	for (ShopTable i = 0; i < SHOP_TABLES; i++)
	{
		List	 *relids = find_all_inheritors(shop_table(i), NoLock, NULL);
		ListCell *lc;

		foreach(lc, relids)
		{
			Relation rel = table_open(lfirst_oid(lc), NoLock);

			if (rel->rd_rel->relkind == RELKIND_RELATION)
				UnregisterSnapshot(row_reading_snapshot(&rel, &i, 1));
			table_close(rel, NoLock);
		}
		list_free(relids);
	}
}

static void
push_snapshot(void)
{
	PushActiveSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot()
												   : GetLatestSnapshot());
}

/*
 * For a piece of unknown size the planner may choose a nested loop, which is ruin where
 * it is large, since it cannot know that machine, state and event go together; what has
 * to be fetched row by row says so itself.  The caller ends the level.
 */
static int
set_planner(void)
{
	int level = NewGUCNestLevel();

	(void) set_config_option("enable_nestloop", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
	return level;
}

static void
show_progress(const char *what, int64 done, int64 total)
{
	char activity[128];

	snprintf(activity, sizeof(activity),
			 "reconcile(): %s, " INT64_FORMAT " of about " INT64_FORMAT " done", what, done,
			 Max(done, total));
	pgstat_report_activity(STATE_RUNNING, activity);
	CHECK_FOR_INTERRUPTS();
}

/* ---- findings ---- */

static void
report(Reconciliation *run, const CheckRow *row, bool repaired)
{
	ReconcileFinding finding = {row->name, row->key, row->expected, row->actual, repaired};

	run->report(&finding, run->argument);
}

/* What is to be repaired is reported when it was looked at again. */
static void
found(const CheckRow *row, void *argument)
{
	Reconciliation *run = argument;

	if (run->repair && row->repairable)
		run->skus = accumArrayResult(run->skus, CStringGetTextDatum(row->key), false, TEXTOID,
									 run->context);
	else
		report(run, row, false);
}

static void
walk_orders(Reconciliation *run)
{
	int64 total = check_count_orders();
	int64 after = PG_INT64_MIN;
	int64 done = 0;
	int64 last;
	int64 n;

	while ((n = check_next_orders(after, &last)) > 0)
	{
		show_progress("orders", done, total);
		check_orders(after, last, found, run);
		after = last;
		done += n;
	}
}

static void
walk_movements(Reconciliation *run)
{
	Relation	rel = table_open(shop_table(SHOP_STOCK_MOVEMENT), AccessShareLock);
	BlockNumber total = RelationGetNumberOfBlocks(rel);

	table_close(rel, NoLock);
	for (BlockNumber block = 0; block < total; block += PIECE_BLOCKS)
	{
		show_progress("blocks of movements", block, total);
		check_movements(block, Min(block + PIECE_BLOCKS, total), found, run);
	}
}

static void
read_all(Reconciliation *run)
{
	show_progress("stock", 0, 3);
	check_stock((Datum) 0, found, run);
	show_progress("stock", 1, 3);
	check_reserved((Datum) 0, found, run);
	show_progress("stock", 2, 3);
	check_reservations(found, run);
	walk_orders(run);
	walk_movements(run);
}

/* ---- repairs ---- */

static void
lock_stock(Datum skus)
{
	static Statement statement = {"SELECT FROM order_engine.stock s WHERE s.sku = ANY ($1)"
								  " ORDER BY s.sku FOR NO KEY UPDATE",
								  1,
								  {TEXTARRAYOID}};

	statement_execute(&statement, &skus, NULL, 0);
	SPI_freetuptable(SPI_tuptable);
}

static void
keep(const CheckRow *row, void *argument)
{
	Reconciliation *run = argument;
	MemoryContext	old = MemoryContextSwitchTo(run->context);
	CheckRow	   *kept = palloc(sizeof(CheckRow));

	*kept = *row;
	kept->name = pstrdup(row->name);
	kept->key = pstrdup(row->key);
	kept->expected = pstrdup(row->expected);
	kept->actual = pstrdup(row->actual);
	if (row->repairable)
		run->rows = lappend(run->rows, kept);
	MemoryContextSwitchTo(old);
}

/* False if there is not as much free as orders hold: then others have it, too. */
static bool
mend_reserved(RowScope *scope, const CheckRow *row)
{
	StockLine line = {row->key, row->delta};

	if (row->delta > 0 && !stock_suffices(scope, STOCK_RESERVE, &line, 1))
		return false;
	stock_hold(scope, &line, 1);
	return true;
}

static bool
mend(RowScope *scope, const CheckRow *row, const char *actor)
{
	if (strcmp(row->name, CHECK_RESERVED) == 0)
		return mend_reserved(scope, row);
	stock_record_difference(scope, row->key, row->delta, actor);
	return true;
}

static int
compare_rows(const ListCell *a, const ListCell *b)
{
	return strcmp(((CheckRow *) lfirst(a))->key, ((CheckRow *) lfirst(b))->key);
}

/* Rows of SKUs in the order in which their locks are taken. */
static void
mend_all(Reconciliation *run)
{
	ActionContext context;
	RowScope	  scope;
	ListCell	 *lc;

	context_parse(NULL, &context);
	list_sort(run->rows, compare_rows);
	row_scope_begin(&scope, "reconcile()");
	foreach(lc, run->rows)
	{
		report(run, lfirst(lc), mend(&scope, lfirst(lc), context.actor));
		row_scope_refresh(&scope);
	}
	row_scope_end(&scope);
}

static void
repair_all(Reconciliation *run)
{
	Datum skus;

	if (run->skus == NULL)
		return;
	show_progress("repairs", 0, 1);
	skus = makeArrayResult(run->skus, run->context);
	lock_stock(skus);
	push_snapshot();
	check_stock(skus, keep, run);
	check_reserved(skus, keep, run);
	PopActiveSnapshot();
	mend_all(run);
}

/* ---- the run ---- */

static void
check_can_repair(void)
{
	PreventCommandIfReadOnly("reconcile()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("reconcile() repairs under READ COMMITTED only"),
						errhint("What is repaired is looked at again when it is locked, under a "
								"snapshot of its own.")));
}

void
reconcile_run(bool repair, ReconcileReport report, void *argument)
{
	Reconciliation run = {.report = report, .argument = argument, .repair = repair};
	OwnerScope	   owner;
	int			   settings;

	if (repair)
		check_can_repair();
	run.context = AllocSetContextCreate(CurrentMemoryContext, "order_engine reconciliation",
										ALLOCSET_DEFAULT_SIZES);
	owner_begin(&owner);
	if (repair)
		lock_repairs();
	lock_tables(repair);
	push_snapshot();
	check_snapshot();
	settings = set_planner();
	SPI_connect();
	read_all(&run);
	PopActiveSnapshot();
	repair_all(&run);
	SPI_finish();
	AtEOXact_GUC(true, settings);
	owner_end(&owner);
	MemoryContextDelete(run.context);
	pgstat_report_activity(STATE_RUNNING, debug_query_string);
}

/* ---- SQL ---- */

static void
return_finding(const ReconcileFinding *finding, void *argument)
{
	ReturnSetInfo *result = argument;
	bool		   nulls[5] = {false};
	Datum		   values[] = {
				 CStringGetTextDatum(finding->name),	 CStringGetTextDatum(finding->key),
				 CStringGetTextDatum(finding->expected), CStringGetTextDatum(finding->actual),
				 BoolGetDatum(finding->repaired),
	 };

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
order_engine_reconcile(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	reconcile_run(!PG_ARGISNULL(0) && PG_GETARG_BOOL(0), return_finding, fcinfo->resultinfo);
	return (Datum) 0;
}
