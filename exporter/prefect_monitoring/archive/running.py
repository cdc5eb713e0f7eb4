"""`prefect-monitoring archive`: everything wired together, for following, for one pass, and for the past."""

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
MAX_FAULTS_TOLD: Final = 20
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Past:
    """What ended within [since, until], seconds since the epoch."""

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
    """`90d` is so long ago; else an ISO 8601 date or time, in UTC unless it has a zone. Raises ValueError."""
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        return parse_time(text).timestamp()
    except ValueError:
        raise ValueError(f"{text!r} is neither a length of time, such as 90d, nor a date, such as 2026-11-29") from None


async def archive_once(settings: Settings, tell: Tell) -> None:
    """Archives all that has settled within `archive_lookback`. Raises NoApiUrlError, ApiError and StoreError."""
    async with _wired(settings) as wired:
        follower = Follower(wired.archiver, wired.store, settings.archive, wired.status)
        await follower.run_pass()
        tell(_summary(wired.status))


async def archive_past(settings: Settings, past: Past, tell: Tell) -> None:
    """Archives what ended in the past and is not archived, oldest day first. Raises as `archive_once` does.

    Run again, it goes on where it stopped: what is archived is left alone.
    """
    async with _wired(settings) as wired:
        days = days_of(past, settings.archive.archive_settle)
        for number, stretch in enumerate(days, 1):
            begun = time.monotonic()
            count = await wired.archiver.archive(stretch, wired.status.count)
            tell(f"{stretch.day} ({number} of {len(days)}): {count:,} runs in {time.monotonic() - begun:.0f} s")
        tell(_summary(wired.status))


async def compact_past(settings: Settings, past: Past, tell: Tell) -> None:
    """Compacts the closed days of the past. Raises StoreError."""
    store = await asyncio.to_thread(open_store, settings.archive)
    for stretch in _closed(past, settings.archive.archive_settle):
        done = await asyncio.to_thread(compact, store, stretch.day)
        tell(f"{done.day}: {done.files_before} files became {done.files_after}, {done.bytes / 2**20:,.1f} MiB")


async def verify_past(settings: Settings, past: Past, tell: Tell) -> bool:
    """Whether the archive has what it wrote, and all that Prefect holds. Raises as `archive_once` does."""
    faults = 0
    async with _wired(settings) as wired:
        for stretch in days_of(past, settings.archive.archive_settle):
            found = await verify(wired.store, wired.api, stretch)
            faults += len(found.faults)
            checked = f"{found.runs:,} runs in Prefect, {found.files} files, {found.lines:,} log lines read again"
            tell(f"{stretch.day}: {f'{len(found.faults)} FAULTS' if found.faults else 'ok'} ({checked})")
            for fault in found.faults[:MAX_FAULTS_TOLD]:
                tell(f"  {fault}")
    return not faults


async def follow(settings: Settings) -> None:
    """Archives until SIGTERM or SIGINT, and serves metrics. Raises NoApiUrlError, StoreError, TlsError, ListenError."""
    tls.check_pair(settings.web)
    listener = bind(settings.archive.archive_listen)
    async with _wired(settings) as wired:
        server = make_server(make_archive_app(wired.status, settings.web), settings.web)
        stop = asyncio.Event()
        answering = asyncio.create_task(server.serve(sockets=[listener]))
        answering.add_done_callback(lambda _: stop.set())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        log.info("Archiving %s, serving %s/metrics", api_address(), url_of(listener, settings.web))
        try:
            await Follower(wired.archiver, wired.store, settings.archive, wired.status).run(stop)
        finally:
            server.should_exit = True
            await answering
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
    """The past without what has not settled, by day."""
    until = min(past.until, time.time() - settle)
    return list(stretches(past.since, until)) if past.since <= until else []


def _closed(past: Past, settle: float) -> list[Stretch]:
    """The days of the past that are over, and so long that a batch of theirs is not on its way."""
    return [one for one in days_of(past, settle + CLOSED_SECONDS) if day_bounds(one.day)[1] <= one.before]


def _summary(status: ArchiveStatus) -> str:
    done = status.written
    requests = sum(status.traffic.requests.values())
    return (
        f"Archived {done['runs']:,} runs, {done['task_runs']:,} task runs and {done['log_lines']:,} log lines:"
        f" {done['bytes'] / 2**20:,.1f} MiB of Parquet, {requests:,} requests to Prefect"
    )
