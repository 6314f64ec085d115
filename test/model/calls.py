"""Random calls and random SQL, each with what the rules say of it."""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Callable

import machines
import rules
import sql
from rules import Line, OneOf, Refused, Request, Who

USERS = [1, 2, 3, 42, -7, 9223372036854775807]
SKUS = ["a", "b", "C", "it's \"d\" \\", "é" * 127]
ABSENT = ["ghost"]
# with as many units as bigint can count
HUGE = "huge"
KEYS = ["k1", "k2", "k'3", "ключ" * 31]
REFS = ["p1", "p2", "p\"3"]
MACHINES = ["m1", "m2", "m3"]
CURRENCIES = ["EUR", "USD"]
PRICES = ["0", "1", "2.50", "19.90", "0.001", "100", "7.5"]
SECRET = "planted secret"
PAST = datetime(2024, 6, 1, tzinfo=timezone.utc)
FUTURE = datetime(2100, 1, 1, tzinfo=timezone.utc)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PAY_WITHIN = {"1 hour": timedelta(hours=1), "00:30": timedelta(minutes=30),
	"3 days": timedelta(days=3), "1 microsecond": timedelta(microseconds=1)}
VERBS = {"ship_order": "ship", "complete_order": "complete", "cancel_order": "cancel",
	"request_refund": "request_refund", "confirm_refund": "confirm_refund",
	"reject_refund": "reject_refund"}
LEVELS = ["app", "operator", "owner"]


@dataclass
class Call:
	"""A statement.  predict(view, who, told) gives what the caller must be told."""
	text: str
	predict: Callable
	# who may: a level, and those above it
	level: str = "app"
	writes: bool = True
	# the answer is one row and the statement can be part of another
	function: str = None
	# asked in the same session after a success, for what only the server decides
	after: str = None
	# locks more than rows
	locks_all: bool = False
	# locks several orders
	several: bool = False
	data: str = None
	# only outside a transaction block, or not where a snapshot is kept
	plain_only: bool = False
	# the answer is the number of rows
	counted: bool = False
	context: Any = None

	@property
	def by_hand(self):
		return not re.match(r"(SELECT|CALL)\b", self.text)

	def unwrap(self, told):
		return told


class Calls:
	"""Makes calls.  pool.orders(): orders to choose from; pool.machines(): names;
	pool.draw_id(user): an order id nobody has used."""

	def __init__(self, rng, pool, weights=None):
		self.rng = rng
		self.pool = pool
		weights = weights or WEIGHTS
		self.kinds = [getattr(self, name) for name in weights]
		self.weights = list(weights.values())

	def random(self):
		while True:
			made = self.rng.choices(self.kinds, self.weights)[0]()
			if made is not None:
				return made

	def maybe(self, value, chance=0.5):
		return value if self.rng.random() < chance else ...

	def given(self, value, default=None):
		return default if value is ... else value

	# ---- choosing ----

	def order(self):
		orders = self.pool.orders()
		if not orders or self.rng.random() < 0.02:
			return None
		return self.rng.choice(orders[-12:] if self.rng.random() < 0.6 else orders)

	def order_id(self):
		order = self.order()
		return order.id if order else self.rng.choice([1, -1, 0, 2**63 - 1])

	def some_order(self):
		order = self.order()
		return order or (self.pool.orders() or [None])[0]

	def context(self):
		context = {}
		if self.rng.random() < 0.3:
			context["actor"] = self.rng.choice(["clerk", "web'shop"])
		if self.rng.random() < 0.1:
			context["reason"] = "because"
		if self.rng.random() < 0.1:
			context["traceparent"] = TRACE
			if self.rng.random() < 0.5:
				context["tracestate"] = "vendor=1"
		return context or ...

	def attributes(self):
		return self.rng.choice([{}, {"n": self.rng.randint(1, 9)}, {"x": Decimal("1.50")},
			{"deep": {"list": [1, None, "é\"\\"]}}, {"refuse": True}, {"null": 1}, {"raise": 0},
			{"": "\U0001f4e6\u0001\u2028", "big": Decimal(10) ** 60, "tiny": Decimal("1E-40")},
			{"long": "x" * 3000, "nested": nested(100)}]
			if self.rng.random() < 0.3 else [{}, {"channel": "web"}])

	def amount(self, order):
		left = order.amount - order.captured + order.refunded if order else Decimal(1)
		exact = left if left >= 0 else Decimal(0)
		return self.rng.choice([exact, exact, exact, left / 2 if left > 0 else Decimal(1),
			Decimal(self.rng.choice(PRICES)), abs(left) + Decimal("0.5"), Decimal("1e2")])

	# ---- orders ----

	def line(self):
		line = {"sku": self.rng.choice(SKUS if self.rng.random() < 0.97 else ABSENT),
			"quantity": self.rng.randint(1, 4)}
		if self.rng.random() < 0.05:
			line = {"sku": HUGE, "quantity": 2**31 - 1}
		if self.rng.random() < 0.8:
			price = self.rng.choice(PRICES)
			line["unit_price"] = price if self.rng.random() < 0.2 else Decimal(price)
		if self.rng.random() < 0.2:
			line["stock_key"] = self.rng.choice([None, *SKUS])
		if self.rng.random() < 0.2:
			line["attributes"] = self.rng.choice([{}, {"color": "red", "n": Decimal("2.0")}])
		return line

	def adjustment(self, lines):
		given = {"kind": self.rng.choice(["discount", "shipping", "tax", "fee"]),
			"amount": Decimal(self.rng.choice(["-1", "4.90", "0.5", "-0.25"]))}
		if self.rng.random() < 0.3:
			given["line_no"] = self.rng.randint(1, len(lines))
		if self.rng.random() < 0.3:
			given["label"] = "spring"
		return given

	def create(self):
		lines = [self.line() for _ in range(self.rng.choice([1, 1, 1, 2, 3]))]
		arguments = {
			"idempotency_key": self.maybe(self.rng.choice(KEYS + [None]), 0.4),
			"pay_within": self.maybe(self.rng.choice([*PAY_WITHIN, None]), 0.2),
			"currency": self.maybe(self.rng.choice(CURRENCIES + [None]), 0.5),
			"adjustments": self.maybe([self.adjustment(lines)
				for _ in range(self.rng.randint(0, 2))], 0.3),
			"attributes": self.maybe(self.attributes(), 0.3),
			"private": self.maybe({"name": SECRET}, 0.3),
			"machine": self.maybe(self.rng.choice(self.pool.machines()), 0.8)}
		user = self.rng.choice(USERS)
		self.pool.remember(user, lines, arguments)
		return self.create_call(user, lines, arguments)

	def create_call(self, user, lines, arguments):
		request = self.request(user, lines, arguments)
		return self.row("create_order", [user, lines], arguments,
			lambda view, who, told: rules.create_order(view, who, request, told))

	def row(self, name, positional, named, predict, level="app"):
		"""A call that answers with one row."""
		context = self.context()
		function = sql.call(name, *positional, **named, context=context)
		return Call("SELECT * FROM " + function, predict, function=function, level=level,
			context=self.given(context))

	def request(self, user, lines, arguments):
		within = self.given(arguments["pay_within"])
		return Request(user, tuple(map(read_line, lines)),
			key=self.given(arguments["idempotency_key"]),
			pay_within=PAY_WITHIN[within] if within else None,
			currency=self.given(arguments["currency"]),
			adjustments=tuple(self.given(arguments["adjustments"], [])),
			attributes=self.given(arguments["attributes"], {}),
			private=self.given(arguments["private"], {}),
			machine=self.given(arguments["machine"], "order"))

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
		price = line.get("unit_price", "0")
		if self.rng.random() < 0.5:
			line["unit_price"] = self.rng.choice(
				[sql.number(Decimal(price)), Decimal(price) + Decimal("0.00")])
		if self.rng.random() < 0.3:
			line.setdefault("stock_key", line["sku"])
			line.setdefault("attributes", {})
		return dict(reversed(line.items()))

	def changed(self, lines, arguments):
		what = self.rng.randrange(6)
		arguments = dict(arguments)
		if what == 0:
			lines = lines + [{"sku": "a", "quantity": 1}]
		elif what == 1:
			lines = [dict(lines[0], quantity=lines[0]["quantity"] % 9 + 1)] + lines[1:]
		elif what == 2:
			arguments["currency"] = "JPY"
		elif what == 3:
			arguments["private"] = {"name": SECRET + "!"}
		elif what == 4:
			arguments["attributes"] = {"other": 1}
		else:
			arguments["pay_within"] = "3 days"
		return lines, arguments

	def event(self, order):
		if order and self.rng.random() < 0.8:
			allowed = order.machine.allowed(order.state)
			if allowed:
				return self.rng.choice(allowed)
		return self.rng.choice(machines.EVENTS + ["expire", "update", "create", "dance", "payment"])

	def version(self, order):
		if order is None:
			return ...
		return self.maybe(order.version + self.rng.choice([0, 0, 0, 0, -1, 1]), 0.3)

	def fire(self):
		order = self.order()
		order_id = order.id if order else 1
		event, expected = self.event(order), self.version(order)
		key = self.maybe(self.rng.choice(KEYS), 0.25)
		attributes = self.maybe(self.attributes(), 0.3)
		named = {"expected_version": expected, "idempotency_key": key, "attributes": attributes}
		return self.row("fire", [order_id, event], named, lambda view, who, told:
			rules.fire(view, who, order_id, event, self.given(expected), self.given(key),
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
			rules.fire(view, who, order_id, VERBS[name], self.given(expected), None, {}))

	def pay(self):
		order = self.order()
		order_id = order.id if order else 1
		ref, amount = self.rng.choice(REFS), self.amount(order)
		currency = self.maybe(self.rng.choice(CURRENCIES + [None]), 0.3)
		attributes = self.maybe(self.attributes(), 0.2)
		amount = rules_number(amount)
		named = {"currency": currency, "attributes": attributes}
		return self.row("pay_order", [order_id, ref, amount], named, lambda view, who, told:
			rules.pay_order(view, who, order_id, ref, amount, self.given(currency),
			self.given(attributes, {}), told))

	def refund(self):
		order = self.order()
		order_id = order.id if order else 1
		ref = self.rng.choice(REFS)
		amount = self.maybe(self.rng.choice([None, Decimal("1"), Decimal("0.5"),
			order.captured - order.refunded if order else None, Decimal("1000000")]), 0.7)
		if amount is not ... and amount is not None and amount <= 0:
			amount = None
		attributes = self.maybe(self.attributes(), 0.2)
		return self.row("refund_order", [order_id, ref], {"amount": amount, "attributes": attributes},
			lambda view, who, told: rules.refund_order(view, who, order_id, ref,
			self.given(amount), self.given(attributes, {})))

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
			lambda view, who, told: fire_rows(view, who, ids, event))
		made.several = len(ids) > 1
		return made

	def inside(self):
		"""A call in the RETURNING of a statement that changes an order: the same or another."""
		order, other = self.some_order(), self.some_order()
		if order is None:
			return None
		event = self.event(other)
		made = Call("UPDATE order_engine.orders SET attributes = '{}' WHERE order_id = %d RETURNING (%s).version"
			% (order.id, sql.call("fire", other.id, event)),
			lambda view, who, told: fire_inside(view, who, order.id, other.id, event))
		made.several = True
		return made

	def cte(self):
		"""A call beside a statement that changes the same order in its WITH."""
		order = self.some_order()
		if order is None:
			return None
		event = self.event(order)
		return Call("WITH changed AS (UPDATE order_engine.orders SET attributes = '{}' WHERE order_id = %d "
			"RETURNING order_id) SELECT (%s).version FROM changed" % (order.id,
			sql.call("fire", sql.Raw("changed.order_id"), event)),
			lambda view, who, told: fire_inside(view, who, order.id, order.id, event))

	def lock(self):
		"""A row lock of the user's own: FOR KEY SHARE is what a foreign key takes."""
		order = self.some_order()
		if order is None:
			return None
		strength = self.rng.choice(["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"])
		return Call("SELECT order_id FROM order_engine.orders WHERE order_id = %d FOR %s"
			% (order.id, strength), lambda view, who, told: lock_row(view, order.id, strength))

	# ---- stock ----

	def sku(self):
		return self.rng.choice(SKUS if self.rng.random() < 0.95 else ABSENT)

	def receive(self):
		if self.rng.random() < 0.1:
			return self.receive_call(HUGE, self.rng.choice([1, 2**31 - 1, 2**32, 2**63 - 1]))
		return self.receive_call(self.rng.choice(SKUS), self.rng.randint(1, 8),
			self.maybe(self.rng.choice(["return", "receipt"]), 0.2),
			self.maybe(self.rng.choice(["r1", "r2", "r3"]), 0.3))

	def receive_call(self, sku, quantity, reason=..., ref=...):
		return self.row("receive_stock", [sku, quantity], {"reason": reason, "ref": ref},
			lambda view, who, told: rules.receive_stock(view, who, sku, quantity,
			self.given(reason, "receipt"), self.given(ref)), level="operator")

	def adjust(self):
		sku, delta = self.sku(), self.rng.choice([-5, -2, -1, 1, 3])
		reason = self.maybe(self.rng.choice(["broken", "found"]), 0.3)
		ref = self.maybe(self.rng.choice(["r1", "r2"]), 0.3)
		return self.row("adjust_stock", [sku, delta], {"reason": reason, "ref": ref},
			lambda view, who, told: rules.adjust_stock(view, who, sku, delta,
			self.given(reason, "adjustment"), self.given(ref)), level="operator")

	def deduct(self):
		sku, quantity = self.sku(), self.rng.randint(1, 3)
		ref = self.maybe(self.rng.choice(["r1", "r2", "r3"]), 0.4)
		stock = self.pool.stock(sku)
		expected = self.maybe(stock.version + self.rng.choice([0, 0, 0, 1]) if stock else 1, 0.3)
		named = {"expected_version": expected, "ref": ref}
		return self.row("deduct_stock", [sku, quantity], named, lambda view, who, told:
			rules.deduct_stock(view, who, sku, quantity, self.given(expected), self.given(ref)))

	def write_stock(self):
		"""By hand: what the owner may."""
		sku, on_hand = self.rng.choice(SKUS + ["e"]), self.rng.randint(0, 30)
		what = self.rng.randrange(4)
		if what == 0:
			return by_hand("INSERT INTO order_engine.stock (sku, on_hand) VALUES (%s, %d)"
				% (sql.literal(sku), on_hand), lambda view, who, told:
				rules.insert_stock(view, who, sku, on_hand), "owner")
		if what == 1:
			return by_hand("DELETE FROM order_engine.stock WHERE sku = %s" % sql.literal(sku),
				lambda view, who, told: rules.delete_stock(view, who, sku), "owner")
		if what == 2:
			return by_hand("INSERT INTO order_engine.stock (sku, on_hand) VALUES (%s, %d) ON "
				"CONFLICT (sku) DO UPDATE SET on_hand = excluded.on_hand" % (sql.literal(sku), on_hand),
				lambda view, who, told: upsert_stock(view, who, sku, on_hand), "owner")
		return by_hand("UPDATE order_engine.stock SET on_hand = %d WHERE sku = %s"
			% (on_hand, sql.literal(sku)),
			lambda view, who, told: rules.update_stock(view, who, sku, on_hand), "owner")

	def spoil_stock(self):
		sku = self.rng.choice(SKUS)
		change = self.rng.choice(["reserved = reserved + 1", "version = version + 2",
			"mode = 'escrow'", "auto_mode = true", "sku = sku || 'x'"])
		return by_hand("UPDATE order_engine.stock SET %s WHERE sku = %s"
			% (change, sql.literal(sku)),
			lambda view, who, told: refused_if_there(view, ("stock", sku), "OE014"), "owner")

	# ---- orders by hand ----

	def update_state(self):
		order = self.some_order()
		if order is None:
			return None
		states = [t.to for t in order.machine.transitions if t.from_state == order.state]
		state = self.rng.choice(states if states and self.rng.random() < 0.8
			else [*sorted(order.machine.states), "nowhere"])
		changes = {"state": state}
		if self.rng.random() < 0.3:
			changes["attributes"] = self.attributes()
		return self.update_call([order], changes, self.maybe(order.version, 0.4))

	def update_other(self):
		order = self.some_order()
		if order is None:
			return None
		changes = self.rng.choice([{"attributes": self.attributes()}, {"private": {"p": SECRET}},
			{"due_at": PAST}, {"due_at": FUTURE}, {"due_at": None}, {"attributes": [1]},
			{"private": None}, {"state": None}, {"attributes": {"a": 1}, "due_at": PAST}])
		return self.update_call([order], changes)

	def update_orm(self):
		"""Optimistic locking as ORMs do it, from a page that may be stale."""
		order = self.some_order()
		if order is None:
			return None
		states = [t.to for t in order.machine.transitions if t.from_state == order.state]
		changes = {"state": self.rng.choice(states)} if states and self.rng.random() < 0.6 \
			else {"attributes": self.attributes()}
		if self.rng.random() < 0.4:
			changes.update(self.written_back(order))
		seen = order.version - self.rng.choice([0, 0, 0, 1])
		changes["version"] = Expression("version + 1", lambda o: o.version + 1) \
			if self.rng.random() < 0.5 else seen + 1
		return self.update_call([order], changes, seen)

	def written_back(self, order):
		columns = {"user_id": order.user, "amount": order.amount, "currency": order.currency,
			"idempotency_key": order.key, "captured": order.captured, "order_id": order.id,
			"refunded": order.refunded + Decimal("0.00")}
		columns["amount"] += Decimal("0.0000")
		return columns

	def update_forbidden(self):
		order = self.some_order()
		if order is None:
			return None
		changes = self.rng.choice([{"amount": order.amount + 1}, {"captured": order.captured + 1},
			{"refunded": order.refunded + 1}, {"user_id": order.user - 1},
			{"machine_id": order.machine.id + 1}, {"currency": "XXX"}, {"subtotal": order.subtotal + 1},
			{"idempotency_key": "other"}, {"adjustments": [{}]}, {"version": order.version + 2},
			{"version": order.version - 1}, {"version": None}, {"order_id": order.id + 1}])
		return self.update_call([order], changes)

	def update_many(self):
		orders = self.pool.orders()
		if len(orders) < 2:
			return None
		order = self.some_order()
		chosen = [o for o in orders[-30:] if o.machine.id == order.machine.id
			and o.state == order.state][-self.rng.randint(2, 4):]
		states = [t.to for t in order.machine.transitions if t.from_state == order.state]
		if states and chosen and self.rng.random() < 0.7:
			return self.update_call(chosen, {"state": self.rng.choice(states)})
		return self.update_call(self.rng.sample(orders, 2), {"attributes": {"many": 1}})

	def update_call(self, orders, changes, version=...):
		table = "orders" if self.rng.random() < 0.9 or len(orders) > 1 else \
			self.pool.leaf(orders[0].id)
		where = "order_id IN (%s)" % ", ".join(str(o.id) for o in orders)
		if version is not ...:
			where += " AND version = %d" % version
		text = "UPDATE order_engine.%s SET %s WHERE %s" % (table,
			", ".join("%s = %s" % (c, assigned(v)) for c, v in changes.items()), where)
		ids = [o.id for o in orders]
		level = "app" if table == "orders" else "owner"
		made = by_hand(text, lambda view, who, told:
			update_rows(view, who, ids, version, model_changes(changes)), level, counted=True)
		made.several = len(ids) > 1
		return made

	def insert(self):
		user = self.rng.choice(USERS)
		given = self.rng.choice([{}, {}, {"state": "pending"}, {"version": 1}, {"currency": "EUR"},
			{"attributes": {"raw": 1}, "private": {"name": SECRET}}, {"state": "paid"},
			{"version": 2}, {"captured": 1}, {"machine_id": 77},
			{"machine_id": self.rng.choice(self.pool.machine_ids())},
			{"idempotency_key": self.rng.choice(KEYS)}])
		columns = "".join(", " + c for c in given)
		values = "".join(", " + sql.literal(v) for v in given.values())
		text = ("INSERT INTO order_engine.orders (order_id, user_id%s) "
			"VALUES (order_engine.next_order_id(%d), %d%s) RETURNING order_id"
			% (columns, user, user, values))
		return Call(text, lambda view, who, told:
			rules.insert_order(view, who, told.new_id, user, given), function=text)

	def insert_elsewhere(self):
		"""An id that belongs to another user."""
		text = ("INSERT INTO order_engine.orders (order_id, user_id) "
			"VALUES (order_engine.next_order_id(1), 2)")
		return by_hand(text, lambda view, who, told: refused("22023"))

	def upsert(self):
		order = self.some_order()
		user = order.user if order else 1
		fresh = order is None or self.rng.random() < 0.4
		order_id = self.pool.draw_id(user) if fresh else order.id
		if self.rng.random() < 0.3:
			return by_hand("INSERT INTO order_engine.orders (order_id, user_id) VALUES (%d, %d) "
				"ON CONFLICT DO NOTHING" % (order_id, user),
				lambda view, who, told: insert_or(view, who, order_id, user, {}, None))
		state = "pending" if fresh or self.rng.random() < 0.2 else \
			self.rng.choice(sorted(order.machine.states))
		return by_hand("INSERT INTO order_engine.orders (order_id, user_id, state) VALUES (%d, %d, %s) "
			"ON CONFLICT (order_id) DO UPDATE SET state = excluded.state"
			% (order_id, user, sql.literal(state)), lambda view, who, told:
			insert_or(view, who, order_id, user, {"state": state}, {"state": state}))

	def merge(self):
		order = self.some_order()
		user = order.user if order else 1
		fresh = order is None or self.rng.random() < 0.4
		order_id = self.pool.draw_id(user) if fresh else order.id
		state = self.rng.choice(sorted(order.machine.states)) if order else "pending"
		return by_hand("MERGE INTO order_engine.orders o USING (VALUES (%d::bigint, %s)) AS s (id, state) "
			"ON o.order_id = s.id WHEN MATCHED THEN UPDATE SET state = s.state "
			"WHEN NOT MATCHED THEN INSERT (order_id, user_id) VALUES (s.id, %d)"
			% (order_id, sql.literal(state), user), lambda view, who, told:
			insert_or(view, who, order_id, user, {}, {"state": state}))

	def copy(self):
		user = self.rng.choice(USERS)
		ids = [self.pool.draw_id(user) for _ in range(self.rng.randint(1, 3))]
		made = by_hand("COPY order_engine.orders (order_id, user_id, attributes) FROM STDIN",
			lambda view, who, told: [rules.insert_order(view, who, i, user,
				{"attributes": {"copied": 1}}) for i in ids] and None)
		made.data = "".join("%d\t%d\t{\"copied\": 1}\n" % (i, user) for i in ids)
		made.function = None
		return made

	def delete(self):
		order = self.some_order()
		if order is None:
			return None
		return by_hand("DELETE FROM order_engine.orders WHERE order_id = %d" % order.id,
			lambda view, who, told: refused_if_there(view, ("order", order.id), "OE014"), "owner")

	def protected(self):
		"""What only the engine writes."""
		order = self.some_order()
		if order is None:
			return None
		table = self.rng.choice(["order_line", "order_event", "payment"])
		there = {"order_line": "lines", "order_event": "history", "payment": "payments"}[table]
		what = self.rng.choice(["DELETE FROM order_engine.%s WHERE order_id = %d",
			"UPDATE order_engine.%s SET attributes = '{}' WHERE order_id = %d",
			"INSERT INTO order_engine.%s SELECT * FROM order_engine.{0} WHERE order_id = %d"])
		text = what.replace("{0}", table) % (table, order.id)
		return by_hand(text, lambda view, who, told: refused_if_any(view, order.id, there), "owner")

	def truncate(self):
		table = self.rng.choice(["orders", "order_line", "stock", "stock_movement", "outbox",
			"machine", "payment"])
		made = by_hand("TRUNCATE order_engine.%s" % table,
			lambda view, who, told: refused("OE014"), "owner")
		made.locks_all = True
		return made

	# ---- machines, events, time ----

	def define(self):
		name = self.rng.choice(MACHINES)
		definition = machines.random_definition(self.rng)
		if self.rng.random() < 0.25:
			return Call("SELECT " + sql.call("define_machine", name,
				machines.random_fault(self.rng, definition)),
				lambda view, who, told: refused("22023"), level="operator")
		if self.rng.random() < 0.2:
			definition = self.pool.definition(name) or definition
		return self.define_call(name, definition)

	def define_call(self, name, definition):
		return Call("SELECT " + sql.call("define_machine", name, definition),
			lambda view, who, told: rules.define_machine(view, name, definition, told),
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
		return by_hand(text, lambda view, who, told: view.send(rules.Message("cart", key,
			"cart.filled", {"n": 1}, OneOf(None, {}))))

	def tend(self):
		# versions of what was due, and of all stock: so it is told which orders were moved
		due = ",".join(str(o.id) for o in self.pool.orders() if is_due(o))
		after = ("SELECT order_id::text AS what, version FROM order_engine.orders "
			"WHERE order_id = ANY('{%s}') UNION ALL SELECT 'stock ' || sku, version "
			"FROM order_engine.stock" % due)
		return Call("CALL order_engine.tend(10000)", lambda view, who, told: tended(view, told),
			level="operator", after=after, plain_only=True)

	def too_long(self):
		"""Amounts of more digits than the engine takes."""
		amount = self.rng.choice(["1e60", "0." + "0" * 59 + "1", "1" * 61, "1" * 40 + "." + "1" * 30])
		text = self.rng.choice(["pay_order(%d, 'long', %s)", "refund_order(%d, 'long', %s)",
			"create_order(%d, '[{\"sku\": \"a\", \"quantity\": 1, \"unit_price\": %s}]')"])
		order_id = self.order_id()
		return Call("SELECT order_engine." + text % (order_id, amount), lambda view, who, told:
			view.touched.add(("order", order_id)) or refused("22023", *(
			["OE012"] if text[0] != "c" and view.peek(("order", order_id)) is None else [])))

	def malformed(self):
		order_id = self.order_id()
		text, codes, level = self.rng.choice(MALFORMED)
		text = text.replace("ID", str(order_id))
		touched = [("order", order_id), ("stock", "a")]
		return Call("SELECT order_engine." + text,
			lambda view, who, told: view.touched.update(touched) or refused(*codes), level=level)

	# ---- reads ----

	def get_order(self):
		order_id = self.order_id()
		return Call("SELECT " + sql.call("get_order", order_id), lambda view, who, told:
			view.peek(("order", order_id)) and Document(view.peek(("order", order_id))), writes=False)

	def get_orders(self):
		ids = [self.order_id() for _ in range(3)]
		return Call("SELECT array_agg(order_id ORDER BY order_id) FROM order_engine.get_orders("
			"ARRAY[%s]::bigint[])" % ", ".join(map(str, ids)), lambda view, who, told:
			sorted(i for i in set(ids) if view.peek(("order", i))) or None, writes=False)

	def user_orders(self):
		user, before = self.rng.choice(USERS), self.maybe(self.order_id(), 0.3)
		max_rows = self.rng.randint(1, 30)
		states = self.maybe(self.rng.sample(["pending", "paid", "open", "held", "x"], 2), 0.3)
		text = ("SELECT array_agg(order_id) AS ids, array_agg(state) AS s, array_agg(version) AS v FROM "
			"order_engine.user_orders(%d, %s, %d, %s)" % (user, sql.literal(self.given(before)),
			max_rows, "NULL" if states is ... else "'{%s}'" % ",".join(states)))
		return Call(text, lambda view, who, told: page_answer(rules.user_page(view, user,
			self.given(before), max_rows, self.given(states))), writes=False)

	def allowed_events(self):
		order_id = self.order_id()
		return Call("SELECT " + sql.call("allowed_events", order_id), lambda view, who, told:
			view.peek(("order", order_id)) and
			view.peek(("order", order_id)).machine.allowed(view.peek(("order", order_id)).state),
			writes=False)

	def history(self):
		order_id = self.order_id()
		return Call("SELECT array_agg(event) FROM order_engine.order_history(%d)" % order_id,
			lambda view, who, told: view.peek(("order", order_id)) and
			[h.event for h in view.peek(("order", order_id)).history], writes=False)

	def replay(self):
		order = self.some_order()
		if order is None:
			return None
		return Call("SELECT (r).state || ' ' || (r).version FROM (SELECT order_engine.replay_events("
			"o.machine_id, e.version, e.event, e.from_state, e.to_state ORDER BY e.version) AS r "
			"FROM order_engine.order_event e JOIN order_engine.orders o USING (order_id) "
			"WHERE order_id = %d) s" % order.id,
			lambda view, who, told: view.peek(("order", order.id)) and "%s %d" % (
			view.peek(("order", order.id)).state, view.peek(("order", order.id)).version), writes=False)

	def available(self):
		sku = self.sku()
		return Call("SELECT " + sql.call("available", sku), lambda view, who, told:
			view.peek(("stock", sku)) and view.peek(("stock", sku)).available, writes=False)


WEIGHTS = {"create": 20, "create_again": 5, "fire": 16, "verb": 7, "pay": 12, "refund": 6, "fire_many": 2, "inside": 2, "cte": 0.5, "lock": 2,
	"receive": 5, "adjust": 3, "deduct": 4, "write_stock": 3, "spoil_stock": 1, "update_state": 8,
	"update_other": 5, "update_orm": 5, "update_forbidden": 3, "update_many": 3, "insert": 4,
	"insert_elsewhere": 0.3, "upsert": 3, "merge": 2, "copy": 1, "delete": 1, "protected": 2,
	"truncate": 0.5, "define": 2, "emit": 2, "insert_message": 1, "tend": 2, "malformed": 4, "too_long": 1,
	"get_order": 4, "get_orders": 1, "user_orders": 2, "allowed_events": 2, "history": 1,
	"replay": 2, "available": 1}

LINE = "'[{\"sku\": \"a\", \"quantity\": 1}]'"
MALFORMED = [
	("create_order(NULL, %s)" % LINE, ["22004"], "app"),
	("create_order(1, NULL)", ["22004"], "app"),
	("create_order(1, '[]')", ["22023"], "app"),
	("create_order(1, '{}')", ["22023"], "app"),
	("create_order(1, '[{\"sku\": \"a\"}]')", ["22023"], "app"),
	("create_order(1, '[{\"sku\": \"a\", \"quantity\": 0}]')", ["22023"], "app"),
	("create_order(1, '[{\"sku\": \"a\", \"quantity\": 1.5}]')", ["22023"], "app"),
	("create_order(1, '[{\"sku\": \"a\", \"quantity\": 1, \"unit_price\": -1}]')", ["22023"], "app"),
	("create_order(1, '[{\"sku\": \"a\", \"quantity\": 1, \"color\": \"red\"}]')", ["22023"], "app"),
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
	("fire(NULL, 'ship')", ["22004"], "app"),
	("fire(ID, NULL)", ["22004"], "app"),
	("fire(ID, 'ship', idempotency_key => '')", ["22023"], "app"),
	("fire(ID, 'ship', attributes => '1')", ["22023"], "app"),
	("fire(ID, 'ship', attributes => jsonb_build_object('a', repeat('x', 9000)))", ["54000"], "app"),
	("pay_order(NULL, 'p', 1)", ["22004"], "app"),
	("pay_order(ID, NULL, 1)", ["22004"], "app"),
	("pay_order(ID, 'p', NULL)", ["22004"], "app"),
	("pay_order(ID, 'p', -1)", ["22023"], "app"),
	("pay_order(ID, 'p', 'NaN')", ["22023"], "app"),
	("pay_order(ID, 'p', 'Infinity')", ["22023"], "app"),
	("pay_order(ID, '', 1)", ["22023"], "app"),
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
	("emit('a b', '1', 't', '1')", ["22023"], "app"),
	("emit('a', '', 't', '1')", ["22023"], "app"),
	("emit('a', '1', NULL, '1')", ["22004"], "app"),
	("emit('a', '1', 't', '1', '{\"h\": [1]}')", ["22023"], "app"),
	("user_orders(1, max_rows => 0)", ["22023"], "app"),
	("user_orders(1, max_rows => 1001)", ["22023"], "app"),
	("order_id_parts(-1)", ["22023"], "app"),
	("next_order_id(NULL)", ["22004"], "app"),
]


class Attempt(Call):
	"""A statement in a subtransaction, its error caught: the transaction goes on."""

	def __init__(self, call):
		super().__init__("SELECT public.attempt(%s)" % sql.literal(call.text), call.predict,
			level=call.level, writes=call.writes, counted=call.counted, context=call.context,
			locks_all=call.locks_all, several=call.several)
		self.call = call

	@property
	def by_hand(self):
		return self.call.by_hand

	def unwrap(self, told):
		"""What the statement itself told."""
		value = told.value
		if told.code is not None:
			return told
		if isinstance(value, dict) and "sqlstate" in value:
			return sql.Told(caught=value)
		return sql.Told([value], 1) if isinstance(value, dict) else sql.Told(None, value)


class Compound(Call):
	"""Several calls in one statement: each sees what those before it did."""

	def __init__(self, parts):
		super().__init__(" UNION ALL ".join("SELECT to_jsonb(r) AS r FROM %s r" % p.function
			for p in parts), None, level=max((p.level for p in parts), key=LEVELS.index))
		self.parts = parts

	def part(self, told, n):
		return told if told.code is not None else sql.Told([told.rows[n]["r"]], 1)


class Expression:
	"""An assigned value that the server computes from the old row."""

	def __init__(self, text, value):
		self.text = text
		self.value = value


class Document:
	"""get_order() as the model has it."""

	def __init__(self, order):
		self.order = order


def page_answer(page):
	return {"ids": [o.id for o in page] or None, "s": [o.state for o in page] or None,
		"v": [o.version for o in page] or None}


def nested(depth):
	return [nested(depth - 1)] if depth else []


def assigned(value):
	return value.text if isinstance(value, Expression) else sql.literal(value)


def model_changes(changes):
	names = {"user_id": "user", "order_id": "id", "idempotency_key": "key"}
	return {names.get(c, c): v.value if isinstance(v, Expression) else v
		for c, v in changes.items()}


def read_line(given):
	sku = given["sku"]
	return Line(sku, given.get("stock_key", sku) if "stock_key" in given else sku,
		given["quantity"], rules_number(Decimal(given.get("unit_price", 0))),
		given.get("attributes", {}))


def rules_number(value):
	"""As PostgreSQL has it: no positive exponent."""
	return value.quantize(Decimal(1)) if value.as_tuple().exponent > 0 else value


def by_hand(text, predict, level="app", counted=False):
	return Call(text, predict, level=level, counted=counted)


def refused(*codes):
	raise Refused(*codes)


def refused_if_there(view, key, code):
	view.touched.add(("key of order", key[1]))
	if view.get(key) is not None:
		raise Refused(code)


def refused_if_any(view, order_id, what):
	order = view.get(("order", order_id))
	if order is not None and getattr(order, what):
		raise Refused("OE014")


def upsert_stock(view, who, sku, on_hand):
	if view.get(("stock", sku)) is None:
		rules.insert_stock(view, who, sku, on_hand)
	else:
		rules.update_stock(view, who, sku, on_hand)


def insert_or(view, who, order_id, user, given, changes):
	"""INSERT ... ON CONFLICT: the row is new, or it is changed, or nothing happens."""
	if view.get(("order", order_id)) is None:
		rules.insert_order(view, who, order_id, user, given)
	elif changes is not None:
		rules.update_order(view, who, order_id, changes)


def update_rows(view, who, ids, version, changes):
	"""How many rows; all of them or none, with the faults of all."""
	codes, count, detail = set(), 0, None
	for order_id in ids:
		order = view.get(("order", order_id))
		if "id" in changes:
			view.touched.add(("key of order", order_id))
		if order is None or (version is not ... and order.version != version):
			continue
		count += 1
		try:
			rules.update_order(view, who, order_id, changes)
		except Refused as refusal:
			codes |= refusal.codes
			detail = refusal.detail if count == 1 else None
	if codes:
		raise Refused(*codes, detail=detail)
	return count


def fire_rows(view, who, ids, event):
	"""How many; all of them or none, with the faults of all."""
	codes, count = set(), 0
	for order_id in ids:
		if view.get(("order", order_id)) is None:
			continue
		count += 1
		try:
			rules.fire(view, who, order_id, event, attributes={})
		except Refused as refusal:
			codes |= refusal.codes
	if codes:
		raise Refused(*codes)
	return count


def lock_row(view, order_id, strength):
	if view.peek(("order", order_id)) is None:
		return None
	if strength != "KEY SHARE":
		view.get(("order", order_id))
	else:
		view.shared.add(("order", order_id))
	if strength in ("UPDATE", "KEY SHARE"):
		view.touched.add(("key of order", order_id))
	return order_id


def fire_inside(view, who, order_id, other_id, event):
	if view.get(("order", order_id)) is None:
		return None
	rules.update_order(view, who, order_id, {"attributes": {}})
	if order_id == other_id:
		raise Refused("09000")
	return rules.fire(view, who, other_id, event, attributes={})["version"]


def send(view, told, who, kind, key, payload, headers, topic):
	headers = dict(headers)
	if who.traceparent is not None and "traceparent" not in headers:
		headers["traceparent"] = who.traceparent
	view.send(rules.Message(kind, key, "note.written", payload,
		headers if headers else OneOf(None, {}), topic))
	return told.value


def is_due(order):
	"""Due now: what is due in minutes or hours is not while a round lasts."""
	if isinstance(order.due, rules.Due):
		return order.due.after == timedelta(microseconds=1)
	return order.due == PAST


def tended(view, told):
	"""Moves what was moved, and complains of what should have been."""
	versions = {row["what"]: row["version"] for row in told.after or ()}
	before = {}
	for order in [o for o in view.all("order") if is_due(o)]:
		# what is looked at stays locked in a transaction, moved or not
		view.get(("order", order.id))
		for sku in rules.demands(order):
			before.setdefault(sku, view.get(("stock", sku)))
		if rules.due_move(order) is None:
			continue
		if versions.get(str(order.id)) == order.version + 1:
			rules.expire(view, Who(OneOf("keeper", told.actor), OneOf("due", None)), order.id)
		elif not can_expire(view, order):
			told.resting.add(order.id)
		elif not told.may_skip(order):
			raise Refused("none: order %d is due and was left" % order.id)
	take_versions(view, before, versions)


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
		rules.expire(view, Who("keeper"), order.id)
		return True
	except Refused:
		return False
	finally:
		view.undo(mark)
