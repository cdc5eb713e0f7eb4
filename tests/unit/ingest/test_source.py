"""A reading's deadline and status, and logging an outage once."""

from __future__ import annotations

import asyncio
import logging

import pytest

from prefect_monitoring.ingest.source import OutageLog, Reading, Source
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.model.source_status import READING_BOUNDS
from prefect_monitoring.prefect_api.errors import ApiError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outages(caplog: pytest.LogCaptureFixture) -> OutageLog:
    caplog.set_level(logging.DEBUG, logger="prefect_monitoring")
    return OutageLog()


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


async def works() -> Reading:
    return Reading(7)


async def fails() -> Reading:
    raise ApiError("the API answered 503", "503")


async def test_successful_reading_is_up_and_complete(clock: Clock, outages: OutageLog) -> None:
    source = Source("flows", 5, outages, clock)
    assert source.status().up is None
    assert source.status().error == "not read yet"

    async def slow() -> Reading:
        clock.now += 3
        return Reading(7)

    assert await source.read(slow)
    status = source.status()
    assert (status.up, status.records, status.error) == (True, 7, "")
    assert status.last_success == 1003
    assert status.complete_to == 1000, "records that arrive during the reading may be missing"
    assert sum(status.readings.buckets) == 1
    assert await source.read(works)
    assert source.status().records == 14


async def test_partial_reading_is_up_but_not_complete(clock: Clock, outages: OutageLog) -> None:
    source = Source("finished", 5, outages, clock)

    async def partly() -> Reading:
        return Reading(3, complete=False)

    assert await source.read(partly)
    assert source.has_more
    assert source.status().complete_to is None
    assert source.status().last_success == 1000
    assert not await source.read(fails)
    assert not source.has_more, "a fault waits for the next poll"
    await source.read(partly)
    await source.read(works)
    assert not source.has_more


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ApiError("the API answered 503", "503"), "the API answered 503"),
        (LedgerError("the ledger is read-only"), "the ledger is read-only"),
        (ZeroDivisionError("internal"), "unexpected ZeroDivisionError"),
        (TimeoutError(), "no complete answer within 5 s"),
    ],
)
async def test_failed_reading_is_reported_without_raising(
    clock: Clock, outages: OutageLog, error: Exception, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source("flows", 5, outages, clock)
    await source.read(works)

    async def broken() -> Reading:
        raise error

    clock.now += 60
    assert not await source.read(broken)
    status = source.status()
    assert (status.up, status.error, status.records) == (False, message, 7)
    assert status.last_success == 1000
    assert lines(caplog, logging.WARNING) == [f"Reading flows failed: {message}"]
    has_traceback = any(record.exc_info and record.exc_info[0] for record in caplog.records)
    assert has_traceback == isinstance(error, ZeroDivisionError)


async def test_hanging_reading_ends_at_its_deadline(clock: Clock, outages: OutageLog) -> None:
    source = Source("flows", 0.05, outages, clock)

    async def hangs() -> Reading:
        await asyncio.sleep(60)
        raise AssertionError

    assert not await source.read(hangs)
    assert source.status().error == "no complete answer within 0.05 s"
    assert 0.05 <= source.status().readings.value < 5
    assert source.status().readings.buckets[0] == 0
    assert READING_BOUNDS[0] == 0.05


async def test_cancelled_reading_is_no_fault_of_the_source(clock: Clock, outages: OutageLog) -> None:
    source = Source("flows", 60, outages, clock)
    task = asyncio.create_task(source.read(lambda: asyncio.sleep(60)))  # type: ignore[arg-type,return-value]
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.status().up is None


async def test_outage_logs_one_warning_and_one_recovery(
    clock: Clock, outages: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    sources = [Source(name, 5, outages, clock) for name in ("finished", "active", "flows")]
    for _ in range(4):
        for source in sources:
            await source.read(fails)
    assert len(lines(caplog, logging.WARNING)) == 1
    assert lines(caplog, logging.INFO) == []
    for _ in range(3):
        for source in sources:
            await source.read(works)
    recovered = lines(caplog, logging.INFO)
    assert len(recovered) == 1
    assert "Every source is read again; the last to recover was flows" in recovered[0]
    await sources[0].read(fails)
    assert len(lines(caplog, logging.WARNING)) == 2, "the next outage is logged again"


async def test_each_outage_and_each_recovery_is_logged_while_another_lasts(
    clock: Clock, outages: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    steady, flapping = Source("steady", 5, outages, clock), Source("flapping", 5, outages, clock)

    async def other() -> Reading:
        raise ApiError("not found", "404")

    for _ in range(5):
        await steady.read(fails)
        await flapping.read(other)
        await flapping.read(other)
        await flapping.read(works)
        await flapping.read(works)
    assert len(lines(caplog, logging.WARNING)) == 1 + 5
    recovered = lines(caplog, logging.INFO)
    assert len(recovered) == 5
    assert all(line.startswith("Reading flapping works again") for line in recovered)


async def test_outage_with_the_error_of_a_lasting_one_is_logged(
    clock: Clock, outages: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken endpoint answers 503 for weeks; at times, the whole server does."""
    steady, *others = (Source(name, 5, outages, clock) for name in ("steady", "finished", "flows"))
    for _ in range(3):
        await steady.read(fails)
        for other in others:
            await other.read(works)
    for _ in range(2):
        for _poll in range(3):
            for source in (steady, *others):
                await source.read(fails)
        for other in others:
            await other.read(works)
    assert lines(caplog, logging.WARNING) == [
        "Reading steady failed: the API answered 503",
        *["Reading finished failed: the API answered 503"] * 2,
    ]
    assert [line.rpartition(" after")[0] for line in lines(caplog, logging.INFO)] == ["Reading flows works again"] * 2


async def test_source_without_requests_is_up_if_the_source_it_depends_on_is(clock: Clock, outages: OutageLog) -> None:
    active, beats = Source("active", 5, outages, clock), Source("beats", 5, outages, clock)

    async def no_active_runs() -> Reading:
        return Reading(0, asked=False)

    await active.read(works)
    assert await beats.read(no_active_runs, active)
    await active.read(fails)
    clock.now += 60
    assert not await beats.read(no_active_runs, active)
    status = beats.status()
    assert (status.up, status.last_success, status.complete_to) == (None, 1000, 1000)
    assert status.error == "not asked: active cannot be read"
    await active.read(works)
    assert await beats.read(no_active_runs, active)
    assert beats.status().last_success == 1060


async def test_alternating_faults_are_one_outage(
    clock: Clock, outages: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source("flows", 5, outages, clock)

    async def other() -> Reading:
        raise ApiError("not found", "404")

    for _ in range(4):
        await source.read(fails)
        await source.read(other)
    await source.read(works)
    assert (len(lines(caplog, logging.WARNING)), len(lines(caplog, logging.INFO))) == (2, 1)


async def test_changed_number_of_waiting_runs_is_no_new_fault(
    clock: Clock, outages: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source("finished", 5, outages, clock)
    for number in (3, 14, 15):

        async def waits(number: int = number) -> Reading:
            raise ApiError(f"{number} finished runs wait to be counted: the server failed", "incomplete")

        await source.read(waits)
    assert len(lines(caplog, logging.WARNING)) == 1
