"""When jobs run, and how they end."""

from __future__ import annotations

import asyncio

import pytest

from prefect_monitoring.runtime import scheduler as jobs
from prefect_monitoring.runtime.scheduler import Job, Jobs


async def test_nothing_is_under_way_after_the_stop() -> None:
    """What is dropped may still be at work: with the ledger, which is closed next."""
    begun, over = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            over.set()

    running = Jobs([Job(work, 3600)])
    await begun.wait()
    await running.stop()
    assert over.is_set()


async def test_a_job_that_will_not_be_dropped_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "STOP_SECONDS", 0.1)
    begun, enough = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        while not enough.is_set():
            try:
                await enough.wait()
            except asyncio.CancelledError:
                continue

    running = Jobs([Job(work, 3600)])
    await begun.wait()
    async with asyncio.timeout(30):
        await running.stop()
    enough.set()


async def test_what_has_never_begun_does_not_begin() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()

    await Jobs([Job(work, 3600)]).stop()
    await asyncio.sleep(0.1)
    assert not begun.is_set()
