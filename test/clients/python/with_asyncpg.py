"""asyncpg at home: see doc/clients.md, which shows the marked regions."""

import asyncio
import os

import tap

# snippet: pool
import json

import asyncpg


async def prepare_connection(connection):
    """Python's lists and dicts for jsonb, both ways."""
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)


async def make_pool(url):
    # behind PgBouncer in transaction mode: statement_cache_size=0 too
    return await asyncpg.create_pool(url, init=prepare_connection)
# end snippet


# snippet: checkout
import random

AGAIN = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    OSError,
)


class OutOfStock(Exception):
    """Has .short: a list of {"sku", "requested", "available"}."""

    def __init__(self, error):
        self.short = json.loads(error.detail)["short"]


async def checkout(pool, user_id, key, lines, isolation=None):
    """The order of this key, however often the network makes us ask."""
    for attempt in range(5):
        try:
            async with pool.acquire() as connection, connection.transaction(isolation=isolation):
                return await connection.fetchrow(
                    "SELECT * FROM order_engine.create_order($1, $2, idempotency_key => $3, currency => 'EUR')",
                    user_id, lines, key,
                )
        except AGAIN:
            # a race was lost, or the connection: then nobody knows whether it was committed
            if attempt == 4:
                raise
            await asyncio.sleep(random.uniform(0, 0.1 * 2**attempt))
        except asyncpg.PostgresError as error:
            if error.sqlstate == "OE001":
                raise OutOfStock(error) from None
            raise
# end snippet


# snippet: webhook
async def payment_captured(pool, order_id, payment_ref, amount, currency):
    """As often as the provider calls; amount is a Decimal, or the provider's string."""
    paid = await pool.fetchrow(
        "SELECT outcome, replayed FROM order_engine.pay_order($1, $2, $3, $4)",
        order_id, payment_ref, amount, currency,
    )
    # paid, overpaid or partly_paid; refund_due and mismatch: the money has to go back
    return paid["outcome"], paid["replayed"]
# end snippet


# snippet: version
async def ship(pool, order_id, seen_version):
    """The version after the move, or what has changed since the page was shown."""
    try:
        return await pool.fetchval(
            "SELECT version FROM order_engine.ship_order($1, expected_version => $2, context => $3)",
            order_id, seen_version, {"actor": "warehouse"},
        )
    except asyncpg.PostgresError as error:
        if error.sqlstate == "OE011":
            return json.loads(error.detail)
        raise
# end snippet


async def main():
    pool = await make_pool(os.environ["DATABASE_URL"])
    cup = [{"sku": "cup", "quantity": 1, "unit_price": "19.90"}]
    cups = [{"sku": "cup", "quantity": 2, "unit_price": "19.90"}]

    order = await checkout(pool, 42, "basket-paid", cups)
    tap.is_((order["state"], order["replayed"], str(order["amount"])), ("pending", False, "39.80"), "an order is created")
    again = await checkout(pool, 42, "basket-paid", cups)
    tap.is_((again["order_id"], again["replayed"]), (order["order_id"], True), "the same key is the same order")

    try:
        await checkout(pool, 42, "basket-short", [{"sku": "cup", "quantity": 500}])
        tap.ok(False, "what is not there is not sold")
    except OutOfStock as error:
        tap.is_(error.short, [{"sku": "cup", "requested": 500, "available": 8}], "what is short is parsed")

    tap.is_(await payment_captured(pool, order["order_id"], "psp-1", "39.80", "EUR"), ("paid", False), "it is paid")
    tap.is_(await payment_captured(pool, order["order_id"], "psp-1", "39.80", "EUR"), ("paid", True), "once")
    conflict = await ship(pool, order["order_id"], 1)
    tap.is_(conflict, {"expected": 1, "actual": 2, "state": "paid"}, "a stale page does not ship")
    tap.is_(await ship(pool, order["order_id"], 2), 3, "the version that was seen does")
    document = await pool.fetchval("SELECT order_engine.get_order($1)", order["order_id"])
    tap.is_(document["order_id"], str(order["order_id"]), "an id is a string in JSON")

    with tap.cups_held():
        twins = [asyncio.create_task(checkout(pool, 42, "basket-twins", cup, "repeatable_read")) for _ in range(2)]
        await asyncio.to_thread(tap.waiting, 2)
    twins = await asyncio.gather(*twins)
    tap.is_(sorted(twin["replayed"] for twin in twins), [False, True], "of two requests at once one creates the order")
    tap.is_(len({twin["order_id"] for twin in twins}), 1, "and both get it")

    with tap.cups_held():
        killed = asyncio.create_task(checkout(pool, 42, "basket-killed", cup))
        tap.terminate(await asyncio.to_thread(tap.waiting, 1))
        # the next attempt waits too, until the cups are free
        await asyncio.to_thread(tap.waiting, 1)
    killed = await killed
    tap.is_((killed["state"], killed["replayed"]), ("pending", False), "a lost connection is survived")
    await pool.close()
    tap.done()


asyncio.run(main())
