"""PgBouncer in transaction mode, one server connection for all: see doc/clients.md."""

import asyncio
import json
import os

import asyncpg
import psycopg
import tap
from psycopg.types.json import Jsonb

url = os.environ["DATABASE_URL"]
CREATE = "SELECT order_id FROM order_engine.create_order(%s, %s, context => %s)"
cup = [{"sku": "cup", "quantity": 1, "unit_price": "19.90"}]


# snippet: connect
def connect(url):
    """Nothing may stay on the server's connection: no prepared statement, no SET.

    PgBouncer before 1.21 (or without max_prepared_statements) mixes up the prepared
    statements of its clients.  psycopg prepares what is executed for the sixth time.
    """
    return psycopg.connect(url, prepare_threshold=None)
# end snippet


# snippet: actor
def cancel(connection, order_id, actor):
    """SET LOCAL ends with the transaction; set_config(..., true) is the same, with a parameter."""
    with connection.transaction():
        connection.execute("SELECT set_config('order_engine.actor', %s, true)", (actor,))
        connection.execute("UPDATE order_engine.orders SET state = 'cancelled' WHERE order_id = %s", (order_id,))
# end snippet


def create(connection, context={}):
    with connection.transaction():
        return connection.execute(CREATE, (42, Jsonb(cup), Jsonb(context))).fetchone()[0]


def actors(connection, order_id):
    with connection.transaction():
        rows = connection.execute("SELECT actor FROM order_engine.order_history(%s) ORDER BY version", (order_id,)).fetchall()
    return [actor for (actor,) in rows]


alice, bob = connect(url), connect(url)
order = create(alice)
cancel(alice, order, "alice")
tap.is_(actors(bob, order), ["web", "alice"], "SET LOCAL says who acts")
tap.is_(actors(bob, create(bob)), ["web"], "and not who acts next")
tap.is_(actors(bob, create(alice, {"actor": "alice"})), ["alice"], "the context of a call does too")
tap.is_(actors(bob, create(bob)), ["web"], "and stays with the call")

with alice.transaction():
    alice.execute("SET order_engine.actor = 'alice'")
tap.is_(actors(bob, create(bob)), ["alice"], "a plain SET signs what others do")
with alice.transaction():
    alice.execute("RESET order_engine.actor")

for _ in range(10):
    create(alice)
    create(bob)
tap.ok(True, "without prepared statements clients share a connection")

# what happens without that setting
first, second = (psycopg.connect(url, prepare_threshold=0) for _ in range(2))
create(first)
try:
    create(second)
    state = None
except psycopg.Error as error:
    state = error.sqlstate
tap.is_(state, None if os.environ["PGBOUNCER_PREPARES"] else "42P05", "prepared statements need PgBouncer 1.21")


async def by_asyncpg():
    pool = await asyncpg.create_pool(url, statement_cache_size=0, min_size=2, max_size=2)
    orders = [
        pool.fetchval("SELECT order_id FROM order_engine.create_order($1, $2::jsonb)", 42, json.dumps(cup))
        for _ in range(10)
    ]
    created = await asyncio.gather(*orders)
    await pool.close()
    return len(set(created))


tap.is_(asyncio.run(by_asyncpg()), 10, "asyncpg without its statement cache")
tap.done()
