"""Computes figures from facts: comparisons, their order, and which are reported. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from math import floor
from typing import Final

from prefect_monitoring.model.actions import ActionResult, Kind
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    FAILED_ACTIONS,
    TASK_FAILURES,
    TASK_RETRIES,
    TASK_SECONDS,
)
from prefect_monitoring.model.period import Growth, RunCounts
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.run_stats import SLO_WINDOW
from prefect_monitoring.report.facts import Facts
from prefect_monitoring.report.figures import (
    Budget,
    FailureGroup,
    Figures,
    PipelineSuccess,
    RetryingTask,
    Slower,
    Volume,
)
from prefect_monitoring.report.idle import idle_of

# A mean of fewer runs says nothing, and a few seconds do not matter.
MIN_RUNS: Final = 5
SLOWER_RATIO: Final = 1.25
SLOWER_SECONDS: Final = 10.0
VOLUME_RATIO: Final = 1.5
VOLUME_RUNS: Final = 10
_ROUNDING: Final = 1e-6  # 0.1 * 30 is 2.9999…


class UnknownTeamError(Exception):
    """No pipeline has the requested team; the message names the existing teams."""


def figures_of(facts: Facts, team: str = "") -> Figures:
    """The figures of all pipelines, or of those of a team. Raises UnknownTeamError."""
    chosen = _chosen(facts, team)
    runs_known = facts.known_from <= facts.hours.before.start
    days_known = facts.days_from <= facts.days.before.start
    growth = _of_pipelines(facts.growth, chosen)
    growth_before = _of_pipelines(facts.growth_before, chosen) if days_known else None
    pipelines = _success(facts, chosen, known=runs_known)
    retrying = _retrying(growth, growth_before)
    outside = facts.runs.keys() - facts.live if not team else ()
    return Figures(
        at=facts.at,
        hours=facts.hours,
        days=facts.days,
        team=team,
        pipelines=pipelines,
        total=sum((success.now for success in pipelines), RunCounts()),
        total_before=sum((success.before for success in pipelines if success.before), RunCounts())
        if runs_known
        else None,
        elsewhere=sum((facts.runs[pipeline] for pipeline in outside), RunCounts()),
        failures=_failures(facts, chosen),
        budgets=_budgets(facts, chosen),
        retrying=retrying,
        retries=sum(task.retries for task in retrying),
        retries_before=_retries(growth_before) if growth_before is not None else None,
        slower=_slower(pipelines, growth, growth_before or {}),
        volumes=_volumes(pipelines, growth, growth_before or {}),
        actions=_actions(facts, chosen),
        saved=sum(count for pipeline, count in facts.saved.items() if pipeline in chosen),
        failed_automations={} if team else _failed_automations(facts.growth),
        idle=idle_of(facts, chosen),
        days_from=facts.days_from if facts.days_from > facts.days.start else None,
    )


def _chosen(facts: Facts, team: str) -> frozenset[Pipeline]:
    if not team:
        return facts.live
    teams = sorted({policy.team for policy in facts.policies.values()} - {""})
    if team not in teams:
        raise UnknownTeamError(f"No pipeline has the team {team!r}. Teams: {', '.join(teams) or 'none'}")
    return frozenset(pipeline for pipeline, policy in facts.policies.items() if policy.team == team)


def _success(facts: Facts, chosen: frozenset[Pipeline], *, known: bool) -> tuple[PipelineSuccess, ...]:
    """Pipelines with runs: first those below their objective, then those with the most failed runs."""
    found = []
    for pipeline in chosen:
        now, before = facts.runs.get(pipeline, RunCounts()), facts.runs_before.get(pipeline, RunCounts())
        policy = facts.policies.get(pipeline)
        if now.runs or before.runs:
            objective = policy.objective if policy else None
            team = policy.team if policy else ""
            found.append(PipelineSuccess(pipeline, team, objective, now, before if known else None))
    return tuple(sorted(found, key=lambda success: (not success.is_below, -success.now.bad, success.pipeline)))


def _failures(facts: Facts, chosen: frozenset[Pipeline]) -> tuple[FailureGroup, ...]:
    groups: defaultdict[tuple[str, str], list[tuple[Pipeline, int, float]]] = defaultdict(list)
    for failed in facts.failed:
        if failed.pipeline in chosen:
            groups[failed.cause, failed.pattern].append((failed.pipeline, failed.runs, failed.last_at))
    found = [
        FailureGroup(
            cause=cause,
            pattern=pattern,
            runs=sum(runs for _, runs, _ in members),
            pipelines=tuple(
                (pipeline, runs) for pipeline, runs, _ in sorted(members, key=lambda member: (-member[1], member[0]))
            ),
            last_at=max(last_at for _, _, last_at in members),
        )
        for (cause, pattern), members in groups.items()
    ]
    return tuple(sorted(found, key=lambda group: (-group.runs, group.cause, group.pattern)))


def _budgets(facts: Facts, chosen: frozenset[Pipeline]) -> tuple[Budget, ...]:
    """As the recording rule flow_deployment:prefect_slo_budget_runs:allowed: at least one run. Least left first."""
    found = []
    for pipeline in chosen & facts.policies.keys() & facts.stats.keys():
        runs, policy = facts.stats[pipeline].window_runs, facts.policies[pipeline]
        good, failed = runs.get((SLO_WINDOW, "good"), 0), runs.get((SLO_WINDOW, "bad"), 0)
        if good + failed:
            allowed = floor(max((1 - policy.objective) * (good + failed) + _ROUNDING, 1))
            found.append(Budget(pipeline, policy.objective, policy.window, allowed, failed))
    return tuple(sorted(found, key=lambda budget: (budget.left / budget.allowed, budget.pipeline)))


def _of_pipelines(growth: Mapping[SeriesKey, Growth], chosen: frozenset[Pipeline]) -> dict[SeriesKey, Growth]:
    return {key: change for key, change in growth.items() if key.pipeline in chosen}


def _retries(growth: Mapping[SeriesKey, Growth]) -> int:
    return round(sum(change.amount for key, change in growth.items() if key.metric == TASK_RETRIES))


def _retrying(
    growth: Mapping[SeriesKey, Growth], growth_before: Mapping[SeriesKey, Growth] | None
) -> tuple[RetryingTask, ...]:
    causes: defaultdict[tuple[Pipeline, str], Counter[str]] = defaultdict(Counter)
    for key, change in growth.items():
        if key.metric == TASK_FAILURES:
            causes[key.pipeline, key.task][key.detail] += round(change.amount)
    found = [
        RetryingTask(
            pipeline=key.pipeline,
            task=key.task,
            retries=round(change.amount),
            before=round(growth_before.get(key, Growth()).amount) if growth_before is not None else None,
            runs=growth.get(key._replace(metric=TASK_SECONDS), Growth()).seen,
            causes=tuple(causes[key.pipeline, key.task].most_common()),
        )
        for key, change in growth.items()
        if key.metric == TASK_RETRIES
    ]
    return tuple(sorted(found, key=lambda task: (-task.retries, task.pipeline, task.task)))


def _slower(
    pipelines: tuple[PipelineSuccess, ...],
    growth: Mapping[SeriesKey, Growth],
    growth_before: Mapping[SeriesKey, Growth],
) -> tuple[Slower, ...]:
    """Pipelines and tasks that got slower; those that lost the most time first."""
    found = []
    for success in pipelines:
        if success.before and min(success.now.timed, success.before.timed) >= MIN_RUNS:
            means = success.before.mean_seconds or 0.0, success.now.mean_seconds or 0.0
            found.append(Slower(success.pipeline, "", *means, success.now.timed))
    for key, now in growth.items():
        before = growth_before.get(key, Growth())
        if key.metric == TASK_SECONDS and min(now.seen, before.seen) >= MIN_RUNS:
            found.append(Slower(key.pipeline, key.task, before.mean or 0.0, now.mean or 0.0, now.seen))
    slower = [
        candidate
        for candidate in found
        if candidate.now - candidate.before >= max((SLOWER_RATIO - 1) * candidate.before, SLOWER_SECONDS)
    ]
    return tuple(sorted(slower, key=lambda task: (-task.lost, task.pipeline, task.task)))


def _volumes(
    pipelines: tuple[PipelineSuccess, ...],
    growth: Mapping[SeriesKey, Growth],
    growth_before: Mapping[SeriesKey, Growth],
) -> tuple[Volume, ...]:
    """Volumes that changed by half or more; the greatest change first."""
    found = [
        Volume(success.pipeline, "", success.before.runs, success.now.runs)
        for success in pipelines
        if success.before and max(success.before.runs, success.now.runs) >= VOLUME_RUNS
    ]
    for key, now in growth.items():
        before = growth_before.get(key, Growth())
        if key.metric == CUSTOM_OBSERVED and now.mean is not None and before.mean is not None:
            found.append(Volume(key.pipeline, _metric_name(key), before.mean, now.mean))
    moved = [(abs(_fold_change(volume)), volume) for volume in found if volume.before]
    ranked = sorted(moved, key=lambda pipeline: (-pipeline[0], pipeline[1].pipeline, pipeline[1].what))
    return tuple(volume for change, volume in ranked if change >= VOLUME_RATIO)


def _fold_change(volume: Volume) -> float:
    """How many times greater or smaller, at least 1; infinite for a change of sign."""
    ratio = volume.ratio
    if ratio <= 0:
        return float("inf")
    return max(ratio, 1 / ratio)


def _metric_name(key: SeriesKey) -> str:
    labels = ", ".join(f'{name}="{value}"' for name, value in key.labels)
    return f"{key.detail}{{{labels}}}" if labels else key.detail


def _actions(facts: Facts, chosen: frozenset[Pipeline]) -> dict[Kind, Counter[ActionResult]]:
    found: dict[Kind, Counter[ActionResult]] = {}
    for (pipeline, kind, result), count in facts.actions.items():
        if pipeline in chosen and result.is_final:
            found.setdefault(kind, Counter())[result] += count
    return found


def _failed_automations(growth: Mapping[SeriesKey, Growth]) -> dict[str, int]:
    failed = {key.detail: round(change.amount) for key, change in growth.items() if key.metric == FAILED_ACTIONS}
    return dict(sorted(failed.items(), key=lambda item: (-item[1], item[0])))
