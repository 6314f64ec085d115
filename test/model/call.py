"""A statement, and what the rules say of it."""

import re
from dataclasses import dataclass
from typing import Any, Callable

import sql

# who may: each what those before it may, and more
LEVELS = ["app", "operator", "owner"]


@dataclass
class Call:
	"""A statement.  predict(view, who, told) gives what the caller must be told."""
	text: str
	predict: Callable
	level: str = "app"
	writes: bool = True
	# the answer is one row and the statement can be part of another
	function: str = None
	# asked in the same session after a success, for what only the server decides
	after: str = None
	# locks more than rows
	locks_all: bool = False
	# locks several orders
	several: bool = False
	# the lines of a COPY
	data: str = None
	# not while somebody keeps a snapshot: it reaches further than rows
	plain_only: bool = False
	# the answer is the number of rows
	counted: bool = False
	# the argument context of a call
	context: Any = None

	@property
	def by_hand(self):
		"""Whether it is SQL of the user's own, no call."""
		return not re.match(r"(SELECT|CALL)\b", self.text)

	def unwrap(self, told):
		"""What was told, where the statement wraps another."""
		return told


class Attempt(Call):
	"""A statement in a subtransaction, its error caught: the transaction goes on."""

	def __init__(self, call):
		super().__init__("SELECT public.attempt(%s)" % sql.literal(call.text), call.predict,
			level=call.level, writes=call.writes, counted=call.counted, context=call.context,
			locks_all=call.locks_all, several=call.several)
		self.call = call

	@property
	def by_hand(self):
		return self.call.by_hand

	def unwrap(self, told):
		"""What the statement itself told."""
		value = told.value
		if told.error is not None:
			return told
		if isinstance(value, dict) and "sqlstate" in value:
			return sql.Told(caught=value)
		return sql.Told([value], 1) if isinstance(value, dict) else sql.Told(None, value)


class Compound(Call):
	"""Several calls in one statement: each sees what those before it did."""

	def __init__(self, parts):
		super().__init__(" UNION ALL ".join("SELECT to_jsonb(r) AS r FROM %s r" % p.function
			for p in parts), None, level=max((p.level for p in parts), key=LEVELS.index))
		self.parts = parts

	def part(self, told, n):
		return told if told.code is not None else sql.Told([told.rows[n]["r"]], 1)


class Expression:
	"""An assigned value that the server computes from the old row."""

	def __init__(self, text, value):
		self.text = text
		self.value = value


class Document:
	"""get_order() as the model has it."""

	def __init__(self, order):
		self.order = order


def by_hand(text, predict, level="app", counted=False):
	return Call(text, predict, level=level, counted=counted)
