/*
 * journals.c
 *		The journals there are, and what one of them has for itself.
 */
#include "postgres.h"

#include "access/xlog.h"

#include "journal/journals_internal.h"

/* What else the tables have, their own columns say. */
static const RowColumn outbox_entry[ENTRY_COLUMNS] = {
	[ENTRY_ID] = {"id"},
	[ENTRY_CREATED_AT] = {"created_at"},
};

const JournalKind journals[JOURNALS] = {
	[JOURNAL_OUTBOX] =
		{
			.name = "outbox",
			.table = SHOP_OUTBOX,
			.entry = {"outbox", ENTRY_COLUMNS, outbox_entry},
		},
};

int64
journal_era(void)
{
	return (int64) GetSystemIdentifier();
}
