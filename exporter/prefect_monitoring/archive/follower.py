"""Follows Prefect: archives settled runs and later changes, pass after pass."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson

from prefect_monitoring.archive.archiver import Archiver, stretches
from prefect_monitoring.archive.metrics import ArchiveStatus
from prefect_monitoring.archive.store import Store, StoreError
from prefect_monitoring.config.settings import ArchiveSettings
from prefect_monitoring.prefect_api.errors import ApiError

log = logging.getLogger(__name__)

OVERLAP_SECONDS: Final = 900.0
"""How far back each pass reads again: end times come from the clocks of workers, and may be written out of order."""
_STATE: Final = "_following.json"


@dataclass(slots=True)
class Follower:
    """Call `run` or `run_pass`, not both at a time."""

    archiver: Archiver
    store: Store
    settings: ArchiveSettings
    status: ArchiveStatus
    clock: Callable[[], float] = time.time
    rechecked_at: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """A pass every `archive_interval` seconds until `stop`; a failed one is logged, counted and tried again."""
        while not stop.is_set():
            begun = time.monotonic()
            passing = asyncio.create_task(self.try_pass())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({passing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not passing.done():
                passing.cancel()
                await asyncio.wait({passing})
            pause = begun + self.settings.archive_interval - time.monotonic()
            await asyncio.wait({stopping}, timeout=max(pause, 0.0))
            stopping.cancel()

    async def try_pass(self) -> bool:
        try:
            await self.run_pass()
        except (ApiError, StoreError) as fault:
            self.status.failures["store" if isinstance(fault, StoreError) else "api"] += 1
            log.log(logging.DEBUG if self.status.up is False else logging.WARNING, "Not archived: %s", fault)
            self.status.up = False
            return False
        if self.status.up is False:
            log.info("Archiving again")
        self.status.up, self.status.last_success = True, self.clock()
        return True

    async def run_pass(self) -> int:
        """Archives all settled runs; returns their number. Raises ApiError and StoreError."""
        now = self.clock()
        settled = now - self.settings.archive_settle
        end = self.status.complete_until
        if end is None:
            end = self.status.complete_until = await asyncio.to_thread(self._stored_end, now)
        recheck = self.rechecked_at is None or now - self.rechecked_at >= self.settings.archive_recheck
        if recheck:
            self.status.set_aside.clear()
        begin = min(end, now - self.settings.archive_lookback) if recheck else end - OVERLAP_SECONDS
        count = 0
        for stretch in stretches(min(begin, settled), settled):
            count += await self.archiver.archive(stretch, self.status.count)
            self.status.complete_until = end = max(end, stretch.before)
        if recheck:
            self.rechecked_at = now
        if count:
            log.info("Archived %d runs", count)
            state = {"complete_until": datetime.fromtimestamp(settled, UTC).isoformat()}
            await asyncio.to_thread(self.store.put, _STATE, orjson.dumps(state))
        return count

    def _stored_end(self, now: float) -> float:
        """How far the last process got, or the start of the lookback."""
        content = self.store.get(_STATE)
        beginning = now - self.settings.archive_lookback
        if content is None:
            return beginning
        try:
            return datetime.fromisoformat(orjson.loads(content)["complete_until"]).timestamp()
        except (ValueError, KeyError, TypeError):
            log.warning("%s cannot be read: reading the last %g s", _STATE, self.settings.archive_lookback)
            return beginning
