"""What a currency can express, from doc/orders.md."""

from decimal import ROUND_HALF_UP, Decimal, DefaultContext, getcontext

from things import Refused

# as exact as numeric, in every thread
DefaultContext.prec = getcontext().prec = 1000

DECIMALS = {"EUR": 2, "USD": 2, "JPY": 0, "KWD": 3}


def stored_currency(given):
	"""Three letters, in upper case."""
	if given is not None and not (len(given) == 3 and given.isascii() and given.isalpha()):
		raise Refused("22023")
	return given and given.upper()


def rounded(currency, amount):
	"""What the currency can express of it; without a limit, or by value within it, all."""
	if currency not in DECIMALS:
		return amount
	nearest = amount.quantize(Decimal(1).scaleb(-DECIMALS[currency]), ROUND_HALF_UP)
	if nearest == amount:
		return amount
	return nearest if nearest else nearest.copy_abs()  # numeric has no -0


def check_decimals(currency, amount):
	if rounded(currency, amount) != amount:
		raise Refused("22023")
