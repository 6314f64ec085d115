/*
 * keeper.c
 *		Fires the events of orders that are due, releases reservations that are, folds stock,
 *		and keeps the journals short.
 *
 * In small transactions: those of the worker, or of CALL tend() where there is none.  Of
 * journals it takes locks that are free only, and of stock rows at a fold: so nobody keeps
 * orders from expiring but who holds them, or the stock that they need.
 *
 * A batch locks its orders without ever waiting (whoever holds one, a payment
 * say, decides about it), and takes the stock of all of them afterwards, in
 * the order of the stock keys: so it cannot deadlock with create_order(),
 * pay_order() or another batch.  Reservations are no different, and have batches of their own.
 *
 * Shared memory: in each database's slot a Note of its keeper, who alone writes and
 * reads it: what a guard or a trigger does that ends the process (exit_on_error
 * makes any error do that) must not end the next one, too.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/call.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/database_slot.h"
#include "base/statement.h"
#include "journal/journal.h"
#include "journal/outbox.h"
#include "order/order.h"
#include "order/reservation.h"
#include "order/reservation_row.h"
#include "shop/owner.h"
#include "stock/escrow.h"
#include "stock/stock_auto.h"
#include "worker/keeper.h"
#include "worker/keeper_status_internal.h"
#include "worker/reconcile.h"
#include "worker/worker.h"

#define TEND_MS 1000
#define IDLE_MS 500
#define ROTATE_MS 5000
#define SWITCH_MS 1000
#define SWITCH_AT_ONCE_MS 100
#define FOLD_RETRY_MS 5000
#define PURGE_MS 1000
#define PURGE_RETRY_MS 5000
#define PURGE_SIZE 1000
#define PURGE_BATCHES 10
#define BATCH_SIZE 250
#define SEARCH_SIZE 10000
#define FIRST_RETRY_MS 5000
#define LAST_RETRY_MS (3600 * 1000)
#define LAST_STOCK_RETRY_MS (60 * 1000)

/* Who holds a stock row for longer must not stop the others' orders and stock with it. */
#define LOCK_TIMEOUT_OF_BATCH "1s"

typedef enum DueKind
{
	DUE_ORDERS,
	DUE_RESERVATIONS,
	DUE_KINDS
} DueKind;

/* An order; or a reservation, whose id is none of an order. */
typedef struct DueOrder
{
	int64		order_id;
	TimestampTz due_at;
} DueOrder;

/* One walk through all of a kind that is due at its beginning, oldest first. */
typedef struct KeeperPass
{
	DueKind		  kind;
	MemoryContext context;	/* outlives transactions */
	bool		  commits;	/* each step is a transaction of its own */
	bool		  worker;	/* nobody cancels it, and it waits for no lock for long */
	int64		  number;	/* of passes so far */
	HTAB		 *resting;	/* orders to pass over, and when to look at them again */
	HTAB		 *stuck;	/* stock keys whose rows others hold for long; of all kinds */
	const char	 *applying; /* the stock key that is being changed; NULL: none */
	TimestampTz	  now;		/* what is due by then */
	int64		  began_at; /* of clock_ms() */
	DueOrder	 *due;		/* found, not locked; [ndue] */
	int			  ndue;
	int			  next;
	int			  alone;	/* so many of them go one by one, their batch has failed */
	DueOrder	  last;		/* where the search goes on */
	bool		  complete; /* nothing is left to find */
} KeeperPass;

#define MAX_CULPRITS 64

/* What one keeper tells the next. */
typedef struct Note
{
	int		 nfiring; /* so many are being fired; 0: none */
	DueKind	 kind;	  /* of these */
	DueOrder firing;  /* the one, if it is one */
	int		 nculprits;
	DueOrder culprits[MAX_CULPRITS]; /* ended a keeper; the last ones, in a ring */
} Note;

static Size	 note_part;
static Note *note; /* of this database, in its keeper */

/* An order that is passed over for a while, unless it gets another due time. */
typedef struct Rest
{
	int64		order_id; /* hash key */
	TimestampTz due_at;
	int64		again_at; /* of clock_ms() */
	int64		met_in;	  /* the last pass that found it due */
	int			delay_ms;
} Rest;

/* A stock key whose row was waited for in vain: orders that need it rest together. */
typedef struct StuckStock
{
	char  key[CALL_MAX_NAME_LENGTH + 1]; /* hash key */
	int64 again_at;						 /* of clock_ms() */
	int	  delay_ms;
	bool  told; /* keeper_status says so */
} StuckStock;

/* When the worker does what is not to be done at each turn; by clock_ms(). */
typedef struct Duties
{
	int64 fold_at;
	int64 rotate_at;
	int64 purge_at;
	int64 switch_at;
	bool  switching; /* some of what was found is to be switched yet */
} Duties;

/* The stock effect of one order, or reservation, for one stock key. */
typedef struct StockWork
{
	StockEffect effect;
	StockLine	line;
	const char *ref; /* NULL where the effect leaves no movement */
} StockWork;

typedef struct StockWorks
{
	int		   n;
	int		   size;
	StockWork *works;
} StockWorks;

COMPAT_WORKER_MAIN(keeper_main);

PG_FUNCTION_INFO_V1(order_engine_tend);

/* ---- finding ---- */

/*
 * `parent` outlives the transactions of the pass.  `commits`: the caller commits
 * after each step, so the step checks deferred constraints itself.
 */
static void
pass_init(KeeperPass *pass, DueKind kind, MemoryContext parent, bool commits, HTAB *stuck)
{
	HASHCTL ctl = {.keysize = sizeof(int64), .entrysize = sizeof(Rest)};

	memset(pass, 0, sizeof(*pass));
	pass->kind = kind;
	pass->commits = commits;
	pass->stuck = stuck;
	pass->context = AllocSetContextCreate(parent, "order_engine keeper", ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = pass->context;
	pass->resting =
		hash_create("order_engine resting", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	pass->due = MemoryContextAlloc(pass->context, sizeof(DueOrder) * SEARCH_SIZE);
}

/* One of each kind; [DUE_KINDS]. */
static void
passes_init(KeeperPass *passes, MemoryContext parent, bool commits)
{
	HASHCTL ctl = {
		.keysize = CALL_MAX_NAME_LENGTH + 1, .entrysize = sizeof(StuckStock), .hcxt = parent};
	HTAB *stuck =
		hash_create("order_engine stuck stock", 16, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);

	for (int kind = 0; kind < DUE_KINDS; kind++)
		pass_init(&passes[kind], kind, parent, commits, stuck);
}

/* Starts a pass over what is due now. */
static void
pass_begin(KeeperPass *pass)
{
	pass->number++;
	pass->now = GetCurrentTimestamp();
	pass->began_at = clock_ms();
	pass->ndue = pass->next = pass->alone = 0;
	pass->last = (DueOrder){PG_INT64_MIN, DT_NOBEGIN};
	pass->complete = false;
}

static void
passes_begin(KeeperPass *passes)
{
	for (int kind = 0; kind < DUE_KINDS; kind++)
		pass_begin(&passes[kind]);
}

static inline bool
pass_is_over(const KeeperPass *pass)
{
	return pass->complete && pass->next >= pass->ndue;
}

static bool
rests(KeeperPass *pass, const DueOrder *due)
{
	Rest *rest = hash_search(pass->resting, &due->order_id, HASH_FIND, NULL);

	if (rest == NULL || rest->due_at != due->due_at)
		return false;
	rest->met_in = pass->number;
	return rest->again_at > pass->began_at;
}

/* Lets it rest, each time twice as long. */
static int
let_rest(KeeperPass *pass, const DueOrder *due, int first_ms)
{
	bool  found;
	Rest *rest = hash_search(pass->resting, &due->order_id, HASH_ENTER, &found);

	rest->delay_ms =
		found && rest->due_at == due->due_at ? Min(rest->delay_ms * 2, LAST_RETRY_MS) : first_ms;
	rest->due_at = due->due_at;
	rest->again_at = clock_ms() + rest->delay_ms;
	rest->met_in = pass->number;
	return rest->delay_ms;
}

/* Lets it rest until then. */
static void
let_rest_until(KeeperPass *pass, const DueOrder *due, int64 again_at)
{
	bool  found;
	Rest *rest = hash_search(pass->resting, &due->order_id, HASH_ENTER, &found);

	if (!found || rest->due_at != due->due_at)
		rest->delay_ms = FIRST_RETRY_MS;
	rest->due_at = due->due_at;
	rest->again_at = again_at;
	rest->met_in = pass->number;
}

/* Of a whole pass: forgets those that it has not met, which are not due any more; how many rest. */
static int64
count_resting(KeeperPass *pass)
{
	HASH_SEQ_STATUS scan;
	Rest		   *rest;
	int64			resting = 0;

	hash_seq_init(&scan, pass->resting);
	while ((rest = hash_seq_search(&scan)) != NULL)
	{
		if (rest->met_in != pass->number)
			(void) hash_search(pass->resting, &rest->order_id, HASH_REMOVE, NULL);
		else if (rest->again_at > pass->began_at)
			resting++;
	}
	return resting;
}

/*
 * Many may be due in the same microsecond, so each search brings in a good
 * many, by (due_at, order_id), which also carries it past orders that rest.
 */
static void
search_due(void *argument)
{
	KeeperPass		*pass = argument;
	static Statement statements[] = {
		[DUE_ORDERS] = {"SELECT o.order_id, o.due_at FROM order_engine.orders o"
						" WHERE o.due_at <= $1 AND (o.due_at, o.order_id) > ($2, $3)"
						" ORDER BY o.due_at, o.order_id LIMIT $4",
						4,
						{TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8OID}},
		[DUE_RESERVATIONS] = {"SELECT r.id, r.expires_at FROM order_engine.reservation r"
							  " WHERE r.resolved_at IS NULL AND r.expires_at <= $1"
							  " AND (r.expires_at, r.id) > ($2, $3)"
							  " ORDER BY r.expires_at, r.id LIMIT $4",
							  4,
							  {TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8OID}},
	};
	Datum values[] = {TimestampTzGetDatum(pass->now), TimestampTzGetDatum(pass->last.due_at),
					  Int64GetDatum(pass->last.order_id), Int64GetDatum(SEARCH_SIZE)};
	bool  isnull;

	pass->ndue = pass->next = 0;
	SPI_connect();
	statement_execute(&statements[pass->kind], values, NULL, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];

		pass->last.order_id =
			DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
		pass->last.due_at =
			DatumGetTimestampTz(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
		if (!rests(pass, &pass->last))
			pass->due[pass->ndue++] = pass->last;
	}
	pass->complete = SPI_processed < SEARCH_SIZE;
	SPI_finish();
}

static void
find_due(KeeperPass *pass)
{
	owner_look(search_due, pass);
}

/* ---- doing ---- */

static void
add_works(StockWorks *works, StockEffect effect, const StockLine *lines, int nlines,
		  const char *ref)
{
	for (int i = 0; i < nlines; i++)
	{
		if (works->n == works->size)
		{
			works->size = Max(64, works->size * 2);
			works->works = works->works ? repalloc(works->works, works->size * sizeof(StockWork))
										: palloc(works->size * sizeof(StockWork));
		}
		works->works[works->n++] = (StockWork){effect, lines[i], ref};
	}
}

static void
collect_stock(StockWorks *works, const LockedOrder *order, StockEffect effect,
			  const OrderLines *lines)
{
	bool  moves = effect == STOCK_CONFIRM || effect == STOCK_RESTOCK;
	char *ref =
		moves ? psprintf(INT64_FORMAT "/%d", order->row.order_id, order->row.version) : NULL;

	if (effect != STOCK_NONE)
		add_works(works, effect, lines->keys, lines->nkeys, ref);
}

static int
compare_works(const void *a, const void *b)
{
	const StockWork *x = a;
	const StockWork *y = b;
	int				 order = strcmp(x->line.stock_key, y->line.stock_key);

	return order != 0 ? order : (int) x->effect - (int) y->effect;
}

/* Its row was waited for in vain. */
static void
note_stuck(KeeperPass *pass)
{
	bool		found;
	StuckStock *stuck = hash_search(pass->stuck, pass->applying, HASH_ENTER, &found);

	stuck->delay_ms = found ? Min(stuck->delay_ms * 2, LAST_STOCK_RETRY_MS) : FIRST_RETRY_MS;
	stuck->again_at = clock_ms() + stuck->delay_ms;
	stuck->told = false;
	ereport(LOG, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				  errmsg("stock of SKU \"%s\" is locked, and what is due waits for it", stuck->key),
				  errdetail("It will be tried again in %d s.", stuck->delay_ms / 1000)));
}

/* What keeper_status shows as last_error_order_id. */
static inline int64
order_of(DueKind kind, const DueOrder *due)
{
	return kind == DUE_ORDERS ? due->order_id : 0;
}

/* True if it needs stock that others hold: then it rests with all that do. */
static bool
rests_with_stock(KeeperPass *pass, const DueOrder *due, const StockLine *lines, int nlines)
{
	for (int i = 0; i < nlines && hash_get_num_entries(pass->stuck) > 0; i++)
	{
		StuckStock *stuck = hash_search(pass->stuck, lines[i].stock_key, HASH_FIND, NULL);

		if (stuck == NULL || stuck->again_at <= clock_ms())
			continue;
		let_rest_until(pass, due, stuck->again_at);
		if (!stuck->told)
			keeper_status_error(order_of(pass->kind, due), ERRCODE_LOCK_NOT_AVAILABLE,
								pass->kind == DUE_ORDERS ? "the stock of the order is locked"
														 : "the stock of a reservation is locked");
		stuck->told = true;
		return true;
	}
	return false;
}

/*
 * Before the first row is locked: who switches a SKU of mode escrow waits for those who have
 * pinned it, and they may wait for a row.
 */
static void
pin_stock(KeeperPass *pass, const StockWorks *works)
{
	for (int i = 0; i < works->n; i++)
	{
		pass->applying = works->works[i].line.stock_key;
		(void) escrow_pin(pass->applying);
	}
}

/*
 * What leaves no movement is summed per key; each key is applied under a snapshot that sees
 * the one before.
 */
static void
apply_stock(KeeperPass *pass, StockWorks *works, const char *actor)
{
	RowScope scope;

	if (works->n == 0)
		return;
	qsort(works->works, works->n, sizeof(StockWork), compare_works);
	row_scope_begin(&scope, "tend()");
	pin_stock(pass, works);
	for (int i = 0; i < works->n;)
	{
		StockWork sum = works->works[i++];

		while (i < works->n && sum.ref == NULL && compare_works(&sum, &works->works[i]) == 0)
			sum.line.quantity += works->works[i++].line.quantity;
		pass->applying = sum.line.stock_key;
		stock_apply(&scope, sum.effect, &sum.line, 1, sum.ref, actor);
		(void) hash_search(pass->stuck, pass->applying, HASH_REMOVE, NULL);
		row_scope_refresh(&scope);
	}
	pass->applying = NULL;
	row_scope_end(&scope);
}

/* Its writer set a due time that means nothing: it will never be fired. */
static void
note_meaningless(KeeperPass *pass, const DueOrder *due)
{
	(void) let_rest(pass, due, LAST_RETRY_MS);
	keeper_status_error(due->order_id, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						"the order has a due time in a state that has no due event");
}

/* Makes the move of a due order, but for its stock, unless it has to wait for that. */
static void
move_due(KeeperPass *pass, const DueOrder *due, const ActionContext *context, LockedOrder *order,
		 StockWorks *works)
{
	OrderChange change = {.context = *context, .keep_stock = true};
	int			event = order->machine->due_event[order->state];
	OrderUpdate update = {.transition = machine_move(order->machine, order->state, event)};
	OrderLines	lines;

	order_lines(&order->scope, &order->row, &lines);
	if (update.transition->stock != STOCK_NONE &&
		rests_with_stock(pass, due, lines.keys, lines.nkeys))
		return;
	order_check_move(order->table, order->old, order->machine, &order->row, update.transition,
					 NULL);
	change.event = order->machine->events[event];
	change.lines = &lines;
	order_write(order, &update, &change);
	collect_stock(works, order, change.transition ? change.transition->stock : STOCK_NONE, &lines);
}

/* Fires the due event of an order that is still due and free. */
static void
fire_due(KeeperPass *pass, const DueOrder *due, const ActionContext *context, StockWorks *works)
{
	LockedOrder order;

	if (order_begin_if_free(&order, due->order_id, "tend()") && order.row.has_due_at &&
		order.row.due_at <= pass->now)
	{
		if (order.state >= 0 && order.machine->due_event[order.state] >= 0)
			move_due(pass, due, context, &order, works);
		else
			note_meaningless(pass, due);
	}
	order_end(&order);
}

/*
 * A cursor WITH HOLD that a trigger left open would be filled by the commit, as
 * whoever commits.  The statement's own ones are told by their time.
 */
static bool
left_cursor(void)
{
	static Statement statement = {
		"SELECT FROM pg_catalog.pg_cursors WHERE is_holdable"
		" AND creation_time OPERATOR(pg_catalog.>=) pg_catalog.statement_timestamp()"};
	bool left;

	SPI_connect();
	left = statement_execute(&statement, NULL, NULL, 1) > 0;
	SPI_finish();
	return left;
}

static void
check_cursors(void)
{
	if (left_cursor())
		ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
						errmsg("a cursor WITH HOLD was left open for the commit"),
						errhint("Triggers that fire for due events must close their cursors.")));
}

static void
fire_orders(KeeperPass *pass, const DueOrder *due, int n, const ActionContext *context)
{
	StockWorks works = {0};
	OwnerScope owner;

	for (int i = 0; i < n; i++)
		fire_due(pass, &due[i], context, &works);
	owner_begin(&owner);
	apply_stock(pass, &works, context->actor);
	owner_end(&owner);
}

/* Locks those that are held and due still, free, and whose stock is; how many. */
static int
lock_reservations(KeeperPass *pass, const DueOrder *due, int n, RowScope *scope,
				  Reservation *reservations)
{
	int locked = 0;

	for (int i = 0; i < n; i++)
	{
		Reservation *reservation = &reservations[locked];

		if (reservation_lock_if_free(reservation, scope, due[i].order_id) &&
			reservation->state == HOLD_HELD && reservation->expires_at <= pass->now &&
			!rests_with_stock(pass, &due[i], reservation->lines.lines, reservation->lines.n))
			locked++;
	}
	return locked;
}

/* Their rows are written last: see reservation_row.h. */
static void
expire_reservations(KeeperPass *pass, const DueOrder *due, int n, const ActionContext *context)
{
	Reservation *reservations = palloc(sizeof(Reservation) * n);
	StockWorks	 works = {0};
	OwnerScope	 owner;
	RowScope	 scope;
	int			 locked;

	owner_begin(&owner);
	row_scope_begin(&scope, "tend()");
	reservation_lock_tables();
	locked = lock_reservations(pass, due, n, &scope, reservations);
	for (int i = 0; i < locked; i++)
		add_works(&works, STOCK_RELEASE, reservations[i].lines.lines, reservations[i].lines.n,
				  NULL);
	apply_stock(pass, &works, context->actor);
	row_scope_refresh(&scope);
	for (int i = 0; i < locked; i++)
		reservation_resolve(&reservations[i], HOLD_EXPIRED, context->actor);
	row_scope_end(&scope);
	owner_end(&owner);
}

static void
fire_all(KeeperPass *pass, const DueOrder *due, int n)
{
	ActionContext context = {.actor = "keeper", .reason = "due"};
	OwnerScope	  owner;

	pass->applying = NULL;
	if (pass->kind == DUE_ORDERS)
		fire_orders(pass, due, n, &context);
	else
		expire_reservations(pass, due, n, &context);
	owner_begin(&owner);
	if (pass->commits)
	{
		row_check_deferred();
		check_cursors();
	}
	owner_end(&owner);
}

static void
note_failure(KeeperPass *pass, const DueOrder *due, ErrorData *error)
{
	int delay_ms = let_rest(pass, due, FIRST_RETRY_MS);

	keeper_status_error(order_of(pass->kind, due), error->sqlerrcode, error->message);
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 pass->kind == DUE_ORDERS ? errmsg("due event of order " INT64_FORMAT " failed: %s",
											   due->order_id, error->message)
									  : errmsg("expiry of reservation " INT64_FORMAT " failed: %s",
											   due->order_id, error->message),
			 errdetail("It will be tried again in %d s.", delay_ms / 1000)));
}

/*
 * What ends tend(): a cancel request, and what tells its caller to repeat his
 * transaction, in which a second try would see no more than the first one did.  To
 * the worker no request is made; the guard of an order may raise the like, the
 * timeout of another server, say.
 */
static bool
ends_call(const KeeperPass *pass, const ErrorData *error)
{
	bool repeat = !pass->commits && IsolationUsesXactSnapshot() &&
				  ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK;

	return !pass->worker && (error->sqlerrcode == ERRCODE_QUERY_CANCELED || repeat);
}

static void
note_firing(const KeeperPass *pass, const DueOrder *due, int n)
{
	if (!pass->worker)
		return;
	if (n == 1)
		note->firing = *due;
	note->kind = pass->kind;
	note->nfiring = n;
}

/* Somebody has ended this keeper, no order has. */
static void
forget_firing(int code, Datum arg)
{
	if (worker_stopping())
		note->nfiring = 0;
}

static void
note_culprit(void)
{
	bool is_order = note->kind == DUE_ORDERS;

	note->culprits[note->nculprits++ % MAX_CULPRITS] = note->firing;
	keeper_status_error(order_of(note->kind, &note->firing), ERRCODE_TRIGGERED_ACTION_EXCEPTION,
						is_order ? "the due event of the order ended the keeper"
								 : "the expiry of a reservation ended the keeper");
	ereport(LOG, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				  is_order ? errmsg("due event of order " INT64_FORMAT " ended the keeper",
									note->firing.order_id)
						   : errmsg("expiry of reservation " INT64_FORMAT " ended the keeper",
									note->firing.order_id),
				  errdetail("It will be tried again in %d s.", LAST_RETRY_MS / 1000)));
}

/*
 * The last keeper has ended in the midst of a batch, or of an order: that one rests, others go
 * one by one.  Ids tell of which kind a culprit is.
 */
static void
learn(KeeperPass *passes)
{
	if (note->nfiring > 0)
		passes[note->kind].alone = SEARCH_SIZE;
	if (note->nfiring == 1)
		note_culprit();
	note->nfiring = 0;
	for (int i = 0; i < Min(note->nculprits, MAX_CULPRITS); i++)
		for (int kind = 0; kind < DUE_KINDS; kind++)
			(void) let_rest(&passes[kind], &note->culprits[i], LAST_RETRY_MS);
}

/* For the rest of the (sub)transaction. */
static void
limit_lock_waits(void)
{
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT_OF_BATCH, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * Whoever holds a worker's stock row too long, or any row beside it, has orders wait that
 * need this stock, and no others.
 */
static inline bool
is_stuck(const KeeperPass *pass, const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE && pass->applying != NULL;
}

typedef enum Outcome
{
	BATCH_DONE,
	BATCH_FAILED, /* of one order, that is noted */
	BATCH_STUCK,  /* some of them rest now, the others can go on */
} Outcome;

/* Runs one batch in a subtransaction. */
static Outcome
run_batch(KeeperPass *pass, const DueOrder *due, int n)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext batch =
		AllocSetContextCreate(caller, "order_engine batch", ALLOCSET_DEFAULT_SIZES);
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;
	Outcome outcome = BATCH_DONE;

	note_firing(pass, due, n);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(batch);
	PG_TRY();
	{
		if (pass->worker)
			limit_lock_waits();
		fire_all(pass, due, n);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(batch);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	note_firing(pass, NULL, 0);

	if (error && ends_call(pass, error))
		ReThrowError(error);
	if (error && is_stuck(pass, error))
	{
		note_stuck(pass);
		outcome = BATCH_STUCK;
	}
	else if (error)
	{
		if (n == 1)
			note_failure(pass, due, error);
		outcome = BATCH_FAILED;
	}
	MemoryContextDelete(batch);
	return outcome;
}

/*
 * Does the next batch in the current transaction; the caller commits.  False
 * when the pass is over.
 *
 * Should a batch fail, its orders are tried one by one, so that only the culprit
 * stays behind: in a step each, since together they would take their stock in no
 * order, and keep it locked.
 */
static bool
pass_step(KeeperPass *pass)
{
	Outcome outcome = BATCH_DONE;
	int		n;

	if (pass->next >= pass->ndue)
	{
		if (pass->complete)
			return false;
		find_due(pass);
	}
	n = Min(pass->alone > 0 ? 1 : BATCH_SIZE, pass->ndue - pass->next);
	if (n > 0)
		outcome = run_batch(pass, &pass->due[pass->next], n);
	if (outcome == BATCH_STUCK)
		return true;
	if (outcome == BATCH_FAILED && n > 1)
	{
		pass->alone = n;
		return true;
	}
	pass->next += n;
	if (pass->alone > 0)
		pass->alone--;
	return !pass_is_over(pass);
}

/* ---- the worker, and the call ---- */

static void
expire_outbox(void)
{
	journal_expire(JOURNAL_OUTBOX, (int64) outbox_retention * 1000);
}

static void
rotate_outbox(void)
{
	(void) journal_rotate(JOURNAL_OUTBOX);
}

static void
rotate_stock_journal(void)
{
	(void) journal_rotate(JOURNAL_STOCK);
}

/*
 * With nobody to publish to, the outbox keeps what is younger than
 * order_engine.outbox_retention.  Rotation has a transaction of its own: it goes
 * by what is committed, and is short, since emptying a leaf locks it.  Whatever
 * keeps it from that does not keep orders from expiring.
 */
static void
worker_rotate(Duties *duties)
{
	int64 now = clock_ms();

	if (now < duties->rotate_at)
		return;
	duties->rotate_at = now + ROTATE_MS;
	if (outbox_publisher == OUTBOX_TO_NOBODY)
	{
		(void) worker_try("keeper: expiring the outbox", expire_outbox);
		(void) worker_try("keeper: rotating the outbox", rotate_outbox);
	}
	(void) worker_try("keeper: rotating the stock journal", rotate_stock_journal);
}

/* What the last purge of this process has deleted. */
static int64 purged;

static void
purge_reservations(void)
{
	purged = 0;
	purged = reservation_purge(PURGE_SIZE);
	check_cursors();
}

static void
worker_purge_reservations(void)
{
	limit_lock_waits();
	purge_reservations();
}

/* At most so many in a row: what is due has waited long enough then. */
static void
worker_purge(Duties *duties)
{
	bool done = true;

	if (clock_ms() < duties->purge_at)
		return;
	purged = PURGE_SIZE;
	for (int i = 0; i < PURGE_BATCHES && done && purged == PURGE_SIZE && !worker_stopping(); i++)
		done = worker_try("keeper: deleting old reservations", worker_purge_reservations);
	duties->purge_at = clock_ms() + (done ? PURGE_MS : PURGE_RETRY_MS);
}

/* What the last fold of this process said: there is more already. */
static bool fold_has_more;

static void
fold_stock(void)
{
	fold_has_more = false;
	fold_has_more = escrow_fold();
	check_cursors();
}

/* A user's trigger on stock may wait for something. */
static void
worker_fold_stock(void)
{
	limit_lock_waits();
	fold_stock();
}

/* Not at each turn, unless there is much; whatever it fails with is no order's affair. */
static void
worker_fold(Duties *duties)
{
	bool done;

	if (worker_stopping() || clock_ms() < duties->fold_at)
		return;
	done = worker_try("keeper: folding stock", worker_fold_stock);
	duties->fold_at = clock_ms() + (!done ? FOLD_RETRY_MS : fold_has_more ? 0 : IDLE_MS);
}

static void
switch_stock(void)
{
	limit_lock_waits();
	(void) set_config_option("order_engine.stock_switch_timeout", LOCK_TIMEOUT_OF_BATCH,
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	stock_auto_switch();
	check_cursors();
}

/*
 * One by one: a row of stock that is not to be had keeps no other from its new mode.  Each may be
 * waited for, so what is due comes in between, and the others at the next turn.
 */
static void
worker_switch(Duties *duties)
{
	int64 until = clock_ms() + SWITCH_AT_ONCE_MS;

	if (!duties->switching && clock_ms() < duties->switch_at)
		return;
	if (!duties->switching)
		(void) worker_try("keeper: finding hot stock", stock_auto_find);
	duties->switching = true;
	do
	{
		if (worker_stopping())
			return;
		if (!stock_auto_next())
		{
			duties->switching = false;
			duties->switch_at = clock_ms() + SWITCH_MS;
			return;
		}
	} while (worker_try("keeper: switching stock", switch_stock) && clock_ms() < until);
}

/*
 * What users' triggers deferred to the commit fires before it, as the tables'
 * owner: the commit itself is that of the caller, who may be able to do more.
 */
static void
commit(void)
{
	OwnerScope owner;

	owner_begin(&owner);
	AfterTriggerFireDeferred();
	check_cursors();
	owner_end(&owner);
	SPI_commit();
}

/* What the caller has deferred, and his cursors, are his: before anything runs as the owner. */
static void
commit_callers(void)
{
	SPI_commit();
	if (left_cursor())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tend() cannot be called where a cursor WITH HOLD has just been declared"),
				 errhint("Call it by a statement of its own.")));
}

static void
commit_as_owner(void (*step)(void))
{
	OwnerScope owner;

	owner_begin(&owner);
	step();
	owner_end(&owner);
	commit();
}

/* The same; a second rotation may empty what the first had to leave to a snapshot in use. */
static void
call_rotate(void)
{
	if (outbox_publisher == OUTBOX_TO_NOBODY)
	{
		commit_as_owner(expire_outbox);
		commit_as_owner(rotate_outbox);
		commit_as_owner(rotate_outbox);
	}
	commit_as_owner(rotate_stock_journal);
	commit_as_owner(rotate_stock_journal);
}

static void
call_purge(int64 deadline)
{
	do
	{
		CHECK_FOR_INTERRUPTS();
		commit_as_owner(purge_reservations);
	} while (purged == PURGE_SIZE && clock_ms() < deadline);
}

/* The caller's sessions may begin with another isolation; of this transaction it is the first. */
static void
call_fold_stock(void)
{
	(void) set_config_option("transaction_isolation", "read committed", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	fold_stock();
}

static void
call_fold(int64 deadline)
{
	do
	{
		CHECK_FOR_INTERRUPTS();
		commit_as_owner(call_fold_stock);
	} while (fold_has_more && clock_ms() < deadline);
}

static void
tell_pass(KeeperPass *passes)
{
	int64 resting = 0;

	for (int kind = 0; kind < DUE_KINDS; kind++)
		resting += count_resting(&passes[kind]);
	keeper_status_pass(resting);
}

static const char *const activities[] = {
	[DUE_ORDERS] = "keeper: firing due events",
	[DUE_RESERVATIONS] = "keeper: releasing reservations",
};

/* Each step is a transaction of its own; without tables, or told to stop, it is no whole pass. */
static void
run_steps(KeeperPass *passes, Duties *duties)
{
	bool more = true;

	wake_clear();
	while (more)
	{
		more = false;
		for (int kind = 0; kind < DUE_KINDS; kind++)
		{
			if (pass_is_over(&passes[kind]))
				continue;
			if (worker_stopping() || !worker_begin(activities[kind]))
				return;
			more |= pass_step(&passes[kind]);
			worker_end();
		}
		if (more)
		{
			worker_fold(duties);
			worker_wait(PGINVALID_SOCKET, 0);
		}
	}
	tell_pass(passes);
}

/* The error ends this process: keeper_status shall show it all the same. */
static void
tell_error(void)
{
	ErrorData *error;

	MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	keeper_status_error(0, error->sqlerrcode, error->message);
}

static void
run_pass(KeeperPass *passes, Duties *duties)
{
	PG_TRY();
	{
		run_steps(passes, duties);
	}
	PG_CATCH();
	{
		tell_error();
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* At a start, or a promotion; what is busy its first buyer loads. */
static void
load_stock(void)
{
	limit_lock_waits();
	escrow_load_all();
}

/* How long the worker may sleep. */
static long
idle_ms(const Duties *duties)
{
	int64 fold_ms = Max(duties->fold_at - clock_ms(), 0);

	return Min(Min(worker_idle_timeout, IDLE_MS), fold_ms);
}

void
keeper_main(Datum arg)
{
	KeeperPass passes[DUE_KINDS];
	Duties	   duties = {0};

	worker_start(WAKE_KEEPER, arg);
	passes_init(passes, TopMemoryContext, true);
	for (int kind = 0; kind < DUE_KINDS; kind++)
		passes[kind].worker = true;
	note = database_slot_part(note_part);
	before_shmem_exit(forget_firing, (Datum) 0);
	passes_begin(passes);
	learn(passes);
	keeper_status_start();
	(void) worker_try("keeper: loading stock in escrow", load_stock);
	while (!worker_stopping())
	{
		run_pass(passes, &duties);
		worker_fold(&duties);
		worker_rotate(&duties);
		worker_purge(&duties);
		worker_switch(&duties);
		reconcile_when_due();
		worker_wait(PGINVALID_SOCKET, idle_ms(&duties));
		passes_begin(passes);
	}
	proc_exit(0);
}

/* A step of each kind that is not over.  False if all of them are. */
static bool
call_steps(KeeperPass *passes, bool commits)
{
	bool more = false;

	for (int kind = 0; kind < DUE_KINDS; kind++)
	{
		CHECK_FOR_INTERRUPTS();
		more |= pass_step(&passes[kind]);
		if (commits)
			commit();
	}
	return more;
}

/*
 * Outside a transaction block each batch commits by itself; inside one, all is
 * the caller's transaction.
 */
Datum
order_engine_tend(PG_FUNCTION_ARGS)
{
	bool	   atomic = !(fcinfo->context && IsA(fcinfo->context, CallContext) &&
					  !castNode(CallContext, fcinfo->context)->atomic);
	int		   max_ms = PG_ARGISNULL(0) ? TEND_MS : PG_GETARG_INT32(0);
	KeeperPass passes[DUE_KINDS];
	int64	   deadline;
	bool	   more;

	if (max_ms < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"max_ms\" must be positive")));
	PreventCommandIfReadOnly("tend()");
	deadline = clock_ms() + max_ms;

	SPI_connect_ext(atomic ? 0 : SPI_OPT_NONATOMIC);
	passes_init(passes, CurrentMemoryContext, !atomic);
	passes_begin(passes);
	if (!atomic)
		commit_callers();
	do
	{
		more = call_steps(passes, !atomic);
	} while (more && (clock_ms() < deadline || passes[DUE_ORDERS].alone > 0 ||
					  passes[DUE_RESERVATIONS].alone > 0));
	if (!more && !atomic)
		tell_pass(passes);
	if (!atomic)
	{
		call_purge(deadline);
		call_rotate();
		call_fold(deadline);
	}
	SPI_finish();
	PG_RETURN_NULL();
}

void
keeper_init(void)
{
	note_part = database_slot_request(sizeof(Note), NULL);
	keeper_status_init();
}
