"""What the clients did and know to be committed: the books as they must be.

An effect is what one call did, once its transaction has committed; apply() enters it.
Nothing here asks the shop.
"""

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from threading import Lock

# What an order in a state has done to each of its lines: (on_hand, reserved).
HOLDINGS = {"held": (0, 1), "released": (0, 0), "expired": (0, 0), "sold": (-1, 0),
	"refunding": (-1, 0), "restocked": (0, 0)}


@dataclass
class Order:
	key: str
	user: int
	lines: list  # of (sku, quantity)
	# whether the keeper may let go of it while the test runs
	short: bool
	state: str = None
	id: int = None

	@property
	def amount(self):
		return sum(quantity for _, quantity in self.lines)

	def units(self):
		units = Counter()
		for sku, quantity in self.lines:
			units[sku] += quantity
		return units


	def holding(self):
		"""What it has done to each SKU: (on_hand, reserved)."""
		gone, held = HOLDINGS[self.state]
		return {sku: (gone * quantity, held * quantity) for sku, quantity in self.units().items()}


@dataclass
class Reservation:
	key: str
	user: int  # or None
	lines: list  # of (sku, quantity); empty if it was cancelled before it was made
	short: bool
	state: str = None
	# what was taken, of (sku, quantity)
	confirmed: list = field(default_factory=list)
	id: int = None

	def holding(self):
		if self.state == "confirmed":
			return {sku: (-quantity, 0) for sku, quantity in self.confirmed}
		held = 1 if self.state == "held" else 0
		return {sku: (0, held * quantity) for sku, quantity in self.lines}


@dataclass
class Change:
	"""An order, or a reservation, comes to be in a state."""
	thing: object
	state: str
	confirmed: list = None

	def moves(self):
		"""SKUs whose stock it is sure to have changed."""
		if self.state in ("refunding", "cancelled"):
			return set()
		return {sku for sku, _ in self.thing.lines}

	def apply(self, ledger):
		ledger.change(self.thing, self.state)
		if self.confirmed is not None:
			self.thing.confirmed = self.confirmed


@dataclass
class Movement:
	"""Goods that came or went without an order."""
	sku: str
	reason: str
	ref: str
	quantity: int

	def moves(self):
		return {self.sku}

	def apply(self, ledger):
		ledger.move(self)


@dataclass
class Ledger:
	orders: dict = field(default_factory=dict)  # by key
	movements: dict = field(default_factory=dict)  # quantity by (sku, reason, ref)
	reservations: dict = field(default_factory=dict)  # by key
	# of both, what is worth choosing from
	latest: deque = field(default_factory=lambda: deque(maxlen=100))
	wrong: list = field(default_factory=list)
	lock: Lock = field(default_factory=Lock)

	# ---- entries ----

	def enter(self, effects):
		with self.lock:
			for effect in effects:
				effect.apply(self)

	def change(self, thing, state):
		things = self.orders if isinstance(thing, Order) else self.reservations
		if thing.key not in things:
			things[thing.key] = thing
			self.latest.append(thing)
		thing.state = state

	def move(self, movement):
		key = (movement.sku, movement.reason, movement.ref)
		if key in self.movements:
			self.wrong.append("done twice: %s" % (key,))
		self.movements[key] = movement.quantity

	def complain(self, what):
		with self.lock:
			self.wrong.append(what)

	def take_wrong(self):
		with self.lock:
			wrong, self.wrong = self.wrong, []
			return wrong

	# ---- what is to be seen ----

	def recent(self, kind, *states):
		"""Those of which one may be chosen for the next call."""
		with self.lock:
			return [thing for thing in self.latest
				if isinstance(thing, kind) and thing.state in states]

	def sums(self):
		"""(on_hand, reserved) of each SKU."""
		on_hand, reserved = Counter(), Counter()
		for (sku, _, _), quantity in self.movements.items():
			on_hand[sku] += quantity
		for thing in [*self.orders.values(), *self.reservations.values()]:
			for sku, (gone, held) in thing.holding().items():
				on_hand[sku] += gone
				reserved[sku] += held
		return {sku: (on_hand[sku], reserved[sku]) for sku in on_hand}

	def order_movements(self):
		"""Quantity by (sku, reason, id), of what orders and reservations moved."""
		moved = defaultdict(int)
		for order in self.orders.values():
			for sku, quantity in order.units().items():
				if order.state in ("sold", "refunding", "restocked"):
					moved[sku, "confirm", order.id] -= quantity
				if order.state == "restocked":
					moved[sku, "restock", order.id] += quantity
		for reservation in self.reservations.values():
			if reservation.state == "confirmed":
				for sku, quantity in reservation.confirmed:
					moved[sku, "reservation", reservation.id] -= quantity
		return dict(moved)
