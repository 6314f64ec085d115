/*
 * ring.c
 *		The leaves of a table that is partitioned by ring.
 *
 * Owns a per-backend cache of them; a relcache callback marks it stale.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "lib/stringinfo.h"
#include "nodes/primnodes.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "journal/ring_internal.h"
#include "shop/row.h"

/* Of those partitioned by ring; marked stale by ring_invalidate(), loaded by ring_get(). */
static Ring rings[SHOP_TABLES];

static int rotate_size = 65536; /* a setting (kB), which PostgreSQL sets and resets */

/* Relcache callback: only marks. */
static void
ring_invalidate(Datum arg, Oid relid)
{
	for (int i = 0; i < SHOP_TABLES; i++)
		if (relid == InvalidOid || relid == rings[i].parent)
			rings[i].valid = false;
}

static int
compare_rings(const void *a, const void *b)
{
	int left = ((const Leaf *) a)->ring;
	int right = ((const Leaf *) b)->ring;

	return left < right ? -1 : left > right;
}

static void
add_leaves(Ring *ring, const ShopPartition *partition)
{
	ListCell *lc;

	if (get_rel_relkind(partition->relid) != RELKIND_RELATION)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("\"%s\" must be a plain table", get_rel_name(partition->relid)),
						errhint("The order engine needs it as order_engine.setup() made it.")));
	foreach(lc, partition->bound->listdatums)
	{
		Const *value = lfirst_node(Const, lc);

		if (!value->constisnull)
			ring->leaves[ring->nleaves++] =
				(Leaf){.ring = DatumGetInt32(value->constvalue), .relid = partition->relid};
	}
}

/* By the catalogs alone; see shop_partitions(). */
static void
ring_load(Ring *ring, Oid parent)
{
	List	 *partitions;
	ListCell *lc;
	int		  n = 0;

	/* mark first: an invalidation that arrives while loading must win */
	ring->parent = parent;
	ring->valid = true;
	ring->nleaves = 0;
	if (ring->context)
		MemoryContextReset(ring->context);
	else
		ring->context =
			AllocSetContextCreate(TopMemoryContext, "order_engine ring", ALLOCSET_SMALL_SIZES);
	partitions = shop_partitions(parent);
	foreach(lc, partitions)
		n += list_length(((ShopPartition *) lfirst(lc))->bound->listdatums);
	ring->leaves = MemoryContextAlloc(ring->context, sizeof(Leaf) * Max(n, 1));
	foreach(lc, partitions)
		add_leaves(ring, lfirst(lc));
	if (ring->nleaves == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" has no partitions", get_rel_name(parent))));
	qsort(ring->leaves, ring->nleaves, sizeof(Leaf), compare_rings);
}

/* Half a load is none. */
static void
ring_reload(Ring *ring, Oid parent)
{
	PG_TRY();
	{
		ring_load(ring, parent);
	}
	PG_CATCH();
	{
		ring->valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

const Ring *
ring_get(ShopTable table)
{
	Ring *ring = &rings[table];
	Oid	  parent = shop_table(table);

	if (!ring->valid || ring->parent != parent)
		ring_reload(ring, parent);
	return ring;
}

bool
journal_is_leaf(Journal journal, Oid relid)
{
	const Ring *ring = ring_get(journals[journal].table);

	for (int i = 0; i < ring->nleaves; i++)
		if (ring->leaves[i].relid == relid)
			return true;
	return false;
}

Leaf *
ring_leaves(ShopTable table, int *nleaves)
{
	const Ring *ring = ring_get(table);
	Leaf	   *leaves = palloc(sizeof(Leaf) * ring->nleaves);

	memcpy(leaves, ring->leaves, sizeof(Leaf) * ring->nleaves);
	*nleaves = ring->nleaves;
	return leaves;
}

static int
compare_leaves(const void *a, const void *b)
{
	Oid left = ((const Leaf *) a)->relid;
	Oid right = ((const Leaf *) b)->relid;

	return left < right ? -1 : left > right;
}

static Leaf *
leaves_by_oid(ShopTable table, int *nleaves)
{
	Leaf *leaves;

	/* a lock that is held already brings no news */
	AcceptInvalidationMessages();
	leaves = ring_leaves(table, nleaves);
	qsort(leaves, *nleaves, sizeof(Leaf), compare_leaves);
	return leaves;
}

static bool
lock_leaves(const Leaf *leaves, int nleaves, LOCKMODE mode, bool wait)
{
	for (int i = 0; i < nleaves; i++)
	{
		if (wait)
			LockRelationOid(leaves[i].relid, mode);
		else if (!ConditionalLockRelationOid(leaves[i].relid, mode))
			return false;
	}
	return true;
}

/* Leaves may come and go while one is waited for: until all that are there are locked. */
static Leaf *
lock_all(ShopTable table, LOCKMODE mode, bool wait, int *nleaves)
{
	Leaf *leaves = leaves_by_oid(table, nleaves);

	while (lock_leaves(leaves, *nleaves, mode, wait))
	{
		int	  n;
		Leaf *now = leaves_by_oid(table, &n);
		bool  same = n == *nleaves && memcmp(now, leaves, sizeof(Leaf) * n) == 0;

		pfree(leaves);
		leaves = now;
		*nleaves = n;
		if (same)
			return leaves;
	}
	pfree(leaves);
	return NULL;
}

Leaf *
ring_lock(ShopTable table, LOCKMODE mode, int *nleaves)
{
	return lock_all(table, mode, true, nleaves);
}

Leaf *
ring_lock_if_free(ShopTable table, LOCKMODE mode, int *nleaves)
{
	return lock_all(table, mode, false, nleaves);
}

/*
 * By the leaf's row of pg_class as the snapshot sees it.  If it sees none, the leaf is
 * younger, and so is what stands there.
 */
static bool
sees_files(Relation rel, Snapshot snapshot)
{
	Relation	pg_class = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		seen;

	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationGetRelid(rel)));
	scan = systable_beginscan(pg_class, ClassOidIndexId, true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	seen = !HeapTupleIsValid(tuple) ||
		   ((Form_pg_class) GETSTRUCT(tuple))->relfilenode == rel->rd_rel->relfilenode;
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	return seen;
}

void
ring_check_seen(ShopTable table, const Leaf *leaves, int nleaves, Snapshot snapshot)
{
	for (int i = 0; i < nleaves; i++)
	{
		Relation rel = table_open(leaves[i].relid, NoLock);

		if (unlikely(!row_sees_table(rel, table, snapshot)) && !sees_files(rel, snapshot))
			ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
							errmsg("could not serialize access due to concurrent update"),
							errdetail("Table \"%s\" has been emptied since the snapshot.",
									  RelationGetRelationName(rel)),
							errhint("Retry the transaction.")));
		table_close(rel, NoLock);
	}
}

Oid
ring_leaf(ShopTable table, int number)
{
	const Ring *ring = ring_get(table);

	for (int i = 0; i < ring->nleaves; i++)
		if (ring->leaves[i].ring == number)
			return ring->leaves[i].relid;
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("table \"%s\" has no partition for ring %d", get_rel_name(ring->parent),
						   number)));
}

/* A plain B-tree, ascending in all of its keys, of all rows. */
static bool
index_matches(Relation index, int ncolumns, const char *const *columns)
{
	bool match = index->rd_index->indisvalid && index->rd_rel->relam == BTREE_AM_OID &&
				 index->rd_index->indnkeyatts == ncolumns && !row_index_is_partial(index);

	for (int i = 0; match && i < ncolumns; i++)
	{
		AttrNumber attno = get_attnum(index->rd_index->indrelid, columns[i]);

		match = index->rd_index->indkey.values[i] == attno && index->rd_indoption[i] == 0;
	}
	return match;
}

static void
raise_no_index(Oid relid, int ncolumns, const char *const *columns)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < ncolumns; i++)
		appendStringInfo(&list, i == 0 ? "%s" : ", %s", columns[i]);
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		 errmsg("table \"%s\" has no index on (%s)", get_rel_name(relid), list.data),
		 errhint(
			 "If a restore is under way, it creates the index at its end.  Otherwise create the index.")));
}

Oid
ring_index(Relation rel, int ncolumns, const char *const *columns)
{
	Oid		  found = InvalidOid;
	List	 *indexes = RelationGetIndexList(rel);
	ListCell *lc;

	foreach(lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index_matches(index, ncolumns, columns))
			found = lfirst_oid(lc);
		index_close(index, NoLock);
	}
	list_free(indexes);
	if (!OidIsValid(found))
		raise_no_index(RelationGetRelid(rel), ncolumns, columns);
	return found;
}

static const char *const entry_columns[] = {"era", "xid", "id"};

Oid
ring_entry_index(Relation rel)
{
	return ring_index(rel, lengthof(entry_columns), entry_columns);
}

/* By the catalogs; of leaves ring_entry_index() looks closer. */
static bool
is_entry_index(HeapTuple tuple)
{
	Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);
	bool		  match = index->indisvalid && index->indnkeyatts == lengthof(entry_columns) &&
				 heap_attisnull(tuple, Anum_pg_index_indpred, NULL);

	for (int i = 0; match && i < lengthof(entry_columns); i++)
		match = index->indkey.values[i] == get_attnum(index->indrelid, entry_columns[i]);
	return match;
}

static bool
has_entry_index(Oid relid)
{
	Relation	pg_index = table_open(IndexRelationId, AccessShareLock);
	bool		found = false;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_index_indrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(pg_index, IndexIndrelidIndexId, true, NULL, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = is_entry_index(tuple);
	systable_endscan(scan);
	table_close(pg_index, AccessShareLock);
	return found;
}

/*
 * The index of a partitioned table is valid once those of all leaves are there,
 * so not before the last row of a restore has come, however many processes it has.  The
 * table is not locked: who has a leaf already would wait for ALTER TABLE, and that for him.
 */
void
ring_require_whole(Journal journal)
{
	Oid relid = shop_table(journals[journal].table);

	if (!has_entry_index(relid))
		raise_no_index(relid, lengthof(entry_columns), entry_columns);
}

BlockNumber
ring_leaf_blocks(Oid relid)
{
	Relation	rel;
	BlockNumber blocks;

	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return InvalidBlockNumber;
	rel = table_open(relid, NoLock);
	blocks = RelationGetNumberOfBlocks(rel);
	table_close(rel, NoLock);
	return blocks;
}

uint64
ring_leaf_size(void)
{
	return (uint64) rotate_size * 1024;
}

void
ring_init(void)
{
	DefineCustomIntVariable("order_engine.journal_rotate_size",
							"Size at which a leaf of a journal is full and the next one is taken.",
							"It grows with the number of leaves.", &rotate_size, 65536, 8,
							MAX_KILOBYTES, PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	CacheRegisterRelcacheCallback(ring_invalidate, (Datum) 0);
}
