"""What calls are made of, chosen at random."""

from datetime import datetime, timezone
from decimal import Decimal

import machines
import sql
from call import Call
from things import Refused

USERS = [1, 2, 3, 42, -7, 9223372036854775807]
SKUS = ["a", "b", "C", "it's \"d\" \\", "é" * 127]
ABSENT = ["ghost"]
# with as many units as bigint can count
HUGE = "huge"
KEYS = ["k1", "k2", "k'3", "ключ" * 31]
REFS = ["p1", "p2", "p\"3"]
RESERVATIONS = ["h%d" % n for n in range(1, 20)] + ["h'20", "держи" * 25]
MACHINES = ["m1", "m2", "m3"]
CURRENCIES = ["EUR", "EUR", "eur", "USD", "JPY", "Kwd", "PTS"]
PRICES = ["0", "1", "2.50", "19.90", "0.001", "100", "7.5", "0.005", "0.30000000000000004"]
SECRET = "planted secret"
PAST = datetime(2024, 6, 1, tzinfo=timezone.utc)
FUTURE = datetime(2100, 1, 1, tzinfo=timezone.utc)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Chooser:
	"""What all kinds of calls choose with.  An argument that is left out is `...`."""

	def __init__(self, rng, pool):
		self.rng = rng
		self.pool = pool

	def maybe(self, value, chance=0.5):
		return value if self.rng.random() < chance else ...

	def given(self, value, default=None):
		return default if value is ... else value

	def order(self):
		orders = self.pool.orders()
		if not orders or self.rng.random() < 0.02:
			return None
		return self.rng.choice(orders[-12:] if self.rng.random() < 0.6 else orders)

	def order_id(self):
		"""Also one of no order."""
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
		if self.rng.random() < 0.1:
			context.setdefault(self.rng.choice(["actor", "traceparent"]), None)
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

	def sku(self):
		return self.rng.choice(SKUS if self.rng.random() < 0.95 else ABSENT)

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

	def row(self, name, positional, named, predict, level="app"):
		"""A call that answers with one row."""
		context = self.context()
		function = sql.call(name, *positional, **named, context=context)
		return Call("SELECT * FROM " + function, predict, function=function, level=level,
			context=without_nulls(self.given(context, {})))


	def refused(self, text, *codes, level="app", touched=()):
		"""What is refused whatever there is; what it touched before, others may have locked."""
		return Call(text, lambda view, who, told: view.touched.update(touched) or refused(*codes),
			level=level)


def refused(*codes):
	raise Refused(*codes)


def nested(depth):
	return [nested(depth - 1)] if depth else []


def without_nulls(given):
	"""A key that is null says what the missing key says."""
	return {key: value for key, value in given.items() if value is not None}


def plain_number(value):
	"""As PostgreSQL has it: no positive exponent."""
	return value.quantize(Decimal(1)) if value.as_tuple().exponent > 0 else value
