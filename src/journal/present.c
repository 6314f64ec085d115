/*
 * present.c
 *		The leaf of a journal that rows are appended to now.
 *
 * Every batch looks into all leaves, so it never matters for reading which one
 * a writer chose.  That is why nothing here has to be exact, and why a writer
 * never waits: he takes the first leaf whose lock is free at once.
 *
 * Owns the number of the present leaf in shared memory (one atomic word for each
 * journal of a database; its durable form is journal_position.current_ring).
 */
#include "postgres.h"

#include "access/xact.h"
#include "port/atomics.h"
#include "storage/lmgr.h"

#include "base/database_slot.h"
#include "journal/position_internal.h"
#include "journal/present_internal.h"
#include "journal/ring_internal.h"

typedef struct Place
{
	pg_atomic_uint64
		current[JOURNALS]; /* OID of the journal << 32 | its present ring; 0: not known */
} Place;

static Size	  place_part;
static Place *place = NULL; /* this database's, once asked for: it never moves */

/* Without shared memory, once asked for; forgotten at the end of the transaction. */
static struct
{
	bool known;
	int	 ring;
} local[JOURNALS];

static void
find_place(void)
{
	if (place == NULL)
		place = database_slot_part(place_part);
}

void
present_set(Journal journal, int ring)
{
	find_place();
	if (place)
		pg_atomic_write_u64(&place->current[journal],
							((uint64) shop_table(journals[journal].table) << 32) | (uint32) ring);
	else
	{
		local[journal].known = true;
		local[journal].ring = ring;
	}
}

/* The durable form; before the first position, the first leaf. */
static int
stored_ring(Journal journal)
{
	JournalState state;

	if (position_read(journal, journal_era(), &state))
		return state.current_ring;
	return ring_get(journals[journal].table)->leaves[0].ring;
}

int
present_ring(Journal journal)
{
	uint64 word = 0;

	find_place();
	if (place)
		word = pg_atomic_read_u64(&place->current[journal]);
	else if (local[journal].known)
		return local[journal].ring;

	/* a shop that was dropped and made again has another table */
	if (word >> 32 != shop_table(journals[journal].table))
	{
		present_set(journal, stored_ring(journal));
		return present_ring(journal);
	}
	return (int) (uint32) word;
}

static void
forget_local_ring(XactEvent event, void *arg)
{
	memset(local, 0, sizeof(local));
}

Oid
journal_leaf(Journal journal, int *number)
{
	int			current = present_ring(journal);
	const Ring *ring = ring_get(journals[journal].table);
	int			first = 0;

	for (int i = 0; i < ring->nleaves; i++)
		if (ring->leaves[i].ring == current)
			first = i;
	for (int i = 0; i < ring->nleaves; i++)
	{
		Leaf leaf = ring->leaves[(first + i) % ring->nleaves];

		if (ConditionalLockRelationOid(leaf.relid, RowExclusiveLock))
		{
			*number = leaf.ring;
			return leaf.relid;
		}
	}

	/* somebody has locked them all by hand */
	*number = ring->leaves[first].ring;
	return ring->leaves[first].relid;
}

int
present_leave(Journal journal)
{
	int	  nleaves;
	Leaf *leaves = ring_leaves(journals[journal].table, &nleaves);

	for (int i = 0; i < nleaves; i++)
	{
		if (ring_leaf_blocks(leaves[i].relid) > 0)
			continue;
		present_set(journal, leaves[i].ring);
		break;
	}
	pfree(leaves);
	return present_ring(journal);
}

static void
init_place(void *part)
{
	Place *fresh = part;

	for (int i = 0; i < JOURNALS; i++)
		pg_atomic_init_u64(&fresh->current[i], 0);
}

void
present_init(void)
{
	place_part = database_slot_request(sizeof(Place), init_place);
	RegisterXactCallback(forget_local_ring, NULL);
}
