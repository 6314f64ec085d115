/*
 * due_wait.h
 *		Patience for stock that is held although it is overdue.
 */
#ifndef ORDER_ENGINE_DUE_WAIT_H
#define ORDER_ENGINE_DUE_WAIT_H

#include "stock/stock.h"

/* True where the setting is not 0. */
extern bool due_wait_wanted(void);

/*
 * Where some of these lines look short, while orders or reservations that are overdue hold
 * what they want: wakes the keeper, and returns when either is over, at the latest after
 * order_engine.due_wait.  For a call that has locked nothing yet, since the keeper needs
 * what it holds.  Nothing under REPEATABLE READ and above, which would not see what has become
 * free; nothing where no keeper runs.
 */
extern void due_wait(const StockLine *lines, int nlines);

/* The setting; from _PG_init. */
extern void due_wait_init(void);

#endif /* ORDER_ENGINE_DUE_WAIT_H */
