"""What is in a shop compared with the model: lines of text, one for each difference."""

from decimal import Decimal

import invariants
import sql
from machines import INTERVALS
from store import locked_by, others
from things import Due, OneOf, line_values


def recent(connection, world):
	"""The tables that change with every call."""
	with connection.cursor() as cursor:
		return compare_orders(cursor, world) + compare_stock(cursor, world)


def everything(connection, world):
	with connection.cursor() as cursor:
		return differences(cursor, world) + invariants.broken(cursor)


def differences(cursor, world):
	found = []
	for compare in (compare_orders, compare_lines, compare_history, compare_payments,
			compare_stock, compare_movements, compare_reservations, compare_machines,
			compare_tickets, compare_messages):
		found += compare(cursor, world)[:5]
	return found


def orders_of(world):
	return {key[1]: value for key, value in world.values.items() if key[0] == "order"}


def compare_rows(title, expected, actual):
	"""Both are dictionaries from a key to values."""
	found = []
	for key in [*expected, *[k for k in actual if k not in expected]]:
		want, have = expected.get(key), actual.get(key)
		if sql.canonical(want) != sql.canonical(have):
			found.append("%s %s: in the table %s, expected %s" % (title, key, have, want))
	return found


def compare_orders(cursor, world):
	cursor.execute("""SELECT order_id, user_id, state, machine_id, version, subtotal, amount,
		captured, refunded, currency, idempotency_key, request_hash IS NOT NULL, adjustments,
		attributes, private FROM order_engine.orders""")
	actual = {row[0]: row[1:] for row in cursor.fetchall()}
	expected = {o.id: (o.user, o.state, o.machine.id, o.version, o.subtotal, o.amount, o.captured,
		o.refunded, o.currency, o.key, o.request is not None, o.adjustments, o.attributes,
		o.private) for o in orders_of(world).values()}
	return compare_rows("order", expected, actual) + compare_due(cursor, world)


def compare_due(cursor, world):
	cursor.execute("""SELECT o.order_id, o.due_at, array_agg(e.at ORDER BY e.version), o.updated_at,
		o.created_at FROM order_engine.orders o JOIN order_engine.order_event e USING (order_id)
		GROUP BY 1, 2, o.updated_at, o.created_at""")
	found = []
	for order_id, due_at, times, updated_at, created_at in cursor.fetchall():
		order = orders_of(world).get(order_id)
		if order is None:
			continue
		if not is_due_at(order.due, due_at, times):
			found.append("order %s: due_at %s, expected %s, times %s"
				% (order_id, due_at, order.due, times))
		if abs((updated_at - times[-1]).total_seconds()) > 5 or created_at > times[0]:
			found.append("order %s: created %s, updated %s, times %s"
				% (order_id, created_at, updated_at, times))
	return found


def is_due_at(due, due_at, times):
	if due is None or due_at is None:
		return due is due_at
	if isinstance(due, Due):
		due = times[due.version - 1] + interval_of(due.after)
	return abs((due_at - due).total_seconds()) < 5


def interval_of(after):
	return INTERVALS.get(after, after) if isinstance(after, str) else after


def compare_lines(cursor, world):
	cursor.execute("""SELECT order_id, line_no, sku, stock_key, quantity, unit_price, attributes
		FROM order_engine.order_line""")
	actual = {row[:2]: row[2:] for row in cursor.fetchall()}
	expected = {(o.id, n): line_values(line) for o in orders_of(world).values()
		for n, line in enumerate(o.lines, 1)}
	return compare_rows("line", expected, actual)


def compare_history(cursor, world):
	cursor.execute("""SELECT order_id, version, event, from_state, to_state, actor, reason,
		idempotency_key, attributes, traceparent FROM order_engine.order_event""")
	actual = {row[:2]: row[2:] for row in cursor.fetchall()}
	expected = {(o.id, h.version): (h.event, h.from_state, h.to, h.who.actor, h.who.reason, h.key,
		h.attributes, h.who.traceparent) for o in orders_of(world).values() for h in o.history}
	return compare_rows("history", expected, actual)


def compare_payments(cursor, world):
	cursor.execute("""SELECT order_id, kind, payment_ref, amount, currency, outcome, version,
		attributes FROM order_engine.payment""")
	actual = {row[:3]: row[3:] for row in cursor.fetchall()}
	expected = {(o.id, p.kind, p.ref): (p.amount, p.currency, p.outcome, p.version, p.attributes)
		for o in orders_of(world).values() for p in o.payments}
	return compare_rows("payment", expected, actual)


def compare_stock(cursor, world):
	"""What is available in mode escrow only where nobody may have taken some of it."""
	cursor.execute("""SELECT sku, n.on_hand, n.reserved,
			CASE n.mode WHEN 'row' THEN s.version END, n.mode, s.open, n.available
		FROM order_engine.stock_now n JOIN order_engine.stock s USING (sku)""")
	may, _ = locked_by(others(world, None))
	actual = {row[0]: [*row[1:6], None if ("stock", row[0]) in may else row[6]]
		for row in cursor.fetchall()}
	expected = {key[1]: [s.on_hand, s.reserved, s.version if s.mode == "row" else None, s.mode,
			s.open, None if key in may else s.available]
		for key, s in world.values.items() if key[0] == "stock" and s is not None}
	return compare_rows("stock", expected, actual)


def compare_movements(cursor, world):
	cursor.execute("""SELECT sku, quantity, reason, CASE reason WHEN 'reservation'
			THEN r.reservation_id || ' of ' || coalesce(r.user_id::text, 'None') ELSE ref END, m.actor
		FROM order_engine.stock_movement m
		LEFT JOIN order_engine.reservation r ON reason = 'reservation' AND r.id::text = ref""")
	actual, expected = {}, {}
	for sku, *movement in cursor.fetchall():
		actual.setdefault(sku, []).append(movement)
	for key, moves in world.values.items():
		if key[0] == "moves":
			expected[key[1]] = [[m.quantity, m.reason, m.ref, m.actor] for m in moves]
	return compare_rows("movements of", sort_values(expected), sort_values(actual))


def compare_reservations(cursor, world):
	cursor.execute("""SELECT user_id, reservation_id, state, lines, confirmed, order_id
		FROM order_engine.reservation""")
	actual = {row[:2]: row[2:] for row in cursor.fetchall()}
	expected = {key[1:]: (r.state, r.lines, r.confirmed, r.order)
		for key, r in world.values.items() if key[0] == "reservation"}
	return compare_rows("reservation", expected, actual)


def sort_values(lists):
	return {key: sorted(values, key=lambda v: [str(x) for x in v])
		for key, values in lists.items()}


def compare_machines(cursor, world):
	"""But the engine's own."""
	cursor.execute("""SELECT machine_id, name, definition FROM order_engine.machine
		WHERE machine_id > 1""")
	actual = {row[0]: row[1:] for row in cursor.fetchall()}
	expected = {key[1]: (m.name, m.definition) for key, m in world.values.items()
		if key[0] == "machine" and key[1] > 1}
	return compare_rows("machine", expected, actual)


def compare_tickets(cursor, world):
	cursor.execute("SELECT id, status, v FROM public.ticket")
	actual = {row[0]: row[1:] for row in cursor.fetchall()}
	expected = {key[1]: (t.state, t.version) for key, t in world.values.items()
		if key[0] == "ticket" and t is not None}
	return compare_rows("ticket", expected, actual)


def compare_messages(cursor, world):
	cursor.execute("""SELECT aggregatetype, aggregateid, type, payload, headers, topic, partition
		FROM order_engine.outbox ORDER BY id""")
	actual, expected = {}, {}
	for row in cursor.fetchall():
		actual.setdefault(row[:2], []).append(row[2:])
	for m in world.messages:
		expected.setdefault((m.aggregatetype, m.aggregateid), []).append(
			(m.type, m.payload, m.headers, m.topic, m.partition))
	found = []
	for key in [*expected, *[k for k in actual if k not in expected]]:
		found += compare_stream(key, expected.get(key, []), actual.get(key, []))
	return found


def compare_stream(key, expected, actual):
	"""Messages of one key, in order where whoever wrote them held the row."""
	if key[0] == "order":
		expected = sorted(expected, key=lambda m: m[1]["version"])
	elif key[0] != "ticket":
		actual = arranged(actual, expected)
	if len(expected) != len(actual):
		return ["messages of %s: %s in the outbox, %s expected: %s, not %s" % (key, len(actual),
			len(expected), [m[0] for m in actual], [m[0] for m in expected])]
	return ["message of %s: %s, expected %s" % (key, have, want)
		for want, have in zip(expected, actual) if not same_message(want, have)]


def arranged(actual, expected):
	"""In the order of those that they may be; what may be none of them stands last."""
	left = list(actual)
	arranged = []
	for want in expected:
		found = next((have for have in left if same_message(want, have)), None)
		if found is not None:
			left.remove(found)
			arranged.append(found)
	return arranged + left


def same_message(want, have):
	if want[0] != have[0] or want[3:] != have[3:]:
		return False
	if want[2] is ...:
		pass
	elif isinstance(want[2], OneOf):
		if have[2] not in want[2].values:
			return False
	elif sql.canonical(want[2]) != sql.canonical(have[2]):
		return False
	return sql.canonical(stripped(want[1])) == sql.canonical(stripped(have[1]))


def stripped(payload):
	"""Without what only the server decides; refund_due by its value."""
	if not isinstance(payload, dict) or "schema_version" not in payload:
		return payload
	payload = {k: v for k, v in payload.items() if k not in ("event_id", "at")}
	if "refund_due" in payload:
		payload["refund_due"] = sql.number(Decimal(payload["refund_due"]).normalize() + 0)
	return payload
