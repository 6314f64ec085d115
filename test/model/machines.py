"""State machines as doc/machines.md describes them: what a definition means, and random ones.

Nothing here knows the engine's code: what an order holds in a state, which event an
UPDATE means, who may fire what are derived again from the documentation.
"""

from dataclasses import dataclass
from datetime import timedelta

GUARD = "public.model_guard"

# what an effect needs, and what the order holds after it
EFFECTS = {
	"reserve": ("none", "held"),
	"confirm": ("held", "confirmed"),
	"release": ("held", "none"),
	"restock": ("confirmed", "none"),
}

# How intervals are written, and what they are.
INTERVALS = {
	"10 minutes": timedelta(minutes=10),
	"15 minutes": timedelta(minutes=15),
	"1 hour": timedelta(hours=1),
	"PT90M": timedelta(minutes=90),
	"2 days 03:04:05.678": timedelta(days=2, hours=3, minutes=4, seconds=5, milliseconds=678),
}

ORDER_MACHINE = {
	"final": ["cancelled", "completed"],
	"void": ["cancelled"],
	"transitions": [
		{"from": None, "event": "create", "to": "pending", "stock": "reserve",
			"publish": "order.created", "due": "15 minutes", "due_event": "expire"},
		{"from": "pending", "event": "pay", "to": "paid", "stock": "confirm",
			"requires_payment": True, "publish": "order.paid"},
		{"from": "pending", "event": "cancel", "to": "cancelled", "stock": "release",
			"publish": "order.cancelled"},
		{"from": "pending", "event": "expire", "to": "cancelled", "stock": "release",
			"keeper_only": True, "publish": "order.expired"},
		{"from": "paid", "event": "ship", "to": "shipped", "publish": "order.shipped"},
		{"from": "shipped", "event": "complete", "to": "completed", "publish": "order.completed"},
		{"from": "paid", "event": "request_refund", "to": "refunding",
			"publish": "order.refund_requested"},
		{"from": "refunding", "event": "confirm_refund", "to": "cancelled", "stock": "restock",
			"publish": "order.refund_confirmed"},
		{"from": "refunding", "event": "reject_refund", "to": "paid",
			"publish": "order.refund_rejected"},
		{"from": "paid", "event": "refund", "to": "cancelled", "stock": "restock",
			"publish": "order.refunded"},
	],
}


@dataclass(frozen=True)
class Transition:
	from_state: str
	event: str
	to: str
	stock: str
	publish: str
	due: str
	due_event: str
	guard: str
	requires_payment: bool
	keeper_only: bool


def read_transition(given, aggregate):
	return Transition(given["from"], given["event"], given["to"], given.get("stock", "none"),
		given.get("publish", "%s.%s" % (aggregate, given["event"])), given.get("due"),
		given.get("due_event"), given.get("guard"), given.get("requires_payment", False),
		given.get("keeper_only", False))


class Machine:
	def __init__(self, machine_id, name, definition, aggregate="order"):
		self.id = machine_id
		self.name = name
		self.definition = definition
		self.transitions = [read_transition(t, aggregate) for t in definition["transitions"]]
		self.void = set(definition.get("void", []))
		self.creation = next(t for t in self.transitions if t.from_state is None)
		self.states = {t.to for t in self.transitions}
		self.holds = self.derive_holds()
		self.due_events = {t.to: t.due_event for t in self.transitions if t.due_event}

	def find(self, state, event):
		"""The transition of an event, keeper_only or not."""
		return next((t for t in self.transitions
			if t.from_state == state and t.event == event and state is not None), None)

	def first(self, state, to):
		"""What an UPDATE means: the first defined of those that anyone may fire."""
		return next((t for t in self.transitions
			if t.from_state == state and t.to == to and not t.keeper_only), None)

	def allowed(self, state):
		return [t.event for t in self.transitions if t.from_state == state and not t.keeper_only]

	def derive_holds(self):
		holds = {self.creation.to: after(self.creation.stock, "none")}
		while len(holds) < len(self.states):
			for t in self.transitions:
				if t.from_state in holds and t.to not in holds:
					holds[t.to] = after(t.stock, holds[t.from_state])
		return holds


def after(effect, held):
	return held if effect == "none" else EFFECTS[effect][1]


# ---- random ones ----

STATES = ["open", "held", "packed", "sent", "back", "done", "gone", "limbo", "lost", "found",
	"bound", "torn", "mended", "sold", "shelved"]
EVENTS = ["pay", "pay", "cancel", "ship", "refund", "expire", "go", "note", "return", "retry"]


class Builder:
	"""Grows a machine that define_machine() must accept."""

	def __init__(self, rng):
		self.rng = rng
		self.unused = STATES[:]
		rng.shuffle(self.unused)
		self.transitions = []
		self.holds = {}

	def build(self):
		self.create()
		for _ in range(self.rng.randint(2, 5)):
			self.branch(self.rng.choice(list(self.holds)))
		for _ in range(self.rng.randint(0, 4)):
			self.connect()
		self.let_go()
		self.add_due()
		return self.definition()

	def create(self):
		effect = self.rng.choice(["reserve", "reserve", "none"])
		state = self.unused.pop()
		self.transitions.append({"from": None, "event": "create", "to": state, "stock": effect})
		self.holds[state] = after(effect, "none")

	def branch(self, state, effects=None):
		"""A move to a new state."""
		fitting = [e for e in EFFECTS if EFFECTS[e][0] == self.holds[state]] + ["none"]
		effect = self.rng.choice(effects or fitting)
		to = self.unused.pop()
		self.holds[to] = after(effect, self.holds[state])
		self.add(state, to, effect)

	def connect(self):
		"""A move between states that are there, where the stock allows one."""
		state, to = self.rng.choice(list(self.holds)), self.rng.choice(list(self.holds))
		effects = [e for e in [*EFFECTS, "none"]
			if (e == "none" or EFFECTS[e][0] == self.holds[state])
			and after(e, self.holds[state]) == self.holds[to]]
		if effects:
			self.add(state, to, self.rng.choice(effects))

	def add(self, state, to, effect):
		taken = {t["event"] for t in self.transitions if t["from"] == state}
		free = [e for e in EVENTS if e not in taken]
		pays = effect in ("confirm", "reserve") and "pay" in free and self.rng.random() < 0.8
		event = "pay" if pays else self.rng.choice(free)
		self.transitions.append({"from": state, "event": event, "to": to, "stock": effect,
			**self.conditions(event)})

	def conditions(self, event):
		given = {}
		if self.rng.random() < (0.7 if event == "pay" else 0.1):
			given["requires_payment"] = True
		if self.rng.random() < (0.8 if event == "expire" else 0.03):
			given["keeper_only"] = True
		if self.rng.random() < 0.2:
			given["guard"] = GUARD
		if self.rng.random() < 0.3:
			given["publish"] = self.rng.choice([None, "shop.%s" % event])
		return given

	def let_go(self):
		"""No state that holds stock may be final."""
		ways_out = {t["from"] for t in self.transitions}
		for state in [s for s in self.holds if self.holds[s] == "held" and s not in ways_out]:
			self.branch(state, ["release", "confirm"])

	def add_due(self):
		for state in self.holds:
			events = [t["event"] for t in self.transitions if t["from"] == state]
			if events and self.rng.random() < 0.6:
				event = self.rng.choice(events)
				for t in self.transitions:
					if t["to"] == state and self.rng.random() < 0.7:
						t["due"] = self.rng.choice(list(INTERVALS))
						t["due_event"] = event

	def definition(self):
		ways_out = {t["from"] for t in self.transitions}
		final = [s for s in self.holds if s not in ways_out]
		void = [s for s in self.holds if self.rng.random() < 0.3]
		for t in self.transitions:
			if t["stock"] == "none" and self.rng.random() < 0.5:
				del t["stock"]
		# the creation stands anywhere; which of the others is first decides what an UPDATE means
		first = self.transitions.pop(0)
		self.rng.shuffle(self.transitions)
		self.transitions.insert(self.rng.randint(0, len(self.transitions)), first)
		return {"final": final, "void": void, "transitions": self.transitions}


def random_definition(rng):
	return Builder(rng).build()


def random_fault(rng, definition):
	"""Makes a valid definition one that define_machine() must refuse."""
	moves = definition["transitions"]
	move = rng.choice([t for t in moves if t["from"] is not None])
	fault = rng.randrange(9)
	if fault == 0:
		moves.append(dict(move))
	elif fault == 1:
		moves.append({"from": "island", "event": "go", "to": "island"})
	elif fault == 2:
		moves.append({"from": move["from"], "event": "dig", "to": "pit"})
	elif fault == 3:
		move["stock"] = "steal"
	elif fault == 4:
		move["event"] = rng.choice(["update", "payment", "payment_mismatch", "refund_payment",
			"create"])
	elif fault == 5:
		move["colour"] = "red"
	elif fault == 6:
		definition["final"] = definition["final"] + [move["from"]]
	elif fault == 7:
		move["due"], move["due_event"] = "1 hour", "never"
	else:
		definition["transitions"] = [t for t in moves if t["from"] is not None]
	return definition
