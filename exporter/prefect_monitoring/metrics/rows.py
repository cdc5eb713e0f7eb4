"""Rows that several subjects share: counted metrics and run statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS
from prefect_monitoring.model.run_stats import RunStats
from prefect_monitoring.snapshot.model import Snapshot

PIPELINE: Final = ("flow", "deployment")


def counted(name: str, text: str) -> Metric:
    """A counter or histogram that the ledger keeps, from its row in COUNTED_METRICS; `text` is its help."""
    row = COUNTED_METRICS[name]
    labels_of = row.label_values

    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for key, series in snapshot.series.get(name, {}).items():
            yield labels_of(key), series if series.buckets else series.value

    is_histogram = row.kind == "histogram"
    return Metric(
        name,
        "histogram" if is_histogram else "counter",
        text,
        row.labels,
        rows,
        bounds=(lambda snapshot: snapshot.bounds.get(name, ())) if is_histogram else None,
        by_default=row.by_default,
    )


def of_run_stats(values: Callable[[RunStats], Iterable[Row]]) -> Callable[[Snapshot], Iterator[Row]]:
    """Rows from the run statistics of each live pipeline."""

    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for pipeline, stats in snapshot.run_stats.items():
            for labels, value in values(stats):
                yield (pipeline.flow, pipeline.deployment, *labels), value

    return rows
