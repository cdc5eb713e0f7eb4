"""Hands the newest snapshot to its subscribers (web, sinks, actions), each at its own pace."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from prefect_monitoring.snapshot.model import Snapshot

log = logging.getLogger(__name__)

STALLED_SECONDS: Final = 60.0
AWAITED_SECONDS: Final = 10.0
STOP_SECONDS: Final = 5.0

Take = Callable[[Snapshot], Awaitable[None]]


@dataclass(slots=True)
class _Subscriber:
    """`newest`: the snapshot that it has not started with yet. Times are from the publisher's clock."""

    name: str
    take: Take
    awaited: bool
    newest: Snapshot | None = None
    worker: asyncio.Task[None] | None = None
    busy_since: float | None = None
    stalled: bool = False
    failing_since: float | None = None


class Publisher:
    """Each subscriber has a slot for one snapshot, which the next one replaces, so that no queue grows.

    A subscriber that hangs or raises does not affect others; this is logged once, and once when it works again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._subscribers: list[_Subscriber] = []

    def subscribe(self, name: str, take: Take, *, awaited: bool = False) -> None:
        """Calls `take` with each snapshot from now on, one at a time; `take` must not block the event loop.

        `awaited`: `publish` returns only when this subscriber has the snapshot, or after `AWAITED_SECONDS`.
        """
        self._subscribers.append(_Subscriber(name, take, awaited))

    async def publish(self, snapshot: Snapshot) -> None:
        """Hands a snapshot to all subscribers. Never raises their exceptions."""
        for subscriber in self._subscribers:
            subscriber.newest = snapshot
            if subscriber.worker is None or subscriber.worker.done():
                subscriber.worker = asyncio.create_task(
                    self._hand_over(subscriber), name=f"publish to {subscriber.name}"
                )
            elif (
                subscriber.busy_since is not None
                and self._clock() - subscriber.busy_since >= STALLED_SECONDS
                and not subscriber.stalled
            ):
                subscriber.stalled = True
                log.warning("The %s has been busy with one snapshot for %.0f s", subscriber.name, STALLED_SECONDS)
        awaited = [
            subscriber.worker
            for subscriber in self._subscribers
            if subscriber.awaited and subscriber.worker is not None
        ]
        if awaited:
            await asyncio.wait(awaited, timeout=AWAITED_SECONDS)

    async def stop(self) -> None:
        """Cancels running subscribers and waits for their end, for at most `STOP_SECONDS`."""
        workers = [subscriber.worker for subscriber in self._subscribers if subscriber.worker is not None]
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers, timeout=STOP_SECONDS)

    async def _hand_over(self, subscriber: _Subscriber) -> None:
        while subscriber.newest is not None:
            snapshot, subscriber.newest = subscriber.newest, None
            subscriber.busy_since = self._clock()
            try:
                await subscriber.take(snapshot)
            except Exception:
                level = logging.WARNING if subscriber.failing_since is None else logging.DEBUG
                subscriber.failing_since = (
                    subscriber.busy_since if subscriber.failing_since is None else subscriber.failing_since
                )
                log.log(level, "The %s could not take a snapshot", subscriber.name, exc_info=True)
            else:
                self._worked(subscriber)

    def _worked(self, subscriber: _Subscriber) -> None:
        troubled_since = (
            subscriber.busy_since
            if subscriber.stalled and subscriber.failing_since is None
            else subscriber.failing_since
        )
        subscriber.stalled, subscriber.failing_since = False, None
        if troubled_since is not None:
            log.info("The %s takes snapshots again after %.0f s", subscriber.name, self._clock() - troubled_since)
