#!/usr/bin/python3
"""Random calls and random SQL against a shop, and a model that says what each must answer.

  random_orders.py --dsn "host=... port=..." [--seed N] [--steps N | --seconds N]
                   [--round-steps N] [--failures N] [--keep] [--verbose]
  random_orders.py --dsn ... --clients N [--seconds N] [--single] [--ddl TABLE ...] [--by-hand]
                   [--log FILE] [--kill]

Without --clients one thread drives a few sessions (levels of access, isolation levels,
savepoints, prepared transactions).  After each step the answer or SQLSTATE is compared with
the model, regularly the whole database is.  Each round has a new database and a seed of its
own; a failure prints how to run it again.  driver.py reads like its description.

With --clients that many run at once (crowd.py); nothing is predicted, but what must be true
of every shop (invariants.py) and what each client was told is checked at the end.

The rules (*_rules.py, machines.py) are written from the documentation, not from the code.
The server is scratch: databases model_* and roles model_* are made and dropped.
"""

import argparse
import sys
import time
from collections import Counter

sys.dont_write_bytecode = True

import builder
import crowd
from driver import Driver
from judge import Mismatch


def run_round(arguments, seed):
	driver = Driver(arguments.dsn, seed, arguments.verbose)
	try:
		for _ in range(arguments.round_steps):
			driver.step()
		driver.finish()
	except Mismatch as mismatch:
		say_failure(arguments, seed, mismatch)
		driver.close() if arguments.keep else driver.drop()
		return None
	print("ok - seed %d: %d steps" % (seed, arguments.round_steps), flush=True)
	driver.drop()
	return driver.counts


def say_failure(arguments, seed, mismatch):
	steps = arguments.round_steps
	print("not ok - seed %d: %d steps" % (seed, steps))
	print("# again: --seed %d --steps %d" % (seed, steps))
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
	told = ", ".join("%s %d" % item for item in sorted(total.items()))
	print("# %d steps: %s" % (done, told))


def is_over(arguments, done, began):
	if arguments.seconds:
		return time.monotonic() - began > arguments.seconds
	return done >= arguments.steps


def read_arguments():
	parser = argparse.ArgumentParser()
	parser.add_argument("--dsn", required=True, help="a superuser's, without a database")
	parser.add_argument("--seed", type=int, default=1)
	parser.add_argument("--steps", type=int, default=4000)
	parser.add_argument("--seconds", type=int)
	parser.add_argument("--round-steps", type=int, default=1000)
	parser.add_argument("--failures", type=int, default=1, help="how many end it")
	parser.add_argument("--keep", action="store_true", help="the database of a failed round")
	parser.add_argument("--verbose", action="store_true")
	parser.add_argument("--clients", type=int)
	parser.add_argument("--single", action="store_true", help="no transaction blocks")
	parser.add_argument("--ddl", nargs="*", choices=list(builder.TABLES),
		help="change these tables meanwhile, one after the other")
	parser.add_argument("--by-hand", action="store_true",
		help="with --ddl: statements that write orders by hand too, which may deadlock with it")
	parser.add_argument("--log", help="the server's log, into which the relay publishes")
	parser.add_argument("--kill", action="store_true", help="kill processes of the server")
	arguments = parser.parse_args()
	arguments.round_steps = min(arguments.round_steps, arguments.steps)
	return arguments


def main():
	sys.stdout.reconfigure(encoding="utf-8")
	arguments = read_arguments()
	print("# seed %d" % arguments.seed, flush=True)
	if arguments.clients:
		crowd.run(arguments)
	else:
		run_rounds(arguments)


if __name__ == "__main__":
	main()
