"""Calls that create, move and pay orders."""

from datetime import timedelta
from decimal import Decimal

import hand_rules
import order_rules
import sql
from call import Call
from chooser import (ABSENT, CURRENCIES, HUGE, KEYS, PRICES, REFS, SECRET, SKUS, USERS, Chooser,
	plain_number, without_nulls)
from money import stored_currency
from things import Line, Request

PAY_WITHIN = {"1 hour": timedelta(hours=1), "00:30": timedelta(minutes=30),
	"3 days": timedelta(days=3), "1 microsecond": timedelta(microseconds=1)}
VERBS = {"ship_order": "ship", "complete_order": "complete", "cancel_order": "cancel",
	"request_refund": "request_refund", "confirm_refund": "confirm_refund",
	"reject_refund": "reject_refund"}


class OrderCalls(Chooser):
	def line(self):
		line = {"sku": self.rng.choice(SKUS if self.rng.random() < 0.97 else ABSENT),
			"quantity": self.rng.randint(1, 4)}
		if self.rng.random() < 0.1:
			line["quantity"] = str(line["quantity"])
		if self.rng.random() < 0.05:
			line = {"sku": HUGE, "quantity": 2**31 - 1}
		if self.rng.random() < 0.8:
			price = self.rng.choice(PRICES)
			line["unit_price"] = price if self.rng.random() < 0.2 else Decimal(price)
		if self.rng.random() < 0.2:
			line["stock_key"] = self.rng.choice([None, *SKUS])
		if self.rng.random() < 0.2:
			line["stocked"] = self.rng.choice([None, True, line.get("stock_key") is not None])
		if self.rng.random() < 0.2:
			line["attributes"] = self.rng.choice(
				[None, {}, {"color": "red", "n": Decimal("2.0")}, {"none": None}])
		return line

	def adjustment(self, lines):
		given = {"kind": self.rng.choice(["discount", "shipping", "tax", "fee"]),
			"amount": Decimal(self.rng.choice(["-1", "4.90", "0.5", "-0.25"]))}
		if self.rng.random() < 0.2:
			given["amount"] = sql.number(given["amount"])
		if self.rng.random() < 0.3:
			number = self.rng.randint(1, len(lines))
			given["line_no"] = str(number) if self.rng.random() < 0.2 else number
		if self.rng.random() < 0.3:
			given["label"] = self.rng.choice(["spring", None])
		if self.rng.random() < 0.3:
			given["stock_key"] = self.rng.choice(SKUS)
			given["quantity"] = self.rng.choice([1, "2", Decimal("3.0")])
		return given

	def create(self):
		lines = [self.line() for _ in range(self.rng.choice([1, 1, 1, 2, 3]))]
		arguments = {
			"idempotency_key": self.maybe(self.rng.choice(KEYS + [None]), 0.4),
			"pay_within": self.maybe(self.rng.choice([*PAY_WITHIN, None]), 0.2),
			"currency": self.maybe(self.rng.choice(CURRENCIES + [None]), 0.5),
			"adjustments": self.maybe(self.rng.choice([None, [], *([self.adjustment(lines)
				for _ in range(n)] for n in (1, 1, 2))]), 0.3),
			"attributes": self.maybe(self.rng.choice([None, self.attributes()]), 0.4),
			"private": self.maybe(self.rng.choice([None, {"name": SECRET}]), 0.4),
			"machine": self.maybe(self.rng.choice([None, *self.pool.machines()]), 0.8)}
		user = self.rng.choice(USERS)
		self.pool.remember(user, lines, arguments)
		return self.create_call(user, lines, arguments)

	def create_call(self, user, lines, arguments):
		request = self.request(user, lines, arguments)
		return self.row("create_order", [user, lines], arguments,
			lambda view, who, told: order_rules.create_order(view, who, request, told))

	def request(self, user, lines, arguments):
		within = self.given(arguments["pay_within"])
		return Request(user, tuple(map(read_line, lines)),
			key=self.given(arguments["idempotency_key"]),
			pay_within=PAY_WITHIN[within] if within else None,
			currency=stored_currency(self.given(arguments["currency"])),
			adjustments=tuple(map(read_adjustment, self.given(arguments["adjustments"]) or [])),
			attributes=self.given(arguments["attributes"]) or {},
			private=self.given(arguments["private"]) or {},
			machine=self.given(arguments["machine"]) or "order",
			reservation=self.given(arguments.get("reservation_id")))

	def create_again(self):
		"""An earlier request once more, the same in other words or changed."""
		earlier = self.pool.recall(self.rng)
		if earlier is None:
			return None
		user, lines, arguments = earlier
		lines = [self.in_other_words(line) for line in lines]
		if self.rng.random() < 0.3:
			lines, arguments = self.changed(lines, arguments)
		return self.create_call(user, lines, arguments)

	def in_other_words(self, line):
		line = dict(line)
		price = line.get("unit_price") or "0"
		if self.rng.random() < 0.5:
			line["unit_price"] = self.rng.choice(
				[sql.number(Decimal(price)), Decimal(price) + Decimal("0.00")])
		if self.rng.random() < 0.3:
			if line.get("stocked") is not False:
				line["stock_key"] = line.get("stock_key") or line["sku"]
			line["attributes"] = line.get("attributes") or self.rng.choice([None, {}])
		return dict(reversed(line.items()))

	def changed(self, lines, arguments):
		what = self.rng.randrange(6)
		arguments = dict(arguments)
		if what == 0:
			lines = lines + [{"sku": "a", "quantity": 1}]
		elif what == 1:
			lines = [dict(lines[0], quantity=int(lines[0]["quantity"]) % 9 + 1)] + lines[1:]
		elif what == 2:
			arguments["currency"] = "JPY"
		elif what == 3:
			arguments["private"] = {"name": SECRET + "!"}
		elif what == 4:
			arguments["attributes"] = {"other": 1}
		else:
			arguments["pay_within"] = "3 days"
		return lines, arguments

	def fire(self):
		order = self.order()
		order_id = order.id if order else 1
		event, expected = self.event(order), self.version(order)
		key = self.maybe(self.rng.choice(KEYS), 0.25)
		attributes = self.maybe(self.attributes(), 0.3)
		named = {"expected_version": expected, "idempotency_key": key, "attributes": attributes}
		return self.row("fire", [order_id, event], named, lambda view, who, told:
			order_rules.fire(view, who, order_id, event, self.given(expected), self.given(key),
			self.given(attributes, {})))

	def verb(self):
		order = self.order()
		order_id = order.id if order else 1
		name = self.rng.choice(list(VERBS))
		if order and self.rng.random() < 0.8:
			fitting = [v for v in VERBS if VERBS[v] in order.machine.allowed(order.state)]
			name = self.rng.choice(fitting or [name])
		expected = self.version(order)
		return self.row(name, [order_id], {"expected_version": expected}, lambda view, who, told:
			order_rules.fire(view, who, order_id, VERBS[name], self.given(expected), None, {}))

	def pay(self):
		order = self.order()
		order_id = order.id if order else 1
		ref, amount = self.rng.choice(REFS), self.amount(order)
		currency = self.maybe(self.rng.choice(CURRENCIES + [None]), 0.3)
		attributes = self.maybe(self.attributes(), 0.2)
		amount = plain_number(amount)
		named = {"currency": currency, "attributes": attributes}
		return self.row("pay_order", [order_id, ref, amount], named, lambda view, who, told:
			order_rules.pay_order(view, who, order_id, ref, amount,
			stored_currency(self.given(currency)), self.given(attributes, {}), told))

	def refund(self):
		order = self.order()
		order_id = order.id if order else 1
		ref = self.rng.choice(REFS)
		left = order.captured - order.refunded if order else 0
		amount = self.maybe(self.rng.choice([None, Decimal("1"), Decimal("0.5"), left or None,
			Decimal("1000000")]), 0.7)
		attributes = self.maybe(self.attributes(), 0.2)
		named = {"amount": amount, "attributes": attributes}
		return self.row("refund_order", [order_id, ref], named, lambda view, who, told:
			order_rules.refund_order(view, who, order_id, ref, self.given(amount),
			self.given(attributes, {})))

	def fire_many(self):
		"""One event for several orders in a statement of the user's own."""
		order = self.some_order()
		if order is None:
			return None
		chosen = [o for o in self.pool.orders()[-30:] if o.machine.id == order.machine.id
			and o.state == order.state][-self.rng.randint(1, 4):] or [order]
		event, ids = self.event(order), sorted(o.id for o in chosen)
		made = Call("SELECT count(%s) FROM order_engine.orders WHERE order_id IN (%s)"
			% (sql.call("fire", sql.Raw("order_id"), event), ", ".join(map(str, ids))),
			lambda view, who, told: hand_rules.fire_rows(view, who, ids, event))
		made.several = len(ids) > 1
		return made

	def inside(self):
		"""A call in the RETURNING of a statement that changes an order: the same or another."""
		order, other = self.some_order(), self.some_order()
		if order is None:
			return None
		event = self.event(other)
		made = Call("UPDATE order_engine.orders SET attributes = '{}' WHERE order_id = %d "
			"RETURNING (%s).version" % (order.id, sql.call("fire", other.id, event)),
			lambda view, who, told: hand_rules.fire_inside(view, who, order.id, other.id, event))
		made.several = True
		return made

	def cte(self):
		"""A call beside a statement that changes the same order in its WITH."""
		order = self.some_order()
		if order is None:
			return None
		event = self.event(order)
		function = sql.call("fire", sql.Raw("changed.order_id"), event)
		return Call("WITH changed AS (UPDATE order_engine.orders SET attributes = '{}' "
			"WHERE order_id = %d RETURNING order_id) SELECT (%s).version FROM changed"
			% (order.id, function),
			lambda view, who, told: hand_rules.fire_inside(view, who, order.id, order.id, event))

	def lock(self):
		"""A row lock of the user's own: FOR KEY SHARE is what a foreign key takes."""
		order = self.some_order()
		if order is None:
			return None
		strength = self.rng.choice(["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"])
		return Call("SELECT order_id FROM order_engine.orders WHERE order_id = %d FOR %s"
			% (order.id, strength),
			lambda view, who, told: hand_rules.lock_row(view, order.id, strength))


def read_line(given):
	given = without_nulls(given)
	sku = given["sku"]
	return Line(sku, given.get("stock_key", sku) if given.get("stocked", True) else None,
		int(given["quantity"]), plain_number(Decimal(given.get("unit_price", 0))),
		given.get("attributes", {}))


def read_adjustment(given):
	"""Kept as numbers, in whatever way they were given."""
	kept = dict(without_nulls(given), amount=Decimal(given["amount"]))
	for count in "line_no", "quantity":
		if count in kept:
			kept[count] = int(kept[count])
	return kept
