"""The exporter's own metrics: whether its numbers can be trusted, and what they cost."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from typing import Final

from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.metrics.rows import counted
from prefect_monitoring.model.counted_metrics import REJECTED, VALUES_REJECTED
from prefect_monitoring.model.source_status import READING_BOUNDS, FileStatus, SourceStatus
from prefect_monitoring.snapshot.model import Snapshot

LEDGER_CREATED: Final = "prefect_exporter_ledger_created_timestamp_seconds"


def _one(value: Callable[[Snapshot], float]) -> Callable[[Snapshot], Iterator[Row]]:
    return lambda snapshot: iter([((), value(snapshot))])


def _by_source(value: Callable[[SourceStatus, Snapshot], float | None]) -> Callable[[Snapshot], Iterator[Row]]:
    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for source in snapshot.about.sources:
            if (number := value(source, snapshot)) is not None:
                yield (source.name,), number

    return rows


def _lag(source: SourceStatus, snapshot: Snapshot) -> float | None:
    return None if source.complete_to is None else max(snapshot.taken_at - source.complete_to, 0.0)


def _up(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.about.api_up is not None:
        yield (), float(snapshot.about.api_up)


def _requests(snapshot: Snapshot) -> Iterator[Row]:
    yield from snapshot.about.requests.items()


def _series(snapshot: Snapshot) -> Iterator[Row]:
    for metric, series in snapshot.series.items():
        yield (metric,), len(series)


def _folded(snapshot: Snapshot) -> Iterator[Row]:
    """For each kept metric, starting at zero, or increase() would miss the first."""
    for metric in sorted(snapshot.series):
        yield (metric,), snapshot.about.folded.get(metric, 0.0)


def _build_info(snapshot: Snapshot) -> Iterator[Row]:
    yield (snapshot.about.version, snapshot.about.prefect_version, platform.python_version()), 1.0


def _links(snapshot: Snapshot) -> Iterator[Row]:
    links = snapshot.about.links
    yield (links.prefect_url, links.grafana_url, links.runbook_url), 1.0


def _pipelines_file(value: Callable[[FileStatus], float | None]) -> Callable[[Snapshot], Iterator[Row]]:
    def rows(snapshot: Snapshot) -> Iterator[Row]:
        status = snapshot.about.pipelines_file
        if status is not None and (number := value(status)) is not None:
            yield (), number

    return rows


METRICS: Final = (
    Metric(
        "prefect_up",
        "gauge",
        "1 when the Prefect API answered the last poll. At 0, gauges of the live state vanish, counters stand still.",
        (),
        _up,
    ),
    Metric(
        "prefect_exporter_build_info",
        "gauge",
        "The exporter's version, the Prefect server's, and Python's.",
        ("version", "prefect_version", "python_version"),
        _build_info,
    ),
    Metric(
        LEDGER_CREATED,
        "gauge",
        "When the ledger was created. Compare counters within one ledger only; rules look back no further than this.",
        (),
        _one(lambda snapshot: snapshot.about.ledger_created_at),
    ),
    Metric(
        "prefect_exporter_ledger_bytes",
        "gauge",
        "Size of the ledger on disk.",
        (),
        _one(lambda snapshot: snapshot.about.ledger_bytes),
    ),
    Metric(
        "prefect_exporter_source_up",
        "gauge",
        "1 when the last reading of this source worked.",
        ("source",),
        _by_source(lambda source, _: None if source.up is None else float(source.up)),
    ),
    Metric(
        "prefect_exporter_source_last_success_timestamp_seconds",
        "gauge",
        "When this source was last read.",
        ("source",),
        _by_source(lambda source, _: source.last_success),
    ),
    Metric(
        "prefect_exporter_source_duration_seconds",
        "histogram",
        "Seconds that a reading of this source took.",
        ("source",),
        lambda snapshot: (((source.name,), source.readings) for source in snapshot.about.sources),
        lambda _: READING_BOUNDS,
    ),
    Metric(
        "prefect_exporter_source_lag_seconds",
        "gauge",
        "How far the data of this source lags behind the present, as of the last poll.",
        ("source",),
        _by_source(_lag),
    ),
    Metric(
        "prefect_exporter_api_requests_total",
        "counter",
        "Requests to the Prefect API, by endpoint and status code (or timeout, error, invalid_json).",
        ("endpoint", "code"),
        _requests,
    ),
    Metric(
        "prefect_exporter_api_throttled_total",
        "counter",
        "Pauses that the API requested (429 or Retry-After).",
        (),
        _one(lambda snapshot: snapshot.about.throttled),
    ),
    Metric(
        "prefect_exporter_records_total",
        "counter",
        "Records read from this source, repeated readings of the same record included.",
        ("source",),
        _by_source(lambda source, _: source.records),
    ),
    Metric(
        "prefect_exporter_records_unreadable",
        "gauge",
        "Records of this source that cannot be read: set aside, logged, and tried again.",
        ("source",),
        _by_source(lambda source, _: None if source.up is None else len(source.unreadable)),
    ),
    Metric(
        "prefect_exporter_records_unreadable_oldest_timestamp_seconds",
        "gauge",
        "When the oldest unreadable record of this source was first seen; absent without any.",
        ("source",),
        _by_source(lambda source, _: min(source.unreadable, default=None)),
    ),
    Metric(
        "prefect_exporter_series",
        "gauge",
        "Counters and histograms that the ledger keeps, by metric: label sets, not buckets.",
        ("metric",),
        _series,
    ),
    Metric(
        "prefect_exporter_series_folded_total",
        "counter",
        "Increments counted under (other), because max_pairs or max_tasks was reached.",
        ("metric",),
        _folded,
    ),
    Metric(
        "prefect_exporter_audit_missing",
        "gauge",
        "Finished runs that the API has and the ledger could not count, after reading them again; should be 0.",
        ("kind",),
        lambda snapshot: (
            ((kind,), reconciliation.missing) for kind, reconciliation in snapshot.about.reconciliations.items()
        ),
    ),
    Metric(
        "prefect_exporter_audit_last_success_timestamp_seconds",
        "gauge",
        "When what was counted was last compared with the API's own counts.",
        ("kind",),
        lambda snapshot: (
            ((kind,), reconciliation.done_at) for kind, reconciliation in snapshot.about.reconciliations.items()
        ),
    ),
    counted(
        VALUES_REJECTED,
        "Values of trend stores and of asset metadata that could not be read or had no room, by reason; each once.",
    ),
    counted(
        REJECTED,
        "Parts of METRIC lines that could not be read or had no room (max_custom_metrics), by reason.",
    ),
    Metric(
        "prefect_exporter_links_info",
        "gauge",
        "Addresses of Prefect, Grafana and the runbooks for links in messages; empty when unknown.",
        ("prefect_url", "grafana_url", "runbook_url"),
        _links,
    ),
    Metric(
        "prefect_exporter_pipelines_file_valid",
        "gauge",
        "1 when the pipelines file is valid. At 0, the last valid one is in use; the exporter's log has the error.",
        (),
        _pipelines_file(lambda status: float(status.valid)),
    ),
    Metric(
        "prefect_exporter_pipelines_file_last_success_timestamp_seconds",
        "gauge",
        "When the pipelines file was last read and found valid.",
        (),
        _pipelines_file(lambda status: status.last_success),
    ),
)
