"""What the Python drivers send for which value, and what the server says to it.

doc/clients.md has it as a table, "What to write".
"""

import asyncio
import json
import os
import uuid
from decimal import Decimal

import asyncpg
import django
import psycopg
import sqlalchemy
import tap
from django.conf import settings
from psycopg.types.json import Json, Jsonb
from sqlalchemy.dialects import postgresql

url = os.environ["DATABASE_URL"]
lines = [{"sku": "cup", "quantity": 1, "unit_price": "19.90"}]
key = uuid.UUID("12345678-1234-5678-1234-567812345678")
third = 0.1 + 0.2


def missing(*types):
    return f"42883 function order_engine.{types[0]}({', '.join(types[1:])}) does not exist"


def told(error):
    """Its SQLSTATE and first line; without a SQLSTATE the driver has refused it itself."""
    origin = getattr(error, "orig", None) or error.__cause__ or error
    first = str(origin).split("\n")[0]
    sqlstate = getattr(origin, "sqlstate", None)
    # asyncpg's own refusals are of this class, the server's of one derived from it
    refused = sqlstate is None or type(error) is asyncpg.DataError
    return "the driver refuses" if refused else f"{sqlstate} {first}"


def check(driver, execute, cases):
    """cases: (what is sent, query with {} for the value, value, expected)."""
    for what, query, value, expected in cases:
        try:
            got = str(execute(query, value))
        except Exception as error:
            got = told(error)
        tap.is_(got, expected, f"{driver}: {what}")


with psycopg.connect(url, autocommit=True) as connection:
    orders = iter(
        [
            connection.execute("SELECT order_id FROM order_engine.create_order(42, %s)", (Jsonb(lines),)).fetchone()[0]
            for _ in range(40)
        ]
    )

CREATE = "SELECT amount FROM order_engine.create_order(42, {})"
CREATE_CAST = "SELECT amount FROM order_engine.create_order(42, {}::jsonb)"
KEY = """SELECT amount FROM order_engine.create_order(42, '[{{"sku": "cup", "quantity": 1}}]', {})"""
PAY = "SELECT captured FROM order_engine.pay_order(ORDER, 'ref', {})"
PAY_CAST = "SELECT captured FROM order_engine.pay_order(ORDER, 'ref', {}::numeric)"
CANCEL = "SELECT version FROM order_engine.cancel_order(ORDER, {})"
EMIT = "SELECT order_engine.emit('cart', '1', 'cart.seen', {}) > 0"


def filled(query, placeholder):
    """Every case has an order of its own."""
    return query.format(placeholder).replace("ORDER", str(next(orders)) if "ORDER" in query else "")


# ---- psycopg ----


def by_psycopg(query, value):
    with psycopg.connect(url) as connection:
        return connection.execute(filled(query, "%s"), (value,)).fetchone()[0]


check(
    "psycopg",
    by_psycopg,
    [
        ("lines as a str", CREATE, json.dumps(lines), "19.90"),
        ("lines as Jsonb", CREATE, Jsonb(lines), "19.90"),
        ("lines as Json", CREATE, Json(lines), missing("create_order", "integer", "json")),
        ("lines as Json, cast", CREATE_CAST, Json(lines), "19.90"),
        ("lines as a list", CREATE, lines, "the driver refuses"),
        ("a key as a str", KEY, str(key), "0"),
        ("a key as a UUID", KEY, key, missing("create_order", "integer", "unknown", "uuid")),
        ("an amount as a Decimal", PAY, Decimal("19.90"), "19.90"),
        ("an amount as an int", PAY, 20, "20"),
        ("an amount as a str", PAY, "19.90", "19.90"),
        ("an amount as a float", PAY, 19.9, missing("pay_order", "bigint", "unknown", "double precision")),
        ("an amount as a float, cast", PAY_CAST, third, "0.3"),
        ("a version as an int", CANCEL, 1, "2"),
        ("a version beyond int", CANCEL, 2**40, missing("cancel_order", "bigint", "bigint")),
        ("a payload as Json", EMIT, Json({}), "True"),
        ("a payload as Jsonb", EMIT, Jsonb({}), missing("emit", "unknown", "unknown", "unknown", "jsonb")),
    ],
)


# ---- asyncpg ----


async def fetch(query, value, codec):
    connection = await asyncpg.connect(url)
    try:
        if codec:
            await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
        return await connection.fetchval(filled(query, "$1"), value)
    finally:
        await connection.close()


def by_asyncpg(query, value):
    return asyncio.run(fetch(query, value, False))


def by_asyncpg_with_codec(query, value):
    return asyncio.run(fetch(query, value, True))


long_float = '22023 "amount" must be at most 48 characters long'
check(
    "asyncpg",
    by_asyncpg,
    [
        ("lines as a str", CREATE, json.dumps(lines), "19.90"),
        ("lines as a list", CREATE, lines, "the driver refuses"),
        ("a key as a str", KEY, str(key), "0"),
        ("a key as a UUID", KEY, key, "the driver refuses"),
        ("an amount as a Decimal", PAY, Decimal("19.90"), "19.90"),
        ("an amount as an int", PAY, 20, "20"),
        ("an amount as a str", PAY, "19.90", "19.90"),
        ("an amount as a float, all its binary digits", PAY, third, long_float),
        ("a version as an int", CANCEL, 1, "2"),
        ("a version beyond int", CANCEL, 2**40, "the driver refuses"),
        ("a payload as a str", EMIT, "{}", "True"),
    ],
)
check(
    "asyncpg with a codec",
    by_asyncpg_with_codec,
    [
        ("lines as a list", CREATE, lines, "19.90"),
        ("lines as a str, which it encodes again", CREATE, json.dumps(lines), '22023 "lines" must be a JSON array of objects'),
    ],
)


# ---- SQLAlchemy with psycopg ----

engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def by_sqlalchemy(query, value):
    """value: (value, type or None)."""
    value, kind = value
    statement = sqlalchemy.text(filled(query.replace("{}::jsonb", "CAST({} AS jsonb)"), ":value"))
    if kind:
        statement = statement.bindparams(sqlalchemy.bindparam("value", type_=kind))
    with engine.begin() as connection:
        return connection.execute(statement, {"value": value}).scalar_one()


def by_func(query, value):
    function = getattr(sqlalchemy.func.order_engine, query)
    with engine.begin() as connection:
        return connection.execute(sqlalchemy.select(sqlalchemy.literal("ok")).select_from(function(*value))).scalar_one()


check(
    "SQLAlchemy text()",
    by_sqlalchemy,
    [
        ("lines as a str", CREATE, (json.dumps(lines), None), "19.90"),
        ("lines as a str, cast", CREATE_CAST, (json.dumps(lines), None), "19.90"),
        ("lines as a list, JSONB", CREATE, (lines, postgresql.JSONB), "19.90"),
        ("lines as a list, JSON", CREATE, (lines, sqlalchemy.JSON), missing("create_order", "integer", "json")),
        ("lines as a list", CREATE, (lines, None), "the driver refuses"),
        ("an amount as a Decimal", PAY, (Decimal("19.90"), None), "19.90"),
        ("an amount as a float", PAY, (19.9, None), missing("pay_order", "bigint", "unknown", "double precision")),
        (
            "an amount as a float, Numeric",
            PAY,
            (19.9, sqlalchemy.Numeric),
            missing("pay_order", "bigint", "unknown", "double precision"),
        ),
    ],
)
check(
    "SQLAlchemy func",
    by_func,
    [
        ("lines as a list, JSONB", "create_order", (42, sqlalchemy.literal(lines, postgresql.JSONB)), "ok"),
        ("lines as a str", "create_order", (42, json.dumps(lines)), missing("create_order", "integer", "character varying")),
    ],
)


# ---- Django with psycopg ----

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
            "NAME": os.environ["PGDATABASE"],
            "USER": os.environ["PGUSER"],
        }
    }
)
django.setup()


def by_django(query, value):
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(filled(query, "%s"), [value])
        return cursor.fetchone()[0]


check(
    "Django",
    by_django,
    [
        ("lines as a str", CREATE, json.dumps(lines), "19.90"),
        ("lines as Jsonb", CREATE, Jsonb(lines), "19.90"),
        ("lines as Json", CREATE, Json(lines), missing("create_order", "integer", "json")),
        ("lines as a list", CREATE, lines, "the driver refuses"),
        ("a key as a UUID", KEY, key, missing("create_order", "integer", "unknown", "uuid")),
        ("an amount as a Decimal", PAY, Decimal("19.90"), "19.90"),
        ("an amount as a float, all its digits", PAY, third, "0.30000000000000004"),
        ("a version as an int", CANCEL, 1, "2"),
    ],
)
tap.done()
