/*
 * service.c
 *		Whether workers serve this database, and what to do where they do not.
 *
 * Keeps nothing: it looks at the settings as this process has them, and at what
 * the launcher shows.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "journal/outbox.h"
#include "shop/shop.h"
#include "worker/launcher.h"
#include "worker/service.h"

PG_FUNCTION_INFO_V1(order_engine_notice_service);

/* ---- in a view ---- */

const char *
service_reason(bool runs, bool ended)
{
	if (runs)
		return shop_is_whole() ? NULL
							   : "it waits for the tables: see setup(), or a restore is under way";
	if (!launcher_is_preloaded())
		return "order_engine is not in shared_preload_libraries";
	if (RecoveryInProgress())
		return "this server is a standby: workers start when it is promoted";
	if (!launcher_has_database(MyDatabaseId))
		return "this database is not in order_engine.databases";
	if (launcher_is_full())
		return "all background worker slots are in use: see max_worker_processes";
	return ended ? "it has ended and is started again every second: see the server log"
				 : "it has not started yet: if that lasts, see the server log";
}

/* ---- in setup() ---- */

/* A line of the configuration file; backslashes and quotes are doubled in its strings. */
static char *
configuration_line(const char *setting, const char *value)
{
	char *escaped = escape_single_quotes_ascii(value);
	char *line;

	if (escaped == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	line = psprintf("%s = '%s'", setting, escaped);
	free(escaped);
	return line;
}

static const char *
append_name(const char *list, const char *name)
{
	bool is_empty = list == NULL || strspn(list, " \t\r\n") == strlen(list);

	return is_empty ? name : psprintf("%s, %s", list, name);
}

/* The value with the library in it; "..." for what not everybody may see. */
static const char *
preload_value(void)
{
	bool may_see = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_SETTINGS);

	return append_name(may_see ? shared_preload_libraries_string : "...", "order_engine");
}

static const char *
databases_value(void)
{
	if (launcher_has_database(MyDatabaseId))
		return launcher_databases;
	return append_name(launcher_databases, quote_identifier(get_database_name(MyDatabaseId)));
}

/* What does not happen; DETAIL. */
static int
consequence(void)
{
	if (outbox_publisher == OUTBOX_TO_NOBODY)
		return errdetail(
			"Unless somebody calls tend(), orders that are due stay as they are, and events are not dropped after order_engine.outbox_retention; with order_engine.publisher none they are not published.");
	return errdetail(
		"Orders that are due stay as they are, unless somebody calls tend(); events are not published, and the outbox grows.");
}

static void
notice_not_preloaded(void)
{
	const char *preload = preload_value();

	ereport(
		NOTICE,
		(errmsg("no worker serves this database: order_engine is not in shared_preload_libraries"),
		 consequence(),
		 errhint("The server's configuration needs these lines%s, and a restart:\n%s\n%s",
				 strncmp(preload, "...", 3) == 0
					 ? " (... is what stands there already, if anything)"
					 : "",
				 configuration_line("shared_preload_libraries", preload),
				 configuration_line("order_engine.databases", databases_value()))));
}

static void
notice_not_listed(void)
{
	ereport(NOTICE, (errmsg("no worker serves this database: it is not in order_engine.databases"),
					 consequence(),
					 errhint("The server's configuration needs this line, and a reload:\n%s",
							 configuration_line("order_engine.databases", databases_value()))));
}

/* Tells whoever sets up a shop what is missing for it to be served; nothing if nothing is. */
Datum
order_engine_notice_service(PG_FUNCTION_ARGS)
{
	if (!launcher_is_preloaded())
		notice_not_preloaded();
	else if (!launcher_has_database(MyDatabaseId))
		notice_not_listed();
	PG_RETURN_VOID();
}
