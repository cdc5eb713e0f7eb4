"""Continuously writes runs of every fate, with task runs and METRIC lines."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from support.seeder import Seeder

Fate = Callable[[Seeder, str], object]
Place = tuple[str, str, str]  # flow, deployment ("" without one), task ("" for a line of the flow itself)

TASK_STATES: Final = ("Completed", "Completed", "Cached", "Failed", "Crashed", "Cancelled", "Running")
_PAUSE_SECONDS: Final = 0.4  # between two runs, at most: two cores are for the exporter and the server as well
_KEPT: Final = 20  # failed runs that may still be retried or changed


def _completes_as(name: str) -> Fate:
    def fate(api: Seeder, run: str) -> None:
        api.running(run)
        api.set_state(run, "COMPLETED", name)

    return fate


def _retried(end: Fate) -> Fate:
    def fate(api: Seeder, run: str) -> None:
        api.failed(run)
        api.retry_from_ui(run, force=True)
        end(api, run)

    return fate


def _marked(api: Seeder, run: str) -> None:
    api.failed(run)
    api.mark(run, "COMPLETED")


def _resumed(api: Seeder, run: str) -> None:
    api.running(run)
    api.set_state(run, "PAUSED", force=True)
    api.set_state(run, "RUNNING", force=True)
    api.completed(run)


FATES: Final[dict[str, Fate]] = {
    "completed": Seeder.completed,
    "skipped": _completes_as("Skipped"),
    "without data": _completes_as("NoData"),
    "failed": Seeder.failed,
    "timed out": Seeder.timed_out,
    "crashed": Seeder.crashed,
    "crashed unstarted": lambda api, run: api.crashed(run, started=False),
    "cancelled": Seeder.cancelled,
    "cancelled unstarted": lambda api, run: api.cancelled(run, started=False),
    "retried": _retried(Seeder.completed),
    "retried in vain": _retried(Seeder.failed),
    "retried twice": _retried(_retried(Seeder.completed)),
    "set by hand": _marked,
    "paused and resumed": _resumed,
    "never ends": Seeder.running,
    "never starts": lambda api, run: api.read(run),
}
# Later changes to failed runs.
LATER: Final[tuple[Fate, ...]] = (
    lambda api, run: api.mark(run, "COMPLETED"),
    lambda api, run: (api.retry_from_ui(run, force=True), api.completed(run)),
    lambda api, run: (api.retry_from_ui(run, force=True), api.failed(run)),
)


@dataclass
class Written:
    """The number of runs by fate, and the sum and count of METRIC values by place."""

    fates: Counter[str] = field(default_factory=Counter)
    sums: Counter[Place] = field(default_factory=Counter)
    lines: Counter[Place] = field(default_factory=Counter)


@contextmanager
def writing_runs(api_url: str, prefix: str, seed: int) -> Iterator[list[Written]]:
    """Writes runs from two threads until the block ends; yields what each has written."""
    stop = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        writers = [_Writer(api_url, f"{prefix}{name}", random.Random(seed + name_at), stop) for name_at, name in _NAMES]
        futures: list[Future[None]] = [pool.submit(writer.write) for writer in writers]
        try:
            yield [writer.written for writer in writers]
        finally:
            stop.set()
    for future in futures:
        future.result()


_NAMES: Final = tuple(enumerate(("orders", "customers")))


class _Writer:
    """Writes runs of one flow, with a deployment and without."""

    def __init__(self, api_url: str, flow: str, dice: random.Random, stop: threading.Event) -> None:
        self.written = Written()
        self._api_url = api_url
        self._flow = flow
        self._dice = dice
        self._stop = stop
        self._failed: list[str] = []

    def write(self) -> None:
        with Seeder(self._api_url) as api:
            flow = api.flow(self._flow)
            deployment = api.deployment(flow, "daily")
            while not self._stop.is_set():
                self._write_run(api, flow, self._dice.choice([deployment, None]))
                if len(self._failed) > _KEPT:
                    self._dice.choice(LATER)(api, self._failed.pop(self._dice.randrange(_KEPT)))
                time.sleep(self._dice.uniform(0, _PAUSE_SECONDS))

    def _write_run(self, api: Seeder, flow: str, deployment: str | None) -> None:
        name = self._dice.choice(list(FATES))
        run = api.run(flow, deployment_id=deployment)
        place = self._flow, "daily" if deployment else ""
        if self._dice.random() < 0.5:
            self._log(api, (*place, ""), run)
        for task in self._dice.sample(("extract", "load", "report"), self._dice.randrange(3)):
            task_run = api.task_run(run, task, state=self._dice.choice(TASK_STATES))
            self._log(api, (*place, task), run, task_run)
        FATES[name](api, run)
        self.written.fates[name] += 1
        if name == "failed":
            self._failed.append(run)

    def _log(self, api: Seeder, place: Place, run: str, task_run: str | None = None) -> None:
        rows = self._dice.randrange(1, 1000)
        line = {"name": "prefect.flow_runs", "level": 20, "message": f"METRIC: rows={rows}", "flow_run_id": run}
        api.call("POST", "/logs/", [line | {"task_run_id": task_run, "timestamp": datetime.now(UTC).isoformat()}])
        self.written.sums[place] += rows
        self.written.lines[place] += 1
