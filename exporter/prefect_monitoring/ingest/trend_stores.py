"""Reads trend stores: lists of points in Variables and blocks; each point is counted once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from prefect_monitoring.config.custom_metrics import CustomMetric
from prefect_monitoring.counting.trend_points import fold_points, points_in, read_points
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.ports import TrendSource
from prefect_monitoring.ingest.source import Reading
from prefect_monitoring.model.units import DAY

log = logging.getLogger(__name__)

GONE_POINTS_KEPT: Final = 7 * DAY


class TrendStoreReader:
    """Reads the points of `declared` metrics into the ledger."""

    def __init__(self, reader: Reader, api: TrendSource, declared: Sequence[CustomMetric]) -> None:
        self._reader = reader
        self._api = api
        self._declared = [metric for metric in declared if metric.is_trend and metric.enabled]
        self._present: dict[str, frozenset[str]] = {}
        self._reported: set[tuple[str, str]] = set()

    async def read(self) -> Reading:
        """Counts new points; those of a metric's first reading are its baseline.

        Sends one request for all Variables, one for all blocks, and one or more for each `PipelineMetrics` block.
        Raises ApiError or LedgerError.
        """
        sources = [metric.source for metric in self._declared]
        variables = await self._api.variables({source.variable for source in sources if source.variable})
        blocks = await self._api.blocks({source.block for source in sources if source.block})
        return Reading(await self._reader.in_ledger(self._count, variables, blocks))

    def _count(self, variables: Mapping[str, list[Any]], blocks: Mapping[str, list[Any]]) -> int:
        records = 0
        for metric in self._declared:
            source = metric.source
            stored = variables.get(source.variable) if source.variable else blocks.get(source.block or "")
            records += self._count_store(metric, stored)
        return records

    def _count_store(self, metric: CustomMetric, stored: Sequence[Any] | None) -> int:
        ledger, now = self._reader.ledger, self._reader.clock()
        raw = points_in(metric, stored or ())
        if stored is None:
            self._report(metric, "does not exist (yet)")
        elif raw is None:
            self._report(metric, f"holds no list under {metric.source.points!r}")
        points = read_points(metric, raw or (), now)
        present = frozenset(point.id for point in points)
        cursor = ledger.cursors[metric.cursor]
        if cursor.baseline_complete and self._present.get(metric.name) == present:
            return len(points)
        known = ledger.known_points(metric.name)
        changes = fold_points(metric, points, known, ledger.values.get, self._reader.catalog.admits_custom)
        ledger.commit(changes, replace(cursor, watermark=now, baseline_complete=True), now, metric.cursor)
        ledger.settle_points(metric.name, present, now, GONE_POINTS_KEPT)
        self._present[metric.name] = present
        return len(points)

    def _report(self, metric: CustomMetric, fault: str) -> None:
        """Logs a fault once, without the store's content."""
        if (metric.name, fault) not in self._reported:
            self._reported.add((metric.name, fault))
            log.warning("%s: %s %s; nothing is counted", metric.place, metric.source.store, fault)
