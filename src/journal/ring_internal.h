/*
 * ring_internal.h
 *		The leaves of a table that is partitioned by ring.
 */
#ifndef ORDER_ENGINE_RING_INTERNAL_H
#define ORDER_ENGINE_RING_INTERNAL_H

#include "storage/block.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "journal/journals_internal.h"
#include "shop/shop.h"

/* A leaf of a journal, or of journal_position. */
typedef struct Leaf
{
	int ring;
	Oid relid;
} Leaf;

typedef struct Ring
{
	Oid			  parent;
	bool		  valid;
	int			  nleaves;
	Leaf		 *leaves; /* in the order of their numbers, in `context` */
	MemoryContext context;
} Ring;

/*
 * The ring of a table, to be used before anything else asks for one of this table.
 * 55000 where the table does not exist, has no leaves, or one that is no plain table;
 * so the other functions that take a table.
 */
extern const Ring *ring_get(ShopTable table);

/* Its leaves, in the order of their numbers; palloc'ed. */
extern Leaf *ring_leaves(ShopTable table, int *nleaves);

/*
 * The same, by OID, each locked in this mode to the end of the transaction in
 * that order, in which ALTER TABLE of the whole table locks them too: so neither
 * waits for the other in a circle.  To be called before the snapshot is taken
 * under which they are read: one from before the end of a wait sees nothing of
 * what was written anew meanwhile.
 */
extern Leaf *ring_lock(ShopTable table, LOCKMODE mode, int *nleaves);

/* The same without waiting; NULL if one is not free, and what has been locked stays so. */
extern Leaf *ring_lock_if_free(ShopTable table, LOCKMODE mode, int *nleaves);

/*
 * 40001 unless the snapshot, which may be older than their locks, sees the files that
 * these leaves have: in those of a leaf that was emptied or written anew since it would
 * find nothing.  On a standby nothing else keeps that from it.
 */
extern void ring_check_seen(ShopTable table, const Leaf *leaves, int nleaves, Snapshot snapshot);

/* The leaf with this number; 55000 if there is none. */
extern Oid ring_leaf(ShopTable table, int number);

/* Size of a leaf; InvalidBlockNumber if that would mean to wait for a lock. */
extern BlockNumber ring_leaf_blocks(Oid relid);

/* order_engine.journal_rotate_size, in bytes. */
extern uint64 ring_leaf_size(void);

/* The B-tree index of a leaf on these columns, for all rows; 55000 if it has none. */
extern Oid ring_index(Relation rel, int ncolumns, const char *const *columns);

/* The one by which batches are read, on (era, xid, id). */
extern Oid ring_entry_index(Relation rel);

/* Raises 55000 while the journal's table is still being restored. */
extern void ring_require_whole(Journal journal);

/* Defines the setting, registers the cache's invalidation; from journal_init(). */
extern void ring_init(void);

#endif /* ORDER_ENGINE_RING_INTERNAL_H */
