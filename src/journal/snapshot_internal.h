/*
 * snapshot_internal.h
 *		What a tick has seen, as it is stored.
 */
#ifndef ORDER_ENGINE_SNAPSHOT_INTERNAL_H
#define ORDER_ENGINE_SNAPSHOT_INTERNAL_H

#include "utils/snapshot.h"

/*
 * A pg_snapshot, whose binary form is an on-disk format (xid8funcs.c) and so
 * cannot change.  xip is sorted.
 */
typedef struct TickSnapshot
{
	int32  varlena;
	uint32 nxip;
	uint64 xmin;
	uint64 xmax;
	uint64 xip[FLEXIBLE_ARRAY_MEMBER];
} TickSnapshot;

/* True if the transaction had ended when the snapshot was taken; NULL is before everything. */
extern bool snapshot_sees(const TickSnapshot *snapshot, uint64 xid);

/*
 * True if all transactions up to this one had ended; NULL is before everything.
 * For the xmin of a row, which may be a subtransaction's: a snapshot names the
 * top ones alone.
 */
extern bool snapshot_past(const TickSnapshot *snapshot, uint64 xid);

/* A copy, palloc'ed; NULL of NULL. */
extern TickSnapshot *snapshot_copy(const TickSnapshot *snapshot);

/* What a snapshot sees but for this transaction, which has not ended yet; palloc'ed. */
extern TickSnapshot *snapshot_take(Snapshot snapshot);

#endif /* ORDER_ENGINE_SNAPSHOT_INTERNAL_H */
