/*
 * machine.h
 *		State machines: published, immutable, kept as a dense matrix
 *		[state][event] -> transition.
 *
 * A Machine lives for the life of the backend: what it says can never change.
 */
#ifndef ORDER_ENGINE_MACHINE_H
#define ORDER_ENGINE_MACHINE_H

#include "access/htup.h"
#include "datatype/timestamp.h"
#include "utils/jsonb.h"

typedef enum StockEffect
{
	STOCK_NONE,
	STOCK_RESERVE,				/* reserved + q */
	STOCK_CONFIRM,				/* on_hand - q, reserved - q */
	STOCK_RELEASE,				/* reserved - q */
	STOCK_RESTOCK,				/* on_hand + q */
} StockEffect;

typedef struct Transition
{
	int			from;			/* index into states; -1: the creation */
	int			event;			/* index into events */
	int			to;				/* index into states */
	StockEffect stock;
	const char *publish;		/* event type, NULL: publishes nothing */
	const Interval *due;		/* NULL: none */
	int			due_event;		/* index into events, -1: none */
	const char *guard;			/* qualified function name with its arguments, NULL: none */
	bool		requires_payment;
	bool		keeper_only;
} Transition;

typedef struct Machine
{
	int			machine_id;
	const char *name;
	int			nstates;
	const char **states;		/* in the order in which the definition names them */
	bool	   *final;			/* [nstates] */
	bool	   *void_state;		/* [nstates]: the order owes nothing */
	int		   *due_event;		/* [nstates]: what fires when due_at of an order in this state passes, -1: nothing */
	int			nevents;
	const char **events;
	int			ntransitions;
	Transition *transitions;	/* in definition order */
	const Transition *creation;
	const Transition **matrix;	/* [nstates * nevents], NULL: illegal */
} Machine;

/* The machine with this id; from the table at its first use.  22023 if there is none. */
extern const Machine *machine_get(int machine_id);

/* The newest published version of this name.  22023 if there is none. */
extern const Machine *machine_latest(const char *name);

/* Index of a state or event name, -1 if the machine has none of that name. */
extern int	machine_state(const Machine *machine, const char *name);
extern int	machine_event(const Machine *machine, const char *name);

/* The transition of this event from this state, NULL if illegal. */
extern const Transition *machine_move(const Machine *machine, int state, int event);

/* The first defined transition between two states, NULL if there is none. */
extern const Transition *machine_move_between(const Machine *machine, int from, int to);

/* The events legal from a state, as a JSON array of strings, for DETAIL and allowed_events(). */
extern char *machine_allowed_json(const Machine *machine, int state);

/*
 * Calls the guard of a transition, `(orders, event text, attributes jsonb)
 * returns boolean`, as its own owner.  True: allowed (null counts as false).
 * `order` is a row of orders as a composite Datum.  42501 if the function is
 * not SECURITY DEFINER, 42883 if it is gone, else what it raises.
 */
extern bool machine_guard_allows(const Transition *transition, const char *event, Datum order, Jsonb *attributes);

/* From _PG_init. */
extern void machine_init(void);

#endif							/* ORDER_ENGINE_MACHINE_H */
