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
 * All state is this process's own, and ends with it: what the publisher is
 * reached by (relay_handle), what is in its hands (relay_window), what comes
 * next (relay_chunk), up to where all is delivered (relay_position).  What
 * others see of it is in relay_status.c.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/compat.h"
#include "journal/journal.h"
#include "journal/outbox.h"
#include "relay/relay.h"
#include "relay/relay_chunk.h"
#include "relay/relay_handle.h"
#include "relay/relay_message.h"
#include "relay/relay_position.h"
#include "relay/relay_window.h"
#include "worker/worker.h"

#define OUTCOMES 1024

#define CONTROL_MS 1000 /* the pause is looked at at least this often */
#define ROTATE_MS 1000
#define ROTATE_RETRY_MS 60000
#define REOPEN_MS 100 /* after a broken handle; doubles up to the maximum */
#define RETRY_MS 1000 /* after a refused event or configuration; the same */
#define MAX_BACKOFF_MS 10000
#define FINISH_MS 500

/* What the relay is doing about events. */
typedef enum RelayMode
{
	MODE_OPEN, /* needs a handle */
	MODE_PUBLISH,
	MODE_DRAIN, /* an event was refused: waits for the others in flight */
	MODE_WAIT,	/* until resume_at */
} RelayMode;

/* The brake, as it was seen last. */
typedef struct RelayControl
{
	bool  paused;
	bool  valid; /* reset by the relcache callback */
	int64 seen_at;
} RelayControl;

/* Moments are of clock_ms(). */
static struct
{
	RelayMode mode;
	bool	  blocked; /* an event or the configuration is refused */
	int		  backoff_ms;
	int64	  resume_at;
	int64	  rotated_at;

	RelayControl control;
	RelayHandle	 handle;

	/* the batch's events behind the position: in the window, in the chunk, in its reader */
	RelayPosition position;
	RelayWindow	  window;
	RelayChunk	  chunk;
} relay;

static MemoryContext turn_context; /* reset after each turn */
static RelayStatus	 status;	   /* begun by start(), shown by tell_status() */

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
	relay_window_give_up(&relay.window);
	relay_chunk_drop(&relay.chunk);
}

static void
close_handle(void)
{
	relay_handle_close(&relay.handle);
	relay.mode = MODE_OPEN;
	rewind_events();
}

static void
open_handle(void)
{
	char	   *error = NULL;
	const char *hint;

	if (relay_handle_open(&relay.handle, &error, &hint))
	{
		relay.blocked = relay.window.careful > 0;
		relay.mode = MODE_PUBLISH;
		return;
	}
	relay.blocked = true;
	note_error(error, hint);
	wait_before_retry(RETRY_MS);
}

/* After a reload: what the handle was opened with may have changed. */
static void
follow_settings(void)
{
	if (relay.mode == MODE_WAIT)
		relay.resume_at = 0;
	if (relay_handle_is_current(&relay.handle))
		return;
	relay.backoff_ms = 0;
	close_handle();
	relay_handle_forget_reach(&relay.handle);
}

/* ---- outcomes ---- */

static void
event_refused(void)
{
	status.refused++;
	relay.blocked = true;
	note_error(
		relay_handle_error(&relay.handle),
		"The relay offers the event again and again, and publishes nothing behind it until it is accepted.");
	relay.mode = MODE_DRAIN;
}

/* Those that were offered behind the refused event may be refused too. */
static void
retry_carefully(void)
{
	relay_window_give_up_refused(&relay.window);
	close_handle();
	wait_before_retry(RETRY_MS);
}

static void
handle_broken(void)
{
	const char *error = relay_handle_error(&relay.handle);

	note_error(error[0] ? error : "connection lost", NULL);
	close_handle();
	wait_before_retry(REOPEN_MS);
}

/* False if the handle is lost. */
static bool
take_outcome(const PublisherOutcome *outcome)
{
	bool delivered = outcome->status == PUBLISHER_DELIVERED;

	if (!relay_window_settle(&relay.window, outcome->tag, delivered))
		return true; /* given up before */
	if (outcome->status == PUBLISHER_REJECTED)
		event_refused();
	return outcome->status != PUBLISHER_FAILED;
}

/* What is delivered moves the position, and shows that all is well. */
static void
advance(void)
{
	int n = relay_window_advance(&relay.window, &relay.position.acked);

	if (n == 0)
		return;
	relay.backoff_ms = 0;
	relay.blocked = relay.mode == MODE_DRAIN;
	status.published += n;
	status.published_at = GetCurrentTimestamp();
	status.batch = relay.position.batch;
	status.event_id = relay.position.acked;
}

static void
collect(void)
{
	static PublisherOutcome outcomes[OUTCOMES]; /* filled anew by each poll() */
	const Publisher		   *publisher = relay.handle.publisher;
	bool					broken = false;
	int						n;

	do
	{
		n = publisher->poll(relay.handle.state, outcomes, OUTCOMES, &broken);
		for (int i = 0; i < n; i++)
			broken = !take_outcome(&outcomes[i]) || broken;
		advance();
	} while (n == OUTCOMES && !broken);

	if (relay.mode == MODE_DRAIN && (broken || relay.window.unsettled == 0))
		retry_carefully();
	else if (broken)
		handle_broken();
}

/* ---- offering ---- */

static PublisherResult
publish(OutboxRow *row)
{
	PublisherMessage message;

	relay_message_build(row, outbox_topic_prefix, &message);
	message.tag = relay.window.next_tag;
	return relay.handle.publisher->publish(relay.handle.state, &message);
}

/* Offers what it can of the chunk. */
static void
offer(void)
{
	OutboxRow *row;

	while (relay.mode == MODE_PUBLISH && relay_window_has_room(&relay.window) &&
		   (row = relay_chunk_first(&relay.chunk)) != NULL)
	{
		switch (publish(row))
		{
			case PUBLISHER_OK:
				relay_window_add(&relay.window, row->id);
				relay_chunk_take(&relay.chunk);
				break;
			case PUBLISHER_FULL:
				return;
			case PUBLISHER_REFUSED:
				event_refused();
				break;
			case PUBLISHER_BROKEN:
				handle_broken();
				break;
		}
	}
}

/* ---- the journal ---- */

static void
forget_control(Datum arg, Oid relid)
{
	relay.control.valid = false;
}

static inline bool
control_is_due(int64 now)
{
	return now >= relay.control.seen_at + CONTROL_MS;
}

static void
look_at_control(int64 now)
{
	if (relay.control.valid && !control_is_due(now))
		return;
	relay.control.valid = true; /* before the look: a change that arrives meanwhile must win */
	relay.control.seen_at = now;
	relay.control.paused = relay_is_paused();
}

static void
open_position(void)
{
	relay_position_open(&relay.position);
	status.generation = relay.position.generation;
	status.batch = relay.position.batch;
	if (relay.position.acked != JOURNAL_WHOLE)
		status.event_id = relay.position.acked;
}

static inline bool
wants_batch(void)
{
	return relay.mode == MODE_PUBLISH && !relay.control.paused &&
		   relay_position_is_whole(&relay.position);
}

/* There is more of the batch, and room for a whole chunk of it. */
static inline bool
wants_chunk(void)
{
	return relay.mode == MODE_PUBLISH && !relay.control.paused &&
		   !relay_position_is_whole(&relay.position) && !relay.chunk.at_end &&
		   relay_chunk_first(&relay.chunk) == NULL && relay_window_has_room(&relay.window) &&
		   relay_window_count(&relay.window) < RELAY_WINDOW_SIZE - RELAY_CHUNK_EVENTS;
}

static void
read_chunk(void)
{
	if (wants_chunk())
		relay_chunk_read(&relay.chunk, relay.position.batch, relay.position.acked);
}

/* The last event is delivered and no other is left. */
static inline void
note_batch_end(void)
{
	if (relay.chunk.at_end && relay_window_count(&relay.window) == 0)
		relay.position.acked = JOURNAL_WHOLE;
}

/* On to the next batch, if there is one. */
static void
next_batch(void)
{
	if (!wants_batch() || !relay_position_next(&relay.position))
		return;
	rewind_events();
	read_chunk();
}

static bool
needs_journal(int64 now)
{
	return !relay.position.known || relay.control.paused || wants_chunk() ||
		   relay_position_is_due(&relay.position, now) ||
		   (relay_position_is_whole(&relay.position) && now >= journal_put_off(JOURNAL_OUTBOX)) ||
		   control_is_due(now);
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
		relay.position.known = false;
		return;
	}
	/* told so before this transaction began, nothing would end a tick's wait for standbys */
	if (!worker_stopping())
	{
		if (!relay.position.known)
			open_position();
		look_at_control(now);
		read_chunk();
		note_batch_end();
		if (relay_position_is_due(&relay.position, now))
			relay_position_store(&relay.position, now);
		next_batch();
	}
	worker_end();
}

/* Without a publisher the keeper moves the position: another time it is looked up again. */
static void
leave_journal(void)
{
	if (relay.position.known && relay_position_is_ahead(&relay.position) &&
		worker_begin("relay: storing the position"))
	{
		relay_position_store(&relay.position, clock_ms());
		worker_end();
	}
	relay.position.known = false;
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

static RelayState
current_state(void)
{
	bool unreachable = relay_handle_is_unreachable(&relay.handle);

	if (outbox_publisher == OUTBOX_TO_NOBODY)
		return RELAY_DISABLED;
	if (relay.blocked && !unreachable)
		return RELAY_BLOCKED;
	if (relay.control.paused && relay.window.unsettled == 0)
		return RELAY_PAUSED;
	if (unreachable || relay.mode == MODE_WAIT)
		return RELAY_UNREACHABLE;
	return RELAY_RUNNING;
}

static void
tell_status(void)
{
	const char *error = relay_handle_error(&relay.handle);

	status.state = current_state();
	status.publisher = outbox_publisher;

	/* not for the log, where the publisher has said it itself */
	if (status.state == RELAY_UNREACHABLE && error[0] != '\0')
		(void) set_error(error);
	relay_status_set(&status);
}

/* Events in, outcomes out: with no transaction open. */
static void
use_handle(void)
{
	if (relay.handle.state && !relay.control.paused && !worker_stopping())
		offer();
	if (relay.handle.state)
		collect();
	note_batch_end();
}

static void
turn(void)
{
	int64 now = clock_ms();

	MemoryContextSwitchTo(turn_context);
	wake_clear();
	if (relay.mode == MODE_WAIT && now >= relay.resume_at)
		relay.mode = MODE_OPEN;
	if (outbox_publisher == OUTBOX_TO_NOBODY)
		leave_journal();
	else
	{
		if (relay.mode == MODE_OPEN)
			open_handle();
		if (needs_journal(now))
			use_journal(now);
		MemoryContextSwitchTo(turn_context);
		use_handle();
		if (relay.position.known)
			rotate(now);
	}
	tell_status();
}

/* Whether there is something to do at once, of which no wake-up would tell. */
static bool
has_work(void)
{
	bool waits_for_outcome = relay.window.unsettled > 0;

	if (relay.mode == MODE_OPEN || wants_chunk())
		return true;
	if (relay.position.acked == JOURNAL_WHOLE && relay_position_is_ahead(&relay.position))
		return true;
	if (waits_for_outcome)
		return relay_handle_descriptor(&relay.handle) == PGINVALID_SOCKET;
	return relay_chunk_first(&relay.chunk) != NULL && !relay.control.paused;
}

/* In milliseconds: when the next turn has something to do, if nothing wakes it before. */
static long
next_turn(void)
{
	int64 now = clock_ms();
	long  wait = worker_idle_timeout;

	if (outbox_publisher == OUTBOX_TO_NOBODY || !relay.position.known)
		return wait;
	if (relay_position_is_ahead(&relay.position))
		wait = Min(wait, RELAY_STORE_MS);
	if (wants_batch() && journal_put_off(JOURNAL_OUTBOX) > 0)
		wait = Min(wait, Max(journal_put_off(JOURNAL_OUTBOX) - now, 0));
	if (relay.mode == MODE_WAIT)
		return Min(wait, Max(relay.resume_at - now, 0));
	return has_work() ? 0 : wait;
}

/* What is in flight gets a moment, so that an orderly end repeats nothing. */
static void
finish(void)
{
	int64 until = clock_ms() + FINISH_MS;

	while (relay.handle.state && relay.window.unsettled > 0 &&
		   !relay_handle_is_unreachable(&relay.handle) && clock_ms() < until)
	{
		(void) worker_wait(relay_handle_descriptor(&relay.handle), FINISH_MS / 10);
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
	relay_handle_init(&relay.handle);
	relay_chunk_init(&relay.chunk);
	CacheRegisterRelcacheCallback(forget_control, (Datum) 0);

	/* a position that a crash loses is only repeated; the tick sees to itself */
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_OVERRIDE);

	turn_context =
		AllocSetContextCreate(TopMemoryContext, "order_engine relay turn", ALLOCSET_DEFAULT_SIZES);
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
		if (worker_wait(relay_handle_descriptor(&relay.handle), next_turn()))
		{
			MemoryContextSwitchTo(turn_context);
			follow_settings();
		}
		MemoryContextReset(turn_context);
	}
	finish();
	proc_exit(0);
}
