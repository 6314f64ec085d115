/*
 * row.c
 *		Writes and reads rows through the executor's own building blocks.
 *
 * What nodeModifyTable.c does for one row, without parsing, planning or
 * routing: the hot path inserts straight into a leaf.  Our own triggers are
 * taken out of a table's trigger list here, which is how the engine's writes
 * are told from everybody else's: there is no mode that a user's trigger
 * could ride on or an error could leave behind.
 *
 * Owns a per-backend cache of table layouts, with CHECK constraints and index
 * predicates compiled (the executor compiles them for each statement: a tenth
 * of what a call costs).  The relcache callback marks an entry stale;
 * row_open() copies what it needs, so an entry may go stale while a scope is
 * open, and what it had compiled lives on until the transaction ends.
 *
 * A lock may have been waited for while its table was altered, so what is relied
 * on is looked at when the lock is there: the shape (an entry of the cache is
 * made under it, and any ALTER TABLE marks the entry stale), and, before rows
 * are read, whether the snapshot sees the transaction that last changed the
 * table.  An older snapshot would find nothing in a table that was rewritten,
 * since all its rows are that transaction's then.
 *
 * Compiling runs code of the tables' owner (immutable functions are folded), so
 * it is left to row_open(), whose callers act as the owner.  Nothing else here
 * evaluates anything of his; whoever reads as himself needs no compiled
 * expression.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "shop/row.h"
#include "shop/shape.h"
#include "shop/shop.h"

typedef struct RowLayout
{
	Oid			  relid; /* hash key */
	bool		  valid;
	TransactionId changed_by; /* wrote the table's row of pg_class */
	AttrNumber	  attno[ROW_MAX_COLUMNS];
	bool		  user_triggers; /* has row triggers that are not ours */
	bool		  user_columns;	 /* has columns that are not ours */
	bool		  compiled;
	MemoryContext context;	  /* holds what is compiled; NULL: nothing is */
	ExprState	**checks;	  /* of each CHECK constraint; NULL: the executor compiles them */
	List		 *predicates; /* CompiledPredicate */
} RowLayout;

typedef struct CompiledPredicate
{
	Oid		   index;
	ExprState *state;
} CompiledPredicate;

static HTAB	 *layouts; /* entries live as long as the backend; layout_invalidate() marks them */
static uint64 invalidations = 0; /* counts calls of layout_invalidate(), never reset */

static void
layout_invalidate(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	RowLayout	   *layout;

	invalidations++;
	if (relid != InvalidOid)
	{
		layout = hash_search(layouts, &relid, HASH_FIND, NULL);
		if (layout)
			layout->valid = false;
		return;
	}
	hash_seq_init(&status, layouts);
	while ((layout = hash_seq_search(&status)) != NULL)
		layout->valid = false;
}

void
row_init(void)
{
	HASHCTL ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(RowLayout)};

	layouts = hash_create("order_engine row layouts", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(layout_invalidate, (Datum) 0);
}

/* ---- compiled expressions ---- */

static bool
is_user_function(Oid function, void *context)
{
	return function >= FirstNormalObjectId;
}

/*
 * What is compiled may outlive the statement only if nothing in it changes
 * without the table changing: functions can be replaced, and what they remember
 * of their last call is theirs; domains can get new constraints.
 */
static bool
may_change(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return check_functions_in_node(node, is_user_function, context) || IsA(node, CoerceToDomain) ||
		   expression_tree_walker(node, may_change, context);
}

/* In the making: functions of the owner's run meanwhile, and may make calls themselves. */
typedef struct Compiled
{
	ExprState **checks;
	List	   *predicates;
} Compiled;

/* All of them or none: the executor takes them as its own. */
static void
compile_checks(Compiled *compiled, Relation rel)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;
	ExprState  **checks;

	if (constr == NULL || constr->num_check == 0 || compat_has_virtual_columns(constr))
		return;
	checks = palloc0(constr->num_check * sizeof(ExprState *));
	for (int i = 0; i < constr->num_check; i++)
	{
		Node *expr = stringToNode(constr->check[i].ccbin);

		if (!compat_check_is_enforced(constr->check[i]))
			continue;
		if (may_change(expr, NULL))
			return;
		checks[i] = ExecInitExpr(expression_planner((Expr *) expr), NULL);
	}
	compiled->checks = checks;
}

static void
compile_predicate(Compiled *compiled, Oid index_oid)
{
	Relation		   index = index_open(index_oid, RowExclusiveLock);
	List			  *predicate = RelationGetIndexPredicate(index);
	CompiledPredicate *entry;

	if (predicate != NIL && !may_change((Node *) predicate, NULL))
	{
		entry = palloc(sizeof(CompiledPredicate));
		entry->index = index_oid;
		entry->state = ExecInitQual((List *) expression_planner((Expr *) predicate), NULL);
		compiled->predicates = lappend(compiled->predicates, entry);
	}
	index_close(index, NoLock);
}

/*
 * As the owner; see the file's head.  The entry is filled when nothing of his runs
 * any more: what he has run may have compiled for the same table, and finished.
 */
static void
compile_expressions(RowLayout *layout, Relation rel)
{
	Compiled	  compiled = {0};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "order_engine row layout",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	List		 *indexes = RelationGetIndexList(rel);
	ListCell	 *lc;

	compile_checks(&compiled, rel);
	foreach(lc, indexes)
		compile_predicate(&compiled, lfirst_oid(lc));
	MemoryContextSwitchTo(old);

	/* an open scope further up may still use what the stale entry had */
	if (layout->context)
		MemoryContextSetParent(layout->context, TopTransactionContext);
	MemoryContextSetParent(context, TopMemoryContext);
	layout->context = context;
	layout->checks = compiled.checks;
	layout->predicates = compiled.predicates;
	layout->compiled = true;
}

static ExprState *
find_predicate(const RowLayout *layout, Oid index)
{
	ListCell *lc;

	foreach(lc, layout->predicates)
	{
		CompiledPredicate *compiled = lfirst(lc);

		if (compiled->index == index)
			return compiled->state;
	}
	return NULL;
}

/*
 * Gives the executor what it would compile at the first row of each statement.  It finds
 * CHECK constraints by their number, so they must be those of this moment.
 */
static void
lend_expressions(const RowLayout *layout, ResultRelInfo *rri)
{
	compat_check_expressions(rri) = layout->valid ? layout->checks : NULL;
	for (int i = 0; layout->predicates != NIL && i < rri->ri_NumIndices; i++)
	{
		IndexInfo *info = rri->ri_IndexRelationInfo[i];

		if (info->ii_Predicate != NIL)
			info->ii_PredicateState =
				find_predicate(layout, RelationGetRelid(rri->ri_IndexRelationDescs[i]));
	}
}

/* ---- layouts ---- */

/* Who wrote the table's row of pg_class, as anybody does who rewrites the table. */
static TransactionId
last_changed_by(Relation rel)
{
	HeapTuple	  tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(RelationGetRelid(rel)));
	TransactionId xid;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", RelationGetRelid(rel));
	xid = HeapTupleHeaderGetXmin(tuple->t_data);
	ReleaseSysCache(tuple);
	return xid;
}

/*
 * CREATE TRIGGER lets readers go on, and a lookup may bring word of it, which frees the
 * description that they have: the functions are noted first.
 */
static bool
has_user_triggers(Relation rel)
{
	int	 n = rel->trigdesc ? rel->trigdesc->numtriggers : 0;
	Oid *functions = palloc(sizeof(Oid) * n);
	bool found = false;

	for (int i = 0; i < n; i++)
		functions[i] = rel->trigdesc->triggers[i].tgfoid;
	for (int i = 0; i < n && !found; i++)
		found = !shop_own_trigger(functions[i]);
	pfree(functions);
	return found;
}

static bool
has_user_columns(TupleDesc desc, const RowColumns *columns)
{
	int live = 0;

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			live++;
	return live > columns->ncolumns;
}

/* Fills the entry anew.  The table is locked, so what is read of its columns stays true. */
static void
layout_load(RowLayout *layout, Relation rel, const RowColumns *columns)
{
	uint64 before = invalidations;

	Assert(columns->ncolumns <= ROW_MAX_COLUMNS);
	shape_check_open(rel, columns, layout->attno);
	layout->compiled = false;
	layout->changed_by = last_changed_by(rel);
	layout->user_triggers = has_user_triggers(rel);
	layout->user_columns = has_user_columns(RelationGetDescr(rel), columns);
	layout->valid = before == invalidations;
}

static RowLayout *
layout_get(Relation rel, const RowColumns *columns)
{
	Oid		   relid = RelationGetRelid(rel);
	bool	   found;
	RowLayout *layout = hash_search(layouts, &relid, HASH_ENTER, &found);

	if (!found)
		memset((char *) layout + sizeof(Oid), 0, sizeof(RowLayout) - sizeof(Oid));
	if (!layout->valid)
		layout_load(layout, rel, columns);
	return layout;
}

/* Keeps users' triggers (and foreign keys'), drops ours; see the file's head. */
static void
drop_own_triggers(TriggerDesc *desc)
{
	int kept = 0;

	desc->trig_insert_before_row = desc->trig_insert_after_row = false;
	desc->trig_update_before_row = desc->trig_update_after_row = false;
	desc->trig_insert_new_table = desc->trig_update_old_table = desc->trig_update_new_table = false;
	for (int i = 0; i < desc->numtriggers; i++)
	{
		Trigger *trigger = &desc->triggers[i];
		int16	 type = trigger->tgtype;

		if (shop_own_trigger(trigger->tgfoid))
			continue;
		desc->trig_insert_before_row |=
			TRIGGER_TYPE_MATCHES(type, TRIGGER_TYPE_ROW, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_INSERT);
		desc->trig_insert_after_row |=
			TRIGGER_TYPE_MATCHES(type, TRIGGER_TYPE_ROW, TRIGGER_TYPE_AFTER, TRIGGER_TYPE_INSERT);
		desc->trig_update_before_row |=
			TRIGGER_TYPE_MATCHES(type, TRIGGER_TYPE_ROW, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_UPDATE);
		desc->trig_update_after_row |=
			TRIGGER_TYPE_MATCHES(type, TRIGGER_TYPE_ROW, TRIGGER_TYPE_AFTER, TRIGGER_TYPE_UPDATE);

		/* statement triggers do not fire for rows of the engine, so their tables are not needed */
		desc->trig_insert_new_table |=
			TRIGGER_FOR_ROW(type) && TRIGGER_FOR_INSERT(type) && trigger->tgnewtable != NULL;
		desc->trig_update_old_table |=
			TRIGGER_FOR_ROW(type) && TRIGGER_FOR_UPDATE(type) && trigger->tgoldtable != NULL;
		desc->trig_update_new_table |=
			TRIGGER_FOR_ROW(type) && TRIGGER_FOR_UPDATE(type) && trigger->tgnewtable != NULL;
		desc->triggers[kept++] = *trigger;
	}
	desc->numtriggers = kept;
}

void
row_scope_begin(RowScope *scope, const char *call)
{
	PreventCommandIfReadOnly(call);
	PreventCommandIfParallelMode(call);
	PreventCommandDuringRecovery(call);

	/* what this transaction wrote before is visible to this action ... */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());

	scope->estate = CreateExecutorState();
	scope->estate->es_output_cid = GetCurrentCommandId(true);
	scope->estate->es_snapshot = GetActiveSnapshot();
	scope->tables = NIL;
	AfterTriggerBeginQuery();
}

void
row_lock_tables(const ShopTable *tables, int n, LOCKMODE mode)
{
	for (int i = 0; i < n; i++)
		LockRelationOid(shop_table(tables[i]), mode);
}

void
row_scope_end(RowScope *scope)
{
	EState	 *estate = scope->estate;
	ListCell *lc;

	/* ... and what it wrote is visible to users' AFTER triggers and to whatever comes next */
	CommandCounterIncrement();
	AfterTriggerEndQuery(estate);
	ExecCloseResultRelations(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	foreach(lc, scope->tables)
		table_close(((RowTable *) lfirst(lc))->rel, NoLock);
	FreeExecutorState(estate);
	PopActiveSnapshot();
}

void
row_check_deferred(void)
{
	ConstraintsSetStmt *stmt = makeNode(ConstraintsSetStmt);

	stmt->deferred = false;
	AfterTriggerSetState(stmt);
}

void
row_scope_refresh(RowScope *scope)
{
	CommandCounterIncrement();
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
	scope->estate->es_snapshot = GetActiveSnapshot();
	scope->estate->es_output_cid = GetCurrentCommandId(true);
}

/* What a user's row trigger sees as transition tables: the rows of the scope so far. */
static void
capture_transitions(RowTable *table)
{
	Oid relid = RelationGetRelid(table->rel);

	table->inserted = MakeTransitionCaptureState(table->rri->ri_TrigDesc, relid, CMD_INSERT);
	table->updated = MakeTransitionCaptureState(table->rri->ri_TrigDesc, relid, CMD_UPDATE);
}

static RowTable *
find_open(const RowScope *scope, Oid relid)
{
	ListCell *lc;

	foreach(lc, scope->tables)
		if (RelationGetRelid(((RowTable *) lfirst(lc))->rel) == relid)
			return lfirst(lc);
	return NULL;
}

/* What the executor needs to know of a table that it writes. */
static void
open_result_relation(RowTable *table, const RowLayout *layout)
{
	EState *estate = table->scope->estate;

	table->rri = makeNode(ResultRelInfo);
	InitResultRelInfo(table->rri, table->rel, compat_add_relation(estate, table->rel), NULL, 0);
	if (!table->user_triggers)
		table->rri->ri_TrigDesc = NULL;
	else
	{
		drop_own_triggers(table->rri->ri_TrigDesc);
		capture_transitions(table);
	}
	ExecOpenIndices(table->rri, true);
	lend_expressions(layout, table->rri);
	table->constr = RelationGetDescr(table->rel)->constr;

	/* enough for ExecGetTriggerResultRel() to find it */
	estate->es_opened_result_relations = lappend(estate->es_opened_result_relations, table->rri);
}

/* In the scope's memory. */
static RowTable *
open_table(RowScope *scope, Oid relid, const RowColumns *columns)
{
	RowTable  *table = palloc0(sizeof(RowTable));
	RowLayout *layout;

	table->scope = scope;
	table->rel = table_open(relid, RowExclusiveLock);
	layout = layout_get(table->rel, columns);
	if (!layout->compiled)
		compile_expressions(layout, table->rel);
	table->columns = columns;
	table->ncolumns = columns->ncolumns;
	memcpy(table->attno, layout->attno, sizeof(table->attno));
	table->user_triggers = layout->user_triggers;
	table->user_columns = layout->user_columns;
	table->changed_by = layout->changed_by;
	open_result_relation(table, layout);
	return table;
}

RowTable *
row_open(RowScope *scope, Oid relid, const RowColumns *columns)
{
	RowTable	 *table = find_open(scope, relid);
	MemoryContext old;

	if (table)
		return table;
	old = MemoryContextSwitchTo(scope->estate->es_query_cxt);
	table = open_table(scope, relid, columns);
	scope->tables = lappend(scope->tables, table);
	MemoryContextSwitchTo(old);
	return table;
}

/*
 * Only the leaf is locked here: while its lock was waited for it may have been
 * detached.  With the lock it cannot be.
 */
RowTable *
row_open_leaf(RowScope *scope, ShopTable table, int slot, const RowColumns *columns)
{
	for (;;)
	{
		Oid		  leaf = shop_leaf(table, slot);
		RowTable *opened = row_open(scope, leaf, columns);

		if (likely(shop_leaf(table, slot) == leaf))
			return opened;
	}
}

Datum
row_require(TupleTableSlot *slot, AttrNumber attno)
{
	bool  isnull;
	Datum value = slot_getattr(slot, attno, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("column \"%s\" must not be null",
						NameStr(TupleDescAttr(slot->tts_tupleDescriptor, attno - 1)->attname))));
	return value;
}

bool
row_same_value(Form_pg_attribute att, NullableDatum a, NullableDatum b)
{
	if (a.isnull || b.isnull)
		return a.isnull == b.isnull;
	return datum_image_eq(a.value, b.value, att->attbyval, att->attlen);
}

bool
row_same_column(TupleTableSlot *a, TupleTableSlot *b, AttrNumber attno)
{
	NullableDatum a_value;
	NullableDatum b_value;

	a_value.value = slot_getattr(a, attno, &a_value.isnull);
	b_value.value = slot_getattr(b, attno, &b_value.isnull);
	return row_same_value(TupleDescAttr(a->tts_tupleDescriptor, attno - 1), a_value, b_value);
}

void
row_layout(Relation rel, const RowColumns *columns, AttrNumber *attno)
{
	memcpy(attno, layout_get(rel, columns)->attno, sizeof(AttrNumber) * columns->ncolumns);
}

TupleTableSlot *
row_slot(RowTable *table)
{
	EState		   *estate = table->scope->estate;
	MemoryContext	old = MemoryContextSwitchTo(estate->es_query_cxt);
	TupleTableSlot *slot = table_slot_create(table->rel, &estate->es_tupleTable);

	MemoryContextSwitchTo(old);
	return slot;
}

/* Evaluates a user's column's default, as an INSERT that does not name it would. */
static void
set_default(RowTable *table, TupleTableSlot *slot, Form_pg_attribute att)
{
	EState		 *estate = table->scope->estate;
	int			  i = att->attnum - 1;
	Expr		 *expr = (Expr *) build_column_default(table->rel, att->attnum);
	MemoryContext old;

	if (expr == NULL)
	{
		if (get_typtype(att->atttypid) == TYPTYPE_DOMAIN)
			domain_check((Datum) 0, true, att->atttypid, NULL, NULL);
		return;
	}
	old = MemoryContextSwitchTo(estate->es_query_cxt);
	slot->tts_values[i] = ExecEvalExpr(ExecPrepareExpr(expr, estate),
									   GetPerTupleExprContext(estate), &slot->tts_isnull[i]);
	MemoryContextSwitchTo(old);
}

static bool
is_own_column(RowTable *table, AttrNumber attno)
{
	for (int i = 0; i < table->ncolumns; i++)
		if (table->attno[i] == attno)
			return true;
	return false;
}

void
row_new(RowTable *table, TupleTableSlot *slot)
{
	TupleDesc desc = slot->tts_tupleDescriptor;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, desc->natts * sizeof(bool));
	memset(slot->tts_values, 0, desc->natts * sizeof(Datum));
	for (int i = 0; table->user_columns && i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && !att->attgenerated && !is_own_column(table, att->attnum))
			set_default(table, slot, att);
	}
}

void
row_copy(RowTable *table, TupleTableSlot *slot, TupleTableSlot *old)
{
	int natts = slot->tts_tupleDescriptor->natts;

	slot_getallattrs(old);
	ExecClearTuple(slot);
	memcpy(slot->tts_values, old->tts_values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, old->tts_isnull, natts * sizeof(bool));
}

TupleTableSlot *
row_meant(RowTable *table, TupleTableSlot *slot)
{
	TupleTableSlot *meant;

	if (!table->user_triggers)
		return NULL;
	ExecStoreVirtualTuple(slot);
	meant = ExecCopySlot(row_slot(table), slot);
	row_copy(table, slot, meant);
	return meant;
}

void
row_replace(RowTable *table, TupleTableSlot *slot, int column, Datum value, bool isnull)
{
	MemoryContext old = MemoryContextSwitchTo(table->scope->estate->es_query_cxt);
	int			  attno = table->attno[column];
	HeapTuple	  tuple = ExecFetchSlotHeapTuple(slot, true, NULL);

	tuple = heap_modify_tuple_by_cols(tuple, slot->tts_tupleDescriptor, 1, &attno, &value, &isnull);
	ExecForceStoreHeapTuple(tuple, slot, false);
	slot->tts_tableOid = RelationGetRelid(table->rel);
	MemoryContextSwitchTo(old);
}

static void
raise_suppressed(RowTable *table)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
		 errmsg("a trigger on table \"%s\" suppressed a row of the order engine",
				RelationGetRelationName(table->rel)),
		 errhint("A BEFORE trigger there must return NEW, or raise an error to refuse the row.")));
}

/*
 * Error context callback: PostgreSQL shows the row that breaks a constraint, whole,
 * since the tables' owner may see it.  What is private is not for the caller's
 * screen nor for the log.
 */
static void
hide_row(void *arg)
{
	int code = geterrcode();

	if (code == ERRCODE_CHECK_VIOLATION || code == ERRCODE_NOT_NULL_VIOLATION)
		errdetail("The row is not shown, since it may hold private data.");
}

/*
 * The same for the values of a key that is taken: an index of the shop's own may be
 * on what is private, or on an expression of it.
 */
static void
hide_key(void *arg)
{
	const RowTable *table = arg;
	int				code = geterrcode();

	if ((code == ERRCODE_UNIQUE_VIOLATION || code == ERRCODE_EXCLUSION_VIOLATION) &&
		table->columns == &order_columns)
		errdetail("The key is not shown, since it may hold private data.");
}

/* `lost` and `arbiters`: of a speculative insertion, else NULL and NIL. */
static List *
insert_index_entries(RowTable *table, TupleTableSlot *slot, bool update, bool *lost, List *arbiters,
					 bool only_summarizing)
{
	ErrorContextCallback callback = {
		.previous = error_context_stack, .callback = hide_key, .arg = table};
	List *recheck;

	error_context_stack = &callback;
	recheck = compat_insert_index_tuples(table->rri, slot, table->scope->estate, update,
										 lost != NULL, lost, arbiters, only_summarizing);
	error_context_stack = callback.previous;
	return recheck;
}

/* What both INSERT and UPDATE do between the BEFORE triggers and the write. */
static void
check_row(RowTable *table, TupleTableSlot *slot, CmdType command)
{
	EState				*estate = table->scope->estate;
	TupleConstr			*constr = RelationGetDescr(table->rel)->constr;
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = hide_row};

	if (constr && constr->has_generated_stored)
		ExecComputeStoredGenerated(table->rri, estate, slot, command);
	/* DROP ... CASCADE in a trigger has changed them: the executor compiles them anew */
	if (unlikely(constr != table->constr))
		compat_check_expressions(table->rri) = NULL;
	table->constr = constr;
	error_context_stack = &callback;
	if (constr)
		ExecConstraints(table->rri, slot, estate);
	error_context_stack = callback.previous;
}

/*
 * What a user's trigger must not change: the engine has acted, or will, on what it meant to
 * write.
 */
static void
check_fixed(RowTable *table, TupleTableSlot *meant, TupleTableSlot *written)
{
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (!row_same_column(meant, written, table->attno[i]))
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
					 errmsg("a trigger on table \"%s\" changed column \"%s\"",
							RelationGetRelationName(table->rel), table->columns->columns[i].name),
					 errhint("A BEFORE trigger there may change columns of its own only.")));
	}
}

static void
fire_before_insert(RowTable *table, TupleTableSlot *slot)
{
	TupleTableSlot *meant = NULL;

	if (table->columns->fixed)
		meant = ExecCopySlot(row_slot(table), slot);
	if (!ExecBRInsertTriggers(table->scope->estate, table->rri, slot))
		raise_suppressed(table);
	if (meant)
		check_fixed(table, meant, slot);
}

static void
prepare_insert(RowTable *table, TupleTableSlot *slot)
{
	EState *estate = table->scope->estate;

	ResetPerTupleExprContext(estate);
	/* not empty: the second try of row_insert_unless()'s caller */
	if (TTS_EMPTY(slot))
		ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(table->rel);
	if (table->rri->ri_TrigDesc && table->rri->ri_TrigDesc->trig_insert_before_row)
		fire_before_insert(table, slot);
	check_row(table, slot, CMD_INSERT);
}

void
row_insert(RowTable *table, TupleTableSlot *slot)
{
	EState *estate = table->scope->estate;
	List   *recheck = NIL;

	prepare_insert(table, slot);
	table_tuple_insert(table->rel, slot, estate->es_output_cid, 0, NULL);
	if (table->rri->ri_NumIndices > 0)
		recheck = insert_index_entries(table, slot, false, NULL, NIL, false);
	if (table->rri->ri_TrigDesc)
		ExecARInsertTriggers(estate, table->rri, slot, recheck, table->inserted);
}

/*
 * Speculative insertion, as INSERT ... ON CONFLICT DO NOTHING does it: a second
 * inserter of the key waits in the check for the first one's transaction, and
 * an index entry that slips in between the check and ours makes us try again.
 */
bool
row_insert_unless(RowTable *table, TupleTableSlot *slot, Oid index, ItemPointer conflict)
{
	EState *estate = table->scope->estate;
	List   *arbiters = list_make1_oid(index);
	List   *recheck;

	prepare_insert(table, slot);
	for (;;)
	{
		bool   lost = false; /* only ever set by the executor */
		uint32 token;

		CHECK_FOR_INTERRUPTS();
		if (!compat_check_index_constraints(table->rri, slot, estate, conflict, arbiters))
			return false;

		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
		table_tuple_insert_speculative(table->rel, slot, estate->es_output_cid, 0, NULL, token);
		recheck = insert_index_entries(table, slot, false, &lost, arbiters, false);
		table_tuple_complete_speculative(table->rel, slot, token, !lost);
		SpeculativeInsertionLockRelease(GetCurrentTransactionId());
		if (!lost)
			break;
	}
	if (table->rri->ri_TrigDesc)
		ExecARInsertTriggers(estate, table->rri, slot, recheck, table->inserted);
	return true;
}

/*
 * True if the index holds every row whose key columns are not null, which is all
 * that is ever looked for: it has no predicate, or one that says just that.
 */
static bool
holds_all_keys(const IndexInfo *info)
{
	ListCell *lc;

	foreach(lc, info->ii_Predicate)
	{
		NullTest *test = lfirst(lc);
		bool	  is_key = false;

		if (!IsA(test, NullTest) || test->nulltesttype != IS_NOT_NULL || !IsA(test->arg, Var))
			return false;
		for (int k = 0; k < info->ii_NumIndexKeyAttrs; k++)
			is_key |= ((Var *) test->arg)->varattno == info->ii_IndexAttrNumbers[k];
		if (!is_key)
			return false;
	}
	return true;
}

/* Column k of the index is this one, in the order in which the engine reads it. */
static bool
is_key_column(Relation index, int k, AttrNumber column)
{
	Oid collation = index->rd_indcollation[k];

	return index->rd_rel->relam == BTREE_AM_OID && index->rd_index->indkey.values[k] == column &&
		   !(index->rd_indoption[k] & INDOPTION_DESC) &&
		   (!OidIsValid(collation) || collation == C_COLLATION_OID);
}

static bool
index_fits(RowTable *table, int number, int ncolumns, const int *columns)
{
	IndexInfo *info = table->rri->ri_IndexRelationInfo[number];
	Relation   index = table->rri->ri_IndexRelationDescs[number];

	if (!info->ii_Unique || info->ii_NumIndexKeyAttrs != ncolumns || !index->rd_index->indisvalid)
		return false;
	for (int k = 0; k < ncolumns; k++)
		if (!is_key_column(index, k, table->attno[columns[k]]))
			return false;
	return holds_all_keys(info);
}

pg_noreturn static void
raise_no_index(Relation rel)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("table \"%s\" lacks a unique index that the order engine needs",
						   RelationGetRelationName(rel)),
					errhint("Create the index again that order_engine.setup() made.")));
}

Oid
row_unique_index(RowTable *table, int ncolumns, const int *columns)
{
	for (int i = 0; i < table->rri->ri_NumIndices; i++)
		if (index_fits(table, i, ncolumns, columns))
			return RelationGetRelid(table->rri->ri_IndexRelationDescs[i]);
	raise_no_index(table->rel);
}

static bool
index_starts_with(Relation index, int ncolumns, const AttrNumber *columns)
{
	if (!index->rd_index->indisunique || !index->rd_index->indisvalid ||
		index->rd_index->indnkeyatts < ncolumns)
		return false;
	for (int k = 0; k < ncolumns; k++)
		if (!is_key_column(index, k, columns[k]))
			return false;
	return !row_index_is_partial(index);
}

bool
row_index_is_partial(Relation index)
{
	return !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

Relation
row_open_index(Relation rel, int ncolumns, const AttrNumber *columns)
{
	List	 *indexes = RelationGetIndexList(rel);
	ListCell *lc;

	foreach(lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index_starts_with(index, ncolumns, columns))
			return index;
		index_close(index, AccessShareLock);
	}
	raise_no_index(rel);
}

static Relation
open_index(RowTable *table, Oid index)
{
	for (int i = 0; i < table->rri->ri_NumIndices; i++)
		if (RelationGetRelid(table->rri->ri_IndexRelationDescs[i]) == index)
			return table->rri->ri_IndexRelationDescs[i];
	elog(ERROR, "index %u does not belong to table \"%s\"", index,
		 RelationGetRelationName(table->rel));
}

pg_noreturn static void
raise_conflict(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent update"),
			 detail ? errdetail_internal("%s", detail) : 0, errhint("Retry the transaction.")));
}

void
row_check_conflict(const char *detail)
{
	if (IsolationUsesXactSnapshot())
		raise_conflict(detail);
}

static bool
is_seen(TransactionId xid, Snapshot snapshot)
{
	return !TransactionIdIsNormal(xid) || !XidInMVCCSnapshot(xid, snapshot) ||
		   TransactionIdIsCurrentTransactionId(xid);
}

/*
 * Before rows are read: the snapshot must see who rewrote the table, if anybody
 * did.  Its lock is held, so nobody can once more.
 */
static void
see_table(RowTable *table)
{
	if (likely(is_seen(table->changed_by, table->scope->estate->es_snapshot)))
		return;
	row_check_conflict(NULL);
	row_scope_refresh(table->scope);
}

bool
row_sees_table(Relation rel, ShopTable table, Snapshot snapshot)
{
	return is_seen(layout_get(rel, columns_tables[table])->changed_by, snapshot);
}

Snapshot
row_reading_snapshot(const Relation *rels, const ShopTable *tables, int n)
{
	bool seen = true;

	for (int i = 0; i < n; i++)
		seen = seen && row_sees_table(rels[i], tables[i], GetActiveSnapshot());
	if (seen)
		return RegisterSnapshot(GetActiveSnapshot());

	/* in parallel mode there is no newer one to be had; the retry finds it settled */
	if (IsolationUsesXactSnapshot() || IsInParallelMode())
		raise_conflict(NULL);
	return RegisterSnapshot(GetLatestSnapshot());
}

Relation
row_open_for_reading(ShopTable table)
{
	Relation rel = table_open(shop_table(table), AccessShareLock);

	(void) layout_get(rel, columns_tables[table]);
	return rel;
}

Relation
row_open_leaf_for_reading(ShopTable table, int slot)
{
	for (;;)
	{
		Oid		 leaf = shop_leaf(table, slot);
		Relation rel = table_open(leaf, AccessShareLock);

		if (likely(shop_leaf(table, slot) == leaf))
		{
			(void) layout_get(rel, columns_tables[table]);
			return rel;
		}
		table_close(rel, AccessShareLock);
	}
}

static bool
find_with(RowTable *table, Oid index, int nkeys, ScanKey keys, Snapshot snapshot,
		  TupleTableSlot *slot)
{
	IndexScanDesc scan =
		compat_index_beginscan(table->rel, open_index(table, index), snapshot, nkeys);
	bool found;

	index_rescan(scan, keys, nkeys, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);
	if (found)
		ExecMaterializeSlot(slot);
	index_endscan(scan);
	return found;
}

bool
row_find(RowTable *table, Oid index, int nkeys, ScanKey keys, TupleTableSlot *slot)
{
	see_table(table);
	return find_with(table, index, nkeys, keys, table->scope->estate->es_snapshot, slot);
}

bool
row_is_own(TupleTableSlot *slot)
{
	bool  isnull;
	Datum xmin = slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull);

	return TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin));
}

/* Who inserts a row by speculation may yet take it back, without an end of his transaction. */
static void
wait_for_inserter(RowTable *table, const SnapshotData *dirty, ItemPointer tid)
{
	if (dirty->speculativeToken)
		SpeculativeInsertionWait(dirty->xmin, dirty->speculativeToken);
	else
		XactLockTableWait(dirty->xmin, table->rel, tid, XLTW_InsertIndex);
}

bool
row_key_is_taken(RowTable *table, Oid index, int nkeys, ScanKey keys)
{
	TupleTableSlot *slot = row_slot(table);
	SnapshotData	dirty;
	bool			waited = false;

	InitDirtySnapshot(dirty);
	while (find_with(table, index, nkeys, keys, &dirty, slot))
	{
		if (!TransactionIdIsValid(dirty.xmin))
			return true;
		wait_for_inserter(table, &dirty, &slot->tts_tid);
		waited = true;
	}
	return waited;
}

List *
row_find_all(RowTable *table, Oid index, int nkeys, ScanKey keys)
{
	MemoryContext	context = table->scope->estate->es_query_cxt;
	TupleTableSlot *slot = row_slot(table);
	List		   *rows = NIL;
	IndexScanDesc	scan;

	see_table(table);
	scan = compat_index_beginscan(table->rel, open_index(table, index),
								  table->scope->estate->es_snapshot, nkeys);
	index_rescan(scan, keys, nkeys, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		ExecMaterializeSlot(slot);
		rows = lappend(rows, slot);
		MemoryContextSwitchTo(old);
		slot = row_slot(table);
	}
	index_endscan(scan);
	return rows;
}

/* Only a user's trigger that wrote the very row while the engine was at it can bring that about. */
pg_noreturn static void
raise_changed_by_trigger(const RowTable *table)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
		 errmsg("row of table \"%s\" was changed by an operation triggered by the current command",
				RelationGetRelationName(table->rel))));
}

/*
 * Locks the row in `slot` and brings its latest version there.  The lock mode
 * is that of an UPDATE which leaves the keys alone, so foreign keys of users'
 * tables that point here do not wait.
 */
static bool
lock_row(RowTable *table, TupleTableSlot *slot, LockWaitPolicy wait)
{
	ItemPointerData tid = slot->tts_tid;
	TM_FailureData	failure;
	EState		   *estate = table->scope->estate;
	uint8			flags = IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION;
	TM_Result		result =
		table_tuple_lock(table->rel, &tid, estate->es_snapshot, slot, estate->es_output_cid,
						 LockTupleNoKeyExclusive, wait, flags, &failure);

	switch (result)
	{
		case TM_Ok:
			ExecMaterializeSlot(slot);
			return true;
		case TM_WouldBlock:
			return false;
		case TM_Deleted:
		case TM_Updated:
			row_check_conflict(NULL);
			return false;
		case TM_SelfModified:
			raise_changed_by_trigger(table);
		default:
			elog(ERROR, "unexpected table_tuple_lock status: %u", result);
			return false; /* keep compiler quiet */
	}
}

/* Locks the row that was found. */
static bool
lock_found(RowTable *table, TupleTableSlot *slot, LockWaitPolicy wait)
{
	ItemPointerData found = slot->tts_tid;

	if (!lock_row(table, slot, wait))
		return false;

	/* whoever changed the row while we waited has written other rows with it: see those too */
	if (!ItemPointerEquals(&found, &slot->tts_tid))
		row_scope_refresh(table->scope);
	return true;
}

/*
 * What one snapshot does not see for as long as the transaction lasts may be there
 * all the same: then there is nothing to be said of it, and the retry sees it.
 */
static void
check_not_younger(RowTable *table, Oid index, int nkeys, ScanKey keys)
{
	Snapshot latest;

	if (!IsolationUsesXactSnapshot())
		return;
	latest = RegisterSnapshot(GetLatestSnapshot());
	if (find_with(table, index, nkeys, keys, latest, row_slot(table)))
		raise_conflict(NULL);
	UnregisterSnapshot(latest);
}

bool
row_find_locked(RowTable *table, Oid index, int nkeys, ScanKey keys, LockWaitPolicy wait,
				TupleTableSlot *slot)
{
	if (row_find(table, index, nkeys, keys, slot))
		return lock_found(table, slot, wait);
	check_not_younger(table, index, nkeys, keys);
	return false;
}

bool
row_lock_single(RowTable *table, TupleTableSlot *slot)
{
	TableScanDesc scan;
	bool		  found;

	see_table(table);
	scan = table_beginscan(table->rel, table->scope->estate->es_snapshot, 0, NULL);
	found = table_scan_getnextslot(scan, ForwardScanDirection, slot);
	if (found)
		ExecMaterializeSlot(slot);
	table_endscan(scan);
	return found && lock_found(table, slot, LockWaitBlock);
}

/* Users' BEFORE triggers, with the columns that change told to UPDATE OF ones. */
static void
prepare_update(RowTable *table, TupleTableSlot *old, TupleTableSlot *slot, int ncolumns,
			   const int *columns)
{
	EState		   *estate = table->scope->estate;
	TupleTableSlot *meant = NULL;

	ResetPerTupleExprContext(estate);
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(table->rel);
	if (table->user_triggers)
	{
		Bitmapset	 *changed = NULL;
		MemoryContext context = MemoryContextSwitchTo(estate->es_query_cxt);

		for (int i = 0; i < ncolumns; i++)
			changed = bms_add_member(changed,
									 table->attno[columns[i]] - FirstLowInvalidHeapAttributeNumber);
		compat_set_updated_columns(estate, table->rri, changed);
		MemoryContextSwitchTo(context);
	}
	if (table->rri->ri_TrigDesc && table->rri->ri_TrigDesc->trig_update_before_row)
	{
		EPQState epq;
		bool	 proceed;

		if (table->columns->fixed)
			meant = ExecCopySlot(row_slot(table), slot);
		EvalPlanQualInit(&epq, estate, NULL, NIL, -1 COMPAT_EPQ_RELATIONS);
		proceed = compat_before_update_triggers(estate, &epq, table->rri, &old->tts_tid, slot);
		EvalPlanQualEnd(&epq);
		if (!proceed)
			raise_suppressed(table);
		if (meant)
			check_fixed(table, meant, slot);
		if (table->settle)
			table->settle(table, slot, table->settle_argument);
	}
	check_row(table, slot, CMD_UPDATE);
}

static TM_Result
write_update(RowTable *table, TupleTableSlot *old, TupleTableSlot *slot)
{
	EState			   *estate = table->scope->estate;
	ItemPointerData		tid = old->tts_tid;
	TM_FailureData		failure;
	LockTupleMode		mode;
	CompatUpdateIndexes indexes;
	List			   *recheck = NIL;
	TM_Result			result =
		table_tuple_update(table->rel, &tid, slot, estate->es_output_cid, estate->es_snapshot,
						   InvalidSnapshot, true, &failure, &mode, &indexes);

	if (result != TM_Ok)
		return result;
	if (table->rri->ri_NumIndices > 0 && compat_needs_index_tuples(indexes))
		recheck =
			insert_index_entries(table, slot, true, NULL, NIL, compat_only_summarizing(indexes));
	if (table->rri->ri_TrigDesc)
		ExecARUpdateTriggers(estate, table->rri, NULL, NULL, &tid, NULL, slot, recheck,
							 table->updated, false);
	return TM_Ok;
}

void
row_update(RowTable *table, TupleTableSlot *old, TupleTableSlot *slot, int ncolumns,
		   const int *columns)
{
	TM_Result result;

	prepare_update(table, old, slot, ncolumns, columns);
	result = write_update(table, old, slot);
	if (result != TM_Ok)
		raise_changed_by_trigger(table);
}

bool
row_update_if_unchanged(RowTable *table, TupleTableSlot *old, TupleTableSlot *slot, int ncolumns,
						const int *columns)
{
	TM_Result result;

	/* BEFORE triggers run once only, so with them the row is locked first */
	if (table->rri->ri_TrigDesc && table->rri->ri_TrigDesc->trig_update_before_row)
		return false;
	prepare_update(table, old, slot, ncolumns, columns);
	result = write_update(table, old, slot);
	if (result == TM_Ok)
		return true;
	if (result == TM_Updated || result == TM_Deleted)
		row_check_conflict(NULL);
	return false;
}
