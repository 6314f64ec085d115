/*
 * order_read.c
 *		Reads of orders: whole documents, a user's pages, the history.
 *
 * Owns nothing.  Every read is an index scan of the one leaf that the slot
 * names, under one snapshot, the caller's active one unless that is older than a
 * change of a table: no plan, no transaction id, no lock but ACCESS SHARE on
 * that leaf, so it works in read-only transactions and on standbys.  The leaves
 * of one answer are locked before the first of them is read, so no part of it is
 * newer than another.  Nothing is executed for a row, so there is nobody to switch
 * to: who may execute the function may read.  `private` is not part of any answer.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/qunique.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"

#include "base/amount.h"
#include "base/compat.h"
#include "machine/machine_catalog.h"
#include "order/adjustment.h"
#include "order/order_row.h"
#include "shop/row_scan.h"
#include "shop/shop.h"
#include "shop/slot.h"

#define DEFAULT_MAX_ROWS 20
#define MAX_ROWS_LIMIT 1000
#define MAX_FIELDS ROW_MAX_COLUMNS
#define MAX_KEYS 2
#define PAGE_STATE 1 /* of page_fields */

/* A column, and what it is called in the document; NULL: what the table calls it. */
typedef struct Field
{
	int			column;
	const char *key;
} Field;

/* What is read of a table. */
typedef struct Selection
{
	ShopTable		  table;
	const RowColumns *columns;
	int				  nfields;
	const Field		 *fields;
} Selection;

static const Field order_fields[] = {
	{ORDER_ORDER_ID},	{ORDER_USER_ID},	{ORDER_STATE},			 {ORDER_MACHINE_ID},
	{ORDER_VERSION},	{ORDER_SUBTOTAL},	{ORDER_AMOUNT},			 {ORDER_CAPTURED},
	{ORDER_REFUNDED},	{ORDER_CURRENCY},	{ORDER_IDEMPOTENCY_KEY}, {ORDER_ADJUSTMENTS},
	{ORDER_ATTRIBUTES}, {ORDER_CREATED_AT}, {ORDER_UPDATED_AT},		 {ORDER_DUE_AT},
};

static const Field line_fields[] = {
	{LINE_LINE_NO},	 {LINE_SKU},		{LINE_STOCK_KEY},
	{LINE_QUANTITY}, {LINE_UNIT_PRICE}, {LINE_ATTRIBUTES},
};

static const Field payment_fields[] = {
	{PAYMENT_VERSION},	{PAYMENT_KIND},	   {PAYMENT_PAYMENT_REF, "ref"}, {PAYMENT_AMOUNT},
	{PAYMENT_CURRENCY}, {PAYMENT_OUTCOME}, {PAYMENT_ATTRIBUTES},		 {PAYMENT_AT},
};

static const Field event_fields[] = {
	{EVENT_VERSION},	 {EVENT_EVENT},	 {EVENT_FROM_STATE, "from"}, {EVENT_TO_STATE, "to"},
	{EVENT_ACTOR},		 {EVENT_REASON}, {EVENT_IDEMPOTENCY_KEY},	 {EVENT_ATTRIBUTES},
	{EVENT_TRACEPARENT}, {EVENT_AT},
};

/* What allowed_events() asks of an order. */
static const Field state_fields[] = {{ORDER_STATE}, {ORDER_MACHINE_ID}};

/* The result columns of user_orders(), in its order. */
static const Field page_fields[] = {
	{ORDER_ORDER_ID},	{ORDER_STATE},		{ORDER_VERSION},  {ORDER_AMOUNT},
	{ORDER_CURRENCY},	{ORDER_CAPTURED},	{ORDER_REFUNDED}, {ORDER_ATTRIBUTES},
	{ORDER_CREATED_AT}, {ORDER_UPDATED_AT}, {ORDER_DUE_AT},
};

static const Selection order_selection = {SHOP_ORDERS, &order_columns, lengthof(order_fields),
										  order_fields};
static const Selection line_selection = {SHOP_ORDER_LINE, &line_columns, lengthof(line_fields),
										 line_fields};
static const Selection payment_selection = {SHOP_PAYMENT, &payment_columns,
											lengthof(payment_fields), payment_fields};
static const Selection event_selection = {SHOP_ORDER_EVENT, &event_columns, lengthof(event_fields),
										  event_fields};
static const Selection state_selection = {SHOP_ORDERS, &order_columns, lengthof(state_fields),
										  state_fields};
static const Selection page_selection = {SHOP_ORDERS, &order_columns, lengthof(page_fields),
										 page_fields};

/* One condition on the first columns of a unique index, all of them bigint. */
typedef struct LeafKey
{
	int			   column;
	StrategyNumber strategy;
	int64		   value;
} LeafKey;

/* An index scan of one leaf; leaf_scan_next() fills values and nulls, one for each field. */
typedef struct LeafScan
{
	RowScan			 rows;
	const Selection *selection;
	AttrNumber		 attno[ROW_MAX_COLUMNS];
	Datum			 values[MAX_FIELDS];
	bool			 nulls[MAX_FIELDS];
} LeafScan;

PG_FUNCTION_INFO_V1(order_engine_get_order);
PG_FUNCTION_INFO_V1(order_engine_get_orders);
PG_FUNCTION_INFO_V1(order_engine_user_orders);
PG_FUNCTION_INFO_V1(order_engine_order_history);
PG_FUNCTION_INFO_V1(order_engine_allowed_events);

/* ---- scans of a leaf ---- */

static RegProcedure
int8_comparison(StrategyNumber strategy)
{
	switch (strategy)
	{
		case BTLessStrategyNumber:
			return F_INT8LT;
		case BTLessEqualStrategyNumber:
			return F_INT8LE;
		default:
			Assert(strategy == BTEqualStrategyNumber);
			return F_INT8EQ;
	}
}

/* `snapshot`: as row_scan_open(). */
static void
leaf_scan_begin(LeafScan *scan, const Selection *selection, int slot, Snapshot snapshot,
				const LeafKey *keys, int nkeys)
{
	ShopTable	table = selection->table;
	AttrNumber	columns[MAX_KEYS];
	ScanKeyData conditions[MAX_KEYS];
	Relation	leaf;

	Assert(selection->nfields <= MAX_FIELDS && nkeys <= MAX_KEYS);
	row_lock_tables(&table, 1, AccessShareLock);
	leaf = row_open_leaf_for_reading(table, slot);
	scan->selection = selection;
	row_layout(leaf, selection->columns, scan->attno);
	for (int i = 0; i < nkeys; i++)
	{
		columns[i] = scan->attno[keys[i].column];
		ScanKeyInit(&conditions[i], i + 1, keys[i].strategy, int8_comparison(keys[i].strategy),
					Int64GetDatum(keys[i].value));
	}
	row_scan_open(&scan->rows, leaf, table, snapshot, nkeys, columns);
	row_scan_begin(&scan->rows, conditions);
}

/*
 * Starts the scan of an order's rows in one of the order tables, in the order of its primary
 * key.  The order's id is the first column of each.
 */
static void
order_scan_begin(LeafScan *scan, const Selection *selection, int64 order_id, Snapshot snapshot)
{
	LeafKey key = {ORDER_ORDER_ID, BTEqualStrategyNumber, order_id};

	leaf_scan_begin(scan, selection, slot_of_order(order_id), snapshot, &key, 1);
}

/* The values point into the buffer's page: they are good until the next call. */
static bool
leaf_scan_next(LeafScan *scan, ScanDirection direction)
{
	if (!row_scan_next(&scan->rows, direction))
		return false;
	for (int i = 0; i < scan->selection->nfields; i++)
		scan->values[i] = slot_getattr(
			scan->rows.slot, scan->attno[scan->selection->fields[i].column], &scan->nulls[i]);
	return true;
}

/* The locks stay until the transaction ends, as those of a query do. */
static void
leaf_scan_end(LeafScan *scan)
{
	row_scan_close(&scan->rows, NoLock);
}

/* ---- documents ---- */

static void
push_key(JsonbParseState **state, const char *key)
{
	JsonbValue value = {.type = jbvString};

	value.val.string.val = unconstify(char *, key);
	value.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &value);
}

static void
set_string(JsonbValue *value, char *string)
{
	value->type = jbvString;
	value->val.string.val = string;
	value->val.string.len = strlen(string);
}

/*
 * As the event contract has it: bigints (ids) are strings, times are in UTC, and numerics are
 * amounts.
 * Copied, since the document is only put together when the scan has moved on.
 */
static void
push_value(JsonbParseState **state, Oid type, Datum datum, bool isnull)
{
	static const int utc = 0;
	JsonbValue		 value = {.type = jbvNull};

	if (isnull)
		/* as it is */;
	else if (type == INT4OID)
	{
		value.type = jbvNumeric;
		value.val.numeric = int64_to_numeric(DatumGetInt32(datum));
	}
	else if (type == NUMERICOID && !amount_as_text() && !numeric_is_nan(DatumGetNumeric(datum)) &&
			 !numeric_is_inf(DatumGetNumeric(datum)))
	{
		value.type = jbvNumeric;
		value.val.numeric = DatumGetNumericCopy(datum);
	}
	else if (type == JSONBOID)
		JsonbToJsonbValue(DatumGetJsonbPCopy(datum), &value);
	else if (type == TIMESTAMPTZOID)
		set_string(&value, JsonEncodeDateTime(NULL, datum, TIMESTAMPTZOID, &utc));
	else
	{
		Oid	 output;
		bool varlena;

		getTypeOutputInfo(type, &output, &varlena);
		set_string(&value, OidOutputFunctionCall(output, datum));
	}
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* The fields of the scan's current row as keys and values of the open object. */
static void
push_fields(JsonbParseState **state, LeafScan *scan)
{
	for (int i = 0; i < scan->selection->nfields; i++)
	{
		const Field		*field = &scan->selection->fields[i];
		const RowColumn *column = &scan->selection->columns->columns[field->column];
		Datum			 value = scan->values[i];

		if (column == &order_columns.columns[ORDER_ADJUSTMENTS] && !scan->nulls[i])
			value = JsonbPGetDatum(adjustment_shown(DatumGetJsonbP(value)));
		push_key(state, field->key ? field->key : column->name);
		push_value(state, column->type, value, scan->nulls[i]);
	}
}

/* All of an order's rows in one table, as an array of objects under `key`. */
static void
push_rows(JsonbParseState **state, const char *key, const Selection *selection, int64 order_id,
		  Snapshot snapshot)
{
	LeafScan scan;

	push_key(state, key);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	order_scan_begin(&scan, selection, order_id, snapshot);
	while (leaf_scan_next(&scan, ForwardScanDirection))
	{
		pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		push_fields(state, &scan);
		pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
	leaf_scan_end(&scan);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* What the order's machine says of it: its name, and what is owed back. */
static void
push_machine(JsonbParseState **state, LeafScan *scan)
{
	OrderRow	   row;
	const Machine *machine;

	order_row_read(scan->attno, scan->rows.slot, &row);
	machine = machine_get(row.machine_id);
	push_key(state, "machine");
	push_value(state, TEXTOID, CStringGetTextDatum(machine->name), false);
	push_key(state, "refund_due");
	push_value(state, NUMERICOID, NumericGetDatum(order_row_refund_due(machine, &row)), false);
}

/* The order and what its machine says of it; false if there is none of this id. */
static bool
push_order(JsonbParseState **state, int64 order_id, Snapshot snapshot)
{
	LeafScan scan;
	bool	 found;

	order_scan_begin(&scan, &order_selection, order_id, snapshot);
	found = leaf_scan_next(&scan, ForwardScanDirection);
	if (found)
	{
		push_fields(state, &scan);
		push_machine(state, &scan);
	}
	leaf_scan_end(&scan);
	return found;
}

/* Locks what a document is read from, until the transaction ends, and says under which snapshot. */
static Snapshot
document_snapshot(int64 order_id)
{
	static const ShopTable tables[] = {SHOP_ORDERS, SHOP_ORDER_LINE, SHOP_PAYMENT,
									   SHOP_ORDER_EVENT};
	Relation			   leaves[lengthof(tables)];
	Snapshot			   snapshot;

	row_lock_tables(tables, lengthof(tables), AccessShareLock);
	for (int i = 0; i < lengthof(tables); i++)
		leaves[i] = row_open_leaf_for_reading(tables[i], slot_of_order(order_id));
	snapshot = row_reading_snapshot(leaves, tables, lengthof(tables));
	for (int i = 0; i < lengthof(tables); i++)
		table_close(leaves[i], NoLock);
	return snapshot;
}

/* The whole order, NULL if there is none of this id. */
static Jsonb *
order_document(int64 order_id)
{
	Snapshot		 snapshot = document_snapshot(order_id);
	JsonbParseState *state = NULL;
	Jsonb			*document = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (push_order(&state, order_id, snapshot))
	{
		push_rows(&state, "lines", &line_selection, order_id, snapshot);
		push_rows(&state, "payments", &payment_selection, order_id, snapshot);
		push_rows(&state, "history", &event_selection, order_id, snapshot);
		document = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	}
	UnregisterSnapshot(snapshot);
	return document;
}

/* ---- the SQL functions ---- */

Datum
order_engine_get_order(PG_FUNCTION_ARGS)
{
	Jsonb *document = order_document(PG_GETARG_INT64(0));

	if (document == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(document);
}

static int
compare_ids(const void *a, const void *b)
{
	int64 x = *(const int64 *) a;
	int64 y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/* The ids of the array, sorted, each once, without nulls. */
static int64 *
distinct_ids(ArrayType *array, int *count)
{
	Datum *elements;
	bool  *nulls;
	int	   nelements;
	int	   n = 0;
	int64 *ids;

	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements,
					  &nulls, &nelements);
	ids = palloc(sizeof(int64) * Max(nelements, 1));
	for (int i = 0; i < nelements; i++)
		if (!nulls[i])
			ids[n++] = DatumGetInt64(elements[i]);
	qsort(ids, n, sizeof(int64), compare_ids);
	*count = qunique(ids, n, sizeof(int64), compare_ids);
	return ids;
}

Datum
order_engine_get_orders(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext  context =
		AllocSetContextCreate(CurrentMemoryContext, "order documents", ALLOCSET_DEFAULT_SIZES);
	int	   count;
	int64 *ids = distinct_ids(PG_GETARG_ARRAYTYPE_P(0), &count);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < count; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		Jsonb		 *document = order_document(ids[i]);
		Datum		  values[] = {Int64GetDatum(ids[i]), JsonbPGetDatum(document)};
		bool		  nulls[] = {false, false};

		if (document)
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	return (Datum) 0;
}

static bool
contains_text(ArrayType *array, Datum state)
{
	ArrayIterator iterator = array_create_iterator(array, 0, NULL);
	Datum		  element;
	bool		  isnull;
	bool		  found = false;

	while (!found && array_iterate(iterator, &element, &isnull))
		found = !isnull &&
				DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, element, state));
	array_free_iterator(iterator);
	return found;
}

Datum
order_engine_user_orders(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		   user_id = PG_GETARG_INT64(0);
	int			   max_rows = PG_ARGISNULL(2) ? DEFAULT_MAX_ROWS : PG_GETARG_INT32(2);
	ArrayType	  *states = PG_ARGISNULL(3) ? NULL : PG_GETARG_ARRAYTYPE_P(3);
	LeafKey		   keys[] = {
			   {ORDER_USER_ID, BTEqualStrategyNumber, user_id},
			   {ORDER_ORDER_ID, BTLessEqualStrategyNumber, PG_INT64_MAX},
	   };
	LeafScan scan;

	if (max_rows < 1 || max_rows > MAX_ROWS_LIMIT)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("max_rows must be between 1 and %d", MAX_ROWS_LIMIT),
			 errhint("Ask for the next page with the last order_id of this one as \"before\".")));
	if (!PG_ARGISNULL(1))
		keys[1] = (LeafKey){ORDER_ORDER_ID, BTLessStrategyNumber, PG_GETARG_INT64(1)};

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;

	leaf_scan_begin(&scan, &page_selection, slot_of_user(user_id), NULL, keys, 2);
	while (max_rows > 0 && leaf_scan_next(&scan, BackwardScanDirection))
	{
		if (states && !contains_text(states, scan.values[PAGE_STATE]))
			continue;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, scan.values, scan.nulls);
		max_rows--;
	}
	leaf_scan_end(&scan);
	return (Datum) 0;
}

Datum
order_engine_order_history(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	LeafScan	   scan;

	InitMaterializedSRF(fcinfo, 0);
	order_scan_begin(&scan, &event_selection, PG_GETARG_INT64(0), NULL);
	while (leaf_scan_next(&scan, ForwardScanDirection))
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, scan.values, scan.nulls);
	leaf_scan_end(&scan);
	return (Datum) 0;
}

static ArrayType *
text_array(List *strings)
{
	Datum	 *values = palloc(sizeof(Datum) * Max(list_length(strings), 1));
	ListCell *lc;

	foreach(lc, strings)
		values[foreach_current_index(lc)] = CStringGetTextDatum(lfirst(lc));
	return construct_array(values, list_length(strings), TEXTOID, -1, false, TYPALIGN_INT);
}

Datum
order_engine_allowed_events(PG_FUNCTION_ARGS)
{
	LeafScan	   scan;
	char		  *state = NULL;
	int			   machine_id = 0;
	const Machine *machine;

	order_scan_begin(&scan, &state_selection, PG_GETARG_INT64(0), NULL);
	if (leaf_scan_next(&scan, ForwardScanDirection) && !scan.nulls[0] && !scan.nulls[1])
	{
		state = TextDatumGetCString(scan.values[0]);
		machine_id = DatumGetInt32(scan.values[1]);
	}
	leaf_scan_end(&scan);
	if (state == NULL)
		PG_RETURN_NULL();
	machine = machine_get(machine_id);
	PG_RETURN_ARRAYTYPE_P(text_array(machine_allowed(machine, machine_state(machine, state))));
}
