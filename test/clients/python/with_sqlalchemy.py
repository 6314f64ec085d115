"""SQLAlchemy 2 at home, Core and ORM: see doc/clients.md, which shows the marked regions."""

import os

import tap

# snippet: checkout
import json
import random
import time

from sqlalchemy import BigInteger, Integer, Numeric, String, bindparam, create_engine, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError

AGAIN = {"40001", "40P01", "55P03", "57P01", "57P02", "57P03"}
# the types: lists and dicts become jsonb, nothing depends on how small a number is
CREATE = text(
    "SELECT * FROM order_engine.create_order(:user_id, :lines, idempotency_key => :key, currency => 'EUR')"
).bindparams(bindparam("user_id", type_=BigInteger), bindparam("lines", type_=JSONB), bindparam("key", type_=String))


class OutOfStock(Exception):
    """Has .short: a list of {"sku", "requested", "available"}."""

    def __init__(self, error):
        self.short = json.loads(error.orig.diag.message_detail)["short"]


def checkout(engine, user_id, key, lines):
    """The order of this key, however often the network makes us ask."""
    for attempt in range(5):
        try:
            with engine.begin() as connection:
                return connection.execute(CREATE, {"user_id": user_id, "lines": lines, "key": key}).one()
        except DBAPIError as error:
            if error.orig.sqlstate == "OE001":
                raise OutOfStock(error) from None
            # a race was lost, or the connection: then nobody knows whether it was committed
            if attempt == 4 or not (error.connection_invalidated or error.orig.sqlstate in AGAIN):
                raise
            time.sleep(random.uniform(0, 0.1 * 2**attempt))
# end snippet


# snippet: webhook
PAY = text(
    "SELECT outcome, replayed FROM order_engine.pay_order(:order_id, :ref, :amount, :currency)"
).bindparams(bindparam("order_id", type_=BigInteger), bindparam("amount", type_=Numeric))


def payment_captured(engine, order_id, payment_ref, amount, currency):
    """As often as the provider calls; amount is a Decimal."""
    with engine.begin() as connection:
        paid = connection.execute(
            PAY, {"order_id": order_id, "ref": payment_ref, "amount": amount, "currency": currency}
        ).one()
    # paid, overpaid or partly_paid; refund_due and mismatch: the money has to go back
    return paid.outcome, paid.replayed
# end snippet


# snippet: move
MOVE = text(
    "SELECT version FROM order_engine.fire(:order_id, :event, expected_version => :seen)"
).bindparams(bindparam("order_id", type_=BigInteger), bindparam("seen", type_=Integer))


def move(engine, order_id, event, seen_version):
    """The version after the move, or what has changed since the page was shown."""
    try:
        with engine.begin() as connection:
            return connection.execute(MOVE, {"order_id": order_id, "event": event, "seen": seen_version}).scalar_one()
    except DBAPIError as error:
        if error.orig.sqlstate == "OE011":
            return json.loads(error.orig.diag.message_detail)
        raise
# end snippet


# snippet: version
from decimal import Decimal

from sqlalchemy import FetchedValue, func
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.orm.exc import StaleDataError


class Base(DeclarativeBase):
    pass


class Order(Base):
    """The table is the engine's: it is mapped, not made by create_all()."""

    __tablename__ = "orders"
    __table_args__ = {"schema": "order_engine"}

    order_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(server_default=FetchedValue())
    version: Mapped[int] = mapped_column(server_default=FetchedValue(), server_onupdate=FetchedValue())
    amount: Mapped[Decimal] = mapped_column(Numeric, server_default=FetchedValue())
    attributes: Mapped[dict] = mapped_column(JSONB, server_default=FetchedValue())

    # the engine counts; SQLAlchemy says UPDATE ... WHERE version = what it has read
    __mapper_args__ = {"version_id_col": version, "version_id_generator": False}


def change_state(session, order, state):
    """False if somebody has changed the order since it was read."""
    try:
        order.state = state
        session.commit()
        return True
    except StaleDataError:
        session.rollback()
        return False


def plain_order(session, user_id):
    """A row without lines; create_order() is what takes stock."""
    order = Order(order_id=func.order_engine.next_order_id(user_id), user_id=user_id)
    session.add(order)
    session.commit()
    return order
# end snippet


url = os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")
engine = create_engine(url)
repeatable_read = engine.execution_options(isolation_level="REPEATABLE READ")
cup = [{"sku": "cup", "quantity": 1, "unit_price": "19.90"}]
cups = [{"sku": "cup", "quantity": 2, "unit_price": "19.90"}]

order = checkout(engine, 42, "basket-paid", cups)
tap.is_((order.state, order.replayed, str(order.amount)), ("pending", False, "39.80"), "an order is created")
again = checkout(engine, 42, "basket-paid", cups)
tap.is_((again.order_id, again.replayed), (order.order_id, True), "the same key is the same order")

try:
    checkout(engine, 42, "basket-short", [{"sku": "cup", "quantity": 500}])
    tap.ok(False, "what is not there is not sold")
except OutOfStock as error:
    tap.is_(error.short, [{"sku": "cup", "requested": 500, "available": 8}], "what is short is parsed")

with Session(engine, expire_on_commit=False) as page:
    seen = page.get(Order, order.order_id)
    page.commit()
    tap.is_((seen.state, seen.version, seen.amount), ("pending", 1, Decimal("39.80")), "the ORM reads it")
    tap.is_(payment_captured(engine, order.order_id, "psp-1", Decimal("39.80"), "EUR"), ("paid", False), "it is paid")
    tap.is_(payment_captured(engine, order.order_id, "psp-1", Decimal("39.80"), "EUR"), ("paid", True), "once")
    conflict = move(engine, order.order_id, "ship", 1)
    tap.is_(conflict, {"expected": 1, "actual": 2, "state": "paid"}, "a stale page does not ship by a call")
    tap.ok(not change_state(page, seen, "shipped"), "nor by the ORM")
    page.refresh(seen)
    tap.ok(change_state(page, seen, "shipped"), "what it reads again, it ships")
    page.refresh(seen)
    tap.is_((seen.state, seen.version), ("shipped", 3), "in one version")

with Session(engine) as session:
    plain = plain_order(session, 7)
    tap.is_((plain.state, plain.version, plain.amount), ("pending", 1, 0), "the ORM inserts, and reads what the engine drew")
    plain.attributes = {"note": "gift"}
    session.commit()
    tap.is_((plain.version, plain.attributes), (2, {"note": "gift"}), "and updates")



class Counted(DeclarativeBase):
    pass


class CountedOrder(Counted):
    """SQLAlchemy counts itself: 1 in the INSERT, one more in each UPDATE."""

    __tablename__ = "orders"
    __table_args__ = {"schema": "order_engine"}
    order_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column()
    attributes: Mapped[dict] = mapped_column(JSONB, server_default=FetchedValue())
    __mapper_args__ = {"version_id_col": version}


with Session(engine) as session:
    counted = CountedOrder(order_id=func.order_engine.next_order_id(7), user_id=7)
    session.add(counted)
    session.commit()
    tap.is_(counted.version, 1, "an ORM that counts itself may insert its first version")
    counted.attributes = {"note": "gift"}
    session.commit()
    tap.is_(counted.version, 2, "and the engine agrees with its second")

twins = tap.together(*[lambda: checkout(repeatable_read, 42, "basket-twins", cup)] * 2)
tap.is_(sorted(twin.replayed for twin in twins), [False, True], "of two requests at once one creates the order")
tap.is_(len({twin.order_id for twin in twins}), 1, "and both get it")

killed = tap.killed_once(lambda: checkout(engine, 42, "basket-killed", cup))
tap.is_((killed.state, killed.replayed), ("pending", False), "a lost connection is survived")
tap.done()
