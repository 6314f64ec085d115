"""The rules of orders and payments, from README.md, doc/orders.md and doc/machines.md.

A function takes a View, changes it and returns what the caller is told, or raises
Refused.  `told` is what the server answered: it decides only what no rule does (ids).
"""

from dataclasses import replace
from decimal import Decimal

import reservation_rules
import stock_rules
from machines import Machine
from money import check_decimals, rounded
from stock_rules import can_change_stock, change_stock
from things import ZERO, Due, Happened, Message, Order, Payment, Refused, by_value, refuse


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
	amount, subtotal, adjustments = amounts(request)
	if amount < 0 or (request.pay_within is not None and machine.creation.due is None):
		# what is short in mode escrow may be seen first
		raise Refused("22023", *["OE001"] * stock_rules.is_short_in_escrow(view,
			stock_rules.demands(replace(request, adjustments=adjustments))))
	if request.key is not None:
		earlier = view.get(("key", request.user, request.key))
		if earlier is not None:
			return repeat_creation(view, request, view.get(("order", earlier)))
	order = Order(told.new_id, request.user, machine, machine.creation.to, 1,
		subtotal=subtotal, amount=amount, currency=request.currency, key=request.key,
		request=request.identity(), adjustments=adjustments,
		attributes=request.attributes, private=request.private, lines=request.lines,
		due=creation_due(machine, request.pay_within))
	if request.reservation is None:
		change_stock(view, order, machine.creation.stock, 1, who)
	else:
		held = reservation_rules.hold_of(view, request.user, request.reservation)
		reservation_rules.take_over(view, held, stock_rules.demands(order), order.id)
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
	for adjustment in request.adjustments:
		check_decimals(request.currency, adjustment["amount"])
	subtotal = sum((line.unit_price * line.quantity for line in request.lines), ZERO)
	exact = subtotal + sum((a["amount"] for a in request.adjustments), ZERO)
	amount = rounded(request.currency, exact)
	if amount == exact:
		return amount, subtotal, request.adjustments
	rounding = {"kind": "rounding", "amount": amount - exact}
	return amount, subtotal, request.adjustments + (rounding,)


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
	check_decimals(currency or order.currency, amount)
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
	check_decimals(order.currency, given)
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


# ---- machines, time ----

def define_machine(view, name, definition, told):
	"""An id above all others; one that was rolled back may be left out."""
	view.get(("machines",))
	newest = newest_machine(view, name)
	if newest is not None and same_definition(newest.definition, definition):
		return newest.id
	above = max(m.id for m in view.all("machine")) + 1
	given = above if told.value is None else max(above, told.value)
	view.put(("machines",), given)
	view.put(("machine", given), Machine(given, name, definition))
	return given


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
		"currency": payment.currency, "outcome": payment.outcome, "version": payment.version,
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
