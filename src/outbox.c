/*
 * outbox.c
 *		Appends events to the outbox.  For now always to its first leaf: the
 *		journal, with its ring, is on its way.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "outbox.h"

static const RowColumns outbox_columns = {
	"outbox", 10,
	(const char *const[]) {"id", "aggregatetype", "aggregateid", "type", "payload", "headers", "created_at", "xid",
	"era", "ring"}
};

void
outbox_append(RowScope *scope, const OutboxEvent *event)
{
	Oid			leaf = get_relname_relid("outbox_0", get_namespace_oid("order_engine", false));
	RowTable   *table = row_open(scope, leaf, &outbox_columns);
	TupleTableSlot *slot = row_slot(table);

	row_new(table, slot);
	row_set(table, slot, 0, Int64GetDatum(event->id));
	row_set(table, slot, 1, CStringGetTextDatum(event->aggregatetype));
	row_set(table, slot, 2, CStringGetTextDatum(event->aggregateid));
	row_set(table, slot, 3, CStringGetTextDatum(event->type));
	row_set(table, slot, 4, CStringGetTextDatum(event->payload));
	row_set(table, slot, 6, TimestampTzGetDatum(GetCurrentTimestamp()));
	row_set(table, slot, 7, FullTransactionIdGetDatum(GetTopFullTransactionId()));
	row_set(table, slot, 8, Int64GetDatum(1));
	row_set(table, slot, 9, Int32GetDatum(0));
	row_insert(table, slot);
}
