"""Archives the runs of a stretch of time, day by day, oldest day first. Skips what is archived already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import orjson

from prefect_monitoring.analysis import run_document
from prefect_monitoring.archive.batch_writer import BatchWriter, Written
from prefect_monitoring.archive.details import DetailsReader
from prefect_monitoring.archive.index import Index
from prefect_monitoring.archive.manifest import day_bounds, day_of, digest_of, member_of
from prefect_monitoring.archive.store import Store
from prefect_monitoring.config.settings import ArchiveSettings
from prefect_monitoring.prefect_api.pagination import Row
from prefect_monitoring.prefect_api.raw_runs import RawRunsApi

BATCH_RUNS: Final = 1000
BATCH_BYTES: Final = 16 * 2**20
"""Size of the runs as JSON: their parameters and messages may be long."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The part of a day, seconds since the epoch, both ends included."""

    day: date
    after: float
    before: float


Report = Callable[[Written], None]


class Archiver:
    def __init__(self, store: Store, api: RawRunsApi, settings: ArchiveSettings) -> None:
        self._api = api
        self._index = Index(store)
        self._with_parameters = settings.archive_parameters
        self._writer = BatchWriter(store, DetailsReader(self._api), settings)

    async def archive(self, stretch: Stretch, report: Report = lambda _: None) -> int:
        """Archives the runs of the stretch that are not archived yet; returns their number. `report` gets each batch.

        Raises ApiError and StoreError: earlier batches are kept.
        """
        count = 0
        async for runs in self._batches(stretch):
            written = await self._writer.write(stretch.day, runs)
            self._index.add(stretch.day, written.manifest.runs)
            report(written)
            count += len(written.manifest.runs)
        return count

    async def _batches(self, stretch: Stretch) -> AsyncIterator[list[dict[str, Any]]]:
        archived = await asyncio.to_thread(self._index.of, stretch.day)
        waiting: list[dict[str, Any]] = []
        size = 0
        async for page in self._api.finished(stretch.after, stretch.before):
            for run in (slim(run, with_parameters=self._with_parameters) for run in page):
                if digest_of(member_of(run)) in archived:
                    continue
                waiting.append(run)
                size += len(orjson.dumps(run))
                if len(waiting) >= BATCH_RUNS or size >= BATCH_BYTES:
                    yield waiting
                    waiting, size = [], 0
        if waiting:
            yield waiting


def stretches(after: float, before: float) -> Iterator[Stretch]:
    """[after, before] by day in UTC, oldest first. A day whose first instant is `before` is not begun."""
    day = day_of(after)
    while True:
        begin, end = day_bounds(day)
        yield Stretch(day, max(begin, after), min(end, before))
        day += timedelta(days=1)
        if day_bounds(day)[0] >= before:
            return


def slim(run: Row, *, with_parameters: bool) -> dict[str, Any]:
    """The kept parts of a waiting run, redacted. A pruned state is rebuilt from the run's own columns."""
    state = run.get("state") or {
        "id": run.get("state_id"),
        "type": run.get("state_type"),
        "name": run.get("state_name"),
        "timestamp": run.get("end_time"),
    }
    return run_document.flow_run({**run, "state": state}, with_parameters=with_parameters)
