/*
 * shop.c
 *		Finds the shop's tables, and who owns them.
 *
 * Owns a per-backend cache of OIDs.  It is filled as a whole or not at all, and
 * thrown away by the relcache callback when any of the relations changes; "not
 * set up" is never cached.
 *
 * It is filled from the system catalogs alone, by whoever comes first: a reader,
 * a writer, a worker that is the bootstrap superuser until owner_begin().  So no
 * relation of the owner's is opened here and nothing of his is evaluated, and as
 * no lock is taken, none can be waited for while others are held.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "storage/lockdefs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/detail.h"
#include "base/errors.h"
#include "shop/shape.h"
#include "shop/shop.h"

#define SCHEMA_NAME "order_engine"
#define ORDER_TABLES (SHOP_RESERVATION + 1)
#define MAX_LOADS 3

typedef struct Shop
{
	bool valid;
	Oid	 schema;
	Oid	 owner;
	Oid	 tables[SHOP_TABLES];
	int	 partitions;
	Oid *leaves[ORDER_TABLES]; /* [partitions], by slot mod partitions */
} Shop;

static Shop			 shop;				/* reset by shop_invalidate() */
static uint64		 invalidations = 0; /* counts calls of shop_invalidate() */
static MemoryContext shop_context;		/* holds the leaves */

/* Relcache callback: may run in any transaction state, so it only marks. */
static void
shop_invalidate(Datum arg, Oid relid)
{
	invalidations++;
	if (!shop.valid)
		return;
	if (relid == InvalidOid)
		shop.valid = false;
	for (int i = 0; i < SHOP_TABLES; i++)
		if (shop.tables[i] == relid)
			shop.valid = false;
}

void
shop_init(void)
{
	shop_context =
		AllocSetContextCreate(TopMemoryContext, "order_engine shop", ALLOCSET_SMALL_SIZES);
	CacheRegisterRelcacheCallback(shop_invalidate, (Datum) 0);
}

/*
 * A restore makes triggers when the rows are there, and gives privileges last
 * of all: so the owner, unless he is a superuser, gets into the schema at its end.
 */
static bool
orders_are_whole(Oid schema, Oid orders)
{
	HeapTuple	  tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(orders));
	Form_pg_class form;
	bool		  whole;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_class) GETSTRUCT(tuple);
	whole = form->relhastriggers &&
			compat_schema_aclcheck(schema, form->relowner, ACL_USAGE) == ACLCHECK_OK;
	ReleaseSysCache(tuple);
	return whole;
}

bool
shop_is_whole(void)
{
	Oid schema = get_namespace_oid(SCHEMA_NAME, true);

	return OidIsValid(schema) && OidIsValid(get_relname_relid("shop", schema)) &&
		   orders_are_whole(schema, get_relname_relid(order_columns.table, schema));
}

static Oid
find_table(Oid schema, const char *name)
{
	Oid relid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	if (!OidIsValid(relid))
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the order engine is not set up in this database"),
			 errdetail("Table \"%s.%s\" does not exist.", SCHEMA_NAME, name),
			 errhint("Run SELECT order_engine.setup() as the role that shall own the tables.")));
	return relid;
}

static PartitionBoundSpec *
partition_bound(HeapTuple tuple)
{
	bool  isnull;
	Datum bound = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relpartbound, &isnull);

	return isnull ? NULL : castNode(PartitionBoundSpec, stringToNode(TextDatumGetCString(bound)));
}

/*
 * Not find_inheritance_children(): whether that shows a partition which is being
 * detached goes by the active snapshot, which may be old, and what is found is kept.
 */
static List *
attached_children(Oid parent)
{
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);
	List	   *children = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhparent, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(parent));
	scan = systable_beginscan(inherits, InheritsParentIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (!((Form_pg_inherits) GETSTRUCT(tuple))->inhdetachpending)
			children = lappend_oid(children, ((Form_pg_inherits) GETSTRUCT(tuple))->inhrelid);
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);
	return children;
}

List *
shop_partitions(Oid parent)
{
	List	 *partitions = NIL;
	ListCell *lc;

	foreach(lc, attached_children(parent))
	{
		Oid			   relid = lfirst_oid(lc);
		HeapTuple	   tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
		ShopPartition *partition;

		/* it may be gone, or detached, since: that will be heard of */
		if (!HeapTupleIsValid(tuple))
			continue;
		partition = palloc(sizeof(ShopPartition));
		partition->relid = relid;
		partition->bound = partition_bound(tuple);
		if (partition->bound)
			partitions = lappend(partitions, partition);
		ReleaseSysCache(tuple);
	}
	return partitions;
}

static int
greatest_modulus(List *partitions)
{
	int		  greatest = 0;
	ListCell *lc;

	foreach(lc, partitions)
		greatest = Max(greatest, ((ShopPartition *) lfirst(lc))->bound->modulus);
	return greatest;
}

/*
 * The leaves of an order table in the order of their remainders.  A leaf that
 * is missing (detached, moved away) stays InvalidOid.
 */
static int
load_leaves(Oid relid, Oid **leaves)
{
	List	 *partitions = shop_partitions(relid);
	int		  n = greatest_modulus(partitions);
	ListCell *lc;

	*leaves = MemoryContextAllocZero(shop_context, sizeof(Oid) * Max(n, 1));
	foreach(lc, partitions)
	{
		ShopPartition *partition = lfirst(lc);

		if (get_rel_relkind(partition->relid) != RELKIND_RELATION)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("\"%s\" must be a plain table", get_rel_name(partition->relid)),
							errhint("The order engine needs it as order_engine.setup() made it.")));
		for (int i = partition->bound->remainder; i < n; i += partition->bound->modulus)
			(*leaves)[i] = partition->relid;
	}
	return n;
}

static Oid
owner_of(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid		  owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static void
shop_load(void)
{
	Shop   loaded = {0};
	uint64 before = invalidations;

	MemoryContextReset(shop_context);
	loaded.schema = get_namespace_oid(SCHEMA_NAME, true);
	for (int i = 0; i < SHOP_TABLES; i++)
		loaded.tables[i] = find_table(loaded.schema, columns_tables[i]->table);
	shape_check(loaded.schema);

	loaded.owner = owner_of(loaded.tables[SHOP_ORDERS]);
	for (int i = ORDER_TABLES - 1; i >= SHOP_ORDERS; i--)
	{
		int partitions = load_leaves(loaded.tables[i], &loaded.leaves[i]);

		if (i < ORDER_TABLES - 1 && partitions != loaded.partitions)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("the order tables do not have the same number of partitions")));
		loaded.partitions = partitions;
	}

	/* one that has arrived since the first name was looked up must win */
	loaded.valid = before == invalidations;
	shop = loaded;
}

/* Half a load is none. */
static void
shop_reload(void)
{
	PG_TRY();
	{
		shop_load();
	}
	PG_CATCH();
	{
		shop.valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * The load itself may be overtaken by an invalidation; each try sees newer
 * catalogs.  Under debug_discard_caches all of them are overtaken: what was read
 * last then serves this call.
 */
static inline Shop *
shop_get(void)
{
	for (int i = 0; unlikely(!shop.valid) && i < MAX_LOADS; i++)
		shop_reload();
	return &shop;
}

Oid
shop_table(ShopTable table)
{
	return shop_get()->tables[table];
}

Oid
shop_owner(void)
{
	return shop_get()->owner;
}

Oid
shop_leaf(ShopTable table, int slot)
{
	Shop *s = shop_get();
	Oid	  leaf;

	Assert(table < ORDER_TABLES);
	leaf = s->partitions > 0 ? s->leaves[table][slot % s->partitions] : InvalidOid;
	if (!OidIsValid(leaf))
		ereport(ERROR,
				(errcode(ERRCODE_OE_WRONG_NODE), errmsg("this node does not own slot %d", slot),
				 detail_set("slot", detail_number(slot), "node", detail_text(NULL), NULL),
				 errhint("Table \"%s\" has no partition for it: go to the node that has.",
						 columns_tables[table]->table)));
	return leaf;
}

bool
shop_is_leaf(ShopTable table, Oid relid)
{
	Shop *s = shop_get();

	Assert(table < ORDER_TABLES);
	for (int i = 0; i < s->partitions; i++)
		if (s->leaves[table][i] == relid)
			return true;
	return false;
}

/* Only a superuser can create C functions, so nobody can pass for the engine. */
bool
shop_own_trigger(Oid function)
{
	HeapTuple	 tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	bool		 own;

	if (!HeapTupleIsValid(tuple))
		return false;
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	own = proc->pronamespace == shop_get()->schema && proc->prolang == ClanguageId;
	ReleaseSysCache(tuple);
	return own;
}
