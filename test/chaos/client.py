"""A client of the shop: transactions at random, and what becomes of them when the server
dies: nothing of one that had not come to its COMMIT, all or nothing of one that had."""

import random
import threading
import time

import psycopg2

import acts
import database

# of transactions that met others: repeat them
CONFLICTS = {"40P01"}
SNAPSHOT_CONFLICTS = {"40001"}
# where there is no room in memory for a SKU in mode escrow
CROWD = {"53400"}
PATIENCE = 300


class Lost(Exception):
	"""The connection is, and with it what was under way."""


class Refused(Exception):
	def __init__(self, error):
		super().__init__("%s %s" % (error.pgcode, error))
		self.code = error.pgcode


class Client(threading.Thread):
	def __init__(self, shop, number):
		super().__init__(daemon=True)
		self.shop, self.number = shop, number
		self.rng = random.Random("%s/%d" % (shop.seed, number))
		self.chooser = acts.Chooser(self.rng, shop.ledger, shop.skus, shop.weights)
		self.connection = None
		self.calls = 0
		self.past = []
		# acts of the transaction under way, each with its row
		self.done = []
		# acts that were to be committed when the connection was lost
		self.unknown = []
		# the name of what was to be prepared then
		self.prepared = None

	def run(self):
		try:
			while not self.shop.over.is_set() or self.unknown or self.prepared:
				self.turn()
			if self.connection:
				self.connection.close()
		except Exception as error:
			self.shop.ledger.complain("client %d: %r" % (self.number, error))
			raise

	def turn(self):
		try:
			self.connect()
			if self.prepared:
				self.finish_prepared()
			elif self.unknown:
				self.settle()
			elif self.shop.over.is_set():
				pass
			elif self.rng.random() < 0.4:
				self.single(self.choose([]))
			else:
				self.block()
		except Lost:
			self.connection = None
			self.shop.count("lost in flight" if self.done or self.unknown else "lost")
		self.done = []

	def connect(self):
		"""Once the server is back; the old connection's process has ended, so what it did
		not commit it never will."""
		until = time.monotonic() + PATIENCE
		while self.connection is None:
			try:
				connection = database.connect(self.shop.dsn, self.shop.name)
				# the first that sees what is committed may be faster than who committed it
				database.run(connection, """SET statement_timeout = '120s';
					SET application_name = 'chaos';
					SET order_engine.debug_commit_delay = %d;
					SET order_engine.escrow_wait = %d;
					SET order_engine.due_wait = %d""" % (self.rng.choice([0, 0, 10]),
					self.rng.choice([0, 0, 20]), self.rng.choice([0, 0, 300])))
				self.connection = connection
			except psycopg2.Error:
				if time.monotonic() > until:
					raise
				time.sleep(0.05)

	# ---- statements ----

	def execute(self, text):
		"""The first row, empty if there is none."""
		try:
			with self.connection.cursor() as cursor:
				cursor.execute(text)
				if cursor.description is None:
					return {}
				names = [column.name for column in cursor.description]
				return next((dict(zip(names, row)) for row in cursor), None)
		except psycopg2.Error as error:
			# without a code: nobody was there to give one
			if self.connection.closed or (error.pgcode or "57P").startswith("57P"):
				raise Lost() from error
			raise Refused(error) from error

	def choose(self, own):
		self.calls += 1
		if self.past and self.rng.random() < 0.06:
			return acts.repetition(self.rng.choice(self.past))
		token = "%s.%d.%d" % (self.shop.round, self.number, self.calls)
		return self.chooser.act(token, own)

	def judge(self, refused, act, allowed):
		self.shop.count(refused.code)
		if self.shop.crowded:
			allowed = allowed | CROWD
		if refused.code not in allowed | act.refusals | CONFLICTS:
			self.shop.ledger.complain("%s\n    -> %s" % (act.text, refused))

	# ---- transactions ----

	def single(self, act, again=False):
		"""In a transaction of its own; again: what became of the first try is not known yet."""
		self.unknown = [act] if act.lookup else []
		try:
			row = self.execute(act.text)
		except Refused as refused:
			self.judge(refused, act, set())
			self.unknown = [act] if again else []
			return
		self.unknown = []
		self.acknowledge([(act, row)])

	def block(self):
		isolation = self.rng.choice(["READ COMMITTED"] * 4 + ["REPEATABLE READ", "SERIALIZABLE"])
		self.allowed = set() if isolation == "READ COMMITTED" else set(SNAPSHOT_CONFLICTS)
		self.execute("BEGIN ISOLATION LEVEL " + isolation)
		try:
			self.parts(0)
		except Refused:
			self.execute("ROLLBACK")
			return
		if self.rng.random() < 0.2:
			self.execute("ROLLBACK")
		elif self.shop.prepares and self.rng.random() < 0.05:
			self.prepare()
		else:
			self.commit()

	def parts(self, depth):
		for _ in range(self.rng.randint(1, 3 - depth)):
			if depth < 2 and self.rng.random() < 0.35:
				self.savepoint(depth + 1)
			else:
				self.part()

	def part(self):
		own = [effect.thing for act, row in self.done for effect in act.effects(row)
			if hasattr(effect, "thing")]
		act = self.choose(own)
		if act.switches:
			# of its own changes before, and of its takes after it
			self.allowed |= {"55000", "55P03"}
		try:
			self.done.append((act, self.execute(act.text)))
		except Refused as refused:
			self.judge(refused, act, self.allowed)
			raise
		if self.rng.random() < 0.2:
			time.sleep(self.rng.uniform(0, 0.02))

	def savepoint(self, depth):
		"""A part of the transaction that is undone where it fails, and else now and then."""
		known = len(self.done)
		self.execute("SAVEPOINT s%d" % depth)
		try:
			self.parts(depth)
			undone = self.rng.random() < 0.4
		except Refused:
			undone = True
		self.execute("%s s%d" % ("ROLLBACK TO" if undone else "RELEASE", depth))
		if undone:
			del self.done[known:]

	def undecided(self):
		return [act for act, row in self.done
			if act.lookup and act.effects(row) and not row.get("replayed")]

	def commit(self):
		self.unknown = self.undecided()
		try:
			self.execute("COMMIT")
		except Refused as refused:
			self.unknown = []
			self.judge(refused, acts.Act("COMMIT"), self.allowed)
			return
		self.unknown = []
		self.acknowledge(self.done)

	def prepare(self):
		"""Refused where stock in mode escrow was changed."""
		self.prepared = "%s.%d.%d" % (self.shop.round, self.number, self.calls)
		self.unknown = self.undecided()
		try:
			self.execute("PREPARE TRANSACTION '%s'" % self.prepared)
		except Refused as refused:
			self.unknown, self.prepared = [], None
			self.judge(refused, acts.Act("PREPARE TRANSACTION"), self.allowed | {"0A000"})
			return
		self.shop.count("prepared")
		if self.changed_hot():
			self.shop.ledger.complain("prepared with stock in mode escrow: %s" % self.done)
		self.finish_prepared()

	def finish_prepared(self):
		"""Either way, if it is there at all; then asks what has become of it."""
		if self.execute("SELECT FROM pg_prepared_xacts WHERE gid = '%s'" % self.prepared) is not None:
			self.execute("%s PREPARED '%s'" % (self.rng.choice(["COMMIT", "ROLLBACK"]), self.prepared))
		self.prepared = None

	def changed_hot(self):
		"""Whether any of it has surely changed stock in mode escrow."""
		effects = [act.effects(row) for act, row in self.done if not row.get("replayed")]
		skus = {sku for effect in effects if len(effect) == 1 for sku in effect[0].moves()}
		return any(sku.startswith("hot") for sku in skus)

	# ---- outcomes ----

	def acknowledge(self, done):
		self.shop.ledger.enter([effect for act, row in done for effect in act.effects(row)])
		self.past = (self.past + [act for act, _ in done if act.repeatable])[-20:]
		self.shop.count("committed")

	def settle(self):
		"""Finds out what became of a transaction by the keys and references of its calls, or
		by making the call again."""
		unknown = self.unknown
		if self.shop.repeats and len(unknown) == 1 and unknown[0].repeatable \
				and self.rng.random() < 0.5:
			self.single(unknown[0], again=True)
			return
		rows = [self.execute(act.lookup) for act in unknown]
		self.unknown = []
		if all(row is not None for row in rows):
			self.shop.count("found committed")
			self.acknowledge(list(zip(unknown, rows)))
		elif any(row is not None for row in rows):
			self.shop.ledger.complain("half of a transaction is there: %s" % list(zip(unknown, rows)))
