/*
 * order_replay.c
 *		Folds an order's events through its machine: what the order must be,
 *		if its history is true.  One aggregate raises where it is not, the other tells.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "base/call.h"
#include "base/compat.h"
#include "machine/machine_catalog.h"
#include "shop/owner.h"

typedef struct Replay
{
	const Machine *machine;
	int			   state; /* -1: not created yet */
	int			   version;
	char		  *problem; /* of order_engine.replay_check(): the first one; NULL: none */
} Replay;

/* A row of history, as the aggregates get it. */
typedef struct ReplayEvent
{
	int			machine_id;
	int			version;
	const char *event;
	const char *from; /* NULL: null */
	const char *to;
} ReplayEvent;

PG_FUNCTION_INFO_V1(order_engine_replay_step);
PG_FUNCTION_INFO_V1(order_engine_replay_result);
PG_FUNCTION_INFO_V1(order_engine_replay_check_step);
PG_FUNCTION_INFO_V1(order_engine_replay_check_result);

static const char *
state_name(const Replay *replay)
{
	return replay->state < 0 ? "" : replay->machine->states[replay->state];
}

static Replay *
start(FunctionCallInfo fcinfo, int machine_id)
{
	MemoryContext context;
	Replay		 *replay;
	OwnerScope	  owner;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "a step of a replay called in non-aggregate context");
	replay = MemoryContextAllocZero(context, sizeof(Replay));
	replay->state = -1;
	owner_begin(&owner);
	replay->machine = machine_get(machine_id);
	owner_end(&owner);
	return replay;
}

static Replay *
read_step(FunctionCallInfo fcinfo, ReplayEvent *event)
{
	call_require(fcinfo, 1, "machine_id");
	call_require(fcinfo, 2, "version");
	call_require(fcinfo, 3, "event");
	call_require(fcinfo, 5, "to_state");
	event->machine_id = PG_GETARG_INT32(1);
	event->version = PG_GETARG_INT32(2);
	event->event = call_text(fcinfo, 3);
	event->from = call_text(fcinfo, 4);
	event->to = call_text(fcinfo, 5);
	return PG_ARGISNULL(0) ? start(fcinfo, event->machine_id) : (Replay *) PG_GETARG_POINTER(0);
}

/*
 * The state after the event, -1 if the machine has no such move.  An event that is
 * a move must be one that the machine has; any other leaves the state alone.
 */
static int
next_state(const Replay *replay, const ReplayEvent *event)
{
	int				  index = machine_event(replay->machine, event->event);
	const Transition *transition = NULL;

	if (replay->state < 0 && index == replay->machine->creation->event)
		transition = replay->machine->creation;
	else if (replay->state >= 0 && index >= 0)
		transition = machine_move(replay->machine, replay->state, index);
	else if (replay->state >= 0 && machine_state(replay->machine, event->to) == replay->state)
		return replay->state;
	return transition ? transition->to : -1;
}

static bool
begins_elsewhere(const Replay *replay, const ReplayEvent *event)
{
	if (replay->state < 0)
		return event->from != NULL;
	return event->from == NULL || strcmp(event->from, state_name(replay)) != 0;
}

/* Goes on by one event; what is wrong with it, NULL if nothing is. */
static const char *
advance(Replay *replay, const ReplayEvent *event)
{
	int state;

	if (replay->machine->machine_id != event->machine_id)
		return "another machine";
	if (event->version != replay->version + 1)
		return "a version is missing";
	if (begins_elsewhere(replay, event))
		return "it begins in another state";
	state = next_state(replay, event);
	if (state < 0)
		return "the machine has no such move";
	if (strcmp(replay->machine->states[state], event->to) != 0)
		return "it ends in another state";
	replay->state = state;
	replay->version = event->version;
	return NULL;
}

Datum
order_engine_replay_step(PG_FUNCTION_ARGS)
{
	ReplayEvent event;
	Replay	   *replay = read_step(fcinfo, &event);
	const char *problem = advance(replay, &event);

	if (problem)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("the history is broken at version %d, event \"%s\": %s",
							   event.version, event.event, problem),
						errdetail("It stands at version %d in state \"%s\".", replay->version,
								  state_name(replay)),
						errhint("Aggregate the events of one order, ordered by version.")));
	PG_RETURN_POINTER(replay);
}

/* What stands at the first problem stays there. */
Datum
order_engine_replay_check_step(PG_FUNCTION_ARGS)
{
	ReplayEvent event;
	Replay	   *replay = read_step(fcinfo, &event);
	const char *problem = replay->problem ? NULL : advance(replay, &event);

	if (problem)
		replay->problem = MemoryContextStrdup(
			GetMemoryChunkContext(replay),
			psprintf("version %d, event \"%s\": %s", event.version, event.event, problem));
	PG_RETURN_POINTER(replay);
}

static Datum
replay_row(FunctionCallInfo fcinfo, TupleDesc *shape)
{
	Replay *replay = (Replay *) PG_GETARG_POINTER(0);
	Datum	values[3];
	bool	nulls[3] = {false};

	call_set_text(&values[0], &nulls[0], state_name(replay));
	values[1] = Int32GetDatum(replay->version);
	call_set_text(&values[2], &nulls[2], replay->problem);
	return call_row(fcinfo, shape, values, nulls);
}

Datum
order_engine_replay_result(PG_FUNCTION_ARGS)
{
	static TupleDesc shape; /* of call_row() */

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	return replay_row(fcinfo, &shape);
}

Datum
order_engine_replay_check_result(PG_FUNCTION_ARGS)
{
	static TupleDesc shape; /* of call_row() */

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	return replay_row(fcinfo, &shape);
}
