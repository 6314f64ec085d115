/*
 * line.c
 *		Lines and adjustments: parsed, stored, shown.
 *
 * Parsing is pure: nothing is looked up, so that everything malformed is
 * refused before anything is touched.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "base/amount.h"
#include "base/call.h"
#include "base/compat.h"
#include "base/currency.h"
#include "base/detail.h"
#include "order/line.h"
#include "shop/shop.h"
#include "shop/slot.h"

#define MAX_LINES 1000
#define MAX_ADJUSTMENTS 1000
#define MAX_LABEL_LENGTH 255

/* Where the parser is, for its messages. */
typedef struct Place
{
	const char *list;	/* "line" or "adjustment" */
	int			number; /* from 1 */
	const char *key;	/* NULL: the element itself */
} Place;

pg_noreturn static void
raise_place(const Place *place, const char *problem)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		 place->key ? errmsg("%s %d: \"%s\" %s", place->list, place->number, place->key, problem)
					: errmsg("%s %d %s", place->list, place->number, problem),
		 detail_set(place->list, detail_number(place->number), "key",
					place->key ? detail_text(place->key) : NULL, NULL),
		 strcmp(place->list, "line") == 0
			 ? errhint(
				   "A line is {\"sku\", \"quantity\", \"unit_price\", \"stock_key\", \"stocked\", \"attributes\"}.")
			 : errhint(
				   "An adjustment is {\"kind\": discount, shipping, tax or fee, \"amount\", \"line_no\", \"label\", \"stock_key\", \"quantity\"}.")));
}

static char *
value_string(const JsonbValue *value, const Place *place, int max_length)
{
	char *text;

	if (value->type != jbvString)
		raise_place(place, "must be a string");
	if (value->val.string.len < 1 || value->val.string.len > max_length)
		raise_place(place, "has the wrong length");
	text = pnstrdup(value->val.string.val, value->val.string.len);
	if (call_has_control_characters(text))
		raise_place(place, "must not contain control characters");
	return text;
}

/* [-]digits[.digits], nothing else that numeric_in() would take */
static bool
is_decimal(const char *text)
{
	const char *c = text + (*text == '-');
	size_t		whole = strspn(c, "0123456789");
	size_t		fraction = c[whole] == '.' ? strspn(c + whole + 1, "0123456789") : 0;

	if (whole == 0 || (c[whole] == '.' && fraction == 0))
		return false;
	return c[whole + (c[whole] == '.' ? fraction + 1 : 0)] == '\0';
}

/* The digits of a JSON number, or of a decimal in a string; NULL for anything else. */
static char *
value_digits(const JsonbValue *value)
{
	char *text;

	if (value->type == jbvNumeric)
		return amount_text(value->val.numeric);
	if (value->type != jbvString)
		return NULL;
	text = pnstrdup(value->val.string.val, value->val.string.len);
	return is_decimal(text) ? text : NULL;
}

/* Exactly as given. */
static Numeric
value_decimal(const JsonbValue *value, const Place *place)
{
	char *text = value_digits(value);

	if (text == NULL)
		raise_place(place, "must be a number or a decimal string");
	if (strlen(text) > AMOUNT_MAX_LENGTH)
		raise_place(place, "must be at most " CppAsString2(AMOUNT_MAX_LENGTH) " characters long");
	if (value->type == jbvNumeric)
		return value->val.numeric;
	return amount_parse(text);
}

/* A whole number from 1 to `max`; 2.0 is one, 1.5 is not. */
static int32
value_count(const JsonbValue *value, const Place *place, int32 max)
{
	char	 *text = value_digits(value);
	char	 *end;
	long long count;

	if (text == NULL)
		raise_place(place, "must be a whole number");
	errno = 0;
	count = strtoll(text, &end, 10);
	if (*end == '.')
		end += 1 + strspn(end + 1, "0");
	if (*end != '\0')
		raise_place(place, "must be a whole number");
	if (errno != 0 || count < 1 || count > max)
		raise_place(place, "is out of range");
	return (int32) count;
}

static Jsonb *
value_object(JsonbValue *value, const Place *place)
{
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		raise_place(place, "must be a JSON object");
	return JsonContainerSize(value->val.binary.data) > 0 ? JsonbValueToJsonb(value) : NULL;
}

static bool
value_bool(const JsonbValue *value, const Place *place)
{
	if (value->type != jbvBool)
		raise_place(place, "must be true or false");
	return value->val.boolean;
}

/* Null says what the missing key says; but a key that nobody knows may be a misspelt one. */
static bool
is_given(const JsonbValue *value, const Place *place, const char *const *keys)
{
	while (*keys && strcmp(place->key, *keys) != 0)
		keys++;
	if (*keys == NULL)
		raise_place(place, "is not a key that is known");
	return value->type != jbvNull;
}

static void
set_line_key(OrderLine *line, Place *place, JsonbValue *value, bool *stocked)
{
	if (strcmp(place->key, "sku") == 0)
		line->sku = value_string(value, place, 255);
	else if (strcmp(place->key, "quantity") == 0)
		line->quantity = value_count(value, place, PG_INT32_MAX);
	else if (strcmp(place->key, "unit_price") == 0)
	{
		line->unit_price = value_decimal(value, place);
		if (amount_compare(line->unit_price, amount_zero()) < 0)
			raise_place(place, "must not be negative");
	}
	else if (strcmp(place->key, "stock_key") == 0)
		line->stock_key = value_string(value, place, 255);
	else if (strcmp(place->key, "stocked") == 0)
		*stocked = value_bool(value, place);
	else if (strcmp(place->key, "attributes") == 0)
		line->attributes = value_object(value, place);
}

/* What a line takes its stock from: its own SKU, unless it says something else. */
static void
set_stock_key(OrderLine *line, Place *place, bool stocked)
{
	if (!stocked && line->stock_key)
	{
		place->key = "stock_key";
		raise_place(place, "is given, but \"stocked\" is false");
	}
	if (stocked && line->stock_key == NULL)
		line->stock_key = line->sku;
}

/* Walks one object's keys; the iterator stands behind its WJB_BEGIN_OBJECT. */
static void
parse_line(JsonbIterator **it, OrderLine *line, int number)
{
	static const char *const keys[] = {"sku",	  "quantity",	"unit_price", "stock_key",
									   "stocked", "attributes", NULL};
	Place					 place = {"line", number, NULL};
	bool					 stocked = true;
	JsonbValue				 value;
	JsonbIteratorToken		 token;

	memset(line, 0, sizeof(*line));
	while ((token = JsonbIteratorNext(it, &value, true)) == WJB_KEY)
	{
		place.key = pnstrdup(value.val.string.val, value.val.string.len);
		JsonbIteratorNext(it, &value, true);
		if (is_given(&value, &place, keys))
			set_line_key(line, &place, &value, &stocked);
	}
	place.key = line->sku == NULL ? "sku" : "quantity";
	if (line->sku == NULL || line->quantity == 0)
		raise_place(&place, "is missing");
	if (line->unit_price == NULL)
		line->unit_price = amount_zero();
	set_stock_key(line, &place, stocked);
}

static int
compare_keys(const void *a, const void *b)
{
	return strcmp(((const StockLine *) a)->stock_key, ((const StockLine *) b)->stock_key);
}

/* What is taken from stock: summed per key, in the order in which all lock. */
static void
set_keys(OrderLines *lines, StockLine *keys, int n)
{
	if (n > 1)
		qsort(keys, n, sizeof(StockLine), compare_keys);
	lines->keys = keys;
	lines->nkeys = 0;
	for (int i = 0; i < n; i++)
	{
		if (lines->nkeys > 0 && compare_keys(&keys[lines->nkeys - 1], &keys[i]) == 0)
			keys[lines->nkeys - 1].quantity += keys[i].quantity;
		else
			keys[lines->nkeys++] = keys[i];
	}
}

static void
sum_keys(OrderLines *lines)
{
	StockLine *keys = palloc(sizeof(StockLine) * lines->nlines);
	int		   n = 0;

	for (int i = 0; i < lines->nlines; i++)
		if (lines->lines[i].stock_key)
			keys[n++] = (StockLine){lines->lines[i].stock_key, lines->lines[i].quantity};
	set_keys(lines, keys, n);
}

void
line_add_stock(OrderLines *lines, const StockLine *more, int nmore)
{
	StockLine *keys = palloc(sizeof(StockLine) * (lines->nkeys + nmore));
	int		   n = 0;

	for (int i = 0; i < lines->nkeys; i++)
		keys[n++] = lines->keys[i];
	for (int i = 0; i < nmore; i++)
		keys[n++] = more[i];
	set_keys(lines, keys, n);
}

static void
check_list(Jsonb *json, const char *name, int max)
{
	if (!JB_ROOT_IS_ARRAY(json) || JB_ROOT_IS_SCALAR(json))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" must be a JSON array of objects", name)));
	if (JB_ROOT_COUNT(json) > max)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("\"%s\" has more than %d elements", name, max),
						detail_set("elements", detail_number(JB_ROOT_COUNT(json)), "limit",
								   detail_number(max), NULL)));
}

void
line_parse(Jsonb *json, OrderLines *lines)
{
	JsonbIterator *it;
	JsonbValue	   value;
	int			   n = 0;

	check_list(json, "lines", MAX_LINES);
	if (JB_ROOT_COUNT(json) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there must be at least one line")));

	lines->nlines = JB_ROOT_COUNT(json);
	lines->lines = palloc(sizeof(OrderLine) * lines->nlines);
	it = JsonbIteratorInit(&json->root);
	JsonbIteratorNext(&it, &value, false);
	while (n < lines->nlines)
	{
		Place place = {"line", n + 1, NULL};

		if (JsonbIteratorNext(&it, &value, false) != WJB_BEGIN_OBJECT)
			raise_place(&place, "is not a JSON object");
		parse_line(&it, &lines->lines[n], n + 1);
		n++;
	}
	sum_keys(lines);
}

Numeric
line_subtotal(const OrderLines *lines)
{
	Numeric sum = NULL;

	for (int i = 0; i < lines->nlines; i++)
	{
		const OrderLine *line = &lines->lines[i];
		Numeric			 price = line->unit_price;

		if (line->quantity > 1)
			price = numeric_mul_opt_error(int64_to_numeric(line->quantity), price, NULL);
		sum = sum ? amount_add(sum, price) : price;
	}
	return sum ? sum : amount_zero();
}

pg_noreturn static void
raise_rounding(const Place *place)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		 errmsg("%s %d: \"%s\" \"%s\" is the engine's own", place->list, place->number, place->key,
				LINE_ROUNDING),
		 detail_set(place->list, detail_number(place->number), "key", detail_text(place->key),
					NULL),
		 errhint("Leave it out: where lines and adjustments have more decimals than the currency, "
				 "the engine adds it.")));
}

/* The engine rounds the sum, not what the caller has decided on. */
static void
check_decimals(const Place *place, Numeric amount, const char *currency)
{
	int decimals = currency_decimals(currency);

	if (currency_can_express(currency, amount))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s %d: \"%s\" has more decimals than %s has", place->list, place->number,
					place->key, currency),
			 detail_set(place->list, detail_number(place->number), "key", detail_text(place->key),
						"amount", amount_text(amount), "currency", detail_text(currency),
						"decimals", detail_number(decimals), NULL),
			 errhint("Round it to %d decimals before you pass it; unit prices may have more.",
					 decimals)));
}

static void
check_kind(const JsonbValue *value, const Place *place)
{
	static const char *const kinds[] = {"discount", "shipping", "tax", "fee"};
	char					*kind = value_string(value, place, 63);

	if (strcmp(kind, LINE_ROUNDING) == 0)
		raise_rounding(place);
	for (int i = 0; i < lengthof(kinds); i++)
		if (strcmp(kind, kinds[i]) == 0)
			return;
	raise_place(place, "must be discount, shipping, tax or fee");
}

typedef struct Adjustment
{
	bool	has_kind;
	Numeric amount; /* NULL: not given yet */
	bool	has_stock_key;
	bool	has_quantity;
} Adjustment;

static void
set_adjustment_key(Adjustment *adjustment, const Place *place, const JsonbValue *value, int nlines,
				   const char *currency)
{
	if (strcmp(place->key, "kind") == 0)
	{
		check_kind(value, place);
		adjustment->has_kind = true;
	}
	else if (strcmp(place->key, "amount") == 0)
	{
		adjustment->amount = value_decimal(value, place);
		check_decimals(place, adjustment->amount, currency);
	}
	else if (strcmp(place->key, "line_no") == 0)
		(void) value_count(value, place, nlines);
	else if (strcmp(place->key, "label") == 0)
		(void) value_string(value, place, MAX_LABEL_LENGTH);
	else if (strcmp(place->key, "stock_key") == 0)
	{
		(void) value_string(value, place, 255);
		adjustment->has_stock_key = true;
	}
	else if (strcmp(place->key, "quantity") == 0)
	{
		(void) value_count(value, place, PG_INT32_MAX);
		adjustment->has_quantity = true;
	}
}

/* Called when all keys are there. */
static void
check_adjustment(const Adjustment *adjustment, Place *place)
{
	place->key = adjustment->has_kind ? "amount" : "kind";
	if (!adjustment->has_kind || adjustment->amount == NULL)
		raise_place(place, "is missing");
	place->key = adjustment->has_stock_key ? "quantity" : "stock_key";
	if (adjustment->has_stock_key != adjustment->has_quantity)
		raise_place(place, "is missing");
}

static Numeric
parse_adjustment(JsonbIterator **it, int number, int nlines, const char *currency)
{
	static const char *const keys[] = {"kind",		"amount",	"line_no", "label",
									   "stock_key", "quantity", NULL};
	Place					 place = {"adjustment", number, NULL};
	Adjustment				 adjustment = {0};
	JsonbValue				 value;

	while (JsonbIteratorNext(it, &value, true) == WJB_KEY)
	{
		place.key = pnstrdup(value.val.string.val, value.val.string.len);
		JsonbIteratorNext(it, &value, true);
		if (is_given(&value, &place, keys))
			set_adjustment_key(&adjustment, &place, &value, nlines, currency);
	}
	check_adjustment(&adjustment, &place);
	return adjustment.amount;
}

Numeric
line_parse_adjustments(Jsonb *json, int nlines, const char *currency)
{
	Numeric		   sum = amount_zero();
	JsonbIterator *it;
	JsonbValue	   value;

	check_list(json, "adjustments", MAX_ADJUSTMENTS);
	it = JsonbIteratorInit(&json->root);
	JsonbIteratorNext(&it, &value, false);
	for (int number = 1; number <= JB_ROOT_COUNT(json); number++)
	{
		Place place = {"adjustment", number, NULL};

		if (JsonbIteratorNext(&it, &value, false) != WJB_BEGIN_OBJECT)
			raise_place(&place, "is not a JSON object");
		sum = amount_add(sum, parse_adjustment(&it, number, nlines, currency));
	}
	return sum;
}

void
line_insert(RowScope *scope, int64 order_id, const OrderLines *lines)
{
	RowTable *table = row_open_leaf(scope, SHOP_ORDER_LINE, slot_of_order(order_id), &line_columns);
	TupleTableSlot *slot = row_slot(table);

	for (int i = 0; i < lines->nlines; i++)
	{
		const OrderLine *line = &lines->lines[i];

		row_new(table, slot);
		row_set(table, slot, LINE_ORDER_ID, Int64GetDatum(order_id));
		row_set(table, slot, LINE_LINE_NO, Int32GetDatum(i + 1));
		row_set(table, slot, LINE_SKU, CStringGetTextDatum(line->sku));
		if (line->stock_key)
			row_set(table, slot, LINE_STOCK_KEY, CStringGetTextDatum(line->stock_key));
		row_set(table, slot, LINE_QUANTITY, Int32GetDatum(line->quantity));
		row_set(table, slot, LINE_UNIT_PRICE, NumericGetDatum(line->unit_price));
		row_set(table, slot, LINE_ATTRIBUTES,
				JsonbPGetDatum(line->attributes ? line->attributes : call_empty_object()));
		row_insert(table, slot);
	}
}

static void
read_line(RowTable *table, TupleTableSlot *slot, OrderLine *line)
{
	bool  isnull;
	Datum stock_key;

	line->sku = TextDatumGetCString(row_get_required(table, slot, LINE_SKU));
	stock_key = row_get(table, slot, LINE_STOCK_KEY, &isnull);
	line->stock_key = isnull ? NULL : TextDatumGetCString(stock_key);
	line->quantity = DatumGetInt32(row_get_required(table, slot, LINE_QUANTITY));
	line->unit_price = DatumGetNumeric(row_get_required(table, slot, LINE_UNIT_PRICE));
	line->attributes = DatumGetJsonbP(row_get_required(table, slot, LINE_ATTRIBUTES));
}

void
line_read(RowScope *scope, int64 order_id, OrderLines *lines)
{
	RowTable *table = row_open_leaf(scope, SHOP_ORDER_LINE, slot_of_order(order_id), &line_columns);
	Oid		  index = row_unique_index(table, 2, (const int[]){LINE_ORDER_ID, LINE_LINE_NO});
	ScanKeyData key;
	List	   *rows;
	ListCell   *lc;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(order_id));
	rows = row_find_all(table, index, 1, &key);
	lines->nlines = 0;
	lines->lines = palloc(sizeof(OrderLine) * Max(list_length(rows), 1));
	foreach(lc, rows)
		read_line(table, lfirst(lc), &lines->lines[lines->nlines++]);
	sum_keys(lines);
}

void
line_json(StringInfo json, const OrderLines *lines)
{
	appendStringInfoChar(json, '[');
	for (int i = 0; i < lines->nlines; i++)
	{
		const OrderLine *line = &lines->lines[i];
		char			 number[32];

		appendStringInfoString(json, i > 0 ? ",{\"line_no\":" : "{\"line_no\":");
		pg_ltoa(i + 1, number);
		appendStringInfoString(json, number);
		appendStringInfoString(json, ",\"sku\":");
		escape_json(json, line->sku);
		appendStringInfoString(json, ",\"stock_key\":");
		if (line->stock_key)
			escape_json(json, line->stock_key);
		else
			appendStringInfoString(json, "null");
		appendStringInfoString(json, ",\"quantity\":");
		pg_ltoa(line->quantity, number);
		appendStringInfoString(json, number);
		appendStringInfoString(json, ",\"unit_price\":");
		amount_append_json(json, line->unit_price);
		appendStringInfoString(json, ",\"attributes\":");
		if (line->attributes)
			(void) JsonbToCString(json, &line->attributes->root, VARSIZE(line->attributes));
		else
			appendStringInfoString(json, "{}");
		appendStringInfoChar(json, '}');
	}
	appendStringInfoChar(json, ']');
}
