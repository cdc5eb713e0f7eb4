"""A busy team for some minutes: runs end every second, beside a long history; how far the exporter falls behind."""

from __future__ import annotations

import re
import sqlite3
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx

from benchmarks.baseline import LEDGER, wait_for_baseline
from benchmarks.measures import Measure
from benchmarks.seed import TASKS, Place
from benchmarks.subject import Running, Subject, cpu_of, exporter_on
from support.bulk import Batch, Entered, add_flow_run, add_log, add_task_run, task_history
from support.database import insert
from support.prefect_server import PrefectServer
from support.processes import wait_until

# What users run with: the rate limit is part of what is measured.
DEFAULT_RATE: Final = ("--max-requests-per-second", "20")
MAX_LAG_SECONDS: Final = 30.0  # two polls
SETTLE_SECONDS: Final = 300.0
SAMPLE_SECONDS: Final = 2.0
_COMPLETED: Final = {
    "flow runs": re.compile(r'^prefect_flow_run_outcomes_total\{.*state="completed".*\} (\S+)$', re.MULTILINE),
    "task runs": re.compile(r'^prefect_task_run_outcomes_total\{.*state="completed".*\} (\S+)$', re.MULTILINE),
}
Counts = dict[str, int]


@dataclass(frozen=True, slots=True)
class Load:
    """What ends each second, and for how long."""

    flow_runs: int
    task_runs: int
    minutes: float


@dataclass(slots=True)
class Written:
    """When how many completed runs were there, none at first; how long the slowest second took to write."""

    at: list[float] = field(default_factory=list)
    counts: list[Counts] = field(default_factory=list)
    flow_runs: int = 0
    slowest: float = 0.0

    def note(self, more: Counts) -> None:
        before = self.counts[-1] if self.counts else dict.fromkeys(_COMPLETED, 0)
        self.counts.append({what: before[what] + more.get(what, 0) for what in before})
        self.at.append(time.monotonic())

    def lag(self, what: str, counted: int, now: float) -> float:
        """For how long the first run that is not counted has been there; 0 where all are counted."""
        return next((now - at for at, one in zip(self.at, self.counts, strict=False) if one[what] > counted), 0.0)


def measure_sustained(subject: Subject, places: Sequence[Place], load: Load) -> list[Measure]:
    """Loads the baseline without a rate limit, then measures an exporter with the product's options."""
    with exporter_on(subject, LEDGER) as running:
        wait_for_baseline(running)
    with exporter_on(subject, LEDGER, *DEFAULT_RATE) as running:
        running.wait_ready()
        first, ledger = _counted(running), _ledger_bytes(subject)
        rss, cpu, server_cpu = running.rss(), running.cpu(), cpu_of(subject.server.process.pid)
        begun = time.monotonic()
        with _writing(subject.server, places, load) as written:
            lags, unanswered = _watch(running, written, first, begun + 60 * load.minutes)
        seconds = time.monotonic() - begun
        cpu, server_cpu = running.cpu() - cpu, cpu_of(subject.server.process.pid) - server_cpu
        last = written.counts[-1]
        caught_up = _wait_counted(running, first, last)
        grown = _ledger_bytes(subject) - ledger
        missing = sum(abs(first[what] + last[what] - count) for what, count in _counted(running).items())
        return [
            Measure("sustained: flow runs written", written.flow_runs),
            Measure("sustained: … a second", written.flow_runs / seconds, "1/s"),
            Measure("sustained: completed task runs a second", last["task runs"] / seconds, "1/s"),
            *_lag_measures(lags),
            Measure("sustained: scrapes without an answer in 10 s", unanswered),
            Measure("sustained: all counted after the last", caught_up, "s"),
            Measure("sustained: completed runs missing or counted twice", missing, at_most=0, binding=True),
            Measure("sustained: share of a core", cpu / seconds),
            Measure("sustained: … the Prefect server's", server_cpu / seconds),
            Measure("sustained: memory (RSS) at the start", rss, "MiB"),
            Measure("sustained: … at the end", running.rss(), "MiB"),
            Measure("sustained: most memory (RSS)", running.rss("VmHWM"), "MiB"),
            Measure("sustained: ledger, for each flow run with its task runs", grown / written.flow_runs, "bytes"),
            Measure("sustained: slowest second to write", written.slowest, "s"),
        ]


def _lag_measures(lags: dict[str, list[float]]) -> Iterator[Measure]:
    for what, seconds in lags.items():
        yield Measure(f"sustained: lag of {what}, median", statistics.median(seconds), "s", at_most=MAX_LAG_SECONDS)
        yield Measure(f"sustained: lag of {what}, most", max(seconds), "s")


def _watch(running: Running, written: Written, first: Counts, until: float) -> tuple[dict[str, list[float]], int]:
    """The lag of what a scrape shows, every few seconds; and how many scrapes were not answered in time."""
    lags: dict[str, list[float]] = {what: [] for what in _COMPLETED}
    unanswered = 0
    while (now := time.monotonic()) < until:
        try:
            for what, count in _counted(running).items():
                lags[what].append(written.lag(what, count - first[what], now))
        except httpx.TransportError:
            unanswered += 1
        time.sleep(SAMPLE_SECONDS)
    return lags, unanswered


def _wait_counted(running: Running, first: Counts, last: Counts) -> float:
    """Seconds until all is counted, or until it should have been."""
    begun = time.monotonic()
    with suppress(TimeoutError):  # the measure of what is missing says so
        wait_until(
            lambda: all(count >= first[what] + last[what] for what, count in _counted(running).items()),
            SETTLE_SECONDS,
            "the last run to be counted",
            every=1.0,
            ignore=(httpx.TransportError,),
        )
    return time.monotonic() - begun


def _counted(running: Running) -> Counts:
    """How many completed, by a scrape. Looked up in the text: to parse all of it would keep a core busy."""
    text = running.exporter.text
    return {what: int(sum(map(float, pattern.findall(text)))) for what, pattern in _COMPLETED.items()}


def _ledger_bytes(subject: Subject) -> int:
    """Of the pages in use: what the write-ahead log holds besides is not for long."""
    file = subject.directory / LEDGER / "ledger.db"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as ledger:
        pages, free, size = (
            ledger.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)


# --- writing ---------------------------------------------------------------------------------------------------------


@contextmanager
def _writing(server: PrefectServer, places: Sequence[Place], load: Load) -> Iterator[Written]:
    """A second's runs each second, from a thread, until the block ends."""
    written, stop = Written(), threading.Event()
    written.note({})
    faults: list[Exception] = []

    def write() -> None:
        try:
            while not stop.is_set():
                begun = time.monotonic()
                _write_second(server, places, load, written)
                written.slowest = max(written.slowest, time.monotonic() - begun)
                stop.wait(max(0.0, begun + 1.0 - time.monotonic()))
        except Exception as fault:  # noqa: BLE001 it is raised where the block ends
            faults.append(fault)

    thread = threading.Thread(target=write, name="writer")
    thread.start()
    try:
        yield written
    finally:
        stop.set()
        thread.join()
    if faults:
        raise faults[0]


def _write_second(server: PrefectServer, places: Sequence[Place], load: Load, written: Written) -> None:
    """One transaction: the runs that ended just now. One in a hundred has failed, one was retried."""
    batch: Batch = defaultdict(list)
    completed = 0
    end = datetime.now(UTC)
    for place_in_second in range(load.flow_runs):
        number = written.flow_runs + place_in_second
        tasks = load.task_runs * (place_in_second + 1) // load.flow_runs
        tasks -= load.task_runs * place_in_second // load.flow_runs
        at = end - timedelta(milliseconds=place_in_second)
        completed += _add_run(batch, places[number * 7 % len(places)], number, tasks, at)
    insert(server, batch)
    written.flow_runs += load.flow_runs
    written.note({"flow runs": completed, "task runs": load.task_runs})


def _add_run(batch: Batch, place: Place, number: int, tasks: int, end: datetime) -> bool:
    """A flow run with so many task runs, which end within its last second, and a METRIC line; whether it completed."""
    begun = end - timedelta(seconds=20 + number % 280)
    history = [Entered("Pending", begun - timedelta(seconds=2)), Entered("Running", begun)]
    failed = Entered("Failed", end, "Flow run encountered an exception: ValueError: 3 rows without a key")
    if number % 100 == 50:
        first = begun + timedelta(seconds=5)
        history += [failed._replace(at=first), Entered("AwaitingRetry", first + timedelta(milliseconds=5))]
        history.append(Entered("Retrying", first + timedelta(seconds=5)))
    history.append(failed if number % 100 == 17 else Entered("Completed", end))
    run_id = add_flow_run(
        batch, place.flow_id, history, deployment_id=place.deployment_id, work_queue_id=place.work_queue_id
    )
    for task in range(tasks):
        task_end = end - timedelta(milliseconds=10 * (task + 1))
        attempts = 2 if (number + task) % 100 == 2 else 1
        states = task_history(task_end, duration=timedelta(seconds=4), attempts=attempts)
        name = TASKS[task % len(TASKS)]
        task_id = add_task_run(batch, name, run_id, states, flow_run_attempt=2 if number % 100 == 50 else 1)
        if task == 0:
            add_log(batch, task_end, f"METRIC: rows_loaded={number % 1000}", flow_run_id=run_id, task_run_id=task_id)
    return history[-1].name == "Completed"
