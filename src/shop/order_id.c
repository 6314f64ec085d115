/*
 * order_id.c
 *		Hands out ids that never repeat.
 *
 * An id is a counter with a slot written into its middle.  The counter is
 * milliseconds since ORDER_EPOCH_MS << SEQUENCE_BITS | sequence: it follows the
 * clock, and goes on counting where the clock stands still or steps back.
 *
 * Everything up to the last value of the sequence order_engine.order_id_lease
 * may have been handed out, by whomever.  Whoever moves it ahead, under the
 * lease lock (a heavyweight lock, so that a wait for it can be cancelled and
 * takes part in deadlock detection; given back at once, not at the end of the
 * transaction), and has flushed that, owns what lies between the old and the
 * new value.  So a crash, a promotion, a restore or a server that preloads the
 * library only now and then resumes above what was handed out before.
 *
 * With shared memory a database has a Counter in its slot that owns such a lease
 * and counts in it with one compare-and-swap an id.  It is lost when the slot is
 * given to another database, which does no more harm than a crash.  Its fields:
 *		last		only ever raised; at or below `lease` whenever it was taken
 *		lease		only ever raised, under the lease lock, after the sequence
 *					was flushed and `last` is above what it does not own
 *		sequence	written under the lease lock, after `lease`
 * Writers go in the order last, lease, sequence and readers in the opposite
 * one: who sees a new lease sees a `last` that lies in it, and a
 * compare-and-swap from an older `last` fails.
 *
 * Without shared memory each id moves the sequence.  So it is for a sequence
 * that this transaction has made, too: if it rolls back, what the shared
 * counter would have leased from it was never durable.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lock.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/database_slot.h"
#include "base/detail.h"
#include "shop/order_id.h"
#include "shop/owner.h"
#include "shop/slot.h"

#define CALL_NAME "next_order_id()"
#define SEQUENCE_SCHEMA "order_engine"
#define SEQUENCE_NAME "order_id_lease"

#define COUNTER_MAX ((UINT64CONST(1) << (63 - SLOT_BITS)) - 1)
#define COUNTER_FROM_MS(ms) ((uint64) (ms) << SEQUENCE_BITS)

/*
 * A lease reaches a second beyond the clock.  Ids that are ahead of the clock
 * already get a block of one millisecond's ids at a time, and wait that
 * millisecond for it, so that they never gain on the clock.
 */
#define LEASE_AHEAD COUNTER_FROM_MS(1000)
#define LEASE_BLOCK COUNTER_FROM_MS(1)

/* ORDER_EPOCH_MS in PostgreSQL's time */
#define ORDER_EPOCH_TIMESTAMP \
	(ORDER_EPOCH_MS * 1000 - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

PG_FUNCTION_INFO_V1(order_engine_next_order_id);
PG_FUNCTION_INFO_V1(order_engine_order_id_parts);

typedef struct Counter
{
	pg_atomic_uint32 sequence; /* whose lease this is; InvalidOid: none yet */
	pg_atomic_uint64 last;	   /* handed out last */
	pg_atomic_uint64 lease;	   /* may be handed out, inclusive */
} Counter;

static Size		counter_part;
static Counter *counter = NULL;				 /* this database's, once asked for; it never moves */
static Oid		lease_sequence = InvalidOid; /* reset by lease_invalidate() */

static int debug_clock_offset = 0; /* a setting, which PostgreSQL sets and resets */

/* The counter's value for this moment; the clock is taken to start at the epoch. */
static inline uint64
clock_counter(void)
{
	int64 ms = (GetCurrentTimestamp() - ORDER_EPOCH_TIMESTAMP) / 1000 + debug_clock_offset;

	return ms > 0 ? COUNTER_FROM_MS(ms) : 0;
}

/*
 * Takes the next value of the shared counter, if there is one that works under
 * this sequence and its lease reaches far enough.
 */
static inline bool
counter_take(Oid sequence, uint64 *value)
{
	uint64 now, last, lease;

	if (counter == NULL || !OidIsValid(sequence) ||
		pg_atomic_read_u32(&counter->sequence) != sequence)
		return false;
	pg_read_barrier();
	lease = pg_atomic_read_u64(&counter->lease);
	pg_read_barrier();
	now = clock_counter();
	last = pg_atomic_read_u64(&counter->last);
	do
	{
		*value = Max(last + 1, now);
		if (*value > lease)
			return false;
	} while (!pg_atomic_compare_exchange_u64(&counter->last, &last, *value));
	return true;
}

/*
 * True if the lease of this sequence covers the next value: somebody else moved it.  Under the
 * lease lock.
 */
static bool
counter_covered(Oid sequence)
{
	return pg_atomic_read_u32(&counter->sequence) == sequence &&
		   Max(pg_atomic_read_u64(&counter->last) + 1, clock_counter()) <=
			   pg_atomic_read_u64(&counter->lease);
}

/* Lets the counter go on above `spent`, up to `lease`, which is durable.  Under the lease lock. */
static void
counter_publish(uint64 spent, uint64 lease, Oid sequence)
{
	uint64 last = pg_atomic_read_u64(&counter->last);

	while (last < spent && !pg_atomic_compare_exchange_u64(&counter->last, &last, spent))
		;
	pg_write_barrier();
	pg_atomic_write_u64(&counter->lease, lease);
	pg_write_barrier();
	pg_atomic_write_u32(&counter->sequence, sequence);
}

/* False without shared memory. */
static bool
counter_find(void)
{
	if (counter == NULL)
		counter = database_slot_part(counter_part);
	return counter != NULL;
}

static void
init_counter(void *part)
{
	Counter *fresh = part;

	pg_atomic_init_u32(&fresh->sequence, InvalidOid);
	pg_atomic_init_u64(&fresh->last, 0);
	pg_atomic_init_u64(&fresh->lease, 0);
}

/* Relcache callback: may run in any transaction state, so it only forgets. */
static void
lease_invalidate(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == lease_sequence)
		lease_sequence = InvalidOid;
}

/* As the tables' owner.  The lock is the one that sequence functions take and keep. */
static Relation
lease_open(void)
{
	Oid relid =
		RangeVarGetRelid(makeRangeVar(SEQUENCE_SCHEMA, SEQUENCE_NAME, -1), RowExclusiveLock, true);

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_SEQUENCE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sequence \"%s.%s\" does not exist", SEQUENCE_SCHEMA, SEQUENCE_NAME),
				 errhint("Create it, set to at least (id >> 10) + 4096 of the highest id.")));
	lease_sequence = relid;
	return relation_open(relid, NoLock);
}

/* The lock under which the lease is moved; nobody else takes a sub-object of a relation. */
static void
lease_lock(Relation sequence, LOCKTAG *tag)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, RelationRelationId, RelationGetRelid(sequence), 1);
	(void) LockAcquire(tag, ExclusiveLock, false, false);
}

/* What may have been handed out.  A sequence never called gives null: nothing yet. */
static uint64
lease_read(Relation sequence)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum value;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = ObjectIdGetDatum(RelationGetRelid(sequence));
	fcinfo->args[0].isnull = false;
	value = pg_sequence_last_value(fcinfo);
	return fcinfo->isnull ? 0 : (uint64) Max(DatumGetInt64(value), 0);
}

/* Not transactional: it stays when the transaction rolls back. */
static void
lease_write(Relation sequence, uint64 value)
{
	if (value > COUNTER_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_SEQUENCE_GENERATOR_LIMIT_EXCEEDED),
				 errmsg("order ids are exhausted"),
				 errdetail("Sequence \"%s.%s\" is at its end.", SEQUENCE_SCHEMA, SEQUENCE_NAME),
				 errhint("Ids last until 2093: somebody has set the clock or the sequence.")));
	DirectFunctionCall2(setval_oid, ObjectIdGetDatum(RelationGetRelid(sequence)),
						Int64GetDatum((int64) value));
}

/*
 * Moves the lease of the shared counter ahead, unless another backend did so
 * while this one waited.  Everything up to the sequence's value is given up:
 * where it is not the counter's own lease it is somebody else's, and where it
 * is, the next value lies above it.
 */
static void
lease_extend(Relation sequence)
{
	LOCKTAG tag;

	lease_lock(sequence, &tag);
	if (!counter_covered(RelationGetRelid(sequence)))
	{
		uint64 spent = lease_read(sequence);
		uint64 least = Max(spent, pg_atomic_read_u64(&counter->lease)) + LEASE_BLOCK;
		uint64 lease = clock_counter() + LEASE_AHEAD;

		if (lease < least)
		{
			lease = least;
			pg_usleep(1000);
		}
		lease_write(sequence, lease);
		XLogFlush(XactLastRecEnd);
		counter_publish(spent, lease, RelationGetRelid(sequence));
	}
	LockRelease(&tag, ExclusiveLock, false);
}

/*
 * One value straight from the sequence.  It is flushed without the lock: a
 * later value's flush covers this one.
 */
static uint64
lease_take_one(Relation sequence)
{
	LOCKTAG tag;
	uint64	value;

	lease_lock(sequence, &tag);
	value = Max(lease_read(sequence) + 1, clock_counter());
	lease_write(sequence, value);
	LockRelease(&tag, ExclusiveLock, false);
	XLogFlush(XactLastRecEnd);
	return value;
}

/* True if the value came from the counter or the sequence, false to try again. */
static bool
lease_try(uint64 *value)
{
	Relation sequence = lease_open();
	bool	 done;

	if (sequence->rd_createSubid == InvalidSubTransactionId && counter_find())
	{
		lease_extend(sequence);
		/* it is locked: what lease_invalidate() has heard meanwhile does not matter */
		done = counter_take(RelationGetRelid(sequence), value);
	}
	else
	{
		*value = lease_take_one(sequence);
		done = true;
	}
	relation_close(sequence, NoLock);
	return done;
}

/* Another try is needed where others emptied the lease at once. */
static uint64
lease_take(void)
{
	OwnerScope owner;
	uint64	   value;

	owner_begin(&owner);
	while (!lease_try(&value))
		CHECK_FOR_INTERRUPTS();
	owner_end(&owner);
	return value;
}

int64
order_id_next(int slot)
{
	uint64 value;

	PreventCommandIfReadOnly(CALL_NAME);
	PreventCommandDuringRecovery(CALL_NAME);
	PreventCommandIfParallelMode(CALL_NAME);

	if (!counter_take(lease_sequence, &value))
		value = lease_take();
	return (int64) ((value >> SEQUENCE_BITS << (SLOT_BITS + SEQUENCE_BITS)) |
					((uint64) slot << SEQUENCE_BITS) | (value & (SEQUENCE_COUNT - 1)));
}

/* All that the sequence says, which is at least what the shared counter has handed out. */
static uint64
lease_spent(void)
{
	OwnerScope owner;
	Relation   sequence;
	uint64	   spent;

	owner_begin(&owner);
	sequence = lease_open();
	spent = lease_read(sequence);
	relation_close(sequence, NoLock);
	owner_end(&owner);
	return spent;
}

void
order_id_check(int64 order_id)
{
	uint64 value = ((uint64) order_id >> (SLOT_BITS + SEQUENCE_BITS) << SEQUENCE_BITS) |
				   (order_id & (SEQUENCE_COUNT - 1));

	if (value < clock_counter() + LEASE_BLOCK || value <= lease_spent())
		return;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("order id " INT64_FORMAT " lies in the future", order_id),
					detail_set("order_id", detail_id(order_id), NULL),
					errhint("Take the id from order_engine.next_order_id(user_id).")));
}

void
order_id_init(void)
{
	counter_part = database_slot_request(sizeof(Counter), init_counter);
	CacheRegisterRelcacheCallback(lease_invalidate, (Datum) 0);
	DefineCustomIntVariable("order_engine.debug_clock_offset",
							"Shifts the clock that order ids are made from.", "For tests only.",
							&debug_clock_offset, 0, -INT_MAX, INT_MAX, PGC_SUSET,
							GUC_UNIT_MS | GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
}

Datum
order_engine_next_order_id(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("user_id must not be null"),
						errhint("The slot of an order id is that of its user.")));
	PG_RETURN_INT64(order_id_next(slot_of_user(PG_GETARG_INT64(0))));
}

Datum
order_engine_order_id_parts(PG_FUNCTION_ARGS)
{
	int64	  order_id = PG_GETARG_INT64(0);
	TupleDesc tupdesc;
	Datum	  values[3];
	bool	  nulls[3] = {false};

	if (order_id < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("order id must not be negative"),
				 detail_set("order_id", detail_id(order_id), NULL),
				 errhint("Order ids come from order_engine.next_order_id().")));
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	values[0] = TimestampTzGetDatum((order_id >> (SLOT_BITS + SEQUENCE_BITS)) * 1000 +
									ORDER_EPOCH_TIMESTAMP);
	values[1] = Int32GetDatum(slot_of_order(order_id));
	values[2] = Int32GetDatum((int32) (order_id & (SEQUENCE_COUNT - 1)));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}
