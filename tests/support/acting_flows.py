"""Flows for tests of action rules; run as a script, it serves them.

Files in ACTING_FOLDER control their behaviour.
"""

import os
import signal
import time
from pathlib import Path

from prefect import flow, serve
from prefect.context import get_run_context

FOLDER = Path(os.environ.get("ACTING_FOLDER", "."))


def is_first_attempt() -> bool:
    return bool(get_run_context().flow_run.run_count == 1)


@flow
def flaky() -> None:
    """Fails once."""
    if is_first_attempt():
        raise ConnectionError("connection refused by the warehouse")


@flow
def fragile() -> None:
    """Is killed once, as by the OOM killer."""
    if is_first_attempt():
        os.kill(os.getpid(), signal.SIGKILL)


@flow
def hopeless() -> None:
    raise ConnectionError("connection refused by the warehouse")


@flow
def source() -> None:
    if not (FOLDER / "healed").exists():
        raise ConnectionError("connection refused by the warehouse")


@flow
def report() -> None:
    pass


@flow
def long() -> None:
    """Runs until the file `may-end` exists."""
    while not (FOLDER / "may-end").exists():
        time.sleep(0.2)


@flow
def late() -> None:
    (FOLDER / "late-runs").open("a").write("started\n")


if __name__ == "__main__":
    serve(*(each.to_deployment("served") for each in (flaky, fragile, hopeless, source, report)))
