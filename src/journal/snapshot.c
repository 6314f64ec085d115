/*
 * snapshot.c
 *		What a tick has seen, as it is stored.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "fmgr.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "journal/snapshot_internal.h"

bool
snapshot_sees(const TickSnapshot *snapshot, uint64 xid)
{
	uint32 low = 0, high;

	if (snapshot == NULL || xid >= snapshot->xmax)
		return false;
	if (xid < snapshot->xmin)
		return true;
	high = snapshot->nxip;
	while (low < high)
	{
		uint32 middle = low + (high - low) / 2;

		if (snapshot->xip[middle] == xid)
			return false;
		if (snapshot->xip[middle] < xid)
			low = middle + 1;
		else
			high = middle;
	}
	return true;
}

bool
snapshot_past(const TickSnapshot *snapshot, uint64 xid)
{
	return snapshot != NULL && xid < snapshot->xmin;
}

TickSnapshot *
snapshot_copy(const TickSnapshot *snapshot)
{
	if (snapshot == NULL)
		return NULL;
	return (TickSnapshot *) DatumGetPointer(datumCopy(PointerGetDatum(snapshot), false, -1));
}

/* Names this transaction as one in progress, if it has an id, which its own snapshots never do. */
static TickSnapshot *
without_own(const TickSnapshot *snapshot)
{
	uint64		  own = U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
	uint32		  place = 0;
	TickSnapshot *copy = palloc(VARSIZE(snapshot) + sizeof(uint64));

	memcpy(copy, snapshot, VARSIZE(snapshot));
	if (own == 0 || !snapshot_sees(snapshot, own))
		return copy;
	while (place < snapshot->nxip && snapshot->xip[place] < own)
		place++;
	copy->xip[place] = own;
	memcpy(&copy->xip[place + 1], &snapshot->xip[place], sizeof(uint64) * (snapshot->nxip - place));
	copy->nxip++;
	copy->xmin = Min(copy->xmin, own);
	SET_VARSIZE(copy, VARSIZE(snapshot) + sizeof(uint64));
	return copy;
}

TickSnapshot *
snapshot_take(Snapshot snapshot)
{
	Datum value;

	PushActiveSnapshot(snapshot);
	value = OidFunctionCall0(F_PG_CURRENT_SNAPSHOT);
	PopActiveSnapshot();
	return without_own((TickSnapshot *) DatumGetPointer(value));
}
