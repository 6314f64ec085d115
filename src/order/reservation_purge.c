/*
 * reservation_purge.c
 *		Reservations that have been resolved for long are deleted.
 *
 * They are kept for a while, since a retry must find what its first call did, and who
 * confirms too late what has become of the hold.
 */
#include "postgres.h"

#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "base/call.h"
#include "base/statement.h"
#include "order/reservation.h"
#include "shop/columns.h"
#include "shop/direct_write.h"
#include "shop/shop.h"

static int retention = 86400; /* order_engine.reservation_retention, in seconds */

PG_FUNCTION_INFO_V1(order_engine_reservation_before_delete);

static TimestampTz
kept_since(void)
{
	return GetCurrentTimestamp() - (int64) retention * USECS_PER_SEC;
}

/*
 * Before the plan is made, which reads the leaves: REINDEX of a leaf lets readers in, and
 * then waits for them.  Who came to write with their locks in hand would wait for it.
 */
static void
lock_for_writing(void)
{
	Oid		  parent = shop_table(SHOP_RESERVATION);
	ListCell *lc;

	LockRelationOid(parent, RowExclusiveLock);
	foreach(lc, shop_partitions(parent))
		LockRelationOid(((ShopPartition *) lfirst(lc))->relid, RowExclusiveLock);
}

/*
 * SQL, since its rows are no engine's business any more: users' triggers and foreign
 * keys have their say, and ours lets pass what is old enough.
 */
int64
reservation_purge(int64 max)
{
	static Statement statement = {
		"DELETE FROM order_engine.reservation WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY("
		"SELECT r.id FROM order_engine.reservation r WHERE r.resolved_at OPERATOR(pg_catalog.<) $1"
		" LIMIT $2 FOR UPDATE SKIP LOCKED))",
		2,
		{TIMESTAMPTZOID, INT8OID}};
	Datum values[] = {TimestampTzGetDatum(kept_since()), Int64GetDatum(max)};
	int64 deleted;

	lock_for_writing();
	SPI_connect();
	deleted = statement_execute(&statement, values, NULL, 0);
	SPI_finish();
	return deleted;
}

static bool
is_kept(TriggerData *data)
{
	TupleDesc desc = RelationGetDescr(data->tg_relation);
	int		  attno = SPI_fnumber(desc, reservation_columns.columns[RESERVATION_RESOLVED_AT].name);
	bool	  isnull = true;
	Datum	  resolved_at = (Datum) 0;

	if (attno > 0 && SPI_gettypeid(desc, attno) == TIMESTAMPTZOID)
		resolved_at = SPI_getbinval(data->tg_trigtuple, desc, attno, &isnull);
	return isnull || DatumGetTimestampTz(resolved_at) >= kept_since();
}

Datum
order_engine_reservation_before_delete(PG_FUNCTION_ARGS)
{
	TriggerData *data = call_row_trigger(fcinfo, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_DELETE);

	if (is_kept(data))
		direct_write_refuse(data->tg_relation, direct_write_operation(data->tg_event), NIL);
	return PointerGetDatum(data->tg_trigtuple);
}

void
reservation_init(void)
{
	DefineCustomIntVariable(
		"order_engine.reservation_retention",
		"How long reservations are kept after they were confirmed, cancelled, expired or ordered.",
		"So long a retry finds what its first call did, and a late try_reserve() is refused.",
		&retention, 86400, 1, INT_MAX / 2, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}
