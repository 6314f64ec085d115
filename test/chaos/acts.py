"""What clients do: one statement each, with the effects that it has if it commits."""

from dataclasses import dataclass, field
from typing import Callable

import sql
from ledger import Change, Movement, Order, Reservation

TAKES = {"OE001"}
# of a reservation whose time was over, or that another has decided on
RESOLVED = {"OE004", "OE005"}
# of a switch that meets other changes of the SKU: the transaction's own, or somebody else's
SWITCH = {"55000", "55P03"}


@dataclass
class Act:
	text: str
	# of the row that was answered, or that `lookup` found: a list of effects
	effects: Callable = lambda row: []
	# tells whether it has been done, after its outcome got lost: a row, or none
	lookup: str = None
	# may be asked for again, with the same answer but for "replayed"
	repeatable: bool = False
	# SQLSTATEs that it may end with
	refusals: set = field(default_factory=set)
	switches: bool = False


def repetition(act):
	"""The same call once more, which does nothing."""
	def effects(row):
		if row.get("replayed") is False:
			raise AssertionError("a repeated call was not seen to be one: " + act.text)
		return []
	return Act(act.text, effects)


class Chooser:
	"""Chooses at random.  `weights`: how often each kind of act is chosen."""

	def __init__(self, rng, ledger, skus, weights):
		self.rng, self.ledger, self.skus = rng, ledger, skus
		self.kinds = [kind for kind, weight in weights.items() if weight]
		self.weights = [weights[kind] for kind in self.kinds]

	def act(self, token, own):
		"""`token`: nobody else's.  `own`: orders of the transaction under way."""
		kind, = self.rng.choices(self.kinds, self.weights)
		return getattr(self, kind)(token, own) or self.order(token, own)

	def sku(self):
		return self.rng.choice(self.skus)

	def lines(self):
		skus = self.rng.sample(self.skus, min(self.rng.randint(1, 5), len(self.skus)))
		return [(sku, self.rng.randint(1, 3)) for sku in skus]

	def user(self):
		return self.rng.randint(1, 50)

	def while_short(self, short):
		return "%.1f seconds" % self.rng.uniform(0.1, 1.5) if short else "1 day"

	def candidate(self, kind, own, *states):
		"""One that others may be changing as well; of the transaction's own, a new one."""
		things = [thing for thing in own if isinstance(thing, kind) and thing.state is None
			and "held" in states]
		things += self.ledger.recent(kind, *states)
		return self.rng.choice(things) if things else None

	# ---- orders ----

	def order(self, token, own):
		lines = self.lines()
		if self.rng.random() < 0.1:
			lines.append((lines[0][0], 1))
		short = self.rng.random() < 0.25
		return creation(Order(token, self.user(), lines, short), self.while_short(short))

	def pay(self, token, own):
		order = self.candidate(Order, own, "held")
		return order and payment(order, token)

	def cancel(self, token, own):
		order = self.candidate(Order, own, "held")
		return order and move(order, "cancel_order", token, "released")

	def request_refund(self, token, own):
		order = self.candidate(Order, [], "sold")
		return order and move(order, "request_refund", token, "refunding")

	def confirm_refund(self, token, own):
		order = self.candidate(Order, [], "refunding")
		return order and move(order, "confirm_refund", token, "restocked")

	# ---- reservations ----

	def reserve(self, token, own):
		short = self.rng.random() < 0.4
		user = self.rng.choice([None, self.user()])
		return reservation(Reservation(token, user, self.lines(), short), self.while_short(short))

	def confirm(self, token, own):
		"""All of it, or a part."""
		held = self.candidate(Reservation, own, "held", "expired")
		if held is None:
			return None
		lines = None if self.rng.random() < 0.5 else [(sku, self.rng.randint(1, quantity))
			for sku, quantity in held.lines if self.rng.random() < 0.7] or None
		return confirmation(held, lines, token)

	def cancel_reservation(self, token, own):
		held = self.candidate(Reservation, own, "held", "expired")
		return held and cancellation(held, token)

	def extend(self, token, own):
		held = self.candidate(Reservation, own, "held")
		return held and Act("SELECT " + sql.call("extend_reservation", held.key,
			self.while_short(held.short), held.user), refusals=RESOLVED)

	def order_reserved(self, token, own):
		"""Some of what is held, and something else."""
		held = self.candidate(Reservation, own, "held")
		if held is None:
			return None
		lines = [line for line in held.lines if self.rng.random() < 0.7] + self.lines()[:1]
		return creation(Order(token, held.user or self.user(), lines, False), "1 day", held)

	def cancel_before(self, token, own):
		return cancellation(Reservation(token, self.user(), [], False), token)

	def try_too_late(self, token, own):
		cancelled = [held for held in self.ledger.recent(Reservation, "cancelled")
			if not held.lines]
		return cancelled and dangling_try(self.rng.choice(cancelled))

	# ---- goods ----

	def receive(self, token, own):
		return movement("receive_stock", self.sku(), "receipt", token, self.rng.randint(1, 30))

	def adjust(self, token, own):
		delta = self.rng.choice([-3, -2, -1, 1, 2])
		return movement("adjust_stock", self.sku(), "adjustment", token, delta)

	def deduct(self, token, own):
		return movement("deduct_stock", self.sku(), "deduct", token, self.rng.randint(1, 3), -1)

	def write(self, token, own):
		return direct_write(self.sku(), token, self.rng.choice([-2, -1, 1, 3]))

	def deduct_version(self, token, own):
		return versioned_deduction(self.sku(), token, self.rng.randint(1, 2))

	# ---- modes ----

	def changing(self):
		return [sku for sku in self.skus if sku.startswith("any")]

	def mode(self):
		return self.rng.choice(["row", "escrow"])

	def switch(self, token, own):
		return switch(self.rng.choice(self.changing()), self.mode())

	def switch_many(self, token, own):
		"""Some of them, in any order."""
		skus = self.rng.sample(self.changing(), 2)
		return switch(sql.Raw("ARRAY[%s]" % ", ".join(map(sql.literal, skus))), self.mode())

	def open(self, token, own):
		return Act("SELECT " + sql.call("set_stock_open", self.sku(), self.rng.random() < 0.8),
			refusals=SWITCH, switches=True)


def creation(order, pay_within, reservation=None):
	"""Of an order, which may take a reservation over."""
	def effects(row):
		order.id = row["order_id"]
		return [Change(order, "held")] + ([Change(reservation, "ordered")] if reservation else [])
	return Act("SELECT order_id, replayed FROM " + sql.call("create_order", order.user,
			in_json(order.lines), order.key, pay_within=pay_within,
			reservation_id=reservation.key if reservation else ...), effects, repeatable=True,
		refusals=TAKES | (RESOLVED if reservation else set()),
		lookup="SELECT order_id FROM order_engine.orders WHERE user_id = %d "
			"AND idempotency_key = '%s'" % (order.user, order.key))


def in_json(lines):
	return [{"sku": sku, "quantity": quantity, "unit_price": 1} for sku, quantity in lines]


def payment(order, ref):
	def effects(row):
		return [Change(order, "sold")] if row["outcome"] in ("paid", "overpaid") else []
	return Act("SELECT outcome, replayed FROM " + sql.call("pay_order", order.id, ref,
			order.amount), effects, repeatable=True,
		lookup="SELECT outcome FROM order_engine.payment WHERE order_id = %d AND kind = 'capture' "
			"AND payment_ref = '%s'" % (order.id, ref))


def move(order, function, key, state):
	return Act("SELECT replayed FROM " + sql.call(function, order.id, idempotency_key=key),
		lambda row: [Change(order, state)], repeatable=True, refusals={"OE010"},
		lookup="SELECT version FROM order_engine.order_event WHERE order_id = %d "
			"AND idempotency_key = '%s'" % (order.id, key))


def reservation(held, ttl):
	def effects(row):
		return [Change(held, "held")] if row["status"] == "reserved" else []
	return Act("SELECT status FROM " + sql.call("try_reserve", held.key, in_json(held.lines),
			ttl, held.user), effects, lookup=reservation_lookup(held, "'reserved' AS status"))


def confirmation(held, lines, actor):
	confirmed = held.lines if lines is None else lines
	return Act("SELECT replayed FROM " + sql.call("confirm_reservation", held.key,
			lines and in_json(lines), held.user, {"actor": actor}),
		lambda row: [Change(held, "confirmed", confirmed)],
		refusals=RESOLVED | {"OE020"}, lookup=resolution_lookup(held, actor))


def cancellation(held, actor):
	return Act("SELECT replayed FROM " + sql.call("cancel_reservation", held.key, held.user,
			{"actor": actor}), lambda row: [Change(held, "cancelled")],
		refusals={"OE005"}, lookup=resolution_lookup(held, actor))


def dangling_try(cancelled):
	def effects(row):
		raise AssertionError("%s was reserved after it was cancelled" % cancelled)
	return Act("SELECT status FROM " + sql.call("try_reserve", cancelled.key,
		in_json([("row-1", 1)]), "1 day", cancelled.user), effects, refusals={"OE006"})


def reservation_lookup(held, columns):
	return ("SELECT %s FROM order_engine.reservation WHERE reservation_id = '%s' "
		"AND user_id IS NOT DISTINCT FROM %s" % (columns, held.key, sql.literal(held.user)))


def resolution_lookup(held, actor):
	return reservation_lookup(held, "state") + " AND actor = '%s'" % actor


def movement(function, sku, reason, ref, quantity, sign=1):
	return Act("SELECT * FROM " + sql.call(function, sku, quantity, ref=ref),
		lambda row: [Movement(sku, reason, ref, sign * quantity)], repeatable=True, refusals=TAKES,
		lookup=movement_lookup(sku, reason, "ref", ref))


# what an expected version is refused with, by the beginning of the SKU: in mode row never, of
# an auto SKU while that cannot be switched, in mode escrow always
VERSION_REFUSALS = {"row": set(), "auto": SWITCH, "hot": {"0A000"}, "any": {"0A000"}}


def versioned_deduction(sku, ref, quantity):
	kind = sku.split("-")[0]

	def effects(row):
		if kind == "hot":
			raise AssertionError("a version of %s was expected, and it was deducted" % sku)
		return [Movement(sku, "deduct", ref, -quantity)]
	version = "(SELECT version FROM order_engine.stock WHERE sku = '%s')" % sku
	return Act("SELECT * FROM " + sql.call("deduct_stock", sku, quantity,
			expected_version=sql.Raw(version), ref=ref), effects,
		refusals=TAKES | {"OE011"} | VERSION_REFUSALS[kind], switches=kind == "auto",
		lookup=movement_lookup(sku, "deduct", "ref", ref))


def switch(what, mode):
	return Act("SELECT " + sql.call("set_stock_mode", what, mode), refusals=SWITCH, switches=True)


def direct_write(sku, actor, delta):
	"""By SQL of the user's own; the movement bears the actor's name."""
	def effects(row):
		return [Movement(sku, "direct", actor, delta)]
	return Act("UPDATE order_engine.stock SET on_hand = on_hand + %d WHERE sku = '%s' "
			"AND set_config('order_engine.actor', '%s', true) <> '' RETURNING sku"
			% (delta, sku, actor), effects, refusals=TAKES | {"23514"},
		lookup=movement_lookup(sku, "direct", "actor", actor))


def movement_lookup(sku, reason, column, value):
	return ("SELECT quantity FROM order_engine.stock_movement WHERE sku = '%s' AND reason = '%s' "
		"AND %s = '%s'" % (sku, reason, column, value))
