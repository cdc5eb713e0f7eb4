"""Compares closed hours with the API's own counts. Where they differ, runs are read again.

Runs that only the API has were missed, for example because a manual state change moves no end_time: they are counted
now, or reported if that fails. Runs that only the ledger has were deleted or run again: they are marked, but counters
never go down.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.incremental import IncrementalReader
from prefect_monitoring.ingest.source import Reading
from prefect_monitoring.model.cursor import OVERLAP_SECONDS
from prefect_monitoring.model.source_status import ReconciliationReport
from prefect_monitoring.model.units import HOUR
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.pagination import MAX_PAGE

log = logging.getLogger(__name__)

SMALLEST_SPAN: Final = HOUR
RECENT_SECONDS: Final = 26 * HOUR
WHOLE_INTERVAL: Final = HOUR

CountByKind = Callable[[float, float, Collection[str]], Awaitable[dict[str, int]]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a comparison: runs read again, and runs that the API has but the ledger could not count."""

    read_again: int = 0
    missing: int = 0

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(self.read_again + other.read_again, self.missing + other.missing)


@dataclass(slots=True)
class Reconciliation:
    """Compares one source of finished runs with the API, by `count`, and reads runs again, with `finished`.

    `report` is None before the first comparison. `whole_at`: when everything was last compared.
    """

    reader: Reader
    source: str
    kinds: frozenset[str]
    count: CountByKind
    finished: IncrementalReader[Any]
    is_possible: Callable[[], bool] = lambda: True
    report: ReconciliationReport | None = None
    whole_at: float = 0.0
    _still_missing: int = 0

    async def read(self, until: float | None) -> Reading:
        """Compares the last day before `until`, and once an hour everything.

        Runs missing from a comparison of everything are reported until the next one. Raises ApiError.
        """
        now = self.reader.clock()
        until = now if until is None else until
        whole = now - self.whole_at >= WHOLE_INTERVAL
        try:
            verdict = await self.closed_hours(0.0 if whole else until - RECENT_SECONDS, until)
        except ApiError:
            if self.is_possible():
                raise
            return Reading(0)
        if whole:
            self.whole_at, self._still_missing = now, verdict.missing
        missing = verdict.missing if whole else max(verdict.missing, self._still_missing)
        self.report = ReconciliationReport(missing, now)
        return Reading(verdict.read_again)

    async def closed_hours(self, low: float, high: float) -> Verdict:
        """Compares the ends within [low, high] without the last minutes. Raises ApiError.

        Costs one count per kind when nothing differs; a difference is narrowed down by halving.
        """
        low = max(low, self.reader.ledger.cursors[self.source].horizon)
        return await self._narrow(low, high - OVERLAP_SECONDS, self.kinds)

    async def _narrow(self, low: float, high: float, kinds: Collection[str]) -> Verdict:
        if high <= low:
            return Verdict()
        theirs = await self.count(low, high, kinds)
        ours = await self._ours(low, high)
        differing = {kind for kind in kinds if theirs[kind] != ours.get(kind, 0)}
        if not differing:
            return Verdict()
        to_read = max(sum(theirs.values()), sum(ours.values()))
        if high - low > SMALLEST_SPAN and to_read > MAX_PAGE:
            middle = (low + high) / 2
            return await self._narrow(low, middle, differing) + await self._narrow(middle, high, differing)
        return await self._read_again(low, high)

    async def _read_again(self, low: float, high: float) -> Verdict:
        begun_at = self.reader.clock()
        present = await self.finished.read_again(low, high)
        gone = await self.reader.in_ledger(self._mark_gone, low, high, {run.id for run in present}, begun_at)
        waiting = await self.reader.in_ledger(self.reader.aside.ids, self.source, uncounted=True)
        theirs = Counter(run.kind for run in present if run.kind in self.kinds and run.id not in waiting)
        ours = await self._ours(low, high)
        missing = sum(max(count - ours.get(kind, 0), 0) for kind, count in theirs.items())
        log.info(
            "Read %d finished %s again: their counts differed from the API's; %d are gone there, %d are missing here",
            len(present),
            self.source.replace("_", " "),
            gone,
            missing,
        )
        return Verdict(len(present), missing)

    def _mark_gone(self, low: float, high: float, present: set[str], begun_at: float) -> int:
        """Marks runs as gone, unless there were rows without a readable id, which may be the missing runs."""
        aside = self.reader.aside
        if aside.met_nameless(self.source, begun_at):
            return 0
        return self.reader.ledger.mark_gone(self.source, low, high, present | aside.ids(self.source))

    async def _ours(self, low: float, high: float) -> Mapping[str, int]:
        return await self.reader.in_ledger(self.reader.ledger.ended_by_kind, self.source, low, high)
