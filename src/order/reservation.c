/*
 * reservation.c
 *		try_reserve() and what becomes of the hold: confirmed, cancelled, ordered.
 *
 * Each phase may be called again and answers as before.  What decides is the state of
 * the row, under its lock, and never the clock: who is late but before the keeper still
 * has his hold.
 *
 * try_reserve() takes the stock first and then makes the row, so that being short writes
 * nothing.  Where another has made the row meanwhile the stock goes back.  For the order
 * of the locks see reservation_row.h.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "base/call.h"
#include "base/compat.h"
#include "base/context.h"
#include "base/detail.h"
#include "base/errors.h"
#include "order/due_wait.h"
#include "order/line.h"
#include "order/order_row.h"
#include "order/reservation.h"
#include "order/reservation_row.h"
#include "shop/owner.h"

PG_FUNCTION_INFO_V1(order_engine_try_reserve);
PG_FUNCTION_INFO_V1(order_engine_confirm_reservation);
PG_FUNCTION_INFO_V1(order_engine_cancel_reservation);
PG_FUNCTION_INFO_V1(order_engine_extend_reservation);

/* One call; its scope, while it runs. */
typedef struct Call
{
	Reservation	  reservation;
	ActionContext context;
	RowScope	  scope;
	OwnerScope	  owner;
} Call;

/* ---- errors ---- */

static char *
reservation_detail(const Reservation *reservation, const List *short_lines)
{
	return detail_object("reservation_id", detail_text(reservation->key.reservation_id), "state",
						 detail_text(reservation_state(reservation->state)), "order_id",
						 reservation->order_id ? detail_id(reservation->order_id) : NULL, "short",
						 short_lines ? detail_array(short_lines) : NULL, NULL);
}

pg_noreturn static void
raise_expired(const Reservation *reservation, const List *short_lines)
{
	ereport(ERROR, (errcode(ERRCODE_OE_RESERVATION_EXPIRED),
					errmsg("reservation \"%s\" has expired", reservation->key.reservation_id),
					errdetail_internal("%s", reservation_detail(reservation, short_lines)),
					errhint("Its stock is free again: reserve once more, under a new id.")));
}

pg_noreturn static void
raise_resolved(const Reservation *reservation)
{
	ereport(ERROR, (errcode(ERRCODE_OE_RESERVATION_RESOLVED),
					errmsg("reservation \"%s\" has been %s", reservation->key.reservation_id,
						   reservation_state(reservation->state)),
					errdetail_internal("%s", reservation_detail(reservation, NIL)),
					errhint("What has been decided stays; a new reservation needs a new id.")));
}

pg_noreturn static void
raise_dangling(const Reservation *reservation)
{
	ereport(ERROR, (errcode(ERRCODE_OE_RESERVATION_DANGLING),
					errmsg("reservation \"%s\" was cancelled before it was made",
						   reservation->key.reservation_id),
					errdetail_internal("%s", reservation_detail(reservation, NIL)),
					errhint("The call comes too late; a new reservation needs a new id.")));
}

pg_noreturn static void
raise_not_found(const ReservationKey *key)
{
	ereport(ERROR,
			(errcode(ERRCODE_OE_RESERVATION_NOT_FOUND),
			 errmsg("no reservation \"%s\"", key->reservation_id),
			 detail_set("reservation_id", detail_text(key->reservation_id), "user_id",
						key->has_user ? detail_id(key->user_id) : NULL, NULL),
			 errhint("Give the user_id that try_reserve() was given.  What was resolved is removed "
					 "after order_engine.reservation_retention.")));
}

pg_noreturn static void
raise_mismatch(const Reservation *reservation)
{
	ereport(ERROR,
			(errcode(ERRCODE_OE_IDEMPOTENCY_KEY_MISMATCH),
			 errmsg("reservation \"%s\" is for other lines", reservation->key.reservation_id),
			 detail_set("key", detail_text(reservation->key.reservation_id), "first_seen",
						detail_time(reservation->created_at), NULL),
			 errhint("A retry must repeat its first call; a new reservation needs a new id.")));
}

/* Of what is not held any more. */
pg_noreturn static void
raise_state(const Reservation *reservation)
{
	if (reservation->state == HOLD_EXPIRED)
		raise_expired(reservation, NIL);
	raise_resolved(reservation);
}

/* ---- what the calls share ---- */

/* Argument 0 is the id; `user_id` and `context` say which are those. */
static void
read_call(FunctionCallInfo fcinfo, Call *call, int user_id, int context)
{
	ReservationKey *key = &call->reservation.key;

	call_require(fcinfo, 0, "reservation_id");
	key->reservation_id = call_text(fcinfo, 0);
	call_check_name(key->reservation_id, "reservation_id");
	key->has_user = !PG_ARGISNULL(user_id);
	key->user_id = key->has_user ? PG_GETARG_INT64(user_id) : 0;
	context_parse(call_jsonb(fcinfo, context), &call->context);
}

static void
begin(Call *call, const char *name)
{
	ReservationKey key = call->reservation.key;

	owner_begin(&call->owner);
	row_scope_begin(&call->scope, name);
	reservation_lock_tables();
	reservation_open(&call->reservation, &call->scope, &key);
}

static void
end(Call *call)
{
	row_scope_end(&call->scope);
	owner_end(&call->owner);
}

static void
read_lines(Jsonb *json, HoldLines *lines)
{
	OrderLines parsed;

	line_parse(json, &parsed);
	*lines = (HoldLines){parsed.nkeys, parsed.keys};
}

static Interval *
read_ttl(FunctionCallInfo fcinfo, int n)
{
	static const Interval none = {0};
	static const Interval longest = {.month = MONTHS_PER_YEAR};
	Interval			 *ttl;

	call_require(fcinfo, n, "ttl");
	ttl = PG_GETARG_INTERVAL_P(n);
	if (DatumGetInt32(DirectFunctionCall2(interval_cmp, IntervalPGetDatum(ttl),
										  IntervalPGetDatum(unconstify(Interval *, &none)))) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"ttl\" must be positive")));
	if (DatumGetInt32(DirectFunctionCall2(interval_cmp, IntervalPGetDatum(ttl),
										  IntervalPGetDatum(unconstify(Interval *, &longest)))) > 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"ttl\" must be at most a year")));
	return ttl;
}

static TimestampTz
expiry(TimestampTz now, const Interval *ttl)
{
	return DatumGetTimestampTz(order_row_due_at(now, ttl));
}

/* (state, replayed) */
static Datum
state_answer(FunctionCallInfo fcinfo, TupleDesc *shape, HoldState state, bool replayed)
{
	Datum values[] = {CStringGetTextDatum(reservation_state(state)), BoolGetDatum(replayed)};
	bool  nulls[lengthof(values)] = {false};

	return call_row(fcinfo, shape, values, nulls);
}

static void
lock_known(Call *call)
{
	if (!reservation_lock(&call->reservation))
		raise_not_found(&call->reservation.key);
}

/* ---- try_reserve() ---- */

typedef struct Answer
{
	const char *status;
	TimestampTz expires_at; /* 0: none */
	bool		replayed;
	List	   *short_lines;
} Answer;

static int64
requested(const HoldLines *lines, const char *sku)
{
	for (int i = 0; i < lines->n; i++)
		if (strcmp(lines->lines[i].stock_key, sku) == 0)
			return lines->lines[i].quantity;
	return 0;
}

static void
answer_short(Answer *answer, const HoldLines *lines, const StockShortage *shortage)
{
	ListCell *lc;

	answer->status = shortage->unknown ? "unknown_sku" : "sold_out";
	foreach(lc, shortage->unknown)
	{
		char *line =
			detail_object("sku", detail_text(lfirst(lc)), "requested",
						  detail_number(requested(lines, lfirst(lc))), "available", "null", NULL);

		answer->short_lines = lappend(answer->short_lines, line);
	}
	answer->short_lines = list_concat(answer->short_lines, shortage->short_lines);
}

/* True if this reservation has been made before: then it is held still, for these lines. */
static bool
find_replay(Reservation *reservation, const HoldLines *lines, Answer *answer)
{
	if (!reservation_find(reservation))
		return false;
	if (!reservation->was_held)
		raise_dangling(reservation);
	if (!reservation_same_lines(&reservation->lines, lines))
		raise_mismatch(reservation);
	if (reservation->state != HOLD_HELD)
		raise_state(reservation);
	answer->status = "reserved";
	answer->expires_at = reservation->expires_at;
	answer->replayed = true;
	return true;
}

static bool
insert_held(Call *call, const HoldLines *lines, const Interval *ttl)
{
	Reservation *reservation = &call->reservation;

	reservation->state = HOLD_HELD;
	reservation->was_held = true;
	reservation->lines = *lines;
	reservation->created_at = GetCurrentTimestamp();
	reservation->expires_at = expiry(reservation->created_at, ttl);
	return reservation_insert(reservation, call->context.actor);
}

/*
 * False if another transaction has made this reservation since the snapshot, or
 * cancelled it: the caller looks for it again.  It may also be the one that has taken
 * what is short, and gives it back if it is undone.
 */
static bool
reserve(Call *call, const HoldLines *lines, const Interval *ttl, Answer *answer)
{
	StockShortage shortage = {0};

	if (lines->n > 0 && !stock_try(&call->scope, lines->lines, lines->n, &shortage))
	{
		if (reservation_is_taken(&call->reservation))
		{
			row_check_conflict("Another transaction has made or cancelled this reservation.");
			return false;
		}
		answer_short(answer, lines, &shortage);
		return true;
	}
	if (!insert_held(call, lines, ttl))
	{
		row_scope_refresh(&call->scope);
		stock_apply(&call->scope, STOCK_RELEASE, lines->lines, lines->n, NULL, call->context.actor);
		return false;
	}
	answer->status = "reserved";
	answer->expires_at = call->reservation.expires_at;
	return true;
}

Datum
order_engine_try_reserve(PG_FUNCTION_ARGS)
{
	static TupleDesc shape; /* of call_row() */
	Call			 call;
	HoldLines		 lines;
	Interval		*ttl;
	Answer			 answer = {0};
	Datum			 values[4];
	bool			 nulls[lengthof(values)] = {false};

	read_call(fcinfo, &call, 3, 4);
	call_require(fcinfo, 1, "lines");
	read_lines(PG_GETARG_JSONB_P(1), &lines);
	ttl = read_ttl(fcinfo, 2);

	if (due_wait_wanted())
		due_wait(lines.lines, lines.n);
	begin(&call, "try_reserve()");
	while (!find_replay(&call.reservation, &lines, &answer) &&
		   !reserve(&call, &lines, ttl, &answer))
		row_scope_refresh(&call.scope);
	end(&call);

	values[0] = CStringGetTextDatum(answer.status);
	call_set_time(&values[1], &nulls[1], answer.expires_at);
	values[2] = BoolGetDatum(answer.replayed);
	nulls[3] = answer.short_lines == NIL;
	if (!nulls[3])
		values[3] =
			DirectFunctionCall1(jsonb_in, CStringGetDatum(detail_array(answer.short_lines)));
	return call_row(fcinfo, &shape, values, nulls);
}

/* ---- confirm_reservation() ---- */

/* 22023 unless it holds what is to be confirmed. */
static void
check_held(const Reservation *reservation, const HoldLines *lines)
{
	for (int i = 0; i < lines->n; i++)
	{
		const StockLine *line = &lines->lines[i];
		int64			 held = requested(&reservation->lines, line->stock_key);

		if (line->quantity > held)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("reservation \"%s\" holds less of SKU \"%s\"",
							reservation->key.reservation_id, line->stock_key),
					 detail_set("sku", detail_text(line->stock_key), "requested",
								detail_number(line->quantity), "held", detail_number(held), NULL),
					 errhint("Confirm what is held, or a part of it.")));
	}
}

/* Key by key, since some of one key may be confirmed and some of it released. */
static void
confirm_lines(Call *call)
{
	const Reservation *reservation = &call->reservation;
	char			  *ref = psprintf(INT64_FORMAT, reservation->id);

	if (reservation->lines.n > 1)
		stock_pin(&call->scope, reservation->lines.lines, reservation->lines.n);
	for (int i = 0; i < reservation->lines.n; i++)
	{
		const StockLine *held = &reservation->lines.lines[i];
		StockLine kept = {held->stock_key, requested(&reservation->confirmed, held->stock_key)};
		StockLine rest = {held->stock_key, held->quantity - kept.quantity};

		if (kept.quantity > 0)
		{
			stock_confirm_reservation(&call->scope, &kept, 1, ref, call->context.actor);
			row_scope_refresh(&call->scope);
		}
		if (rest.quantity > 0)
		{
			stock_apply(&call->scope, STOCK_RELEASE, &rest, 1, NULL, call->context.actor);
			row_scope_refresh(&call->scope);
		}
	}
}

/* What was released when it expired is taken again, if it is there: only what is confirmed. */
static void
retake(Call *call)
{
	Reservation	 *reservation = &call->reservation;
	StockShortage shortage = {0};
	Answer		  answer = {0};

	if (!stock_try(&call->scope, reservation->confirmed.lines, reservation->confirmed.n, &shortage))
	{
		answer_short(&answer, &reservation->confirmed, &shortage);
		raise_expired(reservation, answer.short_lines);
	}
	reservation->lines = reservation->confirmed;
	row_scope_refresh(&call->scope);
}

/* `lines` NULL: all that is held.  True if it was confirmed before. */
static bool
confirm(Call *call, const HoldLines *lines)
{
	Reservation *reservation = &call->reservation;

	lock_known(call);
	if (reservation->state == HOLD_CONFIRMED)
	{
		if (!reservation_same_lines(lines ? lines : &reservation->lines, &reservation->confirmed))
			raise_mismatch(reservation);
		return true;
	}
	if (reservation->state != HOLD_HELD && reservation->state != HOLD_EXPIRED)
		raise_resolved(reservation);
	if (lines)
		check_held(reservation, lines);
	reservation->confirmed = lines ? *lines : reservation->lines;
	if (reservation->state == HOLD_EXPIRED)
		retake(call);
	confirm_lines(call);
	reservation_resolve(reservation, HOLD_CONFIRMED, call->context.actor);
	return false;
}

Datum
order_engine_confirm_reservation(PG_FUNCTION_ARGS)
{
	static TupleDesc shape; /* of call_row() */
	Call			 call;
	Jsonb			*json = call_jsonb(fcinfo, 1);
	HoldLines		 lines;
	bool			 replayed;

	read_call(fcinfo, &call, 2, 3);
	if (json)
		read_lines(json, &lines);

	begin(&call, "confirm_reservation()");
	replayed = confirm(&call, json ? &lines : NULL);
	end(&call);
	return state_answer(fcinfo, &shape, HOLD_CONFIRMED, replayed);
}

/* ---- cancel_reservation() ---- */

/* Where there is none yet: a try that comes later must not hold what nobody will release. */
static bool
insert_cancelled(Call *call)
{
	Reservation *reservation = &call->reservation;

	reservation->state = HOLD_CANCELLED;
	reservation->was_held = false;
	reservation->created_at = GetCurrentTimestamp();
	return reservation_insert(reservation, call->context.actor);
}

/* True if it was cancelled before. */
static bool
cancel(Call *call)
{
	Reservation *reservation = &call->reservation;

	while (!reservation_lock(reservation))
	{
		if (insert_cancelled(call))
			return false;
		row_scope_refresh(&call->scope);
	}
	if (reservation->state == HOLD_CANCELLED)
		return true;
	if (reservation->state != HOLD_HELD && reservation->state != HOLD_EXPIRED)
		raise_resolved(reservation);
	if (reservation->state == HOLD_HELD)
		stock_apply(&call->scope, STOCK_RELEASE, reservation->lines.lines, reservation->lines.n,
					NULL, call->context.actor);
	reservation_resolve(reservation, HOLD_CANCELLED, call->context.actor);
	return false;
}

Datum
order_engine_cancel_reservation(PG_FUNCTION_ARGS)
{
	static TupleDesc shape; /* of call_row() */
	Call			 call;
	bool			 replayed;

	read_call(fcinfo, &call, 1, 2);
	begin(&call, "cancel_reservation()");
	replayed = cancel(&call);
	end(&call);
	return state_answer(fcinfo, &shape, HOLD_CANCELLED, replayed);
}

/* ---- extend_reservation() ---- */

Datum
order_engine_extend_reservation(PG_FUNCTION_ARGS)
{
	Call		call;
	Interval   *ttl;
	TimestampTz expires_at;

	read_call(fcinfo, &call, 2, 3);
	ttl = read_ttl(fcinfo, 1);
	begin(&call, "extend_reservation()");
	lock_known(&call);
	if (call.reservation.state != HOLD_HELD)
		raise_state(&call.reservation);
	expires_at = Max(call.reservation.expires_at, expiry(GetCurrentTimestamp(), ttl));
	reservation_set_expiry(&call.reservation, expires_at, call.context.actor);
	end(&call);
	PG_RETURN_TIMESTAMPTZ(expires_at);
}

/* ---- create_order() takes it over ---- */

/* The user's own, else one that was made for nobody yet: a guest's. */
static void
lock_for_order(Reservation *reservation, RowScope *scope, const char *reservation_id, int64 user_id)
{
	ReservationKey own = {.reservation_id = reservation_id, .has_user = true, .user_id = user_id};
	ReservationKey nobodys = {.reservation_id = reservation_id};

	reservation_open(reservation, scope, &own);
	if (reservation_lock(reservation))
		return;
	reservation_open(reservation, scope, &nobodys);
	if (!reservation_lock(reservation))
		raise_not_found(&own);
}

/* What the order wants of each key beyond what is held of it; negative where that is more. */
static HoldLines
lines_beyond(const StockLine *wanted, int nwanted, const HoldLines *held)
{
	HoldLines beyond = {0, palloc(sizeof(StockLine) * (nwanted + held->n + 1))};

	for (int w = 0, h = 0; w < nwanted || h < held->n;)
	{
		int		  order = w == nwanted	 ? 1
						  : h == held->n ? -1
										 : strcmp(wanted[w].stock_key, held->lines[h].stock_key);
		StockLine line = {order <= 0 ? wanted[w].stock_key : held->lines[h].stock_key, 0};

		if (order <= 0)
			line.quantity += wanted[w++].quantity;
		if (order >= 0)
			line.quantity -= held->lines[h++].quantity;
		if (line.quantity != 0)
			beyond.lines[beyond.n++] = line;
	}
	return beyond;
}

void
reservation_take_over(RowScope *scope, const char *reservation_id, int64 user_id, int64 order_id,
					  const StockLine *lines, int nlines, const char *actor)
{
	Reservation reservation;
	HoldLines	beyond;

	lock_for_order(&reservation, scope, reservation_id, user_id);
	if (reservation.state != HOLD_HELD)
		raise_state(&reservation);
	beyond = lines_beyond(lines, nlines, &reservation.lines);
	stock_hold(scope, beyond.lines, beyond.n);
	reservation.order_id = order_id;
	reservation_resolve(&reservation, HOLD_ORDERED, actor);
}
