/*
 * shape.c
 *		What C code relies on in the shop's tables.
 *
 * The tables belong to a role that need not be a superuser, and a value read as
 * another type than it is, or a null where none can be, would take the server
 * down.  So the shape is looked at twice: of all tables whenever they are found
 * anew (shop.c), which any ALTER TABLE brings about, so that a shop that is not
 * whole refuses every call; and of each table under the lock with which it is
 * read or written (row.c), since it may have been altered while that lock was
 * waited for.  Columns that a user added do not matter.
 *
 * Only catalogs are read: nothing of the owner's is opened or evaluated.  A
 * partition key must be a plain column, so that nobody evaluates one either.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "shop/shape.h"

typedef struct Column
{
	const char *name;
	Oid			type;
	bool		required; /* NOT NULL */
} Column;

typedef struct Shape
{
	const char	 *table;
	const Column *columns; /* ended by one without a name */
	char		strategy;  /* of its partitions, as pg_partitioned_table has it; 0: a plain table */
	const char *key;	   /* the column that they go by */
} Shape;

static const Column orders[] = {
	{"order_id", INT8OID, true},
	{"user_id", INT8OID, true},
	{"state", TEXTOID, true},
	{"machine_id", INT4OID, true},
	{"version", INT4OID, true},
	{"subtotal", NUMERICOID, true},
	{"amount", NUMERICOID, true},
	{"captured", NUMERICOID, true},
	{"refunded", NUMERICOID, true},
	{"currency", TEXTOID},
	{"idempotency_key", TEXTOID},
	{"request_hash", BYTEAOID},
	{"adjustments", JSONBOID, true},
	{"attributes", JSONBOID, true},
	{"private", JSONBOID, true},
	{"created_at", TIMESTAMPTZOID, true},
	{"updated_at", TIMESTAMPTZOID, true},
	{"due_at", TIMESTAMPTZOID},
	{NULL},
};

static const Column order_line[] = {
	{"order_id", INT8OID, true},	{"line_no", INT4OID, true},
	{"sku", TEXTOID, true},			{"stock_key", TEXTOID},
	{"quantity", INT4OID, true},	{"unit_price", NUMERICOID, true},
	{"attributes", JSONBOID, true}, {NULL},
};

static const Column order_event[] = {
	{"order_id", INT8OID, true}, {"version", INT4OID, true},   {"event", TEXTOID, true},
	{"from_state", TEXTOID},	 {"to_state", TEXTOID, true},  {"actor", TEXTOID, true},
	{"reason", TEXTOID},		 {"idempotency_key", TEXTOID}, {"attributes", JSONBOID, true},
	{"traceparent", TEXTOID},	 {"at", TIMESTAMPTZOID, true}, {NULL},
};

static const Column payment[] = {
	{"order_id", INT8OID, true},	{"kind", TEXTOID, true},
	{"payment_ref", TEXTOID, true}, {"amount", NUMERICOID, true},
	{"currency", TEXTOID},			{"outcome", TEXTOID, true},
	{"version", INT4OID, true},		{"attributes", JSONBOID, true},
	{"at", TIMESTAMPTZOID, true},	{NULL},
};

static const Column machine[] = {
	{"machine_id", INT4OID, true},
	{"name", TEXTOID, true},
	{"definition", JSONBOID, true},
	{"published_at", TIMESTAMPTZOID, true},
	{NULL},
};

static const Column stock[] = {
	{"sku", TEXTOID, true},
	{"on_hand", INT8OID, true},
	{"reserved", INT8OID, true},
	{"version", INT8OID, true},
	{"mode", TEXTOID, true},
	{"auto_mode", BOOLOID, true},
	{NULL},
};

static const Column stock_movement[] = {
	{"sku", TEXTOID, true},
	{"quantity", INT8OID, true},
	{"reason", TEXTOID, true},
	{"ref", TEXTOID},
	{"actor", TEXTOID, true},
	{"at", TIMESTAMPTZOID, true},
	{NULL},
};

static const Column journal_position[] = {
	{"journal", TEXTOID, true},	   {"entry", INT8OID, true},	 {"generation", INT8OID, true},
	{"identity", UUIDOID, true},   {"era", INT8OID, true},		 {"timeline", INT4OID, true},
	{"batch", INT8OID, true},	   {"tick_id", UUIDOID, true},	 {"tick_at", TIMESTAMPTZOID, true},
	{"other_eras", BOOLOID, true}, {"consumed", PG_SNAPSHOTOID}, {"adopted", PG_SNAPSHOTOID},
	{"snapshot", PG_SNAPSHOTOID},  {"last_id", INT8OID, true},	 {"current_ring", INT4OID, true},
	{"at", TIMESTAMPTZOID, true},  {"ring", INT4OID, true},		 {NULL},
};

static const Column outbox[] = {
	{"id", INT8OID, true},
	{"aggregatetype", TEXTOID, true},
	{"aggregateid", TEXTOID, true},
	{"type", TEXTOID, true},
	{"payload", JSONOID},
	{"headers", JSONBOID},
	{"created_at", TIMESTAMPTZOID, true},
	{"topic", TEXTOID},
	{"partition", INT4OID},
	{"payload_bytes", BYTEAOID},
	{"xid", XID8OID, true},
	{"era", INT8OID, true},
	{"ring", INT4OID, true},
	{NULL},
};

static const Column shop[] = {
	{"relay_paused", BOOLOID, true},
	{NULL},
};

static const Shape shapes[] = {
	{"orders", orders, PARTITION_STRATEGY_HASH, "order_id"},
	{"order_line", order_line, PARTITION_STRATEGY_HASH, "order_id"},
	{"order_event", order_event, PARTITION_STRATEGY_HASH, "order_id"},
	{"payment", payment, PARTITION_STRATEGY_HASH, "order_id"},
	{"machine", machine},
	{"stock", stock},
	{"stock_movement", stock_movement},
	{"journal_position", journal_position, PARTITION_STRATEGY_LIST, "ring"},
	{"outbox", outbox, PARTITION_STRATEGY_LIST, "ring"},
	{"shop", shop},
};

pg_noreturn static void
raise_column(const char *table, const Column *column)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 column->required
				 ? errmsg("column \"%s\" of table \"%s\" must exist, have type %s and be NOT NULL",
						  column->name, table, format_type_be(column->type))
				 : errmsg("column \"%s\" of table \"%s\" must exist and have type %s", column->name,
						  table, format_type_be(column->type)),
			 errhint("The order engine needs it as order_engine.setup() made it.  After ALTER "
					 "EXTENSION UPDATE, run order_engine.setup() again.")));
}

/* A table of another kind has no storage, or none that C code could write to. */
static void
check_kind(const char *name, char found, char wanted)
{
	if (found != wanted)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 wanted == RELKIND_RELATION ? errmsg("\"%s\" must be a plain table", name)
											: errmsg("\"%s\" must be a partitioned table", name),
				 errhint("The order engine needs it as order_engine.setup() made it.")));
}

/* ---- of a table that is open and locked ---- */

static bool
descriptor_has(TupleDesc desc, const Column *column)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), column->name) == 0)
			return attribute->atttypid == column->type &&
				   (!column->required || compat_is_not_null(desc, i));
	}
	return false;
}

static const Shape *
find_shape(const char *table)
{
	for (int i = 0; i < lengthof(shapes); i++)
		if (strcmp(shapes[i].table, table) == 0)
			return &shapes[i];
	elog(ERROR, "table \"%s\" has no shape", table);
}

void
shape_check_open(Relation rel, const char *table)
{
	check_kind(RelationGetRelationName(rel), rel->rd_rel->relkind, RELKIND_RELATION);
	for (const Column *column = find_shape(table)->columns; column->name; column++)
		if (!descriptor_has(RelationGetDescr(rel), column))
			raise_column(table, column);
}

/* ---- of all tables, by the catalogs ---- */

static void
check_column(Oid relid, const char *table, const Column *column)
{
	HeapTuple		  tuple = SearchSysCacheAttName(relid, column->name);
	Form_pg_attribute attribute =
		HeapTupleIsValid(tuple) ? (Form_pg_attribute) GETSTRUCT(tuple) : NULL;

	if (attribute == NULL || attribute->atttypid != column->type ||
		(column->required && !attribute->attnotnull))
		raise_column(table, column);
	ReleaseSysCache(tuple);
}

/* By slot, with the extension's own operator class: others cannot be made by who owns a table. */
static bool
hashes_slots(HeapTuple key, Oid schema)
{
	bool  isnull;
	Datum classes = SysCacheGetAttr(PARTRELID, key, Anum_pg_partitioned_table_partclass, &isnull);
	HeapTuple opclass;
	bool	  own;

	Assert(!isnull);
	opclass = SearchSysCache1(
		CLAOID, ObjectIdGetDatum(((oidvector *) DatumGetPointer(classes))->values[0]));
	if (!HeapTupleIsValid(opclass))
		return false;
	own = ((Form_pg_opclass) GETSTRUCT(opclass))->opcnamespace == schema;
	ReleaseSysCache(opclass);
	return own;
}

static void
check_partition_key(Oid relid, Oid schema, const Shape *shape)
{
	HeapTuple				  tuple = SearchSysCache1(PARTRELID, ObjectIdGetDatum(relid));
	Form_pg_partitioned_table key =
		HeapTupleIsValid(tuple) ? (Form_pg_partitioned_table) GETSTRUCT(tuple) : NULL;

	if (key == NULL || key->partstrat != shape->strategy || key->partnatts != 1 ||
		key->partattrs.values[0] != get_attnum(relid, shape->key) ||
		(shape->strategy == PARTITION_STRATEGY_HASH && !hashes_slots(tuple, schema)))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" must be partitioned by column \"%s\"", shape->table,
							   shape->key),
						errhint("The order engine needs it as order_engine.setup() made it.")));
	ReleaseSysCache(tuple);
}

static void
check_table(Oid schema, const Shape *shape)
{
	Oid	 relid = get_relname_relid(shape->table, schema);
	char wanted = shape->strategy ? RELKIND_PARTITIONED_TABLE : RELKIND_RELATION;

	check_kind(shape->table, OidIsValid(relid) ? get_rel_relkind(relid) : '\0', wanted);
	for (const Column *column = shape->columns; column->name; column++)
		check_column(relid, shape->table, column);
	if (shape->strategy)
		check_partition_key(relid, schema, shape);
}

void
shape_check(Oid schema)
{
	for (int i = 0; i < lengthof(shapes); i++)
		check_table(schema, &shapes[i]);
}
