/*
 * stock.c
 *		Stock in row mode: reserving, receiving, counting.
 *
 * Owns stock and stock_movement.  What makes it safe is that a row is written
 * only as the next version of the very row that was judged: either
 * row_update_if_unchanged() finds it unchanged, or the row is locked
 * (FOR NO KEY UPDATE), judged again and written under that lock, which is held
 * until the transaction ends.  Rows of several SKUs are locked in the order of
 * their keys.
 *
 * A movement is written only together with its stock row.  So who has locked
 * that row sees every movement of the SKU, row_find_locked() taking a new
 * snapshot if the row had changed, and nobody writes one in between.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/xact.h"
#include "common/int.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "base/call.h"
#include "base/context.h"
#include "base/detail.h"
#include "base/errors.h"
#include "shop/owner.h"
#include "shop/shop.h"
#include "stock/stock.h"
#include "stock/stock_internal.h"

#define REASON_RECEIPT "receipt"
#define REASON_ADJUSTMENT "adjustment"
#define REASON_DEDUCT "deduct"
#define REASON_CONFIRM "confirm"
#define REASON_RESTOCK "restock"
#define REASON_RESERVATION "reservation"

/* What one unit of an order's line does to a row. */
static const struct
{
	int			on_hand;
	int			reserved;
	const char *reason; /* of its movement, NULL: writes none */
} effects[] = {
	[STOCK_NONE] = {0, 0, NULL},
	[STOCK_RESERVE] = {0, +1, NULL},
	[STOCK_CONFIRM] = {-1, -1, REASON_CONFIRM},
	[STOCK_RELEASE] = {0, -1, NULL},
	[STOCK_RESTOCK] = {+1, 0, REASON_RESTOCK},
};

/* The stock row that is being worked on. */
typedef struct Stock
{
	RowScope	   *scope;
	RowTable	   *table;
	Oid				index; /* on sku */
	TupleTableSlot *row;   /* as read */
	TupleTableSlot *next;  /* as it will be written */
	const char	   *sku;
	int64			on_hand;
	int64			reserved;
	int64			version;
} Stock;

static inline int64
free_quantity(const Stock *stock)
{
	return stock->on_hand - stock->reserved;
}

/* ---- errors ---- */

static char *
short_line(const char *sku, int64 requested, int64 available)
{
	return detail_object("sku", detail_text(sku), "requested", detail_number(requested),
						 "available", detail_number(available), NULL);
}

static void
raise_short(const List *lines)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_OE_INSUFFICIENT_STOCK), errmsg("insufficient stock"),
		 detail_set("short", detail_array(lines), NULL),
		 errhint("Ask for no more than is available, or try again when more has been received.")));
}

static List *
unknown_lines(const List *skus)
{
	List	 *lines = NIL;
	ListCell *lc;

	foreach(lc, skus)
		lines = lappend(lines, detail_object("sku", detail_text(lfirst(lc)), NULL));
	return lines;
}

static void
raise_unknown(const List *skus, const List *lines)
{
	const char *first = linitial(skus);
	int			others = list_length(skus) - 1;

	ereport(
		ERROR,
		(errcode(ERRCODE_OE_UNKNOWN_SKU),
		 others > 0 ? errmsg("unknown SKU \"%s\", and %d more", first, others)
					: errmsg("unknown SKU \"%s\"", first),
		 detail_set("unknown", detail_array(unknown_lines(skus)), "short", detail_array(lines),
					NULL),
		 errhint(
			 "Receive it first with order_engine.receive_stock().  A line of a new order that takes no stock says \"stocked\": false.")));
}

/* ---- the row ---- */

static void
stock_open(Stock *stock, RowScope *scope)
{
	static const int	   key[] = {STOCK_SKU};
	static const ShopTable tables[] = {SHOP_STOCK, SHOP_STOCK_MOVEMENT};

	row_lock_tables(tables, lengthof(tables), RowExclusiveLock);
	stock->scope = scope;
	stock->table = row_open(scope, shop_table(SHOP_STOCK), &stock_columns);
	stock->index = row_unique_index(stock->table, lengthof(key), key);
	stock->row = row_slot(stock->table);
	stock->next = row_slot(stock->table);
}

static int64
get_quantity(Stock *stock, int column)
{
	return DatumGetInt64(row_get_required(stock->table, stock->row, column));
}

static void
check_mode(Stock *stock)
{
	text *mode = DatumGetTextPP(row_get_required(stock->table, stock->row, STOCK_MODE));

	if (VARSIZE_ANY_EXHDR(mode) != strlen(STOCK_ROW_MODE) ||
		memcmp(VARDATA_ANY(mode), STOCK_ROW_MODE, strlen(STOCK_ROW_MODE)) != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("stock of SKU \"%s\" is in mode \"%s\", which is not available",
							   stock->sku, text_to_cstring(mode)),
						errhint("This version of the order engine knows the mode \"%s\" only.",
								STOCK_ROW_MODE)));
}

static void
read_row(Stock *stock)
{
	stock->on_hand = get_quantity(stock, STOCK_ON_HAND);
	stock->reserved = get_quantity(stock, STOCK_RESERVED);
	stock->version = get_quantity(stock, STOCK_VERSION);
	check_mode(stock);
}

static void
init_key(ScanKey key, AttrNumber attno, const char *value)
{
	ScanKeyInit(key, attno, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(value));
}

/* Reads the row as the scope's snapshot sees it; another may change it. */
static bool
stock_find(Stock *stock, const char *sku)
{
	ScanKeyData key;

	stock->sku = sku;
	init_key(&key, 1, sku);
	if (!row_find(stock->table, stock->index, 1, &key, stock->row))
		return false;
	read_row(stock);
	return true;
}

/* Locks the row and reads its latest version. */
static bool
stock_lock(Stock *stock, const char *sku)
{
	ScanKeyData key;

	stock->sku = sku;
	init_key(&key, 1, sku);
	if (!row_find_locked(stock->table, stock->index, 1, &key, LockWaitBlock, stock->row))
		return false;
	read_row(stock);
	return true;
}

static int64
add_quantity(const Stock *stock, int64 quantity, int64 delta)
{
	int64 sum;

	if (pg_add_s64_overflow(quantity, delta, &sum))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("quantity of SKU \"%s\" is out of range", stock->sku)));
	return sum;
}

/*
 * Makes the next version of the row, with one version more.  Afterwards *stock
 * is what it will be.  Returns how many `columns` change.
 */
static int
make_next(Stock *stock, int64 on_hand, int64 reserved, int *columns)
{
	int ncolumns = 0;

	row_copy(stock->table, stock->next, stock->row);
	stock->version++;
	row_set(stock->table, stock->next, STOCK_VERSION, Int64GetDatum(stock->version));
	columns[ncolumns++] = STOCK_VERSION;
	if (on_hand != 0)
	{
		stock->on_hand = add_quantity(stock, stock->on_hand, on_hand);
		row_set(stock->table, stock->next, STOCK_ON_HAND, Int64GetDatum(stock->on_hand));
		columns[ncolumns++] = STOCK_ON_HAND;
	}
	if (reserved != 0)
	{
		stock->reserved = add_quantity(stock, stock->reserved, reserved);
		row_set(stock->table, stock->next, STOCK_RESERVED, Int64GetDatum(stock->reserved));
		columns[ncolumns++] = STOCK_RESERVED;
	}
	return ncolumns;
}

/* A user's BEFORE trigger may have a column of his own, but not a say in ours. */
static void
check_written(Stock *stock)
{
	const int64		 expected[] = {stock->on_hand, stock->reserved, stock->version};
	static const int columns[] = {STOCK_ON_HAND, STOCK_RESERVED, STOCK_VERSION};

	for (int i = 0; stock->table->user_triggers && i < lengthof(columns); i++)
		if (DatumGetInt64(row_get_required(stock->table, stock->next, columns[i])) != expected[i])
			ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
							errmsg("a trigger on table \"%s\" changed column \"%s\" of SKU \"%s\"",
								   stock_columns.table, stock_columns.columns[columns[i]].name,
								   stock->sku),
							errhint("A BEFORE trigger there may change columns of its own only.")));
}

/* After stock_lock(). */
static void
change_locked(Stock *stock, int64 on_hand, int64 reserved)
{
	int columns[STOCK_COLUMNS];
	int ncolumns = make_next(stock, on_hand, reserved, columns);

	row_update(stock->table, stock->row, stock->next, ncolumns, columns);
	check_written(stock);
}

/* After stock_find(); false if another changed the row since. */
static bool
change_if_unchanged(Stock *stock, int64 on_hand, int64 reserved)
{
	int columns[STOCK_COLUMNS];
	int ncolumns = make_next(stock, on_hand, reserved, columns);

	return row_update_if_unchanged(stock->table, stock->row, stock->next, ncolumns, columns);
}

/*
 * Creates the row, empty; what comes in next makes it version 1.  Under
 * READ COMMITTED another may have created it meanwhile.
 */
static bool
insert_empty(Stock *stock, const char *sku)
{
	ItemPointerData other;

	stock->on_hand = stock->reserved = stock->version = 0;
	row_new(stock->table, stock->next);
	row_set(stock->table, stock->next, STOCK_SKU, CStringGetTextDatum(sku));
	row_set(stock->table, stock->next, STOCK_ON_HAND, Int64GetDatum(0));
	row_set(stock->table, stock->next, STOCK_RESERVED, Int64GetDatum(0));
	row_set(stock->table, stock->next, STOCK_VERSION, Int64GetDatum(0));
	row_set(stock->table, stock->next, STOCK_MODE, CStringGetTextDatum(STOCK_ROW_MODE));
	row_set(stock->table, stock->next, STOCK_AUTO_MODE, BoolGetDatum(false));
	row_set(stock->table, stock->next, STOCK_OPEN, BoolGetDatum(true));
	row_set(stock->table, stock->next, STOCK_EPOCH, Int64GetDatum(0));
	if (row_insert_unless(stock->table, stock->next, stock->index, &other))
	{
		check_written(stock);
		return true;
	}
	row_check_conflict(NULL);
	return false;
}

static void
lock_or_create(Stock *stock, const char *sku)
{
	bool created = false;

	while (!stock_lock(stock, sku))
	{
		if (created)
			ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
							errmsg("a trigger on table \"%s\" changed SKU \"%s\"",
								   stock_columns.table, sku)));
		created = insert_empty(stock, sku);
		row_scope_refresh(stock->scope);
	}
}

/* ---- movements ---- */

static RowTable *
movement_open(RowScope *scope)
{
	return row_open(scope, shop_table(SHOP_STOCK_MOVEMENT), &movement_columns);
}

void
stock_movement_insert(RowScope *scope, const StockMovement *movement)
{
	RowTable	   *table = movement_open(scope);
	TupleTableSlot *slot = row_slot(table);

	row_new(table, slot);
	row_set(table, slot, MOVEMENT_SKU, CStringGetTextDatum(movement->sku));
	row_set(table, slot, MOVEMENT_QUANTITY, Int64GetDatum(movement->quantity));
	row_set(table, slot, MOVEMENT_REASON, CStringGetTextDatum(movement->reason));
	if (movement->ref)
		row_set(table, slot, MOVEMENT_REF, CStringGetTextDatum(movement->ref));
	row_set(table, slot, MOVEMENT_ACTOR, CStringGetTextDatum(movement->actor));
	row_set(table, slot, MOVEMENT_AT, TimestampTzGetDatum(GetCurrentTimestamp()));
	row_insert(table, slot);
}

static void
raise_ref_mismatch(RowTable *table, TupleTableSlot *slot, const StockMovement *movement)
{
	TimestampTz at = DatumGetTimestampTz(row_get_required(table, slot, MOVEMENT_AT));

	ereport(ERROR,
			(errcode(ERRCODE_OE_IDEMPOTENCY_KEY_MISMATCH),
			 errmsg("ref \"%s\" has been used for another quantity of SKU \"%s\"", movement->ref,
					movement->sku),
			 detail_set("key", detail_text(movement->ref), "first_seen", detail_time(at), NULL),
			 errhint("A retry must repeat its first call; a new one needs a new ref.")));
}

/*
 * True if this movement stands already.  The caller has locked its stock row, so
 * what is read here is no older than that row.  OE020 if the ref was used for
 * another quantity.
 */
static bool
movement_is_replay(RowScope *scope, const StockMovement *movement)
{
	static const int columns[] = {MOVEMENT_SKU, MOVEMENT_REASON, MOVEMENT_REF};
	RowTable		*table;
	TupleTableSlot	*slot;
	ScanKeyData		 keys[lengthof(columns)];

	if (movement->ref == NULL)
		return false;

	table = movement_open(scope);
	slot = row_slot(table);
	init_key(&keys[0], 1, movement->sku);
	init_key(&keys[1], 2, movement->reason);
	init_key(&keys[2], 3, movement->ref);
	if (!row_find(table, row_unique_index(table, lengthof(columns), columns), lengthof(keys), keys,
				  slot))
		return false;
	if (DatumGetInt64(row_get_required(table, slot, MOVEMENT_QUANTITY)) != movement->quantity)
		raise_ref_mismatch(table, slot, movement);
	return true;
}

/* ---- effects of orders ---- */

static inline bool
nothing_short(const StockShortage *shortage)
{
	return shortage->short_lines == NIL && shortage->unknown == NIL;
}

static void
raise_shortage(const StockShortage *shortage)
{
	if (shortage->unknown)
		raise_unknown(shortage->unknown, shortage->short_lines);
	if (shortage->short_lines)
		raise_short(shortage->short_lines);
}

static bool
effect_fits(const Stock *stock, StockEffect effect, int64 quantity)
{
	if (effects[effect].reserved > 0)
		return free_quantity(stock) >= quantity;
	if (effects[effect].reserved < 0)
		return stock->reserved >= quantity;
	return true;
}

/* What an order holds is reserved, unless somebody got round the engine. */
static void
raise_not_reserved(const Stock *stock, int64 quantity)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_CHECK_VIOLATION),
		 errmsg("less of SKU \"%s\" is reserved than the order holds", stock->sku),
		 detail_set("sku", detail_text(stock->sku), "held", detail_number(quantity), "reserved",
					detail_number(stock->reserved), NULL),
		 errhint("The stock row was changed behind the engine, as a restore of one table does.")));
}

static void
report_misfit(StockShortage *report, const Stock *stock, StockEffect effect, int64 quantity)
{
	if (effects[effect].reserved < 0)
		raise_not_reserved(stock, quantity);
	report->short_lines =
		lappend(report->short_lines, short_line(stock->sku, quantity, free_quantity(stock)));
}

/*
 * False if the row does not exist.  Goods that come back make it anew: it may have
 * been deleted since they were sold, and the refund counts all the same.
 */
static bool
lock_for_effect(Stock *stock, StockEffect effect, const char *sku)
{
	if (effects[effect].on_hand <= 0)
		return stock_lock(stock, sku);
	lock_or_create(stock, sku);
	return true;
}

/*
 * Applies the effect to one row, or says in the report why not.  Once anything
 * is reported nothing more is written, but rows are locked all the same, so
 * that what is reported was true of all of them at one time.
 */
static void
apply_line(Stock *stock, StockEffect effect, const StockLine *line, StockShortage *report)
{
	int64 on_hand = effects[effect].on_hand * line->quantity;
	int64 reserved = effects[effect].reserved * line->quantity;

	if (nothing_short(report) && stock_find(stock, line->stock_key) &&
		effect_fits(stock, effect, line->quantity) && change_if_unchanged(stock, on_hand, reserved))
		return;

	/* short, unknown or changed by another: what the snapshot says may be old */
	if (!lock_for_effect(stock, effect, line->stock_key))
		report->unknown = lappend(report->unknown, unconstify(char *, line->stock_key));
	else if (!effect_fits(stock, effect, line->quantity))
		report_misfit(report, stock, effect, line->quantity);
	else if (nothing_short(report))
		change_locked(stock, on_hand, reserved);
}

static void
insert_movements(RowScope *scope, StockEffect effect, const char *reason, const StockLine *lines,
				 int nlines, const char *ref, const char *actor)
{
	for (int i = 0; reason && i < nlines; i++)
	{
		StockMovement movement = {
			.sku = lines[i].stock_key,
			.quantity = effects[effect].on_hand * lines[i].quantity,
			.reason = reason,
			.ref = ref,
			.actor = actor,
		};

		stock_movement_insert(scope, &movement);
	}
}

static void
apply(RowScope *scope, StockEffect effect, const StockLine *lines, int nlines)
{
	Stock		  stock;
	StockShortage report = {0};

	stock_open(&stock, scope);
	for (int i = 0; i < nlines; i++)
	{
		Assert(lines[i].quantity > 0);
		Assert(i == 0 || strcmp(lines[i - 1].stock_key, lines[i].stock_key) < 0);
		apply_line(&stock, effect, &lines[i], &report);
	}
	raise_shortage(&report);
}

void
stock_apply(RowScope *scope, StockEffect effect, const StockLine *lines, int nlines,
			const char *ref, const char *actor)
{
	if (effect == STOCK_NONE || nlines == 0)
		return;
	apply(scope, effect, lines, nlines);
	insert_movements(scope, effect, effects[effect].reason, lines, nlines, ref, actor);
}

void
stock_confirm_reservation(RowScope *scope, const StockLine *lines, int nlines, const char *ref,
						  const char *actor)
{
	if (nlines == 0)
		return;
	apply(scope, STOCK_CONFIRM, lines, nlines);
	insert_movements(scope, STOCK_CONFIRM, REASON_RESERVATION, lines, nlines, ref, actor);
}

void
stock_hold(RowScope *scope, const StockLine *lines, int nlines)
{
	Stock		  stock;
	StockShortage report = {0};

	if (nlines == 0)
		return;
	stock_open(&stock, scope);
	for (int i = 0; i < nlines; i++)
	{
		StockLine line = {lines[i].stock_key, Abs(lines[i].quantity)};

		apply_line(&stock, lines[i].quantity > 0 ? STOCK_RESERVE : STOCK_RELEASE, &line, &report);
	}
	raise_shortage(&report);
}

/*
 * True if all of it is there, by the snapshot or, `locked`, now and until the
 * transaction ends.
 */
static bool
judge_lines(Stock *stock, const StockLine *lines, int nlines, bool locked, StockShortage *shortage)
{
	*shortage = (StockShortage){0};
	for (int i = 0; i < nlines; i++)
	{
		const StockLine *line = &lines[i];

		if (!(locked ? stock_lock(stock, line->stock_key) : stock_find(stock, line->stock_key)))
			shortage->unknown = lappend(shortage->unknown, unconstify(char *, line->stock_key));
		else if (!effect_fits(stock, STOCK_RESERVE, line->quantity))
			report_misfit(shortage, stock, STOCK_RESERVE, line->quantity);
	}
	return nothing_short(shortage);
}

/*
 * Rows are locked before the first is written, since nothing undoes what is written.
 * What an old snapshot says is short is a matter of the lock: it raises 40001.
 */
bool
stock_try(RowScope *scope, const StockLine *lines, int nlines, StockShortage *shortage)
{
	Stock stock;

	stock_open(&stock, scope);
	if (!judge_lines(&stock, lines, nlines, false, shortage) && !IsolationUsesXactSnapshot())
		return false;
	if (nlines == 1)
	{
		*shortage = (StockShortage){0};
		apply_line(&stock, STOCK_RESERVE, lines, shortage);
		return nothing_short(shortage);
	}
	if (!judge_lines(&stock, lines, nlines, true, shortage))
		return false;
	apply(scope, STOCK_RESERVE, lines, nlines);
	return true;
}

bool
stock_suffices(RowScope *scope, StockEffect effect, const StockLine *lines, int nlines)
{
	Stock stock;

	if (effects[effect].reserved <= 0)
		return true;
	stock_open(&stock, scope);
	for (int i = 0; i < nlines; i++)
		if (!stock_lock(&stock, lines[i].stock_key) ||
			!effect_fits(&stock, effect, lines[i].quantity))
			return false;
	return true;
}

/* ---- receive_stock(), adjust_stock(), deduct_stock() ---- */

PG_FUNCTION_INFO_V1(order_engine_receive_stock);
PG_FUNCTION_INFO_V1(order_engine_adjust_stock);
PG_FUNCTION_INFO_V1(order_engine_deduct_stock);

/* Reads the reason, argument 2; some belong to orders, deductions and the trigger. */
static const char *
read_reason(FunctionCallInfo fcinfo, const char *by_default)
{
	static const char *const reserved[] = {STOCK_REASON_DIRECT, REASON_DEDUCT, REASON_CONFIRM,
										   REASON_RESTOCK, REASON_RESERVATION};
	const char				*reason;

	if (PG_ARGISNULL(2))
		return by_default;
	reason = call_text(fcinfo, 2);
	call_check_name(reason, "reason");
	for (int i = 0; i < lengthof(reserved); i++)
		if (strcmp(reason, reserved[i]) == 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("reason \"%s\" is reserved", reason),
							errhint("The engine writes it itself; choose another word.")));
	return reason;
}

static void
check_positive(int64 quantity)
{
	if (quantity <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"quantity\" must be positive")));
}

static void
check_delta(int64 delta)
{
	if (delta == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"delta\" must not be zero")));
	if (delta == PG_INT64_MIN) /* it has no negative */
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("\"delta\" is out of range")));
}

/* All three take sku, quantity (or delta), something of their own, ref, context. */
static void
read_movement(FunctionCallInfo fcinfo, const char *quantity, StockMovement *movement)
{
	ActionContext parsed;

	call_require(fcinfo, 0, "sku");
	call_require(fcinfo, 1, quantity);
	context_parse(call_jsonb(fcinfo, 4), &parsed);
	movement->sku = call_text(fcinfo, 0);
	movement->quantity = PG_GETARG_INT64(1);
	movement->ref = call_text(fcinfo, 3);
	movement->actor = parsed.actor;
	call_check_name(movement->sku, "sku");
	if (movement->ref)
		call_check_name(movement->ref, "ref");
}

static void
lock_known(Stock *stock, const char *sku)
{
	if (!stock_lock(stock, sku))
		raise_unknown(list_make1(unconstify(char *, sku)), NIL);
}

static void
check_version(const Stock *stock, int64 expected)
{
	if (stock->version != expected)
		ereport(ERROR,
				(errcode(ERRCODE_OE_VERSION_CONFLICT),
				 errmsg("stock of SKU \"%s\" has changed", stock->sku),
				 detail_set("sku", detail_text(stock->sku), "expected", detail_number(expected),
							"actual", detail_number(stock->version), NULL),
				 errhint("Read the stock again and decide anew.")));
}

/*
 * Writes the movement and its effect on on_hand, for which the row is locked.
 * False if it is a replay, which is looked at before the version, since a retry
 * carries the old one.  `expected` NULL: whatever the version is.
 */
static bool
move_stock(Stock *stock, const StockMovement *movement, const int64 *expected)
{
	if (movement_is_replay(stock->scope, movement))
		return false;
	if (expected)
		check_version(stock, *expected);
	if (movement->quantity < 0 && free_quantity(stock) < -movement->quantity)
		raise_short(
			list_make1(short_line(movement->sku, -movement->quantity, free_quantity(stock))));
	change_locked(stock, movement->quantity, 0);
	stock_movement_insert(stock->scope, movement);
	return true;
}

/* (on_hand, available, version, replayed) */
static Datum
stock_answer(FunctionCallInfo fcinfo, const Stock *stock, bool replayed)
{
	static TupleDesc desc; /* found once, see call_row() */
	Datum			 values[] = {
				   Int64GetDatum(stock->on_hand),
				   Int64GetDatum(free_quantity(stock)),
				   Int64GetDatum(stock->version),
				   BoolGetDatum(replayed),
	   };
	bool nulls[lengthof(values)] = {false};

	return call_row(fcinfo, &desc, values, nulls);
}

/* True unless it is a replay, which makes no new row of stock that was deleted since. */
static bool
receive(Stock *stock, const StockMovement *movement)
{
	if (!stock_lock(stock, movement->sku))
	{
		stock->on_hand = stock->reserved = stock->version = 0;
		if (movement_is_replay(stock->scope, movement))
			return false;
		lock_or_create(stock, movement->sku);
	}
	return move_stock(stock, movement, NULL);
}

Datum
order_engine_receive_stock(PG_FUNCTION_ARGS)
{
	StockMovement movement;
	Stock		  stock;
	RowScope	  scope;
	OwnerScope	  owner;
	bool		  moved;

	read_movement(fcinfo, "quantity", &movement);
	movement.reason = read_reason(fcinfo, REASON_RECEIPT);
	check_positive(movement.quantity);

	owner_begin(&owner);
	row_scope_begin(&scope, "receive_stock()");
	stock_open(&stock, &scope);
	moved = receive(&stock, &movement);
	row_scope_end(&scope);
	owner_end(&owner);
	return stock_answer(fcinfo, &stock, !moved);
}

Datum
order_engine_adjust_stock(PG_FUNCTION_ARGS)
{
	StockMovement movement;
	Stock		  stock;
	RowScope	  scope;
	OwnerScope	  owner;
	bool		  moved;

	read_movement(fcinfo, "delta", &movement);
	movement.reason = read_reason(fcinfo, REASON_ADJUSTMENT);
	check_delta(movement.quantity);

	owner_begin(&owner);
	row_scope_begin(&scope, "adjust_stock()");
	stock_open(&stock, &scope);
	lock_known(&stock, movement.sku);
	moved = move_stock(&stock, &movement, NULL);
	row_scope_end(&scope);
	owner_end(&owner);
	return stock_answer(fcinfo, &stock, !moved);
}

/*
 * A deduction without a ref of a row that nobody changes meanwhile: no lock is
 * taken before the row is written.  False if that did not go.
 */
static bool
deduct_unlocked(Stock *stock, const StockMovement *movement, const int64 *expected)
{
	if (movement->ref != NULL || !stock_find(stock, movement->sku) ||
		(expected && stock->version != *expected) || free_quantity(stock) < -movement->quantity ||
		!change_if_unchanged(stock, movement->quantity, 0))
		return false;
	stock_movement_insert(stock->scope, movement);
	return true;
}

Datum
order_engine_deduct_stock(PG_FUNCTION_ARGS)
{
	static TupleDesc desc; /* found once, see call_row() */
	StockMovement	 movement;
	Stock			 stock;
	RowScope		 scope;
	OwnerScope		 owner;
	int64			 version = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	const int64		*expected = PG_ARGISNULL(2) ? NULL : &version;
	Datum			 values[2];
	bool			 nulls[lengthof(values)] = {false};

	read_movement(fcinfo, "quantity", &movement);
	check_positive(movement.quantity);
	movement.reason = REASON_DEDUCT;
	movement.quantity = -movement.quantity;

	owner_begin(&owner);
	row_scope_begin(&scope, "deduct_stock()");
	stock_open(&stock, &scope);
	if (!deduct_unlocked(&stock, &movement, expected))
	{
		lock_known(&stock, movement.sku);
		(void) move_stock(&stock, &movement, expected);
	}
	row_scope_end(&scope);
	owner_end(&owner);

	values[0] = Int64GetDatum(free_quantity(&stock));
	values[1] = Int64GetDatum(stock.version);
	return call_row(fcinfo, &desc, values, nulls);
}
