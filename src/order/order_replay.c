/*
 * order_replay.c
 *		Folds an order's events through its machine: what the order must be,
 *		if its history is true.
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
} Replay;

PG_FUNCTION_INFO_V1(order_engine_replay_step);
PG_FUNCTION_INFO_V1(order_engine_replay_result);

pg_noreturn static void
raise_broken(const Replay *replay, int version, const char *event, const char *problem)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("the history is broken at version %d, event \"%s\": %s", version, event,
						   problem),
					errdetail("It stands at version %d in state \"%s\".", replay->version,
							  replay->state < 0 ? "" : replay->machine->states[replay->state]),
					errhint("Aggregate the events of one order, ordered by version.")));
}

static Replay *
start(FunctionCallInfo fcinfo, int machine_id)
{
	MemoryContext context;
	Replay		 *replay;
	OwnerScope	  owner;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "replay_step called in non-aggregate context");
	replay = MemoryContextAllocZero(context, sizeof(Replay));
	replay->state = -1;
	owner_begin(&owner);
	replay->machine = machine_get(machine_id);
	owner_end(&owner);
	return replay;
}

/* An event that is a move must be one that the machine has; any other leaves the state alone. */
static int
next_state(const Replay *replay, int version, const char *event, const char *to)
{
	int				  index = machine_event(replay->machine, event);
	const Transition *transition = NULL;

	if (replay->state < 0 && index == replay->machine->creation->event)
		transition = replay->machine->creation;
	else if (replay->state >= 0 && index >= 0)
		transition = machine_move(replay->machine, replay->state, index);
	else if (replay->state >= 0 && machine_state(replay->machine, to) == replay->state)
		return replay->state;
	if (transition == NULL)
		raise_broken(replay, version, event, "the machine has no such move");
	return transition->to;
}

Datum
order_engine_replay_step(PG_FUNCTION_ARGS)
{
	Replay *replay;
	int		version;
	char   *event;
	char   *to;

	call_require(fcinfo, 1, "machine_id");
	call_require(fcinfo, 2, "version");
	call_require(fcinfo, 3, "event");
	call_require(fcinfo, 5, "to_state");
	replay = PG_ARGISNULL(0) ? start(fcinfo, PG_GETARG_INT32(1)) : (Replay *) PG_GETARG_POINTER(0);
	version = PG_GETARG_INT32(2);
	event = text_to_cstring(PG_GETARG_TEXT_PP(3));
	to = text_to_cstring(PG_GETARG_TEXT_PP(5));

	if (replay->machine->machine_id != PG_GETARG_INT32(1))
		raise_broken(replay, version, event, "another machine");
	if (version != replay->version + 1)
		raise_broken(replay, version, event, "a version is missing");
	if (replay->state < 0 ? !PG_ARGISNULL(4)
						  : PG_ARGISNULL(4) || strcmp(text_to_cstring(PG_GETARG_TEXT_PP(4)),
													  replay->machine->states[replay->state]) != 0)
		raise_broken(replay, version, event, "it begins in another state");
	replay->state = next_state(replay, version, event, to);
	if (strcmp(replay->machine->states[replay->state], to) != 0)
		raise_broken(replay, version, event, "it ends in another state");
	replay->version = version;
	PG_RETURN_POINTER(replay);
}

Datum
order_engine_replay_result(PG_FUNCTION_ARGS)
{
	static TupleDesc shape; /* of call_row() */
	Replay			*replay = (Replay *) PG_GETARG_POINTER(0);
	Datum			 values[2];
	bool			 nulls[2] = {false};

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	values[0] = CStringGetTextDatum(replay->machine->states[replay->state]);
	values[1] = Int32GetDatum(replay->version);
	return call_row(fcinfo, &shape, values, nulls);
}
