/*
 * relay.c
 *		The background worker that publishes the outbox.
 *
 * A turn of its loop: in one short transaction it stores the position, ticks
 * and reads a chunk of the batch; then, with no transaction open, it offers the
 * events to the publisher and collects outcomes.  Only outcomes move the
 * position, which is the last event up to which all are delivered.  So several
 * chunks can be in flight, and whatever happens, the relay goes on behind the
 * position: every event is published at least once, in order.
 *
 * When an event is not delivered, nothing more is offered: later events of
 * its key must not overtake it for good.  If the event itself was refused, the
 * relay waits for the fate of the others in flight, and offers it again after
 * a while, alone, with a fresh handle (librdkafka remembers a topic's errors
 * for minutes).
 *
 * All state is this process's own; what others see of it is in relay_status.c.
 */
#include "postgres.h"

#include <unistd.h>

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/compat.h"
#include "journal/journal.h"
#include "journal/outbox.h"
#include "relay/publisher.h"
#include "relay/relay.h"
#include "relay/relay_message.h"
#include "worker/worker.h"

#define CHUNK_EVENTS 5000
#define CHUNK_BYTES (4 * 1024 * 1024)
#define WINDOW_SIZE 65536 /* a power of two, more than a publisher takes */
#define OUTCOMES 1024

#define STORE_MS 100	/* the position is stored at most this often while events flow */
#define CONTROL_MS 1000 /* and the pause looked at at least this often */
#define ROTATE_MS 1000
#define ROTATE_RETRY_MS 60000
#define REOPEN_MS 100 /* after a broken handle; doubles up to the maximum */
#define RETRY_MS 1000 /* after a refused event or configuration; the same */
#define MAX_BACKOFF_MS 10000
#define FINISH_MS 500
#define CLOSE_MS 100 /* no longer, or barriers of the whole server wait */
#define EXIT_MS 1000

/* What the relay is doing about events. */
typedef enum RelayMode
{
	MODE_OPEN, /* needs a handle */
	MODE_PUBLISH,
	MODE_DRAIN, /* an event was refused: waits for the others in flight */
	MODE_WAIT,	/* until resume_at */
} RelayMode;

typedef struct InFlight
{
	int64 id;
	bool  delivered;
} InFlight;

static struct
{
	RelayMode		 mode;
	OutboxPublisher	 kind; /* of the handle */
	const Publisher *publisher;
	void			*handle;		/* NULL: none */
	List			*properties;	/* of the handle, in properties_context */
	bool			 still_running; /* a closed handle has not ended yet */
	bool			 blocked;		/* an event or the configuration is refused */
	bool			 unreachable;	/* what the last handle said that had been tried */

	bool  opened; /* the journal is */
	bool  paused;
	bool  control_valid; /* reset by the relcache callback */
	int64 control_at;	 /* like the others below: of clock_ms() */

	/* the position */
	int64 batch;  /* the newest tick's, 0: none; */
	int64 acked;  /* its events up to this id are delivered, or JOURNAL_WHOLE */
	int64 stored; /* and up to here the table knows it */
	int64 stored_at;
	int64 rotated_at;

	/* the batch's events behind the position: in flight, then in the chunk, then in the reader */
	JournalReader *reader;	   /* NULL: starts behind the position */
	bool		   read_whole; /* the reader has no more */
	OutboxRow	 **chunk;
	int			   chunk_size;
	int			   chunk_offered;

	uint64	 first_tag; /* the oldest in flight */
	uint64	 next_tag;
	int		 outstanding; /* without an outcome */
	InFlight window[WINDOW_SIZE];

	int64 careful; /* so many events to publish one by one */
	int	  backoff_ms;
	int64 resume_at;
} relay;

static MemoryContext chunk_context;
static MemoryContext turn_context;
static MemoryContext properties_context;
static RelayStatus	 status;

COMPAT_WORKER_MAIN(relay_main);

/* ---- errors ---- */

/*
 * False if it is the same again.  It becomes text of this database, whatever
 * bytes a foreign library, a file's content or a cut at the end make of it.
 */
static bool
set_error(const char *error)
{
	char text[RELAY_ERROR_LENGTH];
	bool changed;

	strlcpy(text, error, RELAY_ERROR_LENGTH);
	if (!pg_verifymbstr(text, strlen(text), true))
		for (char *c = text; *c; c++)
			if (IS_HIGHBIT_SET(*c))
				*c = '?';
	changed = status.error_at == 0 || strcmp(status.error, text) != 0;
	strlcpy(status.error, text, RELAY_ERROR_LENGTH);
	status.error_at = GetCurrentTimestamp();
	return changed;
}

/* Says it once: the same error again and again is for relay_status alone. */
static void
note_error(const char *error, const char *hint)
{
	ereport(set_error(error) ? LOG : DEBUG1,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("the relay cannot publish: %s", status.error), hint ? errhint("%s", hint) : 0));
}

static void
wait_before_retry(int first_ms)
{
	relay.backoff_ms = relay.backoff_ms == 0 ? first_ms : Min(relay.backoff_ms * 2, MAX_BACKOFF_MS);
	relay.resume_at = clock_ms() + relay.backoff_ms;
	relay.mode = MODE_WAIT;
}

/* ---- the handle ---- */

/* Back to the position: what is behind it is read and published again. */
static void
rewind_events(void)
{
	if (relay.reader)
		journal_reader_close(relay.reader);
	relay.reader = NULL;
	relay.read_whole = false;
	MemoryContextReset(chunk_context);
	relay.chunk_size = relay.chunk_offered = 0;
	relay.first_tag = relay.next_tag;
	relay.outstanding = 0;
}

static void
close_publisher(int timeout_ms)
{
	if (relay.handle && !relay.publisher->close(relay.handle, timeout_ms))
		relay.still_running = true;
	relay.handle = NULL;
}

/* A handle that follows one which reached nobody has to show that it does better. */
static void
note_reach(void)
{
	PublisherReach reach = relay.handle ? relay.publisher->reach(relay.handle) : PUBLISHER_UNTRIED;

	if (reach != PUBLISHER_UNTRIED)
		relay.unreachable = reach == PUBLISHER_UNREACHABLE;
}

static void
close_handle(void)
{
	note_reach();
	close_publisher(CLOSE_MS);
	relay.mode = MODE_OPEN;
	rewind_events();
}

/* Perhaps in a transaction that has failed: nothing of the journal is touched. */
static void
close_at_exit(int code, Datum arg)
{
	close_publisher(EXIT_MS);
}

/* exit() would pull the ground from under threads that still run.  Shared memory is left by now. */
static void
leave_threads(int code, Datum arg)
{
	if (relay.still_running)
		_exit(code);
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

/* In properties_context, which holds nothing else. */
static bool
read_properties(char **error)
{
	MemoryContext context = MemoryContextSwitchTo(properties_context);
	bool		  valid = true;

	MemoryContextReset(properties_context);
	relay.properties = NIL;
	if (relay.kind == OUTBOX_TO_KAFKA)
		valid = relay_read_properties(&relay.properties, error);
	MemoryContextSwitchTo(context);
	return valid;
}

static void
open_handle(void)
{
	char  client_id[NAMEDATALEN + 32];
	char *error = NULL;

	relay.kind = outbox_publisher;
	if (relay.kind == OUTBOX_TO_NOBODY)
		return;
	snprintf(client_id, sizeof(client_id), "order_engine-%s", worker_database());
	relay.publisher = relay.kind == OUTBOX_TO_LOG ? log_publisher() : load_kafka_publisher(&error);
	if (relay.publisher && read_properties(&error))
		relay.handle = relay.publisher->open(client_id, relay.properties, &error);
	if (relay.handle == NULL)
	{
		relay.blocked = true;
		relay.unreachable = false;
		note_error(error, relay.publisher
							  ? "Correct order_engine.kafka_config or the file "
								"order_engine.kafka_config_file and reload."
							  : "Build with Kafka, or choose another order_engine.publisher.");
		wait_before_retry(RETRY_MS);
		return;
	}
	relay.blocked = relay.careful > 0;
	relay.mode = MODE_PUBLISH;
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

/* After a reload: what the handle was opened with may have changed. */
static void
follow_settings(void)
{
	List *now;
	char *error;

	if (relay.mode == MODE_WAIT)
		relay.resume_at = 0;
	if (relay.handle && relay.kind == outbox_publisher &&
		(relay.kind != OUTBOX_TO_KAFKA ||
		 (relay_read_properties(&now, &error) && same_properties(now, relay.properties))))
		return;
	relay.backoff_ms = 0;
	close_handle();
	relay.unreachable = false;
}

/* ---- outcomes ---- */

static void
event_refused(void)
{
	status.refused++;
	relay.blocked = true;
	note_error(
		relay.publisher->last_error(relay.handle),
		"The relay offers the event again and again, and publishes nothing behind it until it is accepted.");
	relay.mode = MODE_DRAIN;
}

/* Those that were offered behind the refused event may be refused too. */
static void
retry_carefully(void)
{
	relay.careful = Max(relay.careful, (int64) (relay.next_tag - relay.first_tag) + 1);
	close_handle();
	wait_before_retry(RETRY_MS);
}

static void
handle_broken(void)
{
	const char *error = relay.publisher->last_error(relay.handle);

	note_error(error[0] ? error : "connection lost", NULL);
	close_handle();
	wait_before_retry(REOPEN_MS);
}

static void
advance(void)
{
	while (relay.first_tag < relay.next_tag &&
		   relay.window[relay.first_tag % WINDOW_SIZE].delivered)
	{
		relay.acked = relay.window[relay.first_tag % WINDOW_SIZE].id;
		relay.first_tag++;
		relay.backoff_ms = 0;
		relay.blocked = relay.mode == MODE_DRAIN;
		if (relay.careful > 0)
			relay.careful--;
		status.published++;
	}
}

/* False if the handle is lost. */
static bool
take_outcome(const PublisherOutcome *outcome)
{
	if (outcome->tag < relay.first_tag || outcome->tag >= relay.next_tag)
		return true; /* given up before */
	relay.outstanding--;
	if (outcome->status == PUBLISHER_DELIVERED)
		relay.window[outcome->tag % WINDOW_SIZE].delivered = true;
	else if (outcome->status == PUBLISHER_REJECTED)
		event_refused();
	return outcome->status != PUBLISHER_FAILED;
}

static void
collect(void)
{
	static PublisherOutcome outcomes[OUTCOMES];
	uint64					first = relay.first_tag;
	bool					broken = false;
	int						n;

	do
	{
		n = relay.publisher->poll(relay.handle, outcomes, OUTCOMES, &broken);
		for (int i = 0; i < n; i++)
			broken = !take_outcome(&outcomes[i]) || broken;
		advance();
	} while (n == OUTCOMES && !broken);

	if (relay.first_tag != first)
	{
		status.published_at = GetCurrentTimestamp();
		status.batch = relay.batch;
		status.event_id = relay.acked;
	}
	if (relay.mode == MODE_DRAIN && (broken || relay.outstanding == 0))
		retry_carefully();
	else if (broken)
		handle_broken();
}

/* ---- offering ---- */

static int
window_limit(void)
{
	return relay.careful > 0 ? 1 : WINDOW_SIZE;
}

/* Offers what it can of the chunk. */
static void
offer(void)
{
	while (relay.mode == MODE_PUBLISH && relay.chunk_offered < relay.chunk_size &&
		   relay.next_tag - relay.first_tag < window_limit())
	{
		PublisherMessage message;
		PublisherResult	 result;
		OutboxRow		*row = relay.chunk[relay.chunk_offered];

		relay_message_build(row, outbox_topic_prefix, &message);
		message.tag = relay.next_tag;
		result = relay.publisher->publish(relay.handle, &message);
		if (result == PUBLISHER_OK)
		{
			relay.window[relay.next_tag % WINDOW_SIZE] = (InFlight){row->id, false};
			relay.next_tag++;
			relay.outstanding++;
			relay.chunk_offered++;
		}
		else if (result == PUBLISHER_REFUSED)
			event_refused();
		else if (result == PUBLISHER_BROKEN)
			handle_broken();
		else
			break;
	}
}

/* ---- the journal ---- */

static void
forget_control(Datum arg, Oid relid)
{
	relay.control_valid = false;
}

static void
look_at_control(int64 now)
{
	if (relay.control_valid && now < relay.control_at + CONTROL_MS)
		return;
	relay.control_valid = true; /* before the look: a change that arrives meanwhile must win */
	relay.control_at = now;
	relay.paused = relay_is_paused();
}

static void
open_journal(void)
{
	JournalPosition position;

	journal_open(JOURNAL_OUTBOX, &position);
	relay.batch = status.batch = position.batch;
	relay.acked = relay.stored = position.last_id;
	status.generation = position.generation;
	if (position.last_id != JOURNAL_WHOLE)
		status.event_id = position.last_id;
	relay.opened = true;
}

static inline bool
batch_consumed(void)
{
	return relay.batch == 0 || relay.acked == JOURNAL_WHOLE;
}

static inline bool
wants_batch(void)
{
	return relay.mode == MODE_PUBLISH && !relay.paused && batch_consumed();
}

static void
store_position(int64 now)
{
	if (relay.acked == relay.stored)
		return;
	journal_acknowledge(JOURNAL_OUTBOX, relay.batch, relay.acked);
	relay.stored = relay.acked;
	relay.stored_at = now;
}

/* Everything of the batch is read and delivered: on to the next, if there is one. */
static void
next_batch(void)
{
	JournalPosition position;

	if (!journal_tick(JOURNAL_OUTBOX, &position))
		return;
	relay.batch = position.batch;
	relay.acked = relay.stored = 0;
	rewind_events();
}

static void
read_chunk(void)
{
	if (relay.reader == NULL)
		relay.reader =
			journal_reader_open(JOURNAL_OUTBOX, relay.batch, relay.acked, TopMemoryContext);
	MemoryContextReset(chunk_context);
	relay.chunk_offered = 0;
	relay.chunk_size =
		outbox_read(relay.reader, CHUNK_EVENTS, CHUNK_BYTES, chunk_context, &relay.chunk);
	relay.read_whole = relay.chunk_size == 0;
}

static inline bool
wants_chunk(void)
{
	return relay.mode == MODE_PUBLISH && !relay.paused && !batch_consumed() && !relay.read_whole &&
		   relay.chunk_offered == relay.chunk_size &&
		   relay.next_tag - relay.first_tag < Min(window_limit(), WINDOW_SIZE - CHUNK_EVENTS);
}

/* The last event is delivered and no other is left. */
static inline void
note_batch_end(void)
{
	if (relay.read_whole && relay.first_tag == relay.next_tag)
		relay.acked = JOURNAL_WHOLE;
}

static inline bool
wants_to_store(int64 now)
{
	return relay.acked != relay.stored &&
		   (relay.acked == JOURNAL_WHOLE || now >= relay.stored_at + STORE_MS);
}

static bool
needs_journal(int64 now)
{
	return !relay.opened || relay.paused || wants_chunk() || wants_to_store(now) ||
		   (batch_consumed() && now >= journal_put_off(JOURNAL_OUTBOX)) ||
		   now >= relay.control_at + CONTROL_MS;
}

/*
 * All that a turn does in tables.  The position is stored and the next batch
 * begun in one transaction, whose commit makes the tick durable before any of
 * its events are offered.
 */
static void
use_journal(int64 now)
{
	if (!worker_begin("relay: reading the outbox"))
	{
		rewind_events();
		relay.opened = false;
		return;
	}
	if (worker_stopping())
	{
		/*
		 * perhaps before this transaction began: then nothing would end a tick's wait for
		 * standbys
		 */
		worker_end();
		return;
	}
	if (!relay.opened)
		open_journal();
	look_at_control(now);
	if (wants_chunk())
		read_chunk();
	note_batch_end();
	if (wants_to_store(now))
		store_position(now);
	if (wants_batch())
	{
		next_batch();
		if (wants_chunk())
			read_chunk();
	}
	worker_end();
}

/* Without a publisher the keeper moves the position: another time it is looked up again. */
static void
leave_journal(void)
{
	if (relay.opened && relay.acked != relay.stored && worker_begin("relay: storing the position"))
	{
		store_position(clock_ms());
		worker_end();
	}
	relay.opened = false;
}

static void
rotate_outbox(void)
{
	(void) journal_rotate(JOURNAL_OUTBOX);
}

/* Whatever keeps a leaf from being added or emptied, events go out all the same. */
static void
rotate(int64 now)
{
	if (now < relay.rotated_at + ROTATE_MS)
		return;
	relay.rotated_at = now;
	if (!worker_try("relay: rotating the outbox", rotate_outbox))
		relay.rotated_at = now + ROTATE_RETRY_MS;
}

/* ---- the loop ---- */

static bool
is_unreachable(void)
{
	note_reach();
	return relay.unreachable;
}

static RelayState
current_state(void)
{
	bool unreachable = is_unreachable();

	if (outbox_publisher == OUTBOX_TO_NOBODY)
		return RELAY_DISABLED;
	if (relay.blocked && !unreachable)
		return RELAY_BLOCKED;
	if (relay.paused && relay.outstanding == 0)
		return RELAY_PAUSED;
	if (unreachable || relay.mode == MODE_WAIT)
		return RELAY_UNREACHABLE;
	return RELAY_RUNNING;
}

static void
tell_status(void)
{
	const char *error = relay.handle ? relay.publisher->last_error(relay.handle) : "";

	status.state = current_state();
	status.publisher = outbox_publisher;

	/* not for the log, where the publisher has said it itself */
	if (status.state == RELAY_UNREACHABLE && error[0] != '\0')
		(void) set_error(error);
	relay_status_set(&status);
}

static void
turn(void)
{
	int64 now = clock_ms();

	MemoryContextSwitchTo(turn_context);
	wake_clear();
	if (relay.mode == MODE_WAIT && now >= relay.resume_at)
		relay.mode = MODE_OPEN;
	if (relay.mode == MODE_OPEN)
		open_handle();
	if (outbox_publisher == OUTBOX_TO_NOBODY)
		leave_journal();
	else
	{
		if (needs_journal(now))
			use_journal(now);
		MemoryContextSwitchTo(turn_context);
		if (relay.handle && !relay.paused && !worker_stopping())
			offer();
		if (relay.handle)
			collect();
		note_batch_end();
		if (relay.opened)
			rotate(now);
	}
	tell_status();
}

/* In milliseconds: when the next turn has something to do, if nothing wakes it before. */
static long
next_turn(void)
{
	int64 now = clock_ms();
	long  wait = worker_idle_timeout;
	bool  waits_for_outcome = relay.outstanding > 0;

	if (outbox_publisher == OUTBOX_TO_NOBODY || !relay.opened)
		return wait;
	if (relay.acked != relay.stored)
		wait = Min(wait, STORE_MS);
	if (wants_batch() && journal_put_off(JOURNAL_OUTBOX) > 0)
		wait = Min(wait, Max(journal_put_off(JOURNAL_OUTBOX) - now, 0));
	if (relay.mode == MODE_WAIT)
		return Min(wait, Max(relay.resume_at - now, 0));
	if (relay.mode == MODE_OPEN || wants_chunk() ||
		(relay.acked == JOURNAL_WHOLE && relay.stored != JOURNAL_WHOLE))
		return 0;
	if (relay.chunk_offered < relay.chunk_size && !relay.paused && !waits_for_outcome)
		return 0;
	if (waits_for_outcome && relay.publisher->descriptor(relay.handle) == PGINVALID_SOCKET)
		return 0;
	return wait;
}

static pgsocket
outcome_descriptor(void)
{
	return relay.handle ? relay.publisher->descriptor(relay.handle) : PGINVALID_SOCKET;
}

/* What is in flight gets a moment, so that an orderly end repeats nothing. */
static void
finish(void)
{
	int64 until = clock_ms() + FINISH_MS;

	while (relay.handle && relay.outstanding > 0 && !is_unreachable() && clock_ms() < until)
	{
		(void) worker_wait(outcome_descriptor(), FINISH_MS / 10);
		collect();
	}
	note_batch_end();
	leave_journal();
}

/* The error ends this process: relay_status shall show it all the same. */
static void
tell_error(void)
{
	ErrorData *error;

	MemoryContextSwitchTo(turn_context);
	error = CopyErrorData();
	(void) set_error(error->message);
	relay_status_set(&status);
}

static void
start(Datum arg)
{
	worker_start(WAKE_RELAY, arg);
	on_proc_exit(leave_threads, (Datum) 0);
	before_shmem_exit(close_at_exit, (Datum) 0);
	CacheRegisterRelcacheCallback(forget_control, (Datum) 0);

	/* a position that a crash loses is only repeated; the tick sees to itself */
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_OVERRIDE);

	chunk_context =
		AllocSetContextCreate(TopMemoryContext, "order_engine relay chunk", ALLOCSET_DEFAULT_SIZES);
	turn_context =
		AllocSetContextCreate(TopMemoryContext, "order_engine relay turn", ALLOCSET_DEFAULT_SIZES);
	properties_context = AllocSetContextCreate(TopMemoryContext, "order_engine relay properties",
											   ALLOCSET_SMALL_SIZES);
	status = relay_status_start();
}

void
relay_main(Datum arg)
{
	start(arg);
	while (!worker_stopping())
	{
		PG_TRY();
		{
			turn();
		}
		PG_CATCH();
		{
			tell_error();
			PG_RE_THROW();
		}
		PG_END_TRY();
		if (worker_wait(outcome_descriptor(), next_turn()))
		{
			MemoryContextSwitchTo(turn_context);
			follow_settings();
		}
		MemoryContextReset(turn_context);
	}
	finish();
	proc_exit(0);
}
