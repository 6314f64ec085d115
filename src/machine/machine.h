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
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* bytes in the name of a machine, a state or an event */
#define MACHINE_MAX_NAME_LENGTH 63

/* the aggregate type of orders; that of an attached table is its machine's name */
#define ORDER_AGGREGATE_TYPE "order"

typedef enum StockEffect
{
	STOCK_NONE,
	STOCK_RESERVE, /* reserved + q */
	STOCK_CONFIRM, /* on_hand - q, reserved - q */
	STOCK_RELEASE, /* reserved - q */
	STOCK_RESTOCK, /* on_hand + q */
} StockEffect;

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
	int			 machine_id;
	const char	*name;
	int			 nstates;
	const char **states;	 /* in the order in which the definition names them */
	bool		*final;		 /* [nstates] */
	bool		*void_state; /* [nstates]: the order owes nothing */
	int *due_event; /* [nstates]: fires when due_at of an order in this state passes, -1: none */
	int	 nevents;
	const char		 **events;
	int				   ntransitions;
	Transition		  *transitions; /* in definition order */
	const Transition  *creation;
	const Transition **matrix; /* [nstates * nevents], NULL: illegal */
} Machine;

/* The machine with this id; from the table at its first use.  22023 if there is none. */
extern const Machine *machine_get(int machine_id);

/* The newest published version of this name.  22023 if there is none. */
extern const Machine *machine_latest(const char *name);

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

/* "none", "reserve", ... as a definition spells it. */
extern const char *machine_stock_effect_name(StockEffect effect);

/*
 * Reads a definition into the caller's memory context; knows no tables.  22023
 * with the culprit in DETAIL, 54000 if it is too large.
 */
extern Machine *machine_parse(int machine_id, const char *name, Jsonb *definition);

/*
 * Calls the guard of a transition, `(orders, event text, attributes jsonb)
 * returns boolean`, as its own owner, in a security-restricted operation (no
 * temporary tables, nothing deferred); what it sets is set back.  True: allowed
 * (null counts as false). `order` is a row of orders as a composite Datum, of the
 * type of `orders` itself, not of a leaf.  42501 if the function is not SECURITY
 * DEFINER, 42883 if it is gone, 42P13 if it returns something else, else what it
 * raises.
 */
extern bool machine_guard_allows(const Transition *transition, const char *event, Datum order,
								 Jsonb *attributes);

/* From _PG_init. */
extern void machine_init(void);

#endif /* ORDER_ENGINE_MACHINE_H */
