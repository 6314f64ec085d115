/*
 * reconcile_check.c
 *		The invariants, as SQL that finds what breaks them.
 *
 * Orders are gone through by their ids, and what belongs to them by the indexes that
 * begin with those; movements by the blocks they lie in.  Rows that one of those needs
 * of a table without such an order are fetched one by one, by a subquery that the
 * planner cannot turn into a join, which would read that whole table for every piece.
 * What is compared per SKU is summed in one statement, which spills to disk.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "storage/itemptr.h"
#include "utils/memutils.h"

#include "base/statement.h"
#include "worker/reconcile_check_internal.h"

#define FETCH_ROWS 1000
#define PIECE_ORDERS 50000

/* What is on hand, and what of it is reserved, of each SKU, in either mode. */
#define STOCK                                                                        \
	"SELECT s.sku, s.epoch, s.on_hand + coalesce(u.on_hand, 0) AS on_hand,"          \
	" s.reserved + coalesce(u.reserved, 0) AS reserved"                              \
	" FROM order_engine.stock s LEFT JOIN (SELECT u.sku, u.epoch,"                   \
	"  pg_catalog.sum(u.on_hand) AS on_hand, pg_catalog.sum(u.reserved) AS reserved" \
	"  FROM order_engine.stock_journal_unfolded() u GROUP BY u.sku, u.epoch) u"      \
	" ON u.sku = s.sku AND u.epoch = s.epoch"

/* What stock orders ask for, in the state that they are in, and in those before. */
#define DEMAND                                                                          \
	"SELECT l.order_id, l.stock_key AS sku, l.quantity FROM order_engine.order_line l"  \
	" WHERE l.stock_key IS NOT NULL"                                                    \
	" UNION ALL "                                                                       \
	"SELECT o.order_id, a ->> 'stock_key', (a ->> 'quantity')::int"                     \
	" FROM order_engine.orders o, pg_catalog.jsonb_path_query(o.adjustments, '$[*]') a" \
	" WHERE o.adjustments <> '[]' AND a ->> 'stock_key' IS NOT NULL AND pg_catalog.jsonb_typeof(a -> 'quantity') = 'number'"

/* What open reservations hold. */
#define RESERVATIONS                                                  \
	"SELECT l.key, l.value::numeric FROM order_engine.reservation r," \
	" pg_catalog.jsonb_each_text(r.lines) l WHERE r.state = 'held'"

/* What an order has of that, by machine and state. */
#define HOLDINGS                                                                                   \
	"SELECT t.machine_id, t.state, order_engine.machine_holding(t.machine_id, t.state) AS holding" \
	" FROM (SELECT DISTINCT t.machine_id, t.to_state AS state"                                     \
	" FROM order_engine.machine_transition t) t"

/* Those moves that leave movements behind. */
#define MOVES                                                       \
	"SELECT t.machine_id, t.from_state, t.event, t.stock AS reason" \
	" FROM order_engine.machine_transition t WHERE t.stock IN ('confirm', 'restock')"

/* Which of two invariants a wrong movement of an order breaks. */
#define STOCK_OF_ORDER "CASE WHEN h.holding = 'none' THEN 'returned_stock' ELSE 'order_stock' END"

/* name, key, expected, actual, and what is to be added to mend it, or null */
static void
read_check(HeapTuple tuple, TupleDesc desc, CheckRow *row)
{
	bool  isnull = true;
	Datum delta = desc->natts > 4 ? SPI_getbinval(tuple, desc, 5, &isnull) : (Datum) 0;

	row->name = SPI_getvalue(tuple, desc, 1);
	row->key = SPI_getvalue(tuple, desc, 2);
	row->expected = SPI_getvalue(tuple, desc, 3);
	row->actual = SPI_getvalue(tuple, desc, 4);
	row->repairable = !isnull;
	row->delta = isnull ? 0 : DatumGetInt64(delta);
}

static void
visit_rows(SPITupleTable *table, MemoryContext context, CheckVisitor visitor, void *argument)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	for (uint64 i = 0; i < table->numvals; i++)
	{
		CheckRow row;

		read_check(table->vals[i], table->tupdesc, &row);
		visitor(&row, argument);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(context);
}

static void
check(Statement *statement, Datum *values, const char *nulls, CheckVisitor visitor, void *argument)
{
	MemoryContext rows = AllocSetContextCreate(CurrentMemoryContext, "order_engine reconcile",
											   ALLOCSET_DEFAULT_SIZES);
	Portal		  portal = statement_open(statement, values, nulls);

	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		visit_rows(SPI_tuptable, rows, visitor, argument);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	MemoryContextDelete(rows);
}

static int64
get_int64(int column)
{
	bool  isnull;
	Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/* ---- per SKU ---- */

static void
check_skus(Statement *statement, Datum skus, CheckVisitor visitor, void *argument)
{
	check(statement, &skus, skus == (Datum) 0 ? "n" : " ", visitor, argument);
}

void
check_stock(Datum skus, CheckVisitor visitor, void *argument)
{
	static Statement statement = {
		"SELECT v.name, b.sku, v.expected, v.actual, v.delta"
		" FROM (SELECT coalesce(s.sku, m.sku) AS sku, coalesce(m.moved, 0) AS moved,"
		"   coalesce(s.on_hand, 0) AS on_hand, coalesce(s.reserved, 0) AS reserved"
		"  FROM (" STOCK ") s FULL JOIN (SELECT m.sku, pg_catalog.sum(m.quantity) AS moved"
		"   FROM order_engine.stock_movement m GROUP BY m.sku) m ON m.sku = s.sku) b,"
		" LATERAL (VALUES"
		"  ('" CHECK_ON_HAND "', b.moved::text, b.on_hand::text, (b.on_hand - b.moved)::bigint,"
		"   b.on_hand <> b.moved),"
		"  ('free', 'at least 0', (b.on_hand - b.reserved)::text, null, b.reserved > b.on_hand)"
		" ) v(name, expected, actual, delta, broken)"
		" WHERE v.broken AND ($1 IS NULL OR b.sku = ANY ($1))",
		1,
		{TEXTARRAYOID}};

	check_skus(&statement, skus, visitor, argument);
}

void
check_reserved(Datum skus, CheckVisitor visitor, void *argument)
{
	static Statement statement = {
		"WITH holding AS MATERIALIZED (" HOLDINGS "), held AS"
		" (SELECT u.sku, pg_catalog.sum(u.quantity) AS quantity"
		"  FROM (SELECT d.sku, d.quantity FROM order_engine.orders o"
		"   JOIN holding h ON h.machine_id = o.machine_id AND h.state = o.state"
		"   JOIN (" DEMAND ") d ON d.order_id = o.order_id WHERE h.holding = 'held'"
		"   UNION ALL " RESERVATIONS ") u GROUP BY u.sku)"
		" SELECT '" CHECK_RESERVED "', coalesce(s.sku, h.sku), coalesce(h.quantity, 0)::text,"
		"  coalesce(s.reserved, 0)::text,"
		"  (coalesce(h.quantity, 0) - coalesce(s.reserved, 0))::bigint"
		" FROM (" STOCK ") s FULL JOIN held h ON h.sku = s.sku"
		" WHERE coalesce(h.quantity, 0) <> coalesce(s.reserved, 0)"
		"  AND ($1 IS NULL OR coalesce(s.sku, h.sku) = ANY ($1))",
		1,
		{TEXTARRAYOID}};

	check_skus(&statement, skus, visitor, argument);
}

/* Of entries whose epoch no row has there is nothing to be set to. */
void
check_counters(Datum skus, Datum epochs, Datum quantities, CheckVisitor visitor, void *argument)
{
	static Statement statement = {
		"SELECT '" CHECK_COUNTER "', c.sku, coalesce((s.on_hand - s.reserved)::text, 'none'),"
		"  c.free::text, (s.on_hand - s.reserved)::bigint"
		" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))"
		"  c(sku, epoch, free)"
		" LEFT JOIN (" STOCK ") s ON s.sku = c.sku AND s.epoch = c.epoch"
		" WHERE s.on_hand - s.reserved IS DISTINCT FROM c.free",
		3,
		{TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID}};
	Datum values[] = {skus, epochs, quantities};

	check(&statement, values, NULL, visitor, argument);
}

/* ---- per order ---- */

int64
check_next_orders(int64 after, int64 *last)
{
	static Statement statement = {
		"SELECT pg_catalog.count(*), pg_catalog.max(b.order_id)"
		" FROM (SELECT o.order_id FROM order_engine.orders o WHERE o.order_id > $1"
		"  ORDER BY o.order_id LIMIT $2) b",
		2,
		{INT8OID, INT8OID}};
	Datum  values[] = {Int64GetDatum(after), Int64GetDatum(PIECE_ORDERS)};
	Portal portal = statement_open(&statement, values, NULL);
	int64  n;

	SPI_cursor_fetch(portal, true, 1);
	n = get_int64(1);
	*last = get_int64(2);
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(portal);
	return n;
}

int64
check_count_orders(void)
{
	static Statement statement = {
		"SELECT pg_catalog.sum(c.reltuples)::bigint"
		" FROM pg_catalog.pg_partition_tree('order_engine.orders') t"
		" JOIN pg_catalog.pg_class c ON c.oid = t.relid WHERE t.isleaf AND c.reltuples > 0"};
	int64 n;

	statement_execute(&statement, NULL, NULL, 1);
	n = get_int64(1);
	SPI_freetuptable(SPI_tuptable);
	return n;
}

/* Of the orders with ids above $1, up to $2. */
static Statement payments = {
	"SELECT v.name, o.order_id, v.expected, v.actual"
	" FROM order_engine.orders o LEFT JOIN (SELECT p.order_id,"
	"  pg_catalog.sum(p.amount) FILTER (WHERE p.kind = 'capture' AND p.outcome <> 'mismatch')"
	"   AS captured,"
	"  pg_catalog.sum(p.amount) FILTER (WHERE p.kind = 'refund') AS refunded"
	"  FROM order_engine.payment p WHERE p.order_id > $1 AND p.order_id <= $2"
	"  GROUP BY p.order_id) p ON p.order_id = o.order_id,"
	" LATERAL (VALUES"
	"  ('captured', coalesce(p.captured, 0)::text, o.captured::text,"
	"   o.captured <> coalesce(p.captured, 0)),"
	"  ('refunded', coalesce(p.refunded, 0)::text, o.refunded::text,"
	"   o.refunded <> coalesce(p.refunded, 0)),"
	"  ('refunds', 'at most ' || o.captured, o.refunded::text, o.refunded > o.captured)"
	" ) v(name, expected, actual, broken)"
	" WHERE o.order_id > $1 AND o.order_id <= $2 AND v.broken",
	2,
	{INT8OID, INT8OID}};

/* A history with gaps is not replayed: it would break one invariant by breaking another. */
static Statement history = {
	"SELECT v.name, o.order_id, v.expected, v.actual"
	" FROM (SELECT o.order_id, o.version, o.state, m.machine_id IS NOT NULL AS published,"
	"   o.machine_id, pg_catalog.count(e.version) AS versions,"
	"   pg_catalog.min(e.version) AS first, pg_catalog.max(e.version) AS last,"
	"   order_engine.replay_check(o.machine_id, e.version, e.event, e.from_state, e.to_state"
	"    ORDER BY e.version) FILTER (WHERE m.machine_id IS NOT NULL AND e.version IS NOT NULL)"
	"    AS replay"
	"  FROM order_engine.orders o"
	"  LEFT JOIN order_engine.machine m ON m.machine_id = o.machine_id"
	"  LEFT JOIN order_engine.order_event e ON e.order_id = o.order_id"
	"   AND e.order_id > $1 AND e.order_id <= $2"
	"  WHERE o.order_id > $1 AND o.order_id <= $2"
	"  GROUP BY o.order_id, o.version, o.state, o.machine_id, m.machine_id) o,"
	" LATERAL (SELECT (o.versions, o.first, o.last) IS NOT DISTINCT FROM"
	"  (o.version::bigint, 1, o.version) AS whole) w,"
	" LATERAL (VALUES"
	"  ('history', 'versions 1 to ' || o.version,"
	"   CASE WHEN o.versions = 0 THEN 'none'"
	"    ELSE o.versions || ' of versions ' || o.first || ' to ' || o.last END, NOT w.whole),"
	"  ('replay', CASE WHEN NOT o.published THEN 'a published machine'"
	"    ELSE coalesce((o.replay).problem, (o.replay).state) END,"
	"   CASE WHEN NOT o.published THEN 'machine ' || o.machine_id ELSE o.state END,"
	"   NOT o.published OR w.whole AND ((o.replay).problem IS NOT NULL"
	"    OR (o.replay).state <> o.state))"
	" ) v(name, expected, actual, broken) WHERE v.broken",
	2,
	{INT8OID, INT8OID}};

static Statement moves = {
	"WITH holding AS MATERIALIZED (" HOLDINGS "), move AS MATERIALIZED (" MOVES "), demand AS"
	" (SELECT d.order_id, d.sku, pg_catalog.sum(d.quantity) AS quantity FROM (" DEMAND ") d"
	"  WHERE d.order_id > $1 AND d.order_id <= $2 GROUP BY d.order_id, d.sku)"
	" SELECT " STOCK_OF_ORDER ", o.order_id || ' ' || d.sku, q.expected::text,"
	"  coalesce(q.actual, 0)::text"
	" FROM order_engine.orders o"
	" JOIN holding h ON h.machine_id = o.machine_id AND h.state = o.state"
	" JOIN order_engine.order_event e ON e.order_id = o.order_id"
	"  AND e.order_id > $1 AND e.order_id <= $2"
	" JOIN move m ON m.machine_id = o.machine_id AND m.from_state = e.from_state"
	"  AND m.event = e.event"
	" JOIN demand d ON d.order_id = o.order_id,"
	" LATERAL (SELECT CASE m.reason WHEN 'confirm' THEN -d.quantity ELSE d.quantity END"
	"   AS expected,"
	"  (SELECT s.quantity FROM order_engine.stock_movement s WHERE s.sku = d.sku"
	"   AND s.reason = m.reason AND s.ref = o.order_id || '/' || e.version) AS actual"
	"  OFFSET 0) q"
	" WHERE o.order_id > $1 AND o.order_id <= $2 AND e.version <= o.version"
	"  AND q.actual IS DISTINCT FROM q.expected",
	2,
	{INT8OID, INT8OID}};

/* Who made an order with lines left a hash; if they are gone, nothing says what it holds. */
static Statement lines = {
	"WITH holding AS MATERIALIZED (" HOLDINGS ")"
	" SELECT 'order_stock', o.order_id, 'lines', 'none'"
	" FROM order_engine.orders o"
	" JOIN holding h ON h.machine_id = o.machine_id AND h.state = o.state"
	" WHERE o.order_id > $1 AND o.order_id <= $2 AND o.request_hash IS NOT NULL"
	"  AND h.holding <> 'none' AND NOT EXISTS (SELECT FROM order_engine.order_line l"
	"   WHERE l.order_id = o.order_id AND l.order_id > $1 AND l.order_id <= $2)",
	2,
	{INT8OID, INT8OID}};

void
check_orders(int64 after, int64 last, CheckVisitor visitor, void *argument)
{
	static Statement *const statements[] = {&payments, &history, &moves, &lines};
	Datum					range[] = {Int64GetDatum(after), Int64GetDatum(last)};

	for (int i = 0; i < lengthof(statements); i++)
		check(statements[i], range, NULL, visitor, argument);
}

/* ---- per reservation ---- */

void
check_reservations(CheckVisitor visitor, void *argument)
{
	static Statement statement = {
		"SELECT 'reservation_stock', r.id || ' ' || l.key, q.expected::text,"
		"  coalesce(q.actual, 0)::text"
		" FROM order_engine.reservation r, pg_catalog.jsonb_each_text(r.confirmed) l,"
		" LATERAL (SELECT -l.value::numeric AS expected,"
		"  (SELECT s.quantity FROM order_engine.stock_movement s WHERE s.sku = l.key"
		"   AND s.reason = 'reservation' AND s.ref = r.id::text) AS actual OFFSET 0) q"
		" WHERE r.state = 'confirmed' AND q.actual IS DISTINCT FROM q.expected"};

	check(&statement, NULL, NULL, visitor, argument);
}

/* ---- per movement ---- */

/*
 * Those of orders that are gone count for their SKU alone; of what is missing in the
 * history, or of a state that is none, other invariants speak.
 */
void
check_movements(BlockNumber first, BlockNumber end, CheckVisitor visitor, void *argument)
{
	static Statement statement = {
		"WITH holding AS MATERIALIZED (" HOLDINGS "), move AS MATERIALIZED (" MOVES ")"
		" SELECT " STOCK_OF_ORDER ", m.order_id || ' ' || m.sku, '0', m.quantity::text"
		" FROM (SELECT m.sku, m.reason, m.quantity,"
		"   CASE WHEN m.ref ~ '^[0-8]?[0-9]{1,18}/[0-9]{1,9}$'"
		"    THEN pg_catalog.split_part(m.ref, '/', 1)::bigint END AS order_id,"
		"   CASE WHEN m.ref ~ '^[0-8]?[0-9]{1,18}/[0-9]{1,9}$'"
		"    THEN pg_catalog.split_part(m.ref, '/', 2)::int END AS version"
		"  FROM order_engine.stock_movement m WHERE m.ctid >= $1 AND m.ctid < $2"
		"   AND m.reason IN ('confirm', 'restock') OFFSET 0) m"
		" JOIN LATERAL (SELECT o.machine_id, o.state, o.version FROM order_engine.orders o"
		"  WHERE o.order_id = m.order_id LIMIT 1) o ON true"
		" LEFT JOIN LATERAL (SELECT e.from_state, e.event FROM order_engine.order_event e"
		"  WHERE e.order_id = m.order_id AND e.version = m.version LIMIT 1) e ON true"
		" LEFT JOIN LATERAL (SELECT true AS asked FROM (" DEMAND ") d"
		"  WHERE d.order_id = m.order_id AND d.sku = m.sku LIMIT 1) d ON true"
		" LEFT JOIN move t ON t.machine_id = o.machine_id AND t.from_state = e.from_state"
		"  AND t.event = e.event AND t.reason = m.reason"
		" JOIN holding h ON h.machine_id = o.machine_id AND h.state = o.state"
		" WHERE d.asked IS NULL"
		"  OR t.reason IS NULL AND (e.event IS NOT NULL OR m.version > o.version)",
		2,
		{TIDOID, TIDOID}};
	ItemPointerData from;
	ItemPointerData to;
	Datum			range[2];

	ItemPointerSet(&from, first, 0);
	ItemPointerSet(&to, end, 0);
	range[0] = PointerGetDatum(&from);
	range[1] = PointerGetDatum(&to);
	check(&statement, range, NULL, visitor, argument);
}
