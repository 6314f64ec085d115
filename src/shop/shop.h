/*
 * shop.h
 *		Where the shop's tables are: their OIDs, leaves and owner.
 */
#ifndef ORDER_ENGINE_SHOP_H
#define ORDER_ENGINE_SHOP_H

#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"

#define SCHEMA_VERSION 1

typedef enum ShopTable
{
	/* the order tables, partitioned by the slot of order_id */
	SHOP_ORDERS,
	SHOP_ORDER_LINE,
	SHOP_ORDER_EVENT,
	SHOP_PAYMENT,
	SHOP_RESERVATION, /* by the slot of its own id */
	/* plain tables */
	SHOP_MACHINE,
	SHOP_STOCK,
	SHOP_STOCK_MOVEMENT,
	/* journals and where their consumers are, partitioned by ring */
	SHOP_JOURNAL_POSITION,
	SHOP_OUTBOX,
	SHOP_STOCK_JOURNAL,
} ShopTable;

#define SHOP_TABLES (SHOP_STOCK_JOURNAL + 1)

/*
 * True if setup() has run in this database, and no restore of its tables is
 * still under way: for workers.  Never raises.
 */
extern bool shop_is_whole(void);

/*
 * OID of a table; of the leaf that holds a slot's orders (order tables only).
 * 55000, with the hint to run setup(), where the tables do not exist.  A node
 * owns the slots whose leaves it has: OE060 for any other.
 */
extern Oid shop_table(ShopTable table);
extern Oid shop_leaf(ShopTable table, int slot);

/* Who owns `orders`; 55000 as shop_table(). */
extern Oid shop_owner(void);

/*
 * The partitions of a partitioned table, by the catalogs alone: nothing is opened,
 * locked or evaluated, so that neither an owner's partition key is run nor a lock
 * on the table waited for while one on a partition is held.  What is relied on is
 * to be looked at again once the partition is locked.  List of ShopPartition.
 */
typedef struct ShopPartition
{
	Oid					relid;
	PartitionBoundSpec *bound;
} ShopPartition;

extern List *shop_partitions(Oid parent);

/* True if the relation is one of the leaves of an order table. */
extern bool shop_is_leaf(ShopTable table, Oid relid);

/* True if `function` is one of the engine's own trigger functions. */
extern bool shop_own_trigger(Oid function);

/* Registers the cache's invalidation; from _PG_init. */
extern void shop_init(void);

#endif /* ORDER_ENGINE_SHOP_H */
