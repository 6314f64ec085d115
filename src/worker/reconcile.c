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
 *
 * The counters of hot SKUs are in no snapshot.  They are read before it is taken and
 * after, and those that stood still are compared; a repair keeps others from the SKU, as
 * a switch of its mode does, until its commit.
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
#include "stock/escrow.h"
#include "stock/stock.h"
#include "worker/reconcile.h"
#include "worker/reconcile_check_internal.h"

/* Blocks of movements that are looked at in one piece. */
#define PIECE_BLOCKS 2048

/* So often a fold may fail before it is worth a word. */
#define MANY_FAILURES 2

PG_FUNCTION_INFO_V1(order_engine_reconcile);

typedef struct Reconciliation
{
	ReconcileReport	 report;
	void			*argument;
	ArrayBuildState *skus; /* to be repaired; NULL: nothing is */
	bool			 repair;
	List			*rows;	   /* CheckRow, seen again under their locks */
	EscrowCounter	*counters; /* [ncounters] */
	int				 ncounters;
	List			*moved; /* CheckRow, of counters that are to be repaired */
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

/* With its leaves. */
static void
lock_table(ShopTable table, LOCKMODE mode)
{
	LockRelationOid(shop_table(table), mode);
	list_free(find_all_inheritors(shop_table(table), mode, NULL));
}

/*
 * Who comes to write has tables and leaves as a writer from the first: who reads them
 * and then writes would meet a REINDEX that has let him read.
 */
static void
lock_tables(bool repair)
{
	static const ShopTable written[] = {SHOP_STOCK, SHOP_STOCK_MOVEMENT, SHOP_STOCK_JOURNAL};

	for (int i = 0; repair && i < lengthof(written); i++)
		lock_table(written[i], RowExclusiveLock);
	for (int i = 0; i < SHOP_TABLES; i++)
		lock_table(i, AccessShareLock);
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

/* A transaction's one snapshot may be older than what a counter has counted. */
static void
settle_counters(Reconciliation *run)
{
	if (!IsolationUsesXactSnapshot())
		escrow_counters_settle(run->counters, run->ncounters);
	else
		for (int i = 0; i < run->ncounters; i++)
			run->counters[i].quiet = false;
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

static CheckRow *
copy_row(const CheckRow *row, MemoryContext context)
{
	CheckRow *copy = MemoryContextAlloc(context, sizeof(CheckRow));

	*copy = *row;
	copy->name = MemoryContextStrdup(context, row->name);
	copy->key = MemoryContextStrdup(context, row->key);
	copy->expected = MemoryContextStrdup(context, row->expected);
	copy->actual = MemoryContextStrdup(context, row->actual);
	return copy;
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

static Datum
array_of(Datum *values, int n, Oid type)
{
	return PointerGetDatum(construct_array(values, n, type, type == TEXTOID ? -1 : sizeof(int64),
										   type != TEXTOID && FLOAT8PASSBYVAL,
										   type == TEXTOID ? TYPALIGN_INT : TYPALIGN_DOUBLE));
}

/* Those of run->counters that stand still. */
static void
compare_counters(Reconciliation *run, CheckVisitor visitor)
{
	Datum *skus = palloc(sizeof(Datum) * run->ncounters);
	Datum *epochs = palloc(sizeof(Datum) * run->ncounters);
	Datum *quantities = palloc(sizeof(Datum) * run->ncounters);
	int	   n = 0;

	for (int i = 0; i < run->ncounters; i++)
	{
		if (!run->counters[i].quiet)
			continue;
		skus[n] = CStringGetTextDatum(run->counters[i].sku);
		epochs[n] = Int64GetDatum(run->counters[i].epoch);
		quantities[n++] = Int64GetDatum(run->counters[i].free);
	}
	if (n > 0)
		check_counters(array_of(skus, n, TEXTOID), array_of(epochs, n, INT8OID),
					   array_of(quantities, n, INT8OID), visitor, run);
}

static void
found_counter(const CheckRow *row, void *argument)
{
	Reconciliation *run = argument;

	MemoryContext old = MemoryContextSwitchTo(run->context);

	found(row, run);
	if (run->repair && row->repairable)
		run->moved = lappend(run->moved, copy_row(row, run->context));
	MemoryContextSwitchTo(old);
}

static void
walk_counters(Reconciliation *run)
{
	int busy = 0;

	compare_counters(run, found_counter);
	for (int i = 0; i < run->ncounters; i++)
		if (!run->counters[i].quiet)
			busy++;
	if (busy > 0)
		ereport(NOTICE, (errmsg("%d of %d counters were not checked", busy, run->ncounters),
						 errdetail("Their stock was being changed, or the transaction's snapshot "
								   "is older.")));
}

/* What could not be put into the rows time and again, and still counts. */
static void
report_folds(Reconciliation *run)
{
	for (int i = 0; i < run->ncounters; i++)
	{
		char	 failures[64];
		CheckRow row = {CHECK_FOLD, run->counters[i].sku, "folded", failures};

		if (run->counters[i].fold_failures < MANY_FAILURES)
			continue;
		snprintf(failures, sizeof(failures), "failed %d times", run->counters[i].fold_failures);
		report(run, &row, false);
	}
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
	walk_counters(run);
	report_folds(run);
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

	if (row->repairable)
		run->rows = lappend(run->rows, copy_row(row, run->context));
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

/* Where more or less was reserved just now, this transaction has a pin itself. */
static bool
is_pinned(const Reconciliation *run, const char *sku)
{
	ListCell *lc;

	foreach(lc, run->rows)
	{
		const CheckRow *row = lfirst(lc);

		if (strcmp(row->name, CHECK_RESERVED) == 0 && strcmp(row->key, sku) == 0)
			return true;
	}
	return false;
}

/* Keeps others from the SKUs: what is read then of counters and tables stays so. */
static void
bar_counters(Reconciliation *run)
{
	ListCell *lc;

	list_sort(run->moved, compare_rows);
	foreach(lc, run->moved)
	{
		const CheckRow *row = lfirst(lc);

		if (is_pinned(run, row->key))
		{
			report(run, row, false);
			run->moved = foreach_delete_current(run->moved, lc);
		}
		else
			escrow_bar(row->key, false);
	}
}

static bool
is_moved(const Reconciliation *run, const char *sku)
{
	ListCell *lc;

	foreach(lc, run->moved)
		if (strcmp(((CheckRow *) lfirst(lc))->key, sku) == 0)
			return true;
	return false;
}

static void
mend_counter(const CheckRow *row, void *argument)
{
	Reconciliation *run = argument;

	for (int i = 0; row->repairable && i < run->ncounters; i++)
		if (strcmp(run->counters[i].sku, row->key) == 0)
			escrow_open_at_commit(row->key, run->counters[i].epoch, row->delta);
	report(run, row, row->repairable);
}

static void
mend_counters(Reconciliation *run)
{
	bar_counters(run);
	if (run->moved == NIL)
		return;
	run->counters = escrow_counters(&run->ncounters);
	for (int i = 0; i < run->ncounters; i++)
		run->counters[i].quiet = is_moved(run, run->counters[i].sku);
	push_snapshot();
	compare_counters(run, mend_counter);
	PopActiveSnapshot();
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
	mend_counters(run);
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
	run.counters = escrow_counters(&run.ncounters);
	push_snapshot();
	settle_counters(&run);
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
