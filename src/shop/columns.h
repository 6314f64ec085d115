/*
 * columns.h
 *		The columns of the shop's tables, as setup.sql makes them.
 *
 * A module names a column by its number here; where that column stands in a table
 * that is open, row.h knows.  Users may add columns of their own.
 */
#ifndef ORDER_ENGINE_COLUMNS_H
#define ORDER_ENGINE_COLUMNS_H

#include "shop/shop.h"

typedef struct RowColumn
{
	const char *name;
	Oid			type;
	bool		required; /* NOT NULL */
} RowColumn;

typedef struct RowColumns
{
	const char		*table;
	int				 ncolumns;
	const RowColumn *columns;  /* in the order of the table's enum */
	bool			 fixed;	   /* a user's BEFORE trigger must leave them as they are */
	char			 strategy; /* of its partitions, as pg_partitioned_table has it; 0: plain */
	const char		*key;	   /* the column that they go by */
} RowColumns;

typedef enum OrderColumn
{
	ORDER_ORDER_ID,
	ORDER_USER_ID,
	ORDER_STATE,
	ORDER_MACHINE_ID,
	ORDER_VERSION,
	ORDER_SUBTOTAL,
	ORDER_AMOUNT,
	ORDER_CAPTURED,
	ORDER_REFUNDED,
	ORDER_CURRENCY,
	ORDER_IDEMPOTENCY_KEY,
	ORDER_REQUEST_HASH,
	ORDER_ADJUSTMENTS,
	ORDER_ATTRIBUTES,
	ORDER_PRIVATE,
	ORDER_CREATED_AT,
	ORDER_UPDATED_AT,
	ORDER_DUE_AT,
	ORDER_COLUMNS
} OrderColumn;

enum
{
	LINE_ORDER_ID,
	LINE_LINE_NO,
	LINE_SKU,
	LINE_STOCK_KEY,
	LINE_QUANTITY,
	LINE_UNIT_PRICE,
	LINE_ATTRIBUTES,
	LINE_COLUMNS
};

enum
{
	EVENT_ORDER_ID,
	EVENT_VERSION,
	EVENT_EVENT,
	EVENT_FROM_STATE,
	EVENT_TO_STATE,
	EVENT_ACTOR,
	EVENT_REASON,
	EVENT_IDEMPOTENCY_KEY,
	EVENT_ATTRIBUTES,
	EVENT_TRACEPARENT,
	EVENT_AT,
	EVENT_COLUMNS
};

enum
{
	PAYMENT_ORDER_ID,
	PAYMENT_KIND,
	PAYMENT_PAYMENT_REF,
	PAYMENT_AMOUNT,
	PAYMENT_CURRENCY,
	PAYMENT_OUTCOME,
	PAYMENT_VERSION,
	PAYMENT_ATTRIBUTES,
	PAYMENT_AT,
	PAYMENT_COLUMNS
};

enum
{
	RESERVATION_ID,
	RESERVATION_RESERVATION_ID,
	RESERVATION_USER_ID,
	RESERVATION_STATE,
	RESERVATION_LINES,
	RESERVATION_CONFIRMED,
	RESERVATION_ORDER_ID,
	RESERVATION_ACTOR,
	RESERVATION_CREATED_AT,
	RESERVATION_EXPIRES_AT,
	RESERVATION_RESOLVED_AT,
	RESERVATION_COLUMNS
};

enum
{
	MACHINE_MACHINE_ID,
	MACHINE_NAME,
	MACHINE_DEFINITION,
	MACHINE_PUBLISHED_AT,
	MACHINE_COLUMNS
};

enum
{
	STOCK_SKU,
	STOCK_ON_HAND,
	STOCK_RESERVED,
	STOCK_VERSION,
	STOCK_MODE,
	STOCK_AUTO_MODE,
	STOCK_OPEN,
	STOCK_EPOCH,
	STOCK_COLUMNS
};

enum
{
	MOVEMENT_SKU,
	MOVEMENT_QUANTITY,
	MOVEMENT_REASON,
	MOVEMENT_REF,
	MOVEMENT_ACTOR,
	MOVEMENT_AT,
	MOVEMENT_COLUMNS
};

enum
{
	POSITION_JOURNAL,
	POSITION_ENTRY,
	POSITION_GENERATION,
	POSITION_IDENTITY,
	POSITION_ERA,
	POSITION_TIMELINE,
	POSITION_BATCH,
	POSITION_TICK_ID,
	POSITION_TICK_AT,
	POSITION_OTHER_ERAS,
	POSITION_CONSUMED,
	POSITION_ADOPTED,
	POSITION_SNAPSHOT,
	POSITION_LAST_ID,
	POSITION_CURRENT_RING,
	POSITION_AT,
	POSITION_RING,
	POSITION_COLUMNS
};

enum
{
	OUTBOX_ID,
	OUTBOX_AGGREGATETYPE,
	OUTBOX_AGGREGATEID,
	OUTBOX_TYPE,
	OUTBOX_PAYLOAD,
	OUTBOX_HEADERS,
	OUTBOX_CREATED_AT,
	OUTBOX_TOPIC,
	OUTBOX_PARTITION,
	OUTBOX_PAYLOAD_BYTES,
	OUTBOX_XID,
	OUTBOX_ERA,
	OUTBOX_RING,
	OUTBOX_COLUMNS
};

enum
{
	STOCK_JOURNAL_ID,
	STOCK_JOURNAL_SKU,
	STOCK_JOURNAL_ON_HAND,
	STOCK_JOURNAL_RESERVED,
	STOCK_JOURNAL_EPOCH,
	STOCK_JOURNAL_CREATED_AT,
	STOCK_JOURNAL_XID,
	STOCK_JOURNAL_ERA,
	STOCK_JOURNAL_RING,
	STOCK_JOURNAL_COLUMNS
};

enum
{
	SHOP_RELAY_PAUSED,
	SHOP_COLUMNS
};

extern const RowColumns order_columns;
extern const RowColumns line_columns;
extern const RowColumns event_columns;
extern const RowColumns payment_columns;
extern const RowColumns reservation_columns;
extern const RowColumns machine_columns;
extern const RowColumns stock_columns;
extern const RowColumns movement_columns;
extern const RowColumns position_columns;
extern const RowColumns outbox_columns;
extern const RowColumns stock_journal_columns;
extern const RowColumns shop_columns;

/* Those of each ShopTable; behind them those of `shop`, and NULL. */
extern const RowColumns *const columns_tables[];

#endif /* ORDER_ENGINE_COLUMNS_H */
