"""Hands the newest snapshot to whoever makes something of it: the web, sinks, actions, each at its own pace."""

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
    """`newest`: its slot, with the snapshot that it has not begun with. Times are of the publisher's clock."""

    name: str
    take: Take
    awaited: bool
    newest: Snapshot | None = None
    worker: asyncio.Task[None] | None = None
    busy_since: float | None = None
    stalled: bool = False
    failing_since: float | None = None


class Publisher:
    """Each subscriber has a slot: a snapshot that it did not get to is replaced by the next, and no queue grows.

    One that hangs or raises keeps nothing from the others; the log says so once, and once when it works again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._subscribers: list[_Subscriber] = []

    def subscribe(self, name: str, take: Take, *, awaited: bool = False) -> None:
        """Calls `take` with each snapshot from now on, never with two at once; what takes long is awaited in it.

        `awaited`: `publish` returns only when this subscriber has the snapshot, or after `AWAITED_SECONDS`.
        """
        self._subscribers.append(_Subscriber(name, take, awaited))

    async def publish(self, snapshot: Snapshot) -> None:
        """Never raises what a subscriber raises."""
        for one in self._subscribers:
            one.newest = snapshot
            if one.worker is None or one.worker.done():
                one.worker = asyncio.create_task(self._hand_over(one), name=f"publish to {one.name}")
            elif one.busy_since is not None and self._clock() - one.busy_since >= STALLED_SECONDS and not one.stalled:
                one.stalled = True
                log.warning("The %s has been busy with one snapshot for %.0f s", one.name, STALLED_SECONDS)
        awaited = [one.worker for one in self._subscribers if one.awaited and one.worker is not None]
        if awaited:
            await asyncio.wait(awaited, timeout=AWAITED_SECONDS)

    async def stop(self) -> None:
        """Cancels what is under way, and waits for its end, for `STOP_SECONDS` at most."""
        workers = [one.worker for one in self._subscribers if one.worker is not None]
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers, timeout=STOP_SECONDS)

    async def _hand_over(self, one: _Subscriber) -> None:
        while one.newest is not None:
            snapshot, one.newest = one.newest, None
            one.busy_since = self._clock()
            try:
                await one.take(snapshot)
            except Exception:
                level = logging.WARNING if one.failing_since is None else logging.DEBUG
                one.failing_since = one.busy_since if one.failing_since is None else one.failing_since
                log.log(level, "The %s could not take a snapshot", one.name, exc_info=True)
            else:
                self._worked(one)

    def _worked(self, one: _Subscriber) -> None:
        troubled_since = one.busy_since if one.stalled and one.failing_since is None else one.failing_since
        one.stalled, one.failing_since = False, None
        if troubled_since is not None:
            log.info("The %s takes snapshots again after %.0f s", one.name, self._clock() - troubled_since)
