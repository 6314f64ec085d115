/*
 * stock_effect.c
 *		What orders and reservations do to stock, all of their lines at once.
 *
 * Lines in mode escrow come first: they are pinned, and what they take is claimed, in the
 * order of their keys, so that whoever waits for a SKU's other buyers
 * (order_engine.escrow_wait) or for a switch of its mode holds no row for which those
 * wait.  Then the rows of all others are locked and written, in that order too, and at
 * last the changes of the first are appended.
 *
 * What shared memory has is in mode escrow, and stays so while it is pinned.  What it does
 * not have is in row mode, or is not loaded yet: its row tells.  A row that has changed its
 * mode since it was read is locked, and judged by what it is then; its pin follows, in the
 * order of a switch (row, then SKU), and that line does not wait for others.
 */
#include "postgres.h"

#include "access/xact.h"

#include "base/detail.h"
#include "base/errors.h"
#include "journal/stock_journal.h"
#include "stock/escrow.h"
#include "stock/stock.h"
#include "stock/stock_claim_internal.h"
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

/* A line on its way into the stock. */
typedef struct LineWork
{
	StockEffect effect;
	const char *sku;
	int64		quantity;
	EscrowPin  *pin;			/* NULL: in row mode */
	int64		claimed_before; /* of the SKU, by this transaction, if it has a pin */
	bool		found;			/* the row is read, and was in row mode */
	StockRow	row;			/* of a line without a pin */
	bool		unknown;
	bool		lacking;
	bool		looked_up; /* so says shared memory alone */
	int64		available; /* if it is lacking */
} LineWork;

typedef struct Work
{
	RowScope *scope;
	LineWork *lines;
	int		  nlines;
	StockRow  opened; /* whose table and place for the next version all rows share */
	bool	  is_open;
	bool	  refused; /* a line is lacking or unknown: nothing more is written */
	bool	  waited;  /* for a row's lock: rows read before may be old */
} Work;

/* ---- the lines ---- */

static void
work_begin(Work *work, RowScope *scope, int nlines)
{
	*work = (Work){.scope = scope, .lines = palloc0(nlines * sizeof(LineWork))};
}

static void
work_add(Work *work, StockEffect effect, const StockLine *line)
{
	LineWork *added = &work->lines[work->nlines++];

	Assert(work->nlines == 1 || strcmp(added[-1].sku, line->stock_key) < 0);
	added->effect = effect;
	added->sku = line->stock_key;
	added->quantity = line->quantity < 0 ? -line->quantity : line->quantity;
	Assert(added->quantity > 0);
}

static void
work_begin_all(Work *work, RowScope *scope, StockEffect effect, const StockLine *lines, int nlines)
{
	work_begin(work, scope, nlines);
	for (int i = 0; i < nlines; i++)
		work_add(work, effect, &lines[i]);
}

static int64
on_hand_of(const LineWork *line)
{
	return effects[line->effect].on_hand * line->quantity;
}

static int64
reserved_of(const LineWork *line)
{
	return effects[line->effect].reserved * line->quantity;
}

/* By how much a line changes what is free. */
static int64
freed(const LineWork *line)
{
	return on_hand_of(line) - reserved_of(line);
}

static void
set_lacking(Work *work, LineWork *line, int64 available)
{
	line->lacking = true;
	line->available = available;
	work->refused = true;
}

static void
set_unknown(Work *work, LineWork *line)
{
	line->unknown = true;
	work->refused = true;
}

/* What is refused, in the order of the keys. */
static StockShortage
work_shortage(const Work *work)
{
	StockShortage shortage = {0};

	for (int i = 0; i < work->nlines; i++)
	{
		const LineWork *line = &work->lines[i];

		if (line->unknown)
			stock_shortage_add_unknown(&shortage, line->sku);
		else if (line->looked_up)
			stock_shortage_add_looked_up(&shortage, line->sku, line->quantity, line->available);
		else if (line->lacking)
			stock_shortage_add_short(&shortage, line->sku, line->quantity, line->available);
	}
	return shortage;
}

/* ---- mode escrow ---- */

/* What is taken; others may return some between the refusal and the look at what is free. */
static void
claim_line(Work *work, LineWork *line, bool wait)
{
	line->claimed_before = escrow_claimed(line->pin);
	if (freed(line) >= 0)
		return;
	if (escrow_is_closed(line->pin))
		set_lacking(work, line, STOCK_CLOSED);
	else if (wait ? !stock_claim(line->pin, line->quantity)
				  : !escrow_claim(line->pin, line->quantity))
		set_lacking(work, line, Min(escrow_free(line->pin), line->quantity - 1));
}

/* The table of its journal is locked before any row is, as tables are. */
static void
pin_loaded(Work *work)
{
	static const ShopTable journal = SHOP_STOCK_JOURNAL;
	bool				   pinned = false;

	for (int i = 0; i < work->nlines; i++)
	{
		work->lines[i].pin = escrow_pin(work->lines[i].sku);
		pinned = pinned || work->lines[i].pin;
	}
	if (pinned)
		row_lock_tables(&journal, 1, RowExclusiveLock);
}

static void
line_open(Work *work, LineWork *line)
{
	if (line->row.table)
		return;
	if (work->is_open)
		stock_row_open_another(&line->row, &work->opened);
	else
	{
		stock_row_open(&work->opened, work->scope);
		line->row = work->opened;
		work->is_open = true;
	}
}

static void
read_line(LineWork *line)
{
	line->found = stock_row_find(&line->row, line->sku) && !line->row.escrow;
}

/* Reads the rows of what is not in shared memory, and pins those that should be. */
static void
read_rows(Work *work)
{
	for (int i = 0; i < work->nlines; i++)
	{
		LineWork *line = &work->lines[i];

		if (line->pin || line->found)
			continue;
		line_open(work, line);
		read_line(line);
		if (line->row.escrow)
			line->pin = escrow_pin_unloaded(line->sku);
	}
}

static void
pin_lines(Work *work)
{
	pin_loaded(work);
	read_rows(work);
	for (int i = 0; i < work->nlines; i++)
		if (work->lines[i].pin)
			claim_line(work, &work->lines[i], true);
}

/* Of a refusal that raises nothing, so that no savepoint has to be rolled back. */
static void
unclaim_pinned(const Work *work)
{
	for (int i = 0; i < work->nlines; i++)
		if (work->lines[i].pin)
			escrow_unclaim(work->lines[i].pin, work->lines[i].claimed_before);
}

/*
 * A user's trigger on a row of this call may have taken what was claimed for the line: then it
 * claims again, and has it or raises.
 */
static void
take_line(Work *work, LineWork *line)
{
	StockShortage shortage;

	if (!escrow_claim(line->pin, line->quantity))
	{
		set_lacking(work, line, Min(escrow_free(line->pin), line->quantity - 1));
		shortage = work_shortage(work);
		stock_shortage_raise(&shortage);
	}
	escrow_take(line->pin, line->quantity);
}

static void
change_escrow(Work *work, LineWork *line)
{
	StockChange change = {
		.sku = line->sku,
		.on_hand = on_hand_of(line),
		.reserved = reserved_of(line),
		.epoch = escrow_epoch(line->pin),
	};

	if (freed(line) < 0)
		take_line(work, line);
	else if (on_hand_of(line) > 0)
		escrow_receive(line->pin, line->quantity);
	else if (freed(line) > 0)
		escrow_return(line->pin, line->quantity);
	stock_journal_append(work->scope, &change);
}

static void
change_pinned(Work *work)
{
	for (int i = 0; i < work->nlines; i++)
		if (work->lines[i].pin)
			change_escrow(work, &work->lines[i]);
}

/* ---- row mode ---- */

static bool
row_fits(const LineWork *line)
{
	if (effects[line->effect].reserved > 0)
		return stock_row_available(&line->row) >= line->quantity;
	if (effects[line->effect].reserved < 0)
		return line->row.reserved >= line->quantity;
	return true;
}

/* What an order holds is reserved, unless somebody got round the engine. */
static void
raise_not_reserved(const LineWork *line)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_CHECK_VIOLATION),
		 errmsg("less of SKU \"%s\" is reserved than the order holds", line->sku),
		 detail_set("sku", detail_text(line->sku), "held", detail_number(line->quantity),
					"reserved", detail_number(line->row.reserved), NULL),
		 errhint("The stock row was changed behind the engine, as a restore of one table does.")));
}

/*
 * False if the row does not exist.  Goods that come back make it anew: it may have
 * been deleted since they were sold, and the refund counts all the same.
 */
static bool
lock_row(LineWork *line)
{
	if (effects[line->effect].on_hand <= 0)
		return stock_row_lock(&line->row, line->sku);
	stock_row_lock_or_create(&line->row, line->sku);
	return true;
}

/* Locks the row and judges it; true if it is in row mode and may be changed. */
static bool
judge_locked(Work *work, LineWork *line)
{
	work->waited = true;
	if (!lock_row(line))
		set_unknown(work, line);
	else if (line->row.escrow)
	{
		line->pin = stock_pin_locked(line->sku);
		claim_line(work, line, false);
	}
	else if (row_fits(line))
		return true;
	else if (effects[line->effect].reserved < 0)
		raise_not_reserved(line);
	else
		set_lacking(work, line, stock_row_available(&line->row));
	return false;
}

/* False if the row is short, unknown or changed by another: what was read may be old. */
static bool
change_unlocked(Work *work, LineWork *line)
{
	if (work->waited)
		read_line(line);
	return line->found && row_fits(line) &&
		   stock_row_change_if_unchanged(&line->row, on_hand_of(line), reserved_of(line));
}

/*
 * Applies the effects to the rows.  Once anything is refused nothing more is written, but
 * rows are locked all the same, so that what is reported was true of all of them at one
 * time.
 */
static void
change_rows(Work *work)
{
	for (int i = 0; i < work->nlines; i++)
	{
		LineWork *line = &work->lines[i];

		if (line->pin || (!work->refused && change_unlocked(work, line)))
			continue;
		if (judge_locked(work, line) && !work->refused)
			stock_row_change(&line->row, on_hand_of(line), reserved_of(line));
	}
}

static void
judge_rows(Work *work)
{
	for (int i = 0; i < work->nlines; i++)
		if (work->lines[i].pin == NULL)
			(void) judge_locked(work, &work->lines[i]);
}

/* The same, but all are locked before the first is written: it is written, or none is. */
static void
change_rows_or_none(Work *work)
{
	judge_rows(work);
	for (int i = 0; i < work->nlines && !work->refused; i++)
	{
		LineWork *line = &work->lines[i];

		if (line->pin == NULL)
			stock_row_change(&line->row, on_hand_of(line), reserved_of(line));
	}
}

/* ---- all of the lines ---- */

static void
apply(Work *work)
{
	StockShortage shortage;

	pin_lines(work);
	change_rows(work);
	shortage = work_shortage(work);
	stock_shortage_raise(&shortage);
	change_pinned(work);
}

static void
apply_all(RowScope *scope, StockEffect effect, const StockLine *lines, int nlines)
{
	Work work;

	work_begin_all(&work, scope, effect, lines, nlines);
	apply(&work);
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

void
stock_apply(RowScope *scope, StockEffect effect, const StockLine *lines, int nlines,
			const char *ref, const char *actor)
{
	if (effect == STOCK_NONE || nlines == 0)
		return;
	apply_all(scope, effect, lines, nlines);
	insert_movements(scope, effect, effects[effect].reason, lines, nlines, ref, actor);
}

void
stock_confirm_reservation(RowScope *scope, const StockLine *lines, int nlines, const char *ref,
						  const char *actor)
{
	if (nlines == 0)
		return;
	apply_all(scope, STOCK_CONFIRM, lines, nlines);
	insert_movements(scope, STOCK_CONFIRM, STOCK_REASON_RESERVATION, lines, nlines, ref, actor);
}

void
stock_hold(RowScope *scope, const StockLine *lines, int nlines)
{
	Work work;

	if (nlines == 0)
		return;
	work_begin(&work, scope, nlines);
	for (int i = 0; i < nlines; i++)
		work_add(&work, lines[i].quantity > 0 ? STOCK_RESERVE : STOCK_RELEASE, &lines[i]);
	apply(&work);
}

void
stock_pin(RowScope *scope, const StockLine *lines, int nlines)
{
	Work work;

	work_begin_all(&work, scope, STOCK_NONE, lines, nlines);
	pin_loaded(&work);
	read_rows(&work);
}

/* ---- asking first ---- */

bool
stock_look(const StockLine *lines, int nlines, StockShortage *shortage)
{
	int64 available;

	*shortage = (StockShortage){0};
	for (int i = 0; i < nlines && !stock_claim_waits(); i++)
		if (escrow_look(lines[i].stock_key, &available) && available < lines[i].quantity)
			stock_shortage_add_looked_up(shortage, lines[i].stock_key, lines[i].quantity,
										 available);
	return stock_shortage_is_none(shortage);
}

/* Judges a line by shared memory, or by what the snapshot sees. */
static void
look_at_line(Work *work, LineWork *line)
{
	int64 available;

	if (escrow_look(line->sku, &available))
	{
		line->looked_up = available < line->quantity && !stock_claim_waits();
		if (line->looked_up)
			set_lacking(work, line, available);
		return;
	}
	line_open(work, line);
	read_line(line);
	if (line->found && !row_fits(line))
		set_lacking(work, line, stock_row_available(&line->row));
	else if (!line->found && !line->row.escrow)
		set_unknown(work, line);
}

/* What one old snapshot sees is a matter of the lock: it raises 40001. */
static void
look_at_lines(Work *work)
{
	for (int i = 0; i < work->nlines && !IsolationUsesXactSnapshot(); i++)
		look_at_line(work, &work->lines[i]);
}

static int
count_rows(const Work *work)
{
	int n = 0;

	for (int i = 0; i < work->nlines; i++)
		n += work->lines[i].pin == NULL;
	return n;
}

/*
 * Nothing undoes what is written.  So what can fail comes before: the one row that is judged and
 * written at once comes after all else.
 */
static void
try(Work *work)
{
	pin_lines(work);
	if (count_rows(work) > 1)
		change_rows_or_none(work);
	else
		change_rows(work);
	if (work->refused)
		unclaim_pinned(work);
	else
		change_pinned(work);
}

bool
stock_try(RowScope *scope, const StockLine *lines, int nlines, StockShortage *shortage)
{
	Work work;

	work_begin_all(&work, scope, STOCK_RESERVE, lines, nlines);
	look_at_lines(&work);
	if (!work.refused)
		try(&work);
	*shortage = work_shortage(&work);
	stock_shortage_count(shortage);
	return !work.refused;
}

bool
stock_suffices(RowScope *scope, StockEffect effect, const StockLine *lines, int nlines)
{
	Work work;

	if (effects[effect].reserved <= 0)
		return true;
	work_begin_all(&work, scope, effect, lines, nlines);
	pin_lines(&work);
	if (!work.refused)
		judge_rows(&work);
	if (work.refused)
		unclaim_pinned(&work);
	return !work.refused;
}
