"""Values of Python as SQL and JSON text, and what a statement answered."""

import itertools
import json
from decimal import Decimal


class Raw(str):
	"""Text that is SQL already."""


def number(value):
	return format(value, "f") if isinstance(value, Decimal) else str(value)


def to_json(value):
	if isinstance(value, dict):
		return "{%s}" % ", ".join("%s: %s" % (json.dumps(k), to_json(v)) for k, v in value.items())
	if isinstance(value, (list, tuple)):
		return "[%s]" % ", ".join(map(to_json, value))
	if isinstance(value, Decimal):
		return number(value)
	return json.dumps(value)


def from_json(text):
	return json.loads(text, parse_float=Decimal)


def quoted(text):
	if "\\" in text:
		return "E'%s'" % text.replace("\\", "\\\\").replace("'", "''")
	return "'%s'" % text.replace("'", "''")


def literal(value):
	if value is None:
		return "NULL"
	if isinstance(value, Raw):
		return value
	if isinstance(value, bool):
		return "true" if value else "false"
	if isinstance(value, (int, Decimal)):
		return number(value)
	if isinstance(value, (dict, list, tuple)):
		return quoted(to_json(value))
	return quoted(str(value))


def call(function, *positional, **named):
	"""A call of the engine; arguments that are absent (...) are left out."""
	arguments = [literal(p) for p in positional]
	arguments += ["%s => %s" % (k, literal(v)) for k, v in named.items() if v is not ...]
	return "order_engine.%s(%s)" % (function, ", ".join(arguments))


def canonical(value):
	"""For comparison: numbers as they are written, so that 1.50 is not 1.5."""
	if isinstance(value, dict):
		return {k: canonical(v) for k, v in value.items()}
	if isinstance(value, (list, tuple)):
		return [canonical(v) for v in value]
	if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
		return "number " + number(value)
	return value


NOBODYS = itertools.count(1000)


class Told:
	"""What the server answered: rows (as dictionaries), or an error."""

	def __init__(self, rows=None, rowcount=None, error=None, caught=None):
		self.rows = rows
		self.rowcount = rowcount
		self.error = error or caught
		self.caught = caught is not None
		self.code = error.pgcode if error is not None else None
		self.detail = error.diag.message_detail if error is not None else None
		self.hint = error.diag.message_hint if error is not None else None
		self.message = error.diag.message_primary if error is not None else None
		if caught is not None:
			self.code, self.message = caught["sqlstate"], caught["message"]
			self.detail, self.hint = caught["detail"] or None, caught["hint"] or None
		# what was asked after a success, for what only the server decides
		self.after = None

	def field(self, name):
		return self.rows[0].get(name) if self.rows else None

	@property
	def new_id(self):
		"""Of what was created; of what will be undone, one that nobody has."""
		return self.field("order_id") or -next(NOBODYS)

	@property
	def value(self):
		return next(iter(self.rows[0].values())) if self.rows else None

	def __str__(self):
		if self.code is not None:
			return "%s %s%s" % (self.code, self.message, " | " + self.detail if self.detail else "")
		if self.rows is None:
			return "%s rows" % self.rowcount
		return "%s rows: %s" % (len(self.rows), self.rows[:3])
