/*
 * relay_handle.h
 *		The relay's handle of its publisher: opened as the settings say, and
 *		what is to be known about it when it is gone.
 */
#ifndef ORDER_ENGINE_RELAY_HANDLE_H
#define ORDER_ENGINE_RELAY_HANDLE_H

#include "journal/outbox.h"
#include "relay/publisher.h"

typedef struct RelayHandle
{
	OutboxPublisher	 kind;
	const Publisher *publisher;
	void			*state;			/* the publisher's own; NULL: there is no handle */
	MemoryContext	 context;		/* holds the properties and nothing else */
	List			*properties;	/* with which it was opened */
	bool			 still_running; /* a closed one has not ended yet */
	bool			 unreachable;	/* what the last one said that had been tried */
} RelayHandle;

/*
 * Once, after worker_start(): the handle, which lives as long as the process, is
 * closed at its end, which waits for that for a second at most.
 */
extern void relay_handle_init(RelayHandle *handle);

/*
 * Opens a handle of outbox_publisher, which is somebody.  False, with *error
 * (palloc'ed) and *hint, if there is no such publisher or a property is wrong.
 */
extern bool relay_handle_open(RelayHandle *handle, char **error, const char **hint);

/* Gives up what is in flight, if there is a handle; waits for a tenth of a second at most. */
extern void relay_handle_close(RelayHandle *handle);

/* False if there is none, or the settings are not those any more with which it was opened. */
extern bool relay_handle_is_current(const RelayHandle *handle);

/*
 * Whether nobody can be reached.  A handle that follows one which reached nobody
 * has to show that it does better.
 */
extern bool relay_handle_is_unreachable(RelayHandle *handle);

/* After other settings: what was reached with the old ones means nothing. */
extern void relay_handle_forget_reach(RelayHandle *handle);

/* What went wrong last, "" if nothing did or there is no handle; valid until the next call. */
extern const char *relay_handle_error(const RelayHandle *handle);

/* Readable when there are outcomes; PGINVALID_SOCKET: none. */
extern pgsocket relay_handle_descriptor(const RelayHandle *handle);

#endif /* ORDER_ENGINE_RELAY_HANDLE_H */
