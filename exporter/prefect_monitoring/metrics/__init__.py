"""The catalogue: every metric there is, by subject."""

from __future__ import annotations

from typing import Final

from prefect_monitoring.metrics import deployments, exporter, flow_runs
from prefect_monitoring.metrics.family import Metric

SUBJECTS: Final[dict[str, tuple[Metric, ...]]] = {
    "Flow runs": flow_runs.METRICS,
    "Deployments": deployments.METRICS,
    "About itself": exporter.METRICS,
}
CATALOGUE: Final[tuple[Metric, ...]] = tuple(metric for metrics in SUBJECTS.values() for metric in metrics)
