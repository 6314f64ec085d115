"""Many clients at once: nothing is predicted step by step, but nobody may hang or get an
error that is nobody's fault, what a client was told must be so in the end, and what must
be true of every shop (invariants.py) is."""

import os
import random
import re
import signal
import threading
import time
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import psycopg2

import chooser
import database
import invariants
import machines
import sql
from builder import Builder
from call import Call, Compound
from calls import WEIGHTS, Calls
from order_calls import read_line
from reservation_rules import Reservation
from stock_rules import wanted_of
from things import Order

# What the clients bring about themselves: malformed input, a guard that raises, and by SQL
# of their own what breaks a constraint.
CALL_FAULTS = {"22023", "22004", "22003", "54000", "P0001", "0A000", "55000"}
HAND_FAULTS = {"09000", "22004", "22023", "23502", "23505", "23514", "P0001", "55000"}
# SKUs that are in mode escrow; 0A000 and 55000 are about those
HOT = ["a", "C"]
# what does not go with many clients: it locks whole tables, or is about a model's round
LEFT_OUT = {"truncate": 0, "set_mode": 0, "insert_elsewhere": 0, "write_ticket": 0, "define": 0.1}
# SQL of the user's own: it has its row when it comes to the tables that our triggers write
BY_HAND = ["write_stock", "spoil_stock", "update_state", "update_other", "update_orm",
	"update_forbidden", "update_many", "insert", "insert_elsewhere", "upsert", "merge", "copy",
	"delete", "protected", "insert_message", "inside", "fire_many", "cte", "lock"]
LOST = {"57P01", "57P02", "57P03", "08006", None}


class Shop:
	"""What all clients share: orders to choose from, and what they were told."""

	def __init__(self, dsn, name, partitions):
		self.dsn, self.name, self.partitions = dsn, name, partitions
		self.lock = threading.Lock()
		self.known = {}
		self.machine_values = {}
		self.requests = []
		self.tries = []
		self.told = []
		self.counts = Counter()
		self.wrong = []
		self.failures = 0
		self.over = threading.Event()

	def complain(self, what):
		with self.lock:
			self.wrong.append(what)


	def take_wrong(self):
		with self.lock:
			wrong, self.wrong = self.wrong, []
			self.failures += len(wrong)
			return wrong


class Pool:
	"""What a client makes its calls of: orders as they were last heard of."""

	def __init__(self, shop, client):
		self.shop, self.client = shop, client

	def orders(self):
		with self.shop.lock:
			return list(self.shop.known.values())[-60:]

	def machines(self):
		return ["order", *chooser.MACHINES]

	def machine_ids(self):
		return list(self.shop.machine_values)

	def definition(self, name):
		return None

	def stock(self, sku):
		return None

	def draw_id(self, user):
		return self.client.value("SELECT order_engine.next_order_id(%d)" % user)

	def partitions(self):
		return self.shop.partitions

	def leaf(self, order_id):
		"""By way of the table only: whoever names a leaf locks it before its parent."""
		return "orders"

	def remember(self, *request):
		with self.shop.lock:
			self.shop.requests = self.shop.requests[-8:] + [request]

	def recall(self, rng):
		with self.shop.lock:
			return rng.choice(self.shop.requests) if self.shop.requests else None

	def remember_try(self, *request):
		with self.shop.lock:
			self.shop.tries = self.shop.tries[-8:] + [request]

	def recall_try(self, rng):
		with self.shop.lock:
			return rng.choice(self.shop.tries) if self.shop.tries else None

	def reservations(self):
		"""As they were tried; what has become of them nobody knows."""
		with self.shop.lock:
			return [tried(*request) for request in self.shop.tries]


def tried(user, name, lines, ttl):
	lines = [read_line(line) for line in lines]
	return Reservation(name, user, "held",
		wanted_of((line.stock_key, line.quantity) for line in lines))


class Killer(threading.Thread):
	"""kill -9 of processes of the server, which recovers each time."""

	def __init__(self, shop, seed):
		super().__init__(daemon=True)
		self.shop, self.rng = shop, random.Random(seed)
		self.killed = 0

	def run(self):
		while not self.shop.over.wait(self.rng.uniform(0.5, 4)):
			victims = self.processes()
			if victims:
				os.kill(self.rng.choice(victims), signal.SIGKILL)
				self.killed += 1

	def processes(self):
		"""Clients, keeper, relay."""
		try:
			admin = database.connect(self.shop.dsn, self.shop.name)
			found = database.run(admin, "SELECT pid FROM pg_stat_activity "
				"WHERE datname = current_database() AND pid <> pg_backend_pid()")
			admin.close()
			return [pid for (pid,) in found]
		except psycopg2.Error:
			return []


class Client(threading.Thread):
	def __init__(self, shop, number, seed, single):
		super().__init__(daemon=True)
		self.shop, self.number, self.single = shop, number, single
		self.rng = random.Random("%d/%d" % (seed, number))
		weights = {**WEIGHTS, **LEFT_OUT, **({"write_stock": 0} if shop.keeps_stock else {}),
			**({} if shop.by_hand else dict.fromkeys(BY_HAND, 0))}
		self.calls = Calls(self.rng, Pool(shop, self), weights)
		self.connection = None
		self.pending = []
		# what was known when the snapshot was taken, where one is kept
		self.snapshot = None

	def run(self):
		try:
			while not self.shop.over.is_set():
				self.act()
		except Exception as error:
			self.shop.complain("client %d: %r" % (self.number, error))
			raise

	def connect(self):
		until = time.monotonic() + 120
		while self.connection is None:
			try:
				connection = database.connect(self.shop.dsn, self.shop.name,
					database.ROLES["owner"])
				database.run(connection, "SET statement_timeout = '60s'")
				self.connection = connection
			except psycopg2.Error:
				if time.monotonic() > until:
					raise
				time.sleep(0.1)

	def ask(self, call):
		told = call.unwrap(database.ask(self.connection, call))
		if self.connection.closed:
			self.connection = None
		return told

	def value(self, text):
		"""Or 0 once the connection is lost."""
		return self.connection and self.ask(Call(text, None)).value or 0

	def act(self):
		self.connect()
		if self.single or self.rng.random() < 0.5:
			self.snapshot = None
			self.call(set())
			self.acknowledge()
		else:
			self.transact()

	def call(self, allowed):
		"""One statement; whether its transaction goes on."""
		call = self.calls.random()
		if self.connection is None or (self.single and call.several):
			return False
		known = dict(self.shop.known) if self.snapshot is None else self.snapshot
		told = self.ask(call)
		self.judge(call, told, allowed)
		self.judge_sight(call, told, known)
		if told.code is None:
			self.pending.append((call, told))
		return told.code is None or told.caught

	def judge(self, call, told, allowed):
		code = told.code
		with self.shop.lock:
			self.shop.counts[code or ("success" if told.error is None else "lost")] += 1
		if told.error is None or code in allowed or self.is_refusal(call, code):
			return
		if code in LOST and self.shop.may_lose:
			return
		# who locks several orders may meet who does it the other way round; and see BY_HAND
		if code == "40P01" and (not self.single or self.shop.may_deadlock):
			return
		self.complain(call, told)

	def is_refusal(self, call, code):
		faults = HAND_FAULTS if call.by_hand else CALL_FAULTS
		return code in faults or (code or "").startswith("OE")

	def judge_sight(self, call, told, known):
		"""What was told before the call began is there to be seen."""
		if told.code == "OE012" and order_in(told.detail or "") in known:
			self.complain(call, told)
		elif told.code == "OE002" and self.shop.keeps_stock and "ghost" not in told.detail:
			self.complain(call, told)
		elif "get_order(" in call.text and told.error is None:
			order = known.get(order_in(call.text))
			if order is not None and not is_whole(told.value, order):
				self.complain(call, told)

	def complain(self, call, told):
		self.shop.complain("%s\n    -> %s" % (call.text, told))

	def transact(self):
		isolation = self.rng.choice(["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
		allowed = {"40001"} if isolation != "READ COMMITTED" else set()
		self.snapshot = dict(self.shop.known) if isolation != "READ COMMITTED" else None
		self.execute("BEGIN ISOLATION LEVEL " + isolation)
		for _ in range(self.rng.randint(1, 4)):
			if not self.part(allowed):
				self.pending.clear()
				self.execute("ROLLBACK")
				return
		if self.rng.random() < 0.8 and self.execute("COMMIT", allowed):
			self.acknowledge()
		else:
			self.execute("ROLLBACK")
		self.pending.clear()

	def part(self, allowed):
		"""A call, perhaps in a savepoint that is rolled back or released."""
		savepoint = self.rng.random() < 0.5
		if savepoint and not self.execute("SAVEPOINT s"):
			return False
		known = len(self.pending)
		worked = self.call(allowed)
		if not savepoint:
			return worked
		if worked and self.rng.random() < 0.6:
			return self.execute("RELEASE s")
		del self.pending[known:]
		return self.execute("ROLLBACK TO s")

	def execute(self, text, allowed=()):
		if self.connection is None:
			return False
		call = Call(text, None)
		told = self.ask(call)
		if told.error is not None:
			self.judge(call, told, allowed)
		return told.error is None

	# ---- what was told, once it is committed ----

	def acknowledge(self):
		with self.shop.lock:
			for call, told in self.pending:
				for part, answer in parts_of(call, told):
					if answer.rows and isinstance(answer.rows[0], dict):
						self.remember(part, answer.rows[0])
		self.pending.clear()

	def remember(self, call, row):
		self.shop.told.append((call.text, row))
		if row.get("order_id") and row.get("state") and row.get("version"):
			known = self.shop.known.get(row["order_id"])
			if known is not None and known.version < row["version"]:
				self.shop.known[row["order_id"]] = replace(known, state=row["state"],
					version=row["version"], captured=row.get("captured", known.captured))
			elif known is None and "due_at" in row:
				self.shop.known[row["order_id"]] = self.stub(call, row)

	def stub(self, call, row):
		machine = next((m for m in self.shop.machine_values.values() if row["state"] in m.states),
			self.shop.machine_values[1])
		return Order(row["order_id"], 1, machine, row["state"], row["version"],
			amount=chooser.plain_number(Decimal(row["amount"])), attributes={})


def order_in(text):
	found = re.search(r"\d{15,}", text)
	return int(found.group()) if found else None


def is_whole(document, order):
	if isinstance(document, dict) and "get_order" in document:
		document = document["get_order"]
	return document is not None and document["version"] >= order.version \
		and len(document["history"]) == document["version"] \
		and (document["lines"] != [] or document["subtotal"] == 0)


def parts_of(call, told):
	if isinstance(call, Compound):
		return [(part, call.part(told, n)) for n, part in enumerate(call.parts)]
	return [(call, told)]


# ---- the end ----

def broken_promises(cursor, shop):
	"""What a client was told, and is not so."""
	cursor.execute("SELECT order_id, version, event, to_state FROM order_engine.order_event")
	history = {row[:2]: row[2:] for row in cursor.fetchall()}
	cursor.execute("""SELECT order_id, payment_ref, outcome FROM order_engine.payment
		WHERE kind = 'capture'""")
	payments = {row[:2]: row[2] for row in cursor.fetchall()}
	found, made = [], {}
	for text, row in shop.told:
		order_id, version = row.get("order_id"), row.get("version")
		if order_id is None or version is None or "state" not in row:
			continue
		if (order_id, version) not in history or history[order_id, version][1] != row["state"]:
			found.append("told %s, but history has %s: %s"
				% (row, history.get((order_id, version)), text))
		if "outcome" in row and payments.get((order_id, reference(text))) != row["outcome"]:
			found.append("told %s, but the payment is %s: %s"
				% (row, payments.get((order_id, reference(text))), text))
		if row.get("replayed") is False:
			if (order_id, version) in made:
				found.append("version %d of order %d was told twice: %s and %s"
					% (version, order_id, made[order_id, version], text))
			made[order_id, version] = text
	return found


def reference(text):
	return text.split("'")[1]


# As the publisher "log" writes them.
PUBLISHED = re.compile(r'event for topic "[^"]*order": key "(\d+)".*\n.*?DETAIL:  '
	r'\{"schema_version":1,"event_id":"(\d+)".*?"version":(\d+),')


def unpublished(cursor, events, log):
	"""Of these events: what the relay has not published, or not in order, once it has caught
	up."""
	until = time.monotonic() + 120
	cursor.execute("SELECT lag_events FROM order_engine.relay_status")
	while cursor.fetchone()[0] and time.monotonic() < until:
		time.sleep(0.1)
		cursor.execute("SELECT lag_events FROM order_engine.relay_status")
	published = {}
	with open(log, encoding="utf-8", errors="replace") as lines:
		for order, event, version in PUBLISHED.findall(lines.read()):
			published.setdefault(int(order), {}).setdefault(int(version), event)
	found = ["published out of order: order %d, versions %s" % (order, list(versions))
		for order, versions in published.items() if list(versions) != sorted(versions)]
	return found + ["order %d: version %d, event %s, was not published" % event
		for event in events if event[1] not in published.get(event[0], {})]


def published_events(cursor):
	"""Order, version and event of all that the relay is to publish."""
	machines_there = invariants.read_machines(cursor)
	cursor.execute("""SELECT o.machine_id, e.order_id, e.version, e.event, e.from_state
		FROM order_engine.order_event e JOIN order_engine.orders o USING (order_id)""")
	return [(order, version, event) for machine, order, version, event, state in cursor.fetchall()
		if invariants.event_type(machines_there[machine], state, event)]


# ---- one run ----

def make_machines(connection, seed):
	rng = random.Random(seed)
	for name in chooser.MACHINES:
		definition = machines.random_definition(rng)
		with connection.cursor() as cursor:
			cursor.execute("SELECT " + sql.call("define_machine", name, definition))


def open_shop(arguments):
	name = "model_crowd"
	admin = database.make_shop(arguments.dsn, name)
	make_machines(admin, arguments.seed)
	shop = Shop(arguments.dsn, name, 4)
	shop.may_lose = arguments.kill
	shop.keeps_stock = arguments.ddl is not None
	shop.by_hand = arguments.ddl is None or arguments.by_hand
	shop.may_deadlock = arguments.ddl is not None and arguments.by_hand
	with admin.cursor() as cursor:
		shop.machine_values = invariants.read_machines(cursor)
		for sku in chooser.SKUS:
			cursor.execute("SELECT " + sql.call("receive_stock", sku, 1000))
		cursor.execute("SELECT " + sql.call("receive_stock", chooser.HUGE, 2**62))
		for sku in HOT:
			cursor.execute("SELECT " + sql.call("set_stock_mode", sku, "escrow"))
	return admin, shop


def run(arguments):
	admin, shop = open_shop(arguments)
	clients = [Client(shop, n, arguments.seed, arguments.single) for n in range(arguments.clients)]
	for client in clients:
		client.start()
	killer = Killer(shop, arguments.seed)
	if arguments.kill:
		killer.start()
	if arguments.ddl:
		change_tables(shop, arguments)
	else:
		time.sleep(arguments.seconds)
	shop.over.set()
	for client in clients:
		client.join(120)
		if client.is_alive():
			shop.complain("client %d hangs" % client.number)
	if arguments.kill:
		print("# killed %d processes" % killer.killed)
	return report(again(arguments.dsn, shop), shop, arguments.log)


def change_tables(shop, arguments):
	"""Each table has its time; whom it hurts is told by table."""
	for table in arguments.ddl:
		counts = shop.counts.copy()
		builder = Builder(shop, table, arguments.seconds / len(arguments.ddl))
		builder.start()
		builder.join()
		print("# %s: %s; calls: %d" % (table, dict(builder.done),
			sum(shop.counts.values()) - sum(counts.values())))
		say("calls go on while table %s changes" % table, shop.take_wrong())


def again(dsn, shop):
	"""A new connection, once the server is back."""
	until = time.monotonic() + 120
	while True:
		try:
			return database.connect(dsn, shop.name)
		except psycopg2.Error:
			if time.monotonic() > until:
				raise
			time.sleep(0.2)


def report(admin, shop, log):
	with admin.cursor() as cursor:
		# one snapshot: the keeper goes on
		cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
		broken = invariants.broken(cursor, published=log is None) + broken_promises(cursor, shop)
		events = published_events(cursor)
		cursor.execute("COMMIT")
		if log is not None:
			broken += unpublished(cursor, events, log)
	print("# " + ", ".join("%s %d" % item for item in sorted(shop.counts.items())))
	say("no error that is nobody's fault", shop.take_wrong())
	say("the shop is as it must be, and as the clients were told", broken)
	admin.close()
	return 1 if shop.failures or broken else 0


def say(title, wrong):
	print("%s - %s" % ("not ok" if wrong else "ok", title))
	for line in wrong[:10]:
		print("# " + line.replace("\n", "\n# "))
	if len(wrong) > 10:
		print("# and %d more" % (len(wrong) - 10))
