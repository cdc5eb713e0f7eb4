"""The incremental reader of finished runs: what is new since the cursor, newest end first, resumable.

Newest first, so that the present state of pipelines is right before their past. A transaction every few pages limits
what a crash costs, whatever the size of the window.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from prefect_monitoring.ingest.source import Reading
from prefect_monitoring.model.cursor import Cursor
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.prefect_api.errors import INCOMPLETE, ApiError
from prefect_monitoring.prefect_api.pagination import Page
from prefect_monitoring.prefect_api.state_history import NO_TIME

# Pages that are counted in one transaction, once there is more than a page to catch up with.
BATCH_PAGES: Final = 4


class Finished(Protocol):
    """A run, as far as an incremental reader needs to know it."""

    @property
    def id(self) -> str: ...
    @property
    def ended_at(self) -> float | None: ...


Run = TypeVar("Run", bound=Finished)
Position = tuple[float | None, int]
"""Where a page begins: before an end time, at an offset."""
CursorAfter = Callable[[Sequence[Finished]], Cursor | None]


@dataclass(frozen=True, slots=True)
class Absorbed(Generic[Run]):
    """The result of a batch: the pipeline of each run that could be named, which runs must be read again, and why.

    `reason` is "" where only time ran out.
    """

    pipelines: Mapping[str, Pipeline | None]
    left: tuple[Run, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class IncrementalReader(Generic[Run]):
    """Reads finished runs of one source.

    `fetch` gives the page at an offset of runs that ended within [after, before]; `absorb` counts a batch.
    """

    fetch: Callable[[float, float | None, int], Awaitable[Page[Run]]]
    absorb: Callable[[Sequence[Run], CursorAfter], Awaitable[Absorbed[Run]]]
    cursor: Callable[[], Cursor]
    clock: Callable[[], float]

    async def read_new(self, after: float, budget: float) -> Reading:
        """Reads every end since `after`, newest first; resumes an interrupted reading.

        The next pages are fetched while pages are counted; none is requested after `budget` seconds. Raises ApiError,
        also when runs had to be left for the next reading.
        """
        until = time.monotonic() + budget
        count, waiting, reason = 0, 0, ""
        cursor = self.cursor()
        upcoming = self._begin(after, (cursor.page_before, cursor.page_offset), 1, until)
        try:
            while True:
                pages, position = await upcoming
                more = not pages[-1].complete and time.monotonic() < until
                if more:
                    upcoming = self._begin(after, position, BATCH_PAGES, until)
                runs = [run for page in pages for run in page.runs]
                absorbed = await self.absorb(runs, partial(_advance_over, self.cursor(), pages, self.clock()))
                count += len(runs)
                waiting, reason = waiting + len(absorbed.left), absorbed.reason or reason
                if not more:
                    break
        finally:
            upcoming.cancel()
            with suppress(asyncio.CancelledError, ApiError):
                await upcoming
        if reason:
            raise ApiError(f"{waiting} finished runs wait to be counted: {reason}", INCOMPLETE)
        return Reading(count, complete=not waiting and self.cursor().page_before is None)

    def _begin(
        self, after: float, position: Position, most: int, until: float
    ) -> asyncio.Task[tuple[list[Page[Run]], Position]]:
        return asyncio.ensure_future(self._fetch(after, position, most, until))

    async def _fetch(
        self, after: float, position: Position, most: int, until: float
    ) -> tuple[list[Page[Run]], Position]:
        """Up to `most` pages, at least one, and where the next begins."""
        pages: list[Page[Run]] = []
        while True:
            try:
                page = await self.fetch(after, *position)
            except ApiError:
                if not pages:
                    raise
                return pages, position  # these pages count; the next request raises the error
            pages.append(page)
            if page.complete:
                return pages, position
            position = next_page(page, *position)
            if len(pages) >= most or time.monotonic() >= until:
                return pages, position

    async def read_again(self, low: float, high: float) -> list[Run]:
        """Reads every end within [low, high] again, and returns the runs. Raises ApiError."""
        found: dict[str, Run] = {}
        before: float | None = high
        offset = 0
        while True:
            page = await self.fetch(low, before, offset)
            left: Sequence[Run] = page.runs
            while left:  # while only time for the histories runs out
                absorbed = await self.absorb(left, lambda _left: None)
                if absorbed.left and (absorbed.reason or len(absorbed.left) >= len(left)):
                    raise ApiError(absorbed.reason or NO_TIME, INCOMPLETE)
                left = absorbed.left
            found.update((run.id, run) for run in page.runs)
            if page.complete:
                return list(found.values())
            before, offset = next_page(page, before, offset)


def next_page(page: Page[Run], before: float | None, offset: int) -> Position:
    """Where the next page begins: at the last end seen, or further down among runs that all ended at that instant."""
    last = page.runs[-1].ended_at if page.runs else before
    return (before, offset + len(page.runs) + page.unreadable) if last == before else (last, 0)


def _advance_over(cursor: Cursor, pages: Sequence[Page[Run]], now: float, left: Sequence[Finished]) -> Cursor:
    waiting = {run.id for run in left}
    for page in pages:
        cursor = advance(cursor, page, now, [run for run in page.runs if run.id in waiting])
    return cursor


def advance(cursor: Cursor, page: Page[Run], now: float, left: Sequence[Finished]) -> Cursor:
    """The cursor after `page`. A finished reading moves the watermark, but not past a run that was left."""
    newest = cursor.window_newest
    if newest is None and page.runs:
        newest = page.runs[0].ended_at
    ends = [run.ended_at for run in left if run.ended_at is not None]
    earliest = min((*ends, *(() if cursor.earliest_left is None else (cursor.earliest_left,))), default=None)
    if not page.complete:
        before, offset = next_page(page, cursor.page_before, cursor.page_offset)
        return replace(cursor, window_newest=newest, page_before=before, page_offset=offset, earliest_left=earliest)
    # Bounded by the exporter's clock: otherwise a run with an end in the future would hide all that end before it.
    watermark = max(cursor.watermark, min(newest if newest is not None else cursor.watermark, now))
    if earliest is not None:
        watermark = min(watermark, earliest)
    return Cursor(watermark, cursor.horizon, baseline_complete=cursor.baseline_complete or earliest is None)
