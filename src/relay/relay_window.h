/*
 * relay_window.h
 *		The events that the publisher has, from the first that is not known to
 *		be delivered.
 *
 * Events enter in the journal's order and get tags; their outcomes come by tag,
 * in any order.  Only what is delivered at the front leaves, so behind a lost
 * event nothing moves the position, and what is given up is published again
 * from the position on, under new tags.
 *
 * Pure: nothing but this structure.  All zeros is a window with nothing in it.
 */
#ifndef ORDER_ENGINE_RELAY_WINDOW_H
#define ORDER_ENGINE_RELAY_WINDOW_H

#define RELAY_WINDOW_SIZE 65536 /* a power of two, more than a publisher takes */

typedef struct RelayWindowEvent
{
	int64 id;
	bool  delivered;
} RelayWindowEvent;

typedef struct RelayWindow
{
	uint64			 first_tag; /* the oldest event's */
	uint64			 next_tag;	/* never used before */
	int				 unsettled; /* events without an outcome */
	int				 careful;	/* so many events to publish one by one */
	RelayWindowEvent events[RELAY_WINDOW_SIZE];
} RelayWindow;

/* How many events are in it. */
extern int relay_window_count(const RelayWindow *window);

/* False if no event may be handed out before others are delivered. */
extern bool relay_window_has_room(const RelayWindow *window);

/* The next event is with the publisher, under the tag `next_tag`.  Only where there is room. */
extern void relay_window_add(RelayWindow *window, int64 id);

/*
 * The outcome of the event with this tag, which has none yet.  False, and
 * nothing is changed, if the event was given up before.
 */
extern bool relay_window_settle(RelayWindow *window, uint64 tag, bool delivered);

/*
 * Lets go of what is delivered at the front.  Returns how many events that are;
 * *last_id becomes the last one's, and stays as it is if there are none.
 */
extern int relay_window_advance(RelayWindow *window, int64 *last_id);

/* Gives up what is in it: it will be handed out again, and outcomes are not heard any more. */
extern void relay_window_give_up(RelayWindow *window);

/*
 * The same after an event was refused, in the window or on its way into it:
 * that one and those that were handed out with it go one at a time.
 */
extern void relay_window_give_up_refused(RelayWindow *window);

#endif /* ORDER_ENGINE_RELAY_WINDOW_H */
