/*
 * stock_shortage.c
 *		What is short and what is unknown, line by line.
 *
 * Being sold out is no fault of anybody's, and in a sale the most frequent answer: it
 * goes to the client, and only with order_engine.log_refusals to the server log.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "base/detail.h"
#include "base/errors.h"
#include "stock/escrow.h"
#include "stock/stock_shortage_internal.h"

static emit_log_hook_type next_emit_log_hook;

static bool log_refusals; /* the setting, which PostgreSQL sets and resets */

void
stock_shortage_add_short(StockShortage *shortage, const char *sku, int64 requested, int64 available)
{
	bool  closed = available == STOCK_CLOSED;
	char *line = detail_object("sku", detail_text(sku), "requested", detail_number(requested),
							   "available", detail_number(closed ? 0 : available), "closed",
							   closed ? "true" : NULL, NULL);

	shortage->short_lines = lappend(shortage->short_lines, line);
}

void
stock_shortage_add_looked_up(StockShortage *shortage, const char *sku, int64 requested,
							 int64 available)
{
	stock_shortage_add_short(shortage, sku, requested, available);
	shortage->looked_up = lappend(shortage->looked_up, unconstify(char *, sku));
}

void
stock_shortage_add_unknown(StockShortage *shortage, const char *sku)
{
	shortage->unknown = lappend(shortage->unknown, unconstify(char *, sku));
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

void
stock_shortage_count(const StockShortage *shortage)
{
	ListCell *lc;

	foreach(lc, shortage->looked_up)
		escrow_count_refusal(lfirst(lc));
}

void
stock_shortage_raise(const StockShortage *shortage)
{
	stock_shortage_count(shortage);
	if (shortage->unknown)
		raise_unknown(shortage->unknown, shortage->short_lines);
	if (shortage->short_lines)
		raise_short(shortage->short_lines);
}

/* ---- the server log ---- */

/* A user's function may raise the same SQLSTATE: that is his to log. */
static bool
is_refusal(const ErrorData *error)
{
	const char *file = strrchr(__FILE__, '/');

	return error->elevel == ERROR && error->sqlerrcode == ERRCODE_OE_INSUFFICIENT_STOCK &&
		   error->filename && strcmp(error->filename, file ? file + 1 : __FILE__) == 0;
}

static void
emit_log(ErrorData *error)
{
	if (!log_refusals && is_refusal(error))
		error->output_to_server = false;
	if (next_emit_log_hook)
		next_emit_log_hook(error);
}

void
stock_shortage_init(void)
{
	DefineCustomBoolVariable("order_engine.log_refusals",
							 "Writes refusals for insufficient stock to the server log.", NULL,
							 &log_refusals, false, PGC_SUSET, 0, NULL, NULL, NULL);
	next_emit_log_hook = emit_log_hook;
	emit_log_hook = emit_log;
}
