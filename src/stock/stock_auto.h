/*
 * stock_auto.h
 *		Stock in mode auto: the keeper switches it.
 *
 *		stock_auto_find();				in a transaction
 *		while (stock_auto_next())
 *			stock_auto_switch();		each in a transaction of its own
 */
#ifndef ORDER_ENGINE_STOCK_AUTO_H
#define ORDER_ENGINE_STOCK_AUTO_H

/* Finds SKUs that are hot, and those that have cooled down. */
extern void stock_auto_find(void);

/* Takes the next of them; false if there is none.  Outside a transaction. */
extern bool stock_auto_next(void);

/* Switches that one, if its row is in mode auto.  Raises as set_stock_mode(). */
extern void stock_auto_switch(void);

/* Defines the settings; from stock_init(). */
extern void stock_auto_init(void);

#endif /* ORDER_ENGINE_STOCK_AUTO_H */
