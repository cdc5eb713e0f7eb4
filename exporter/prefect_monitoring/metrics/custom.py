"""Custom metrics: numbers that flows log as METRIC lines, and declared metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prefect_monitoring.config.custom_metrics import CustomMetric
from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, CUSTOM_OBSERVED, CUSTOM_VALUE, CountedMetric
from prefect_monitoring.model.series import Series
from prefect_monitoring.snapshot.model import Snapshot

LABELS: Final = COUNTED_METRICS[CUSTOM_VALUE].labels


def _rows(
    values: Mapping[SeriesKey, float | Series],
    row: CountedMetric = COUNTED_METRICS[CUSTOM_VALUE],
    declared: tuple[str, ...] | None = None,
) -> Iterator[Row]:
    """Rows with a column for every label that any of the lines has; for Prometheus, an empty label is an absent one.

    `declared`: the user's own labels that get a column; None for all.
    """
    own = _own_labels(values) if declared is None else declared
    labels_of = row.label_values
    for key, value in values.items():
        given = dict(key.labels)
        yield (*labels_of(key), *(given.get(label, "") for label in own)), value


def _own_labels(keys: Iterable[SeriesKey]) -> tuple[str, ...]:
    return tuple(sorted({label for key in keys for label, _ in key.labels}))


def _values(snapshot: Snapshot, metric: str = CUSTOM_VALUE) -> dict[SeriesKey, float]:
    return {key: one.value for key, one in snapshot.values.items() if key.metric == metric}


def _instants(snapshot: Snapshot) -> dict[SeriesKey, float]:
    return {key: one.at for key, one in snapshot.values.items() if key.metric == CUSTOM_VALUE}


def _sums(snapshot: Snapshot) -> dict[SeriesKey, float]:
    return {key: one.value for key, one in snapshot.series.get(CUSTOM_OBSERVED, {}).items()}


def _counts(snapshot: Snapshot) -> dict[SeriesKey, float]:
    return {key: sum(one.buckets) for key, one in snapshot.series.get(CUSTOM_OBSERVED, {}).items()}


def declared_metric(declared: CustomMetric) -> Metric:
    """A metric as a user declares it."""
    name, own, row = declared.name, declared.own_labels, declared.row

    def values(snapshot: Snapshot) -> Mapping[SeriesKey, float | Series]:
        if declared.type == "gauge":
            return dict(_values(snapshot, name))
        series = snapshot.series.get(name, {})
        return {key: one if one.buckets else one.value for key, one in series.items()}

    return Metric(
        name,
        declared.type,
        declared.help,
        row.labels,
        lambda snapshot: _rows(values(snapshot), row, own),
        bounds=(lambda _: declared.buckets) if declared.buckets else None,
        more_labels=lambda snapshot: _own_labels(values(snapshot)) if own is None else own,
        unit=declared.unit or "",
    )


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
    # Not of type summary: OpenMetrics allows no negative sum, and Prometheus would reject the whole scrape.
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
        "Number of values from METRIC log lines; only increases.",
        LABELS,
        lambda snapshot: _rows(_counts(snapshot)),
        more_labels=_labels_of(_counts),
    ),
)
