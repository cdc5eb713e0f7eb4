"""Sinks that are switched on: whether each keeps up, and why deliveries failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.snapshot.model import Snapshot


def _last_success(snapshot: Snapshot) -> Iterator[Row]:
    for sink in snapshot.about.sinks:
        if sink.last_success is not None:
            yield (sink.name,), sink.last_success


def _errors(snapshot: Snapshot) -> Iterator[Row]:
    """Each reason, starting at zero, or increase() would miss the first."""
    for sink in snapshot.about.sinks:
        for reason, count in sink.errors.items():
            yield (sink.name, reason), count


METRICS: Final = (
    Metric(
        "prefect_exporter_sink_last_success_timestamp_seconds",
        "gauge",
        "When this sink last delivered; only enabled sinks are shown.",
        ("sink",),
        _last_success,
    ),
    Metric(
        "prefect_exporter_sink_errors_total",
        "counter",
        "Deliveries that failed, by reason. Tried again, except what is refused or expired.",
        ("sink", "reason"),
        _errors,
    ),
    Metric(
        "prefect_exporter_sink_lag_seconds",
        "gauge",
        "Age of the oldest item that this sink has not delivered; 0 when nothing waits.",
        ("sink",),
        lambda snapshot: (((sink.name,), sink.lag(snapshot.taken_at)) for sink in snapshot.about.sinks),
    ),
)
