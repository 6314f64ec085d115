"""The rules of stock, from doc/stock.md."""

from dataclasses import replace

from things import Movement, Refused, Stock, Unclear, Who, refuse


def demands(order):
	"""What an order takes of each stock, in the order of the keys' bytes."""
	takes = [(line.stock_key, line.quantity) for line in order.lines]
	takes += [(a.get("stock_key"), a.get("quantity")) for a in order.adjustments]
	return wanted_of(takes)


def wanted_of(takes):
	wanted = {}
	for key, quantity in takes:
		if key is not None:
			wanted[key] = wanted.get(key, 0) + quantity
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


def find_short(view, wanted):
	"""SKUs that are unknown, and lines of those of which there is too little."""
	found = {sku: view.get(("stock", sku)) for sku in wanted}
	unknown = [sku for sku, stock in found.items() if stock is None]
	short = [short_line(sku, stock, wanted[sku])
		for sku, stock in found.items() if stock is not None and stock.available < wanted[sku]]
	return unknown, short


def check_available(view, wanted):
	unknown, short = find_short(view, wanted)
	if is_short_in_escrow(view, wanted):
		# told before the others are looked at
		raise Refused("OE001", *["OE002"] * bool(unknown))
	if unknown:
		raise Refused("OE002",
			detail={"unknown": [{"sku": sku} for sku in unknown], "short": short})
	if short:
		raise Refused("OE001", detail={"short": short})


def is_short_in_escrow(view, wanted):
	found = {sku: view.get(("stock", sku)) for sku in wanted}
	return any(stock is not None and stock.mode == "escrow" and stock.available < wanted[sku]
		for sku, stock in found.items())


def short_line(sku, stock, quantity):
	line = {"sku": sku, "requested": quantity, "available": stock.available}
	return line if stock.open else {**line, "closed": True}


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
	found = next((m for m in moves if (m.reason, m.ref) == (reason, ref)), None)
	if found is not None and view.is_of_now(("moves", sku)) \
			and view.is_unseen(("moves", sku), found):
		raise Refused("40001")
	return found


def receive_stock(view, who, sku, quantity, reason, ref):
	stock = view.get(("stock", sku))
	earlier = find_movement(view, sku, reason, ref)
	if earlier is not None:
		if earlier.quantity != quantity:
			raise Refused("OE020")
		return stock_result(stock, True)
	stock = stock or Stock(0, 0, 0)
	stock = replace(stock, on_hand=counted(stock.on_hand + quantity), version=stock.version + 1)
	view.put(("stock", sku), stock)
	move_goods(view, sku, quantity, reason, ref, who)
	return stock_result(stock, False)


def stock_result(stock, replayed):
	if stock is None:
		return {"replayed": replayed}
	if stock.mode == "escrow":
		# on_hand is as of the last fold
		return {"available": stock.available, "version": None, "replayed": replayed}
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
			"available": stock.free}]})
	stock = replace(stock, on_hand=stock.on_hand + delta, version=stock.version + 1)
	view.put(("stock", sku), stock)
	move_goods(view, sku, delta, reason, ref, who)
	return stock_result(stock, False)


def deduct_stock(view, who, sku, quantity, expected, ref):
	stock = view.get(("stock", sku))
	earlier = find_movement(view, sku, "deduct", ref)
	if earlier is not None:
		return repeat_movement(stock, earlier, -quantity,
			stock and deduct_result(stock))
	if stock is None:
		raise Refused("OE002")
	faults = {}
	if expected is not None and stock.mode == "escrow":
		faults["0A000"] = None
	elif expected is not None and expected != stock.version:
		faults["OE011"] = {"sku": sku, "expected": expected, "actual": stock.version}
	if stock.available < quantity:
		faults["OE001"] = {"short": [short_line(sku, stock, quantity)]}
	refuse(faults)
	stock = replace(stock, on_hand=stock.on_hand - quantity, version=stock.version + 1)
	view.put(("stock", sku), stock)
	move_goods(view, sku, -quantity, "deduct", ref, who)
	return deduct_result(stock)


def deduct_result(stock):
	return {"remaining": stock.available,
		"version": None if stock.mode == "escrow" else stock.version}


def set_stock_open(view, who, sku, open):
	stock = view.get(("stock", sku))
	if stock is None:
		raise Refused("OE002")
	if stock.open == open:
		return False
	check_unchanged(view, sku, stock)
	if stock.mode == "escrow":
		view.put(("switched", sku), True)
	view.put(("stock", sku), replace(stock, open=open, version=stock.version + 1))
	move_goods(view, sku, 0, "opened" if open else "closed", None, who)
	return True


def check_unchanged(view, sku, stock):
	"""What a transaction has changed in mode escrow it cannot switch or close; what it has
	changed otherwise, or tried to, may stand in the way or not."""
	transaction = view.transaction
	if view.has_switched(sku) or ("switched", sku) in view.scratch.writes:
		raise Unclear()
	if stock.mode == "escrow" and ("stock", sku) in transaction.written():
		raise Refused("55000")
	if ("stock", sku) in transaction.touched | set(view.scratch.writes):
		raise Unclear()


def set_stock_mode(view, skus, mode, told):
	"""How many changed.  Which version a SKU has when it is back in mode row, only the server
	knows: each fold was one."""
	versions = {row["sku"]: row["version"] for row in told.after or ()}
	changed = 0
	for sku in sorted(set(skus), key=str.encode):
		stock = view.get(("stock", sku))
		if stock is None:
			raise Refused("OE002")
		# of what it has changed, too, where there is nothing to switch
		if stock.mode == mode and not view.has_switched(sku):
			continue
		check_unchanged(view, sku, stock)
		if stock.mode != mode:
			view.put(("stock", sku), replace(stock, mode=mode,
				version=versions.get(sku, stock.version)))
			view.put(("switched", sku), True)
			changed += 1
	return changed


def insert_stock(view, who, sku, on_hand):
	if view.get(("stock", sku)) is not None:
		raise Refused("23505")
	view.put(("stock", sku), Stock(on_hand, 0, 1))
	if on_hand:
		move_goods(view, sku, on_hand, "direct", None, who)


def add_stock(view, who, sku, units):
	stock = view.get(("stock", sku))
	if stock is not None:
		update_stock(view, who, sku, counted(stock.on_hand + units))


def update_stock(view, who, sku, on_hand):
	stock = view.get(("stock", sku))
	if stock is None or stock.on_hand == on_hand:
		return
	if on_hand < stock.reserved:
		raise Refused("23514")
	view.put(("stock", sku), replace(stock, on_hand=on_hand, version=stock.version + 1))
	move_goods(view, sku, on_hand - stock.on_hand, "direct", None, who)


def delete_stock(view, who, sku):
	stock = view.get(("stock", sku))
	if stock is None:
		return
	if stock.reserved or stock.mode == "escrow":
		raise Refused("OE014")
	view.put(("stock", sku), None)
	if stock.on_hand:
		move_goods(view, sku, -stock.on_hand, "direct", None, who)


def upsert_stock(view, who, sku, on_hand):
	if view.get(("stock", sku)) is None:
		insert_stock(view, who, sku, on_hand)
	else:
		update_stock(view, who, sku, on_hand)
