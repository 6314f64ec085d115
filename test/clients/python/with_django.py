"""Django at home: see doc/clients.md, which shows the marked regions."""

import os

import django
import tap
from django.conf import settings
from psycopg import IsolationLevel

shop = {
    "ENGINE": "django.db.backends.postgresql",
    "HOST": os.environ["PGHOST"],
    "PORT": os.environ["PGPORT"],
    "NAME": os.environ["PGDATABASE"],
    "USER": os.environ["PGUSER"],
}
settings.configure(
    USE_TZ=True,
    DATABASES={"default": shop, "repeatable_read": shop | {"OPTIONS": {"isolation_level": IsolationLevel.REPEATABLE_READ}}},
)
django.setup()

# snippet: checkout
import json
import random
import time

from django.db import DatabaseError, connections, transaction

AGAIN = {"40001", "40P01", "55P03", "57P01", "57P02", "57P03"}


class OutOfStock(Exception):
    """Has .short: a list of {"sku", "requested", "available"}."""

    def __init__(self, error):
        self.short = json.loads(error.__cause__.diag.message_detail)["short"]


def call(using, query, arguments):
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(query, arguments)
        return dict(zip([column.name for column in cursor.description], cursor.fetchone()))


def checkout(user_id, key, lines, using="default"):
    """The order of this key, however often the network makes us ask.

    Not inside another atomic(): what is repeated is the whole transaction.
    """
    for attempt in range(5):
        try:
            return call(
                using,
                "SELECT * FROM order_engine.create_order(%s, %s::jsonb, idempotency_key => %s, currency => 'EUR')",
                [user_id, json.dumps(lines), key],
            )
        except DatabaseError as error:
            sqlstate = error.__cause__.sqlstate
            if sqlstate == "OE001":
                raise OutOfStock(error) from None
            # a race was lost, or the connection: then nobody knows whether it was committed
            lost = not connections[using].is_usable()
            if attempt == 4 or not (lost or sqlstate in AGAIN):
                raise
            connections[using].close_if_unusable_or_obsolete()
            time.sleep(random.uniform(0, 0.1 * 2**attempt))
# end snippet


# snippet: webhook
def payment_captured(order_id, payment_ref, amount, currency):
    """As often as the provider calls; amount is a Decimal."""
    paid = call(
        "default",
        "SELECT outcome, replayed FROM order_engine.pay_order(%s, %s, %s, %s)",
        [order_id, payment_ref, amount, currency],
    )
    # paid, overpaid or partly_paid; refund_due and mismatch: the money has to go back
    return paid["outcome"], paid["replayed"]
# end snippet


# snippet: version
from django.db import models


class Order(models.Model):
    """The table is the engine's: no migration makes it.

    save() writes every column with what was read, version too: if that is no longer the
    row's, the engine raises OE011.  save(update_fields=...) leaves the version out, so
    it does not notice.
    """

    order_id = models.BigIntegerField(primary_key=True)
    user_id = models.BigIntegerField()
    state = models.TextField(null=True)  # null in a new row: the engine fills it in
    version = models.IntegerField(null=True)
    amount = models.DecimalField(max_digits=48, decimal_places=2, null=True)
    attributes = models.JSONField(null=True)

    class Meta:
        app_label = "shop"
        managed = False
        db_table = 'order_engine"."orders'  # Django puts the outer quotes


def change_state(order_id, seen_version, state):
    """False if the order has changed since it was seen."""
    return Order.objects.filter(pk=order_id, version=seen_version).update(state=state) == 1


def plain_order(user_id):
    """A row without lines; create_order() is what takes stock."""
    order_id = call("default", "SELECT order_engine.next_order_id(%s) AS order_id", [user_id])["order_id"]
    return Order.objects.create(order_id=order_id, user_id=user_id)
# end snippet


from decimal import Decimal

cup = [{"sku": "cup", "quantity": 1, "unit_price": "19.90"}]
cups = [{"sku": "cup", "quantity": 2, "unit_price": "19.90"}]

order = checkout(42, "basket-paid", cups)
tap.is_((order["state"], order["replayed"], str(order["amount"])), ("pending", False, "39.80"), "an order is created")
again = checkout(42, "basket-paid", cups)
tap.is_((again["order_id"], again["replayed"]), (order["order_id"], True), "the same key is the same order")

try:
    checkout(42, "basket-short", [{"sku": "cup", "quantity": 500}])
    tap.ok(False, "what is not there is not sold")
except OutOfStock as error:
    tap.is_(error.short, [{"sku": "cup", "requested": 500, "available": 8}], "what is short is parsed")

stale = Order.objects.get(pk=order["order_id"])
tap.is_((stale.state, stale.version, stale.amount), ("pending", 1, Decimal("39.80")), "the ORM reads it")
tap.is_(payment_captured(order["order_id"], "psp-1", Decimal("39.80"), "EUR"), ("paid", False), "it is paid")
tap.is_(payment_captured(order["order_id"], "psp-1", Decimal("39.80"), "EUR"), ("paid", True), "once")
tap.ok(not change_state(order["order_id"], 1, "shipped"), "a stale page does not ship")
try:
    stale.state = "shipped"
    stale.save()
    tap.ok(False, "a stale save() is refused")
except DatabaseError as error:
    tap.is_(error.__cause__.sqlstate, "OE011", "a stale save() is refused")
    tap.is_(json.loads(error.__cause__.diag.message_detail), {"expected": 1, "actual": 2, "state": "paid"}, "with both versions")
tap.ok(change_state(order["order_id"], 2, "shipped"), "the version that was seen ships")
stale.refresh_from_db()

plain = plain_order(7)
plain.refresh_from_db()
tap.is_((plain.state, plain.version, plain.amount), ("pending", 1, 0), "the ORM inserts")
plain.attributes = {"note": "gift"}
plain.save()
plain.refresh_from_db()
tap.is_((plain.version, plain.attributes), (2, {"note": "gift"}), "and saves what is current")

twins = tap.together(*[lambda: checkout(42, "basket-twins", cup, "repeatable_read")] * 2)
tap.is_(sorted(twin["replayed"] for twin in twins), [False, True], "of two requests at once one creates the order")
tap.is_(len({twin["order_id"] for twin in twins}), 1, "and both get it")

killed = tap.killed_once(lambda: checkout(42, "basket-killed", cup))
tap.is_((killed["state"], killed["replayed"]), ("pending", False), "a lost connection is survived")
tap.done()
