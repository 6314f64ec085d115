/*
 * journals_internal.h
 *		The journals there are, and what one of them has for itself.
 *
 * What all of them have: a table partitioned by `ring`, whose leaves have an index on
 * (era, xid, id), and positions under their name.
 */
#ifndef ORDER_ENGINE_JOURNALS_INTERNAL_H
#define ORDER_ENGINE_JOURNALS_INTERNAL_H

#include "journal/journal.h"
#include "shop/row.h"

/* What is read of a row of any journal, beside what the index has. */
enum
{
	ENTRY_ID,
	ENTRY_CREATED_AT,
	ENTRY_COLUMNS
};

typedef struct JournalKind
{
	const char *name; /* in journal_position, and as SQL functions take it */
	ShopTable	table;
	int			entry[ENTRY_COLUMNS]; /* which of the table's columns ENTRY_... are */
} JournalKind;

extern const JournalKind journals[JOURNALS];

#endif /* ORDER_ENGINE_JOURNALS_INTERNAL_H */
