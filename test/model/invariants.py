"""What must be true of every shop, whatever was done to it: read from the tables alone."""

from collections import defaultdict
from decimal import Decimal

from machines import Machine

BUILT_IN = {"update": "order.updated", "payment": "order.payment",
	"payment_mismatch": "order.payment_mismatch", "refund_payment": "order.refund_payment"}

# What an order takes of stock: by its lines, and by its adjustments.
TAKES = """(SELECT order_id, stock_key, quantity FROM order_engine.order_line
	UNION ALL SELECT order_id, a ->> 'stock_key', (a ->> 'quantity')::bigint
		FROM order_engine.orders, jsonb_array_elements(adjustments) a)"""

# Each finds what is wrong: a row for each case, none if all is well.
QUERIES = {
	"stock adds up to its movements": """
		SELECT sku, s.on_hand, m.moved FROM order_engine.stock_now s
		FULL JOIN (SELECT sku, sum(quantity) AS moved FROM order_engine.stock_movement
			GROUP BY sku) m USING (sku)
		WHERE coalesce(s.on_hand, 0) <> coalesce(m.moved, 0)""",
	"no stock is negative or oversold": """
		SELECT sku, on_hand, reserved FROM order_engine.stock
			WHERE reserved < 0 OR reserved > on_hand
		UNION ALL SELECT sku, on_hand, reserved FROM order_engine.stock_now
			WHERE reserved < 0 OR reserved > on_hand""",
	"captured and refunded are the sums of the payments": """
		SELECT o.order_id, o.captured, p.captured, o.refunded, p.refunded
		FROM order_engine.orders o,
			LATERAL (SELECT
				coalesce(sum(amount) FILTER (WHERE kind = 'capture' AND outcome <> 'mismatch'), 0)
					AS captured,
				coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0) AS refunded
			FROM order_engine.payment WHERE order_id = o.order_id) p
		WHERE (o.captured, o.refunded) IS DISTINCT FROM (p.captured, p.refunded)""",
	"the amount is that of lines and adjustments": """
		SELECT o.order_id FROM order_engine.orders o,
			LATERAL (SELECT sum(quantity * unit_price) AS lines
				FROM order_engine.order_line WHERE order_id = o.order_id) l,
			LATERAL (SELECT coalesce(sum((a ->> 'amount')::numeric), 0) AS more
				FROM jsonb_array_elements(o.adjustments) a) a
		WHERE l.lines IS NOT NULL
			AND (o.subtotal, o.amount) IS DISTINCT FROM (l.lines, l.lines + a.more)""",
	"each version is one row of history, without gaps": """
		SELECT order_id, o.version, e.rows, e.newest FROM order_engine.orders o
		FULL JOIN (SELECT order_id, count(*) AS rows, min(version) AS oldest, max(version) AS newest
			FROM order_engine.order_event GROUP BY order_id) e USING (order_id)
		WHERE (o.version, o.version, 1) IS DISTINCT FROM (e.rows, e.newest, e.oldest)""",
	"history follows from state to state": """
		SELECT order_id, version, from_state, before FROM (
			SELECT *, lag(to_state) OVER (PARTITION BY order_id ORDER BY version) AS before
			FROM order_engine.order_event) e
		WHERE from_state IS DISTINCT FROM before""",
	"history is in order of time": """
		SELECT order_id, version, at, before FROM (
			SELECT *, lag(at) OVER (PARTITION BY order_id ORDER BY version) AS before
			FROM order_engine.order_event) e
		WHERE at < before""",
	"history replayed gives the order": """
		SELECT o.order_id, o.state, o.version, folded.r FROM order_engine.orders o, LATERAL (
			SELECT order_engine.replay_events(o.machine_id, e.version, e.event, e.from_state,
				e.to_state ORDER BY e.version) AS r
			FROM order_engine.order_event e WHERE e.order_id = o.order_id) AS folded
		WHERE ((folded.r).state, (folded.r).version) IS DISTINCT FROM (o.state::text, o.version)""",
	"events of an order have ascending versions in the order of their ids": """
		SELECT aggregateid, id, seq, before FROM (
			SELECT aggregateid, id, (headers ->> 'seq')::int AS seq,
				lag((headers ->> 'seq')::int) OVER (PARTITION BY aggregateid ORDER BY id) AS before
			FROM order_engine.outbox WHERE aggregatetype = 'order' AND headers ? 'seq') e
		WHERE seq <= before""",
	"an event tells its own id, version, type and row of history": """
		SELECT b.id, b.payload FROM order_engine.outbox b
		LEFT JOIN order_engine.order_event e ON e.order_id = b.aggregateid::bigint
			AND e.version = (b.payload ->> 'version')::int
		WHERE b.aggregatetype = 'order' AND (b.id::text, b.headers ->> 'seq', b.aggregateid,
			e.event, e.from_state, e.to_state, e.attributes, e.at)
			IS DISTINCT FROM (b.payload ->> 'event_id', b.payload ->> 'version',
			b.payload ->> 'order_id', b.payload ->> 'event', b.payload ->> 'from',
			b.payload ->> 'to', (b.payload -> 'event_attributes')::jsonb, (b.payload ->> 'at')::timestamptz)""",
	"the newest event tells the order as it is": """
		SELECT o.order_id, b.payload FROM order_engine.orders o
		JOIN order_engine.outbox b ON b.aggregateid = o.order_id::text AND b.aggregatetype = 'order'
			AND (b.payload ->> 'version')::int = o.version
		WHERE (o.state, o.amount, o.captured, o.refunded, o.currency, o.attributes)
			IS DISTINCT FROM (b.payload ->> 'to', (b.payload ->> 'amount')::numeric,
			(b.payload ->> 'captured')::numeric, (b.payload ->> 'refunded')::numeric,
			b.payload ->> 'currency', (b.payload -> 'attributes')::jsonb)""",
	"an event tells all lines": """
		SELECT b.id FROM order_engine.outbox b WHERE b.aggregatetype = 'order'
			AND json_array_length(b.payload -> 'lines') <> (SELECT count(*)
				FROM order_engine.order_line WHERE order_id = b.aggregateid::bigint)""",
	"a payment has its version in the history": """
		SELECT p.* FROM order_engine.payment p
		LEFT JOIN order_engine.order_event e USING (order_id, version) WHERE e.order_id IS NULL""",
	"lines, history, payments belong to orders": """
		SELECT order_id FROM (SELECT order_id FROM order_engine.order_line UNION
			SELECT order_id FROM order_engine.order_event UNION
			SELECT order_id FROM order_engine.payment) t
		WHERE NOT EXISTS (SELECT FROM order_engine.orders o WHERE o.order_id = t.order_id)""",
	"the engine says so, too": "SELECT * FROM order_engine.reconcile()",
	"a key is used once by its user": """
		SELECT user_id, idempotency_key FROM order_engine.orders WHERE idempotency_key IS NOT NULL
		GROUP BY 1, 2 HAVING count(*) > 1""",
}


def broken(cursor, published=True):
	"""All that is wrong, as lines of text.  published: the outbox holds every event."""
	found = []
	for title, query in QUERIES.items():
		cursor.execute(query)
		found += ["%s: %s" % (title, row) for row in cursor.fetchmany(5)]
	machines = read_machines(cursor)
	found += broken_holds(cursor, machines)
	found += broken_goods(cursor, machines)
	if published:
		found += broken_events(cursor, machines)
	return found


def read_machines(cursor):
	cursor.execute("SELECT machine_id, name, definition FROM order_engine.machine")
	return {m: Machine(m, name, definition) for m, name, definition in cursor.fetchall()}


def broken_holds(cursor, machines):
	"""What is reserved is what the orders in states that hold stock, and reservations, take."""
	cursor.execute("""SELECT o.machine_id, o.state, l.stock_key, sum(l.quantity)
		FROM order_engine.orders o JOIN """ + TAKES + """ l USING (order_id)
		WHERE l.stock_key IS NOT NULL GROUP BY 1, 2, 3""")
	held = defaultdict(int)
	for machine, state, key, quantity in cursor.fetchall():
		if machines[machine].holds[state] == "held":
			held[key] += quantity
	cursor.execute("""SELECT line.key, sum(line.value::bigint)
		FROM order_engine.reservation, jsonb_each_text(lines) line
		WHERE state = 'held' GROUP BY 1""")
	for key, quantity in cursor.fetchall():
		held[key] += quantity
	cursor.execute("SELECT sku, reserved FROM order_engine.stock_now")
	reserved = dict(cursor.fetchall())
	return ["stock %r: reserved %s, held by orders %s" % (sku, reserved.get(sku), held.get(sku))
		for sku in sorted({*reserved, *held}) if reserved.get(sku, 0) != held.get(sku, 0)]


def broken_goods(cursor, machines):
	"""Each move that confirms or restocks has its movements, and there are no others."""
	cursor.execute("""SELECT o.machine_id, e.from_state, e.event, e.order_id || '/' || e.version,
			l.stock_key, sum(l.quantity)
		FROM order_engine.order_event e JOIN order_engine.orders o USING (order_id)
			JOIN """ + TAKES + """ l USING (order_id)
		WHERE l.stock_key IS NOT NULL GROUP BY 1, 2, 3, 4, 5""")
	expected = {}
	for machine, state, event, ref, key, quantity in cursor.fetchall():
		move = machines[machine].find(state, event)
		if move is not None and move.stock in ("confirm", "restock"):
			expected[key, move.stock, ref] = -quantity if move.stock == "confirm" else quantity
	cursor.execute("""SELECT sku, reason, ref, quantity FROM order_engine.stock_movement
		WHERE reason IN ('confirm', 'restock')""")
	found = {row[:3]: Decimal(row[3]) for row in cursor.fetchall()}
	return ["movement %s: %s, expected %s" % (key, found.get(key), expected.get(key))
		for key in sorted({*found, *expected}, key=str) if found.get(key) != expected.get(key)][:5]


def broken_events(cursor, machines):
	"""Each version whose machine publishes it is in the outbox, once."""
	cursor.execute("""SELECT o.machine_id, e.order_id, e.version, e.event, e.from_state,
			array_agg(b.type) FILTER (WHERE b.id IS NOT NULL)
		FROM order_engine.order_event e JOIN order_engine.orders o USING (order_id)
		LEFT JOIN order_engine.outbox b ON b.aggregatetype = 'order'
			AND b.aggregateid = e.order_id::text AND (b.payload ->> 'version')::int = e.version
		GROUP BY 1, 2, 3, 4, 5""")
	wrong = []
	for machine, order, version, event, state, types in cursor.fetchall():
		publish = event_type(machines[machine], state, event)
		if (types or []) != ([publish] if publish else []):
			wrong.append("order %s version %s, event %s: in the outbox are %s, not %s"
				% (order, version, event, types, publish))
	return wrong[:5]


def event_type(machine, state, event):
	if event in BUILT_IN:
		return BUILT_IN[event]
	return machine.creation.publish if state is None else machine.find(state, event).publish
