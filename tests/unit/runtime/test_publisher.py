"""Each subscriber gets the newest snapshot, whatever happens to the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from prefect_monitoring.runtime import publisher as publishing
from prefect_monitoring.runtime.publisher import STALLED_SECONDS, Publisher
from prefect_monitoring.snapshot.model import Snapshot
from unit.snapshots import make_snapshot

SNAPSHOTS = [replace(make_snapshot(), taken_at=float(number)) for number in range(5)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Subscriber:
    """Records the `taken_at` of its snapshots; waits while `gate` is closed, raises while `fault` is set."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.took: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault: Exception | None = None
        self._changed = asyncio.Condition()

    async def take(self, snapshot: Snapshot) -> None:
        self.begun.append(snapshot.taken_at)
        await self._tell()
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.took.append(snapshot.taken_at)
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def has(self, taken_at: float) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: taken_at in self.took)

    async def has_begun(self, taken_at: float) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: taken_at in self.begun)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def publisher(clock: Clock) -> AsyncIterator[Publisher]:
    new_publisher = Publisher(clock)
    yield new_publisher
    await new_publisher.stop()


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records if record.levelno >= logging.INFO]


async def test_every_subscriber_gets_each_snapshot_while_it_keeps_up(publisher: Publisher) -> None:
    subscribers = [Subscriber(), Subscriber()]
    for number, subscriber in enumerate(subscribers):
        publisher.subscribe(f"sink {number}", subscriber.take)
    for snapshot in SNAPSHOTS[:3]:
        await publisher.publish(snapshot)
        for subscriber in subscribers:
            await subscriber.has(snapshot.taken_at)
    assert [subscriber.took for subscriber in subscribers] == [[0.0, 1.0, 2.0]] * 2


async def test_slow_subscriber_gets_the_newest_without_delaying_others(publisher: Publisher) -> None:
    slow, quick = Subscriber(), Subscriber()
    slow.gate.clear()
    publisher.subscribe("sink", slow.take)
    publisher.subscribe("web", quick.take, awaited=True)
    for snapshot in SNAPSHOTS:
        await publisher.publish(snapshot)
        assert quick.took[-1] == snapshot.taken_at, "awaited: it has it once publish returns"
        await slow.has_begun(0.0)
    slow.gate.set()
    await slow.has(4.0)
    assert slow.took == [0.0, 4.0]


async def test_raising_subscriber_affects_no_other_and_is_logged_once_per_outage(
    publisher: Publisher, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    broken, web = Subscriber(), Subscriber()
    publisher.subscribe("sink", broken.take)
    publisher.subscribe("web", web.take, awaited=True)
    for _outage in range(2):
        for subscriber in (broken, web):
            subscriber.begun.clear()
            subscriber.took.clear()
        caplog.clear()
        broken.fault = ZeroDivisionError("a defect")
        for snapshot in SNAPSHOTS[:3]:
            clock.now += 10
            await publisher.publish(snapshot)
            await broken.has_begun(snapshot.taken_at)
        assert web.took == [0.0, 1.0, 2.0]
        assert logged(caplog) == ["WARNING The sink could not take a snapshot"]
        assert "ZeroDivisionError" in caplog.text
        broken.fault = None
        clock.now += 5
        await publisher.publish(SNAPSHOTS[3])
        await broken.has(3.0)
        assert logged(caplog)[1:] == ["INFO The sink takes snapshots again after 25 s"]


async def test_hanging_subscriber_is_logged_once_until_it_continues(
    publisher: Publisher, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hung = Subscriber()
    hung.gate.clear()
    publisher.subscribe("sink", hung.take)
    for number in range(4):
        await publisher.publish(SNAPSHOTS[number])
        await hung.has_begun(0.0)
        clock.now += STALLED_SECONDS / 2
    assert logged(caplog) == ["WARNING The sink has been busy with one snapshot for 60 s"]
    hung.gate.set()
    await hung.has(3.0)
    assert logged(caplog)[1:] == ["INFO The sink takes snapshots again after 120 s"]


async def test_hanging_awaited_subscriber_does_not_block_polling(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "AWAITED_SECONDS", 0.05)
    web, sink = Subscriber(), Subscriber()
    web.gate.clear()
    publisher.subscribe("web", web.take, awaited=True)
    publisher.subscribe("sink", sink.take)
    async with asyncio.timeout(30):
        await publisher.publish(SNAPSHOTS[0])
    await sink.has(0.0)
    assert web.took == []


async def test_no_delivery_is_running_after_the_stop(publisher: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    sink = Subscriber()
    sink.gate.clear()
    publisher.subscribe("sink", sink.take)
    await publisher.publish(SNAPSHOTS[0])
    await sink.has_begun(0.0)
    await publisher.stop()
    sink.gate.set()
    await asyncio.sleep(0)
    assert sink.took == []
    assert logged(caplog) == []


async def test_without_subscribers_a_snapshot_is_dropped(publisher: Publisher) -> None:
    await publisher.publish(SNAPSHOTS[0])
