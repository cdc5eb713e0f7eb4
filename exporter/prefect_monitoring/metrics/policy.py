"""Policies of pipelines, so that rules can be generic: team, criticality and objectives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.metrics.rows import PIPELINE
from prefect_monitoring.policy.pipelines_file import Limits
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import Snapshot


def _own_labels(snapshot: Snapshot) -> tuple[str, ...]:
    return tuple(sorted({name for policy in snapshot.policies.values() for name in policy.labels}))


def _info(snapshot: Snapshot) -> Iterator[Row]:
    names = _own_labels(snapshot)
    for pipeline, policy in snapshot.policies.items():
        own = (policy.labels.get(name, "") for name in names)
        yield (pipeline.flow, pipeline.deployment, policy.criticality, policy.team, ",".join(policy.tags), *own), 1.0


def _declared(value: Callable[[Policy], float | None]) -> Callable[[Snapshot], Iterator[Row]]:
    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for pipeline, policy in snapshot.policies.items():
            if (declared := value(policy)) is not None:
                yield (pipeline.flow, pipeline.deployment), declared

    return rows


def _limit(value: Callable[[Limits], float | None]) -> Callable[[Snapshot], Iterator[Row]]:
    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for pipeline, policy in snapshot.policies.items():
            for metric, limits in policy.limits.items():
                if (limit := value(limits)) is not None:
                    yield (pipeline.flow, pipeline.deployment, metric), limit

    return rows


METRICS: Final = (
    Metric(
        "prefect_pipeline_info",
        "gauge",
        "Criticality, team, bare tags and own labels of a pipeline; runs without a deployment only where declared.",
        (*PIPELINE, "criticality", "team", "tags"),
        _info,
        more_labels=_own_labels,
    ),
    Metric(
        "prefect_slo_objective_ratio",
        "gauge",
        "Share of runs in the SLO's window that must complete.",
        PIPELINE,
        _declared(lambda policy: policy.objective),
    ),
    Metric(
        "prefect_slo_window_seconds",
        "gauge",
        "Length of the SLO's window, which prefect_flow_run_window_runs shows as window `slo`.",
        PIPELINE,
        _declared(lambda policy: policy.window),
    ),
    Metric(
        "prefect_slo_max_duration_seconds",
        "gauge",
        "Declared maximum duration of a run.",
        PIPELINE,
        _declared(lambda policy: policy.max_duration),
    ),
    Metric(
        "prefect_slo_max_staleness_seconds",
        "gauge",
        "Declared maximum age of the last success; without it, a success must follow each scheduled start.",
        PIPELINE,
        _declared(lambda policy: policy.max_staleness),
    ),
    Metric(
        "prefect_slo_grace_seconds",
        "gauge",
        "Allowed delay of a success beyond the scheduled start and the usual duration.",
        PIPELINE,
        _declared(lambda policy: policy.grace),
    ),
    Metric(
        "prefect_slo_max_pause_seconds",
        "gauge",
        "Declared maximum duration of a pause of the deployment.",
        PIPELINE,
        _declared(lambda policy: policy.max_pause),
    ),
    Metric(
        "prefect_pipeline_alert_on_streak",
        "gauge",
        "1 where only failures in a row alert, not each single one; absent elsewhere.",
        PIPELINE,
        _declared(lambda policy: 1.0 if policy.alert_on == "streak" else None),
    ),
    Metric(
        "prefect_slo_metric_max",
        "gauge",
        "Declared maximum of a custom metric.",
        (*PIPELINE, "metric"),
        _limit(lambda limits: limits.max),
    ),
    Metric(
        "prefect_slo_metric_min",
        "gauge",
        "Declared minimum of a custom metric.",
        (*PIPELINE, "metric"),
        _limit(lambda limits: limits.min),
    ),
)
