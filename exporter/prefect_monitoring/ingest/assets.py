"""Reading which assets were materialized: forwards, each event counted once by its id."""

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

_TIE_SECONDS: Final = 1e-6  # the least difference between two instants of Prefect's


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
        """How old each declared asset's last materialization may be; None where nobody said."""
        return declared_assets(self._rules, known_assets(self._reader.ledger.values)) if self._rules else {}

    async def read(self) -> Reading:
        """Counts what happened since the watermark, and what came late before it; two requests at most.

        What is left is for the next reading, which goes on there. Raises ApiError or LedgerError.
        """
        now, cursor = self._reader.clock(), self._reader.ledger.cursors[ASSET_EVENTS]
        look_back = cursor.watermark - OVERLAP_SECONDS if self._stopped is None else self._stopped
        after = max(cursor.horizon, look_back, now - self._lookback)
        found = await self._api.materializations(after, now + OVERLAP_SECONDS)
        await self._reader.in_ledger(self._count, found, now)
        self._stopped = None
        if not found.complete and found.last is not None:
            self._stopped = max(found.last, after + _TIE_SECONDS)
        await try_again(self._reader, ASSET_EVENTS, self._api.materializations, self._count_again)
        return Reading(len(found.materializations), complete=found.complete)

    def _count_again(self, found: Materializations) -> set[str]:
        self._reader.aside.store()
        self._store(found, None, self._reader.clock())
        return {one.id for one in found.materializations}

    def _count(self, found: Materializations, now: float) -> None:
        self._reader.aside.store()  # before the cursor passes them
        cursor = self._reader.ledger.cursors[ASSET_EVENTS]
        # In silence it stays behind the present: our clock may be ahead of the server's.
        reached = now - HOUR if found.last is None else min(found.last, now)
        after = replace(
            cursor,
            watermark=max(cursor.watermark, reached),
            baseline_complete=cursor.baseline_complete or found.complete,
        )
        self._store(found, after if after != cursor else None, now)

    def _store(self, found: Materializations, cursor: Cursor | None, now: float) -> None:
        ledger = self._reader.ledger
        counted = ledger.counted_lines([one.id for one in found.materializations])
        fresh = [one for one in found.materializations if one.id not in counted]
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
