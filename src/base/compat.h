/*
 * compat.h
 *		The only place with version branches: PostgreSQL 15 to 18.
 */
#ifndef ORDER_ENGINE_COMPAT_H
#define ORDER_ENGINE_COMPAT_H

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "order_engine supports PostgreSQL 15 to 18"
#endif

/* 18 lets a module tell its name and version */
#if PG_VERSION_NUM >= 180000
#define OE_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "order_engine", .version = ORDER_ENGINE_VERSION)
#else
#define OE_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* 18 spells it so, before the declaration, and has no other way */
#if PG_VERSION_NUM < 180000
#define pg_noreturn __attribute__((noreturn))
#endif

/* 16 took VARDATA() and its like out of postgres.h */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "access/genam.h"
#include "catalog/index.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "parser/parse_relation.h"
#include "utils/relcache.h"

/*
 * Gives a relation a place in the executor's range table, so that triggers
 * and messages know which columns are written.  16 moved those out of the
 * RangeTblEntry into RTEPermissionInfo.
 */
static inline Index
compat_add_relation(EState *estate, Relation rel)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel);
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	estate->es_range_table = lappend(estate->es_range_table, rte);
	estate->es_range_table_size = list_length(estate->es_range_table);
#if PG_VERSION_NUM >= 160000
	addRTEPermissionInfo(&estate->es_rteperminfos, rte);
#endif
	return estate->es_range_table_size;
}

static inline void
compat_set_updated_columns(EState *estate, ResultRelInfo *rri, Bitmapset *columns)
{
	RangeTblEntry *rte = exec_rt_fetch(rri->ri_RangeTableIndex, estate);

#if PG_VERSION_NUM >= 160000
	getRTEPermissionInfo(estate->es_rteperminfos, rte)->updatedCols = columns;
#else
	rte->updatedCols = columns;
#endif
}

/* 16 can leave all but summarizing (BRIN) indexes alone in an update */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes CompatUpdateIndexes;
#define compat_needs_index_tuples(indexes) ((indexes) != TU_None)
#define compat_only_summarizing(indexes) ((indexes) == TU_Summarizing)
#define compat_insert_index_tuples(rri, slot, estate, update, noDupErr, specConflict, arbiters, \
								   onlySummarizing)                                             \
	ExecInsertIndexTuples(rri, slot, estate, update, noDupErr, specConflict, arbiters,          \
						  onlySummarizing)
#else
typedef bool CompatUpdateIndexes;
#define compat_needs_index_tuples(indexes) (indexes)
#define compat_only_summarizing(indexes) false
#define compat_insert_index_tuples(rri, slot, estate, update, noDupErr, specConflict, arbiters, \
								   onlySummarizing)                                             \
	ExecInsertIndexTuples(rri, slot, estate, update, noDupErr, specConflict, arbiters)
#endif

/* 18 takes the tuple's address, for updates of other rows */
static inline bool
compat_check_index_constraints(ResultRelInfo *rri, TupleTableSlot *slot, EState *estate,
							   ItemPointer conflict, List *arbiters)
{
#if PG_VERSION_NUM >= 180000
	ItemPointerData none;

	ItemPointerSetInvalid(&none);
	return ExecCheckIndexConstraints(rri, slot, estate, conflict, &none, arbiters);
#else
	return ExecCheckIndexConstraints(rri, slot, estate, conflict, arbiters);
#endif
}

/* 18 counts index searches for EXPLAIN */
static inline IndexScanDesc
compat_index_beginscan(Relation heap, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

/* 18 has CHECK constraints that are not enforced, and generated columns that are not stored */
#if PG_VERSION_NUM >= 180000
#define compat_check_is_enforced(check) ((check).ccenforced)
#define compat_has_virtual_columns(constr) ((constr)->has_generated_virtual)
#else
#define compat_check_is_enforced(check) true
#define compat_has_virtual_columns(constr) false
#endif

/* 18 has other expressions beside those of CHECK constraints */
#if PG_VERSION_NUM >= 180000
#define compat_check_expressions(rri) ((rri)->ri_CheckConstraintExprs)
#else
#define compat_check_expressions(rri) ((rri)->ri_ConstraintExprs)
#endif

/* 18 has NOT NULL constraints that do not hold of the rows that were there before */
#if PG_VERSION_NUM >= 180000
#define compat_is_not_null(desc, i) \
	(TupleDescCompactAttr(desc, i)->attnullability == ATTNULLABLE_VALID)
#else
#define compat_is_not_null(desc, i) (TupleDescAttr(desc, i)->attnotnull)
#endif

/* 18 has deferrable primary keys in mind; a table of ours has none */
static inline Oid
compat_primary_key_index(Relation relation)
{
#if PG_VERSION_NUM >= 180000
	return RelationGetPrimaryKeyIndex(relation, false);
#else
	return RelationGetPrimaryKeyIndex(relation);
#endif
}

/* 16 lists the relations that may need a re-check */
#if PG_VERSION_NUM >= 160000
#define COMPAT_EPQ_RELATIONS , NIL
#else
#define COMPAT_EPQ_RELATIONS
#endif

/* 16 gives back why the row could not be locked, 18 asks whether it is MERGE that updates */
static inline bool
compat_before_update_triggers(EState *estate, EPQState *epq, ResultRelInfo *rri, ItemPointer tid,
							  TupleTableSlot *slot)
{
#if PG_VERSION_NUM >= 180000
	return ExecBRUpdateTriggers(estate, epq, rri, tid, NULL, slot, NULL, NULL, false);
#elif PG_VERSION_NUM >= 160000
	return ExecBRUpdateTriggers(estate, epq, rri, tid, NULL, slot, NULL, NULL);
#else
	return ExecBRUpdateTriggers(estate, epq, rri, tid, NULL, slot, NULL);
#endif
}

/* from 16 on what the postmaster looks up must be exported */
#define COMPAT_WORKER_MAIN(name) pg_noreturn PGDLLEXPORT void name(Datum arg)

/* 17 has names for the waits of extensions */
#if PG_VERSION_NUM >= 170000
#define compat_wait_event(name) WaitEventExtensionNew(name)
#else
#define compat_wait_event(name) PG_WAIT_EXTENSION
#endif

/* 17 can end a transaction that takes long; before, a setting could end no more than a statement */
#if PG_VERSION_NUM >= 170000
#define COMPAT_TRANSACTION_TIMEOUT "transaction_timeout"
#else
#define COMPAT_TRANSACTION_TIMEOUT "statement_timeout"
#endif

/* 16 keeps what a check hook gives back in a memory context of its own */
#if PG_VERSION_NUM >= 160000
#define compat_guc_malloc(size) guc_malloc(LOG, size)
#define compat_guc_free(pointer) guc_free(pointer)
#else
#define compat_guc_malloc(size) malloc(size)
#define compat_guc_free(pointer) free(pointer)
#endif

/*
 * 16 made one function of the checks of privileges, and one of ownership, for most kinds of
 * objects
 */
#if PG_VERSION_NUM >= 160000
#define compat_function_aclcheck(function, role, mode) \
	object_aclcheck(ProcedureRelationId, function, role, mode)
#define compat_schema_aclcheck(schema, role, mode) \
	object_aclcheck(NamespaceRelationId, schema, role, mode)
#define compat_table_ownercheck(table, role) object_ownercheck(RelationRelationId, table, role)
#else
#define compat_function_aclcheck(function, role, mode) pg_proc_aclcheck(function, role, mode)
#define compat_schema_aclcheck(schema, role, mode) pg_namespace_aclcheck(schema, role, mode)
#define compat_table_ownercheck(table, role) pg_class_ownercheck(table, role)
#endif

/* 16 calls it a relfilenumber */
#if PG_VERSION_NUM >= 160000
#define compat_set_new_storage(rel) RelationSetNewRelfilenumber(rel, (rel)->rd_rel->relpersistence)
#else
#define compat_set_new_storage(rel) RelationSetNewRelfilenode(rel, (rel)->rd_rel->relpersistence)
#endif

/* 17 takes the statement, for event triggers */
static inline void
compat_reindex_relation(Oid relid, int flags)
{
	ReindexParams params = {0};

#if PG_VERSION_NUM >= 170000
	(void) reindex_relation(NULL, relid, flags, &params);
#else
	(void) reindex_relation(relid, flags, &params);
#endif
}

#endif /* ORDER_ENGINE_COMPAT_H */
