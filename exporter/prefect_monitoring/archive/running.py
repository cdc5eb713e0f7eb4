"""`prefect-monitoring archive`: follows Prefect, makes one pass, or archives, compacts and verifies the past."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Final

from prefect_monitoring.analysis.durations import parse_duration
from prefect_monitoring.archive.archiver import Archiver, Stretch, stretches
from prefect_monitoring.archive.compaction import compact
from prefect_monitoring.archive.follower import Follower
from prefect_monitoring.archive.manifest import day_bounds
from prefect_monitoring.archive.metrics import ArchiveStatus
from prefect_monitoring.archive.opening import open_store
from prefect_monitoring.archive.store import Store
from prefect_monitoring.archive.verification import verify
from prefect_monitoring.archive.web import make_archive_app
from prefect_monitoring.commands.listening import bind
from prefect_monitoring.commands.serve import make_server, url_of
from prefect_monitoring.config.settings import Settings
from prefect_monitoring.model.instants import parse_time
from prefect_monitoring.prefect_api.address import api_address
from prefect_monitoring.prefect_api.client import Traffic, open_http
from prefect_monitoring.prefect_api.pagination import Paginator
from prefect_monitoring.prefect_api.raw_runs import RawRunsApi
from prefect_monitoring.web import tls

log = logging.getLogger(__name__)

CLOSED_SECONDS: Final = 3600.0
MAX_FAULTS_SHOWN: Final = 20
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Past:
    """The runs that ended within [since, until], seconds since the epoch."""

    since: float
    until: float

    def on(self, day: date) -> Past:
        """The part of it on a day in UTC."""
        begin, end = day_bounds(day)
        return Past(max(self.since, begin), min(self.until, end))


@dataclass(frozen=True, slots=True)
class _Wired:
    store: Store
    api: RawRunsApi
    archiver: Archiver
    status: ArchiveStatus


def parse_instant(text: str, now: float) -> float:
    """`90d` means 90 days ago; else an ISO 8601 date or time, in UTC unless it has a zone. Raises ValueError."""
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        return parse_time(text).timestamp()
    except ValueError:
        raise ValueError(f"{text!r} is neither a duration, such as 90d, nor a date, such as 2026-11-29") from None


async def archive_once(settings: Settings, report: Report) -> None:
    """Archives all settled runs within `archive_lookback`. Raises NoApiUrlError, ApiError and StoreError."""
    async with _wired(settings) as wired:
        follower = Follower(wired.archiver, wired.store, settings.archive, wired.status)
        await follower.run_pass()
        report(_summary(wired.status))


async def archive_past(settings: Settings, past: Past, report: Report) -> None:
    """Archives the runs of the past that are not archived yet, oldest day first. Raises as `archive_once` does.

    A repeat continues where it stopped: archived runs are skipped.
    """
    async with _wired(settings) as wired:
        days = days_of(past, settings.archive.archive_settle)
        for number, stretch in enumerate(days, 1):
            begun = time.monotonic()
            count = await wired.archiver.archive(stretch, wired.status.count)
            report(f"{stretch.day} ({number} of {len(days)}): {count:,} runs in {time.monotonic() - begun:.0f} s")
        report(_summary(wired.status))


async def compact_past(settings: Settings, past: Past, report: Report) -> None:
    """Compacts the closed days of the past. Raises StoreError."""
    store = await asyncio.to_thread(open_store, settings.archive)
    for stretch in _closed(past, settings.archive.archive_settle):
        done = await asyncio.to_thread(compact, store, stretch.day)
        report(f"{done.day}: {done.files_before} files became {done.files_after}, {done.bytes / 2**20:,.1f} MiB")


async def verify_past(settings: Settings, past: Past, report: Report) -> bool:
    """Whether the archive still has what it wrote, and every run in Prefect. Raises as `archive_once` does."""
    faults = 0
    async with _wired(settings) as wired:
        for stretch in days_of(past, settings.archive.archive_settle):
            verdict = await verify(wired.store, wired.api, stretch)
            faults += len(verdict.faults)
            checked = f"{verdict.runs:,} runs in Prefect, {verdict.files} files, {verdict.lines:,} log lines read again"
            report(f"{stretch.day}: {f'{len(verdict.faults)} FAULTS' if verdict.faults else 'ok'} ({checked})")
            for fault in verdict.faults[:MAX_FAULTS_SHOWN]:
                report(f"  {fault}")
    return not faults


async def follow(settings: Settings) -> None:
    """Archives until SIGTERM or SIGINT, and serves metrics. Raises NoApiUrlError, StoreError, TlsError, ListenError."""
    tls.check_pair(settings.web)
    listener = bind(settings.archive.archive_listen, "--archive-listen")
    async with _wired(settings) as wired:
        server = make_server(make_archive_app(wired.status, settings.web), settings.web)
        stop = asyncio.Event()
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        serving.add_done_callback(lambda _: stop.set())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        log.info("Archiving %s, serving %s/metrics", api_address(), url_of(listener, settings.web))
        try:
            await Follower(wired.archiver, wired.store, settings.archive, wired.status).run(stop)
        finally:
            server.should_exit = True
            await serving
    log.info("Stopped")


@asynccontextmanager
async def _wired(settings: Settings) -> AsyncIterator[_Wired]:
    api_address()
    store = open_store(settings.archive)
    for warning in await asyncio.to_thread(store.check):
        log.warning("%s", warning)
    traffic = Traffic()
    async with open_http(traffic, settings.poll.max_requests_per_second) as http:
        api = RawRunsApi(Paginator(http))
        yield _Wired(store, api, Archiver(store, api, settings.archive), ArchiveStatus(traffic))


def days_of(past: Past, settle: float) -> list[Stretch]:
    """The settled part of the past, by day."""
    until = min(past.until, time.time() - settle)
    return list(stretches(past.since, until)) if past.since <= until else []


def _closed(past: Past, settle: float) -> list[Stretch]:
    """The days that have been over for so long that no batch of theirs is still being written."""
    days = days_of(past, settle + CLOSED_SECONDS)
    return [stretch for stretch in days if day_bounds(stretch.day)[1] <= stretch.before]


def _summary(status: ArchiveStatus) -> str:
    done = status.written
    requests = sum(status.traffic.requests.values())
    return (
        f"Archived {done['runs']:,} runs, {done['task_runs']:,} task runs and {done['log_lines']:,} log lines:"
        f" {done['bytes'] / 2**20:,.1f} MiB of Parquet, {requests:,} requests to Prefect"
    )
