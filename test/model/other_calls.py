"""Machines, events, time, and what is malformed."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import machines
import order_rules
import reservation_rules
import sql
import stock_rules
from call import Call, by_hand
from chooser import MACHINES, PAST, Chooser
from things import Due, Message, OneOf, Refused, Who


class OtherCalls(Chooser):
	def define(self):
		name = self.rng.choice(MACHINES)
		definition = machines.random_definition(self.rng)
		if self.rng.random() < 0.25:
			return self.refused("SELECT " + sql.call("define_machine", name,
				machines.random_fault(self.rng, definition)), "22023", level="operator")
		if self.rng.random() < 0.2:
			definition = self.pool.definition(name) or definition
		return self.define_call(name, definition)

	def define_call(self, name, definition):
		return Call("SELECT " + sql.call("define_machine", name, definition),
			lambda view, who, told: order_rules.define_machine(view, name, definition, told),
			level="operator", plain_only=True)

	def emit(self):
		kind, key = self.rng.choice(["note", "cart"]), self.rng.choice(["1", "k'2", "28672"])
		payload = self.rng.choice([None, {"a": [1, Decimal("2.50")]}, "text"])
		text = None if payload is None else sql.to_json(payload)
		given = self.maybe({"h": "x", "n": Decimal("1.50"), "none": None}, 0.3)
		topic = self.maybe("notes", 0.2)
		statement = "SELECT " + sql.call("emit", kind, key, "note.written", text, headers=given,
			topic=topic)
		return Call(statement, lambda view, who, told: send(view, told, who, kind, key, payload,
			self.given(given, {}), self.given(topic)))

	def insert_message(self):
		key = self.rng.choice(["1", "7"])
		text = ("INSERT INTO order_engine.outbox (aggregatetype, aggregateid, type, payload) "
			"VALUES ('cart', %s, 'cart.filled', '{\"n\": 1}')" % sql.literal(key))
		return by_hand(text, lambda view, who, told: view.send(Message("cart", key,
			"cart.filled", {"n": 1}, OneOf(None, {}))))

	def tend(self):
		# versions of what was due, and of all stock: so it is told which orders were moved
		due = ",".join(str(o.id) for o in self.pool.orders() if is_due(o))
		after = ("SELECT order_id::text AS what, version FROM order_engine.orders "
			"WHERE order_id = ANY('{%s}') UNION ALL SELECT 'stock ' || sku, version "
			"FROM order_engine.stock UNION ALL SELECT 'held ' || coalesce(user_id::text, '') || "
			"' ' || reservation_id, CASE state WHEN 'held' THEN 1 ELSE 0 END "
			"FROM order_engine.reservation" % due)
		return Call("CALL order_engine.tend(10000)", lambda view, who, told: tended(view, told),
			level="operator", after=after, plain_only=True)

	def too_long(self):
		"""Amounts of more digits than the engine takes."""
		amount = self.rng.choice(["1e60", "0." + "0" * 59 + "1", "1" * 61,
			"1" * 40 + "." + "1" * 30])
		text = self.rng.choice(["pay_order(%d, 'long', %s)", "refund_order(%d, 'long', %s)",
			"create_order(%d, '[{\"sku\": \"a\", \"quantity\": 1, \"unit_price\": %s}]')"])
		order_id = self.order_id()
		codes = ["22023"] + ([] if text.startswith("create") else ["OE012"])
		return self.refused("SELECT order_engine." + text % (order_id, amount), *codes,
			touched=[("order", order_id)])

	def malformed(self):
		order_id = self.order_id()
		text, codes, level = self.rng.choice(MALFORMED)
		return self.refused("SELECT order_engine." + text.replace("ID", str(order_id)), *codes,
			level=level, touched=[("order", order_id), ("stock", "a")])


# The argument lists that are wrong, why, and who may call at all.
LINE = "'[{\"sku\": \"a\", \"quantity\": 1}]'"
MALFORMED = [
	("create_order(NULL, %s)" % LINE, ["22004"], "app"),
	("create_order(1, NULL)", ["22004"], "app"),
	("create_order(1, '[]')", ["22023"], "app"),
	("create_order(1, '{}')", ["22023"], "app"),
	("create_order(1, '[{\"sku\": \"a\"}]')", ["22023"], "app"),
	("create_order(1, '[{\"sku\": \"a\", \"quantity\": 0}]')", ["22023"], "app"),
	("create_order(1, '[{\"sku\": \"a\", \"quantity\": 1.5}]')", ["22023"], "app"),
	("create_order(1, '[{\"sku\": \"a\", \"quantity\": 1, \"unit_price\": -1}]')", ["22023"],
		"app"),
	("create_order(1, '[{\"sku\": \"a\", \"quantity\": 1, \"color\": \"red\"}]')", ["22023"],
		"app"),
	("create_order(1, %s, '')" % LINE, ["22023"], "app"),
	("create_order(1, %s, repeat('x', 256))" % LINE, ["22023"], "app"),
	("create_order(1, %s, pay_within => '0')" % LINE, ["22023"], "app"),
	("create_order(1, %s, machine => 'nothing')" % LINE, ["22023"], "app"),
	("create_order(1, %s, attributes => '[]')" % LINE, ["22023"], "app"),
	("create_order(1, %s, private => '1')" % LINE, ["22023"], "app"),
	("create_order(1, %s, adjustments => '[{\"kind\": \"gift\", \"amount\": 1}]')" % LINE,
		["22023"], "app"),
	("create_order(1, %s, adjustments => '[{\"kind\": \"discount\", \"amount\": -1}]')" % LINE,
		["22023"], "app"),
	("create_order(1, %s, context => '{\"who\": \"me\"}')" % LINE, ["22023"], "app"),
	("create_order(1, %s, currency => '')" % LINE, ["22023"], "app"),
	("create_order(1, %s, currency => 'EURO')" % LINE, ["22023"], "app"),
	("create_order(1, %s, adjustments => '[{\"kind\": \"rounding\", \"amount\": 1}]')" % LINE,
		["22023"], "app"),
	("create_order(1, '[{\"sku\": \"a\", \"quantity\": \"1e1\"}]')", ["22023"], "app"),
	("fire(NULL, 'ship')", ["22004"], "app"),
	("fire(ID, NULL)", ["22004"], "app"),
	("fire(ID, 'ship', idempotency_key => '')", ["22023"], "app"),
	("fire(ID, 'ship', attributes => '1')", ["22023"], "app"),
	("fire(ID, 'ship', attributes => jsonb_build_object('a', repeat('x', 9000)))", ["54000"],
		"app"),
	("pay_order(NULL, 'p', 1)", ["22004"], "app"),
	("pay_order(ID, NULL, 1)", ["22004"], "app"),
	("pay_order(ID, 'p', NULL)", ["22004"], "app"),
	("pay_order(ID, 'p', -1)", ["22023"], "app"),
	("pay_order(ID, 'p', 'NaN')", ["22023"], "app"),
	("pay_order(ID, 'p', 'Infinity')", ["22023"], "app"),
	("pay_order(ID, '', 1)", ["22023"], "app"),
	("pay_order(ID, 'p', 1, 'E1')", ["22023"], "app"),
	("pay_order(ID, 'p', 1, attributes => '[1]')", ["22023"], "app"),
	("refund_order(ID, 'p', 0)", ["22023"], "app"),
	("refund_order(ID, 'p', -1)", ["22023"], "app"),
	("refund_order(ID, 'p', 'NaN')", ["22023"], "app"),
	("refund_order(ID, NULL)", ["22004"], "app"),
	("receive_stock('a', 0)", ["22023"], "operator"),
	("receive_stock(NULL, 1)", ["22004"], "operator"),
	("receive_stock('a', 1, 'confirm')", ["22023"], "operator"),
	("adjust_stock('a', 0)", ["22023"], "operator"),
	("deduct_stock('a', 0)", ["22023"], "app"),
	("deduct_stock('a', -1)", ["22023"], "app"),
	("try_reserve(NULL, %s, '1 hour')" % LINE, ["22004"], "app"),
	("try_reserve('', %s, '1 hour')" % LINE, ["22023"], "app"),
	("try_reserve('h', NULL, '1 hour')", ["22004"], "app"),
	("try_reserve('h', '[]', '1 hour')", ["22023"], "app"),
	("try_reserve('h', %s, NULL)" % LINE, ["22004"], "app"),
	("try_reserve('h', %s, '0')" % LINE, ["22023"], "app"),
	("try_reserve('h', %s, '13 months')" % LINE, ["22023"], "app"),
	("confirm_reservation(NULL)", ["22004"], "app"),
	("confirm_reservation('no such')", ["OE007"], "app"),
	("cancel_reservation(repeat('x', 256))", ["22023"], "app"),
	("extend_reservation('no such', '-1 hour')", ["22023"], "app"),
	("extend_reservation('no such', '1 hour')", ["OE007"], "app"),
	("emit('a b', '1', 't', '1')", ["22023"], "app"),
	("emit('a', '', 't', '1')", ["22023"], "app"),
	("emit('a', '1', NULL, '1')", ["22004"], "app"),
	("emit('a', '1', 't', '1', '{\"h\": [1]}')", ["22023"], "app"),
	("user_orders(1, max_rows => 0)", ["22023"], "app"),
	("user_orders(1, max_rows => 1001)", ["22023"], "app"),
	("order_id_parts(-1)", ["22023"], "app"),
	("next_order_id(NULL)", ["22004"], "app"),
]


def send(view, told, who, kind, key, payload, headers, topic):
	headers = dict(headers)
	if who.traceparent is not None and "traceparent" not in headers:
		headers["traceparent"] = who.traceparent
	view.send(Message(kind, key, "note.written", payload,
		headers if headers else OneOf(None, {}), topic))
	return told.value


def is_due(order):
	"""Due now: what is due in minutes or hours is not while a round lasts."""
	if isinstance(order.due, Due):
		return order.due.after == timedelta(microseconds=1)
	return order.due == PAST


def tended(view, told):
	"""Moves what was moved, and complains of what should have been."""
	versions = {row["what"]: row["version"] for row in told.after or ()}
	before = {}
	for held in [r for r in view.all("reservation") if r.state == "held" and r.short]:
		expire_hold(view, told, held, versions, before)
	for order in [o for o in view.all("order") if is_due(o)]:
		# what is looked at stays locked in a transaction, moved or not
		view.get(("order", order.id))
		for sku in stock_rules.demands(order):
			before.setdefault(sku, view.get(("stock", sku)))
		if order_rules.due_move(order) is None:
			continue
		if versions.get(str(order.id)) == order.version + 1:
			order_rules.expire(view, Who(OneOf("keeper", told.actor), OneOf("due", None)), order.id)
		elif not can_expire(view, order):
			told.resting.add(order.id)
		elif not told.may_skip(order):
			raise Refused("none: order %d is due and was left" % order.id)
	take_versions(view, before, versions)


def expire_hold(view, told, held, versions, before):
	view.get(held.key)
	for sku in held.lines:
		before.setdefault(sku, view.get(("stock", sku)))
	name = "held %s %s" % ("" if held.user is None else held.user, held.name)
	if versions.get(name) == 0:
		reservation_rules.expire(view, held)
	elif not told.may_skip(held):
		raise Refused("none: reservation %s is due and was left" % held.ref)


def take_versions(view, before, versions):
	"""A batch changes a stock row once for several orders: its version is what the table says,
	if it can be."""
	for sku, earlier in before.items():
		stock = view.peek(("stock", sku))
		told = versions.get("stock " + sku)
		if stock is not None and stock is not earlier and told is not None:
			if (earlier.version if earlier else 0) < told <= stock.version:
				view.put(("stock", sku), replace(stock, version=told))


def can_expire(view, order):
	mark = view.mark()
	try:
		order_rules.expire(view, Who("keeper"), order.id)
		return True
	except Refused:
		return False
	finally:
		view.undo(mark)
