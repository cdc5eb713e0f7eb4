"""The readings as jobs: each at its interval, again at once while there is more to read, and over before the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from prefect_monitoring.ingest.source import Source

STOP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """`work`, every `seconds`; at once again while one of `sources` has more: a level, or what an outage left."""

    work: Callable[[], Awaitable[None]]
    seconds: float
    sources: tuple[Source, ...] = ()


class Jobs:
    """Runs jobs on the running event loop, the first time at once; a job never runs twice at the same time."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._under_way: set[asyncio.Task[None]] = set()
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        for job in jobs:
            self._scheduler.add_job(
                self._run,
                "interval",
                args=(job,),
                seconds=job.seconds,
                next_run_time=datetime.now(UTC),
                coalesce=True,
                max_instances=1,
                misfire_grace_time=None,
            )
        logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a long catch-up skips turns; that is no news
        self._scheduler.start()

    async def stop(self) -> None:
        """Drops what is under way, and waits until it is over: it may use what the caller closes next."""
        logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # what is dropped here is not a failure to tell
        self._scheduler.shutdown(wait=False)
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=STOP_SECONDS)

    async def _run(self, job: Job) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._under_way.add(task)
        try:
            await job.work()
            while any(source.has_more for source in job.sources):
                await job.work()
        finally:
            self._under_way.discard(task)
