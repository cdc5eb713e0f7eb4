"""Deployments that do not run: paused, with a missed start, or never run. Pure."""

from __future__ import annotations

from prefect_monitoring.counting.schedules import is_no_longer_due, passed, unmet
from prefect_monitoring.model.changes import Schedule
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.run_stats import RunStats
from prefect_monitoring.policy.resolve import DEFAULT_GRACE, Policy
from prefect_monitoring.report.facts import Facts
from prefect_monitoring.report.figures import Idle


def idle_of(facts: Facts, chosen: frozenset[Pipeline]) -> tuple[Idle, ...]:
    """Paused deployments, then those that missed a start, then those that never ran; the longest first."""
    found = []
    for pipeline in chosen:
        if not pipeline.deployment:
            continue
        schedule = facts.schedules.get(pipeline, Schedule())
        stats = facts.stats.get(pipeline, RunStats())
        if schedule.paused_at is not None:
            found.append(Idle(pipeline, "paused", schedule.paused_at))
        elif (since := _missed_since(schedule, stats, facts.policies.get(pipeline), facts.at)) is not None:
            found.append(Idle(pipeline, "missed", since))
        elif not stats.last_outcomes:
            found.append(Idle(pipeline, "never", None))
    order = ("paused", "missed", "never")
    return tuple(sorted(found, key=lambda idle: (order.index(idle.why), idle.since or 0.0, idle.pipeline)))


def _missed_since(schedule: Schedule, stats: RunStats, policy: Policy | None, at: float) -> float | None:
    """The earliest due start since which no run ended, once grace and a usual duration have passed."""
    completed_at = stats.last_success
    if schedule.next_at is not None and schedule.next_at <= at:
        schedule = passed(schedule, schedule.next_at, completed_at)
    due = unmet(schedule, completed_at)
    if due is None or is_no_longer_due(schedule) or max(stats.last_outcomes.values(), default=0.0) >= due:
        return None
    grace = policy.grace if policy else DEFAULT_GRACE
    usual = policy.max_duration if policy and policy.max_duration else 3 * stats.baselines.get("30d", 0.0)
    return due if at - due > grace + usual else None
