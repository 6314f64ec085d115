/*
 * relay_status.c
 *		What the relay tells about itself and is told: settings, status, pause.
 *
 * Shared memory: one RelayStatus in each database's slot, written by that
 * database's relay, covered by the slots' lock.
 *
 * Pause is durable, in the one row of the table `shop`.  Who changes it also
 * invalidates that relation's cache entry, so the relay hears of it at its
 * next transaction, if and when the change commits.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/call.h"
#include "base/compat.h"
#include "base/database_slot.h"
#include "base/statement.h"
#include "base/wake.h"
#include "journal/journal.h"
#include "relay/relay.h"
#include "shop/owner.h"
#include "shop/row.h"
#include "worker/service.h"

#define LIMIT_MARGIN 4096  /* Kafka's own part of a message */
#define QUEUE_KBYTES 65536 /* of messages in the client library, copied or in flight */

static const char *const state_names[] = {
	[RELAY_STOPPED] = "stopped", [RELAY_DISABLED] = "disabled",		  [RELAY_RUNNING] = "running",
	[RELAY_PAUSED] = "paused",	 [RELAY_UNREACHABLE] = "unreachable", [RELAY_BLOCKED] = "blocked",
};

/* the settings, which PostgreSQL sets and resets */
static char		  *kafka_config_shown; /* secrets masked: what SHOW and pg_settings see */
static const char *kafka_config = "";  /* as it was written; goes with the one above */
static char		  *kafka_config_file;

static Size status_part;

PG_FUNCTION_INFO_V1(order_engine_relay_state);
PG_FUNCTION_INFO_V1(order_engine_relay_lag);
PG_FUNCTION_INFO_V1(order_engine_pause_relay);
PG_FUNCTION_INFO_V1(order_engine_resume_relay);

/* ---- settings ---- */

/*
 * Refuses nothing, since a refused value is written to the log; the relay says
 * what is wrong with it.  What was written is kept aside, and what remains in
 * the setting (and in pg_settings.reset_val, which no show hook reaches) has
 * its secrets masked.
 */
static bool
mask_kafka_config(char **newval, void **extra, GucSource source)
{
	char *masked = property_mask(*newval);
	Size  size = strlen(masked) + 1;
	char *shown = compat_guc_malloc(size);

	if (shown == NULL)
		return false;
	memcpy(shown, masked, size);
	pfree(masked);
	*extra = *newval;
	*newval = shown;
	return true;
}

static void
assign_kafka_config(const char *newval, void *extra)
{
	kafka_config = extra ? extra : "";
}

static void
add_number(List **properties, const char *name, int value)
{
	Property *property = palloc0(sizeof(Property));

	property->name = pstrdup(name);
	property->value = psprintf("%d", value);
	*properties = lappend(*properties, property);
}

bool
relay_read_properties(List **properties, char **error)
{
	/* what the outbox lets through, the client library shall not refuse */
	int limit =
		atoi(GetConfigOption("order_engine.max_message_bytes", false, false)) + LIMIT_MARGIN;

	*properties = NIL;
	add_number(properties, "message.max.bytes", limit);
	add_number(properties, "queue.buffering.max.kbytes", Max(QUEUE_KBYTES, limit / 1024 + 1));
	if (kafka_config_file[0] != '\0' && !property_read_file(kafka_config_file, properties, error))
		return false;
	if (!property_parse(kafka_config, properties, error))
	{
		*error = psprintf("order_engine.kafka_config: %s", *error);
		return false;
	}
	return true;
}

static void
define_settings(void)
{
	DefineCustomStringVariable(
		"order_engine.kafka_config", "Properties of librdkafka, written like a connection string.",
		"For example bootstrap.servers=127.0.0.1:9092 compression.codec=lz4. Secrets belong into order_engine.kafka_config_file.",
		&kafka_config_shown, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, mask_kafka_config,
		assign_kafka_config, NULL);
	DefineCustomStringVariable(
		"order_engine.kafka_config_file",
		"File with properties of librdkafka, in .properties format.",
		"It is read again on reload. order_engine.kafka_config wins over it.", &kafka_config_file,
		"", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

/* ---- status ---- */

void
relay_status_set(const RelayStatus *status)
{
	RelayStatus *shown = database_slot_part(status_part);

	LWLockAcquire(database_slot_lock(), LW_EXCLUSIVE);
	*shown = *status;
	LWLockRelease(database_slot_lock());
}

/* What this database's relay has set last; nothing without preload. */
static RelayStatus
status_read(void)
{
	RelayStatus *shown = database_slot_part(status_part);
	RelayStatus	 status = {0};

	if (shown == NULL)
		return status;
	LWLockAcquire(database_slot_lock(), LW_SHARED);
	status = *shown;
	LWLockRelease(database_slot_lock());
	return status;
}

RelayStatus
relay_status_start(void)
{
	RelayStatus status = status_read();

	status.since = GetCurrentTimestamp();
	status.published = status.refused = 0;
	status.published_at = 0;
	return status;
}

/*
 * Of this database's relay; what the last one said, if none runs now.  *reason: why it
 * publishes nothing, NULL where last_error says it or nothing is wrong.
 */
static RelayStatus
status_get(int pid, const char **reason)
{
	RelayStatus status = status_read();
	bool		known = status.since != 0;

	*reason = NULL;
	if (pid == 0)
		status.state = RELAY_STOPPED;
	if (!known || pid == 0)
		status.publisher = outbox_publisher;
	if (status.state == RELAY_DISABLED)
		*reason = "order_engine.publisher is none";
	else if (status.state == RELAY_PAUSED)
		*reason = "pause_relay() was called";
	else
		*reason = service_reason(pid != 0, known);
	if (*reason && status.state == RELAY_RUNNING)
		status.state = RELAY_STOPPED;
	return status;
}

/* Neither is ever 0. */
static inline void
set_id(Datum *value, bool *isnull, int64 id)
{
	*value = Int64GetDatum(id);
	*isnull = (id == 0);
}

Datum
order_engine_relay_state(PG_FUNCTION_ARGS)
{
	static TupleDesc shape; /* of call_row() */
	int				 pid = wake_pid(WAKE_RELAY);
	const char		*reason;
	RelayStatus		 status = status_get(pid, &reason);
	Datum			 values[13];
	bool			 nulls[13] = {false};

	values[0] = CStringGetTextDatum(state_names[status.state]);
	call_set_text(&values[1], &nulls[1], reason);
	values[2] = CStringGetTextDatum(outbox_publisher_name(status.publisher));
	values[3] = Int32GetDatum(pid);
	nulls[3] = (pid == 0);
	set_id(&values[4], &nulls[4], status.generation);
	set_id(&values[5], &nulls[5], status.batch);
	set_id(&values[6], &nulls[6], status.event_id);
	values[7] = Int64GetDatum(status.published);
	values[8] = Int64GetDatum(status.refused);
	call_set_time(&values[9], &nulls[9], status.since);
	call_set_time(&values[10], &nulls[10], status.published_at);
	call_set_text(&values[11], &nulls[11], status.error_at == 0 ? NULL : status.error);
	call_set_time(&values[12], &nulls[12], status.error_at);
	return call_row(fcinfo, &shape, values, nulls);
}

Datum
order_engine_relay_lag(PG_FUNCTION_ARGS)
{
	static TupleDesc shape; /* of call_row() */
	OwnerScope		 owner;
	JournalBacklog	 backlog;
	Datum			 values[3];
	bool			 nulls[3] = {false};
	double			 age = 0;

	owner_begin(&owner);
	journal_backlog(JOURNAL_OUTBOX, &backlog);
	owner_end(&owner);
	if (backlog.rows > 0)
		age = Max(0, (GetCurrentTimestamp() - backlog.oldest) / (double) USECS_PER_SEC);
	values[0] = Int64GetDatum(backlog.rows);
	values[1] = Int64GetDatum(backlog.bytes);
	values[2] = Float8GetDatum(age);
	return call_row(fcinfo, &shape, values, nulls);
}

/* ---- pause ---- */

/* Locks the table's one row and reads it. */
static TupleTableSlot *
lock_shop(RowTable *shop)
{
	TupleTableSlot *row = row_slot(shop);

	if (!row_lock_single(shop, row))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"order_engine.shop\" has no row")));
	return row;
}

/* True if it was not so before. */
static bool
change_pause(RowScope *scope, bool paused)
{
	Oid				schema = get_namespace_oid("order_engine", false);
	RowTable	   *shop = row_open(scope, get_relname_relid("shop", schema), &shop_columns);
	TupleTableSlot *old = lock_shop(shop);
	TupleTableSlot *new = row_slot(shop);

	if (DatumGetBool(row_get_required(shop, old, SHOP_RELAY_PAUSED)) == paused)
		return false;
	row_copy(shop, new, old);
	row_set(shop, new, SHOP_RELAY_PAUSED, BoolGetDatum(paused));
	row_update(shop, old, new, 1, (const int[]){SHOP_RELAY_PAUSED});
	CacheInvalidateRelcache(shop->rel);
	wake_at_commit(WAKE_RELAY);
	return true;
}

static bool
set_paused(bool paused, const char *call)
{
	OwnerScope owner;
	RowScope   scope;
	bool	   changed;

	owner_begin(&owner);
	row_scope_begin(&scope, call);
	changed = change_pause(&scope, paused);
	row_scope_end(&scope);
	owner_end(&owner);
	return changed;
}

bool
relay_is_paused(void)
{
	static Statement query = {"SELECT relay_paused FROM order_engine.shop"};
	bool			 paused;
	bool			 isnull;

	SPI_connect();
	paused = statement_execute(&query, NULL, NULL, 1) > 0 &&
			 DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return paused;
}

Datum
order_engine_pause_relay(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(set_paused(true, "pause_relay()"));
}

Datum
order_engine_resume_relay(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(set_paused(false, "resume_relay()"));
}

void
relay_init(void)
{
	define_settings();
	status_part = database_slot_request(sizeof(RelayStatus), NULL);
}
