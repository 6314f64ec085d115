"""What the clients did and know to be committed: the books as they must be.

An effect is what one call did, once its transaction has committed; apply() enters it.
Nothing here asks the shop.
"""

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from threading import Lock

# What an order in a state has done to each of its lines: (on_hand, reserved).
HOLDINGS = {"held": (0, 1), "released": (0, 0), "sold": (-1, 0), "refunding": (-1, 0),
	"restocked": (0, 0)}


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


@dataclass
class Change:
	"""An order comes to be in a state."""
	order: Order
	state: str

	def apply(self, ledger):
		ledger.change(self.order, self.state)


@dataclass
class Movement:
	"""Goods that came or went without an order."""
	sku: str
	reason: str
	ref: str
	quantity: int

	def apply(self, ledger):
		ledger.move(self)


@dataclass
class Ledger:
	orders: dict = field(default_factory=dict)  # by key
	movements: dict = field(default_factory=dict)  # quantity by (sku, reason, ref)
	latest: deque = field(default_factory=lambda: deque(maxlen=80))  # orders
	wrong: list = field(default_factory=list)
	lock: Lock = field(default_factory=Lock)

	# ---- entries ----

	def enter(self, effects):
		with self.lock:
			for effect in effects:
				effect.apply(self)

	def change(self, order, state):
		if order.key not in self.orders:
			self.orders[order.key] = order
			self.latest.append(order)
		order.state = state

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

	def recent(self, *states):
		"""Orders, one of which may be taken for the next call."""
		with self.lock:
			return [order for order in self.latest if order.state in states]

	def sums(self):
		"""(on_hand, reserved) of each SKU."""
		on_hand, reserved = Counter(), Counter()
		for (sku, _, _), quantity in self.movements.items():
			on_hand[sku] += quantity
		for order in self.orders.values():
			gone, held = HOLDINGS[order.state]
			for sku, quantity in order.lines:
				on_hand[sku] += gone * quantity
				reserved[sku] += held * quantity
		return {sku: (on_hand[sku], reserved[sku]) for sku in on_hand}

	def order_movements(self):
		"""Quantity by (sku, reason, order_id), of what orders moved."""
		moved = defaultdict(int)
		for order in self.orders.values():
			for sku, quantity in order.units().items():
				if order.state in ("sold", "refunding", "restocked"):
					moved[sku, "confirm", order.id] -= quantity
				if order.state == "restocked":
					moved[sku, "restock", order.id] += quantity
		return dict(moved)
