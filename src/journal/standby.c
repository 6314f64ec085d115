/*
 * standby.c
 *		Which snapshots are in use on standbys, as far as they tell.
 *
 * A report on a standby is in the way of rotation there as one here is, with its
 * snapshot and with its locks: emptying a leaf replays an ACCESS EXCLUSIVE lock,
 * which waits for the report, all replay with it, and in the end cancels it.
 * What is known of it here is what the standby asks for by hot_standby_feedback:
 * its oldest xmin.  Standbys that do not ask are not waited for.
 */
#include "postgres.h"

#include "access/transam.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/spin.h"

#include "journal/standby_internal.h"

/* What one standby has its walsender hold back, unless a slot does it. */
static TransactionId
walsender_xmin(WalSnd *walsnd)
{
	pid_t	pid;
	PGPROC *proc;

	SpinLockAcquire(&walsnd->mutex);
	pid = walsnd->pid;
	SpinLockRelease(&walsnd->mutex);
	proc = pid != 0 ? BackendPidGetProc(pid) : NULL;

	/* one with a database decodes: its snapshots are this server's */
	return proc && !OidIsValid(proc->databaseId) ? proc->xmin : InvalidTransactionId;
}

TransactionId
standby_xmin(void)
{
	TransactionId oldest;

	ProcArrayGetReplicationSlotXmin(&oldest, NULL);
	for (int i = 0; i < max_wal_senders; i++)
		oldest = TransactionIdOlder(oldest, walsender_xmin(&WalSndCtl->walsnds[i]));
	return oldest;
}

/*
 * Standbys ask for what runs here as well as for what their snapshots
 * need, and do not tell which: while the oldest transaction here (an idle one, a
 * prepared one) is all that they hold back, there may be such a snapshot or not.
 * Who is `patient` waits for the transaction's end all the same.
 */
bool
standby_blocks(TransactionId writer, bool patient)
{
	TransactionId held = standby_xmin();

	if (!TransactionIdIsValid(held) || TransactionIdPrecedes(writer, held))
		return false;
	return patient || TransactionIdPrecedes(held, GetOldestActiveTransactionId());
}
