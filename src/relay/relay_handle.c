/*
 * relay_handle.c
 *		The relay's handle of its publisher: opened as the settings say, and
 *		what is to be known about it when it is gone.
 */
#include "postgres.h"

#include <unistd.h>

#include "fmgr.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "relay/relay.h"
#include "relay/relay_handle.h"
#include "worker/worker.h"

#define CLOSE_MS 100 /* no longer, or barriers of the whole server wait */
#define EXIT_MS 1000

static void
close_within(RelayHandle *handle, int timeout_ms)
{
	if (handle->state && !handle->publisher->close(handle->state, timeout_ms))
		handle->still_running = true;
	handle->state = NULL;
}

/* Perhaps in a transaction that has failed: nothing of the journal is touched. */
static void
close_at_exit(int code, Datum handle)
{
	close_within((RelayHandle *) DatumGetPointer(handle), EXIT_MS);
}

/* exit() would pull the ground from under threads that still run.  Shared memory is left by now. */
static void
leave_threads(int code, Datum handle)
{
	if (((RelayHandle *) DatumGetPointer(handle))->still_running)
		_exit(code);
}

void
relay_handle_init(RelayHandle *handle)
{
	handle->context = AllocSetContextCreate(TopMemoryContext, "order_engine relay properties",
											ALLOCSET_SMALL_SIZES);
	on_proc_exit(leave_threads, PointerGetDatum(handle));
	before_shmem_exit(close_at_exit, PointerGetDatum(handle));
}

/* The library is missing where it was built without Kafka: that must not end the relay. */
static const Publisher *
load_kafka_publisher(char **error)
{
	MemoryContext context = CurrentMemoryContext;
	const Publisher *volatile publisher = NULL;

	PG_TRY();
	{
		PublisherEntry entry = (PublisherEntry) load_external_function(
			KAFKA_PUBLISHER_LIBRARY, KAFKA_PUBLISHER_SYMBOL, true, NULL);

		publisher = entry();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		*error = CopyErrorData()->message;
		FlushErrorState();
	}
	PG_END_TRY();
	return publisher;
}

static bool
read_properties(RelayHandle *handle, char **error)
{
	MemoryContext context = MemoryContextSwitchTo(handle->context);
	bool		  valid = true;

	MemoryContextReset(handle->context);
	handle->properties = NIL;
	if (handle->kind == OUTBOX_TO_KAFKA)
		valid = relay_read_properties(&handle->properties, error);
	MemoryContextSwitchTo(context);
	return valid;
}

bool
relay_handle_open(RelayHandle *handle, char **error, const char **hint)
{
	char client_id[NAMEDATALEN + 32];

	snprintf(client_id, sizeof(client_id), "order_engine-%s", worker_database());
	handle->kind = outbox_publisher;
	handle->publisher =
		handle->kind == OUTBOX_TO_LOG ? log_publisher() : load_kafka_publisher(error);
	if (handle->publisher && read_properties(handle, error))
		handle->state = handle->publisher->open(client_id, handle->properties, error);
	if (handle->state)
		return true;
	handle->unreachable = false;
	*hint = handle->publisher ? "Correct order_engine.kafka_config or the file "
								"order_engine.kafka_config_file and reload."
							  : "Build with Kafka, or choose another order_engine.publisher.";
	return false;
}

bool
relay_handle_is_unreachable(RelayHandle *handle)
{
	PublisherReach reach =
		handle->state ? handle->publisher->reach(handle->state) : PUBLISHER_UNTRIED;

	if (reach != PUBLISHER_UNTRIED)
		handle->unreachable = reach == PUBLISHER_UNREACHABLE;
	return handle->unreachable;
}

void
relay_handle_forget_reach(RelayHandle *handle)
{
	handle->unreachable = false;
}

void
relay_handle_close(RelayHandle *handle)
{
	(void) relay_handle_is_unreachable(handle); /* to be remembered */
	close_within(handle, CLOSE_MS);
}

static bool
same_properties(List *a, List *b)
{
	ListCell *cell_a;
	ListCell *cell_b;

	if (list_length(a) != list_length(b))
		return false;
	forboth(cell_a, a, cell_b, b)
	{
		Property *pa = lfirst(cell_a);
		Property *pb = lfirst(cell_b);

		if (strcmp(pa->name, pb->name) != 0 || strcmp(pa->value, pb->value) != 0)
			return false;
	}
	return true;
}

bool
relay_handle_is_current(const RelayHandle *handle)
{
	List *now;
	char *error;

	if (handle->state == NULL || handle->kind != outbox_publisher)
		return false;
	return handle->kind != OUTBOX_TO_KAFKA ||
		   (relay_read_properties(&now, &error) && same_properties(now, handle->properties));
}

const char *
relay_handle_error(const RelayHandle *handle)
{
	return handle->state ? handle->publisher->last_error(handle->state) : "";
}

pgsocket
relay_handle_descriptor(const RelayHandle *handle)
{
	return handle->state ? handle->publisher->descriptor(handle->state) : PGINVALID_SOCKET;
}
