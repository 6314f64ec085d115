/*
 * direct_write.c
 *		The trigger that refuses direct writes to the engine's tables.
 *
 * The engine's own writes go through row.c, which leaves our triggers out, so
 * whatever reaches a trigger here is somebody else's.  Takes no locks.
 */
#include "postgres.h"

#include "commands/trigger.h"

#include "base/call.h"
#include "base/detail.h"
#include "base/errors.h"
#include "shop/direct_write.h"

PG_FUNCTION_INFO_V1(order_engine_refuse_direct_write);

static const char *
hint_for(const char *operation)
{
	if (strcmp(operation, "DELETE") == 0 || strcmp(operation, "TRUNCATE") == 0)
		return "What is recorded is kept; only delivered events are removed, by the order engine.";
	return "Only the order engine writes this.  Call its functions instead.";
}

void
direct_write_refuse(Relation rel, const char *operation, List *columns)
{
	ereport(ERROR, (errcode(ERRCODE_OE_DIRECT_WRITE),
					errmsg("direct %s on table \"%s\" is not allowed", operation,
						   RelationGetRelationName(rel)),
					detail_set("relation", detail_text(RelationGetRelationName(rel)), "operation",
							   detail_text(operation), "columns",
							   columns ? detail_texts(columns) : NULL, NULL),
					errhint("%s", hint_for(operation)), errtable(rel)));
}

const char *
direct_write_operation(TriggerEvent event)
{
	if (TRIGGER_FIRED_BY_INSERT(event))
		return "INSERT";
	if (TRIGGER_FIRED_BY_UPDATE(event))
		return "UPDATE";
	if (TRIGGER_FIRED_BY_DELETE(event))
		return "DELETE";
	return "TRUNCATE";
}

Datum
order_engine_refuse_direct_write(PG_FUNCTION_ARGS)
{
	TriggerData *data = call_trigger(fcinfo);

	direct_write_refuse(data->tg_relation, direct_write_operation(data->tg_event), NIL);
	PG_RETURN_NULL(); /* keep compiler quiet */
}
