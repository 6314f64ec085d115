/*
 * journal.h
 *		Append-only tables read between two snapshots by one consumer and
 *		emptied by rotation.
 *
 * A tick is a snapshot stored durably under an increasing batch number and a
 * random tick id.  Batch N is what is visible in snapshot N and not in N-1, in
 * id order (after PgQ).  Rows carry their top-level xid8, their era (the
 * cluster's system identifier) and an id drawn under the aggregate's lock.
 *
 * The consumer's turn, each line in a transaction of its own:
 *
 *		journal_open()					once, when it starts
 *		journal_tick()					false: nothing to do, sleep
 *		journal_reader_open(); journal_read() ...		one chunk
 *		journal_acknowledge(batch, id of the chunk's last row)
 *		... until journal_read() returns 0 ...
 *		journal_acknowledge(batch, JOURNAL_WHOLE)
 *
 * It publishes between these transactions, never inside one.  All functions: in
 * a transaction, as the tables' owner; backend or worker.  55000 where the
 * tables are missing or not whole (a restore is under way).
 */
#ifndef ORDER_ENGINE_JOURNAL_H
#define ORDER_ENGINE_JOURNAL_H

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "utils/uuid.h"

typedef enum Journal
{
	JOURNAL_OUTBOX,
	JOURNAL_STOCK,
} Journal;

#define JOURNALS (JOURNAL_STOCK + 1)

/* As the last id of a position: every row of the batch is consumed. */
#define JOURNAL_WHOLE PG_INT64_MAX

/* How far the consumer is: what journal_position says last. */
typedef struct JournalPosition
{
	int64		generation; /* raised when the identity of the cluster changes */
	pg_uuid_t	identity;	/* drawn when the generation was raised */
	int64		batch;		/* the newest tick's; 0: there was none yet */
	pg_uuid_t	tick_id;
	TimestampTz tick_at; /* when that tick was taken */
	int64 last_id; /* rows of the batch up to this id are consumed; 0: none, or JOURNAL_WHOLE */
} JournalPosition;

/* ---- writing ---- */

/*
 * The leaf into which rows are appended now, locked ROW EXCLUSIVE until the end
 * of the transaction.  Any leaf is as good as any other for being read, so one
 * whose lock is not free at once is passed over: a rotation never makes a
 * writer wait.  *ring is what the row's column `ring` must say.
 */
extern Oid journal_leaf(Journal journal, int *ring);

/* The system identifier of this cluster, as rows carry it. */
extern int64 journal_era(void);

/* True if the relation is one of the journal's leaves.  55000 where the tables do not exist. */
extern bool journal_is_leaf(Journal journal, Oid relid);

/* ---- the consumer ---- */

/*
 * Where the consumer has to go on; raises the generation if the cluster is
 * another one (or on another timeline) than the one that wrote the position.
 * Commits synchronously, so that a tick which an earlier process stored is
 * confirmed by synchronous standbys before it is used.
 */
extern void journal_open(Journal journal, JournalPosition *position);

/* The same without a change to anything, for status views; any role's snapshot. */
extern void journal_position(Journal journal, JournalPosition *position);

/*
 * Stores the next tick if there is something to read, the last batch is
 * acknowledged whole, and this process's last tick is not too young (see
 * journal_put_off()); false, and no tick, if not.  The batch may be used only
 * after the transaction has committed: that commit is synchronous, whatever the
 * settings say, and comes after all commits that the snapshot sees.
 */
extern bool journal_tick(Journal journal, JournalPosition *position);

/*
 * When journal_tick(), which has just returned false, should be called again, by
 * clock_ms(); 0: when there is something to read.  While the table of positions
 * cannot be emptied there are only so many ticks a second, the fewer, the larger
 * it has grown, but always some.
 */
extern int64 journal_put_off(Journal journal);

/*
 * Appends that rows of `batch` up to `last_id` are consumed.  Commits as the
 * setting synchronous_commit says; a position that a crash loses is repeated.
 * 55000 if `batch` is not the newest one.
 */
extern void journal_acknowledge(Journal journal, int64 batch, int64 last_id);

/*
 * Reads a batch.  A reader outlives transactions (in its own context, under
 * the parent given); its memory is bounded, whatever the size of the batch.
 */
typedef struct JournalReader JournalReader;

/* Rows of `batch` whose id is above `after_id`, in id order.  55000 if the batch is not known. */
extern JournalReader *
journal_reader_open(Journal journal, int64 batch, int64 after_id, MemoryContext parent);

/*
 * Calls `row` for the next rows, until it returns false (that row counts as
 * read) or the batch is at its end.  The slot is valid only inside the call and
 * has the shape of its leaf (slot->tts_tableOid).  Returns how many rows were
 * read: 0, the batch is at its end.
 */
typedef bool (*JournalRow)(int64 id, TupleTableSlot *slot, void *argument);
extern int64 journal_read(JournalReader *reader, JournalRow row, void *argument);

/* In or outside a transaction. */
extern void journal_reader_close(JournalReader *reader);

/* What the consumer has not acknowledged by now; beyond 100000 rows an estimate. */
typedef struct JournalBacklog
{
	int64		rows;
	int64		bytes;
	TimestampTz oldest; /* created_at; undefined without rows */
} JournalBacklog;

extern void journal_backlog(Journal journal, JournalBacklog *backlog);

/* ---- rotation ---- */

/*
 * Empties the leaves whose rows are consumed, moves on to an empty one when the
 * present leaf is full, adds one when none is empty.  Waits for nobody: what is
 * busy now is tried again next time.  Call it every few seconds from one
 * process: it remembers which snapshots it still has to outlive.  Returns how
 * many leaves were emptied.
 */
extern int journal_rotate(Journal journal);

/*
 * For a journal without a consumer: what is older than `retention_ms` counts
 * as consumed (it may stay up to twice as long).  Then call journal_rotate().  Nothing
 * happens while somebody else has the journal's lock, or a lock on its positions.
 */
extern void journal_expire(Journal journal, int64 retention_ms);

/* Defines the settings, asks for shared memory; from _PG_init. */
extern void journal_init(void);

#endif /* ORDER_ENGINE_JOURNAL_H */
