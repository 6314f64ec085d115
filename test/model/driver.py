"""One round: a new database, a few sessions of it driven by one thread, the model beside them."""

import random
from collections import Counter

import builder
import chooser
import compare
import database
import order_rules
import sql
import stock_rules
import ticket_calls
from call import LEVELS, Attempt, Call, Compound
from calls import Calls
from judge import Mismatch, answers, is_detail, is_json
from machines import ORDER_MACHINE, Machine, random_definition
from store import Session, Transaction, View, World, locked_by, others
from things import Order, Refused, Unclear, Who

SAVEPOINTS = ["s1", "s2", "s3"]
SESSIONS = [("O", "owner", None), ("P", "operator", "till"), ("A", "app", None),
	("B", "owner", "robot")]


class Pool:
	"""What calls are made of: the shop as a session sees it, and earlier requests."""

	def __init__(self, driver):
		self.driver = driver
		self.requests = []
		self.tries = []

	def view(self):
		return View(self.driver.world, self.driver.session.transaction or Transaction())

	def orders(self):
		"""What the session sees; where it keeps a snapshot, often what others did since."""
		changed = self.changed_orders()
		if changed and self.driver.rng.random() < 0.3:
			return changed
		return self.view().all("order")

	def changed_orders(self):
		transaction = self.driver.session.transaction
		if transaction is None or transaction.snapshot is None:
			return []
		return [v for k, v in self.driver.world.values.items()
			if k[0] == "order" and transaction.snapshot.get(k) is not v]

	def machines(self):
		return ["order", *chooser.MACHINES]

	def machine_ids(self):
		return [m.id for m in self.view().all("machine") if m.name != "ticket"]

	def definition(self, name):
		machine = order_rules.newest_machine(self.view(), name)
		return machine and machine.definition

	def stock(self, sku):
		return self.view().peek(("stock", sku))

	def draw_id(self, user):
		return database.run(self.driver.admin, "SELECT order_engine.next_order_id(%d)" % user)[0][0]

	def partitions(self):
		return self.driver.partitions

	def leaf(self, order_id):
		return "orders_%d" % ((order_id >> 12) % 1024 % self.driver.partitions)

	def remember(self, *request):
		self.requests = self.requests[-20:] + [request]

	def recall(self, rng):
		return rng.choice(self.requests) if self.requests else None

	def remember_try(self, *request):
		self.tries = self.tries[-20:] + [request]

	def recall_try(self, rng):
		return rng.choice(self.tries) if self.tries else None

	def reservations(self):
		return self.view().all("reservation")


class Unasked(sql.Told):
	"""For a call that is not made: whatever fits."""

	def __init__(self):
		super().__init__()
		self.code = "none"
		self.actor = None
		self.may_skip = lambda thing: True
		self.resting = set()


class Driver:
	def __init__(self, dsn, seed, verbose=False):
		self.rng = random.Random(seed)
		self.verbose = verbose
		self.name = "model_%d" % (seed % 10**9)
		self.dsn = dsn
		self.partitions = self.rng.choice([1, 2, 4, 8])
		self.admin = database.make_shop(self.dsn, self.name, self.partitions)
		self.world = World()
		self.connections = {}
		self.trace = []
		self.counts = Counter()
		self.prepared = 0
		# orders whose due event failed once: they are tried again only after a while
		self.resting = set()
		self.number = 0
		self.add_sessions()
		self.session = self.world.sessions[0]
		self.calls = Calls(self.rng, Pool(self))
		self.furnish()

	def add_sessions(self):
		for name, level, actor in SESSIONS:
			session = Session(name, level, actor)
			self.connect(session)
			self.world.sessions.append(session)

	def connect(self, session):
		connection = database.connect(self.dsn, self.name, database.ROLES[session.level])
		database.run(connection, "SET lock_timeout = 30")
		database.run(connection, "SET statement_timeout = 60000")
		if session.actor:
			database.run(connection, "SET order_engine.actor = '%s'" % session.actor)
		self.connections[session.name] = connection

	def furnish(self):
		"""What a round begins with."""
		self.world.values["machine", 1] = Machine(1, "order", ORDER_MACHINE)
		for sku in chooser.SKUS:
			self.do(self.calls.receive_call(sku, 8))
		for sku in self.rng.sample(chooser.SKUS, 2):
			self.do(self.calls.set_mode_call(sku, "escrow"))
		self.do(self.calls.receive_call(chooser.HUGE, 2**63 - 1 - self.rng.choice([0, 5 * 10**9])))
		for name in chooser.MACHINES:
			self.do(self.calls.define_call(name, random_definition(self.rng)))
		for text in ticket_calls.SETUP:
			database.run(self.admin, text)
		number = 1 + max(key[1] for key in self.world.values if key[0] == "machine")
		self.world.values["machine", number] = Machine(number, "ticket", ticket_calls.DEFINITION)
		if self.rng.random() < 0.25:
			self.stamp()

	def stamp(self):
		"""A trigger of the shop's own that adds to what is written."""
		database.run(self.admin, "CREATE TRIGGER zz_stamp BEFORE INSERT OR UPDATE ON "
			"order_engine.orders FOR EACH ROW EXECUTE FUNCTION public.model_stamp()")
		self.world.stamps = True

	def close(self):
		for connection in [self.admin, *self.connections.values()]:
			connection.close()

	def drop(self):
		self.close()
		database.drop_shop(self.dsn, self.name)

	# ---- a step ----

	def step(self):
		self.number += 1
		self.session = self.rng.choice(
			[s for s in self.world.sessions if s.name in self.connections])
		transaction = self.session.transaction
		if transaction is None and self.rng.random() < 0.25:
			self.begin()
		elif transaction is not None and transaction.aborted:
			self.leave_error()
		elif transaction is not None and self.rng.random() < 0.2:
			self.control()
		elif self.rng.random() < 0.03:
			self.finish_prepared()
		elif self.rng.random() < 0.015:
			self.disturb()
		else:
			self.make_call()
		self.look_now_and_then()

	def make_call(self):
		call = self.calls.random()
		if call.plain_only and any(t.keeps_snapshot for t in others(self.world, None)):
			return
		if self.is_crowded(call):
			return
		how = self.rng.random()
		if how < 0.12 and call.function:
			compound = self.compound(call)
			self.is_crowded(compound) or self.do(compound)
		elif how < 0.2 and call.data is None and call.after is None:
			self.do(Attempt(call))
		else:
			self.do(call)

	def is_crowded(self, call):
		"""Whether it asks for stock in mode escrow that other open transactions may have changed:
		what is free then, test/chaos knows.  Or for what the documentation does not say."""
		transaction = self.session.transaction or Transaction()
		snapshot = transaction.snapshot
		transaction.begin_statement(self.world)
		view = View(self.world, transaction)
		try:
			self.expect(call, view, Unasked())
		except Unclear:
			return True
		except Refused:
			pass
		finally:
			transaction.snapshot = snapshot
		may, _ = locked_by(others(self.world, self.session))
		return any(view.is_of_now(key) for key in (view.touched | view.shared) & may)

	def compound(self, call):
		parts = [call]
		for _ in range(self.rng.randint(1, 2)):
			more = self.calls.random()
			if more.function:
				parts.append(more)
		return Compound(parts)

	def do(self, call):
		transaction = self.session.transaction or Transaction()
		transaction.begin_statement(self.world)
		told = self.ask(call)
		view = View(self.world, transaction)
		self.judge(call, view, told)
		transaction.touched |= view.touched
		self.counts[told.code or "success"] += 1
		if told.code is None:
			view.merge()
			if self.session.transaction is None:
				self.world.merge(transaction.whole())
		elif self.session.transaction is not None and not told.caught:
			transaction.abort()

	def ask(self, call):
		connection = self.connections[self.session.name]
		told = call.unwrap(database.ask(connection, call))
		if told.code is None and call.after is not None:
			told.after = database.ask(connection, Call(call.after, None)).rows
		self.note(call.text, told)
		told.actor = self.actor()
		told.may_skip = self.may_skip()
		told.resting = self.resting
		return told

	def actor(self):
		return self.session.actor or database.ROLES[self.session.level]

	def who(self, call):
		context = call.context or {}
		return Who(context.get("actor", self.actor()), context.get("reason"),
			context.get("traceparent"), context.get("tracestate"))

	def may_skip(self):
		"""Whether tend() may pass over an order, or a reservation: somebody holds it or its stock, or it
		failed before and rests."""
		may, _ = locked_by(others(self.world, self.session))

		def skip(thing):
			if not isinstance(thing, Order):
				keys = {thing.key} | {("stock", sku) for sku in thing.lines}
				return bool(keys & may)
			keys = {("order", thing.id)} | {("stock", sku) for sku in stock_rules.demands(thing)}
			return bool(keys & may) or thing.id in self.resting
		return skip

	# ---- judging ----

	def judge(self, call, view, told):
		self.check_manners(call, told)
		try:
			expected = self.predict(call, view, told)
		except Refused as refusal:
			self.judge_error(call, view, told, refusal)
			return
		if told.code is not None:
			if not self.is_excused(call, view, told):
				self.fail(call.text, told, "success" if expected is None else expected)
			return
		if not answers(call, told, expected):
			self.fail(call.text, told, expected)
		self.check_isolation(call, view, told)

	def predict(self, call, view, told):
		if view.transaction.aborted:
			raise Refused("25P02")
		denied = set()
		if LEVELS.index(call.level) > LEVELS.index(self.session.level):
			denied.add("42501")
		if view.transaction.read_only and call.writes:
			denied.add("25006")
		if denied:
			raise Refused(*denied, *self.faults(call, view, told))
		return self.expect(call, view, told)

	def expect(self, call, view, told):
		if not isinstance(call, Compound):
			return call.predict(view, self.who(call), told)
		return [part.predict(view, self.who(part), call.part(told, n))
			for n, part in enumerate(call.parts)]

	def faults(self, call, view, told):
		"""What else is wrong with a call that is denied anyway: it may be told first."""
		try:
			self.expect(call, view, told)
			return set()
		except Refused as refusal:
			return refusal.codes & {"22023", "22004", "54000", "22003", "23505", "OE001"}

	def judge_error(self, call, view, told, refusal):
		if told.code not in refusal.codes:
			if told.code is None or not self.is_excused(call, view, told):
				self.fail(call.text, told, "error " + " or ".join(sorted(refusal.codes)))
		elif told.code == "OE012" and view.stale():
			self.fail(call.text, told, "error 40001: the order is younger than the snapshot")
		elif refusal.detail is not None and not is_detail(told, refusal.detail):
			self.fail(call.text, told, "DETAIL with %s" % refusal.detail)

	def is_excused(self, call, view, told):
		"""Errors that other transactions are the reason of."""
		transactions = others(self.world, self.session)
		may, _ = locked_by(transactions)
		if told.code == "55P03":
			touched = view.touched | view.shared
			return bool(may & touched) or (call.locks_all and transactions != [])
		if told.code == "55000":
			return any(view.has_switched(key[1]) for key in view.touched if key[0] == "stock")
		if told.code == "40001":
			return view.stale() != set() or view.transaction.isolation == "serializable" \
				or (call.by_hand and self.may_be_folded(view))
		# what a snapshot does not show is inserted, and found to be there
		return told.code == "23505" and call.by_hand and view.stale() != set()

	def may_be_folded(self, view):
		"""Whether a row may be younger than the snapshot, though nobody has changed its stock."""
		return view.transaction.snapshot is not None and any(map(view.is_of_now, view.touched))

	def check_isolation(self, call, view, told):
		_, held = locked_by(others(self.world, self.session))
		written = set(view.scratch.writes)
		stale = {key for key in written if view.is_stale(key)}
		switched = {key for key in written if key[0] == "stock" and view.has_switched(key[1])}
		if switched:
			self.fail(call.text, told, "error 55000: switched before: %s" % switched)
		if written & held:
			self.fail(call.text, told, "error 55P03: others have written %s" % (written & held))
		if stale:
			self.fail(call.text, told, "error 40001: changed since the snapshot: %s" % stale)

	def check_manners(self, call, told):
		said = "%s %s %s" % (told.message, told.detail, told.hint)
		if chooser.SECRET in said:
			self.fail(call.text, told, "an error without what is private")
		if told.code is not None and told.code.startswith("OE") and not (
				is_json(told.detail or "") and (told.hint or "").endswith(".")):
			self.fail(call.text, told, "DETAIL in JSON, and a HINT")

	# ---- transactions ----

	def statement(self, text):
		told = database.ask(self.connections[self.session.name], Call(text, None))
		self.note(text, told)
		if told.code == "40001" and self.session.transaction.isolation == "serializable":
			return False
		if told.code is not None:
			self.fail(text, told, "success")
		return True

	def begin(self):
		isolation = self.rng.choices(["read committed", "repeatable read", "serializable"],
			[5, 4, 1])[0]
		read_only = self.rng.random() < 0.05
		self.statement("BEGIN ISOLATION LEVEL %s%s" % (isolation.upper(),
			" READ ONLY" if read_only else ""))
		self.session.transaction = Transaction(isolation, read_only)

	def control(self):
		what = self.rng.random()
		savepoints = self.session.transaction.savepoints()
		if what < 0.3:
			self.savepoint()
		elif what < 0.45 and savepoints:
			self.rollback_to(self.rng.choice(savepoints))
		elif what < 0.55 and savepoints:
			self.release(self.rng.choice(savepoints))
		elif what < 0.65:
			self.end("ROLLBACK")
		elif what < 0.72 and self.session.transaction.isolation != "serializable":
			self.prepare()
		else:
			self.end("COMMIT")

	def savepoint(self):
		free = [s for s in SAVEPOINTS if s not in self.session.transaction.savepoints()]
		if free:
			self.statement("SAVEPOINT " + free[0])
			self.session.transaction.push(free[0])

	def rollback_to(self, name):
		self.statement("ROLLBACK TO " + name)
		self.session.transaction.rollback_to(name)

	def release(self, name):
		self.statement("RELEASE " + name)
		self.session.transaction.release(name)

	def end(self, how):
		committed = self.statement(how) and how == "COMMIT"
		if committed:
			self.world.merge(self.session.transaction.whole())
		elif how == "COMMIT":
			self.statement("ROLLBACK")
		self.session.transaction = None

	def leave_error(self):
		savepoints = self.session.transaction.savepoints()
		if self.rng.random() < 0.1:
			self.make_call()
		elif savepoints and self.rng.random() < 0.8:
			self.rollback_to(savepoints[-1])
		else:
			self.end("ROLLBACK")

	def prepare(self):
		transaction = self.session.transaction
		view = View(self.world, transaction)
		if any(view.is_of_now(key) for key in transaction.touched) or any(
				view.has_switched(key[1]) for key in transaction.touched if key[0] == "stock"):
			self.prepare_escrow(transaction)
			return
		self.prepared += 1
		gid = "%s %d" % (self.name, self.prepared)
		self.statement("PREPARE TRANSACTION '%s'" % gid)
		waiting = Session(gid, None)
		waiting.transaction = self.session.transaction
		self.session.transaction = None
		self.world.sessions.append(waiting)

	def prepare_escrow(self, transaction):
		"""Refused if it has changed stock in mode escrow, or switched a mode; what it has only
		tried, or undone, may be the reason too."""
		view = View(self.world, transaction)
		if not any(view.is_of_now(key) or key[0] == "switched" for key in transaction.written()):
			self.end("ROLLBACK")
			return
		told = database.ask(self.connections[self.session.name],
			Call("PREPARE TRANSACTION 'refused'", None))
		self.note("PREPARE TRANSACTION 'refused'", told)
		if told.code != "0A000":
			self.fail("PREPARE TRANSACTION 'refused'", told, "error 0A000")
		self.session.transaction = None

	def finish_prepared(self):
		waiting = [s for s in self.world.sessions if s.name not in self.connections]
		if not waiting:
			return
		finished = self.rng.choice(waiting)
		how = self.rng.choice(["COMMIT", "COMMIT", "ROLLBACK"])
		self.as_admin("%s PREPARED '%s'" % (how, finished.name))
		if how == "COMMIT":
			self.world.merge(finished.transaction.whole())
		self.world.sessions.remove(finished)

	def as_admin(self, text):
		told = database.ask(self.admin, Call(text, None))
		self.note(text, told, "admin")
		if told.code is not None:
			self.fail(text, told, "success")

	# ---- what happens to a server and its tables ----

	def disturb(self):
		what = self.rng.randrange(4)
		if what == 0:
			self.lose_session()
		elif what == 1:
			self.statement(self.rng.choice(["SET enable_indexscan = off", "SET jit_above_cost = 0",
				"SET plan_cache_mode = force_generic_plan", "RESET enable_indexscan"]))
		elif not others(self.world, None):
			self.change_table()

	def lose_session(self):
		connection = self.connections[self.session.name]
		self.as_admin("SELECT pg_terminate_backend(%d, 10000)" % connection.get_backend_pid())
		connection.close()
		self.connect(self.session)
		self.session.transaction = None

	def change_table(self):
		"""Nobody is in a transaction: only what sessions remember of the table may be wrong."""
		connection = database.connect(self.dsn, self.name, database.ROLES["owner"])
		text = builder.statement(connection, self.rng)
		told = database.ask(connection, Call(text, None))
		connection.close()
		self.note(text, told, "owner")
		if told.code is not None and told.code not in builder.LEFT_OVER:
			self.fail(text, told, "success")

	# ---- looking and telling ----

	def look_now_and_then(self):
		if self.number % 25 == 0:
			self.look_at(compare.recent)
		if self.number % 150 == 0:
			self.look_at(compare.everything)

	def look_at(self, what):
		found = what(self.admin, self.world)
		if found:
			raise Mismatch("step %d: the shop is not as it must be\n  %s\n%s"
				% (self.number, "\n  ".join(found[:20]), self.story()))

	def finish(self):
		for session in self.world.sessions:
			if session.name in self.connections and session.transaction is not None:
				self.session = session
				self.end("ROLLBACK")
		self.look_at(compare.everything)

	def note(self, text, told, name=None):
		line = "%5d %s %s\n        -> %s" % (self.number, name or self.session.name, text, told)
		self.trace.append(line)
		if self.verbose:
			print(line)

	def fail(self, text, told, expected):
		raise Mismatch("step %d, session %s\n  call:     %s\n  expected: %s\n  got:      %s\n%s" % (
			self.number, self.session.name, text, expected, told, self.story()))

	def story(self):
		return "what went before:\n" + "\n".join(self.trace[-30:])
