/*
 * machine.c
 *		What a state machine allows: pure lookups in its matrix.
 */
#include "postgres.h"

#include "machine/machine.h"

int
machine_state(const Machine *machine, const char *name)
{
	for (int i = 0; i < machine->nstates; i++)
		if (strcmp(machine->states[i], name) == 0)
			return i;
	return -1;
}

int
machine_event(const Machine *machine, const char *name)
{
	for (int i = 0; i < machine->nevents; i++)
		if (strcmp(machine->events[i], name) == 0)
			return i;
	return -1;
}

const Transition *
machine_move(const Machine *machine, int state, int event)
{
	if (state < 0 || event < 0)
		return NULL;
	return machine->matrix[state * machine->nevents + event];
}

const Transition *
machine_move_between(const Machine *machine, int from, int to)
{
	const Transition *keeper = NULL;

	for (int i = 0; i < machine->ntransitions; i++)
	{
		const Transition *transition = &machine->transitions[i];

		if (transition->from < 0 || transition->from != from || transition->to != to)
			continue;
		if (!transition->keeper_only)
			return transition;
		if (keeper == NULL)
			keeper = transition;
	}
	return keeper;
}

List *
machine_allowed(const Machine *machine, int state)
{
	List *events = NIL;

	for (int i = 0; i < machine->ntransitions; i++)
	{
		const Transition *transition = &machine->transitions[i];

		if (transition->from >= 0 && transition->from == state && !transition->keeper_only)
			events = lappend(events, unconstify(char *, machine->events[transition->event]));
	}
	return events;
}
