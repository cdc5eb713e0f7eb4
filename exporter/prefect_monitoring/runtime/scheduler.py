"""Runs jobs on the event loop at their times, one instance at a time, and again at once while they have more to do."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, EVENT_JOB_SUBMITTED
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 5.0
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Every:
    """At once, and then every `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Cron:
    """At the times of a crontab `expression` of five fields, in the time zone `zone` (an IANA name).

    Weekdays count from Sunday, 0 or 7, as in crontab(5). Unlike there, a day has to match both day fields.
    """

    expression: str
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Job:
    """`work`, at the times of `trigger`; `has_more` says after each run whether to run again at once.

    `at_start`: also when the scheduler starts, as `Every` always does.
    """

    name: str
    trigger: Every | Cron
    work: Callable[[], Awaitable[None]]
    has_more: Callable[[], bool] = lambda: False
    at_start: bool = False


class Scheduler:
    """Runs jobs from `start` to `stop`. A run that takes too long delays the next one.

    Missed times, also while the machine slept, become one run, however late. An exception of a job is logged with its
    traceback, and the job runs again at its next time.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        """Raises ValueError for an invalid cron expression or time zone."""
        self._running: dict[str, asyncio.Task[Any] | None] = {}
        self._idle = asyncio.Event()
        self._stopping = False
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        for job in jobs:
            at_start = job.at_start or isinstance(job.trigger, Every)
            first = {"next_run_time": datetime.now(UTC)} if at_start else {}
            self._scheduler.add_job(
                self._run,
                _trigger_of(job.trigger),
                args=(job,),
                id=job.name,
                name=job.name,
                coalesce=True,
                misfire_grace_time=None,
                **first,
            )
        self._scheduler.add_listener(self._on_begin, EVENT_JOB_SUBMITTED)
        self._scheduler.add_listener(self._on_end, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)

    def start(self) -> None:
        """Starts the jobs on the running event loop."""
        self._scheduler.start()

    async def stop(self) -> None:
        """Cancels running jobs and waits for their end, for at most `STOP_SECONDS`; nothing runs after that."""
        self._stopping = True
        self._scheduler.pause()
        for task in filter(None, self._running.values()):
            task.cancel()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                while self._running:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            log.warning("Still at work %.0f s after they were stopped: %s", STOP_SECONDS, ", ".join(self._running))
        self._scheduler.shutdown(wait=False)

    async def _run(self, job: Job) -> bool:
        """Runs a job; returns whether to run it again at once."""
        if self._stopping:
            return False
        self._running[job.name] = asyncio.current_task()
        try:
            await job.work()
        except asyncio.CancelledError:
            if not self._stopping:  # else APScheduler would log it as a failure of the job
                raise
        return job.has_more()

    def _on_begin(self, event: Any) -> None:
        """Removes a running job's next time; otherwise APScheduler would try to start it again and warn."""
        self._running[event.job_id] = None
        self._scheduler.pause_job(event.job_id)

    def _on_end(self, event: Any) -> None:
        del self._running[event.job_id]
        self._idle.set()
        if self._stopping:
            return
        if event.retval:
            self._scheduler.modify_job(event.job_id, next_run_time=datetime.now(UTC))
        else:
            self._scheduler.resume_job(event.job_id)


def latest_time(cron: Cron, after: float, until: float) -> float | None:
    """The last of the times of `cron` within (after, until], in epoch seconds; None if there is none.

    A local time that occurs twice, when clocks are set back, counts once. Raises ValueError as the scheduler does.
    """
    trigger, latest = _trigger_of(cron), None
    following = trigger.get_next_fire_time(None, _just_after(after))
    while following is not None and following.timestamp() <= until:
        latest = latest if following.fold else following.timestamp()
        following = trigger.get_next_fire_time(None, _just_after(following.timestamp()))
    return latest


def _just_after(instant: float) -> datetime:
    return datetime.fromtimestamp(instant, UTC) + timedelta(microseconds=1)


def _trigger_of(trigger: Every | Cron) -> IntervalTrigger | CronTrigger:
    if isinstance(trigger, Every):
        return IntervalTrigger(seconds=trigger.seconds, timezone=UTC)
    *fields, weekdays = trigger.expression.split() or [""]
    try:
        return CronTrigger.from_crontab(" ".join([*fields, _named(weekdays)]), timezone=ZoneInfo(trigger.zone))
    except ZoneInfoNotFoundError:
        raise ValueError(f"{trigger.zone} is not a time zone: give a name like Europe/Zurich or UTC") from None


def _named(weekdays: str) -> str:
    """A crontab's days of the week as names: APScheduler counts from Monday, and has no range that begins on Sunday."""
    days: list[str] = []
    for part in weekdays.split(","):
        chosen = re.fullmatch(r"(?:\*(?=/)|(?P<first>[0-7])(?:-(?P<last>[0-7]))?)(?:/(?P<step>[1-7]))?", part)
        if chosen is None:
            days.append(part)
            continue
        first = int(chosen["first"] or 0)
        last = int(chosen["last"] or (first if chosen["first"] else 6))
        days += _WEEKDAYS[first : last + 1 : int(chosen["step"] or 1)]
    return ",".join(days)
