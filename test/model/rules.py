"""The rules of the shop, from README.md and doc/*.md: what each call does to the model.

A function takes a View, changes it and returns what the caller is told, or raises
Refused.  `told` is what the server answered: it decides only what no rule does (ids).
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from machines import Machine

ZERO = Decimal(0)


class Refused(Exception):
	"""An error, with the SQLSTATEs that fit it (several where several faults meet) and, where
	there is one only, what its DETAIL must say."""

	def __init__(self, *codes, detail=None):
		super().__init__(codes)
		self.codes = set(codes)
		self.detail = detail


class OneOf:
	"""A value of which the documentation leaves the choice."""

	def __init__(self, *values):
		self.values = values

	def __eq__(self, other):
		return other in self.values

	def __repr__(self):
		return " or ".join(map(repr, self.values))


@dataclass(frozen=True)
class Who:
	actor: str
	reason: str = None
	traceparent: str = None
	tracestate: str = None


@dataclass(frozen=True)
class Line:
	sku: str
	stock_key: str
	quantity: int
	unit_price: Decimal
	attributes: Any


@dataclass(frozen=True)
class Request:
	"""A create_order(), its arguments read."""
	user: int
	lines: tuple
	key: str = None
	pay_within: Any = None
	currency: str = None
	adjustments: tuple = ()
	attributes: Any = None
	private: Any = None
	machine: str = "order"

	def identity(self):
		"""What makes a repeated request the same: numbers are compared by value."""
		return by_value([self.user, [line_values(line) for line in self.lines], self.pay_within,
			self.currency, list(self.adjustments), self.attributes, self.private, self.machine])


@dataclass(frozen=True)
class Happened:
	"""A row of history."""
	version: int
	event: str
	from_state: str
	to: str
	who: Who
	key: str
	attributes: Any


@dataclass(frozen=True)
class Payment:
	kind: str
	ref: str
	amount: Decimal
	currency: str
	outcome: str
	version: int
	attributes: Any


@dataclass(frozen=True)
class Due:
	"""An interval after the time of a version."""
	version: int
	after: Any


@dataclass(frozen=True)
class Order:
	id: int
	user: int
	machine: Machine
	state: str
	version: int
	subtotal: Decimal = ZERO
	amount: Decimal = ZERO
	captured: Decimal = ZERO
	refunded: Decimal = ZERO
	currency: str = None
	key: str = None
	request: Any = None
	adjustments: tuple = ()
	attributes: Any = None
	private: Any = None
	due: Any = None
	lines: tuple = ()
	history: tuple = ()
	payments: tuple = ()

	@property
	def machine_id(self):
		return self.machine.id


@dataclass(frozen=True)
class Stock:
	on_hand: int
	reserved: int
	version: int

	@property
	def available(self):
		return self.on_hand - self.reserved


@dataclass(frozen=True)
class Movement:
	quantity: int
	reason: str
	ref: str
	actor: str


@dataclass(frozen=True)
class Message:
	aggregatetype: str
	aggregateid: str
	type: str
	payload: Any
	headers: Any
	topic: str = None
	partition: int = None
	# for an order's: the version it tells of
	version: int = None


def by_value(value):
	"""Equal for what is equal as JSON, numbers by value."""
	if isinstance(value, dict):
		return tuple(sorted((k, by_value(v)) for k, v in value.items()))
	if isinstance(value, (list, tuple)):
		return ("list",) + tuple(by_value(v) for v in value)
	if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
		return ("number", Decimal(value).normalize())
	return (type(value).__name__, value)


def line_values(line):
	return [line.sku, line.stock_key, line.quantity, line.unit_price, line.attributes]


# ---- orders ----

def find_order(view, order_id):
	order = view.get(("order", order_id))
	if order is None:
		raise Refused("OE012", detail={"order_id": str(order_id)})
	return order


def newest_machine(view, name):
	named = [m for m in view.all("machine") if m.name == name]
	return max(named, key=lambda m: m.id) if named else None


def create_order(view, who, request, told):
	machine = newest_machine(view, request.machine)
	if machine is None:
		raise Refused("22023")
	amount, subtotal = amounts(request)
	if amount < 0 or (request.pay_within is not None and machine.creation.due is None):
		raise Refused("22023")
	if request.key is not None:
		earlier = view.get(("key", request.user, request.key))
		if earlier is not None:
			return repeat_creation(view, request, view.get(("order", earlier)))
	order = Order(told.new_id, request.user, machine, machine.creation.to, 1,
		subtotal=subtotal, amount=amount, currency=request.currency, key=request.key,
		request=request.identity(), adjustments=request.adjustments,
		attributes=request.attributes, private=request.private, lines=request.lines,
		due=creation_due(machine, request.pay_within))
	change_stock(view, order, machine.creation.stock, 1, who)
	if request.key is not None:
		view.put(("key", request.user, request.key), order.id)
	order = record(view, order, "create", None, who, {}, machine.creation.publish,
		key=request.key)
	return {"order_id": order.id, "state": order.state, "version": 1, "amount": amount,
		"replayed": False}


def repeat_creation(view, request, order):
	if order.request != request.identity():
		raise Refused("OE020")
	return {"order_id": order.id, "state": order.state, "version": order.version,
		"amount": order.amount, "replayed": True}


def amounts(request):
	subtotal = sum((line.unit_price * line.quantity for line in request.lines), ZERO)
	amount = subtotal + sum((Decimal(a["amount"]) for a in request.adjustments), ZERO)
	return amount, subtotal


def creation_due(machine, pay_within):
	if pay_within is not None:
		return Due(1, pay_within)
	return Due(1, machine.creation.due) if machine.creation.due else None


def record(view, order, event, from_state, who, attributes, publish, key=None, payment=None):
	"""One version: one row of history, at most one message."""
	if view.world.stamps:
		order = replace(order, attributes={**order.attributes, "stamped": True})
	happened = Happened(order.version, event, from_state, order.state, who, key, attributes)
	order = replace(order, history=order.history + (happened,))
	view.put(("order", order.id), order)
	if publish is not None:
		view.send(Message("order", str(order.id), publish,
			payload(order, happened, payment), headers(order, who), version=order.version))
	return order


def headers(order, who):
	given = {"seq": str(order.version)}
	if who.traceparent is not None:
		given["traceparent"] = who.traceparent
	if who.tracestate is not None:
		given["tracestate"] = who.tracestate
	return given


def refund_due(order):
	owed = ZERO if order.state in order.machine.void else order.amount
	return max(order.captured - order.refunded - owed, ZERO)


def payload(order, happened, payment):
	return {
		"schema_version": 1, "order_id": str(order.id), "user_id": str(order.user),
		"version": order.version, "event": happened.event, "from": happened.from_state,
		"to": happened.to, "amount": order.amount, "currency": order.currency,
		"captured": order.captured, "refunded": order.refunded, "refund_due": refund_due(order),
		"payment": payment and {"ref": payment.ref, "amount": payment.amount,
			"outcome": payment.outcome},
		"lines": lines_document(order), "adjustments": list(order.adjustments),
		"attributes": order.attributes, "event_attributes": happened.attributes}


def lines_document(order):
	return [{"line_no": n, "sku": line.sku, "stock_key": line.stock_key,
		"quantity": line.quantity, "unit_price": line.unit_price, "attributes": line.attributes}
		for n, line in enumerate(order.lines, 1)]


# ---- moves ----

def fire(view, who, order_id, event, expected=None, key=None, attributes=None):
	order = find_order(view, order_id)
	if key is not None:
		earlier = next((h for h in order.history if h.key == key), None)
		if earlier is not None:
			return repeat_event(order, earlier, event)
	faults = {}
	if expected is not None and expected != order.version:
		faults["OE011"] = {"expected": expected, "actual": order.version, "state": order.state}
	move = order.machine.find(order.state, event)
	if move is None or move.keeper_only:
		faults["OE010"] = {"from": order.state, "event": event,
			"allowed": order.machine.allowed(order.state)}
	else:
		faults.update(obstacles(order, move, attributes))
	refuse(faults)
	order = go(view, order, move, who, attributes, key=key)
	return {"order_id": order.id, "state": order.state, "version": order.version,
		"replayed": False}


def repeat_event(order, earlier, event):
	if earlier.event != event:
		raise Refused("OE020")
	return {"order_id": order.id, "state": earlier.to, "version": earlier.version,
		"replayed": True}


def refuse(faults):
	if faults:
		raise Refused(*faults, detail=list(faults.values())[0] if len(faults) == 1 else None)


def obstacles(order, move, attributes):
	"""What of the order itself stands in the way of a move: SQLSTATE and DETAIL."""
	faults = {}
	if move.guard is not None:
		verdict = guard(order, attributes)
		if verdict == "raise":
			faults["P0001"] = None
		elif verdict is not True:
			faults["OE013"] = None
	if move.requires_payment and order.captured - order.refunded < order.amount:
		faults["OE041"] = None
	return faults


def guard(order, attributes):
	"""The guard of all random machines; calls make it as a function of the same sense."""
	if "raise" in order.attributes or "raise" in attributes:
		return "raise"
	if "null" in order.attributes:
		return None
	return not ("refuse" in order.attributes or "refuse" in attributes)


def go(view, order, move, who, attributes, key=None, payment=None, due=None):
	"""A move that is allowed: only its stock may still refuse it."""
	moved = replace(order, state=move.to, version=order.version + 1)
	change_stock(view, moved, move.stock, moved.version, who)
	moved = replace(moved, due=due or move_due(order, move, moved.version))
	return record(view, moved, move.event, order.state, who, attributes, move.publish,
		key=key, payment=payment)


def move_due(order, move, version):
	"""A move that stays where it is and has no time of its own leaves the clock running, unless
	it is what the clock rings for."""
	if move.due:
		return Due(version, move.due)
	rings = order.machine.due_events.get(order.state) == move.event
	return order.due if move.to == order.state and not rings else None


# ---- payments ----

def pay_order(view, who, order_id, ref, amount, currency, attributes, told):
	order = find_order(view, order_id)
	earlier = find_payment(order, "capture", ref)
	if earlier is not None:
		return pay_result(order, earlier.outcome, True)
	paid = replace(order, captured=order.captured + amount)
	move = order.machine.find(order.state, "pay")
	outcome = outcome_of(view, order, paid, move, currency, attributes, told)
	if outcome == "mismatch":
		paid = order
	payment = Payment("capture", ref, amount, currency, outcome, order.version + 1, attributes)
	paid = replace(paid, payments=order.payments + (payment,))
	if outcome in ("paid", "overpaid"):
		return pay_result(go(view, paid, move, who, attributes, payment=payment), outcome, False)
	event = "payment_mismatch" if outcome == "mismatch" else "payment"
	paid = stay(view, paid, event, who, attributes, payment)
	return pay_result(paid, outcome, False)


def find_payment(order, kind, ref):
	return next((p for p in order.payments if (p.kind, p.ref) == (kind, ref)), None)


def pay_result(order, outcome, replayed):
	return {"outcome": outcome, "replayed": replayed, "order_id": order.id,
		"state": order.state, "version": order.version, "captured": order.captured}


def outcome_of(view, order, paid, move, currency, attributes, told):
	if currency is not None and order.currency is not None and currency != order.currency:
		return "mismatch"
	if move is None or move.keeper_only:
		return "refund_due"
	verdict = guard(order, attributes) if move.guard else True
	left = paid.captured - paid.refunded - order.amount
	if left < 0:
		return part_outcome(verdict, told)
	if verdict == "raise":
		raise Refused("P0001")
	if verdict is not True or not can_change_stock(view, order, move.stock):
		return "refund_due"
	return "overpaid" if left > 0 else "paid"


def part_outcome(verdict, told):
	"""Not enough yet, for an order whose guard would refuse it anyway: either is true."""
	if verdict is not True and told.field("outcome") == "refund_due":
		return "refund_due"
	if verdict == "raise" and told.code == "P0001":
		raise Refused("P0001")
	return "partly_paid"


def stay(view, order, event, who, attributes, payment=None):
	order = replace(order, version=order.version + 1)
	types = {"update": "order.updated", "payment": "order.payment",
		"payment_mismatch": "order.payment_mismatch", "refund_payment": "order.refund_payment"}
	return record(view, order, event, order.state, who, attributes, types[event],
		payment=payment)


def refund_order(view, who, order_id, ref, amount, attributes):
	order = find_order(view, order_id)
	if find_payment(order, "refund", ref) is not None:
		return refund_result(order, True)
	left = order.captured - order.refunded
	given = left if amount is None else amount
	if given > left or left <= 0:
		raise Refused("OE040")
	payment = Payment("refund", ref, given, None, "refunded", order.version + 1, attributes)
	refunded = replace(order, refunded=order.refunded + given,
		payments=order.payments + (payment,))
	move = refund_move(view, order, refunded, attributes)
	if move is None:
		refunded = stay(view, refunded, "refund_payment", who, attributes, payment)
	else:
		refunded = go(view, refunded, move, who, attributes, payment=payment)
	return refund_result(refunded, False)


def refund_move(view, order, refunded, attributes):
	"""The move that this refund makes, if all has gone and the machine allows it."""
	move = order.machine.find(order.state, "refund")
	if move is None or move.keeper_only or refunded.refunded != refunded.captured:
		return None
	# whether the money that has just gone still counts for requires_payment, nothing says: it does
	faults = obstacles(order, move, attributes)
	if "P0001" in faults:
		raise Refused("P0001")
	if faults:
		return None
	return move if can_change_stock(view, order, move.stock) else None


def refund_result(order, replayed):
	return {"replayed": replayed, "order_id": order.id, "state": order.state,
		"version": order.version, "refunded": order.refunded}


# ---- stock ----

def demands(order):
	"""What an order takes of each stock, in the order of the keys' bytes."""
	wanted = {}
	for line in order.lines:
		if line.stock_key is not None:
			wanted[line.stock_key] = wanted.get(line.stock_key, 0) + line.quantity
	return dict(sorted(wanted.items(), key=lambda item: item[0].encode()))


def can_change_stock(view, order, effect):
	mark = view.mark()
	try:
		change_stock(view, order, effect, order.version + 1, Who("nobody"))
		return True
	except Refused:
		return False
	finally:
		view.undo(mark)


def change_stock(view, order, effect, version, who):
	if effect == "none":
		return
	wanted = demands(order)
	view.touched.update(("stock", sku) for sku in wanted)
	if effect == "reserve":
		check_available(view, wanted)
	for sku, quantity in wanted.items():
		stock = view.get(("stock", sku))
		if effect == "reserve":
			stock = replace(stock, reserved=stock.reserved + quantity)
		elif effect == "release":
			stock = replace(stock, reserved=stock.reserved - quantity)
		elif effect == "confirm":
			stock = replace(stock, on_hand=stock.on_hand - quantity,
				reserved=stock.reserved - quantity)
			move_goods(view, sku, -quantity, effect, "%d/%d" % (order.id, version), who)
		else:
			# what was deleted since comes back
			stock = stock or Stock(0, 0, 0)
			stock = replace(stock, on_hand=counted(stock.on_hand + quantity))
			move_goods(view, sku, quantity, effect, "%d/%d" % (order.id, version), who)
		view.put(("stock", sku), replace(stock, version=stock.version + 1))


def check_available(view, wanted):
	found = {sku: view.get(("stock", sku)) for sku in wanted}
	unknown = [{"sku": sku} for sku, stock in found.items() if stock is None]
	short = [{"sku": sku, "requested": wanted[sku], "available": stock.available}
		for sku, stock in found.items() if stock is not None and stock.available < wanted[sku]]
	if unknown:
		raise Refused("OE002", detail={"unknown": unknown, "short": short})
	if short:
		raise Refused("OE001", detail={"short": short})


def counted(units):
	if units >= 2**63:
		raise Refused("22003")
	return units


def move_goods(view, sku, quantity, reason, ref, who):
	moves = view.get(("moves", sku)) or ()
	view.put(("moves", sku), moves + (Movement(quantity, reason, ref, who.actor),))


def find_movement(view, sku, reason, ref):
	if ref is None:
		return None
	moves = view.get(("moves", sku)) or ()
	return next((m for m in moves if (m.reason, m.ref) == (reason, ref)), None)


def receive_stock(view, who, sku, quantity, reason, ref):
	stock = view.get(("stock", sku))
	earlier = find_movement(view, sku, reason, ref)
	if earlier is not None:
		if earlier.quantity != quantity:
			raise Refused("OE020")
		return stock_result(stock, True)
	stock = stock or Stock(0, 0, 0)
	stock = Stock(counted(stock.on_hand + quantity), stock.reserved, stock.version + 1)
	view.put(("stock", sku), stock)
	move_goods(view, sku, quantity, reason, ref, who)
	return stock_result(stock, False)


def stock_result(stock, replayed):
	if stock is None:
		return {"replayed": replayed}
	return {"on_hand": stock.on_hand, "available": stock.available, "version": stock.version,
		"replayed": replayed}


def repeat_movement(stock, earlier, quantity, result):
	"""Answered by the stock as it is now: by none if it was deleted."""
	faults = set()
	if earlier.quantity != quantity:
		faults.add("OE020")
	if stock is None:
		faults.add("OE002")
	refuse(dict.fromkeys(faults))
	return result


def adjust_stock(view, who, sku, delta, reason, ref):
	stock = view.get(("stock", sku))
	earlier = find_movement(view, sku, reason, ref)
	if earlier is not None:
		return repeat_movement(stock, earlier, delta, stock and stock_result(stock, True))
	if stock is None:
		raise Refused("OE002")
	if stock.on_hand + delta < stock.reserved:
		raise Refused("OE001", detail={"short": [{"sku": sku, "requested": -delta,
			"available": stock.available}]})
	stock = Stock(stock.on_hand + delta, stock.reserved, stock.version + 1)
	view.put(("stock", sku), stock)
	move_goods(view, sku, delta, reason, ref, who)
	return stock_result(stock, False)


def deduct_stock(view, who, sku, quantity, expected, ref):
	stock = view.get(("stock", sku))
	earlier = find_movement(view, sku, "deduct", ref)
	if earlier is not None:
		return repeat_movement(stock, earlier, -quantity,
			stock and {"remaining": stock.available, "version": stock.version})
	if stock is None:
		raise Refused("OE002")
	faults = {}
	if expected is not None and expected != stock.version:
		faults["OE011"] = {"sku": sku, "expected": expected, "actual": stock.version}
	if stock.available < quantity:
		faults["OE001"] = {"short": [{"sku": sku, "requested": quantity,
			"available": stock.available}]}
	refuse(faults)
	stock = Stock(stock.on_hand - quantity, stock.reserved, stock.version + 1)
	view.put(("stock", sku), stock)
	move_goods(view, sku, -quantity, "deduct", ref, who)
	return {"remaining": stock.available, "version": stock.version}


def insert_stock(view, who, sku, on_hand):
	if view.get(("stock", sku)) is not None:
		raise Refused("23505")
	view.put(("stock", sku), Stock(on_hand, 0, 1))
	if on_hand:
		move_goods(view, sku, on_hand, "direct", None, who)


def update_stock(view, who, sku, on_hand):
	stock = view.get(("stock", sku))
	if stock is None or stock.on_hand == on_hand:
		return
	if on_hand < stock.reserved:
		raise Refused("23514")
	view.put(("stock", sku), Stock(on_hand, stock.reserved, stock.version + 1))
	move_goods(view, sku, on_hand - stock.on_hand, "direct", None, who)


def delete_stock(view, who, sku):
	stock = view.get(("stock", sku))
	if stock is None:
		return
	if stock.reserved:
		raise Refused("OE014")
	view.put(("stock", sku), None)
	if stock.on_hand:
		move_goods(view, sku, -stock.on_hand, "direct", None, who)


# ---- by hand ----

# what an UPDATE may change, and what a user may not set to null
FREE = {"state", "version", "due_at", "updated_at", "attributes", "private", "note"}


def update_order(view, who, order_id, changes):
	"""An UPDATE of one row.  changes: column to new value, or a function of the old row."""
	order = view.get(("order", order_id))
	new = {c: v(order) if callable(v) else v for c, v in changes.items()}
	faults = update_faults(order, new)
	state = new.get("state", order.state)
	move = None
	if state != order.state and state is not None:
		move = order.machine.first(order.state, state)
		if move is None:
			faults["OE010"] = {"from": order.state, "to": state,
				"allowed": order.machine.allowed(order.state)}
		else:
			faults.update(obstacles(order, move, {}))
	refuse(faults)
	changed = replace(order, attributes=new.get("attributes", order.attributes),
		private=new.get("private", order.private))
	due = new.get("due_at", order.due)
	if move is not None:
		go(view, changed, move, who, {}, due=due if due != order.due else None)
	else:
		stay(view, replace(changed, due=due), "update", who, {})


def update_faults(order, new):
	faults = {}
	if any(c not in FREE and v != getattr(order, c) for c, v in new.items()):
		faults["OE014"] = None
	if any(c in new and new[c] is None for c in ("state", "version", "attributes", "private")):
		faults["23502"] = None
	for column in ("attributes", "private"):
		if column in new and not isinstance(new[column], (dict, type(None))):
			faults["22023"] = None
	version = new.get("version", order.version)
	if version is not None and version not in (order.version, order.version + 1):
		faults["OE011"] = None
	return faults


def insert_order(view, who, order_id, user, given):
	"""An INSERT: what is left out is filled in."""
	machine = view.peek(("machine", given.get("machine_id") or 1))
	if machine is None:
		raise Refused("22023")
	faults = {}
	if given.get("state") not in (None, machine.creation.to):
		faults["OE010"] = None
	if given.get("version") not in (None, 1):
		faults["OE011"] = None
	for column in ("captured", "refunded"):
		if given.get(column):
			faults["OE014"] = None
	key = given.get("idempotency_key")
	if key is not None and view.get(("key", user, key)) is not None:
		view.touched.add(("order", view.peek(("key", user, key))))
		faults["23505"] = None
	refuse(faults)
	order = Order(order_id, user, machine, machine.creation.to, 1, key=key,
		currency=given.get("currency"), attributes=given.get("attributes") or {},
		private=given.get("private") or {}, due=creation_due(machine, None))
	if key is not None:
		view.put(("key", user, key), order_id)
	record(view, order, "create", None, who, {}, machine.creation.publish, key=key)


# ---- machines, events ----

def define_machine(view, name, definition, told):
	view.get(("machines",))
	newest = newest_machine(view, name)
	if newest is not None and same_definition(newest.definition, definition):
		return newest.id
	view.put(("machines",), told.value)
	view.put(("machine", told.value), Machine(told.value, name, definition))
	return OneOf(*range(1 + max(m.id for m in view.all("machine") if m.id != told.value),
		told.value + 1)) if told.value else None


def same_definition(one, other):
	return by_value(one) == by_value(other)


def expire(view, who, order_id):
	"""The due event of an order, as the keeper fires it."""
	order = view.get(("order", order_id))
	move = due_move(order)
	refuse(obstacles(order, move, {}))
	go(view, order, move, who, {})


def due_move(order):
	return order.machine.find(order.state, order.machine.due_events.get(order.state))


# ---- reads ----

def order_document(order):
	return {
		"order_id": str(order.id), "user_id": str(order.user), "state": order.state,
		"machine": order.machine.name, "machine_id": order.machine.id,
		"version": order.version, "subtotal": order.subtotal, "amount": order.amount,
		"captured": order.captured, "refunded": order.refunded,
		"refund_due": refund_due(order), "currency": order.currency,
		"idempotency_key": order.key, "adjustments": list(order.adjustments),
		"attributes": order.attributes, "lines": lines_document(order),
		"payments": [payment_document(p)
			for p in sorted(order.payments, key=lambda p: (p.kind, p.ref))],
		"history": [history_document(h) for h in order.history]}


def payment_document(payment):
	return {"kind": payment.kind, "ref": payment.ref, "amount": payment.amount,
		"outcome": payment.outcome, "version": payment.version,
		"attributes": payment.attributes}


def history_document(happened):
	return {"version": happened.version, "event": happened.event,
		"from": happened.from_state, "to": happened.to, "actor": happened.who.actor,
		"reason": happened.who.reason, "idempotency_key": happened.key,
		"attributes": happened.attributes, "traceparent": happened.who.traceparent}


def user_page(view, user, before, max_rows, states):
	page = [o for o in view.all("order") if o.user == user
		and (before is None or o.id < before) and (states is None or o.state in states)]
	return sorted(page, key=lambda o: -o.id)[:max_rows]
