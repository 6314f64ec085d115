"""Whether an answer is the one that the model expects."""

import chooser
import order_rules
import sql
from call import Compound, Document
from things import AnyOrder, OneOf, by_value


class Mismatch(Exception):
	pass


def answers(call, told, expected):
	if isinstance(call, Compound):
		return len(told.rows) == len(expected) and all(
			answers(part, call.part(told, n), expected[n]) for n, part in enumerate(call.parts))
	if call.counted:
		return told.rowcount == expected
	if expected is None:
		return call.writes or told.value is None
	if isinstance(expected, Document):
		return is_document(told.value, expected.order)
	if isinstance(expected, dict):
		return len(told.rows) == 1 and all(
			same(told.rows[0].get(k), v) for k, v in expected.items())
	return same(told.value, expected)


def same(have, want):
	if isinstance(want, OneOf):
		return have in want.values
	if isinstance(want, AnyOrder):
		return want == have
	return sql.canonical(have) == sql.canonical(want)


def is_document(document, order):
	"""get_order() says what the model has, nothing that is private, and else only times."""
	if document is None or chooser.SECRET in sql.to_json(document):
		return False
	expected = order_rules.order_document(order)
	return all(document_part(document.get(k), k) == document_part(v, k)
		for k, v in expected.items())


def document_part(value, key):
	if key in ("payments", "history"):
		value = [{k: v for k, v in part.items() if k != "at"} for part in value]
	return by_value(value) if key == "refund_due" else sql.canonical(value)


def is_detail(told, expected):
	"""Whether DETAIL says at least that."""
	if told.detail is None:
		return False
	said = sql.from_json(told.detail)
	return all(by_value(said.get(k)) == by_value(v) for k, v in expected.items())


def is_json(text):
	try:
		sql.from_json(text)
		return "\n" not in text
	except ValueError:
		return False
