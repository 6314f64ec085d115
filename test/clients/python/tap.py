"""What the programs of this folder share: TAP, a call that has to wait, and two at once."""

import contextlib
import os
import sys
import threading
import time

import psycopg

_ran = 0


def ok(passed, what):
    global _ran
    _ran += 1
    print(f"{'ok' if passed else 'not ok'} {_ran} - {what}", flush=True)


def is_(got, expected, what):
    ok(got == expected, what)
    if got != expected:
        print(f"# got {got!r}, expected {expected!r}", flush=True)


def done():
    print(f"1..{_ran}", flush=True)


@contextlib.contextmanager
def cups_held():
    """While it lasts, whoever takes a cup waits; then nothing has been taken."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as holder:
        holder.execute("""SELECT order_engine.create_order(1, '[{"sku": "cup", "quantity": 1}]')""")
        try:
            yield
        finally:
            holder.rollback()


def waiting(count):
    """The pids of the application's sessions that wait for a lock, as soon as there are so many."""
    deadline = time.monotonic() + 30
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as watcher:
        while time.monotonic() < deadline:
            rows = watcher.execute("""SELECT pid FROM pg_stat_activity
                WHERE usename = current_user AND wait_event_type = 'Lock'""").fetchall()
            if len(rows) >= count:
                return [pid for (pid,) in rows]
            time.sleep(0.02)
    sys.exit("nobody waits for the stock")


def terminate(pids):
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as killer:
        for pid in pids:
            killer.execute("SELECT pg_terminate_backend(%s)", (pid,))


def together(*calls):
    """What each call returned, or the exception that ended it; all of them wait for a cup at once."""
    results = [None] * len(calls)

    def run(index, call):
        try:
            results[index] = call()
        except Exception as error:  # the caller compares it
            results[index] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    with cups_held():
        for thread in threads:
            thread.start()
        waiting(len(calls))
    for thread in threads:
        thread.join()
    return results


def killed_once(call):
    """What a call returns whose connection the server ends while it waits for a cup."""
    result = []
    thread = threading.Thread(target=lambda: result.append(call()))
    with cups_held():
        thread.start()
        terminate(waiting(1))
        # its next attempt waits too, until the cups are free
        waiting(1)
    thread.join()
    return result[0]
