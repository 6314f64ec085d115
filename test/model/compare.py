"""What a round looks at between its steps."""

import database
import invariants


def recent(connection, world):
	"""The tables that change with every call."""
	with connection.cursor() as cursor:
		return database.compare_orders(cursor, world) + database.compare_stock(cursor, world)


def everything(connection, world):
	with connection.cursor() as cursor:
		return database.differences(cursor, world) + invariants.broken(cursor)
