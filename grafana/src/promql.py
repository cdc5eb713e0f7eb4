"""Pieces of queries: selection by variables, merged replicas, zeros, windows that suit an hourly history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BY_PIPELINE: Final = "workspace, flow, deployment"
# A backfill has one sample an hour, and a window needs two: below two hours, increase() returns nothing.
HOURS: Final = "2h"
DAYS: Final = "1d"


# Increments of ten minutes, as prometheus/rules/recording.yml records them.
RECORDED: Final[Mapping[str, str]] = {
    f"{metric}{end}": f"{by}:{metric}:increase10m"
    for by, metric, end in (
        ("flow_deployment_state", "prefect_flow_run_outcomes", "_total"),
        ("flow_deployment", "prefect_flow_run_retries", "_total"),
        ("flow_deployment", "prefect_flow_run_duration_seconds_sum", ""),
        ("flow_deployment", "prefect_flow_run_duration_seconds_count", ""),
        ("flow_deployment_task_state", "prefect_task_run_outcomes", "_total"),
        ("flow_deployment_task", "prefect_task_run_retries", "_total"),
        ("flow_deployment_task", "prefect_task_run_seconds", "_total"),
    )
}


def _matches(label: str) -> str:
    # `=~` with the regex format in a raw string: names may hold dots, parentheses and quotes of both kinds.
    return f"{label}=~`${{{label}:regex}}`"


def _series(metric: str, labels: tuple[str, ...], matchers: tuple[str, ...]) -> str:
    return f"{metric}{{{', '.join((*map(_matches, labels), *matchers))}}}"


def of_pipelines(metric: str, *matchers: str) -> str:
    """The series of a metric that has flow and deployment."""
    return _series(metric, ("workspace", "flow", "deployment"), matchers)


def of_flows(metric: str, *matchers: str) -> str:
    return _series(metric, ("workspace", "flow"), matchers)


def of_workspaces(metric: str, *matchers: str) -> str:
    return _series(metric, ("workspace",), matchers)


# Whether the Prefect API answers, by workspace. A replica that is cut off does not count.
UP: Final = f"max by (workspace) ({of_workspaces('prefect_up')})"


def lately(series: str, window: str = "5m") -> str:
    """A gauge of the ledger, as the rules read it: a restart of the exporter leaves no gap."""
    return f"last_over_time({series}[{window}])"


def at_end(series: str) -> str:
    """The gauge's value at the end of the range, for all of the range: a backfill has no gauges.

    Grafana puts the end on a whole step, up to a day ago: hence a window that reaches a day beyond it.
    """
    return f"last_over_time({series}[26h] @ end() offset -1d)"


def merged(expr: str, *labels: str, by: str = BY_PIPELINE, how: str = "max") -> str:
    """Replicas have the same values: one of them counts, and they are never added up."""
    return f"{how} by ({', '.join((by, *labels))}) ({expr})"


def total(expr: str, *labels: str, by: str = "") -> str:
    return f"sum by ({', '.join(filter(None, (by, *labels)))}) ({expr})"


def level(metric: str, *matchers: str, labels: tuple[str, ...] = (), at: str = "", reach: str = "5h") -> str:
    """The level of a counter of pipelines; at: offset, `@ end()` or both; reach: how old the last sample may be.

    Five hours bridge the gap between the last block of a backfill and the first scrape.
    """
    return merged(f"last_over_time({of_pipelines(metric, *matchers)}[{reach}]{at})", *labels)


def known(metric: str, *matchers: str, labels: tuple[str, ...] = (), window: str = "$__range", at: str = "") -> str:
    """The increase of a counter of pipelines in a window, as a difference: exact, and cheap for thousands of series.

    For series younger than the window it is all that is known, including what the exporter's first start loaded.
    """
    now = level(metric, *matchers, labels=labels, at=at)
    before = level(metric, *matchers, labels=labels, at=f"{at} offset {window}")
    return f"(clamp_min({now} - {before}, 0) or {now})"


def change(
    metric: str,
    *matchers: str,
    labels: tuple[str, ...] = (),
    window: str,
    start: str = "",
    end: str = "",
    reach: str = "1h",
) -> str:
    """The increase of a counter of pipelines between two offsets, which are a window apart.

    A difference of levels, because increase() loses, from Prometheus 3 on, what came between a window's begin and its
    first sample: on an hourly history, all runs of an hour. `reach`: how old the sample of a level may be, an hour
    because a backfill has one each hour. Where there is no difference (after a birth or a reset, without a sample
    within reach, and where the window reaches into the future), the recorded increments.
    """
    later, earlier = (level(metric, *matchers, labels=labels, at=at, reach=reach) for at in (end, start))
    if recorded := RECORDED.get(metric):
        fallback = merged(f"sum_over_time({of_pipelines(recorded, *matchers)}[{window}]{end})", *labels)
    else:
        fallback = merged(f"increase({of_pipelines(metric, *matchers)}[{window}]{end})", *labels)
    # Added up in another order, a sum of fractions may be slightly smaller: that is no reset.
    return f"({later} - {earlier} > -1e-6 or {fallback})"


def grown(metric: str, *matchers: str, labels: tuple[str, ...] = (), window: str = "$__range") -> str:
    """The increase of a counter of pipelines in a window that ends with the range, or with each of its points."""
    return change(metric, *matchers, labels=labels, window=window, start=f" offset {window}")


def bars(metric: str, *matchers: str, labels: tuple[str, ...] = ()) -> str:
    """The increase of a counter of pipelines in each step, at the begin of the step: so today has a bar under its date.

    For panels whose step is at least HOURS. Steps begin on the hour, as the samples of a backfill do: the sample of
    that minute will do, and a longer reach would read every sample of weeks.
    """
    return change(metric, *matchers, labels=labels, window="$__interval", end=" offset -$__interval", reach="2m")


def chosen(expr: str, *, past: bool = False) -> str:
    """Keeps, of anything with workspace, flow and deployment, the pipelines that team, criticality and tag select.

    No series has the label `unchosen`: the regex of three times All matches its absence, `!~` then matches nothing, and
    nothing is removed. So pipelines without a policy are there until a team, a criticality or a tag is chosen.
    `past`: for a range that may begin before any policy was known, as that of counts by step.
    """
    asked = "`${team:regex}${criticality:regex}${tag:regex}`"
    pipelines = lately(f'prefect_flow_run_outcomes_total{{state="completed", unchosen!~{asked}}}', HOURS)
    known = at_end if past or "$__interval" in expr else lately
    policies = known("prefect_pipeline_info{team=~`${team:regex}`, criticality=~`${criticality:regex}`}")
    tagged = known("prefect_deployment_tag_info{tag=~`${tag:regex}`}")
    untagged = known("prefect_pipeline_info{unchosen=~`${tag:regex}`}")
    return (
        f"({expr}\nunless on ({BY_PIPELINE}) (\n  {pipelines}\n  unless on ({BY_PIPELINE}) (\n"
        f"    {policies}\n    and on ({BY_PIPELINE}) (\n      {tagged}\n      or {untagged}\n    )\n  )\n))"
    )


def or_zero(expr: str, *, live: bool = False) -> str:
    """A sum that is 0 if nothing happened, and missing if the exporter is.

    Live: missing, too, while any of the Prefect APIs does not answer, since nobody knows the present then.
    """
    zero = f"{expr}\nor 0 * max({of_workspaces('prefect_up')})"
    return f"({zero})\nand on () (min({UP}) == 1)" if live else zero


def answering(expr: str) -> str:
    """Keeps the series of workspaces whose Prefect API answers now."""
    return f"({expr} and on (workspace) {UP} == 1)"


def highest(expr: str, count: int = 10) -> str:
    return f"topk({count}, {expr})"


def named(expr: str) -> str:
    """With the label `pipeline` for legends: flow/deployment, or only the flow without a deployment."""
    joined = f'label_join({expr}, "pipeline", "/", "flow", "deployment")'
    return f'label_replace({joined}, "pipeline", "$1", "pipeline", "(.*)/")'


def newest(metric: str, *matchers: str, by: str = "workspace") -> str:
    """A gauge about the exporter itself: the greatest value of its replicas."""
    return f"max by ({by}) ({of_workspaces(metric, *matchers)})"
