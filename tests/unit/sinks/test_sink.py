"""Pushing to CloudWatch by minute: in order, once, through outages and crashes, without delaying anything else."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import OUTCOMES
from prefect_monitoring.model.sink_status import SinkError
from prefect_monitoring.sinks.cloudwatch import sink as sinks
from prefect_monitoring.sinks.cloudwatch.sink import GAUGES_KEPT
from unit.fake_cloudwatch import ANSWER_LOST, FAULTS, FakeCloudWatch, answer
from unit.ledger_values import NOW, PIPELINE
from unit.rig import DAY
from unit.sink_world import COUNTS, MINUTE, World, until


@pytest.fixture(autouse=True)
def _without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "LONGEST_WAIT", 0.001)
    monkeypatch.setattr(sinks, "LEDGER_WAIT", 0.001)


@pytest.fixture
async def world(tmp_path: Path, empty_ledger: Path) -> AsyncIterator[World]:
    shutil.copy(empty_ledger, tmp_path / "ledger.db")
    new_world = World(tmp_path)
    await new_world.begin()
    await new_world.load_baseline()
    yield new_world
    new_world.cloudwatch.gate.set()
    await new_world.crash()


# Pushed values


async def test_closed_minute_is_pushed_and_forgotten(world: World) -> None:
    await world.end("COMPLETED")
    await world.end("FAILED")
    await world.pass_time(1)
    assert not world.cloudwatch.taken, "the minute is not over"
    await world.pass_time()
    await world.settle()
    (taken,) = world.cloudwatch.taken
    dimensions = (("Deployment", "daily"), ("Flow", "etl"), ("Installation", "prod"))
    assert {datum.name: (datum.value, datum.times) for datum in taken if datum.dimensions == dimensions} == {
        "RunsCompleted": (1.0, 1.0),
        "RunsFailed": (1.0, 1.0),
        "RunDuration": (2.0, 1.0),
        "SuccessRate": (pytest.approx(0.0), 1.0),
        "ConsecutiveFailures": (1.0, 1.0),
        "LastSuccessAge": (1.0, 1.0),
        "BudgetLeft": (-1.0, 1.0),
    }
    assert [datum.value for datum in taken if datum.dimensions == (("Installation", "prod"),)] == [1.0]
    assert {datum.minute for datum in taken} == {NOW}
    assert world.rows() == 1, "the gauges of the minute that is still open"
    assert world.sink.status.last_success == world.now


async def test_baseline_is_not_pushed(world: World) -> None:
    await world.pass_time()
    await world.pass_time()
    await world.settle()
    assert not world.pushed("RunsCompleted", "RunDuration")
    assert world.pushed("PrefectUp")


async def test_gauges_are_kept_once_a_minute(world: World) -> None:
    for _ in range(12):
        await world.pass_time(15)
    await world.settle()
    assert world.pushed("PrefectUp") == {"PrefectUp": 3}


async def test_custom_metrics_without_room_are_named_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    selection = world.sink._selection
    for names in (("rows_a",), ("rows_a", "rows_b"), ("rows_b",)):
        selection.left_out |= {(PIPELINE, name) for name in names}
        await world.pass_time()
    assert caplog.messages == [
        "cloudwatch_max_metrics has no room for 1 custom metrics, such as rows_a of etl/daily",
        "cloudwatch_max_metrics has no room for 2 custom metrics, such as rows_b of etl/daily",
    ]


# Outages


async def test_outage_of_an_hour_is_caught_up_in_order(world: World) -> None:
    world.cloudwatch.gate.clear()
    world.cloudwatch.faults.extend(["lost", "throttled", "hangs"])
    for _ in range(60):
        await world.end("COMPLETED")
        await world.pass_time()
    assert world.sink.status.lag(world.now) == pytest.approx(59 * MINUTE)
    world.cloudwatch.gate.set()
    await world.settle()
    minutes = [request[0].minute for request in world.cloudwatch.taken]
    assert minutes == sorted(minutes)
    assert len(minutes) == len(set(minutes)) == 60
    assert world.times_pushed() == dict.fromkeys(world.owed, 1)
    assert world.sink.status.lag(world.now) == 0
    failed = {reason: count for reason, count in world.sink.status.errors.items() if count}
    assert failed == {SinkError.UNREACHABLE: 2, SinkError.THROTTLED: 1}


async def test_outage_and_its_end_are_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "prefect_monitoring.sinks")
    world.cloudwatch.faults.extend(["denied"] * 5)
    await world.pass_time()
    await world.pass_time()
    await world.settle()
    assert caplog.messages == [
        "CloudWatch does not accept metrics (credentials): ClientError (AccessDenied)",
        "CloudWatch accepts metrics again",
    ]


async def test_outage_of_days_keeps_all_counts_but_only_hours_of_gauges(world: World) -> None:
    world.cloudwatch.gate.clear()
    step = 20 * MINUTE
    for _ in range(4 * 8 * 3):
        await world.end("FAILED")
        await world.pass_time(step)
    kept = GAUGES_KEPT // step
    assert world.rows() <= 4 * 8 * 3 + kept + 1
    world.cloudwatch.gate.set()
    await world.settle()
    assert world.times_pushed() == dict.fromkeys(world.owed, 1)
    assert world.pushed("PrefectUp")["PrefectUp"] <= kept + 2, "the one in progress, and those kept"
    assert world.sink.status.errors[SinkError.EXPIRED] > 0


async def test_values_older_than_two_weeks_are_lost_and_counted(world: World) -> None:
    await world.end("FAILED")
    await world.crash()
    world.now += 15 * DAY
    await world.begin()
    await world.end("COMPLETED")
    await world.pass_time()
    await world.settle()
    assert world.pushed("RunsCompleted", "RunsFailed") == {"RunsCompleted": 1}
    assert world.sink.status.errors[SinkError.EXPIRED] == 1


async def test_refused_metric_affects_no_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.cloudwatch.refuses = lambda member: member["MetricName"] == "RunsFailed"
    for _ in range(3):
        await world.end("FAILED")
        await world.end("COMPLETED")
        await world.pass_time()
    await world.settle()
    assert world.pushed("RunsCompleted", "RunsFailed") == {"RunsCompleted": 3}
    assert world.sink.status.errors[SinkError.REFUSED] == 3
    assert len([message for message in caplog.messages if "refuses RunsFailed" in message]) == 1


async def test_failing_client_creation_is_retried(world: World) -> None:
    made = iter([ModuleNotFoundError("boto3"), answer("ExpiredToken", 400)])

    def make() -> FakeCloudWatch:
        for error in made:
            raise error
        return world.cloudwatch

    world.make_client = make
    await world.pass_time()
    await world.pass_time()
    await world.settle()
    assert world.pushed("PrefectUp")
    assert world.sink.status.errors[SinkError.CONFIGURATION] == world.sink.status.errors[SinkError.CREDENTIALS] == 1


async def test_exception_is_counted_and_retried_with_the_next_minute(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sinks, "delivery_of", lambda *_: 1 / 0)
        await world.pass_time()
        await world.pass_time()
        await until(lambda: world.sink.status.errors[SinkError.INTERNAL] > 0)
    await world.pass_time()
    await world.settle()
    assert world.pushed("PrefectUp")["PrefectUp"] >= 2


async def test_ledger_fault_after_the_push_does_not_push_the_minute_again(world: World) -> None:
    faults = iter([LedgerError("disk full"), LedgerError("disk full")])
    forget = world.sink._forget

    def forget_later(*args: Any) -> int | None:
        for fault in faults:
            raise fault
        return forget(*args)

    world.sink._forget = forget_later
    await world.end("FAILED")
    await world.pass_time()
    await world.settle()
    assert world.times_pushed() == {NOW: 1}


async def test_unreadable_ledger_is_retried_with_the_next_minute(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    read = world.sink._next_owed

    def fail() -> None:
        raise LedgerError("locked")

    world.sink._next_owed = fail
    await world.end("FAILED")
    await world.pass_time()
    await until(lambda: "CloudWatch waits for the ledger: locked" in caplog.messages)
    world.sink._next_owed = read
    await world.pass_time()
    await world.settle()
    assert world.times_pushed() == {NOW: 1}


# No delays


async def test_hanging_cloudwatch_delays_neither_snapshots_nor_the_ledger_nor_shutdown(world: World) -> None:
    world.cloudwatch.gate.clear()
    await world.pass_time()
    await world.pass_time()
    await until(lambda: world.cloudwatch.calls > 0)
    async with asyncio.timeout(30):
        for _ in range(20):
            await world.end("COMPLETED")
            await world.pass_time()
    assert world.cloudwatch.calls == 1
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sinks, "STOP_SECONDS", 0.01)
        async with asyncio.timeout(30):
            await world.sink.stop(world.task)


async def test_shutdown_waits_for_the_request_in_progress(world: World) -> None:
    world.cloudwatch.gate.clear()
    await world.end("FAILED")
    await world.pass_time()
    await until(lambda: world.cloudwatch.calls > 0)
    stopping = asyncio.create_task(world.sink.stop(world.task))
    await asyncio.sleep(0)
    world.cloudwatch.gate.set()
    await stopping
    world.reader.close()
    await world.begin()
    await world.pass_time()
    await world.settle()
    assert world.times_pushed() == {NOW: 1}


# Exactness


async def run_story(world: World, chance: random.Random) -> tuple[int, int]:
    """Plays a random hour; returns the number of crashes and of lost responses."""
    crashes = 0
    lost = [ANSWER_LOST] * chance.randrange(3)
    faults = [chance.choice([*FAULTS.keys() - {ANSWER_LOST}, ""]) for _ in range(chance.randrange(40))] + lost
    chance.shuffle(faults)
    world.cloudwatch.faults.extend(faults)
    for _ in range(60):
        for _ in range(chance.randrange(4)):
            await world.end(chance.choice(list(COUNTS)))
        await world.pass_time(chance.choice([5, 15, 60, 130]))
        if chance.random() < 0.1:
            for _ in range(chance.randrange(30)):
                await asyncio.sleep(0)
            await world.crash()
            crashes += 1
            await world.begin()
    world.cloudwatch.faults = type(world.cloudwatch.faults)(fault for fault in world.cloudwatch.faults if fault == "")
    await world.pass_time()
    await world.settle()
    return crashes, len(lost)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
async def test_pushed_counts_match_the_ledger_through_faults_and_kills(world: World, seed: int) -> None:
    before = totals(world.reader.ledger)
    crashes, answers_lost = await run_story(world, random.Random(seed))
    times = world.times_pushed()
    assert min(times.values()) == 1, "at least once"
    assert sum(count - 1 for count in times.values()) <= crashes + answers_lost, "one minute for each of these at most"
    once = sum((owed for owed in world.owed.values()), Counter())
    assert {**totals(world.reader.ledger)} == {**before, **(before + once)}
    durations = {datum.value for request in world.cloudwatch.taken for datum in request if datum.name == "RunDuration"}
    assert len(durations) == once["RunsCompleted"], "each had a different duration"


def totals(ledger: Ledger) -> Counter[str]:
    """The totals of the ledger, by CloudWatch metric name."""
    return Counter(
        {
            name: int(one.value) if (one := ledger.series.get(SeriesKey(OUTCOMES, PIPELINE, state.lower()))) else 0
            for state, name in COUNTS.items()
        }
    )
