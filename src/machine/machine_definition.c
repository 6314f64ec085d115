/*
 * machine_definition.c
 *		Reads the definition of a state machine and refuses what is wrong in it.
 *
 * Pure: JSON in, Machine out, all memory in the caller's context; no tables and
 * no catalogs (whether a guard exists is asked where a machine is published).
 * Whoever writes a definition sees the first mistake with its place: the
 * DETAIL is a one-line JSON object that names the transition (counted from 1),
 * key, state or event at fault.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "base/call.h"
#include "base/compat.h"
#include "base/detail.h"
#include "journal/outbox.h"
#include "machine/machine_definition.h"

#define MAX_STATES 256
#define MAX_EVENTS 256
#define MAX_TRANSITIONS 1024
#define MAX_STRING_LENGTH 255
#define MAX_SHOWN_LENGTH 80 /* of a culprit in a message */
#define MAX_DUE_MONTHS 1200 /* keeps timestamps in range, and infinity out */
#define MAX_DUE_DAYS 36525

static const char *const holding_names[] = {
	[HOLDING_UNKNOWN] = "unknown",
	[HOLDING_NONE] = "none",
	[HOLDING_HELD] = "held",
	[HOLDING_CONFIRMED] = "confirmed",
};

static const char *const effect_names[] = {
	[STOCK_NONE] = "none",		 [STOCK_RESERVE] = "reserve", [STOCK_CONFIRM] = "confirm",
	[STOCK_RELEASE] = "release", [STOCK_RESTOCK] = "restock",
};

static const struct
{
	StockHolding before;
	StockHolding after;
} effect_holdings[] = {
	[STOCK_RESERVE] = {HOLDING_NONE, HOLDING_HELD},
	[STOCK_CONFIRM] = {HOLDING_HELD, HOLDING_CONFIRMED},
	[STOCK_RELEASE] = {HOLDING_HELD, HOLDING_NONE},
	[STOCK_RESTOCK] = {HOLDING_CONFIRMED, HOLDING_NONE},
};

#define CREATION_EVENT "create"

static const char *const reserved_events[] = {"update", "payment", "payment_mismatch",
											  "refund_payment"};

static const char *const definition_keys[] = {"final", "void", "transitions"};

static const char *const transition_keys[] = {"from",		"event",   "to",
											  "stock",		"publish", "due",
											  "due_event",	"guard",   "requires_payment",
											  "keeper_only"};

/* Where in the definition the parser is: a transition (from 1) or 0, the top. */
typedef struct Place
{
	JsonbContainer *object;
	int				transition;
} Place;

const char *
machine_definition_effect_name(StockEffect effect)
{
	return effect_names[effect];
}

const char *
machine_definition_holding_name(StockHolding holding)
{
	return holding_names[holding];
}

/* ---- errors ---- */

static const char *
clipped(const char *value)
{
	int length = pg_mbcliplen(value, strlen(value), MAX_SHOWN_LENGTH);

	return value[length] == '\0' ? value : psprintf("%s...", pnstrdup(value, length));
}

/*
 * DETAIL: the transition, if any, then pairs of name and value, ended by NULL.
 */
static int
culprit(int transition, ...)
{
	StringInfoData json;
	const char	  *name;
	va_list		   args;

	initStringInfo(&json);
	appendStringInfoString(&json, "{}");
	detail_add(&json, "transition", transition > 0 ? detail_number(transition) : NULL);
	va_start(args, transition);
	while ((name = va_arg(args, const char *)) != NULL)
		detail_add(&json, name, detail_text(clipped(va_arg(args, const char *))));
	va_end(args);
	return errdetail_internal("%s", json.data);
}

/* The place of a transition of the machine, for DETAIL. */
static int
transition_no(const Machine *machine, const Transition *transition)
{
	return (int) (transition - machine->transitions) + 1;
}

pg_noreturn static void
refuse_type(const Place *place, const char *key, const char *expected)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("key \"%s\" of a state machine must be %s", key, expected),
					culprit(place->transition, "key", key, NULL),
					errhint("An optional key that does not apply is left out.")));
}

pg_noreturn static void
refuse_limit(const char *what, int limit)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("state machine has too many %s", what),
			 detail_set("limit", detail_number(limit), NULL),
			 errhint("Keep what varies from order to order in attributes.")));
}

/* ---- JSON ---- */

static char *
names_joined(const char *const *names, int nnames)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < nnames; i++)
		appendStringInfo(&list, "%s\"%s\"", i == 0 ? "" : ", ", names[i]);
	return list.data;
}

static void
check_keys(const Place *place, const char *const *known, int nknown)
{
	JsonbIterator	  *it = JsonbIteratorInit(place->object);
	JsonbValue		   value;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		char *key;
		bool  found = false;

		if (token != WJB_KEY)
			continue;
		key = pnstrdup(value.val.string.val, value.val.string.len);
		for (int i = 0; i < nknown && !found; i++)
			found = strcmp(key, known[i]) == 0;
		if (!found)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("unrecognized key \"%s\" in a state machine", clipped(key)),
							culprit(place->transition, "key", key, NULL),
							errhint("Recognized keys here are %s.", names_joined(known, nknown))));
	}
}

static bool
is_null(const Place *place, const char *key)
{
	JsonbValue *value = getKeyJsonValueFromContainer(place->object, key, strlen(key), NULL);

	return value && value->type == jbvNull;
}

/* The value of a key; NULL if it is not there or null, which says the same. */
static JsonbValue *
field(const Place *place, const char *key)
{
	if (is_null(place, key))
		return NULL;
	return getKeyJsonValueFromContainer(place->object, key, strlen(key), NULL);
}

static char *
string_value(const Place *place, const char *key, const JsonbValue *value)
{
	if (value->type != jbvString)
		refuse_type(place, key, "a string");
	if (value->val.string.len > MAX_STRING_LENGTH)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("key \"%s\" of a state machine is too long", key),
						culprit(place->transition, "key", key, NULL),
						errhint("It may have %d bytes.", MAX_STRING_LENGTH)));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* NULL if the key is not there. */
static char *
string_field(const Place *place, const char *key)
{
	JsonbValue *value = field(place, key);

	return value ? string_value(place, key, value) : NULL;
}

static bool
boolean_field(const Place *place, const char *key)
{
	JsonbValue *value = field(place, key);

	if (value == NULL)
		return false;
	if (value->type != jbvBool)
		refuse_type(place, key, "true or false");
	return value->val.boolean;
}

/* Names of machines, states and events: what fits everywhere an event goes. */
static void
check_name(int transition, const char *key, const char *name)
{
	size_t length = strlen(name);

	if (length < 1 || length > MACHINE_MAX_NAME_LENGTH || call_has_control_characters(name) ||
		name[0] == ' ' || name[length - 1] == ' ')
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid name in a state machine"),
			 culprit(transition, "key", key, "name", name, NULL),
			 errhint("A name has 1 to %d bytes, no control characters, and no space at its ends.",
					 MACHINE_MAX_NAME_LENGTH)));
}

static char *
name_field(const Place *place, const char *key)
{
	char *name = string_field(place, key);

	if (name == NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("transition of a state machine has no \"%s\"", key),
			 culprit(place->transition, "key", key, NULL),
			 errhint(
				 "A transition names \"from\" (null for the creation), \"event\" and \"to\".")));
	check_name(place->transition, key, name);
	return name;
}

/* ---- the keys of a transition ---- */

static int
find_name(const char *const *names, int nnames, const char *name)
{
	for (int i = 0; i < nnames; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

static int
intern_state(Machine *machine, const char *name)
{
	int state = find_name(machine->states, machine->nstates, name);

	if (state >= 0)
		return state;
	if (machine->nstates == MAX_STATES)
		refuse_limit("states", MAX_STATES);
	machine->states[machine->nstates] = name;
	return machine->nstates++;
}

static int
intern_event(Machine *machine, const char *name)
{
	int event = find_name(machine->events, machine->nevents, name);

	if (event >= 0)
		return event;
	if (machine->nevents == MAX_EVENTS)
		refuse_limit("events", MAX_EVENTS);
	machine->events[machine->nevents] = name;
	return machine->nevents++;
}

/* Index of the state left, -1 for the creation. */
static int
read_from(Machine *machine, const Place *place)
{
	if (is_null(place, "from"))
		return -1;
	return intern_state(machine, name_field(place, "from"));
}

static int
read_event(Machine *machine, const Place *place, bool creation)
{
	char *name = name_field(place, "event");

	if (find_name(reserved_events, lengthof(reserved_events), name) >= 0 ||
		creation != (strcmp(name, CREATION_EVENT) == 0))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("event \"%s\" cannot be that of this transition", name),
			 culprit(place->transition, "key", "event", "event", name, NULL),
			 errhint(
				 "The creation, from null, is the event \"%s\" and no other transition is; the events %s are the engine's own.",
				 CREATION_EVENT, names_joined(reserved_events, lengthof(reserved_events)))));
	return intern_event(machine, name);
}

static StockEffect
read_stock(const Place *place)
{
	char *name = string_field(place, "stock");
	int	  effect = name ? find_name(effect_names, lengthof(effect_names), name) : STOCK_NONE;

	if (effect < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("unrecognized stock effect \"%s\"", clipped(name)),
						culprit(place->transition, "key", "stock", "stock", name, NULL),
						errhint("Stock effects are %s.",
								names_joined(effect_names, lengthof(effect_names)))));
	return (StockEffect) effect;
}

static void
read_publish(Machine *machine, const Place *place, Transition *transition)
{
	JsonbValue *value = field(place, "publish");
	const char *event = machine->events[transition->event];

	if (is_null(place, "publish")) /* unlike a key that is not there */
		return;
	if (value == NULL)
	{
		transition->publish = psprintf("%s.%s", ORDER_AGGREGATE_TYPE, event);
		transition->publish_attached = psprintf("%s.%s", machine->name, event);
		return;
	}
	transition->publish = string_value(place, "publish", value);
	if (transition->publish[0] == '\0' || call_has_control_characters(transition->publish))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid event type in a state machine"),
			 culprit(place->transition, "key", "publish", NULL),
			 errhint(
				 "An event type has 1 to %d bytes and no control characters; null publishes nothing.",
				 MAX_STRING_LENGTH)));
	transition->publish_attached = transition->publish;
}

pg_noreturn static void
refuse_due(const Place *place, const char *due)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is not a valid time until a due event", clipped(due)),
			 culprit(place->transition, "key", "due", "due", due, NULL),
			 errhint("Give a positive interval of at most 100 years, such as \"15 minutes\".")));
}

static const Interval *
parse_interval(const Place *place, const char *due)
{
	volatile Datum interval = (Datum) 0;
	MemoryContext  context = CurrentMemoryContext;

	/*
	 * interval_in() touches nothing but memory, so its error may be replaced
	 * by one that names the place.
	 */
	PG_TRY();
	{
		interval = DirectFunctionCall3(interval_in, CStringGetDatum(due),
									   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		refuse_due(place, due);
	}
	PG_END_TRY();
	return DatumGetIntervalP(interval);
}

/*
 * No part may be negative: the sum would depend on the calendar, and the
 * reading of signs depends on the session's IntervalStyle.
 */
static void
read_due(Machine *machine, const Place *place, Transition *transition)
{
	char		   *due = string_field(place, "due");
	const Interval *interval;

	transition->due_event = -1;
	if ((due == NULL) != (field(place, "due_event") == NULL))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"due\" and \"due_event\" of a transition go together"),
						culprit(place->transition, "key", due ? "due_event" : "due", NULL),
						errhint("Name both the time and the event that fires then, or neither.")));
	if (due == NULL)
		return;

	interval = parse_interval(place, due);
	if (interval->month < 0 || interval->day < 0 || interval->time < 0 ||
		(interval->month == 0 && interval->day == 0 && interval->time == 0) ||
		interval->month > MAX_DUE_MONTHS || interval->day > MAX_DUE_DAYS ||
		interval->time > MAX_DUE_DAYS * USECS_PER_DAY)
		refuse_due(place, due);
	transition->due = interval;
}

/* After all transitions: an event may be named before it is defined. */
static void
read_due_event(Machine *machine, const Place *place, Transition *transition)
{
	char *name = string_field(place, "due_event");
	int	 *of_state = &machine->due_event[transition->to];

	if (name == NULL)
		return;
	transition->due_event = machine_event(machine, name);
	if (machine_move(machine, transition->to, transition->due_event) == NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("due event \"%s\" is not legal in state \"%s\"", clipped(name),
					machine->states[transition->to]),
			 culprit(place->transition, "key", "due_event", "due_event", name, "state",
					 machine->states[transition->to], NULL),
			 errhint(
				 "It fires in the state to which the transition leads, so it must have a transition from there.")));
	if (*of_state >= 0 && *of_state != transition->due_event)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("state \"%s\" has two due events", machine->states[transition->to]),
				 culprit(place->transition, "state", machine->states[transition->to], "due_event",
						 name, "other", machine->events[*of_state], NULL),
				 errhint("All transitions into a state that have a due name the same event.")));
	*of_state = transition->due_event;
}

/* Splits "schema.function" or "function", quoted as in SQL. */
static void
read_guard(const Place *place, Transition *transition)
{
	char *guard = string_field(place, "guard");
	List *names = NIL;

	if (guard == NULL)
		return;
	if (!SplitIdentifierString(pstrdup(guard), '.', &names) || list_length(names) < 1 ||
		list_length(names) > 2)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is not a valid function name", clipped(guard)),
			 culprit(place->transition, "key", "guard", "guard", guard, NULL),
			 errhint("Name the function without its arguments, such as \"my_schema.my_guard\".")));
	transition->guard = guard;
	transition->guard_schema = list_length(names) == 2 ? linitial(names) : NULL;
	transition->guard_function = llast(names);
}

/* What is demanded of an order cannot be demanded before there is one. */
static void
check_creation(const Machine *machine, const Place *place, const Transition *transition)
{
	const char *key = transition->guard				 ? "guard"
					  : transition->requires_payment ? "requires_payment"
					  : transition->keeper_only		 ? "keeper_only"
													 : NULL;

	if (machine->creation)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("state machine has two creations"),
						culprit(place->transition, "event", CREATION_EVENT, NULL),
						errhint("Exactly one transition is from null.")));
	if (key)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("creation cannot have \"%s\"", key),
						culprit(place->transition, "key", key, NULL),
						errhint("Put it on a transition between states.")));
}

static void
read_transition(Machine *machine, const Place *place, Transition *transition)
{
	check_keys(place, transition_keys, lengthof(transition_keys));
	transition->from = read_from(machine, place);
	transition->event = read_event(machine, place, transition->from < 0);
	transition->to = intern_state(machine, name_field(place, "to"));
	transition->stock = read_stock(place);
	read_publish(machine, place, transition);
	read_due(machine, place, transition);
	read_guard(place, transition);
	transition->requires_payment = boolean_field(place, "requires_payment");
	transition->keeper_only = boolean_field(place, "keeper_only");
	if (transition->from < 0)
	{
		check_creation(machine, place, transition);
		machine->creation = transition;
	}
}

/* ---- the machine ---- */

static Place
transition_place(JsonbContainer *transitions, int index)
{
	JsonbValue *value = getIthJsonbValueFromContainer(transitions, index);
	Place		place = {NULL, index + 1};

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		refuse_type(&place, "transitions", "an array of objects");
	place.object = value->val.binary.data;
	return place;
}

/* The array under a key; NULL if the key is not there. */
static JsonbContainer *
array_field(const Place *place, const char *key)
{
	JsonbValue *value = field(place, key);

	if (value == NULL)
		return NULL;
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		refuse_type(place, key, "an array");
	return value->val.binary.data;
}

static JsonbContainer *
read_transitions(Machine *machine, const Place *top)
{
	JsonbContainer *array = array_field(top, "transitions");
	int				count = array ? JsonContainerSize(array) : 0;

	if (count > MAX_TRANSITIONS)
		refuse_limit("transitions", MAX_TRANSITIONS);
	/* each transition names at most two states and one event of its own */
	machine->states = palloc(sizeof(char *) * Min(2 * count, MAX_STATES));
	machine->events = palloc(sizeof(char *) * Min(count, MAX_EVENTS));
	machine->transitions = palloc0(sizeof(Transition) * count);
	for (int i = 0; i < count; i++)
	{
		Place place = transition_place(array, i);

		read_transition(machine, &place, &machine->transitions[i]);
		machine->ntransitions++;
	}
	if (machine->creation == NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("state machine has no creation"),
			 culprit(0, "key", "transitions", "event", CREATION_EVENT, NULL),
			 errhint("Exactly one transition is {\"from\": null, \"event\": \"%s\", \"to\": ...}.",
					 CREATION_EVENT)));
	return array;
}

/* A list of states, none twice, as a flag for each state. */
static bool *
read_states(const Machine *machine, const Place *top, const char *key)
{
	JsonbContainer *array = array_field(top, key);
	int				count = array ? JsonContainerSize(array) : 0;
	bool		   *flags = palloc0(sizeof(bool) * machine->nstates);

	for (int i = 0; i < count; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(array, i);
		char	   *name;
		int			state;

		if (value->type != jbvString)
			refuse_type(top, key, "an array of strings");
		name = string_value(top, key, value);
		state = machine_state(machine, name);
		if (state < 0 || flags[state])
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							state < 0 ? errmsg("state \"%s\" does not exist in the state machine",
											   clipped(name))
									  : errmsg("state \"%s\" is listed twice", name),
							culprit(0, "key", key, "state", name, NULL),
							errhint("List each state once that a transition names.")));
		flags[state] = true;
	}
	return flags;
}

static void
build_matrix(Machine *machine)
{
	machine->matrix = palloc0(sizeof(Transition *) * machine->nstates * machine->nevents);
	for (int i = 0; i < machine->ntransitions; i++)
	{
		const Transition  *transition = &machine->transitions[i];
		const Transition **cell;

		if (transition->from < 0)
			continue;
		cell = &machine->matrix[transition->from * machine->nevents + transition->event];
		if (*cell)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("state \"%s\" has two transitions for event \"%s\"",
							machine->states[transition->from], machine->events[transition->event]),
					 culprit(i + 1, "from", machine->states[transition->from], "event",
							 machine->events[transition->event], NULL),
					 errhint("An event leads from a state to exactly one other.")));
		*cell = transition;
	}
}

static void
read_due_events(Machine *machine, JsonbContainer *transitions)
{
	machine->due_event = palloc(sizeof(int) * machine->nstates);
	for (int i = 0; i < machine->nstates; i++)
		machine->due_event[i] = -1;
	for (int i = 0; i < machine->ntransitions; i++)
	{
		Place place = transition_place(transitions, i);

		read_due_event(machine, &place, &machine->transitions[i]);
	}
}

/* ---- what must hold for the whole ---- */

/* Final means no way out, and no way out means final. */
static void
check_ends(const Machine *machine)
{
	bool *has_exit = palloc0(sizeof(bool) * machine->nstates);

	for (int i = 0; i < machine->ntransitions; i++)
	{
		const Transition *transition = &machine->transitions[i];

		if (transition->from < 0)
			continue;
		has_exit[transition->from] = true;
		if (machine->final[transition->from])
			ereport(
				ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("final state \"%s\" has a way out", machine->states[transition->from]),
				 culprit(i + 1, "state", machine->states[transition->from], "event",
						 machine->events[transition->event], NULL),
				 errhint(
					 "Take the state out of \"final\" or the transition out of \"transitions\".")));
	}
	for (int i = 0; i < machine->nstates; i++)
		if (!has_exit[i] && !machine->final[i])
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("state \"%s\" is a dead end", machine->states[i]),
							culprit(0, "state", machine->states[i], NULL),
							errhint("Name it in \"final\" or give it a transition.")));
	pfree(has_exit);
}

pg_noreturn static void
refuse_effect(const Machine *machine, const Transition *transition, StockHolding before)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		 errmsg("stock effect \"%s\" does not fit what the order holds",
				effect_names[transition->stock]),
		 culprit(transition_no(machine, transition), "event", machine->events[transition->event],
				 "stock", effect_names[transition->stock], "holds", holding_names[before], NULL),
		 errhint(
			 "Stock goes from none to held by reserve, from held to confirmed by confirm, back to none by release or restock.")));
}

/* Checks one transition; true if it told something new about a state. */
static bool
follow(const Machine *machine, const Transition *transition, StockHolding *holdings)
{
	StockHolding  before = transition->from < 0 ? HOLDING_NONE : holdings[transition->from];
	StockHolding  after = before;
	StockHolding *known = &holdings[transition->to];

	if (before == HOLDING_UNKNOWN)
		return false;
	if (transition->stock != STOCK_NONE)
	{
		if (before != effect_holdings[transition->stock].before)
			refuse_effect(machine, transition, before);
		after = effect_holdings[transition->stock].after;
	}
	if (*known == after)
		return false;
	if (*known != HOLDING_UNKNOWN)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("paths to state \"%s\" disagree on what its orders hold",
					machine->states[transition->to]),
			 culprit(transition_no(machine, transition), "state", machine->states[transition->to],
					 "holds", holding_names[after], "other", holding_names[*known], NULL),
			 errhint("Give one of the paths another stock effect or a state of its own.")));
	*known = after;
	return true;
}

/*
 * Derives for each state what its orders hold, spreading out from the creation
 * until nothing new is learnt; what was not reached then never can be.
 */
static void
derive_holdings(Machine *machine)
{
	StockHolding *holdings = palloc0(sizeof(StockHolding) * machine->nstates);
	bool		  learnt;

	machine->holdings = holdings;
	do
	{
		learnt = false;
		for (int i = 0; i < machine->ntransitions; i++)
			learnt |= follow(machine, &machine->transitions[i], holdings);
	} while (learnt);

	for (int i = 0; i < machine->nstates; i++)
	{
		if (holdings[i] == HOLDING_UNKNOWN)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("state \"%s\" cannot be reached", machine->states[i]),
							culprit(0, "state", machine->states[i], NULL),
							errhint("Add a transition that leads to it, or take it out.")));
		if (holdings[i] == HOLDING_HELD && machine->final[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("final state \"%s\" still holds reserved stock", machine->states[i]),
					 culprit(0, "state", machine->states[i], "holds", holding_names[HOLDING_HELD],
							 NULL),
					 errhint("Release or confirm the stock on the way there.")));
	}
}

Machine *
machine_definition_parse(int machine_id, const char *name, Jsonb *definition)
{
	Machine		   *machine = palloc0(sizeof(Machine));
	Place			top = {&definition->root, 0};
	JsonbContainer *transitions;

	check_name(0, "name", name);
	if (!JB_ROOT_IS_OBJECT(definition))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("definition of a state machine must be a JSON object"),
				 culprit(0, "key", "definition", NULL),
				 errhint("It is {\"final\": [...], \"void\": [...], \"transitions\": [...]}.")));
	machine->machine_id = machine_id;
	machine->name = pstrdup(name);
	check_keys(&top, definition_keys, lengthof(definition_keys));
	transitions = read_transitions(machine, &top);
	machine->final = read_states(machine, &top, "final");
	machine->void_state = read_states(machine, &top, "void");
	build_matrix(machine);
	read_due_events(machine, transitions);
	derive_holdings(machine);
	check_ends(machine);
	return machine;
}
