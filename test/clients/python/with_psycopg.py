"""psycopg 3 at home: see doc/clients.md, which shows the marked regions."""

import os

import tap

# snippet: checkout
import json
import random
import time

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb


AGAIN = {"40001", "40P01", "55P03", "57P01", "57P02", "57P03"}


class OutOfStock(Exception):
    """Has .short: a list of {"sku", "requested", "available"}."""

    def __init__(self, error):
        self.short = json.loads(error.diag.message_detail)["short"]


def is_worth_repeating(error):
    """A race was lost, or the connection: then nobody knows whether it was committed."""
    return error.sqlstate in AGAIN or (error.sqlstate is None and isinstance(error, psycopg.OperationalError))


def checkout(connect, user_id, key, lines):
    """The order of this key, however often the network makes us ask.

    connect: psycopg_pool's pool.connection, or a function that calls psycopg.connect().
    """
    for attempt in range(5):
        try:
            with connect() as connection, connection.cursor(row_factory=dict_row) as cursor:
                return cursor.execute(
                    "SELECT * FROM order_engine.create_order(%s, %s, idempotency_key => %s, currency => 'EUR')",
                    (user_id, Jsonb(lines), key),
                ).fetchone()
        except psycopg.Error as error:
            if error.sqlstate == "OE001":
                raise OutOfStock(error) from None
            if attempt == 4 or not is_worth_repeating(error):
                raise
            time.sleep(random.uniform(0, 0.1 * 2**attempt))
# end snippet


# snippet: webhook
def payment_captured(connection, order_id, payment_ref, amount, currency):
    """As often as the provider calls; amount is a Decimal, or the provider's string."""
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        paid = cursor.execute(
            "SELECT outcome, replayed, state FROM order_engine.pay_order(%s, %s, %s::numeric, %s)",
            (order_id, payment_ref, amount, currency),
        ).fetchone()
    # paid, overpaid or partly_paid; refund_due and mismatch: the money has to go back
    return paid["outcome"], paid["replayed"]
# end snippet


# snippet: version
def ship(connection, order_id, seen_version):
    """The version after the move, or what has changed since the page was shown."""
    try:
        with connection.transaction():
            return connection.execute(
                """SELECT version FROM order_engine.ship_order(%s, expected_version => %s,
                    context => %s)""",
                (order_id, seen_version, Jsonb({"actor": "warehouse"})),
            ).fetchone()[0]
    except psycopg.Error as error:
        if error.sqlstate == "OE011":
            return json.loads(error.diag.message_detail)
        raise
# end snippet


def connect():
    return psycopg.connect(os.environ["DATABASE_URL"])


def connect_repeatable_read():
    connection = connect()
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connections.append(connection)
    return connection


connections = []
cup = [{"sku": "cup", "quantity": 1, "unit_price": "19.90"}]
cups = [{"sku": "cup", "quantity": 2, "unit_price": "19.90"}]

order = checkout(connect, 42, "basket-paid", cups)
tap.is_((order["state"], order["replayed"], str(order["amount"])), ("pending", False, "39.80"), "an order is created")
again = checkout(connect, 42, "basket-paid", cups)
tap.is_((again["order_id"], again["replayed"]), (order["order_id"], True), "the same key is the same order")

try:
    checkout(connect, 42, "basket-short", [{"sku": "cup", "quantity": 500}])
    tap.ok(False, "what is not there is not sold")
except OutOfStock as error:
    tap.is_(error.short, [{"sku": "cup", "requested": 500, "available": 8}], "what is short is parsed")

with connect() as connection:
    tap.is_(payment_captured(connection, order["order_id"], "psp-1", "39.80", "EUR"), ("paid", False), "it is paid")
    tap.is_(payment_captured(connection, order["order_id"], "psp-1", "39.80", "EUR"), ("paid", True), "once")
    conflict = ship(connection, order["order_id"], 1)
    tap.is_(conflict, {"expected": 1, "actual": 2, "state": "paid"}, "a stale page does not ship")
    tap.is_(ship(connection, order["order_id"], 2), 3, "the version that was seen does")

twins = tap.together(*[lambda: checkout(connect_repeatable_read, 42, "basket-twins", cup)] * 2)
tap.is_(sorted(twin["replayed"] for twin in twins), [False, True], "of two requests at once one creates the order")
tap.is_(len({twin["order_id"] for twin in twins}), 1, "and both get it")
tap.is_(len(connections), 3, "one of them after a retry")

killed = tap.killed_once(lambda: checkout(connect, 42, "basket-killed", cup))
tap.is_((killed["state"], killed["replayed"]), ("pending", False), "a lost connection is survived")
tap.done()
