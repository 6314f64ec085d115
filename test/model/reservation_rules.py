"""The rules of reservations, from doc/reservations.md."""

from dataclasses import dataclass, replace

from stock_rules import find_short, move_goods, wanted_of
from things import AnyOrder, Refused, refuse


@dataclass(frozen=True)
class Reservation:
	name: str
	user: int  # or None
	state: str
	# units by stock key; None if it was cancelled before it was made
	lines: dict = None
	confirmed: dict = None
	order: int = None
	# whether its time is over as soon as anybody looks
	short: bool = False
	# how often it was, be it by nothing: its row is written
	extended: int = 0

	@property
	def key(self):
		return ("reservation", self.user, self.name)

	@property
	def ref(self):
		"""Of its movements; the table has its number."""
		return "%s of %s" % (self.name, self.user)


# what is told of one that is not held any more
RESOLVED = {"expired": "OE004", "cancelled": "OE005", "confirmed": "OE005", "ordered": "OE005"}


def find(view, user, name):
	held = view.get(("reservation", user, name))
	if held is None:
		raise Refused("OE007")
	view.touched.update(("stock", sku) for sku in held.lines or ())
	return held


def try_reserve(view, who, user, name, lines, short):
	wanted = wanted_of((line.stock_key, line.quantity) for line in lines)
	view.touched.update(("stock", sku) for sku in wanted)
	earlier = view.get(("reservation", user, name))
	if earlier is not None:
		return repeat_try(earlier, wanted)
	unknown, missing = find_short(view, wanted)
	if unknown or missing:
		unknown = [{"sku": sku, "requested": wanted[sku], "available": None} for sku in unknown]
		return {"status": "unknown_sku" if unknown else "sold_out", "replayed": False,
			"expires_at": None, "short": AnyOrder(unknown + missing)}
	change_reserved(view, wanted, 1)
	view.put(("reservation", user, name), Reservation(name, user, "held", wanted, short=short))
	return {"status": "reserved", "replayed": False, "short": None}


def repeat_try(earlier, wanted):
	if earlier.lines is None:
		raise Refused("OE006")
	faults = {}
	if earlier.lines != wanted:
		faults["OE020"] = None
	if earlier.state != "held":
		faults[RESOLVED[earlier.state]] = None
	refuse(faults)
	return {"status": "reserved", "replayed": True, "short": None}


def change_reserved(view, lines, sign):
	for sku, quantity in lines.items():
		stock = view.get(("stock", sku))
		view.put(("stock", sku), replace(stock, reserved=stock.reserved + sign * quantity,
			version=stock.version + 1))


def confirm(view, who, user, name, lines):
	held = find(view, user, name)
	part = held.lines if lines is None else \
		wanted_of((line.stock_key, line.quantity) for line in lines)
	if held.state == "confirmed":
		if part != held.confirmed:
			raise Refused("OE020")
		return {"state": "confirmed", "replayed": True}
	if held.state not in ("held", "expired"):
		raise Refused("OE005")
	if any(quantity > held.lines.get(sku, 0) for sku, quantity in part.items()):
		raise Refused("22023")
	taken = held.lines
	if held.state == "expired":
		take_again(view, part)
		taken = part
	for sku, quantity in taken.items():
		take_part(view, who, held, sku, part.get(sku, 0), quantity)
	view.put(held.key, replace(held, state="confirmed", confirmed=part))
	return {"state": "confirmed", "replayed": False}


def take_again(view, part):
	"""What was released is held anew, as much as is to be confirmed."""
	if any(find_short(view, part)):
		raise Refused("OE004")
	change_reserved(view, part, 1)


def take_part(view, who, held, sku, confirmed, quantity):
	"""Taking and releasing are two changes of the stock."""
	if confirmed > 0:
		stock = view.get(("stock", sku))
		view.put(("stock", sku), replace(stock, on_hand=stock.on_hand - confirmed,
			reserved=stock.reserved - confirmed, version=stock.version + 1))
		move_goods(view, sku, -confirmed, "reservation", held.ref, who)
	if confirmed < quantity:
		change_reserved(view, {sku: quantity - confirmed}, -1)


def cancel(view, who, user, name):
	held = view.get(("reservation", user, name))
	if held is None:
		view.put(("reservation", user, name), Reservation(name, user, "cancelled"))
		return {"state": "cancelled", "replayed": False}
	view.touched.update(("stock", sku) for sku in held.lines or ())
	if held.state in ("confirmed", "ordered"):
		raise Refused("OE005")
	if held.state == "cancelled":
		return {"state": "cancelled", "replayed": True}
	if held.state == "held":
		change_reserved(view, held.lines, -1)
	view.put(held.key, replace(held, state="cancelled"))
	return {"state": "cancelled", "replayed": False}


def extend(view, who, user, name, short):
	held = find(view, user, name)
	if held.state != "held":
		raise Refused(RESOLVED[held.state])
	view.put(held.key, replace(held, short=held.short and short, extended=held.extended + 1))


def expire(view, held):
	change_reserved(view, held.lines, -1)
	view.put(held.key, replace(held, state="expired"))


# ---- from hold to order ----

def hold_of(view, user, name):
	"""That of the user, else one that was made without a user."""
	held = view.get(("reservation", user, name)) or view.get(("reservation", None, name))
	if held is None:
		raise Refused("OE007")
	if held.state != "held":
		raise Refused(RESOLVED[held.state])
	return held


def take_over(view, held, wanted, order_id):
	"""Beyond the hold the order reserves, short of it it releases."""
	keys = sorted({*held.lines, *wanted}, key=str.encode)
	view.touched.update(("stock", sku) for sku in keys)
	more = {sku: wanted.get(sku, 0) - held.lines.get(sku, 0) for sku in keys}
	beyond = {sku: quantity for sku, quantity in more.items() if quantity > 0}
	unknown, short = find_short(view, beyond)
	if unknown:
		raise Refused("OE002")
	if short:
		raise Refused("OE001", detail={"short": short})
	change_reserved(view, {sku: quantity for sku, quantity in more.items() if quantity != 0}, 1)
	view.put(held.key, replace(held, state="ordered", order=order_id))
