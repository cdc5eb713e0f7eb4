"""Pieces of queries: selection by variables, merged replicas, zeros, windows that suit an hourly history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BY_PIPELINE: Final = "workspace, flow, deployment"
# A backfill has one sample an hour.
HOURS: Final = "2h"
DAYS: Final = "1d"

# The increases of counters, where they grew, as prometheus/rules/increases.yml records them and a backfill writes them.
INCREASES: Final[Mapping[str, str]] = {
    f"{metric}{end}": f"{by}:{metric}:increase"
    for by, metric, end in (
        ("flow_deployment_state", "prefect_flow_run_outcomes", "_total"),
        ("flow_deployment", "prefect_flow_run_retries", "_total"),
        ("flow_deployment", "prefect_flow_run_duration_seconds_sum", ""),
        ("flow_deployment", "prefect_flow_run_duration_seconds_count", ""),
        ("flow_deployment_task_state", "prefect_task_run_outcomes", "_total"),
        ("flow_deployment_task", "prefect_task_run_retries", "_total"),
        ("flow_deployment_task", "prefect_task_run_seconds", "_total"),
        ("flow_deployment_task_metric", "prefect_custom_metric_observed_sum", ""),
        ("flow_deployment_task_metric", "prefect_custom_metric_observed_count", ""),
        ("action_result_flow_deployment", "prefect_exporter_actions", "_total"),
    )
}

# Over all tasks.
SUMMED: Final = {
    "prefect_task_run_outcomes_total": "flow_deployment_state:prefect_task_run_outcomes:increase",
    "prefect_task_run_seconds_total": "flow_deployment:prefect_task_run_seconds:increase",
}
# Their last levels, recorded where they grew and once a day.
LASTS: Final[Mapping[str, str]] = {
    metric: f"{recorded.removesuffix('increase')}last" for metric, recorded in INCREASES.items()
}
# Where it is recorded, increases are known: without a sample, nothing was counted.
_KNOWN: Final = "workspace:prefect_exporter_ledger:unchanged"


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


def level(metric: str, *matchers: str, labels: tuple[str, ...] = (), at: str = "") -> str:
    """The level of a counter of pipelines; at: offset, `@ end()` or both.

    Recorded levels have all labels of their counter; of others, `labels` are kept besides the pipeline's. There, five
    hours bridge the gap between the last block of a backfill and the first scrape.
    """
    if recorded := LASTS.get(metric):
        return f"last_over_time({of_pipelines(recorded, *matchers)}[25h]{at})"
    return merged(f"last_over_time({of_pipelines(metric, *matchers)}[5h]{at})", *labels)


def known(metric: str, *matchers: str, labels: tuple[str, ...] = (), window: str = "$__range") -> str:
    """The increase of a counter of pipelines in a window, as a difference: exact, and cheap for thousands of series.

    For series younger than the window it is all that is known, including what the exporter's first start loaded.
    """
    now = level(metric, *matchers, labels=labels)
    before = level(metric, *matchers, labels=labels, at=f" offset {window}")
    return f"(clamp_min({now} - {before}, 0) or {now})"


def grown(metric: str, *matchers: str, window: str, at: str = "", names: Mapping[str, str] = INCREASES) -> str:
    """The increase of a counter of pipelines in a window, by the labels of its recorded increases.

    `names`: SUMMED, where the sum over all tasks will do. Replicas are merged, so it can be summed as it is; exact
    to the minute, to the step in the past of a backfill.
    """
    return f"sum_over_time({of_pipelines(names[metric], *matchers)}[{window}]{at})"


def bars(metric: str, *matchers: str, names: Mapping[str, str] = INCREASES) -> str:
    """The increase of a counter of pipelines in each step, at the begin of the step: so today has a bar under its date.

    For panels whose step is at least HOURS, and begins on the hour.
    """
    return grown(metric, *matchers, window="$__interval", at=" offset -$__interval", names=names)


def or_none(expr: str, window: str = "$__interval", at: str = " offset -$__interval") -> str:
    """A sum of increases that is 0 where nothing was counted, and missing where nobody knows."""
    return f"({expr}\nor 0 * max(max_over_time({of_workspaces(_KNOWN)}[{window}]{at})))"


def chosen(expr: str, *, past: bool = False) -> str:
    """Keeps, of anything with workspace, flow and deployment, the pipelines that team, criticality and tag select.

    No series has the label `unchosen`: the regex of three times All matches its absence, `!~` then matches nothing:
    nothing is removed, and nothing read. So pipelines without a policy are there until one of the three is chosen.
    `past`: for a range that may begin before any policy was known, as that of counts by step: as it is at its end.
    """
    any_chosen = "unchosen!~`${team:regex}${criticality:regex}${tag:regex}`"
    past = past or "$__interval" in expr
    known = at_end if past else lately
    outcomes = f'prefect_flow_run_outcomes_total{{state="completed", {any_chosen}}}'
    pipelines = at_end(outcomes) if past else lately(outcomes, HOURS)
    policies = known(
        f"prefect_pipeline_info{{team=~`${{team:regex}}`, criticality=~`${{criticality:regex}}`, {any_chosen}}}"
    )
    tagged = known(f"prefect_deployment_tag_info{{tag=~`${{tag:regex}}`, {any_chosen}}}")
    untagged = known(f"prefect_pipeline_info{{unchosen=~`${{tag:regex}}`, {any_chosen}}}")
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
