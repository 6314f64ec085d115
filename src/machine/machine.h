/*
 * machine.h
 *		State machines as dense matrices [state][event] -> transition, and what they
 *		allow.
 *
 * What a published Machine says never changes, and it lives for the life of the
 * backend (machine_catalog.h).
 */
#ifndef ORDER_ENGINE_MACHINE_H
#define ORDER_ENGINE_MACHINE_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* bytes in the name of a machine, a state or an event */
#define MACHINE_MAX_NAME_LENGTH 63

typedef enum StockEffect
{
	STOCK_NONE,
	STOCK_RESERVE, /* reserved + q */
	STOCK_CONFIRM, /* on_hand - q, reserved - q */
	STOCK_RELEASE, /* reserved - q */
	STOCK_RESTOCK, /* on_hand + q */
} StockEffect;

/* What an order in a state has of its lines' stock. */
typedef enum StockHolding
{
	HOLDING_UNKNOWN, /* of no published machine's state */
	HOLDING_NONE,
	HOLDING_HELD,
	HOLDING_CONFIRMED,
} StockHolding;

typedef struct Transition
{
	int				from;  /* index into states; -1: the creation */
	int				event; /* index into events */
	int				to;	   /* index into states */
	StockEffect		stock;
	const char	   *publish;		  /* event type of an order, NULL: publishes nothing */
	const char	   *publish_attached; /* the same for a row of an attached table */
	const Interval *due;			  /* NULL: none */
	int				due_event;		  /* index into events, -1: none */
	const char	   *guard;			  /* qualified function name, quoted, NULL: none */
	const char	   *guard_schema;	  /* its parts, unquoted */
	const char	   *guard_function;
	bool			requires_payment;
	bool			keeper_only;
} Transition;

typedef struct Machine
{
	int			  machine_id;
	const char	 *name;
	int			  nstates;
	const char	**states;	  /* in the order in which the definition names them */
	bool		 *final;	  /* [nstates] */
	bool		 *void_state; /* [nstates]: the order owes nothing */
	StockHolding *holdings;	  /* [nstates] */
	int *due_event; /* [nstates]: fires when due_at of an order in this state passes, -1: none */
	int	 nevents;
	const char		 **events;
	int				   ntransitions;
	Transition		  *transitions; /* in definition order */
	const Transition  *creation;
	const Transition **matrix; /* [nstates * nevents], NULL: illegal */
} Machine;

/* Index of a state or event name, -1 if the machine has none of that name. */
extern int machine_state(const Machine *machine, const char *name);
extern int machine_event(const Machine *machine, const char *name);

/* The transition of this event from this state, NULL if illegal. */
extern const Transition *machine_move(const Machine *machine, int state, int event);

/*
 * The transition that a change of state without an event means: the first
 * defined one between the two states that anyone may fire, else the first one
 * of the keeper, NULL if there is none.
 */
extern const Transition *machine_move_between(const Machine *machine, int from, int to);

/* The events that anyone may fire in a state, a list of strings in definition order. */
extern List *machine_allowed(const Machine *machine, int state);

#endif /* ORDER_ENGINE_MACHINE_H */
