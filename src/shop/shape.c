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
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "shop/shape.h"

pg_noreturn static void
raise_column(const char *table, const RowColumn *column)
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

/* Where it stands; InvalidAttrNumber if it is not there, or not as the engine needs it. */
static AttrNumber
find_column(TupleDesc desc, const RowColumn *column)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped || strcmp(NameStr(attribute->attname), column->name) != 0)
			continue;
		if (attribute->atttypid == column->type &&
			(!column->required || compat_is_not_null(desc, i)))
			return attribute->attnum;
		break;
	}
	return InvalidAttrNumber;
}

void
shape_check_open(Relation rel, const RowColumns *columns, AttrNumber *attno)
{
	check_kind(RelationGetRelationName(rel), rel->rd_rel->relkind, RELKIND_RELATION);
	for (int i = 0; i < columns->ncolumns; i++)
	{
		attno[i] = find_column(RelationGetDescr(rel), &columns->columns[i]);
		if (!AttributeNumberIsValid(attno[i]))
			raise_column(columns->table, &columns->columns[i]);
	}
}

/* ---- of all tables, by the catalogs ---- */

static void
check_column(Oid relid, const char *table, const RowColumn *column)
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
check_partition_key(Oid relid, Oid schema, const RowColumns *columns)
{
	HeapTuple				  tuple = SearchSysCache1(PARTRELID, ObjectIdGetDatum(relid));
	Form_pg_partitioned_table key =
		HeapTupleIsValid(tuple) ? (Form_pg_partitioned_table) GETSTRUCT(tuple) : NULL;

	if (key == NULL || key->partstrat != columns->strategy || key->partnatts != 1 ||
		key->partattrs.values[0] != get_attnum(relid, columns->key) ||
		(columns->strategy == PARTITION_STRATEGY_HASH && !hashes_slots(tuple, schema)))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" must be partitioned by column \"%s\"", columns->table,
							   columns->key),
						errhint("The order engine needs it as order_engine.setup() made it.")));
	ReleaseSysCache(tuple);
}

static void
check_table(Oid schema, const RowColumns *columns)
{
	Oid	 relid = get_relname_relid(columns->table, schema);
	char wanted = columns->strategy ? RELKIND_PARTITIONED_TABLE : RELKIND_RELATION;

	check_kind(columns->table, OidIsValid(relid) ? get_rel_relkind(relid) : '\0', wanted);
	for (int i = 0; i < columns->ncolumns; i++)
		check_column(relid, columns->table, &columns->columns[i]);
	if (columns->strategy)
		check_partition_key(relid, schema, columns);
}

void
shape_check(Oid schema)
{
	for (int i = 0; columns_tables[i]; i++)
		check_table(schema, columns_tables[i]);
}
