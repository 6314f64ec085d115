/*
 * keeper.h
 *		What is due, done in small transactions: by the keeper worker, or by
 *		CALL tend() where there is none.
 */
#ifndef ORDER_ENGINE_KEEPER_H
#define ORDER_ENGINE_KEEPER_H

/* Asks for shared memory; from _PG_init, after shared_init(). */
extern void keeper_init(void);

#endif /* ORDER_ENGINE_KEEPER_H */
