/*
 * standby_internal.h
 *		Which snapshots are in use on standbys, as far as they tell.
 */
#ifndef ORDER_ENGINE_STANDBY_INTERNAL_H
#define ORDER_ENGINE_STANDBY_INTERNAL_H

/*
 * No snapshot on a standby with feedback is older than this; invalid if there is no such
 * standby.
 */
extern TransactionId standby_xmin(void);

/*
 * True if a standby may have a snapshot that does not see what this transaction
 * wrote.  Who is `patient` waits for the end of a transaction here, too, that may
 * be all that the standby holds back.
 */
extern bool standby_blocks(TransactionId writer, bool patient);

#endif /* ORDER_ENGINE_STANDBY_INTERNAL_H */
