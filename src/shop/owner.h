/*
 * owner.h
 *		What acts as the owner of the shop's tables.
 */
#ifndef ORDER_ENGINE_OWNER_H
#define ORDER_ENGINE_OWNER_H

/* The engine acts as the owner of the tables between begin and end. */
typedef struct OwnerScope
{
	Oid userid;
	int sec_context;
	int guc_level; /* 0: nothing was changed */
} OwnerScope;

/*
 * Switches to the tables' owner with search_path = pg_catalog, pg_temp, as
 * referential-integrity triggers do, so that neither the caller's privileges
 * nor his search_path matter to what the engine and users' triggers do.  An
 * error restores both (the transaction or subtransaction machinery does).
 * 55000 as shop_table().
 */
extern void owner_begin(OwnerScope *scope);
extern void owner_end(OwnerScope *scope);

/*
 * Runs a function that only reads as the tables' owner, in a subtransaction that is rolled
 * back for its locks: REINDEX of a leaf lets readers in, and waits for them when it has the
 * leaf; who kept theirs would wait for it when he comes to write.  Raises what that raises.
 */
extern void owner_look(void (*look)(void *argument), void *argument);

#endif /* ORDER_ENGINE_OWNER_H */
