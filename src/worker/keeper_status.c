/*
 * keeper_status.c
 *		What the keeper, or tend() in its place, tells about itself.
 *
 * Shared memory: one KeeperStatus in each database's slot, written by that
 * database's keeper and by whoever calls tend() there, covered by the slots' lock.
 *
 * What an error says can be the words of a guard or a trigger, and those can be
 * taken from an order's `private`.  So the text is for who may read all orders; the
 * others, a monitor among them, are told its SQLSTATE and its order.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rls.h"
#include "utils/timestamp.h"

#include "base/call.h"
#include "base/database_slot.h"
#include "base/statement.h"
#include "base/wake.h"
#include "shop/owner.h"
#include "shop/shop.h"
#include "worker/keeper_status_internal.h"
#include "worker/service.h"

#define ERROR_LENGTH 256
#define LATE_USECS (60 * USECS_PER_SEC)

typedef struct KeeperStatus
{
	TimestampTz since;	   /* the keeper's start; 0: there was none */
	TimestampTz passed_at; /* the end of the last whole pass; 0: none */
	int64		resting;   /* as of then */
	TimestampTz error_at;  /* 0: no error */
	int64		error_order_id;
	int			error_code; /* its SQLSTATE, packed */
	char		error[ERROR_LENGTH];
} KeeperStatus;

static Size status_part;

PG_FUNCTION_INFO_V1(order_engine_keeper_state);
PG_FUNCTION_INFO_V1(order_engine_keeper_due);

/* ---- the keeper tells ---- */

/* The status of this database, locked; NULL, and nothing locked, without preload. */
static KeeperStatus *
lock_status(LWLockMode mode)
{
	KeeperStatus *status = database_slot_part(status_part);

	if (status)
		LWLockAcquire(database_slot_lock(), mode);
	return status;
}

static void
unlock_status(void)
{
	LWLockRelease(database_slot_lock());
}

void
keeper_status_start(void)
{
	KeeperStatus *status = lock_status(LW_EXCLUSIVE);

	status->since = GetCurrentTimestamp();
	unlock_status();
}

void
keeper_status_pass(int64 resting)
{
	KeeperStatus *status = lock_status(LW_EXCLUSIVE);

	if (status == NULL)
		return;
	status->passed_at = GetCurrentTimestamp();
	status->resting = resting;
	unlock_status();
}

void
keeper_status_error(int64 order_id, int sqlerrcode, const char *message)
{
	const char	 *text = message ? message : "missing error text";
	int			  length = pg_mbcliplen(text, strlen(text), ERROR_LENGTH - 1);
	KeeperStatus *status = lock_status(LW_EXCLUSIVE);

	if (status == NULL)
		return;
	status->error_at = GetCurrentTimestamp();
	status->error_order_id = order_id;
	status->error_code = sqlerrcode;
	memcpy(status->error, text, length);
	status->error[length] = '\0';
	unlock_status();
}

void
keeper_status_init(void)
{
	status_part = database_slot_request(sizeof(KeeperStatus), NULL);
}

/* ---- the views ask ---- */

static KeeperStatus
read_status(void)
{
	KeeperStatus *shown = lock_status(LW_SHARED);
	KeeperStatus  status = {0};

	if (shown == NULL)
		return status;
	status = *shown;
	unlock_status();
	return status;
}

/* All of them: a policy may keep the order that has failed from the caller. */
static bool
may_read_orders(void)
{
	Oid orders;

	if (!shop_is_whole())
		return false;
	orders = shop_table(SHOP_ORDERS);
	return pg_class_aclcheck(orders, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		   check_enable_rls(orders, InvalidOid, true) != RLS_ENABLED;
}

/* The columns last_error, last_error_code, last_error_order_id, last_error_at. */
static void
set_error(Datum *values, bool *nulls, const KeeperStatus *status)
{
	bool known = status->error_at != 0;

	call_set_text(&values[0], &nulls[0], known && may_read_orders() ? status->error : NULL);
	call_set_text(&values[1], &nulls[1], known ? unpack_sql_state(status->error_code) : NULL);
	values[2] = Int64GetDatum(status->error_order_id);
	nulls[2] = (status->error_order_id == 0);
	call_set_time(&values[3], &nulls[3], status->error_at);
}

Datum
order_engine_keeper_state(PG_FUNCTION_ARGS)
{
	static TupleDesc shape; /* of call_row() */
	KeeperStatus	 status = read_status();
	int				 pid = wake_pid(WAKE_KEEPER);
	const char		*reason = service_reason(pid != 0, status.since != 0);
	Datum			 values[10];
	bool			 nulls[10] = {false};

	call_set_text(&values[0], &nulls[0], reason ? "stopped" : "running");
	call_set_text(&values[1], &nulls[1], reason);
	values[2] = Int32GetDatum(pid);
	nulls[2] = (pid == 0);
	call_set_time(&values[3], &nulls[3], status.since);
	call_set_time(&values[4], &nulls[4], status.passed_at);
	values[5] = Int64GetDatum(status.resting);
	nulls[5] = (status.passed_at == 0);
	set_error(&values[6], &nulls[6], &status);
	return call_row(fcinfo, &shape, values, nulls);
}

/*
 * The oldest first, so that the limit cuts off none that is late while it shows one
 * that is not; each leaf is read by its index on due_at, and no further.
 */
Datum
order_engine_keeper_due(PG_FUNCTION_ARGS)
{
	static Statement statement = {
		"SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE d.due_at < $2),"
		" pg_catalog.min(d.due_at)"
		" FROM ((SELECT o.due_at FROM order_engine.orders o WHERE o.due_at <= $1"
		" ORDER BY o.due_at LIMIT 10000) UNION ALL"
		" (SELECT r.expires_at FROM order_engine.reservation r WHERE r.resolved_at IS NULL"
		" AND r.expires_at <= $1 ORDER BY r.expires_at LIMIT 10000)"
		" ORDER BY 1 LIMIT 10000) d",
		2,
		{TIMESTAMPTZOID, TIMESTAMPTZOID}};
	static TupleDesc shape; /* of call_row() */
	TimestampTz		 now = GetCurrentTimestamp();
	Datum	   arguments[] = {TimestampTzGetDatum(now), TimestampTzGetDatum(now - LATE_USECS)};
	OwnerScope owner;
	int64	   found[3]; /* a time is one, too */
	Datum	   values[3];
	bool	   nulls[3];

	owner_begin(&owner);
	SPI_connect();
	statement_execute(&statement, arguments, NULL, 0);
	for (int i = 0; i < lengthof(found); i++)
		found[i] = DatumGetInt64(
			SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &nulls[i]));
	SPI_finish();
	owner_end(&owner);
	for (int i = 0; i < lengthof(found); i++)
		values[i] = Int64GetDatum(found[i]);
	return call_row(fcinfo, &shape, values, nulls);
}
