"""What a transaction of the model sees, writes and locks.

The shop is a dictionary of immutable values: ("order", id), ("stock", sku),
("moves", sku), ("key", user, key), ("machine", id), ("reservation", user, id), and within a
transaction ("switched", sku).  A transaction lays levels over it,
one for each savepoint, a statement one more, which is merged when it succeeded.
"""

from dataclasses import dataclass, field


@dataclass
class Level:
	name: str = None
	writes: dict = field(default_factory=dict)
	messages: list = field(default_factory=list)

	def add(self, other):
		self.writes.update(other.writes)
		self.messages.extend(other.messages)


class World:
	"""What is committed."""

	def __init__(self):
		self.values = {}
		self.messages = []
		self.sessions = []
		# whether a user's trigger adds to the attributes of every order that is written
		self.stamps = False

	def merge(self, level):
		self.values.update({key: value for key, value in level.writes.items()
			if key[0] != "switched"})
		self.messages.extend(level.messages)


class Transaction:
	def __init__(self, isolation="read committed", read_only=False):
		self.isolation = isolation
		self.read_only = read_only
		self.levels = [Level()]
		self.snapshot = None
		self.aborted = False
		# all that a call of this transaction may have locked, rolled back or not
		self.touched = set()

	@property
	def keeps_snapshot(self):
		return self.isolation != "read committed"

	def written(self):
		return {key for level in self.levels for key in level.writes}

	def begin_statement(self, world):
		if self.keeps_snapshot and self.snapshot is None:
			self.snapshot = dict(world.values)

	def savepoints(self):
		return [level.name for level in self.levels[1:]]

	def push(self, name):
		self.levels.append(Level(name))

	def abort(self):
		"""An error: what its subtransaction did is undone, and unlocked, at once."""
		self.levels[-1] = Level(self.levels[-1].name)
		self.aborted = True

	def rollback_to(self, name):
		while self.levels[-1].name != name:
			self.levels.pop()
		self.levels[-1] = Level(name)
		self.aborted = False

	def release(self, name):
		above = None
		while above != name:
			level = self.levels.pop()
			above = level.name
			self.levels[-1].add(level)

	def whole(self):
		whole = Level()
		for level in self.levels:
			whole.add(level)
		return whole


class View:
	"""One statement's sight of the shop; what it writes counts once the statement succeeded."""

	def __init__(self, world, transaction):
		self.world = world
		self.transaction = transaction
		self.base = world.values
		if transaction.snapshot is not None:
			self.base = transaction.snapshot
		self.scratch = Level()
		self.touched = set()
		# what others' locks may keep from it, though it keeps nothing from others
		self.shared = set()

	def peek(self, key):
		"""What a read sees: it waits for nobody."""
		for level in [self.scratch, *reversed(self.transaction.levels)]:
			if key in level.writes:
				return level.writes[key]
		return self.committed(key)

	def committed(self, key):
		"""Of stock in mode escrow what is there now, whatever the snapshot."""
		if self.is_of_now(key):
			return self.world.values.get(key)
		return self.base.get(key)

	def is_of_now(self, key):
		stock = self.world.values.get(("stock", key[1])) if key[0] in ("stock", "moves") else None
		return stock is not None and stock.mode == "escrow"

	def is_unseen(self, key, value):
		"""Whether a value of a list is there, but the snapshot does not show it."""
		snapshot = self.transaction.snapshot
		return snapshot is not None and value in (self.world.values.get(key) or ()) \
			and value not in (snapshot.get(key) or ())

	def has_switched(self, sku):
		"""This transaction, in what it did before this statement."""
		return any(("switched", sku) in level.writes for level in self.transaction.levels)

	def get(self, key):
		"""What a write judges by: the row is locked."""
		self.touched.add(key)
		return self.peek(key)

	def put(self, key, value):
		self.touched.add(key)
		self.scratch.writes[key] = value

	def send(self, message):
		self.scratch.messages.append(message)

	def all(self, kind):
		"""Values of a kind, oldest first."""
		seen = {}
		for source in [self.base, *[level.writes for level in self.transaction.levels],
				self.scratch.writes]:
			for key, value in source.items():
				if key[0] == kind:
					seen[key] = value
		return [value for value in seen.values() if value is not None]

	def mark(self):
		"""A subtransaction begins: what undo() goes back to."""
		return Level(None, dict(self.scratch.writes), list(self.scratch.messages))

	def undo(self, mark):
		self.scratch = mark

	def is_stale(self, key):
		"""Whether another transaction has changed it since the snapshot of this one."""
		snapshot = self.transaction.snapshot
		if snapshot is not None and self.is_of_now(key):
			earlier = snapshot.get(("stock", key[1]))
			return earlier is None or earlier.mode != "escrow"
		return snapshot is not None and \
			self.world.values.get(key) is not snapshot.get(key)

	def stale(self):
		return {key for key in self.touched if self.is_stale(key)}

	def merge(self):
		self.transaction.levels[-1].add(self.scratch)


class Session:
	def __init__(self, name, level, actor=None, traceparent=None):
		self.name = name
		self.level = level
		self.actor = actor
		self.traceparent = traceparent
		self.transaction = None


def others(world, session):
	return [s.transaction for s in world.sessions
		if s is not session and s.transaction is not None]


def locked_by(transactions):
	"""Keys that somebody else may hold, and those that somebody does."""
	may, does = set(), set()
	for transaction in transactions:
		may |= transaction.touched
		does |= transaction.written()
	return may, does
