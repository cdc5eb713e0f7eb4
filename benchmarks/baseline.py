"""Loading the baseline, against downloading the same and throwing it away."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.measures import Measure
from benchmarks.subject import PAGE, UNLIMITED, Call, Running, Subject, exporter_on, prefect_at
from prefect_monitoring.model.cursor import FLOW_RUNS, TASK_RUNS
from prefect_monitoring.prefect_api.client import PrefectHttp, Traffic, open_http
from prefect_monitoring.prefect_api.errors import ApiError
from support.exposition import value
from support.processes import wait_until

MAX_RATIO: Final = 1.3
MIN_RECORDS_PER_CPU_SECOND: Final = 10_000
_LOADED: Final = ("seconds", "counting_speed")
MAX_PEAK: Final = 200
TASKS_SECONDS: Final = 3600
LEDGER: Final = "baseline"  # of the last round, with a complete baseline


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the loading: the requests it made, and what they took; how fast its records were counted."""

    calls: Sequence[Call]
    seconds: float
    counting_speed: float = math.nan


@dataclass(frozen=True, slots=True)
class Round:
    load: Phase
    download: Phase


def measure_baseline(subject: Subject, rounds: int) -> list[Measure]:
    """The medians of `rounds` loadings and downloads, one after the other, so that a busy minute strikes both."""
    flow_runs, task_runs, peaks = [], [], []
    for number in range(rounds):
        ledger = LEDGER if number == rounds - 1 else f"{LEDGER}-{number}"
        with exporter_on(subject, ledger) as running:
            first, second = wait_for_baseline(running)
            peaks.append(running.rss("VmHWM"))
        flow_runs.append(Round(first, asyncio.run(download(subject.server.url, first.calls))))
        task_runs.append(Round(second, asyncio.run(download(subject.server.url, second.calls))))
    return [
        *_measures("flow runs", flow_runs),
        *_measures("task runs", task_runs),
        Measure("baseline: most memory (RSS)", max(peaks), "MiB", at_most=MAX_PEAK),
    ]


def wait_for_baseline(running: Running) -> tuple[Phase, Phase]:
    """Until everything is loaded, log lines too; what the flow runs took, and the task runs."""
    phases = _load_flow_runs(running), _load_task_runs(running)
    wait_until(lambda: _lines_are_read(running), TASKS_SECONDS, "the last log line", every=0.5)
    return phases


def _load_flow_runs(running: Running) -> Phase:
    """Everything until it is ready; Python's own start does not count."""
    ready = running.wait_ready()
    calls = [call for call in running.calls() if call.ended <= ready]
    first = min(calls, key=lambda call: call.begun)
    return Phase(calls, ready - first.begun, running.counting_speed(FLOW_RUNS))


def _load_task_runs(running: Running) -> Phase:
    """From the first page of task runs to the last, which is not full, and whatever else was asked meanwhile."""

    def pages() -> list[Call]:
        calls = [call for call in running.calls() if call.endpoint == "/task_runs/filter" and call.is_page_of_ends]
        return sorted(calls, key=lambda call: call.begun)

    def last_pages() -> list[Call]:
        return [call for call in pages() if call.rows is not None and call.rows < PAGE]

    last = wait_until(last_pages, TASKS_SECONDS, "the last page of task runs", every=0.5)[0]
    first = pages()[0]
    during = [call for call in running.calls() if call.begun >= first.begun and call.ended <= last.ended]
    return Phase(during, last.ended - first.begun, running.counting_speed(TASK_RUNS))


def _lines_are_read(running: Running) -> bool:
    """Whether the baseline of the log lines is loaded; until then, an idle poll would go on loading it."""
    return value(running.exporter.samples, "prefect_exporter_source_lag_seconds", source="log_lines") is not None


async def download(url: str, calls: Sequence[Call]) -> Phase:
    """What `calls` take when nothing is made of the answers."""
    with prefect_at(url):
        async with open_http(Traffic(), UNLIMITED) as http:
            await http.request("/admin/version")  # which connects
            begun = time.monotonic()
            await replay(http, calls)
            return Phase(calls, time.monotonic() - begun)


async def replay(http: PrefectHttp, calls: Sequence[Call]) -> None:
    """The same requests in the same order, as many at a time: each as soon as those are answered that were then."""
    by_end = sorted(calls, key=lambda call: call.ended)
    sent: dict[int, asyncio.Task[None]] = {}
    answered = 0
    for call in sorted(calls, key=lambda call: call.begun):
        while by_end[answered].ended <= call.begun:
            await sent.pop(id(by_end[answered]))
            answered += 1
        sent[id(call)] = asyncio.create_task(_send(http, call))
    await asyncio.gather(*sent.values())


async def _send(http: PrefectHttp, call: Call) -> None:
    try:
        await http.request(call.endpoint, **call.kwargs)
    except ApiError:
        if not call.failed:
            raise


def _measures(what: str, rounds: Sequence[Round]) -> list[Measure]:
    seconds, speed = (statistics.median(getattr(one.load, field) for one in rounds) for field in _LOADED)
    bare = statistics.median(one.download.seconds for one in rounds)
    calls = rounds[-1].load.calls
    records = sum(call.rows or 0 for call in calls if call.is_page_of_ends)
    requests = Counter(f"{call.endpoint}{' (failed)' * call.failed}" for call in calls)
    return [
        Measure(f"{what}: records of the baseline", records),
        Measure(f"{what}: loaded in", seconds, "s"),
        Measure(f"{what}: the same requests, answers thrown away", bare, "s"),
        Measure(f"{what}: ratio of these", seconds / bare, at_most=MAX_RATIO),
        Measure(f"{what}: fold and commit, records per CPU second", speed, "1/s", at_least=MIN_RECORDS_PER_CPU_SECOND),
        *(Measure(f"{what}: requests to {endpoint}", count) for endpoint, count in sorted(requests.items())),
    ]
