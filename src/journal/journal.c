/*
 * journal.c
 *		Journals by SQL, for tests and for the curious.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"

#include "base/call.h"
#include "journal/journals_internal.h"
#include "journal/present_internal.h"
#include "journal/ring_internal.h"
#include "shop/owner.h"

PG_FUNCTION_INFO_V1(order_engine_journal_tick);
PG_FUNCTION_INFO_V1(order_engine_journal_batch);
PG_FUNCTION_INFO_V1(order_engine_journal_acknowledge);
PG_FUNCTION_INFO_V1(order_engine_journal_rotate);
PG_FUNCTION_INFO_V1(order_engine_journal_expire);

static Journal
journal_argument(FunctionCallInfo fcinfo)
{
	char		  *name;
	StringInfoData list;

	call_require(fcinfo, 0, "journal");
	name = call_text(fcinfo, 0);
	initStringInfo(&list);
	for (int i = 0; i < JOURNALS; i++)
	{
		if (strcmp(journals[i].name, name) == 0)
			return i;
		appendStringInfo(&list, i == 0 ? "%s" : ", %s", journals[i].name);
	}
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("journal \"%s\" does not exist", name),
					errhint("The journals are: %s.", list.data)));
}

/* What a fold has not put into stock must not count as consumed. */
static Journal
consumed_journal_argument(FunctionCallInfo fcinfo)
{
	Journal journal = journal_argument(fcinfo);

	if (journal == JOURNAL_STOCK)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("journal \"%s\" is consumed by the keeper alone", journals[journal].name),
				 errhint("The keeper, or CALL order_engine.tend(), folds it into table stock.")));
	return journal;
}

Datum
order_engine_journal_tick(PG_FUNCTION_ARGS)
{
	Journal			journal = journal_argument(fcinfo);
	JournalPosition position;
	OwnerScope		owner;
	bool			found;

	owner_begin(&owner);
	found = journal_tick(journal, &position);
	owner_end(&owner);
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_INT64(position.batch);
}

static bool
put_id(int64 id, TupleTableSlot *slot, void *argument)
{
	ReturnSetInfo *rsinfo = argument;
	Datum		   value = Int64GetDatum(id);
	bool		   isnull = false;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	return true;
}

Datum
order_engine_journal_batch(PG_FUNCTION_ARGS)
{
	Journal		   journal = journal_argument(fcinfo);
	JournalReader *reader;
	OwnerScope	   owner;

	call_require(fcinfo, 1, "batch");
	call_require(fcinfo, 2, "after_id");
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	owner_begin(&owner);
	reader =
		journal_reader_open(journal, PG_GETARG_INT64(1), PG_GETARG_INT64(2), CurrentMemoryContext);
	while (journal_read(reader, put_id, fcinfo->resultinfo) > 0)
		;
	journal_reader_close(reader);
	owner_end(&owner);
	return (Datum) 0;
}

Datum
order_engine_journal_acknowledge(PG_FUNCTION_ARGS)
{
	Journal	   journal = consumed_journal_argument(fcinfo);
	OwnerScope owner;

	call_require(fcinfo, 1, "batch");
	owner_begin(&owner);
	journal_acknowledge(journal, PG_GETARG_INT64(1),
						PG_ARGISNULL(2) ? JOURNAL_WHOLE : PG_GETARG_INT64(2));
	owner_end(&owner);
	PG_RETURN_VOID();
}

Datum
order_engine_journal_rotate(PG_FUNCTION_ARGS)
{
	Journal	   journal = journal_argument(fcinfo);
	OwnerScope owner;
	int		   emptied;

	owner_begin(&owner);
	emptied = journal_rotate(journal);
	owner_end(&owner);
	PG_RETURN_INT32(emptied);
}

Datum
order_engine_journal_expire(PG_FUNCTION_ARGS)
{
	Journal	   journal = consumed_journal_argument(fcinfo);
	OwnerScope owner;

	call_require(fcinfo, 1, "retention_ms");
	if (PG_GETARG_INT64(1) < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"retention_ms\" must not be negative")));
	owner_begin(&owner);
	journal_expire(journal, PG_GETARG_INT64(1));
	owner_end(&owner);
	PG_RETURN_VOID();
}

void
journal_init(void)
{
	ring_init();
	present_init();
}
