"""Reads materializations of assets, oldest first; each event is counted once by its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from prefect_monitoring.config.assets import AssetRule
from prefect_monitoring.counting.assets import declared_assets, fold_materializations, known_assets
from prefect_monitoring.counting.custom_metrics import Declarations
from prefect_monitoring.ingest.event_retries import try_again
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.ports import EventSource
from prefect_monitoring.ingest.source import Reading
from prefect_monitoring.model.cursor import ASSET_EVENTS, OVERLAP_SECONDS, Cursor
from prefect_monitoring.model.units import HOUR
from prefect_monitoring.prefect_api.events import Materializations

_TIE_SECONDS: Final = 1e-6  # Prefect's resolution of timestamps


class AssetReader:
    """Reads materializations of the assets that `rules` match into the ledger, of `max_assets` at most.

    Nothing that happened more than `lookback` seconds ago is read.
    """

    def __init__(
        self,
        reader: Reader,
        api: EventSource,
        rules: Sequence[AssetRule],
        declarations: Declarations,
        *,
        max_assets: int,
        lookback: float,
    ) -> None:
        self._reader = reader
        self._api = api
        self._rules = rules
        self._declarations = declarations
        self._max_assets = max_assets
        self._lookback = lookback
        self._stopped: float | None = None

    def declared(self) -> Mapping[str, float | None]:
        """The maximum age of each declared asset's last materialization; None without a limit."""
        return declared_assets(self._rules, known_assets(self._reader.ledger.values)) if self._rules else {}

    async def read(self) -> Reading:
        """Counts events since the watermark, and late ones before it, with at most two requests.

        The next reading continues where this one stops. Raises ApiError or LedgerError.
        """
        now, cursor = self._reader.clock(), self._reader.ledger.cursors[ASSET_EVENTS]
        look_back = cursor.watermark - OVERLAP_SECONDS if self._stopped is None else self._stopped
        after = max(cursor.horizon, look_back, now - self._lookback)
        page = await self._api.materializations(after, now + OVERLAP_SECONDS)
        await self._reader.in_ledger(self._count, page, now)
        self._stopped = None
        if not page.complete and page.last is not None:
            self._stopped = max(page.last, after + _TIE_SECONDS)
        await try_again(self._reader, ASSET_EVENTS, self._api.materializations, self._count_again)
        return Reading(len(page.materializations), complete=page.complete)

    def _count_again(self, page: Materializations) -> set[str]:
        self._reader.aside.store()
        self._store(page, None, self._reader.clock())
        return {event.id for event in page.materializations}

    def _count(self, page: Materializations, now: float) -> None:
        self._reader.aside.store()  # before the cursor moves past them
        cursor = self._reader.ledger.cursors[ASSET_EVENTS]
        # Without events the watermark stays behind the present: our clock may be ahead of the server's.
        reached = now - HOUR if page.last is None else min(page.last, now)
        after = replace(
            cursor,
            watermark=max(cursor.watermark, reached),
            baseline_complete=cursor.baseline_complete or page.complete,
        )
        self._store(page, after if after != cursor else None, now)

    def _store(self, page: Materializations, cursor: Cursor | None, now: float) -> None:
        ledger = self._reader.ledger
        counted = ledger.counted_lines([event.id for event in page.materializations])
        fresh = [event for event in page.materializations if event.id not in counted]
        known = known_assets(ledger.values)

        def admits_asset(asset: str) -> bool:
            if asset not in known and len(known) >= self._max_assets:
                return False
            known.add(asset)
            return True

        changes = fold_materializations(
            fresh,
            self._rules,
            admits_asset,
            self._declarations,
            ledger.values.get,
            self._reader.catalog.admits_custom,
        )
        ledger.commit(changes, cursor, now, ASSET_EVENTS)
