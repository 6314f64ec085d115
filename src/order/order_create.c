/*
 * order_create.c
 *		create_order(): one call, one commit.
 *
 * The order row goes in first and claims the idempotency key: a concurrent
 * caller with the same key waits there, before it has touched anything else,
 * and then gets the first caller's answer.  Stock comes next, in the order of
 * its keys, so two calls cannot deadlock; then lines, event, outbox.
 *
 * What shared memory knows to be sold out is refused before any of that, unless the
 * key may have its order already.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "base/amount.h"
#include "base/call.h"
#include "base/currency.h"
#include "base/detail.h"
#include "machine/machine_catalog.h"
#include "order/adjustment.h"
#include "order/due_wait.h"
#include "order/order.h"
#include "order/reservation.h"
#include "shop/order_id.h"
#include "shop/slot.h"
#include "stock/stock.h"

typedef struct CreateRequest
{
	int64		user_id;
	OrderLines	lines;
	char	   *idempotency_key;
	Interval   *pay_within;
	char	   *given_currency; /* what of it counts in the request's hash */
	const char *currency;
	Jsonb	   *adjustments; /* without the rounding: the hash has none */
	Jsonb	   *attributes;
	Jsonb *private;
	const char	 *machine;
	Numeric		  subtotal;
	Numeric		  amount;
	Numeric		  rounding;		  /* NULL: none */
	char		 *reservation_id; /* NULL: none */
	ActionContext context;
	bool		  sold_out; /* shared memory tells so; then what is short */
	StockShortage shortage;
} CreateRequest;

/* What create_order() answers. */
typedef struct CreateResult
{
	int64		order_id;
	const char *state;
	int			version;
	Datum		amount;
	bool		has_due_at;
	TimestampTz due_at;
	bool		replayed;
} CreateResult;

PG_FUNCTION_INFO_V1(order_engine_create_order);

/* ---- the request ---- */

static void
check_interval(Interval *interval)
{
	static const Interval zero = {0};

	if (interval && DatumGetInt32(DirectFunctionCall2(interval_cmp, IntervalPGetDatum(interval),
													  IntervalPGetDatum((Interval *) &zero))) <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"pay_within\" must be positive")));
}

/*
 * What the currency cannot express cannot be paid either, be it 0.30000000000000004 of a float.
 * It is rounded once, here, and by how much is told.
 */
static void
round_amount(CreateRequest *request, Numeric sum)
{
	request->amount = currency_round(request->currency, sum);
	if (request->amount == sum)
		return;
	request->rounding = amount_subtract(request->amount, sum);
}

static void
check_amount(CreateRequest *request)
{
	Numeric adjustments = line_parse_adjustments(request->adjustments, request->lines.nlines,
												 request->given_currency);
	Numeric sum;

	request->subtotal = line_subtotal(&request->lines);
	amount_check(request->subtotal, "subtotal");
	sum = amount_add(request->subtotal, adjustments);
	round_amount(request, sum);
	if (amount_compare(request->amount, amount_zero()) < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the adjustments exceed the subtotal"),
						detail_set("subtotal", amount_text(request->subtotal), "adjustments",
								   amount_text(adjustments), "amount", amount_text(sum), NULL),
						errhint("The amount of an order must not be negative.")));
	amount_check(request->amount, "amount");
}

static Jsonb *
read_object(FunctionCallInfo fcinfo, int n, const char *name)
{
	Jsonb *value = call_jsonb(fcinfo, n);

	call_check_object(value, name);
	return value ? value : call_empty_object();
}

static void
parse_request(FunctionCallInfo fcinfo, CreateRequest *request)
{
	call_require(fcinfo, 0, "user_id");
	request->user_id = PG_GETARG_INT64(0);
	call_require(fcinfo, 1, "lines");
	line_parse(PG_GETARG_JSONB_P(1), &request->lines);
	request->idempotency_key = call_text(fcinfo, 2);
	if (request->idempotency_key)
		call_check_name(request->idempotency_key, "idempotency_key");
	request->pay_within = PG_ARGISNULL(3) ? NULL : PG_GETARG_INTERVAL_P(3);
	check_interval(request->pay_within);
	request->given_currency = currency_parse(call_text(fcinfo, 4));
	request->currency = request->given_currency ? request->given_currency : currency_default();
	request->adjustments = call_jsonb(fcinfo, 5);
	if (request->adjustments == NULL)
		request->adjustments = call_empty_array();
	request->attributes = read_object(fcinfo, 6, "attributes");
	request->private = read_object(fcinfo, 7, "private");
	request->machine = PG_ARGISNULL(8) ? ORDER_DEFAULT_MACHINE : call_text(fcinfo, 8);
	context_parse(call_jsonb(fcinfo, 9), &request->context);
	request->reservation_id = call_text(fcinfo, 10);
	if (request->reservation_id)
		call_check_name(request->reservation_id, "reservation_id");
	check_amount(request);
	request->adjustments = adjustment_stored(request->adjustments);
	adjustment_add_stock(request->adjustments, &request->lines);
}

/* ---- the request hash: equal requests, equal hashes ---- */

static void
hash_bytes_of(pg_cryptohash_ctx *hash, const char *data, size_t length)
{
	uint32 prefix = length;

	if (pg_cryptohash_update(hash, (const uint8 *) &prefix, sizeof(prefix)) < 0 ||
		pg_cryptohash_update(hash, (const uint8 *) data, length) < 0)
		elog(ERROR, "could not compute a hash: %s", pg_cryptohash_error(hash));
}

static void
hash_text(pg_cryptohash_ctx *hash, const char *text)
{
	hash_bytes_of(hash, text ? text : "", text ? strlen(text) + 1 : 0);
}

/* Numbers count by value: 5, 5.0 and 5.00 are the same. */
static void
hash_number(pg_cryptohash_ctx *hash, Numeric number)
{
	char *text = numeric_normalize(number);

	hash_text(hash, text);
	pfree(text);
}

static void
hash_scalar(pg_cryptohash_ctx *hash, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNumeric:
			hash_text(hash, "n");
			hash_number(hash, value->val.numeric);
			break;
		case jbvString:
			hash_text(hash, "s");
			hash_bytes_of(hash, value->val.string.val, value->val.string.len);
			break;
		case jbvBool:
			hash_text(hash, value->val.boolean ? "true" : "false");
			break;
		default:
			hash_text(hash, "null");
	}
}

/* jsonb keeps an object's keys in one order, whatever order they were given in. */
static void
hash_jsonb(pg_cryptohash_ctx *hash, Jsonb *json)
{
	JsonbIterator	  *it;
	JsonbIteratorToken token;
	JsonbValue		   value;

	if (json == NULL)
		json = call_empty_object();
	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		char mark = (char) token;

		hash_bytes_of(hash, &mark, 1);
		if (token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM)
			hash_scalar(hash, &value);
	}
}

/* Field by field: a day and 24 hours are not the same request. */
static void
hash_interval(pg_cryptohash_ctx *hash, const Interval *interval)
{
	if (interval == NULL)
	{
		hash_text(hash, NULL);
		return;
	}
	hash_bytes_of(hash, (const char *) &interval->month, sizeof(interval->month));
	hash_bytes_of(hash, (const char *) &interval->day, sizeof(interval->day));
	hash_bytes_of(hash, (const char *) &interval->time, sizeof(interval->time));
}

static Datum
request_hash(CreateRequest *request)
{
	bytea			  *result = palloc(VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);

	if (hash == NULL || pg_cryptohash_init(hash) < 0)
		elog(ERROR, "could not initialize a hash");
	for (int i = 0; i < request->lines.nlines; i++)
	{
		OrderLine *line = &request->lines.lines[i];

		hash_text(hash, line->sku);
		hash_text(hash, line->stock_key);
		hash_bytes_of(hash, (const char *) &line->quantity, sizeof(line->quantity));
		hash_number(hash, line->unit_price);
		hash_jsonb(hash, line->attributes);
	}
	hash_jsonb(hash, request->adjustments);
	hash_text(hash, request->given_currency);
	hash_text(hash, request->machine);
	hash_jsonb(hash, request->attributes);
	hash_jsonb(hash, request->private);
	hash_interval(hash, request->pay_within);
	/* nothing where there is none, as hashes are that were stored before there were any */
	if (request->reservation_id)
		hash_text(hash, request->reservation_id);
	if (pg_cryptohash_final(hash, (uint8 *) VARDATA(result), PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not finish a hash: %s", pg_cryptohash_error(hash));
	pg_cryptohash_free(hash);
	SET_VARSIZE(result, VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	return PointerGetDatum(result);
}

/* ---- the order row ---- */

/* NULL: it is never due. */
static const Interval *
due_of(const CreateRequest *request, const Transition *creation)
{
	if (request->pay_within == NULL)
		return creation->due;
	if (creation->due == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("machine \"%s\" has no due time for a new order", request->machine),
						errhint("Leave pay_within null.")));
	return request->pay_within;
}

static void
set_key(OrderValues *row, CreateRequest *request)
{
	if (request->idempotency_key)
	{
		order_row_set(row, ORDER_IDEMPOTENCY_KEY, CStringGetTextDatum(request->idempotency_key));
		order_row_set(row, ORDER_REQUEST_HASH, request_hash(request));
	}
	else
		/* empty, but there: it tells an order that has lines from one of raw SQL, which has none */
		order_row_set(row, ORDER_REQUEST_HASH, CStringGetTextDatum(""));
}

static void
fill_row(RowTable *table, TupleTableSlot *slot, CreateRequest *request, const Machine *machine,
		 int64 order_id, TimestampTz now)
{
	OrderValues row;

	order_row_new(&row, machine, now, due_of(request, machine->creation));
	order_row_set(&row, ORDER_ORDER_ID, Int64GetDatum(order_id));
	order_row_set(&row, ORDER_USER_ID, Int64GetDatum(request->user_id));
	order_row_set(&row, ORDER_SUBTOTAL, NumericGetDatum(request->subtotal));
	order_row_set(&row, ORDER_AMOUNT, NumericGetDatum(request->amount));
	if (request->currency)
		order_row_set(&row, ORDER_CURRENCY, CStringGetTextDatum(request->currency));
	order_row_set(&row, ORDER_ADJUSTMENTS,
				  JsonbPGetDatum(adjustment_rounded(request->adjustments, request->rounding)));
	order_row_set(&row, ORDER_ATTRIBUTES, JsonbPGetDatum(request->attributes));
	order_row_set(&row, ORDER_PRIVATE, JsonbPGetDatum(request->private));
	set_key(&row, request);

	row_new(table, slot);
	for (int i = 0; i < ORDER_COLUMNS; i++)
		if (!row.nulls[i])
			row_set(table, slot, i, row.values[i]);
}

/* Copies what goes with the scope. */
static void
set_result(const OrderRow *row, CreateResult *result)
{
	result->order_id = row->order_id;
	result->state = row->state;
	result->version = row->version;
	result->amount = datumCopy(NumericGetDatum(row->amount), false, -1);
	result->has_due_at = row->has_due_at;
	result->due_at = row->due_at;
}

static Oid
key_index(RowTable *table)
{
	return row_unique_index(table, 2, (const int[]){ORDER_USER_ID, ORDER_IDEMPOTENCY_KEY});
}

static void
key_init(const CreateRequest *request, ScanKey keys)
{
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(request->user_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(request->idempotency_key));
}

/*
 * Another order has the key.  False if it is gone again: then the caller tries
 * once more to insert.  Under REPEATABLE READ an order that this snapshot
 * cannot see is a serialization failure: the retry gets its answer.
 */
static bool
find_replay(RowScope *scope, RowTable *table, Oid index, CreateRequest *request,
			CreateResult *result)
{
	TupleTableSlot *slot = row_slot(table);
	ScanKeyData		keys[2];
	OrderRow		row;
	bool			isnull;
	Datum			hash;

	row_scope_refresh(scope);
	key_init(request, keys);
	if (!row_find(table, index, 2, keys, slot))
	{
		row_check_conflict("Another transaction has created an order under this idempotency key.");
		return false;
	}

	hash = row_get(table, slot, ORDER_REQUEST_HASH, &isnull);
	if (isnull || DatumGetInt32(DirectFunctionCall2(byteacmp, hash, request_hash(request))) != 0)
		order_raise_key_mismatch(
			request->idempotency_key,
			DatumGetTimestampTz(row_get(table, slot, ORDER_CREATED_AT, &isnull)));
	order_row_read(table->attno, slot, &row);
	set_result(&row, result);
	result->replayed = true;
	return true;
}

/* True if the row is ours; false if the key's first order has been found instead. */
static bool
claim(RowScope *scope, RowTable *table, TupleTableSlot *slot, CreateRequest *request,
	  CreateResult *result)
{
	Oid				index;
	ItemPointerData conflict;

	if (request->idempotency_key == NULL)
	{
		row_insert(table, slot);
		return true;
	}
	index = key_index(table);
	while (!row_insert_unless(table, slot, index, &conflict))
		if (find_replay(scope, table, index, request, result))
			return false;
	return true;
}

/* ---- sold out ---- */

static bool
may_be_replay(RowTable *table, const CreateRequest *request)
{
	ScanKeyData keys[2];

	key_init(request, keys);
	return row_key_is_taken(table, key_index(table), lengthof(keys), keys);
}

/*
 * False if shared memory tells that the order cannot have its stock.  What is held for it is
 * not asked for.
 */
static bool
may_have_stock(CreateRequest *request)
{
	return request->reservation_id ||
		   machine_latest(request->machine)->creation->stock != STOCK_RESERVE ||
		   stock_look(request->lines.keys, request->lines.nkeys, &request->shortage);
}

/* Whose orders are on another node is told so, whatever there is here. */
static void
refuse(const CreateRequest *request)
{
	(void) shop_leaf(SHOP_ORDERS, slot_of_user(request->user_id));
	stock_shortage_raise(&request->shortage);
}

/*
 * In a sale most who are refused are refused here, by what needs neither a table nor the owner's
 * role.  With a key it may be the answer to an order that has its stock.
 */
static void
look(CreateRequest *request)
{
	request->sold_out = !may_have_stock(request);
	if (request->sold_out && request->idempotency_key == NULL)
		refuse(request);
}

/* What a user's BEFORE INSERT trigger must leave as it is. */
static void
check_written(RowTable *table, TupleTableSlot *slot, TupleTableSlot *meant, const OrderRow *row,
			  const Machine *machine)
{
	order_check_unchanged(RelationGetDescr(table->rel), table->attno, meant, slot);
	if (row->version != 1 || strcmp(row->state, machine->states[machine->creation->to]) != 0)
		order_raise_direct_write(list_make2("state", "version"));
}

/*
 * What the default currency makes of a request is of no interest to one that has its order
 * already, perhaps by another default.
 */
static void
check_by_currency(const CreateRequest *request, const OrderRow *row)
{
	if (request->given_currency == NULL && row->currency)
		(void) line_parse_adjustments(request->adjustments, request->lines.nlines, row->currency);
	if (request->rounding)
		amount_check_length(request->rounding, "rounding");
}

/* What the order holds, which may be held for it already. */
static void
take_stock(RowScope *scope, const CreateRequest *request, const OrderRow *row, OrderChange *change)
{
	bool holds = change->transition->stock == STOCK_RESERVE;

	if (request->reservation_id)
		reservation_take_over(scope, request->reservation_id, request->user_id, row->order_id,
							  request->lines.keys, holds ? request->lines.nkeys : 0,
							  change->context.actor);
	else
		order_apply_stock(scope, row, change);
}

/* What is held for it is not asked for. */
static void
await_due(const CreateRequest *request)
{
	if (request->reservation_id == NULL &&
		machine_latest(request->machine)->creation->stock == STOCK_RESERVE)
		due_wait(request->lines.keys, request->lines.nkeys);
}

static void
create(CreateRequest *request, CreateResult *result)
{
	const Machine  *machine = machine_latest(request->machine);
	int				slot_no = slot_of_user(request->user_id);
	RowScope		scope;
	RowTable	   *table;
	TupleTableSlot *slot;
	TupleTableSlot *meant;
	OrderRow		row;
	OrderChange		change = {
			.machine = machine,
			.transition = machine->creation,
			.event = machine->events[machine->creation->event],
			.idempotency_key = request->idempotency_key,
			.attributes = NULL,
			.lines = &request->lines,
			.at = GetCurrentTimestamp(),
			.keep_stock = true, /* before the lines: most who are refused are refused here */
			.leaves_room = true,
			.context = request->context,
	};

	row_scope_begin(&scope, "create_order()");
	order_lock_tables();
	if (request->reservation_id)
		reservation_lock_tables();
	table = row_open_leaf(&scope, SHOP_ORDERS, slot_no, &order_columns);
	if (request->sold_out && !may_be_replay(table, request))
		refuse(request);
	slot = row_slot(table);
	fill_row(table, slot, request, machine, order_id_next(slot_no), change.at);
	meant = row_meant(table, slot);

	if (claim(&scope, table, slot, request, result))
	{
		order_row_read(table->attno, slot, &row);
		if (meant)
			check_written(table, slot, meant, &row, machine);
		check_by_currency(request, &row);
		order_check_move(table, slot, machine, &row, machine->creation, row.attributes);
		take_stock(&scope, request, &row, &change);
		line_insert(&scope, row.order_id, &request->lines);
		order_changed(&scope, &row, &change);
		set_result(&row, result);
	}
	row_scope_end(&scope);
}

Datum
order_engine_create_order(PG_FUNCTION_ARGS)
{
	static TupleDesc shape; /* of call_row() */
	CreateRequest	 request = {0};
	CreateResult	 result = {0};
	OwnerScope		 owner;
	Datum			 values[6];
	bool			 nulls[6] = {false};

	parse_request(fcinfo, &request);
	if (!due_wait_wanted())
		look(&request);
	owner_begin(&owner);
	if (due_wait_wanted())
	{
		await_due(&request);
		look(&request);
	}
	create(&request, &result);
	owner_end(&owner);

	values[0] = Int64GetDatum(result.order_id);
	values[1] = CStringGetTextDatum(result.state);
	values[2] = Int32GetDatum(result.version);
	values[3] = result.amount;
	values[4] = TimestampTzGetDatum(result.due_at);
	nulls[4] = !result.has_due_at;
	values[5] = BoolGetDatum(result.replayed);
	return call_row(fcinfo, &shape, values, nulls);
}
