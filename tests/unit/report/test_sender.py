"""The report is sent once when due, also across restarts, in its time zone, and retried while Slack is down."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from prefect_monitoring.config.settings import SettingsError
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.changes import Changes
from prefect_monitoring.model.sink_status import SinkError
from prefect_monitoring.report.sender import ReportSender, checked_schedule
from prefect_monitoring.report.webhook import SlackError
from support.options import settings_with
from unit.ledger_values import NOW, baseline_cursor, outcome
from unit.rig import DAY

HOUR = 3600.0
WEBHOOK = "https://hooks.slack.test/services/Sesam0451"


class World:
    """Successive exporter processes on one ledger, Slack, and a clock that pauses advance."""

    def __init__(self, ledger: Ledger, file: Path, schedule: str, zone: str) -> None:
        self.ledger, self.now = ledger, NOW
        self.options = {
            "ledger_url": f"sqlite:///{file}",
            "report_schedule": schedule,
            "report_time_zone": zone,
            "report_slack_webhook_url": WEBHOOK,
        }
        self.sent: list[float] = []
        self.faults: list[Exception] = []
        self.pauses: list[float] = []
        self.counts_everything = True
        self.start()

    def start(self, **changes: object) -> None:
        settings = settings_with(**{**self.options, **changes})
        cron = checked_schedule(settings.report)
        assert cron is not None
        self.sender = ReportSender(
            settings, cron, self.ledger, self._in_ledger, send=self._slack, clock=lambda: self.now, pause=self._pause
        )

    async def at(self, instant: float) -> None:
        self.now = instant
        self._count()
        await self.sender.send_due()

    def _count(self) -> None:
        if self.counts_everything:
            self.ledger.commit(Changes(), baseline_cursor(self.ledger, self.now), self.now)

    async def _in_ledger(self, work: Callable[..., Any], *args: Any) -> Any:
        return work(*args)

    async def _slack(self, url: str, message: Mapping[str, Any]) -> None:
        assert url == WEBHOOK
        assert message["blocks"]
        if self.faults:
            raise self.faults.pop(0)
        self.sent.append(self.now)

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        self.counts_everything = True
        self._count()


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(ledger: Ledger, tmp_path: Path) -> MakeWorld:
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)

    def make(schedule: str = "0 8 * * mon", zone: str = "UTC") -> World:
        return World(ledger, tmp_path / "ledger.db", schedule, zone)

    return make


def instant(text: str, zone: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


# NOW is a Monday's noon: the next report is due on Monday at 8.
DUE = NOW + 7 * DAY - 4 * HOUR


async def test_first_start_sends_nothing_for_the_past(make_world: MakeWorld) -> None:
    world = make_world()
    await world.at(NOW)
    await world.at(DUE - 1)
    assert world.sent == []


async def test_report_is_sent_once_when_it_is_due(make_world: MakeWorld) -> None:
    world = make_world()
    for at in (NOW, DUE, DUE, DUE + HOUR, DUE + 7 * DAY):
        await world.at(at)
    assert world.sent == [DUE, DUE + 7 * DAY]
    assert world.sender.status.last_success == DUE + 7 * DAY
    assert world.sender.status.waiting_since is None


async def test_report_is_not_sent_again_after_a_restart(make_world: MakeWorld) -> None:
    world = make_world()
    await world.at(NOW)
    await world.at(DUE)
    world.start()
    await world.at(DUE + 5)
    assert world.sent == [DUE]
    assert world.sender.status.last_success == DUE, "the metric survives the restart"


async def test_report_due_while_stopped_is_sent_once_at_the_start(make_world: MakeWorld) -> None:
    world = make_world()
    await world.at(NOW)
    world.start()
    await world.at(DUE + 15 * DAY)
    assert world.sent == [DUE + 15 * DAY], "one for three that were missed"
    await world.at(DUE + 15 * DAY + 60)
    assert len(world.sent) == 1


async def test_report_waits_until_runs_of_its_period_are_counted(make_world: MakeWorld) -> None:
    world = make_world()
    await world.at(NOW)
    world.counts_everything = False
    await world.at(DUE)
    assert world.sent == [DUE + 15]


async def test_changed_schedule_starts_now(make_world: MakeWorld) -> None:
    world = make_world()
    await world.at(NOW)
    world.start(report_schedule="0 8 * * tue")
    await world.at(NOW + 3 * DAY)
    assert world.sent == [], "Tuesday was two days ago, under the previous schedule"
    await world.at(NOW + 8 * DAY)
    assert world.sent == [NOW + 8 * DAY]


# Daylight saving time


async def test_time_repeated_by_dst_sends_one_report(make_world: MakeWorld) -> None:
    world, zone = make_world("30 2 * * *", "Europe/Zurich"), "Europe/Zurich"
    first = instant("2026-10-25T02:30", zone)
    for at in (first - HOUR, first, first + HOUR / 2, first + HOUR, first + HOUR + 1, first + 2 * HOUR):
        await world.at(at)
    assert world.sent == [first]
    await world.at(instant("2026-10-26T02:30", zone))
    assert len(world.sent) == 2


async def test_time_skipped_by_dst_sends_one_report(make_world: MakeWorld) -> None:
    world, zone = make_world("30 2 * * *", "Europe/Zurich"), "Europe/Zurich"
    midnight = instant("2026-03-29T00:00", zone)
    for hours in (0, 1, 2, 3, 4, 12):
        await world.at(midnight + hours * HOUR)
    assert len(world.sent) == 1


async def test_local_time_is_kept_across_dst(make_world: MakeWorld) -> None:
    world, zone = make_world("0 8 * * mon", "Europe/Zurich"), "Europe/Zurich"
    before, after = instant("2026-10-19T08:00", zone), instant("2026-10-26T08:00", zone)
    assert after - before == 7 * DAY + HOUR
    for at in (before - 1, before, after - 1, after):
        await world.at(at)
    assert world.sent == [before, after]


# Faults


async def test_slack_outage_is_retried_with_backoff(make_world: MakeWorld, caplog: pytest.LogCaptureFixture) -> None:
    world = make_world()
    await world.at(NOW)
    world.faults = [SlackError(SinkError.UNREACHABLE, "Slack answered 503")] * 8 + [
        SlackError(SinkError.THROTTLED, "Slack answered 429")
    ]
    await world.at(DUE)
    assert world.pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert world.sent == [DUE + sum(world.pauses)]
    errors = world.sender.status.errors
    assert (errors[SinkError.UNREACHABLE], errors[SinkError.THROTTLED]) == (8, 1)
    assert "Sesam" not in caplog.text
    await world.at(world.now + 60)
    assert len(world.sent) == 1


async def test_lag_grows_while_slack_is_down(make_world: MakeWorld) -> None:
    world = make_world()
    await world.at(NOW)
    lags = []

    async def pause(seconds: float) -> None:
        world.now += seconds
        lags.append(world.sender.status.lag(world.now))

    world.sender._pause = pause
    world.faults = [SlackError(SinkError.UNREACHABLE, "down")] * 2
    await world.at(DUE)
    assert lags == [60, 180]
    assert world.sender.status.lag(world.now) == 0


async def test_restart_during_a_slack_outage_retries(make_world: MakeWorld) -> None:
    world = make_world()
    await world.at(NOW)

    async def stopped(_seconds: float) -> None:
        raise TimeoutError

    world.sender._pause = stopped
    world.faults = [SlackError(SinkError.UNREACHABLE, "down")]
    with pytest.raises(TimeoutError):
        await world.at(DUE)
    world.start()
    await world.at(DUE + 30)
    assert world.sent == [DUE + 30]


async def test_unwritable_ledger_sends_no_report_twice(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world()
    await world.at(NOW)

    def full(*_: object) -> None:
        raise LedgerError("no room is left")

    monkeypatch.setattr(world.sender, "_remember", full)
    await world.at(DUE)
    await world.at(DUE + 60)
    assert world.sent == [DUE]
    assert "no room is left" in caplog.text


async def test_exception_is_counted_and_retried(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world()
    await world.at(NOW)
    world.faults = [ZeroDivisionError("a defect")]
    with caplog.at_level(logging.ERROR):
        await world.at(DUE)
    assert world.sent == [DUE + 60]
    assert world.sender.status.errors[SinkError.INTERNAL] == 1
    assert "ZeroDivisionError" in caplog.text


async def test_broken_pipelines_file_delays_no_report(make_world: MakeWorld, tmp_path: Path) -> None:
    """The exporter keeps the last good one in the ledger."""
    file = tmp_path / "pipelines.yml"
    file.write_text("pipelines: nonsense")
    world = make_world()
    world.start(pipelines=str(file))
    await world.at(NOW)
    await world.at(DUE)
    assert world.sent == [DUE]


# Settings


@pytest.mark.parametrize("schedule", ["0 25 * * *", "a b c d e", "0 8 * * mox"])
def test_invalid_schedule_is_refused(schedule: str) -> None:
    settings = settings_with(report_schedule=schedule)
    with pytest.raises(SettingsError, match="report_schedule: '"):
        checked_schedule(settings.report)


def test_without_a_schedule_nothing_is_sent() -> None:
    assert checked_schedule(settings_with().report) is None
