"""DDL on the shop's tables: what an owner may do while they are in use."""

import itertools
import threading
import time
from collections import Counter

import database
from call import Call

# PostgreSQL itself locks the leaves before their parent here, against the order of everybody
# else, so that a plain SELECT would do for a deadlock.
DROP_TRIGGER = "LOCK TABLE {t}; DROP TRIGGER zz ON {t}"
TRIGGER = ("CREATE TRIGGER zz {when} INSERT OR UPDATE ON {{t}} "
	"FOR EACH ROW EXECUTE FUNCTION public.model_pass()")
# {t}: the table; {l}: one of its leaves, or the table; {i}: an index of that; {c}: a column;
# {n}: the table's name
DDL = [
	# these rewrite it
	"ALTER TABLE {t} ADD COLUMN zz float DEFAULT random()",
	"ALTER TABLE {t} DROP COLUMN zz",
	"VACUUM FULL {l}",
	"CLUSTER {l} USING {i}",
	# these do not
	"ALTER TABLE {t} ADD COLUMN yy int DEFAULT 7",
	"ALTER TABLE {t} DROP COLUMN yy",
	"ALTER TABLE {t} ADD CONSTRAINT zz CHECK (true) NOT VALID",
	"ALTER TABLE {t} VALIDATE CONSTRAINT zz",
	"ALTER TABLE {t} DROP CONSTRAINT zz",
	"ALTER TABLE {l} SET (autovacuum_enabled = off)",
	"ANALYZE {t}",
	"VACUUM {l}",
	"CREATE INDEX zz_{n} ON {t} ({c})",
	"DROP INDEX order_engine.zz_{n}",
	"CREATE INDEX CONCURRENTLY zz_{n}_leaf ON {l} ({c})",
	"REINDEX INDEX CONCURRENTLY order_engine.zz_{n}_leaf",
	"DROP INDEX CONCURRENTLY order_engine.zz_{n}_leaf",
	"REINDEX TABLE {l}",
	"REINDEX TABLE CONCURRENTLY {l}",
	TRIGGER.format(when="AFTER"), DROP_TRIGGER,
	TRIGGER.format(when="BEFORE"), DROP_TRIGGER,
]
# each with a column for an index
TABLES = {"orders": "user_id", "order_line": "sku", "order_event": "event", "payment": "outcome",
	"reservation": "state", "stock": "on_hand", "stock_movement": "quantity", "machine": "name",
	"outbox": "type", "stock_journal": "sku", "journal_position": "batch"}
# what follows from a statement that failed: what is to go is not there, or what is to be made is
LEFT_OVER = {"42701", "42703", "42704", "42710", "42P01", "42P07"}
# The leaves of a table, or itself, and an index of each that CLUSTER takes.
LEAVES = """SELECT DISTINCT ON (1) c.relname, i.relname
	FROM pg_class c JOIN pg_index x ON x.indrelid = c.oid JOIN pg_class i ON i.oid = x.indexrelid
	WHERE c.relkind = 'r' AND x.indpred IS NULL AND x.indexprs IS NULL
		AND (c.oid = 'order_engine.{0}'::regclass
			OR c.oid IN (SELECT relid FROM pg_partition_tree('order_engine.{0}')))
	ORDER BY 1, 2"""


def filled(text, table, leaf):
	return text.format(t="order_engine." + table, l="order_engine." + leaf[0], i=leaf[1],
		c=TABLES[table], n=table)


def statement(connection, rng):
	"""Any of them on any table."""
	table = rng.choice(list(TABLES))
	leaf = rng.choice(database.run(connection, LEAVES.format(table)))
	return filled(rng.choice(DDL), table, leaf)


class Builder(threading.Thread):
	"""Changes one table again and again, with lock timeouts of its own."""

	def __init__(self, shop, table, seconds):
		super().__init__(daemon=True)
		self.shop, self.table, self.until = shop, table, time.monotonic() + seconds
		self.connection = database.connect(shop.dsn, shop.name, database.ROLES["owner"])
		database.run(self.connection, "SET lock_timeout = '2s'")
		self.leaves = database.run(self.connection, LEAVES.format(table))
		self.done = Counter()

	def run(self):
		for leaf in itertools.cycle(self.leaves):
			for text in DDL:
				if time.monotonic() > self.until:
					return
				self.change(filled(text, self.table, leaf))

	def change(self, text):
		told = database.ask(self.connection, Call(text, None))
		self.done[told.code or "done"] += 1
		failed = self.done["55P03"] + self.done["40P01"] > 0
		if told.code in (None, "55P03") or (failed and told.code in LEFT_OVER):
			return
		if told.code != "40P01" or not self.shop.may_deadlock:
			self.shop.complain("%s\n    -> %s" % (text, told))
