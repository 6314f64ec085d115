/*
 * clock.c
 *		For LD_PRELOAD: a wall clock that a test may set.
 *
 * The file that CLOCK_OFFSET names holds by how many seconds it is ahead, an
 * int64 in the machine's byte order.  Every process of a server maps it, so the
 * clock changes for all of them at once.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static const volatile int64_t *offset;

__attribute__((constructor)) static void
map_offset(void)
{
	const char *file = getenv("CLOCK_OFFSET");
	int			fd = file ? open(file, O_RDONLY) : -1;
	void *area = fd >= 0 ? mmap(NULL, sizeof(*offset), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (area != MAP_FAILED)
		offset = area;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_REALTIME, &now);
	tv->tv_sec = now.tv_sec + (offset ? *offset : 0);
	tv->tv_usec = now.tv_nsec / 1000;
	return 0;
}
