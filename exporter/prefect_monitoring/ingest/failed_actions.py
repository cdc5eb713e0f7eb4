"""Reads failed actions of Prefect's own automations, oldest first; each event is counted once by its id."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final

from prefect_monitoring.counting.automations import fold_failed_actions
from prefect_monitoring.ingest.event_retries import try_again
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.ports import EventSource
from prefect_monitoring.ingest.source import Reading
from prefect_monitoring.model.cursor import AUTOMATION_EVENTS, OVERLAP_SECONDS, Cursor
from prefect_monitoring.model.units import HOUR
from prefect_monitoring.prefect_api.events import FailedActions

_TIE_SECONDS: Final = 1e-6  # Prefect's resolution of timestamps


class FailedActionReader:
    """Reads failed actions into the ledger; `names` gives the names of the automations that exist."""

    def __init__(self, reader: Reader, api: EventSource, names: Callable[[], Collection[str]]) -> None:
        self._reader = reader
        self._api = api
        self._names = names
        self._stopped: float | None = None

    async def read(self) -> Reading:
        """Counts failures since the watermark, and late ones before it, with at most two requests.

        Failures before the first start are not counted. The next reading continues where this one stops: if each began
        with the overlap, it might never reach new events. Raises ApiError or LedgerError.
        """
        now, cursor = self._reader.clock(), self._reader.ledger.cursors[AUTOMATION_EVENTS]
        if not cursor.baseline_complete:
            await self._reader.in_ledger(self._begin, now)
            return Reading(0, asked=False)
        look_back = cursor.watermark - OVERLAP_SECONDS if self._stopped is None else self._stopped
        after = max(cursor.horizon, look_back)
        page = await self._api.failed_actions(after, now + OVERLAP_SECONDS)
        await self._reader.in_ledger(self._count, page, now)
        self._stopped = None
        if not page.complete and page.last is not None:
            self._stopped = max(page.last, after + _TIE_SECONDS)
        await try_again(self._reader, AUTOMATION_EVENTS, self._api.failed_actions, self._count_again)
        return Reading(len(page.actions), complete=page.complete)

    def _count_again(self, page: FailedActions) -> set[str]:
        self._reader.aside.store()
        self._store(page, None, self._reader.clock())
        return {action.id for action in page.actions}

    def _begin(self, now: float) -> None:
        ledger = self._reader.ledger
        cursor = replace(ledger.cursors[AUTOMATION_EVENTS], watermark=now, horizon=now, baseline_complete=True)
        ledger.commit(fold_failed_actions((), self._names(), ledger.series), cursor, now, AUTOMATION_EVENTS)

    def _count(self, page: FailedActions, now: float) -> None:
        self._reader.aside.store()  # before the cursor moves past them
        cursor = self._reader.ledger.cursors[AUTOMATION_EVENTS]
        # Without events the watermark stays behind the present: our clock may be ahead of the server's.
        reached = now - HOUR if page.last is None else min(page.last, now)
        after = replace(cursor, watermark=max(cursor.watermark, reached))
        self._store(page, after if after != cursor else None, now)

    def _store(self, page: FailedActions, cursor: Cursor | None, now: float) -> None:
        ledger = self._reader.ledger
        counted = ledger.counted_lines([action.id for action in page.actions])
        fresh = [action for action in page.actions if action.id not in counted]
        ledger.commit(fold_failed_actions(fresh, self._names(), ledger.series), cursor, now, AUTOMATION_EVENTS)
