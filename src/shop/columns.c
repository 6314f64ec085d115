/*
 * columns.c
 *		The columns of the shop's tables, as setup.sql makes them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/parsenodes.h"

#include "shop/columns.h"

static const RowColumn orders[] = {
	[ORDER_ORDER_ID] = {"order_id", INT8OID, true},
	[ORDER_USER_ID] = {"user_id", INT8OID, true},
	[ORDER_STATE] = {"state", TEXTOID, true},
	[ORDER_MACHINE_ID] = {"machine_id", INT4OID, true},
	[ORDER_VERSION] = {"version", INT4OID, true},
	[ORDER_SUBTOTAL] = {"subtotal", NUMERICOID, true},
	[ORDER_AMOUNT] = {"amount", NUMERICOID, true},
	[ORDER_CAPTURED] = {"captured", NUMERICOID, true},
	[ORDER_REFUNDED] = {"refunded", NUMERICOID, true},
	[ORDER_CURRENCY] = {"currency", TEXTOID},
	[ORDER_IDEMPOTENCY_KEY] = {"idempotency_key", TEXTOID},
	[ORDER_REQUEST_HASH] = {"request_hash", BYTEAOID},
	[ORDER_ADJUSTMENTS] = {"adjustments", JSONBOID, true},
	[ORDER_ATTRIBUTES] = {"attributes", JSONBOID, true},
	[ORDER_PRIVATE] = {"private", JSONBOID, true},
	[ORDER_CREATED_AT] = {"created_at", TIMESTAMPTZOID, true},
	[ORDER_UPDATED_AT] = {"updated_at", TIMESTAMPTZOID, true},
	[ORDER_DUE_AT] = {"due_at", TIMESTAMPTZOID},
};

const RowColumns order_columns = {"orders", ORDER_COLUMNS,			 orders,
								  false,	PARTITION_STRATEGY_HASH, "order_id"};

static const RowColumn order_line[] = {
	[LINE_ORDER_ID] = {"order_id", INT8OID, true},
	[LINE_LINE_NO] = {"line_no", INT4OID, true},
	[LINE_SKU] = {"sku", TEXTOID, true},
	[LINE_STOCK_KEY] = {"stock_key", TEXTOID},
	[LINE_QUANTITY] = {"quantity", INT4OID, true},
	[LINE_UNIT_PRICE] = {"unit_price", NUMERICOID, true},
	[LINE_ATTRIBUTES] = {"attributes", JSONBOID, true},
};

const RowColumns line_columns = {
	"order_line", LINE_COLUMNS, order_line, true, PARTITION_STRATEGY_HASH, "order_id"};

static const RowColumn order_event[] = {
	[EVENT_ORDER_ID] = {"order_id", INT8OID, true},
	[EVENT_VERSION] = {"version", INT4OID, true},
	[EVENT_EVENT] = {"event", TEXTOID, true},
	[EVENT_FROM_STATE] = {"from_state", TEXTOID},
	[EVENT_TO_STATE] = {"to_state", TEXTOID, true},
	[EVENT_ACTOR] = {"actor", TEXTOID, true},
	[EVENT_REASON] = {"reason", TEXTOID},
	[EVENT_IDEMPOTENCY_KEY] = {"idempotency_key", TEXTOID},
	[EVENT_ATTRIBUTES] = {"attributes", JSONBOID, true},
	[EVENT_TRACEPARENT] = {"traceparent", TEXTOID},
	[EVENT_AT] = {"at", TIMESTAMPTZOID, true},
};

const RowColumns event_columns = {"order_event", EVENT_COLUMNS,			  order_event,
								  true,			 PARTITION_STRATEGY_HASH, "order_id"};

static const RowColumn payment[] = {
	[PAYMENT_ORDER_ID] = {"order_id", INT8OID, true},
	[PAYMENT_KIND] = {"kind", TEXTOID, true},
	[PAYMENT_PAYMENT_REF] = {"payment_ref", TEXTOID, true},
	[PAYMENT_AMOUNT] = {"amount", NUMERICOID, true},
	[PAYMENT_CURRENCY] = {"currency", TEXTOID},
	[PAYMENT_OUTCOME] = {"outcome", TEXTOID, true},
	[PAYMENT_VERSION] = {"version", INT4OID, true},
	[PAYMENT_ATTRIBUTES] = {"attributes", JSONBOID, true},
	[PAYMENT_AT] = {"at", TIMESTAMPTZOID, true},
};

const RowColumns payment_columns = {"payment", PAYMENT_COLUMNS,			payment,
									true,	   PARTITION_STRATEGY_HASH, "order_id"};

static const RowColumn reservation[] = {
	[RESERVATION_ID] = {"id", INT8OID, true},
	[RESERVATION_RESERVATION_ID] = {"reservation_id", TEXTOID, true},
	[RESERVATION_USER_ID] = {"user_id", INT8OID},
	[RESERVATION_STATE] = {"state", TEXTOID, true},
	[RESERVATION_LINES] = {"lines", JSONBOID},
	[RESERVATION_CONFIRMED] = {"confirmed", JSONBOID},
	[RESERVATION_ORDER_ID] = {"order_id", INT8OID},
	[RESERVATION_ACTOR] = {"actor", TEXTOID, true},
	[RESERVATION_CREATED_AT] = {"created_at", TIMESTAMPTZOID, true},
	[RESERVATION_EXPIRES_AT] = {"expires_at", TIMESTAMPTZOID},
	[RESERVATION_RESOLVED_AT] = {"resolved_at", TIMESTAMPTZOID},
};

const RowColumns reservation_columns = {"reservation", RESERVATION_COLUMNS,		reservation,
										true,		   PARTITION_STRATEGY_HASH, "id"};

static const RowColumn machine[] = {
	[MACHINE_MACHINE_ID] = {"machine_id", INT4OID, true},
	[MACHINE_NAME] = {"name", TEXTOID, true},
	[MACHINE_DEFINITION] = {"definition", JSONBOID, true},
	[MACHINE_PUBLISHED_AT] = {"published_at", TIMESTAMPTZOID, true},
};

const RowColumns machine_columns = {"machine", MACHINE_COLUMNS, machine, true};

static const RowColumn stock[] = {
	[STOCK_SKU] = {"sku", TEXTOID, true},
	[STOCK_ON_HAND] = {"on_hand", INT8OID, true},
	[STOCK_RESERVED] = {"reserved", INT8OID, true},
	[STOCK_VERSION] = {"version", INT8OID, true},
	[STOCK_MODE] = {"mode", TEXTOID, true},
	[STOCK_AUTO_MODE] = {"auto_mode", BOOLOID, true},
	[STOCK_OPEN] = {"open", BOOLOID, true},
	[STOCK_EPOCH] = {"epoch", INT8OID, true},
};

const RowColumns stock_columns = {"stock", STOCK_COLUMNS, stock};

static const RowColumn stock_movement[] = {
	[MOVEMENT_SKU] = {"sku", TEXTOID, true},
	[MOVEMENT_QUANTITY] = {"quantity", INT8OID, true},
	[MOVEMENT_REASON] = {"reason", TEXTOID, true},
	[MOVEMENT_REF] = {"ref", TEXTOID},
	[MOVEMENT_ACTOR] = {"actor", TEXTOID, true},
	[MOVEMENT_AT] = {"at", TIMESTAMPTZOID, true},
};

const RowColumns movement_columns = {"stock_movement", MOVEMENT_COLUMNS, stock_movement, true};

static const RowColumn journal_position[] = {
	[POSITION_JOURNAL] = {"journal", TEXTOID, true},
	[POSITION_ENTRY] = {"entry", INT8OID, true},
	[POSITION_GENERATION] = {"generation", INT8OID, true},
	[POSITION_IDENTITY] = {"identity", UUIDOID, true},
	[POSITION_ERA] = {"era", INT8OID, true},
	[POSITION_TIMELINE] = {"timeline", INT4OID, true},
	[POSITION_BATCH] = {"batch", INT8OID, true},
	[POSITION_TICK_ID] = {"tick_id", UUIDOID, true},
	[POSITION_TICK_AT] = {"tick_at", TIMESTAMPTZOID, true},
	[POSITION_OTHER_ERAS] = {"other_eras", BOOLOID, true},
	[POSITION_CONSUMED] = {"consumed", PG_SNAPSHOTOID},
	[POSITION_ADOPTED] = {"adopted", PG_SNAPSHOTOID},
	[POSITION_SNAPSHOT] = {"snapshot", PG_SNAPSHOTOID},
	[POSITION_LAST_ID] = {"last_id", INT8OID, true},
	[POSITION_CURRENT_RING] = {"current_ring", INT4OID, true},
	[POSITION_AT] = {"at", TIMESTAMPTZOID, true},
	[POSITION_RING] = {"ring", INT4OID, true},
};

const RowColumns position_columns = {
	"journal_position", POSITION_COLUMNS, journal_position, true, PARTITION_STRATEGY_LIST, "ring"};

static const RowColumn outbox[] = {
	[OUTBOX_ID] = {"id", INT8OID, true},
	[OUTBOX_AGGREGATETYPE] = {"aggregatetype", TEXTOID, true},
	[OUTBOX_AGGREGATEID] = {"aggregateid", TEXTOID, true},
	[OUTBOX_TYPE] = {"type", TEXTOID, true},
	[OUTBOX_PAYLOAD] = {"payload", JSONOID},
	[OUTBOX_HEADERS] = {"headers", JSONBOID},
	[OUTBOX_CREATED_AT] = {"created_at", TIMESTAMPTZOID, true},
	[OUTBOX_TOPIC] = {"topic", TEXTOID},
	[OUTBOX_PARTITION] = {"partition", INT4OID},
	[OUTBOX_PAYLOAD_BYTES] = {"payload_bytes", BYTEAOID},
	[OUTBOX_XID] = {"xid", XID8OID, true},
	[OUTBOX_ERA] = {"era", INT8OID, true},
	[OUTBOX_RING] = {"ring", INT4OID, true},
};

const RowColumns outbox_columns = {"outbox", OUTBOX_COLUMNS,		  outbox,
								   false,	 PARTITION_STRATEGY_LIST, "ring"};

static const RowColumn stock_journal[] = {
	[STOCK_JOURNAL_ID] = {"id", INT8OID, true},
	[STOCK_JOURNAL_SKU] = {"sku", TEXTOID, true},
	[STOCK_JOURNAL_ON_HAND] = {"on_hand", INT8OID, true},
	[STOCK_JOURNAL_RESERVED] = {"reserved", INT8OID, true},
	[STOCK_JOURNAL_EPOCH] = {"epoch", INT8OID, true},
	[STOCK_JOURNAL_CREATED_AT] = {"created_at", TIMESTAMPTZOID, true},
	[STOCK_JOURNAL_XID] = {"xid", XID8OID, true},
	[STOCK_JOURNAL_ERA] = {"era", INT8OID, true},
	[STOCK_JOURNAL_RING] = {"ring", INT4OID, true},
};

const RowColumns stock_journal_columns = {
	"stock_journal", STOCK_JOURNAL_COLUMNS, stock_journal, true, PARTITION_STRATEGY_LIST, "ring"};

static const RowColumn shop[] = {
	[SHOP_RELAY_PAUSED] = {"relay_paused", BOOLOID, true},
};

const RowColumns shop_columns = {"shop", SHOP_COLUMNS, shop};

const RowColumns *const columns_tables[] = {
	[SHOP_ORDERS] = &order_columns,
	[SHOP_ORDER_LINE] = &line_columns,
	[SHOP_ORDER_EVENT] = &event_columns,
	[SHOP_PAYMENT] = &payment_columns,
	[SHOP_RESERVATION] = &reservation_columns,
	[SHOP_MACHINE] = &machine_columns,
	[SHOP_STOCK] = &stock_columns,
	[SHOP_STOCK_MOVEMENT] = &movement_columns,
	[SHOP_JOURNAL_POSITION] = &position_columns,
	[SHOP_OUTBOX] = &outbox_columns,
	[SHOP_STOCK_JOURNAL] = &stock_journal_columns,
	[SHOP_TABLES] = &shop_columns,
	NULL,
};
