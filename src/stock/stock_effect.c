/*
 * stock_effect.c
 *		What orders and reservations do to stock, all of their lines at once.
 */
#include "postgres.h"

#include "access/xact.h"

#include "base/detail.h"
#include "base/errors.h"
#include "stock/stock.h"
#include "stock/stock_movement_internal.h"
#include "stock/stock_row_internal.h"
#include "stock/stock_shortage_internal.h"

/* What one unit of an order's line does to a row. */
static const struct
{
	int			on_hand;
	int			reserved;
	const char *reason; /* of its movement, NULL: writes none */
} effects[] = {
	[STOCK_NONE] = {0, 0, NULL},
	[STOCK_RESERVE] = {0, +1, NULL},
	[STOCK_CONFIRM] = {-1, -1, STOCK_REASON_CONFIRM},
	[STOCK_RELEASE] = {0, -1, NULL},
	[STOCK_RESTOCK] = {+1, 0, STOCK_REASON_RESTOCK},
};

static bool
effect_fits(const StockRow *stock, StockEffect effect, int64 quantity)
{
	if (effects[effect].reserved > 0)
		return stock_row_available(stock) >= quantity;
	if (effects[effect].reserved < 0)
		return stock->reserved >= quantity;
	return true;
}

/* What an order holds is reserved, unless somebody got round the engine. */
static void
raise_not_reserved(const StockRow *stock, int64 quantity)
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
report_misfit(StockShortage *report, const StockRow *stock, StockEffect effect, int64 quantity)
{
	if (effects[effect].reserved < 0)
		raise_not_reserved(stock, quantity);
	stock_shortage_add_short(report, stock->sku, quantity, stock_row_available(stock));
}

/*
 * False if the row does not exist.  Goods that come back make it anew: it may have
 * been deleted since they were sold, and the refund counts all the same.
 */
static bool
lock_for_effect(StockRow *stock, StockEffect effect, const char *sku)
{
	if (effects[effect].on_hand <= 0)
		return stock_row_lock(stock, sku);
	stock_row_lock_or_create(stock, sku);
	return true;
}

/*
 * Applies the effect to one row, or says in the report why not.  Once anything
 * is reported nothing more is written, but rows are locked all the same, so
 * that what is reported was true of all of them at one time.
 */
static void
apply_line(StockRow *stock, StockEffect effect, const StockLine *line, StockShortage *report)
{
	int64 on_hand = effects[effect].on_hand * line->quantity;
	int64 reserved = effects[effect].reserved * line->quantity;

	if (stock_shortage_is_none(report) && stock_row_find(stock, line->stock_key) &&
		effect_fits(stock, effect, line->quantity) &&
		stock_row_change_if_unchanged(stock, on_hand, reserved))
		return;

	/* short, unknown or changed by another: what the snapshot says may be old */
	if (!lock_for_effect(stock, effect, line->stock_key))
		stock_shortage_add_unknown(report, line->stock_key);
	else if (!effect_fits(stock, effect, line->quantity))
		report_misfit(report, stock, effect, line->quantity);
	else if (stock_shortage_is_none(report))
		stock_row_change(stock, on_hand, reserved);
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
	StockRow	  stock;
	StockShortage report = {0};

	stock_row_open(&stock, scope);
	for (int i = 0; i < nlines; i++)
	{
		Assert(lines[i].quantity > 0);
		Assert(i == 0 || strcmp(lines[i - 1].stock_key, lines[i].stock_key) < 0);
		apply_line(&stock, effect, &lines[i], &report);
	}
	stock_shortage_raise(&report);
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
	insert_movements(scope, STOCK_CONFIRM, STOCK_REASON_RESERVATION, lines, nlines, ref, actor);
}

void
stock_hold(RowScope *scope, const StockLine *lines, int nlines)
{
	StockRow	  stock;
	StockShortage report = {0};

	if (nlines == 0)
		return;
	stock_row_open(&stock, scope);
	for (int i = 0; i < nlines; i++)
	{
		StockLine line = {lines[i].stock_key, Abs(lines[i].quantity)};

		apply_line(&stock, lines[i].quantity > 0 ? STOCK_RESERVE : STOCK_RELEASE, &line, &report);
	}
	stock_shortage_raise(&report);
}

/*
 * True if all of it is there, by the snapshot or, `locked`, now and until the
 * transaction ends.
 */
static bool
judge_lines(StockRow *stock, const StockLine *lines, int nlines, bool locked,
			StockShortage *shortage)
{
	*shortage = (StockShortage){0};
	for (int i = 0; i < nlines; i++)
	{
		const StockLine *line = &lines[i];

		if (!(locked ? stock_row_lock(stock, line->stock_key)
					 : stock_row_find(stock, line->stock_key)))
			stock_shortage_add_unknown(shortage, line->stock_key);
		else if (!effect_fits(stock, STOCK_RESERVE, line->quantity))
			report_misfit(shortage, stock, STOCK_RESERVE, line->quantity);
	}
	return stock_shortage_is_none(shortage);
}

/*
 * Rows are locked before the first is written, since nothing undoes what is written.
 * What an old snapshot says is short is a matter of the lock: it raises 40001.
 */
bool
stock_try(RowScope *scope, const StockLine *lines, int nlines, StockShortage *shortage)
{
	StockRow stock;

	stock_row_open(&stock, scope);
	if (!judge_lines(&stock, lines, nlines, false, shortage) && !IsolationUsesXactSnapshot())
		return false;
	if (nlines == 1)
	{
		*shortage = (StockShortage){0};
		apply_line(&stock, STOCK_RESERVE, lines, shortage);
		return stock_shortage_is_none(shortage);
	}
	if (!judge_lines(&stock, lines, nlines, true, shortage))
		return false;
	apply(scope, STOCK_RESERVE, lines, nlines);
	return true;
}

bool
stock_suffices(RowScope *scope, StockEffect effect, const StockLine *lines, int nlines)
{
	StockRow stock;

	if (effects[effect].reserved <= 0)
		return true;
	stock_row_open(&stock, scope);
	for (int i = 0; i < nlines; i++)
		if (!stock_row_lock(&stock, lines[i].stock_key) ||
			!effect_fits(&stock, effect, lines[i].quantity))
			return false;
	return true;
}
