/*
 * journal.h
 *		Append-only tables read between two snapshots by one consumer and
 *		emptied by rotation.
 *
 * A tick is a snapshot stored durably under an increasing batch number and a
 * random tick id.  Batch N is what is visible in snapshot N and not in N-1, in
 * id order (after PgQ).  Rows carry their top-level xid8, their era (the
 * cluster's system identifier) and an id drawn under the aggregate's lock.
 */
#ifndef ORDER_ENGINE_JOURNAL_H
#define ORDER_ENGINE_JOURNAL_H

#include "row.h"

/* The leaf into which rows are appended now. */
extern Oid	journal_leaf(const char *journal);

/* The system identifier of this cluster, as rows carry it. */
extern int64 journal_era(void);

/* From _PG_init. */
extern void journal_init(void);

#endif							/* ORDER_ENGINE_JOURNAL_H */
