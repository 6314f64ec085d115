"""What a shop is made of, and how a refusal is told."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from machines import Machine

ZERO = Decimal(0)


class Refused(Exception):
	"""An error, with the SQLSTATEs that fit it (several where several faults meet) and, where
	there is one only, what its DETAIL must say."""

	def __init__(self, *codes, detail=None):
		super().__init__(codes)
		self.codes = set(codes)
		self.detail = detail


class Unclear(Refused):
	"""The documentation does not say what becomes of the call."""


class OneOf:
	"""A value of which the documentation leaves the choice."""

	def __init__(self, *values):
		self.values = values

	def __eq__(self, other):
		return other in self.values

	def __repr__(self):
		return " or ".join(map(repr, self.values))


class AnyOrder:
	"""A list of JSON objects, in whatever order."""

	def __init__(self, values):
		self.values = values

	def __eq__(self, other):
		return isinstance(other, list) and sorted(map(by_value, other), key=repr) \
			== sorted(map(by_value, self.values), key=repr)

	def __repr__(self):
		return "in any order %r" % self.values


@dataclass(frozen=True)
class Who:
	actor: str
	reason: str = None
	traceparent: str = None
	tracestate: str = None


@dataclass(frozen=True)
class Line:
	sku: str
	stock_key: str
	quantity: int
	unit_price: Decimal
	attributes: Any


@dataclass(frozen=True)
class Request:
	"""A create_order(), its arguments read."""
	user: int
	lines: tuple
	key: str = None
	pay_within: Any = None
	currency: str = None
	adjustments: tuple = ()
	attributes: Any = None
	private: Any = None
	machine: str = "order"
	reservation: str = None

	def identity(self):
		"""What makes a repeated request the same: numbers are compared by value."""
		return by_value([self.user, [line_values(line) for line in self.lines], self.pay_within,
			self.currency, list(self.adjustments), self.attributes, self.private, self.machine,
			self.reservation])


@dataclass(frozen=True)
class Happened:
	"""A row of history."""
	version: int
	event: str
	from_state: str
	to: str
	who: Who
	key: str
	attributes: Any


@dataclass(frozen=True)
class Payment:
	kind: str
	ref: str
	amount: Decimal
	currency: str
	outcome: str
	version: int
	attributes: Any


@dataclass(frozen=True)
class Due:
	"""An interval after the time of a version."""
	version: int
	after: Any


@dataclass(frozen=True)
class Order:
	id: int
	user: int
	machine: Machine
	state: str
	version: int
	subtotal: Decimal = ZERO
	amount: Decimal = ZERO
	captured: Decimal = ZERO
	refunded: Decimal = ZERO
	currency: str = None
	key: str = None
	request: Any = None
	adjustments: tuple = ()
	attributes: Any = None
	private: Any = None
	due: Any = None
	lines: tuple = ()
	history: tuple = ()
	payments: tuple = ()

	@property
	def machine_id(self):
		return self.machine.id


@dataclass(frozen=True)
class Stock:
	on_hand: int
	reserved: int
	version: int
	open: bool = True
	# in mode escrow nothing says what its version is
	mode: str = "row"

	@property
	def free(self):
		return self.on_hand - self.reserved

	@property
	def available(self):
		return self.free if self.open else 0


@dataclass(frozen=True)
class Movement:
	quantity: int
	reason: str
	ref: str
	actor: str


@dataclass(frozen=True)
class Message:
	aggregatetype: str
	aggregateid: str
	type: str
	payload: Any
	headers: Any
	topic: str = None
	partition: int = None
	# for an order's: the version it tells of
	version: int = None


def by_value(value):
	"""Equal for what is equal as JSON, numbers by value."""
	if isinstance(value, dict):
		return tuple(sorted((k, by_value(v)) for k, v in value.items()))
	if isinstance(value, (list, tuple)):
		return ("list",) + tuple(by_value(v) for v in value)
	if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
		return ("number", Decimal(value).normalize())
	return (type(value).__name__, value)


def line_values(line):
	return [line.sku, line.stock_key, line.quantity, line.unit_price, line.attributes]


def refuse(faults):
	if faults:
		raise Refused(*faults, detail=list(faults.values())[0] if len(faults) == 1 else None)
