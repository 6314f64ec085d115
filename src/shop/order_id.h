/*
 * order_id.h
 *		Ids of orders and events: 41 bits of milliseconds since 2024-01-01,
 *		10 bits slot, 12 bits sequence.
 */
#ifndef ORDER_ENGINE_ORDER_ID_H
#define ORDER_ENGINE_ORDER_ID_H

/*
 * The next id of this node with that slot written into it: greater than every
 * id handed out before in this database (compared without the slot), across
 * restarts, crashes, promotions and clocks stepped back.  25006 in a read-only
 * transaction or on a standby, 55000 before setup(), 2200H in the year 2093.
 * Backend or worker, in a transaction; may flush WAL when the lease is moved
 * ahead, and without shared memory does so for every id.
 */
extern int64 order_id_next(int slot);

/*
 * Raises 22023 for an id that cannot have been handed out yet: an order that lay
 * ahead of its user's later ones would be the newest for years, and take an id
 * from one of them.  Backend, in a transaction.
 */
extern void order_id_check(int64 order_id);

/* Requests shared memory, defines the settings; from _PG_init. */
extern void order_id_init(void);

#endif /* ORDER_ENGINE_ORDER_ID_H */
