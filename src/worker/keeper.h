/*
 * keeper.h
 *		What is due, done in small transactions: by the keeper worker, or by
 *		CALL tend() where there is none.
 */
#ifndef ORDER_ENGINE_KEEPER_H
#define ORDER_ENGINE_KEEPER_H

#include "datatype/timestamp.h"
#include "utils/hsearch.h"

typedef struct DueOrder
{
	int64		order_id;
	TimestampTz due_at;
} DueOrder;

/* One walk through all that is due at its beginning, oldest first. */
typedef struct KeeperPass
{
	MemoryContext context;	/* outlives transactions */
	bool		  commits;	/* each step is a transaction of its own */
	bool		  worker;	/* nobody cancels it, and it waits for no lock for long */
	HTAB		 *resting;	/* orders to pass over, and when to look at them again */
	TimestampTz	  now;		/* what is due by then */
	int64		  began_at; /* of clock_ms() */
	DueOrder	 *due;		/* found, not locked; [ndue] */
	int			  ndue;
	int			  next;
	int			  alone;	/* so many of them go one by one, their batch has failed */
	DueOrder	  last;		/* where the search goes on */
	bool		  complete; /* nothing is left to find */
} KeeperPass;

/*
 * `parent` outlives the transactions of the pass.  `commits`: the caller commits
 * after each step, so the step checks deferred constraints itself.
 */
extern void keeper_pass_init(KeeperPass *pass, MemoryContext parent, bool commits);

/* Starts a pass over what is due now. */
extern void keeper_pass_begin(KeeperPass *pass);

/*
 * Does the next batch in the current transaction; the caller commits.  False
 * when the pass is over.  Orders that others hold are skipped; one that raises
 * is logged, passed over and tried again later, ever more rarely.
 */
extern bool keeper_step(KeeperPass *pass);

#endif /* ORDER_ENGINE_KEEPER_H */
