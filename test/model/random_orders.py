#!/usr/bin/python3
"""Random calls and random SQL against a shop, and a model that says what each must answer.

  random_orders.py --dsn "host=... port=..." [--seed N] [--steps N | --seconds N]
                   [--round-steps N] [--only-round N] [--verbose]
  random_orders.py --dsn ... --clients N [--seconds N] [--single] [--ddl TABLE ...] [--kill]

Without --clients one thread drives a few sessions (levels of access, isolation levels,
savepoints, prepared transactions).  After each step the answer or SQLSTATE is compared
with the model (rules.py, machines.py), regularly the whole database is.  Each round has a
new database and a seed of its own; a failure prints how to run it again.

With --clients that many run at once; nothing is predicted, but what must be true of every
shop (invariants.py) and what each client was told is checked at the end.
"""

import argparse
import random
import sys
import time
from collections import Counter

sys.dont_write_bytecode = True

import calls
import compare
import crowd
import database
import rules
import sql
from machines import ORDER_MACHINE, Machine, random_definition
from rules import Refused, Who
from store import Session, Transaction, View, World, locked_by, others

SAVEPOINTS = ["s1", "s2", "s3"]


class Mismatch(Exception):
	pass


class Pool:
	"""What calls are made of: the shop as a session sees it, and earlier requests."""

	def __init__(self, driver):
		self.driver = driver
		self.requests = []

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
		return ["order"] + sorted({m.name for m in self.view().all("machine")})

	def machine_ids(self):
		return [m.id for m in self.view().all("machine")]

	def definition(self, name):
		machine = rules.newest_machine(self.view(), name)
		return machine and machine.definition

	def stock(self, sku):
		return self.view().peek(("stock", sku))

	def draw_id(self, user):
		return database.run(self.driver.admin, "SELECT order_engine.next_order_id(%d)" % user)[0][0]

	def leaf(self, order_id):
		return "orders_%d" % ((order_id >> 12) % 1024 % self.driver.partitions)

	def remember(self, *request):
		self.requests = self.requests[-20:] + [request]

	def recall(self, rng):
		return rng.choice(self.requests) if self.requests else None


class Driver:
	"""One round: a new database, sessions, and the model beside them."""

	def __init__(self, arguments, seed):
		self.rng = random.Random(seed)
		self.verbose = arguments.verbose
		self.name = "model_%d" % (seed % 10**9)
		self.dsn = arguments.dsn
		self.partitions = self.rng.choice([1, 2, 4, 8])
		self.admin = database.make_shop(self.dsn, self.name, self.partitions)
		self.world = World()
		self.world.values["machine", 1] = Machine(1, "order", ORDER_MACHINE)
		self.connections = {}
		self.add_sessions()
		self.session = self.world.sessions[0]
		self.calls = calls.Calls(self.rng, Pool(self))
		self.prepared = 0
		self.resting = set()
		self.trace = []
		self.counts = Counter()
		self.fill_shelves()
		for name in calls.MACHINES:
			self.do(self.calls.define_call(name, random_definition(self.rng)))
		if self.rng.random() < 0.25:
			self.stamp()

	def stamp(self):
		"""A trigger of the shop's own that adds to what is written."""
		database.run(self.admin, "CREATE TRIGGER zz_stamp BEFORE INSERT OR UPDATE ON "
			"order_engine.orders FOR EACH ROW EXECUTE FUNCTION public.model_stamp()")
		self.world.stamps = True

	def fill_shelves(self):
		self.number = 0
		for sku in calls.SKUS:
			self.do(self.calls.receive_call(sku, 8))
		self.do(self.calls.receive_call(calls.HUGE, 2**63 - 1 - self.rng.choice([0, 5 * 10**9])))

	def add_sessions(self):
		for name, level, actor in (("O", "owner", None), ("P", "operator", "till"), ("A", "app", None),
				("B", "owner", "robot")):
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

	def close(self):
		for connection in [self.admin, *self.connections.values()]:
			connection.close()

	def drop(self):
		self.close()
		database.drop_shop(self.dsn, self.name)

	# ---- a step ----

	def step(self, number):
		self.number = number
		self.session = self.rng.choice([s for s in self.world.sessions if s.name in self.connections])
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
		if number % 25 == 0:
			self.look_at(compare.recent)
		if number % 150 == 0:
			self.look_at(compare.everything)

	def make_call(self):
		call = self.calls.random()
		if call.plain_only and self.must_be_plain():
			return
		how = self.rng.random()
		if call.function and how < 0.12:
			self.do(compound(self.calls, call, self.rng))
		elif how < 0.2 and not call.data and call.after is None:
			self.do(calls.Attempt(call))
		else:
			self.do(call)

	def must_be_plain(self):
		"""What reaches further than rows is left out while a snapshot is kept somewhere."""
		return any(t.keeps_snapshot for t in others(self.world, None))

	def do(self, call):
		transaction = self.session.transaction or Transaction()
		transaction.begin_statement(self.world)
		told = call.unwrap(database.ask(self.connections[self.session.name], call))
		if told.code is None and call.after is not None:
			told.after = self.ask_rows(call.after)
		self.note(call.text, told)
		self.check_leaks(call, told)
		view = View(self.world, transaction)
		told.actor = self.actor()
		told.may_skip = self.may_skip()
		told.resting = self.resting
		self.judge(call, view, told)
		transaction.touched |= view.touched
		if told.code is None:
			view.merge()
			if self.session.transaction is None:
				self.world.merge(transaction.whole())
		elif self.session.transaction is not None and not told.caught:
			transaction.abort()
		self.counts[told.code or "success"] += 1

	def ask_rows(self, text):
		return database.ask(self.connections[self.session.name], calls.Call(text, None)).rows

	def actor(self):
		return self.session.actor or database.ROLES[self.session.level]

	def who(self, call):
		context = call.context or {}
		return Who(context.get("actor", self.actor()), context.get("reason"),
			context.get("traceparent"), context.get("tracestate"))

	def may_skip(self):
		"""Whether tend() may pass over an order: somebody holds it or its stock, or it
		failed before and rests."""
		may, _ = locked_by(others(self.world, self.session))
		def skip(order):
			keys = {("order", order.id)} | {("stock", sku) for sku in rules.demands(order)}
			return bool(keys & may) or order.id in self.resting
		return skip

	# ---- judging ----

	def judge(self, call, view, told):
		try:
			expected = self.predict(call, view, told)
		except Refused as refusal:
			self.judge_error(call, view, told, refusal)
			return
		if told.code is not None:
			if not self.is_excused(call, view, told):
				self.fail(call, told, "success" if expected is None else expected)
			view.undo(Transaction().levels[0])
			return
		if not answers(call, told, expected):
			self.fail(call, told, expected)
		self.check_isolation(call, view, told)

	def predict(self, call, view, told):
		if told.code == "25P02" or view.transaction.aborted:
			raise Refused("25P02")
		denied = set()
		if calls.LEVELS.index(call.level) > calls.LEVELS.index(self.session.level):
			denied.add("42501")
		if view.transaction.read_only and call.writes:
			denied.add("25006")
		if denied:
			raise Refused(*denied, *self.faults(call, view, told))
		return self.expect(call, view, told)

	def expect(self, call, view, told):
		if not isinstance(call, calls.Compound):
			return call.predict(view, self.who(call), told)
		return [part.predict(view, self.who(part), call.part(told, n))
			for n, part in enumerate(call.parts)]

	def faults(self, call, view, told):
		"""What else is wrong with a call that is denied anyway: it may be told first."""
		mark = view.mark()
		try:
			self.expect(call, view, told)
			return set()
		except Refused as refusal:
			return refusal.codes & {"22023", "22004", "54000", "22003", "23505"}
		finally:
			view.undo(mark)

	def judge_error(self, call, view, told, refusal):
		if told.code is None or told.code not in refusal.codes:
			if told.code is None or not self.is_excused(call, view, told):
				self.fail(call, told, "error " + " or ".join(sorted(refusal.codes)))
		elif told.code == "OE012" and view.stale():
			self.fail(call, told, "error 40001: the order is younger than the snapshot")
		elif refusal.detail is not None and not is_detail(told, refusal.detail):
			self.fail(call, told, "DETAIL with %s" % refusal.detail)
		view.undo(Transaction().levels[0])

	def is_excused(self, call, view, told):
		"""Errors that other transactions are the reason of."""
		may, _ = locked_by(others(self.world, self.session))
		if told.code == "55P03":
			return bool(may & (view.touched | view.shared)) or (call.locks_all and bool(others(self.world, self.session)))
		if told.code == "40001":
			return bool(view.stale()) or view.transaction.isolation == "serializable"
		# what a snapshot does not show is inserted, and found to be there
		if told.code == "23505":
			return bool(view.stale()) and call.by_hand
		return False

	def check_isolation(self, call, view, told):
		_, held = locked_by(others(self.world, self.session))
		written = set(view.scratch.writes)
		if written & held:
			self.fail(call, told, "error 55P03: others have written %s" % sorted(map(str, written & held)))
		stale = {key for key in written if view.is_stale(key)}
		if stale:
			self.fail(call, told, "error 40001: changed since the snapshot: %s" % sorted(map(str, stale)))

	def check_leaks(self, call, told):
		if told.code is not None:
			said = "%s %s %s" % (told.message, told.detail, told.hint)
			if calls.SECRET in said:
				self.fail(call, told, "an error without what is private")
			if told.code.startswith("OE"):
				if not (told.detail and is_json(told.detail) and told.hint and told.hint.endswith(".")):
					self.fail(call, told, "DETAIL in JSON, and a HINT")

	# ---- transactions ----

	def statement(self, text):
		told = database.ask(self.connections[self.session.name], calls.Call(text, None))
		self.note(text, told)
		if told.code is not None:
			if told.code == "40001" and self.session.transaction.isolation == "serializable":
				return False
			raise Mismatch(self.report(text, told, "success"))
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
		self.prepared += 1
		gid = "%s %d" % (self.name, self.prepared)
		self.statement("PREPARE TRANSACTION '%s'" % gid)
		waiting = Session(gid, None)
		waiting.transaction = self.session.transaction
		self.session.transaction = None
		self.world.sessions.append(waiting)

	def finish_prepared(self):
		waiting = [s for s in self.world.sessions if s.name not in self.connections]
		if not waiting or self.session.transaction is not None:
			return
		finished = self.rng.choice(waiting)
		how = self.rng.choice(["COMMIT", "COMMIT", "ROLLBACK"])
		told = self.run_as_admin("%s PREPARED '%s'" % (how, finished.name))
		if told.code is not None:
			raise Mismatch(self.report(how + " PREPARED", told, "success"))
		if how == "COMMIT":
			self.world.merge(finished.transaction.whole())
		self.world.sessions.remove(finished)

	def run_as_admin(self, text):
		told = database.ask(self.admin, calls.Call(text, None))
		self.note(text, told, "admin")
		return told

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
		self.run_as_admin("SELECT pg_terminate_backend(%d, 10000)" % connection.get_backend_pid())
		connection.close()
		self.connect(self.session)
		self.session.transaction = None

	def change_table(self):
		"""Nobody is in a transaction: only what sessions remember of the table may be wrong."""
		table = self.rng.choice(list(crowd.TABLES))
		builder = crowd.Builder(self, table, 0)
		text = builder.filled(self.rng.choice([t for texts in crowd.DDL.values() for t in texts]),
			self.rng.randrange(4))
		told = database.ask(builder.connection, calls.Call(text, None))
		builder.connection.close()
		self.note(text, told, "owner")
		if told.code is not None and told.code not in crowd.LEFT_OVER:
			raise Mismatch(self.report(text, told, "success"))

	# ---- looking and telling ----

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

	def fail(self, call, told, expected):
		raise Mismatch(self.report(call.text, told, expected))

	def report(self, text, told, expected):
		return "step %d, session %s\n  call:     %s\n  expected: %s\n  got:      %s\n%s" % (
			self.number, self.session.name, text, expected, told, self.story())

	def story(self):
		return "what went before:\n" + "\n".join(self.trace[-30:])


def is_json(text):
	try:
		sql.from_json(text)
		return "\n" not in text
	except ValueError:
		return False


def is_detail(told, expected):
	"""Whether DETAIL says at least that."""
	if told.detail is None:
		return False
	said = sql.from_json(told.detail)
	return all(rules.by_value(said.get(k)) == rules.by_value(v) for k, v in expected.items())


def answers(call, told, expected):
	if isinstance(call, calls.Compound):
		return len(told.rows) == len(expected) and all(
			answers(part, call.part(told, n), expected[n]) for n, part in enumerate(call.parts))
	if call.counted:
		return told.rowcount == expected
	if expected is None:
		return call.writes or told.value is None
	if isinstance(expected, calls.Document):
		return is_document(told.value, expected.order)
	if isinstance(expected, dict):
		return len(told.rows) == 1 and all(
			same(told.rows[0].get(k), v) for k, v in expected.items())
	return same(told.value, expected)


def same(have, want):
	if isinstance(want, rules.OneOf):
		return have in want.values
	return sql.canonical(have) == sql.canonical(want)


def is_document(document, order):
	"""get_order() says what the model has, and else only times."""
	if document is None or calls.SECRET in sql.to_json(document):
		return False
	expected = rules.order_document(order)
	return all(document_part(document.get(k), k) == document_part(v, k) for k, v in expected.items())


def document_part(value, key):
	if key in ("payments", "history"):
		value = [{k: v for k, v in part.items() if k not in ("at", "currency")} for part in value]
	if key == "refund_due":
		return rules.by_value(value)
	return sql.canonical(value)


def compound(made, call, rng):
	"""Several calls in one statement: each sees what those before it did."""
	parts = [call]
	for _ in range(rng.randint(1, 2)):
		more = made.random()
		if more.function and more.text.startswith("SELECT"):
			parts.append(more)
	return calls.Compound(parts) if call.text.startswith("SELECT") else call


# ---- rounds ----

def run_round(arguments, seed):
	driver = Driver(arguments, seed)
	try:
		for number in range(1, arguments.round_steps + 1):
			driver.step(number)
		driver.finish()
	except Mismatch as mismatch:
		say_failure(arguments, seed, mismatch)
		driver.close() if arguments.keep else driver.drop()
		return None
	print("ok - seed %d: %d steps" % (seed, arguments.round_steps), flush=True)
	driver.drop()
	return driver.counts


def say_failure(arguments, seed, mismatch):
	print("not ok - seed %d: %d steps\n# again: --seed %d --steps %d" % (seed,
		arguments.round_steps, seed, arguments.round_steps))
	print("# " + str(mismatch).replace("\n", "\n# "), flush=True)


def run_rounds(arguments):
	began, done, seed, failures = time.monotonic(), 0, arguments.seed, 0
	total = Counter()
	while failures < arguments.failures and not is_over(arguments, done, began):
		counts = run_round(arguments, seed)
		failures += counts is None
		total.update(counts or {})
		done += arguments.round_steps
		seed += 1
	print("# %d steps: %s" % (done, ", ".join("%s %d" % item for item in sorted(total.items()))))
	return 1 if failures else 0


def is_over(arguments, done, began):
	if arguments.seconds:
		return time.monotonic() - began > arguments.seconds
	return done >= arguments.steps


def main():
	parser = argparse.ArgumentParser()
	parser.add_argument("--dsn", required=True)
	parser.add_argument("--seed", type=int, default=1)
	parser.add_argument("--steps", type=int, default=3000)
	parser.add_argument("--seconds", type=int)
	parser.add_argument("--round-steps", type=int, default=1000)
	parser.add_argument("--failures", type=int, default=1)
	parser.add_argument("--clients", type=int)
	parser.add_argument("--single", action="store_true", help="no transaction blocks")
	parser.add_argument("--ddl", nargs="*", choices=list(crowd.TABLES),
		help="change these tables meanwhile, one after the other")
	parser.add_argument("--by-hand", action="store_true",
		help="with --ddl: statements that write orders by hand too, which may deadlock with it")
	parser.add_argument("--log", help="the server's log, into which the relay publishes")
	parser.add_argument("--kill", action="store_true", help="kill processes of the server")
	parser.add_argument("--keep", action="store_true", help="the database of a failed round")
	parser.add_argument("--verbose", action="store_true")
	arguments = parser.parse_args()
	arguments.round_steps = min(arguments.round_steps, arguments.steps)
	print("# seed %d" % arguments.seed, flush=True)
	return crowd.run(arguments) if arguments.clients else run_rounds(arguments)


if __name__ == "__main__":
	sys.exit(main())
