"""What users add: the numbers that their flows log as METRIC lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, CUSTOM_OBSERVED, CUSTOM_VALUE
from prefect_monitoring.snapshot.model import Snapshot

LABELS: Final = COUNTED_METRICS[CUSTOM_VALUE].labels


def _rows(values: Mapping[SeriesKey, float]) -> Iterator[Row]:
    """Rows with a column for every label that any of the lines has: to Prometheus, an empty label is an absent one."""
    own = _own_labels(values)
    labels_of = COUNTED_METRICS[CUSTOM_VALUE].label_values
    for key, value in values.items():
        given = dict(key.labels)
        yield (*labels_of(key), *(given.get(label, "") for label in own)), value


def _own_labels(keys: Iterable[SeriesKey]) -> tuple[str, ...]:
    return tuple(sorted({label for key in keys for label, _ in key.labels}))


def _values(snapshot: Snapshot) -> dict[SeriesKey, float]:
    return {key: one.value for key, one in snapshot.values.items()}


def _instants(snapshot: Snapshot) -> dict[SeriesKey, float]:
    return {key: one.at for key, one in snapshot.values.items()}


def _sums(snapshot: Snapshot) -> dict[SeriesKey, float]:
    return {key: one.value for key, one in snapshot.series.get(CUSTOM_OBSERVED, {}).items()}


def _counts(snapshot: Snapshot) -> dict[SeriesKey, float]:
    return {key: sum(one.buckets) for key, one in snapshot.series.get(CUSTOM_OBSERVED, {}).items()}


def _labels_of(
    values: Callable[[Snapshot], Mapping[SeriesKey, float]],
) -> Callable[[Snapshot], tuple[str, ...]]:
    return lambda snapshot: _own_labels(values(snapshot))


METRICS: Final = (
    Metric(
        CUSTOM_VALUE,
        "gauge",
        "Last value of a METRIC log line; labels that the line gives come on top.",
        LABELS,
        lambda snapshot: _rows(_values(snapshot)),
        more_labels=_labels_of(_values),
    ),
    Metric(
        "prefect_custom_metric_last_observed_timestamp_seconds",
        "gauge",
        "When a METRIC log line last gave a value.",
        LABELS,
        lambda snapshot: _rows(_instants(snapshot)),
        more_labels=_labels_of(_instants),
    ),
    # A summary in all but its type, which allows no sum below zero: OpenMetrics would refuse the whole scrape.
    Metric(
        f"{CUSTOM_OBSERVED}_sum",
        "unknown",
        "Sum of the values of METRIC log lines, for increase() and rate() where none is below zero.",
        LABELS,
        lambda snapshot: _rows(_sums(snapshot)),
        more_labels=_labels_of(_sums),
    ),
    Metric(
        f"{CUSTOM_OBSERVED}_count",
        "unknown",
        "How many values METRIC log lines gave; increases only.",
        LABELS,
        lambda snapshot: _rows(_counts(snapshot)),
        more_labels=_labels_of(_counts),
    ),
)
