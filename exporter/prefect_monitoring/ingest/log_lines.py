"""Reads log lines, oldest first, some hours at a time; each line is counted once, however late its batch comes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from prefect_monitoring.analysis.metric_lines import parse
from prefect_monitoring.counting.custom_metrics import Declarations
from prefect_monitoring.counting.log_lines import LabelledLine, fold_lines
from prefect_monitoring.ingest.ports import LogSource
from prefect_monitoring.ingest.source import Reading
from prefect_monitoring.ingest.task_runs import TaskReader
from prefect_monitoring.model.cursor import LOG_LINES
from prefect_monitoring.model.metric_lines import Reason
from prefect_monitoring.model.records import DELETED, LogLine, Pipeline
from prefect_monitoring.model.units import HOUR
from prefect_monitoring.prefect_api.errors import INCOMPLETE, ApiError
from prefect_monitoring.prefect_api.logs import LogPage
from prefect_monitoring.prefect_api.unreadable import note

log = logging.getLogger(__name__)

# The server has no index on the text and scans every line of a window, so the window adapts to a quick answer.
WINDOW_SECONDS: Final = HOUR
MAX_WINDOW_SECONDS: Final = 24 * HOUR
QUICK_SECONDS: Final = 0.25
DEEP_EVERY_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late lines may be, in seconds; reading them again costs requests.

    `usual`: lines come in batches. `deep`: many at once, or written by a slow clock; read once a minute. `patience`: a
    line may come before its task run, which a busy server writes later; this long it waits for it.
    """

    usual: float
    deep: float
    patience: float


SEARCHED: Final = Lateness(60.0, 900.0, 600.0)
UNSEARCHED: Final = Lateness(30.0, 180.0, 120.0)
LINES_KEPT_SECONDS: Final = 2 * SEARCHED.deep


@dataclass(slots=True)
class _Place:
    """Where the next page begins: after an instant, at an offset. `deep`: the reading began with the deep overlap."""

    after: float
    offset: int = 0
    deep: bool = False


class LogReader:
    """Reads lines into the ledger. Every method raises ApiError or LedgerError."""

    def __init__(
        self,
        tasks: TaskReader,
        api: LogSource,
        cause_of: Callable[[str], str],
        declarations: Declarations = MappingProxyType({}),
    ) -> None:
        self._tasks = tasks
        self._reader = tasks.reader
        self._api = api
        self._cause_of = cause_of
        self._declarations = declarations
        self._deep_at = 0.0
        self._stopped: _Place | None = None
        self._window: float = WINDOW_SECONDS
        self._logged: set[tuple[Pipeline | None, str, Reason]] = set()

    @property
    def _lateness(self) -> Lateness:
        return SEARCHED if self._api.can_search else UNSEARCHED

    async def read(self, budget: float) -> Reading:
        """Counts the lines since the watermark, and late ones before it; requests no page after `budget` seconds.

        An unfinished reading is continued: if each began with the overlap, it might never reach new lines.
        """
        until = time.monotonic() + budget
        now, cursor = self._reader.clock(), self._reader.ledger.cursors[LOG_LINES]
        deep = now - self._deep_at >= DEEP_EVERY_SECONDS
        overlap = (self._lateness.deep if deep else self._lateness.usual) if cursor.baseline_complete else 0.0
        place = self._stopped or _Place(max(cursor.horizon, cursor.watermark - overlap), deep=deep)
        self._stopped = None
        count, finished = 0, False
        while not finished and time.monotonic() < until:
            before = place.after + self._window if place.after + self._window < now else None
            read, finished = await self._read_page(place, before, now)
            count += read
        if not finished:
            self._stopped = place
        else:
            self._deep_at = now if place.deep else self._deep_at
            await self._try_again(now)
        return Reading(count, complete=finished)

    async def _try_again(self, now: float) -> None:
        """Reads again the lines that were set aside and are due, each near its time."""
        aside = self._reader.aside
        due = await self._reader.in_ledger(aside.due, LOG_LINES)
        there: set[str] = set()
        left: set[str] = set()
        try:
            for record in due:
                after = record.after or 0.0
                page = await self._api.page(after, after + MAX_WINDOW_SECONDS, 0)
                line = [line for line in page.lines if line.id == record.id]
                await self._absorb(LogPage(tuple(line), 0, None, complete=False), None, now)
                there |= {record.id for _ in line}
                left |= {record.id} if not line and not page.complete else set()
        except ApiError as fault:
            log.debug("What was set aside is tried later: %s", fault)
            return
        if due:
            await self._reader.in_ledger(aside.settle, LOG_LINES, due, there, left)

    async def _read_page(self, place: _Place, before: float | None, now: float) -> tuple[int, bool]:
        """Counts the page at `place` and advances it; returns its number of lines, and whether it was the last."""
        begun = time.monotonic()
        page = await self._api.page(place.after, before, place.offset)
        seconds = time.monotonic() - begun
        await self._absorb(page, before, now)
        if page.complete and before is None:
            return len(page.lines), True
        if page.complete and before is not None:
            place.after, place.offset = before, 0
            wider = 2 * self._window if seconds < QUICK_SECONDS else self._window / 2
            self._window = min(max(wider, WINDOW_SECONDS), MAX_WINDOW_SECONDS)
        elif page.last is None or page.last == place.after:  # more lines of one instant than a page holds
            place.offset += page.rows
        else:
            place.after, place.offset = page.last, 0
        return len(page.lines), False

    async def _absorb(self, page: LogPage, before: float | None, now: float) -> None:
        ledger = self._reader.ledger
        counted = await self._reader.in_ledger(ledger.counted_lines, [line.id for line in page.lines])
        fresh = [line for line in page.lines if line.id not in counted]
        owners = await self._tasks.owners({line.flow_run_id for line in fresh if line.flow_run_id})
        if owners.reason:
            raise ApiError(f"log lines wait to be counted: {owners.reason}", INCOMPLETE)
        orphans = [line for line in fresh if line.flow_run_id in owners.faults]
        note(
            {line.id: owners.faults[line.flow_run_id or ""] for line in orphans},
            {line.id: line.at for line in orphans},
        )
        fresh = [line for line in fresh if line not in orphans]
        named = await self._with_tasks(fresh, now)
        # Without lines the watermark stays behind the present: our clock may be ahead of those that write the lines.
        end = now - WINDOW_SECONDS if before is None else before
        reached = max(end, page.last or end) if page.complete else page.last
        complete = page.complete and before is None
        await self._reader.in_ledger(self._count, named, owners.pipelines, reached, complete=complete)
        if len(named) < len(fresh):
            log.debug("%d log lines wait for their task runs", len(fresh) - len(named))

    async def _with_tasks(self, lines: Sequence[LogLine], now: float) -> list[tuple[LogLine, str]]:
        """The lines that can be counted, each with the task that wrote it: "" for the flow itself."""
        tasks = await self._tasks.names({line.task_run_id for line in lines if line.task_run_id})
        named = []
        for line in lines:
            task = tasks.get(line.task_run_id) if line.task_run_id else ""
            if task is not None or now - line.at >= self._lateness.patience:
                named.append((line, DELETED if task is None else task))
        return named

    def _count(
        self,
        named: Sequence[tuple[LogLine, str]],
        owners: Mapping[str, Pipeline | None],
        reached: float | None,
        *,
        complete: bool,
    ) -> None:
        ledger, catalog, now = self._reader.ledger, self._reader.catalog, self._reader.clock()
        counted = ledger.counted_lines([line.id for line, _ in named])
        fresh = [self._labelled(line, task, owners) for line, task in named if line.id not in counted]
        for labelled in fresh:
            self._log_rejected(labelled)
        self._reader.aside.store()  # before the cursor moves past them
        changes = fold_lines(fresh, ledger.values.get, catalog.admits_custom, self._cause_of, self._declarations)
        cursor = ledger.cursors[LOG_LINES]
        watermark = max(cursor.watermark, min(reached if reached is not None else cursor.watermark, now))
        after = replace(cursor, watermark=watermark, baseline_complete=cursor.baseline_complete or complete)
        ledger.commit(changes, after if after != cursor else None, now, LOG_LINES)

    def _labelled(self, line: LogLine, task: str, owners: Mapping[str, Pipeline | None]) -> LabelledLine:
        catalog = self._reader.catalog
        pipeline = owners[line.flow_run_id] if line.flow_run_id else catalog.pipeline_outside_flows()
        return LabelledLine(line, pipeline, catalog.task_of(pipeline, task) if pipeline is not None and task else task)

    def _log_rejected(self, labelled: LabelledLine) -> None:
        """Logs flow, task and fault once, but not the line, which may contain secrets."""
        for reason in parse(labelled.line.message).rejected:
            place = (labelled.pipeline, labelled.task, reason)
            if labelled.pipeline is not None and place not in self._logged:
                self._logged.add(place)
                where = f"flow {labelled.pipeline.flow!r}" + (f", task {labelled.task!r}" if labelled.task else "")
                log.warning(
                    "Part of a METRIC line of %s was rejected: %s; docs/metrics.md says what is read", where, reason
                )
