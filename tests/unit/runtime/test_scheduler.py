"""When jobs run, what they log, and how they stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from prefect_monitoring.runtime import scheduler as scheduling
from prefect_monitoring.runtime.scheduler import Cron, Every, Job, Scheduler, _trigger_of, latest_time

NEVER = Every(3600)
SOON = Every(0.02)

Start = Callable[..., Scheduler]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    started: list[Scheduler] = []

    def start_all(*jobs: Job) -> Scheduler:
        started.append(Scheduler(jobs))
        started[-1].start()
        return started[-1]

    yield start_all
    for scheduler in started:
        if scheduler._scheduler.running:
            await scheduler.stop()


class Work:
    """Counts its runs; the n-th run waits for the n-th gate, if there is one."""

    def __init__(self, *gates: asyncio.Event) -> None:
        self.runs = self.at_once = self.most_at_once = 0
        self._gates = gates
        self._changed = asyncio.Condition()

    async def __call__(self) -> None:
        self.runs += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            async with self._changed:
                self._changed.notify_all()
            if self.runs <= len(self._gates):
                await self._gates[self.runs - 1].wait()
        finally:
            self.at_once -= 1

    async def has_run(self, times: int) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: self.runs >= times)


def said(records: Iterable[logging.LogRecord]) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in records if record.levelno >= logging.WARNING]


# Intervals


async def test_interval_job_runs_at_once_and_again(start: Start) -> None:
    work = Work()
    start(Job("poll", SOON, work))
    await work.has_run(3)


async def test_jobs_run_side_by_side(start: Start) -> None:
    gate = asyncio.Event()
    slow, quick = Work(gate), Work()
    start(Job("slow", NEVER, slow), Job("quick", SOON, quick))
    await quick.has_run(3)
    assert slow.at_once == 1


async def test_job_runs_again_at_once_while_it_has_more(start: Start) -> None:
    work = Work()
    start(Job("poll", NEVER, work, has_more=lambda: work.runs < 5))
    await work.has_run(5)


async def test_job_without_more_work_waits_for_its_interval(start: Start) -> None:
    work, other = Work(), Work()
    start(Job("poll", NEVER, work, has_more=lambda: work.runs < 2), Job("other", SOON, other))
    await work.has_run(2)
    await other.has_run(other.runs + 5)
    assert work.runs == 2


async def test_long_run_does_not_overlap_and_logs_nothing(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A baseline load takes hours, during which hundreds of polls are due."""
    gate = asyncio.Event()
    slow, quick = Work(gate), Work()
    start(Job("slow", SOON, slow), Job("quick", SOON, quick))
    await quick.has_run(10)
    assert slow.runs == 1
    gate.set()
    await slow.has_run(3)
    assert slow.most_at_once == 1
    assert said(caplog.records) == []


def test_apscheduler_loggers_keep_their_levels() -> None:
    """Users may want to see them, and other schedulers of the process use them too."""
    levels = {name: logging.getLogger(name).level for name in ("apscheduler", "apscheduler.scheduler")}
    Scheduler([Job("poll", NEVER, Work())])
    assert levels == dict.fromkeys(levels, logging.NOTSET)
    assert {name: logging.getLogger(name).level for name in levels} == levels


async def test_raising_job_is_logged_and_runs_again(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    work = Work()

    async def broken() -> None:
        await work()
        raise ZeroDivisionError("a defect")

    start(Job("broken", SOON, broken, has_more=lambda: True))
    await work.has_run(2)
    [first, *_] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert '"broken' in first.getMessage()
    assert first.exc_info is not None
    assert isinstance(first.exc_info[1], ZeroDivisionError)


# Crontabs


def next_times(cron: Cron, after: str, count: int) -> list[str]:
    trigger = _trigger_of(cron)
    now = previous = None
    times = []
    for _ in range(count):
        now = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(cron.zone)) if now is None else now
        now = previous = trigger.get_next_fire_time(previous, now)
        times.append(now.isoformat())
    return times


def test_cron_follows_its_time_zone() -> None:
    """Summer time begins in Zurich on 2026-03-29."""
    assert next_times(Cron("0 8 * * MON", "Europe/Zurich"), "2026-03-20T00:00", 2) == [
        "2026-03-23T08:00:00+01:00",
        "2026-03-30T08:00:00+02:00",
    ]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 8 * * 1", ["2026-03-02", "2026-03-09"]),
        ("0 8 * * 0", ["2026-03-08", "2026-03-15"]),
        ("0 8 * * 7", ["2026-03-08", "2026-03-15"]),
        ("0 8 * * 1-5", ["2026-03-02", "2026-03-03"]),
        ("0 8 * * 6,sun", ["2026-03-07", "2026-03-08"]),
        ("0 8 * * 0-2", ["2026-03-02", "2026-03-03"]),
        ("0 8 * * 5-7", ["2026-03-06", "2026-03-07"]),
        ("0 8 * * */2", ["2026-03-03", "2026-03-05"]),
        ("0 8 * * 1-5/2", ["2026-03-02", "2026-03-04"]),
        ("0 8 * * mon-fri", ["2026-03-02", "2026-03-03"]),
        ("0 8 1 * *", ["2026-04-01", "2026-05-01"]),
    ],
)
def test_cron_counts_weekdays_as_crontab_does(expression: str, expected: list[str]) -> None:
    """2026-03-02 is a Monday, which is 0 in APScheduler."""
    times = next_times(Cron(expression), "2026-03-02T00:00", 2)
    assert [time.partition("T")[0] for time in times] == expected


@pytest.mark.parametrize(
    "cron",
    [
        Cron("0 8 * *"),
        Cron("61 8 * * *"),
        Cron("0 8 * * 8"),
        Cron("0 8 * * 5-2"),
        Cron("soon"),
        Cron(""),
        Cron("0 8 * * *", "Mars/Olympus"),
    ],
)
def test_invalid_cron_is_refused(cron: Cron) -> None:
    with pytest.raises(ValueError, match=r"."):
        Scheduler([Job("report", cron, Work())])


async def test_cron_job_does_not_run_at_the_start(start: Start) -> None:
    report, other = Work(), Work()
    start(Job("report", Cron("0 0 29 2 *"), report), Job("other", SOON, other))
    await other.has_run(3)
    assert report.runs == 0


async def test_cron_job_runs_at_the_start_if_requested(start: Start) -> None:
    report = Work()
    start(Job("report", Cron("0 0 29 2 *"), report, at_start=True))
    await report.has_run(1)


def latest(expression: str, after: str, until: str, zone: str = "UTC") -> str | None:
    clocks = ZoneInfo(zone)
    low, high = (datetime.fromisoformat(text).replace(tzinfo=clocks).timestamp() for text in (after, until))
    latest_at = latest_time(Cron(expression, zone), low, high)
    return None if latest_at is None else datetime.fromtimestamp(latest_at, clocks).isoformat()


@pytest.mark.parametrize(
    ("after", "until", "expected"),
    [
        ("2026-03-02T08:00", "2026-03-09T07:59:59", None),
        ("2026-03-02T08:00", "2026-03-09T08:00", "2026-03-09T08:00:00+00:00"),
        ("2026-03-02T08:00", "2026-03-31T00:00", "2026-03-30T08:00:00+00:00"),
        ("2026-03-31T00:00", "2026-03-02T08:00", None),
    ],
)
def test_latest_time_is_the_last_one_due(after: str, until: str, expected: str | None) -> None:
    assert latest("0 8 * * mon", after, until) == expected


def test_latest_time_repeated_by_dst_is_the_first() -> None:
    """Summer time ends in Zurich on 2026-10-25: 02:30 comes twice."""
    first = "2026-10-25T02:30:00+02:00"
    assert latest("30 2 * * *", "2026-10-25T00:00", "2026-10-25T12:00", "Europe/Zurich") == first
    assert latest("30 2 * * *", "2026-10-25T02:30", "2026-10-25T12:00", "Europe/Zurich") is None


# Shutdown


async def test_nothing_runs_after_the_stop(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A cancelled job may still use the ledger, which is closed next."""
    begun, over = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)  # a commit
            over.set()

    scheduler = start(Job("poll", NEVER, work, has_more=lambda: True))
    await begun.wait()
    begun.clear()
    await scheduler.stop()
    assert over.is_set()
    assert not begun.is_set()
    assert said(caplog.records) == []


async def test_uncancellable_job_is_awaited_up_to_a_limit(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scheduling, "STOP_SECONDS", 0.1)
    begun, enough = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        while not enough.is_set():
            try:
                await enough.wait()
            except asyncio.CancelledError:
                continue

    scheduler = start(Job("deaf", NEVER, work), Job("poll", NEVER, Work()))
    await begun.wait()
    async with asyncio.timeout(30):
        await scheduler.stop()
    assert said(caplog.records) == ["WARNING Still at work 0 s after they were stopped: deaf"]
    enough.set()


async def test_stop_keeps_a_pending_job_from_starting(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    scheduler = start(Job("poll", NEVER, work))
    async with asyncio.timeout(30):
        # Submitted, but not started; an event would wake this test up after the job.
        while not scheduler._running:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await scheduler.stop()
    assert work.runs == 0
    assert said(caplog.records) == []


async def test_stop_right_after_the_start_runs_no_job(start: Start) -> None:
    work = Work()
    await start(Job("poll", NEVER, work)).stop()
    for _ in range(10):
        await asyncio.sleep(0)
    assert work.runs == 0
