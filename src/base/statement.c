/*
 * statement.c
 *		Keeps and runs SPI plans.
 */
#include "postgres.h"

#include "base/statement.h"

static void
prepare(Statement *statement)
{
	SPIPlanPtr plan;

	if (statement->plan)
		return;
	plan = SPI_prepare(statement->sql, statement->nargs, statement->types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", statement->sql,
			 SPI_result_code_string(SPI_result));
	statement->plan = plan;
}

uint64
statement_execute(Statement *statement, Datum *values, const char *nulls, long max_rows)
{
	int code;

	prepare(statement);
	code = SPI_execute_plan(statement->plan, values, nulls, false, max_rows);
	if (code < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement->sql, SPI_result_code_string(code));
	return SPI_processed;
}

Portal
statement_open(Statement *statement, Datum *values, const char *nulls)
{
	prepare(statement);
	return SPI_cursor_open(NULL, statement->plan, values, nulls, true);
}
