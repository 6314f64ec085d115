/*
 * journals.c
 *		The journals there are, and what one of them has for itself.
 */
#include "postgres.h"

#include "access/xlog.h"

#include "journal/journals_internal.h"

const JournalKind journals[JOURNALS] = {
	[JOURNAL_OUTBOX] =
		{
			.name = "outbox",
			.table = SHOP_OUTBOX,
			.entry = {[ENTRY_ID] = OUTBOX_ID, [ENTRY_CREATED_AT] = OUTBOX_CREATED_AT},
		},
	[JOURNAL_STOCK] =
		{
			.name = "stock_journal",
			.table = SHOP_STOCK_JOURNAL,
			.entry = {[ENTRY_ID] = STOCK_JOURNAL_ID, [ENTRY_CREATED_AT] = STOCK_JOURNAL_CREATED_AT},
		},
};

int64
journal_era(void)
{
	return (int64) GetSystemIdentifier();
}
