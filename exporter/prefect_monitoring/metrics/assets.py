"""Assets: when each was last materialized, and how old that may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, LAST_MATERIALIZATION
from prefect_monitoring.snapshot.model import Snapshot

_ROW: Final = COUNTED_METRICS[LAST_MATERIALIZATION]


def _last_materializations(snapshot: Snapshot) -> Iterator[Row]:
    labels_of = _ROW.label_values
    for key, last in snapshot.values.items():
        if key.metric == LAST_MATERIALIZATION and key.detail in snapshot.assets:
            yield labels_of(key), last.value


def _max_staleness(snapshot: Snapshot) -> Iterator[Row]:
    for asset, seconds in snapshot.assets.items():
        if seconds is not None:
            yield (asset,), seconds


METRICS: Final = (
    Metric(
        LAST_MATERIALIZATION,
        "gauge",
        "When a declared asset was last materialized, by result: succeeded or failed.",
        _ROW.labels,
        _last_materializations,
    ),
    Metric(
        "prefect_asset_max_staleness_seconds",
        "gauge",
        "Declared maximum age of the last successful materialization.",
        ("asset",),
        _max_staleness,
    ),
)
