/*
 * relay_window.c
 *		The relay's window by itself: prints TAP.  Built and run by
 *		test/t/relay_window.pl, with src/relay/relay_window.c and without a server.
 */
#include "postgres.h"

#include <stdio.h>
#include <string.h>

#include "relay/relay_window.h"

#undef printf

#define UNMOVED (-1)

static int	tests;
static bool passed = true;

static RelayWindow window;
static int64	   position;

static void
is(int64 got, int64 expected, const char *what)
{
	bool same = got == expected;

	printf("%s %d - %s\n", same ? "ok" : "not ok", ++tests, what);
	if (!same)
		printf("# got %lld, expected %lld\n", (long long) got, (long long) expected);
	passed = passed && same;
}

/* Tags begin at `tag`: the window of a relay that has published as many. */
static void
begin(uint64 tag)
{
	memset(&window, 0, sizeof(window));
	window.first_tag = window.next_tag = tag;
	position = UNMOVED;
}

/* Returns the first one's tag. */
static uint64
hand_out(int64 first_id, int n)
{
	uint64 tag = window.next_tag;

	for (int i = 0; i < n; i++)
		relay_window_add(&window, first_id + i);
	return tag;
}

static bool
deliver(uint64 tag)
{
	return relay_window_settle(&window, tag, true);
}

static bool
lose(uint64 tag)
{
	return relay_window_settle(&window, tag, false);
}

static int
advance(void)
{
	return relay_window_advance(&window, &position);
}

/* ---- what moves the position ---- */

static void
test_order(void)
{
	uint64 tag;

	begin(0);
	is(relay_window_count(&window), 0, "at first there is nothing in the window");
	is(advance(), 0, "nothing moves the position");
	is(position, UNMOVED, "so it stays");

	tag = hand_out(10, 3);
	is(relay_window_count(&window), 3, "three events are handed out");
	is(window.unsettled, 3, "and wait for their outcomes");
	is(advance(), 0, "what is handed out is not delivered");
	is(deliver(tag + 2) && deliver(tag + 1), true, "the last two are delivered first");
	is(window.unsettled, 1, "one outcome is missing");
	is(advance(), 0, "the position waits for the event in front of them");
	is(position, UNMOVED, "and stays");
	is(deliver(tag), true, "that one is delivered");
	is(advance(), 3, "the position moves over all three");
	is(position, 12, "to the last one");
	is(relay_window_count(&window), 0, "and nothing is left");
	is(window.unsettled, 0, "or waited for");
}

static void
test_loss(void)
{
	uint64 tag;

	begin(0);
	tag = hand_out(10, 4);
	is(deliver(tag) && lose(tag + 1) && deliver(tag + 2) && deliver(tag + 3), true,
	   "the second of four is lost");
	is(advance(), 1, "the position moves over the one in front of it");
	is(position, 10, "to that one");
	is(advance(), 0, "and no further");
	is(relay_window_count(&window), 3, "what is behind it is still to be delivered");
	is(window.unsettled, 0, "though no outcome is waited for");
}

/* ---- what is given up ---- */

static void
test_give_up(void)
{
	uint64 old;
	uint64 tag;

	begin(0);
	old = hand_out(10, 3);
	deliver(old);
	advance();
	relay_window_give_up(&window);
	is(relay_window_count(&window), 0, "what is given up is not in the window");
	is(window.unsettled, 0, "and not waited for");
	is(deliver(old + 1), false, "its outcomes are not heard");
	is(advance(), 0, "nothing given up moves the position");
	is(position, 10, "which stays behind the last delivered event");

	tag = hand_out(11, 2);
	is(tag >= old + 3, true, "handed out again, events have tags that none had before");
	is(deliver(old + 1) || deliver(old + 2) || lose(old), false,
	   "outcomes of their first journey are not heard");
	is(deliver(tag + 2), false, "nor those of tags that nobody has");
	is(window.unsettled, 2, "so both wait");
	is(advance(), 0, "and the position with them");
	deliver(tag);
	deliver(tag + 1);
	is(advance(), 2, "until they are delivered");
	is(position, 12, "to the last one");
}

/* ---- how many at a time ---- */

static void
test_room(void)
{
	uint64 tag;
	int	   n = 0;

	begin(0);
	tag = window.next_tag;
	while (relay_window_has_room(&window) && n <= RELAY_WINDOW_SIZE)
		hand_out(n++, 1);
	is(n, RELAY_WINDOW_SIZE, "a window has its size");
	deliver(tag + 1);
	advance();
	is(relay_window_has_room(&window), false, "a delivered event behind another makes no room");
	deliver(tag);
	is(relay_window_has_room(&window), false, "nor one in front that has not left");
	is(advance(), 2, "but the two when they leave");
	is(relay_window_has_room(&window), true, "do");
	hand_out(n, 2);
	is(relay_window_has_room(&window), false, "for two");
}

/* All but the middle and the last, then the middle, then the last. */
static void
deliver_full(uint64 tag, int middle, int last)
{
	for (int i = 0; i < last; i++)
		if (i != middle)
			deliver(tag + i);
	is(advance(), middle, "in a full window an event holds all behind it");
	is(position, middle - 1, "and the position in front of it");
	deliver(tag + middle);
	is(advance(), last - middle, "until the next one that is not delivered");
	is(position, last - 1, "does");
	deliver(tag + last);
	is(advance(), 1, "which is the last");
	is(position, last, "of all");
}

static void
test_full(void)
{
	begin(0);
	deliver_full(hand_out(0, RELAY_WINDOW_SIZE), RELAY_WINDOW_SIZE / 2, RELAY_WINDOW_SIZE - 1);
	is(advance(), 0, "an empty window moves nothing, whatever was in it");
	is(window.careful, 0, "and no event has to go alone");
	hand_out(0, RELAY_WINDOW_SIZE);
	is(advance(), 0, "events do not inherit what became of those in whose place they are");
}

/* Returns how many events go one at a time, each only when the one before is delivered. */
static int
count_careful(void)
{
	int n = 0;

	while (n < 100)
	{
		uint64 tag = hand_out(n, 1);

		if (relay_window_has_room(&window))
			break;
		deliver(tag);
		advance();
		n++;
	}
	relay_window_give_up(&window);
	return n;
}

static void
test_refused(void)
{
	uint64 tag;

	begin(0);
	tag = hand_out(10, 5);
	deliver(tag);
	lose(tag + 2);
	advance();
	relay_window_give_up_refused(&window);
	is(relay_window_count(&window), 0, "after a refused event all in the window is given up");
	is(deliver(tag + 1), false, "its outcomes are not heard");
	is(relay_window_has_room(&window), true, "the first of it may be handed out again");
	is(count_careful(), 5,
	   "it goes one by one, and one more that may have been refused on its way");
	is(count_careful(), 0, "then everything goes as before");

	relay_window_give_up_refused(&window);
	is(count_careful(), 1, "an event that was refused on its way into an empty window goes alone");
}

static void
test_refused_again(void)
{
	uint64 tag;

	begin(0);
	hand_out(10, 4);
	relay_window_give_up_refused(&window);
	tag = hand_out(10, 1);
	deliver(tag);
	advance();
	hand_out(11, 1);
	relay_window_give_up_refused(&window);
	is(window.careful, 4, "refused again, an event makes nobody go in company who went alone");
	hand_out(11, 1);
	relay_window_give_up(&window);
	is(count_careful(), 4, "nor does a connection that breaks");
}

/* ---- anything, in any order, beside a list ---- */

#define STEPS 2000

/* An event for each tag since the beginning. */
static struct
{
	int64 id;
	bool  settled;
	bool  delivered;
	bool  gone;
} list[STEPS];
static int	  nlist;
static int	  alone; /* so many go one by one */
static uint64 random_state;

static int
draw(int n)
{
	random_state = random_state * UINT64CONST(6364136223846793005) + 1442695040888963407;
	return (int) ((random_state >> 33) % n);
}

static int
list_count(void)
{
	int n = 0;

	for (int i = 0; i < nlist; i++)
		n += !list[i].gone;
	return n;
}

static int
list_unsettled(void)
{
	int n = 0;

	for (int i = 0; i < nlist; i++)
		n += !list[i].gone && !list[i].settled;
	return n;
}

static bool
step_hand_out(void)
{
	if (relay_window_has_room(&window) != (alone == 0 || list_count() == 0))
		return false;
	if (relay_window_has_room(&window))
	{
		list[nlist].id = nlist * 7;
		relay_window_add(&window, list[nlist++].id);
	}
	return true;
}

/* Of an event in the window, or given up not long ago, or of none. */
static bool
step_outcome(uint64 first_tag)
{
	int	 first = nlist > 40 ? nlist - 40 : 0;
	int	 i = first + draw(nlist - first + 1);
	bool delivered = draw(20) > 0;
	bool heard = i < nlist && !list[i].gone;

	if (heard && list[i].settled)
		return true; /* an event has but one outcome */
	if (heard)
	{
		list[i].settled = true;
		list[i].delivered = delivered;
	}
	return relay_window_settle(&window, first_tag + i, delivered) == heard;
}

static bool
step_advance(void)
{
	int64 expected = position;
	int	  n = 0;

	for (int i = 0; i < nlist; i++)
	{
		if (list[i].gone)
			continue;
		if (!list[i].delivered)
			break;
		list[i].gone = true;
		expected = list[i].id;
		n++;
	}
	alone = n < alone ? alone - n : 0;
	return advance() == n && position == expected;
}

static bool
step_give_up(bool refused)
{
	if (refused && alone < list_count() + 1)
		alone = list_count() + 1;
	for (int i = 0; i < nlist; i++)
		list[i].gone = true;
	if (refused)
		relay_window_give_up_refused(&window);
	else
		relay_window_give_up(&window);
	return true;
}

static bool
step(uint64 first_tag)
{
	switch (draw(100))
	{
		case 0:
			return step_give_up(false);
		case 1:
			return step_give_up(true);
		default:
			return draw(3) == 0 ? step_advance()
				   : draw(2)	? step_hand_out()
								: step_outcome(first_tag);
	}
}

/* Tags where slots begin anew, and where they need 64 bits. */
static bool
run_randomly(int seed)
{
	uint64 first_tag = (seed % 2 ? UINT64CONST(1) << 32 : RELAY_WINDOW_SIZE) - 100;

	begin(first_tag);
	memset(list, 0, sizeof(list));
	nlist = alone = 0;
	random_state = seed;
	for (int i = 0; i < STEPS; i++)
		if (!step(first_tag) || relay_window_count(&window) != list_count() ||
			window.unsettled != list_unsettled())
		{
			printf("# seed %d, step %d\n", seed, i);
			return false;
		}
	return true;
}

static void
test_randomly(void)
{
	bool same = true;

	for (int seed = 1; seed <= 100 && same; seed++)
		same = run_randomly(seed);
	is(same, true, "whatever happens in whatever order, the window does as a list would");
}

int
main(void)
{
	test_order();
	test_loss();
	test_give_up();
	test_room();
	test_full();
	test_refused();
	test_refused_again();
	test_randomly();
	printf("1..%d\n", tests);
	return passed ? 0 : 1;
}
