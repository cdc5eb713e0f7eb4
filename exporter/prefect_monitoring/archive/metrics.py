"""The archive's own metrics, and the status that they are computed from.

The archive serves them itself, since the exporter would have to read the archive to know them. While it is down, its
alert uses what was scraped last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client import Metric as ExposedFamily
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from prefect_monitoring.archive.batch_writer import Written
from prefect_monitoring.prefect_api.client import Traffic
from prefect_monitoring.web.exposition import Exposition

Row = tuple[tuple[str, ...], float]


@dataclass(slots=True)
class ArchiveStatus:
    """What the archive has done since the process began. All runs that ended before `complete_until` are archived."""

    traffic: Traffic
    complete_until: float | None = None
    last_success: float | None = None
    up: bool | None = None
    set_aside: set[str] = field(default_factory=set)
    written: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=lambda: Counter({"api": 0, "store": 0}))

    def count(self, written: Written) -> None:
        self.written["runs"] += len(written.manifest.runs)
        self.set_aside.difference_update(run for run, _ in written.manifest.runs)
        self.set_aside.update(written.set_aside)
        self.written["task_runs"] += written.task_runs
        self.written["log_lines"] += written.log_lines
        self.written["bytes"] += written.bytes


@dataclass(frozen=True, slots=True)
class ArchiveMetric:
    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...]
    rows: Callable[[ArchiveStatus], Iterable[Row]]

    def family(self, status: ArchiveStatus) -> ExposedFamily:
        kinds: Mapping[str, type[CounterMetricFamily | GaugeMetricFamily]] = {
            "counter": CounterMetricFamily,
            "gauge": GaugeMetricFamily,
        }
        family = kinds[self.kind](self.name, self.help, labels=self.labels)
        for labels, value in self.rows(status):
            family.add_metric(labels, value)
        return family


def _known(value: float | None) -> list[Row]:
    return [] if value is None else [((), value)]


ARCHIVE_METRICS: Final = (
    ArchiveMetric(
        "prefect_exporter_archive_oldest_unarchived_timestamp_seconds",
        "gauge",
        "Every run that ended before this instant is archived",
        (),
        lambda status: _known(status.complete_until),
    ),
    ArchiveMetric(
        "prefect_exporter_archive_up", "gauge", "Whether the last pass succeeded", (), lambda status: _known(status.up)
    ),
    ArchiveMetric(
        "prefect_exporter_archive_last_success_timestamp_seconds",
        "gauge",
        "When the last pass that succeeded ended",
        (),
        lambda status: _known(status.last_success),
    ),
    ArchiveMetric(
        "prefect_exporter_archive_failures_total",
        "counter",
        "Passes that failed, by reason: `api` or `store`",
        ("reason",),
        lambda status: [((reason,), count) for reason, count in status.failures.items()],
    ),
    ArchiveMetric(
        "prefect_exporter_archive_set_aside_runs",
        "gauge",
        "Runs that could not be archived, because Prefect's answer could not be read",
        (),
        lambda status: _known(len(status.set_aside)),
    ),
    ArchiveMetric(
        "prefect_exporter_archive_runs_total",
        "counter",
        "Flow runs archived, later versions included",
        (),
        lambda status: _known(status.written["runs"]),
    ),
    ArchiveMetric(
        "prefect_exporter_archive_task_runs_total",
        "counter",
        "Task runs archived",
        (),
        lambda status: _known(status.written["task_runs"]),
    ),
    ArchiveMetric(
        "prefect_exporter_archive_log_lines_total",
        "counter",
        "Log lines archived",
        (),
        lambda status: _known(status.written["log_lines"]),
    ),
    ArchiveMetric(
        "prefect_exporter_archive_bytes_total",
        "counter",
        "Bytes of Parquet files written",
        (),
        lambda status: _known(status.written["bytes"]),
    ),
    ArchiveMetric(
        "prefect_exporter_archive_api_requests_total",
        "counter",
        "Requests of the archive to the Prefect API",
        ("endpoint", "code"),
        lambda status: list(status.traffic.requests.items()),
    ),
    ArchiveMetric(
        "prefect_exporter_archive_api_throttled_total",
        "counter",
        "Requests of the archive that the API throttled",
        (),
        lambda status: _known(status.traffic.throttled),
    ),
)


def exposition(status: ArchiveStatus) -> Exposition:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(status))
    ProcessCollector(registry=registry)
    return Exposition(registry)


class _Families(Collector):
    def __init__(self, status: ArchiveStatus) -> None:
        self._status = status

    def collect(self) -> Iterable[ExposedFamily]:
        return [metric.family(self._status) for metric in ARCHIVE_METRICS]

    def describe(self) -> Iterable[ExposedFamily]:
        return ()
