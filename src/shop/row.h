/*
 * row.h
 *		Rows of the engine's tables written and read without SQL.
 *
 * A scope is one business action.  It sees everything committed before it
 * began (READ COMMITTED) and everything this transaction did before; AFTER
 * triggers of users fire when it ends.  All functions: backend or worker, in
 * a transaction, with an active snapshot; they may raise.
 */
#ifndef ORDER_ENGINE_ROW_H
#define ORDER_ENGINE_ROW_H

#include "access/skey.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "nodes/lockoptions.h"
#include "utils/rel.h"

#include "shop/columns.h"
#include "shop/shop.h"

#define ROW_MAX_COLUMNS 24

typedef struct RowScope
{
	EState *estate;
	List   *tables;
} RowScope;

typedef struct RowTable RowTable;

/*
 * What a module has to say about an update when users' BEFORE triggers have had
 * their hand in it, before the row is checked and written; row_replace() may change it.
 */
typedef void (*RowSettle)(RowTable *table, TupleTableSlot *slot, void *argument);

struct RowTable
{
	RowScope		 *scope;
	Relation		  rel;
	ResultRelInfo	 *rri;
	int				  ncolumns;
	AttrNumber		  attno[ROW_MAX_COLUMNS]; /* of each column of RowColumns */
	const RowColumns *columns;
	bool			  user_triggers; /* has row triggers that are not ours */
	bool			  user_columns;	 /* has columns that are not ours */
	TransactionId	  changed_by;	 /* the last to change the table: the snapshot must see it */
	TupleConstr		 *constr;		 /* the executor's compiled CHECKs are of these */

	/* for users' row triggers with transition tables, NULL: there are none */
	TransitionCaptureState *inserted;
	TransitionCaptureState *updated;

	RowSettle settle; /* NULL: none; called only if there are such triggers */
	void	 *settle_argument;
};

/*
 * Begins a scope, as the owner of the tables: makes this transaction's earlier
 * changes visible, pushes a fresh snapshot and opens an AFTER trigger level.
 * 25006 in a read-only transaction or on a standby; `call` names the caller in
 * that message.
 */
extern void row_scope_begin(RowScope *scope, const char *call);

/*
 * Locks tables as a whole before an action locks its first leaf and its first row.
 * ALTER TABLE takes a table before its leaves, and waits for both; who has a leaf, or
 * a row for which somebody waits who has one, must not wait for it in turn.
 */
extern void row_lock_tables(const ShopTable *tables, int n, LOCKMODE mode);

/* Fires the AFTER triggers, closes the tables, pops the snapshot. */
extern void row_scope_end(RowScope *scope);

/*
 * Checks now, and to the end of the transaction at once, what users' constraints and triggers
 * have deferred to the commit: there one that does not hold would take all with it.
 */
extern void row_check_deferred(void);

/*
 * Makes what the scope has written so far visible to what it reads next, under
 * a new snapshot (after a wait, what others committed meanwhile too).
 */
extern void row_scope_refresh(RowScope *scope);

/*
 * Opens a plain table (a leaf, never a partitioned table) for reading and
 * writing, with ROW EXCLUSIVE lock; a second call for the same relation in a
 * scope gives the same RowTable.  The engine's own triggers do not fire for
 * rows written through it, users' row triggers do.  55000 if the relation is not
 * as the engine needs it (shape.h), which is looked at once the lock is there.
 */
extern RowTable *row_open(RowScope *scope, Oid relid, const RowColumns *columns);

/*
 * Opens the leaf of an order table that holds a slot's orders.  OE060 if there is
 * none, or none any more once its lock is there.
 */
extern RowTable *
row_open_leaf(RowScope *scope, ShopTable table, int slot, const RowColumns *columns);

/*
 * Where these columns stand in a plain table that the caller has open and locked;
 * [columns->ncolumns].  55000 as row_open().  Runs nothing of the owner's, so any
 * role may call it.
 */
extern void row_layout(Relation rel, const RowColumns *columns, AttrNumber *attno);

/*
 * For readers without a scope, as any role, on standbys too: open a plain table,
 * or the leaf of an order table that holds a slot's orders, with ACCESS SHARE.
 * 55000 as row_open(), OE060 as row_open_leaf().
 */
extern Relation row_open_for_reading(ShopTable table);
extern Relation row_open_leaf_for_reading(ShopTable table, int slot);

/*
 * A registered snapshot to read these with: the active one, or if that is older
 * than a change of one of the relations, a new one.  40001 where there is only
 * one (REPEATABLE READ and above, parallel mode).
 */
extern Snapshot row_reading_snapshot(const Relation *rels, const ShopTable *tables, int n);

/* True if the snapshot sees the last change of a table that is open and locked. */
extern bool row_sees_table(Relation rel, ShopTable table, Snapshot snapshot);

/* A slot of the table's shape that lives until the scope ends. */
extern TupleTableSlot *row_slot(RowTable *table);

/* Starts a new row: all columns null, a user's columns at their defaults. */
extern void row_new(RowTable *table, TupleTableSlot *slot);

/*
 * Starts the next version of a row: `slot` becomes a copy of `old`, into which its
 * values point.
 */
extern void row_copy(RowTable *table, TupleTableSlot *slot, TupleTableSlot *old);

static inline void
row_set(RowTable *table, TupleTableSlot *slot, int column, Datum value)
{
	AttrNumber attno = table->attno[column];

	slot->tts_values[attno - 1] = value;
	slot->tts_isnull[attno - 1] = false;
}

static inline void
row_set_null(RowTable *table, TupleTableSlot *slot, int column)
{
	slot->tts_values[table->attno[column] - 1] = (Datum) 0;
	slot->tts_isnull[table->attno[column] - 1] = true;
}

/*
 * What the engine means to write, which users' triggers may change: a copy of `slot`
 * that lives until the scope ends.  NULL if the table has no such triggers.
 */
extern TupleTableSlot *row_meant(RowTable *table, TupleTableSlot *slot);

/* Gives one column of a row that is whole already (a trigger may have made it) another value. */
extern void
row_replace(RowTable *table, TupleTableSlot *slot, int column, Datum value, bool isnull);

static inline Datum
row_get(RowTable *table, TupleTableSlot *slot, int column, bool *isnull)
{
	return slot_getattr(slot, table->attno[column], isnull);
}

/*
 * True if both are null, or are the same bytes: values of this column, or of this
 * column in two rows.
 */
extern bool row_same_value(Form_pg_attribute att, NullableDatum a, NullableDatum b);
extern bool row_same_column(TupleTableSlot *a, TupleTableSlot *b, AttrNumber attno);

/* True if this transaction has written the row, as it was read from the table. */
extern bool row_is_own(TupleTableSlot *slot);

/* The value of a column that is never null: 23502 if it is all the same. */
extern Datum row_require(TupleTableSlot *slot, AttrNumber attno);

static inline Datum
row_get_required(RowTable *table, TupleTableSlot *slot, int column)
{
	return row_require(slot, table->attno[column]);
}

/*
 * Inserts the row: users' BEFORE triggers, generated columns, constraints,
 * indexes, users' AFTER triggers (queued).  Afterwards the slot holds what was
 * really written.  23xxx on a violated constraint, 09000 if a trigger
 * suppresses the row or changes a column that is fixed.
 */
extern void row_insert(RowTable *table, TupleTableSlot *slot);

/*
 * The same, unless a row with the same key stands in `index` (a unique index of
 * the table): then nothing is written, `conflict` is set to that row's address
 * and false returned.  Waits for a concurrent inserter of that key.
 */
extern bool
row_insert_unless(RowTable *table, TupleTableSlot *slot, Oid index, ItemPointer conflict);

/*
 * True if a row with this key of a unique index stands, whoever made it and whatever the
 * snapshot sees, or was being inserted: then that is waited for, and may have been undone.  Takes
 * no transaction id, and reads no page of the table unless the index knows the key.
 */
extern bool row_key_is_taken(RowTable *table, Oid index, int nkeys, ScanKey keys);

/*
 * The unique index on exactly these columns, in this order, that holds every row
 * in which they are not null; an index of a user's own that holds some of them
 * will not do.  55000 if the table has none.
 */
extern Oid row_unique_index(RowTable *table, int ncolumns, const int *columns);

/*
 * The same for readers without a scope: opens, with ACCESS SHARE lock, a unique
 * index whose first columns are these.
 */
extern Relation row_open_index(Relation rel, int ncolumns, const AttrNumber *columns);

/* True if the index has a predicate, which is not evaluated. */
extern bool row_index_is_partial(Relation index);

/*
 * Reads the row with this key of a unique index under the scope's snapshot.
 * False if there is none.
 */
extern bool row_find(RowTable *table, Oid index, int nkeys, ScanKey keys, TupleTableSlot *slot);

/*
 * Reads all rows with this key prefix, in index order, each into a slot of its
 * own.
 */
extern List *row_find_all(RowTable *table, Oid index, int nkeys, ScanKey keys);

/*
 * Finds the row as row_find() does, waits for its lock and reads its latest
 * version; what is read in this scope afterwards is no older than that.  False
 * if there is none, it was deleted meanwhile, or with LockWaitSkip another holds
 * it.  40001 under REPEATABLE READ and above if another transaction made or changed
 * it after the snapshot, 55P03 with LockWaitError.
 */
extern bool row_find_locked(RowTable *table, Oid index, int nkeys, ScanKey keys,
							LockWaitPolicy wait, TupleTableSlot *slot);

/*
 * The same for the row of a table that has but one: waits for its lock.  False if
 * there is none.
 */
extern bool row_lock_single(RowTable *table, TupleTableSlot *slot);

/*
 * Where a transaction has one snapshot (REPEATABLE READ and above), what others have
 * done since is a conflict: 40001, for its retry sees it.  `detail` is a sentence, or
 * NULL.  Elsewhere nothing: the caller looks again.
 */
extern void row_check_conflict(const char *detail);

/*
 * Writes `slot`, made by row_copy(), as the next version of the row in `old`,
 * which row_find_locked() locked.  `columns` are those that change, for users'
 * UPDATE OF triggers.  Returns and raises as row_insert() does.
 */
extern void row_update(RowTable *table, TupleTableSlot *old, TupleTableSlot *slot, int ncolumns,
					   const int *columns);

/*
 * The same for a row that was only found, not locked: false, with nothing
 * written, if another transaction changed the row since; then
 * row_find_locked() and row_update() follow.
 */
extern bool row_update_if_unchanged(RowTable *table, TupleTableSlot *old, TupleTableSlot *slot,
									int ncolumns, const int *columns);

/* Registers the cache's invalidation; from _PG_init. */
extern void row_init(void);

#endif /* ORDER_ENGINE_ROW_H */
