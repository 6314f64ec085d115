"""What SQL of a user's own does to orders, from doc/orders.md."""

from dataclasses import replace

import order_rules
from money import rounded, stored_currency
from order_rules import creation_due, go, obstacles, record, stay
from things import ZERO, Order, Refused, refuse

# what an UPDATE may change
FREE = {"state", "version", "due_at", "updated_at", "attributes", "private"}


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
		faults["OE011"] = {"expected": version if version < order.version else version - 1,
			"actual": order.version, "state": order.state}
	return faults


def insert_order(view, who, order_id, user, given):
	"""An INSERT: what is left out is filled in."""
	machine = view.peek(("machine", given.get("machine_id") or 1))
	if machine is None:
		raise Refused("22023")
	faults = {}
	if given.get("state") not in (None, machine.creation.to):
		faults["OE010"] = None
	if given.get("version") not in (None, 0, 1):
		faults["OE011"] = None
	for column in ("captured", "refunded"):
		if given.get(column):
			faults["OE014"] = None
	currency = stored_currency(given.get("currency"))
	amount = given.get("amount", ZERO)
	if rounded(currency, amount) != amount:
		faults["22023"] = None
	key = given.get("idempotency_key")
	if key is not None and view.get(("key", user, key)) is not None:
		view.touched.add(("order", view.peek(("key", user, key))))
		faults["23505"] = None
	refuse(faults)
	order = Order(order_id, user, machine, machine.creation.to, 1, key=key,
		amount=amount, currency=currency, attributes=given.get("attributes") or {},
		private=given.get("private") or {}, due=creation_due(machine, None))
	if key is not None:
		view.put(("key", user, key), order_id)
	record(view, order, "create", None, who, {}, machine.creation.publish, key=key)


def insert_or(view, who, order_id, user, given, changes):
	"""INSERT ... ON CONFLICT: the row is new, or it is changed, or nothing happens."""
	if view.get(("order", order_id)) is None:
		insert_order(view, who, order_id, user, given)
	elif changes is not None:
		update_order(view, who, order_id, changes)


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
			update_order(view, who, order_id, changes)
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
			order_rules.fire(view, who, order_id, event, attributes={})
		except Refused as refusal:
			codes |= refusal.codes
	if codes:
		raise Refused(*codes)
	return count


def fire_inside(view, who, order_id, other_id, event):
	if view.get(("order", order_id)) is None:
		return None
	update_order(view, who, order_id, {"attributes": {}})
	if order_id == other_id:
		raise Refused("09000")
	return order_rules.fire(view, who, other_id, event, attributes={})["version"]


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


def refused_if_there(view, key, code):
	view.touched.add(("key of order", key[1]))
	if view.get(key) is not None:
		raise Refused(code)


def refused_if_any(view, order_id, what):
	order = view.get(("order", order_id))
	if order is not None and getattr(order, what):
		raise Refused("OE014")
