"""Compiles policies to CloudWatch alarms and charts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prefect_monitoring.analysis.durations import format_duration
from prefect_monitoring.model.pushed_metrics import PushedName
from prefect_monitoring.model.records import NO_FLOW, Pipeline
from prefect_monitoring.policy.pipelines_file import CRITICALITIES
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.sinks.cloudwatch.metrics import PREFECT_UP
from prefect_monitoring.sinks.cloudwatch.native.definition import Chart, Rule

# CloudWatch draws 500 metrics in a chart, and 2,500 in a dashboard.
MOST_CHARTED: Final = 100
SILENT_MINUTES: Final = 5
_FAILURES_OF_LOW: Final = 3  # as PrefectRepeatedFailure, the only alert on failures of low criticality
_CHARTS: Final = (
    Chart("Failed runs", "RunsFailed", "Sum", is_stacked=True),
    Chart("Completed runs", "RunsCompleted", "Sum", is_stacked=True),
    Chart("Success rate over the objective's window, %", "SuccessRate", "Minimum"),
    Chart("Failed runs that the objective still allows", "BudgetLeft", "Minimum"),
    Chart("Duration of completed runs, p95", "RunDuration", "p95"),
    Chart("Delay of starts, p95", "StartDelay", "p95"),
    Chart("Time since a run last completed", "LastSuccessAge", "Maximum"),
    Chart("Failed runs in a row", "ConsecutiveFailures", "Maximum"),
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """An alarm that a pipeline has if its policy gives a threshold; `description` is for that threshold."""

    title: str
    metric: PushedName
    statistic: str
    comparison: str
    threshold: Callable[[Policy], float | None]
    description: Callable[[Policy], str]
    missing: str = "ignore"  # a silent exporter is one alarm, not one per pipeline
    period: int = 60


def _failures_allowed(policy: Policy) -> float:
    return float(_FAILURES_OF_LOW if policy.criticality == "low" else 1)


def _spent(policy: Policy) -> str:
    share, window = f"{100 * policy.objective:.4g} %", format_duration(policy.window)
    return f"Fewer than {share} of the runs of {window} completed; one failed run is always allowed."


_KINDS: Final = (
    _Kind(
        title="failures",
        metric="ConsecutiveFailures",
        statistic="Maximum",
        comparison="GreaterThanOrEqualToThreshold",
        threshold=_failures_allowed,
        description=lambda policy: f"Failed runs in a row: {_failures_allowed(policy):g}.",
    ),
    _Kind(
        title="success ratio",
        metric="BudgetLeft",
        statistic="Minimum",
        comparison="LessThanThreshold",
        threshold=lambda _policy: 0.0,
        description=_spent,
    ),
    _Kind(
        title="duration",
        metric="RunDuration",
        statistic="Maximum",
        comparison="GreaterThanThreshold",
        threshold=lambda policy: policy.max_duration,
        description=lambda policy: f"A completed run took longer than {format_duration(policy.max_duration or 0)}.",
        missing="notBreaching",
        period=300,
    ),
    _Kind(
        title="no data",
        metric="LastSuccessAge",
        statistic="Maximum",
        comparison="GreaterThanThreshold",
        threshold=lambda policy: policy.max_staleness,
        description=lambda policy: f"No run completed for {format_duration(policy.max_staleness or 0)}.",
    ),
)
_SILENT: Final = Rule(
    title="exporter silent",
    description=f"The exporter has pushed nothing for {SILENT_MINUTES} minutes: all other alarms stay as they were.",
    pipeline=NO_FLOW,
    metric=PREFECT_UP,
    statistic="SampleCount",
    comparison="LessThanThreshold",
    threshold=1.0,
    missing="breaching",
    periods=SILENT_MINUTES,
)


@dataclass(frozen=True, slots=True)
class Compiled:
    """`pipelines` are the pipelines that the charts show. `notes` say what is left out."""

    rules: tuple[Rule, ...]
    charts: tuple[Chart, ...]
    pipelines: tuple[Pipeline, ...]
    notes: tuple[str, ...]


def compile_rules(policies: Mapping[Pipeline, Policy], pushed: Collection[PushedName]) -> Compiled:
    """Alarms and charts for `policies`, those of all pipelines that are pushed, from the metrics that are `pushed`."""
    if not policies:
        return Compiled((), (), (), ("cloudwatch_pipelines matches no pipeline of the pipelines file",))
    ranked = sorted(policies, key=lambda pipeline: (CRITICALITIES.index(policies[pipeline].criticality), pipeline))
    kinds = [kind for kind in _KINDS if kind.metric in pushed]
    return Compiled(
        rules=(
            _SILENT,
            *(rule for pipeline in sorted(policies) for rule in _rules(pipeline, policies[pipeline], kinds)),
        ),
        charts=tuple(chart for chart in _CHARTS if chart.metric in pushed),
        pipelines=tuple(ranked[:MOST_CHARTED]),
        notes=tuple(_notes(policies, pushed)),
    )


def _rules(pipeline: Pipeline, policy: Policy, kinds: Sequence[_Kind]) -> Iterator[Rule]:
    for kind in kinds:
        threshold = kind.threshold(policy)
        if threshold is not None:
            yield Rule(
                title=f"{'/'.join(filter(None, pipeline))} {kind.title}",
                description=kind.description(policy),
                pipeline=pipeline,
                metric=kind.metric,
                statistic=kind.statistic,
                comparison=kind.comparison,
                threshold=threshold,
                missing=kind.missing,
                period=kind.period,
            )


def _notes(policies: Mapping[Pipeline, Policy], pushed: Collection[PushedName]) -> Iterator[str]:
    for kind in _KINDS:
        if kind.metric not in pushed:
            yield f"no alarm for {kind.title}: cloudwatch_metrics leaves {kind.metric} out"
    for title, key in (("duration", "max_duration"), ("no data", "max_staleness")):
        if count := sum(getattr(policy, key) is None for policy in policies.values()):
            yield f"no alarm for {title} of {_pipelines(count)}: they declare no slo.{key}"
    if len(policies) > MOST_CHARTED:
        yield f"the dashboard shows {MOST_CHARTED} of {_pipelines(len(policies))}, the most critical ones"


def _pipelines(count: int) -> str:
    return f"{count} pipeline{'' if count == 1 else 's'}"
