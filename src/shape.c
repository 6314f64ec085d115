/*
 * shape.c
 *		What C code relies on in the shop's tables.
 *
 * The tables belong to a role that need not be a superuser, and a value read as
 * another type than it is, or a null where none can be, would take the server
 * down.  So the shape is looked at whenever the tables are found anew (shop.c),
 * which any ALTER TABLE brings about.  Columns that a user added do not matter.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "shape.h"

typedef struct Column
{
	const char *name;
	Oid			type;
	bool		required; /* NOT NULL */
} Column;

typedef struct Shape
{
	const char	 *table;
	char		  kind;	   /* as pg_class has it */
	const Column *columns; /* ended by one without a name */
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
	{"orders", RELKIND_PARTITIONED_TABLE, orders},
	{"order_line", RELKIND_PARTITIONED_TABLE, order_line},
	{"order_event", RELKIND_PARTITIONED_TABLE, order_event},
	{"payment", RELKIND_PARTITIONED_TABLE, payment},
	{"machine", RELKIND_RELATION, machine},
	{"stock", RELKIND_RELATION, stock},
	{"stock_movement", RELKIND_RELATION, stock_movement},
	{"journal_position", RELKIND_PARTITIONED_TABLE, journal_position},
	{"outbox", RELKIND_PARTITIONED_TABLE, outbox},
	{"shop", RELKIND_RELATION, shop},
};

static void
check_column(Oid relid, const char *table, const Column *column)
{
	HeapTuple		  tuple = SearchSysCacheAttName(relid, column->name);
	Form_pg_attribute attribute =
		HeapTupleIsValid(tuple) ? (Form_pg_attribute) GETSTRUCT(tuple) : NULL;

	if (attribute == NULL || attribute->atttypid != column->type ||
		(column->required && !attribute->attnotnull))
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 column->required
				 ? errmsg("column \"%s\" of table \"%s\" must exist, have type %s and be NOT NULL",
						  column->name, table, format_type_be(column->type))
				 : errmsg("column \"%s\" of table \"%s\" must exist and have type %s", column->name,
						  table, format_type_be(column->type)),
			 errhint("The order engine needs it as order_engine.setup() made it.  After ALTER "
					 "EXTENSION UPDATE, run order_engine.setup() again.")));
	ReleaseSysCache(tuple);
}

/* A table of another kind has no storage, or none that C code could write to. */
static void
check_kind(Oid relid, char kind)
{
	char *name = get_rel_name(relid);

	if (name == NULL || get_rel_relkind(relid) != kind)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						kind == RELKIND_RELATION
							? errmsg("\"%s\" must be a plain table", name ? name : "")
							: errmsg("\"%s\" must be a partitioned table", name ? name : ""),
						errhint("The order engine needs it as order_engine.setup() made it.")));
}

void
shape_check_leaf(Oid relid)
{
	check_kind(relid, RELKIND_RELATION);
}

void
shape_check(Oid schema)
{
	for (int i = 0; i < lengthof(shapes); i++)
	{
		Oid relid = get_relname_relid(shapes[i].table, schema);

		check_kind(relid, shapes[i].kind);
		for (const Column *column = shapes[i].columns; column->name; column++)
			check_column(relid, shapes[i].table, column);
	}
}
