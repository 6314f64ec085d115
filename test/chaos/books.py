"""Whether the shop's books balance, while nobody buys: the clients' ledger, the movements
and orders, what stock says, what can really be bought."""

import time
from collections import Counter

import psycopg2

import acts
import database
from call import Call
from ledger import Change, Order

PATIENCE = 120


def rows(connection, text):
	return database.run(connection, text)


def broken(connection, ledger):
	"""All that is wrong, as lines of text, of one snapshot."""
	for _ in range(PATIENCE):
		rows(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ")
		try:
			return (broken_stock(connection, ledger) + broken_orders(connection, ledger)
				+ broken_reservations(connection, ledger) + broken_movements(connection, ledger))
		except psycopg2.errors.SerializationFailure:
			# a leaf of the journal was emptied since the snapshot
			pass
		finally:
			rows(connection, "ROLLBACK")
	return ["no snapshot was young enough"]


# ---- orders and reservations ----

HELD = """SELECT (SELECT count(*) FROM order_engine.orders
		WHERE state = 'pending' AND due_at < now() + interval '1 hour')
	+ (SELECT count(*) FROM order_engine.reservation
		WHERE state = 'held' AND expires_at < now() + interval '1 hour')"""
EXPIRED = """SELECT o.idempotency_key FROM order_engine.orders o JOIN order_engine.order_event e
		USING (order_id) WHERE event = 'expire'
	UNION ALL SELECT reservation_id FROM order_engine.reservation WHERE state = 'expired'"""


def enter_expiries(connection, ledger):
	"""What the keeper did, once it has let go of all whose time is over; what it should not
	have done."""
	until = time.monotonic() + PATIENCE
	while rows(connection, HELD) != [(0,)]:
		if time.monotonic() > until:
			return ["orders or reservations do not expire"]
		time.sleep(0.05)
	held = {thing.key: thing for thing in [*ledger.orders.values(), *ledger.reservations.values()]
		if thing.state == "held"}
	expired = {key for key, in rows(connection, EXPIRED)} & held.keys()
	ledger.enter([Change(held[key], "expired") for key in expired])
	return ["%s has expired before its time" % held[key] for key in expired if not held[key].short]


# of an order that is in a state of the ledger's
STATES = {"held": "pending", "sold": "paid", "refunding": "refunding", "released": "cancelled",
	"expired": "cancelled", "restocked": "cancelled"}


def broken_orders(connection, ledger):
	found = rows(connection, """SELECT idempotency_key, order_id, o.state,
			array_agg(ARRAY[l.stock_key, l.quantity::text] ORDER BY l.line_no)
		FROM order_engine.orders o LEFT JOIN order_engine.order_line l USING (order_id)
		GROUP BY order_id""")
	there = {key: (id, state, lines) for key, id, state, lines in found}
	wrong = ["nobody knows of order %s, %s" % (key, there[key])
		for key in there.keys() - ledger.orders.keys()]
	for key, order in ledger.orders.items():
		id, state, lines = there.get(key, (None, None, None))
		if id != order.id or STATES[order.state] != state \
				or lines != [[sku, str(quantity)] for sku, quantity in order.lines]:
			wrong.append("%s is %s" % (order, there.get(key)))
	return wrong


def broken_reservations(connection, ledger):
	there = {key: (id, state, confirmed) for key, id, state, confirmed in rows(connection,
		"SELECT reservation_id, id, state, confirmed FROM order_engine.reservation")}
	wrong = ["nobody knows of reservation %s, %s" % (key, there[key])
		for key in there.keys() - ledger.reservations.keys()]
	for key, held in ledger.reservations.items():
		held.id, state, confirmed = there.get(key, (None, None, None))
		if state != held.state or (confirmed or {}) != dict(held.confirmed):
			wrong.append("%s is %s" % (held, there.get(key)))
	return wrong


# ---- goods ----

# the modes that nobody switches, by the beginning of the SKU
FIXED = {"row": "row", "hot": "escrow"}


def broken_movements(connection, ledger):
	"""Each that the ledger knows is there, once, and no other."""
	there = Counter()
	for sku, reason, ref, actor, quantity in rows(connection,
			"SELECT sku, reason, ref, actor, quantity FROM order_engine.stock_movement "
			"WHERE quantity <> 0"):
		if reason in ("confirm", "restock", "reservation"):
			ref = int(ref.split("/")[0])
		there[sku, reason, actor if reason == "direct" else ref] += quantity
	expected = {**ledger.movements, **ledger.order_movements()}
	return ["movement %s: %s, expected %s" % (key, there.get(key), expected.get(key))
		for key in sorted({*there, *expected}, key=str) if there.get(key) != expected.get(key)]


def broken_stock(connection, ledger):
	"""What is there, held and free: by the ledger, by the tables, by available()."""
	expected = ledger.sums()
	moved = dict(rows(connection, """SELECT sku, sum(quantity)::bigint
		FROM order_engine.stock_movement GROUP BY sku"""))
	held = dict(rows(connection, """SELECT sku, sum(quantity)::bigint FROM (
		SELECT stock_key AS sku, quantity
		FROM order_engine.order_line JOIN order_engine.orders USING (order_id)
		WHERE state = 'pending'
		UNION ALL SELECT line.key, line.value::bigint
		FROM order_engine.reservation, jsonb_each_text(lines) line
		WHERE state = 'held') held GROUP BY sku"""))
	wrong = []
	for sku, mode, on_hand, reserved, available, asked in stock_now(connection):
		seen = [(on_hand, reserved), (moved.get(sku, 0), held.get(sku, 0))]
		free = expected[sku][0] - expected[sku][1]
		if seen != [expected[sku]] * 2 or available != free or asked != free or free < 0:
			wrong.append("%s, in mode %s: on hand and reserved by the ledger %s, by stock and by "
				"movements and orders %s; free %d, by available() %s, by availability() %s"
				% (sku, mode, expected[sku], seen, free, available, asked))
		if FIXED.get(sku.split("-")[0], mode) != mode:
			wrong.append("%s is in mode %s" % (sku, mode))
	return wrong


def stock_now(connection):
	return rows(connection, """SELECT s.sku, s.mode, s.on_hand, s.reserved,
			order_engine.available(s.sku), a.available
		FROM order_engine.stock_now s
		LEFT JOIN order_engine.availability(ARRAY(SELECT sku FROM order_engine.stock)) a
			USING (sku) ORDER BY sku""")


def unreconciled(connection):
	return ["%s" % (row,) for row in rows(connection, "SELECT * FROM order_engine.reconcile()")]


# ---- what is left can be bought ----

def open_all(connection):
	rows(connection, "SELECT order_engine.set_stock_open(sku, true) FROM order_engine.stock "
		"WHERE NOT open")


def cannot_be_bought(connection, ledger, crowded):
	"""All that is free goes into one order, and not one unit more; it is undone.  Of a SKU
	in mode escrow for which there is no room in memory, nothing does."""
	rows(connection, "BEGIN")
	skus = ledger.sums().keys()
	without = {sku for sku in skus if no_room(connection, sku)} if crowded else set()
	if without:
		print("no room for %d" % len(without))
	_, wrong = buy_out(connection, ledger, skus - without)
	wrong += ["there is no room for %s, in mode %s" % row for row in rows(connection,
		"SELECT sku, mode FROM order_engine.stock WHERE mode <> 'escrow'") if row[0] in without]
	rows(connection, "ROLLBACK")
	return wrong


def no_room(connection, sku):
	return attempt(connection, Order("one of " + sku, 1, [(sku, 1)], False), False).code == "53400"


def sell_out(connection, ledger):
	"""The same, and it is paid for, as all that was held is."""
	rows(connection, "BEGIN")
	sale, wrong = buy_out(connection, ledger, ledger.sums().keys())
	rows(connection, "ROLLBACK" if wrong else "COMMIT")
	ledger.enter([Change(order, "held") for order in sale])
	for order in ledger.orders.values():
		if order.state == "held":
			told = database.ask(connection, Call(acts.payment(order, "the last").text, None))
			if told.field("outcome") == "paid":
				ledger.enter([Change(order, "sold")])
			else:
				wrong.append("%s cannot be paid: %s" % (order, told))
	for held in ledger.reservations.values():
		if held.state == "held":
			rows(connection, acts.confirmation(held, None, "the last").text)
			ledger.enter([Change(held, "confirmed", held.lines)])
	return wrong + ["%s is left of %s" % (left, sku) for sku, left in ledger.sums().items()
		if left != (0, 0)]


def buy_out(connection, ledger, skus):
	"""The order, or none if nothing is free; what is wrong."""
	free = {sku: on_hand - reserved for sku, (on_hand, reserved) in ledger.sums().items()
		if sku in skus}
	lines = [(sku, quantity) for sku, quantity in free.items() if quantity > 0]
	sale = Order("the last of %d" % len(ledger.orders), 1, lines, False)
	told = attempt(connection, sale) if lines else None
	if told is not None and told.error is not None:
		return [], ["what is free cannot be bought: %s: %s" % (lines, told)]
	wrong = []
	for sku in free:
		told = attempt(connection, Order("more of " + sku, 1, [(sku, 1)], False))
		if told.code != "OE001":
			wrong.append("more of %s can be bought than there is: %s" % (sku, told))
	return [sale] if lines else [], wrong


def attempt(connection, order, stays=True):
	act = acts.creation(order, "1 day")
	rows(connection, "SAVEPOINT attempt")
	told = database.ask(connection, Call(act.text, None))
	if told.error is not None or not stays:
		rows(connection, "ROLLBACK TO attempt")
	else:
		act.effects(told.rows[0])
	return told


# ---- what an asynchronous standby has of it ----

def adopt(connection, ledger):
	"""Lets the ledger forget what has not arrived; what nobody knows of is wrong."""
	states = dict(rows(connection, "SELECT idempotency_key, state FROM order_engine.orders"))
	moved = {(sku, reason, ref) for sku, reason, ref in rows(connection,
		"""SELECT sku, reason, CASE reason WHEN 'direct' THEN actor ELSE ref END
		FROM order_engine.stock_movement WHERE quantity <> 0 AND reason NOT IN ('confirm', 'restock', 'reservation')""")}
	restocked = {key for key, in rows(connection, """SELECT o.idempotency_key
		FROM order_engine.orders o JOIN order_engine.order_event e USING (order_id)
		WHERE e.event = 'confirm_refund'""")}
	wrong = ["nobody knows of %s" % (what,) for what in
		[*(states.keys() - ledger.orders.keys()), *(moved - ledger.movements.keys())]]
	lost = len(ledger.orders) - len(states)
	ledger.orders = {key: order for key, order in ledger.orders.items() if key in states}
	ledger.latest.clear()
	ledger.latest.extend(ledger.orders.values())
	ledger.movements = {key: quantity for key, quantity in ledger.movements.items() if key in moved}
	for key, order in ledger.orders.items():
		order.state = "restocked" if key in restocked else next(
			known for known, state in STATES.items() if state == states[key])
	return lost, wrong
