/*
 * statement.h
 *		SQL statements with kept plans, for what is not on the hot path.
 */
#ifndef ORDER_ENGINE_STATEMENT_H
#define ORDER_ENGINE_STATEMENT_H

#include "executor/spi.h"

#define STATEMENT_MAX_ARGUMENTS 12

/*
 * A statement is a static variable beside the function that uses it: SQL text
 * with every name qualified, and its argument types.  The plan is made at the
 * first use in a backend and kept; it is never reset, PostgreSQL replans it
 * when what it depends on changes.
 */
typedef struct Statement
{
	const char *sql;
	int			nargs;
	Oid			types[STATEMENT_MAX_ARGUMENTS];
	SPIPlanPtr	plan;
} Statement;

/*
 * Runs the statement inside SPI_connect(), with a fresh snapshot, as whoever is
 * current (owner_begin() before SPI_connect()).  `nulls` as SPI wants it or
 * NULL; `max_rows` 0 for all.  Result in SPI_tuptable and SPI_processed, which is
 * returned.  Raises what the statement raises.
 */
extern uint64
statement_execute(Statement *statement, Datum *values, const char *nulls, long max_rows);

/*
 * The same for reading many rows, a few at a time, under the active snapshot: a cursor
 * for SPI_cursor_fetch() and SPI_cursor_close().
 */
extern Portal statement_open(Statement *statement, Datum *values, const char *nulls);

#endif /* ORDER_ENGINE_STATEMENT_H */
