/*
 * clock.h
 *		A clock for periods within a process.
 */
#ifndef ORDER_ENGINE_CLOCK_H
#define ORDER_ENGINE_CLOCK_H

#include "portability/instr_time.h"

/*
 * Milliseconds since some moment in the past, the same for the whole life of
 * the process.  Nobody sets this clock: with the wall clock, which can be set
 * back, whoever waits for a moment could wait until it has caught up.
 */
static inline int64
clock_ms(void)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

#endif /* ORDER_ENGINE_CLOCK_H */
