"""Flows that send heartbeats: `dead` waits until a test kills its process, the others live in different ways."""

import os
import subprocess
import sys
import time
from collections.abc import Callable

from prefect import flow

BEAT_SECONDS = float(os.environ.get("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30"))
SECONDS = 5 * BEAT_SECONDS


def wait() -> None:
    time.sleep(900)


def waits() -> None:
    time.sleep(SECONDS)


def computes() -> None:
    """In Python code, which lets the thread that sends the heartbeats run now and then."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        sum(number * number for number in range(100_000))
        time.sleep(0.5)


def runs_a_program() -> None:
    subprocess.run(["sleep", str(SECONDS)], check=True)


def calls_subflows() -> None:
    for _ in range(3):
        flow(name="alive-child")(lambda: time.sleep(SECONDS / 3))()


def fails_after_a_while() -> None:
    time.sleep(SECONDS / 2)
    raise ConnectionError("its retry comes after more than three heartbeats")


WAYS: dict[str, Callable[[], None]] = {
    function.__name__: function for function in (waits, computes, runs_a_program, calls_subflows, fails_after_a_while)
}

if __name__ == "__main__":
    name, way = sys.argv[1:]
    retries = {"retries": 1, "retry_delay_seconds": 3.5 * BEAT_SECONDS} if way == fails_after_a_while.__name__ else {}
    flow(name=name, **retries)(WAYS.get(way, wait))()
