"""The catalogue: every metric there is, by subject."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prefect_monitoring.metrics import deployments, exporter, flow_runs
from prefect_monitoring.metrics.family import Metric
from prefect_monitoring.settings import SettingsError

SUBJECTS: Final[dict[str, tuple[Metric, ...]]] = {
    "Flow runs": flow_runs.METRICS,
    "Deployments": deployments.METRICS,
    "About itself": exporter.METRICS,
}
CATALOGUE: Final[tuple[Metric, ...]] = tuple(metric for metrics in SUBJECTS.values() for metric in metrics)


def refuse_unknown(names: Iterable[str]) -> None:
    """Raises SettingsError for names in `metrics_off` that no metric has."""
    if unknown := sorted(set(names) - {metric.name for metric in CATALOGUE}):
        raise SettingsError(f"metrics_off: no such metric: {', '.join(unknown)}; docs/metrics.md lists them all")
