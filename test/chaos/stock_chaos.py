#!/usr/bin/python3
"""Many clients that change the stock of a shop at random, while somebody else kills it.

  stock_chaos.py --dsn "host=... port=..." [--clients N] [--seed N] [--sale]

Reads what it is to do from standard input, a command a line, and answers in lines, the last
of which is "done".  "ok - ..." and "not ok - ..." are tests, "# ..." is said of them.

  open UNITS   begins with an empty ledger: so many units of each SKU are received
  go NAME      lets the clients go, and answers once they have committed something
  settle NAME  lets them end what they do, and find out about what they do not know; then
               the books must balance, and what is free can be bought.  Answers before with
               "in flight N": so many transactions were cut off
               "no room for N": so many SKUs could not be sold for lack of memory
  wait CODE N  waits until so many calls have ended with that SQLSTATE
  crowd YES    "yes": from now on the table of SKUs in mode escrow may be full; "no": it is not
  stop         lets nobody begin anything new, nor repeat a call whose answer got lost
  adopt NAME   as settle, of an asynchronous standby: the ledger forgets what has not arrived
  sell NAME    sells the rest, and has it paid
  quit

--sale: nothing comes in and nothing comes back; everybody buys and pays.
"""

import argparse
import os
import sys
import time
from collections import Counter
from threading import Event, Lock

sys.dont_write_bytecode = True
sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "model"))

import psycopg2

import books
import database
import sql
from client import PATIENCE, Client
from ledger import Ledger, Movement

# SKUs by what becomes of them: those called "any" are switched
MODES = {"row-1": "row", "row-2": "row", "hot-1": "escrow", "hot-2": "escrow", "any-1": "row",
	"any-2": "escrow", "any-3": "row", "auto-1": "auto"}
CHAOS = {"order": 40, "pay": 15, "cancel": 8, "request_refund": 4, "confirm_refund": 4,
	"reserve": 10, "confirm": 5, "cancel_reservation": 3, "extend": 2, "order_reserved": 5,
	"cancel_before": 1, "try_too_late": 1,
	"receive": 6, "adjust": 4, "deduct": 6, "deduct_version": 2, "write": 4,
	"switch": 2, "switch_many": 2, "open": 3}
SALE = {"order": 60, "pay": 40}


class Shop:
	"""What all clients share."""

	def __init__(self, arguments):
		self.dsn, self.name, self.seed = arguments.dsn, "shop", arguments.seed
		self.weights = dict(SALE if arguments.sale else CHAOS)
		self.prepares = not arguments.sale
		self.crowded = False
		self.skus = list(MODES)
		self.lock = Lock()
		self.over = Event()
		self.round = "0"
		self.counts = Counter()
		self.clients = []

	def count(self, what):
		with self.lock:
			self.counts[what] += 1

	def connect(self):
		until = time.monotonic() + PATIENCE
		while True:
			try:
				return database.connect(self.dsn, self.name)
			except psycopg2.Error:
				if time.monotonic() > until:
					raise
				time.sleep(0.05)

	# ---- commands ----

	def open(self, units):
		self.ledger = Ledger()
		self.admin = self.connect()
		for sku, mode in MODES.items():
			database.run(self.admin, "SELECT "
				+ sql.call("receive_stock", sku, int(units), ref="initial"))
			self.ledger.enter([Movement(sku, "receipt", "initial", int(units))])
			database.run(self.admin, "SELECT " + sql.call("set_stock_mode", sku, mode))

	def go(self, name):
		self.round = name
		self.repeats = True
		self.over.clear()
		self.counts.clear()
		self.clients = [Client(self, n) for n in range(arguments.clients)]
		for client in self.clients:
			client.start()
		self.wait("committed %d" % (3 * len(self.clients)))

	def wait(self, argument):
		what, number = argument.split()
		until = time.monotonic() + PATIENCE
		while self.counts[what] < int(number) and time.monotonic() < until:
			time.sleep(0.01)

	def crowd(self, yes):
		self.crowded = yes == "yes"

	def stop(self):
		self.repeats = False
		self.over.set()

	def settle(self, name):
		self.join(name)
		self.check(name)

	def adopt(self, name):
		self.join(name)
		lost, wrong = books.adopt(self.admin, self.ledger)
		print("# %d orders have not arrived" % lost)
		say("what has arrived is what the clients did", wrong)
		self.check(name)

	def join(self, name):
		self.over.set()
		for client in self.clients:
			client.join(PATIENCE)
			if client.is_alive():
				self.ledger.complain("client %d hangs" % client.number)
		print("in flight %d" % self.counts["lost in flight"])
		print("# %s: %s" % (name, dict(self.counts)))
		self.admin = self.connect()

	def check(self, name):
		wrong = self.ledger.take_wrong()
		wrong += books.enter_expiries(self.admin, self.ledger)
		books.open_all(self.admin)
		wrong += books.broken(self.admin, self.ledger)
		wrong += books.cannot_be_bought(self.admin, self.ledger, self.crowded)
		wrong += books.unreconciled(self.admin)
		say(name + ": the books balance", wrong)

	def sell(self, name):
		self.admin = self.connect()
		wrong = books.sell_out(self.admin, self.ledger) + books.broken(self.admin, self.ledger)
		sold = {sku: -sum(units for (of, reason, _), units in
				self.ledger.order_movements().items() if of == sku) for sku in self.skus}
		print("# sold: %s" % sold)
		say(name, wrong)


def say(title, wrong):
	print("%s - %s" % ("not ok" if wrong else "ok", title))
	for line in wrong[:10]:
		print("# " + line.replace("\n", "\n# "))
	if len(wrong) > 10:
		print("# and %d more" % (len(wrong) - 10))


def read_arguments():
	parser = argparse.ArgumentParser()
	parser.add_argument("--dsn", required=True, help="a superuser's, without a database")
	parser.add_argument("--clients", type=int, default=12)
	parser.add_argument("--seed", type=int, default=1)
	parser.add_argument("--sale", action="store_true")
	return parser.parse_args()


def main():
	shop = Shop(arguments)
	for line in sys.stdin:
		command, _, argument = line.strip().partition(" ")
		if command == "quit":
			break
		getattr(shop, command)(*[argument] if argument else [])
		print("done", flush=True)


if __name__ == "__main__":
	sys.stdout.reconfigure(encoding="utf-8")
	arguments = read_arguments()
	main()
