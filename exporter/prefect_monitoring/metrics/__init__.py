"""The catalogue: every metric there is, by subject."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from prefect_monitoring.config.custom_metrics import CustomMetric
from prefect_monitoring.config.settings import MetricSettings, SettingsError
from prefect_monitoring.metrics import (
    actions,
    assets,
    custom,
    deployments,
    exporter,
    flow_runs,
    policy,
    sinks,
    task_runs,
    work_pools,
    workspace,
)
from prefect_monitoring.metrics.family import Metric

SUBJECTS: Final[dict[str, tuple[Metric, ...]]] = {
    "Flow runs": flow_runs.METRICS,
    "Task runs": task_runs.METRICS,
    "Deployments": deployments.METRICS,
    "Work pools and queues": work_pools.METRICS,
    "Limits and automations": workspace.METRICS,
    "Custom metrics": custom.METRICS,
    "Assets": assets.METRICS,
    "Policy": policy.METRICS,
    "Actions": actions.METRICS,
    "Sinks": sinks.METRICS,
    "The exporter": exporter.METRICS,
}
CATALOGUE: Final[tuple[Metric, ...]] = tuple(metric for metrics in SUBJECTS.values() for metric in metrics)


def shown_metrics(
    on: Collection[str], off: Collection[str], declared: Iterable[CustomMetric] = ()
) -> tuple[Metric, ...]:
    """The metrics to expose: default metrics, those in `on` and those `declared`, without those in `off`.

    Raises SettingsError for an unknown name.
    """
    own = tuple(custom.declared_metric(metric) for metric in declared if metric.enabled)
    names = {metric.name for metric in (*CATALOGUE, *own)}
    for option, chosen in (("metrics_on", on), ("metrics_off", off)):
        if unknown := sorted(set(chosen) - names):
            raise SettingsError(f"{option}: no such metric: {', '.join(unknown)}; docs/metrics.md lists them all")
    return tuple(one for one in (*CATALOGUE, *own) if (one.by_default or one.name in on) and one.name not in off)


def metrics_of(settings: MetricSettings) -> tuple[Metric, ...]:
    """The metrics that the settings select and declare. Raises SettingsError for an unknown name."""
    return shown_metrics(settings.metrics_on, settings.metrics_off, settings.custom_metrics)
