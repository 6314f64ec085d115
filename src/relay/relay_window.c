/*
 * relay_window.c
 *		The events that the publisher has, from the first that is not known to
 *		be delivered.  Pure functions.
 */
#include "postgres.h"

#include "relay/relay_window.h"

static inline RelayWindowEvent *
event_of(RelayWindow *window, uint64 tag)
{
	return &window->events[tag % RELAY_WINDOW_SIZE];
}

int
relay_window_count(const RelayWindow *window)
{
	return (int) (window->next_tag - window->first_tag);
}

bool
relay_window_has_room(const RelayWindow *window)
{
	return relay_window_count(window) < (window->careful > 0 ? 1 : RELAY_WINDOW_SIZE);
}

void
relay_window_add(RelayWindow *window, int64 id)
{
	*event_of(window, window->next_tag) = (RelayWindowEvent){id, false};
	window->next_tag++;
	window->unsettled++;
}

bool
relay_window_settle(RelayWindow *window, uint64 tag, bool delivered)
{
	if (tag < window->first_tag || tag >= window->next_tag)
		return false;
	event_of(window, tag)->delivered = delivered;
	window->unsettled--;
	return true;
}

int
relay_window_advance(RelayWindow *window, int64 *last_id)
{
	int n = 0;

	while (relay_window_count(window) > 0 && event_of(window, window->first_tag)->delivered)
	{
		*last_id = event_of(window, window->first_tag)->id;
		window->first_tag++;
		n++;
	}
	window->careful = Max(window->careful - n, 0);
	return n;
}

void
relay_window_give_up(RelayWindow *window)
{
	window->first_tag = window->next_tag;
	window->unsettled = 0;
}

void
relay_window_give_up_refused(RelayWindow *window)
{
	window->careful = Max(window->careful, relay_window_count(window) + 1);
	relay_window_give_up(window);
}
