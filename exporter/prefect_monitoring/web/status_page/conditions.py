"""What can be wrong with a pipeline: one condition for each alert that the page shows. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

from prefect_monitoring.analysis.failure_causes import OTHER_CAUSE
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.web.status_page.formatting import counted, percent, span
from prefect_monitoring.web.status_page.pipeline_view import PipelineView
from prefect_monitoring.web.status_page.thresholds import RUNNING_STATES, THRESHOLDS
from prefect_monitoring.web.status_page.tone import Tone

_UNDECLARED: Final = Policy()


class ConditionId(StrEnum):
    RUN_CRASHED = auto()
    RUN_FAILED = auto()
    NOT_SUCCEEDED = auto()
    START_MISSED = auto()
    RUN_STUCK = auto()
    RUN_TOO_LONG = auto()
    START_LATE = auto()
    RUN_ORPHANED = auto()
    PAUSED_TOO_LONG = auto()
    BUDGET_SPENT = auto()


class WithoutPolicy(Enum):
    """What a condition means for a pipeline without a policy: no deployment, and not in the pipelines file."""

    IGNORED = auto()
    SHOWN = auto()  # but no alert fires
    ALERTED = auto()


@dataclass(frozen=True, slots=True)
class Finding:
    """Details of a condition that holds. `since`: epoch seconds, if known; `run_state`: the state of the run."""

    detail: str = ""
    since: float | None = None
    run_state: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """`rank` sorts, 0 is the worst; `text` is what the page shows; `alert` fires for the same and has the runbook."""

    id: ConditionId
    rank: int
    severity: Tone
    text: str
    alert: str
    evaluate: Callable[[PipelineView], Finding | None]
    without_policy: WithoutPolicy = WithoutPolicy.IGNORED

    def check(self, view: PipelineView) -> Finding | None:
        """None if the condition does not hold or does not apply."""
        if view.policy is None and self.without_policy is WithoutPolicy.IGNORED:
            return None
        return self.evaluate(view)

    def fires(self, view: PipelineView) -> bool:
        """Whether an alert fires for the pipeline if the condition holds."""
        return view.policy is not None or self.without_policy is WithoutPolicy.ALERTED


def allowed_failures(policy: Policy, good: int, bad: int) -> int:
    """Failed runs that the objective allows, as in flow_deployment:prefect_slo_budget_runs:allowed."""
    allowed = (1 - policy.objective) * (good + bad) + THRESHOLDS.budget_rounding
    return math.floor(max(allowed, THRESHOLDS.budget_min_runs))


def _crashed(view: PipelineView) -> Finding | None:
    return _failing(view) if _is_crash(view) else None


def _failed(view: PipelineView) -> Finding | None:
    return None if _is_crash(view) else _failing(view)


def _is_crash(view: PipelineView) -> bool:
    return view.stats.last_failure is not None and view.stats.last_failure.state_type == "CRASHED"


def _failing(view: PipelineView) -> Finding | None:
    stats, last = view.stats, view.stats.last_failure
    if max(stats.consecutive_failures, stats.unresolved) < THRESHOLDS.failed_runs:
        return None
    in_a_row = stats.consecutive_failures >= stats.unresolved
    number = counted(stats.consecutive_failures, "run", "runs in a row")
    details = [number if in_a_row else counted(stats.unresolved, "run", "runs")]
    if last is not None and last.cause not in {"", OTHER_CAUSE}:
        details.append(f"cause: {last.cause.replace('_', ' ')}")
    return Finding(", ".join(details), stats.failing_since if in_a_row else stats.unresolved_since)


def _not_succeeded(view: PipelineView) -> Finding | None:
    if view.is_paused or not view.is_loaded or view.is_waiting_for_approval:
        return None
    policy = view.policy or _UNDECLARED
    completed, unmet = view.stats.last_success, view.due.unmet_at
    if policy.max_staleness is not None and completed is not None:
        since = max(completed, view.due.resumed_at or completed)
        return Finding("stale", completed) if view.complete_to - since > policy.max_staleness else None
    is_first = not policy.max_duration and not view.usual_duration
    if unmet is None or (is_first and any(state in view.active for state in RUNNING_STATES)):
        return None  # how long the first run takes is unknown
    duration = policy.max_duration or THRESHOLDS.grace_duration_factor * view.usual_duration
    return Finding("overdue", unmet) if view.complete_to - unmet > policy.grace + duration else None


def _start_missed(view: PipelineView) -> Finding | None:
    last_due, newest = view.due.last_at, view.newest_outcome
    first_due = view.due.unmet_at
    if first_due is not None and (newest is None or newest[1] < first_due):
        last_due = first_due  # with frequent starts, the last due one is always recent
    if last_due is None or view.is_paused or not (view.is_loaded and view.is_active_known):
        return None
    has_started = bool(view.active) or (newest is not None and newest[1] >= last_due)
    is_missed = view.complete_to - last_due > THRESHOLDS.start_missed_seconds and not has_started
    return Finding(since=last_due) if is_missed else None


def _stuck(view: PipelineView) -> Finding | None:
    for state, limit in THRESHOLDS.stuck_seconds.items():
        since = view.oldest.get(state)
        if since is not None and view.now - since > limit:
            return Finding(state.replace("_", " "), since, state)
    return None


def _too_long(view: PipelineView) -> Finding | None:
    running = {state: view.oldest[state] for state in RUNNING_STATES if state in view.oldest}
    if not running:
        return None
    state, since = min(running.items(), key=lambda run: run[1])
    declared, usual = (view.policy or _UNDECLARED).max_duration, view.usual_duration
    if declared:
        limit, detail = declared, f"at most {span(declared)}"
    elif usual:
        limit = max(THRESHOLDS.long_run_factor * usual, THRESHOLDS.long_run_min_seconds)
        detail = f"usually {span(usual)}"
    else:
        limit, detail = THRESHOLDS.long_run_unknown_seconds, ""
    return Finding(detail, since, state) if view.now - since > limit else None


def _late(view: PipelineView) -> Finding | None:
    since = view.oldest.get("late")
    if since is None or view.now - since <= THRESHOLDS.start_late_seconds:
        return None
    details = [counted(view.active.get("late", 1), "run", "runs")]
    details += [f"no worker in pool {pool}" for pool in view.pools_without_workers]
    return Finding(", ".join(details), since, "late")


def _orphaned(view: PipelineView) -> Finding | None:
    if not view.orphans:
        return None
    return Finding(f"{counted(view.orphans, 'run', 'runs')} of a parent that is over")


def _paused_too_long(view: PipelineView) -> Finding | None:
    limit, since = (view.policy or _UNDECLARED).max_pause, view.due.paused_at
    if limit is None or since is None or view.now - since <= limit:
        return None
    return Finding(f"at most {span(limit)}", since)


def _budget_spent(view: PipelineView) -> Finding | None:
    if view.policy is None or view.slo_runs is None:
        return None
    good, bad = view.slo_runs
    allowed = allowed_failures(view.policy, good, bad)
    return Finding(f"{bad} failed, {percent(view.policy.objective)} allows {allowed}") if bad > allowed else None


_ID: Final = ConditionId
# The worst first. A crash and a failure exclude each other and sort as one.
CONDITIONS: Final = (
    Condition(_ID.RUN_CRASHED, 0, Tone.BAD, "failing", "PrefectRunCrashed", _crashed, WithoutPolicy.SHOWN),
    Condition(_ID.RUN_FAILED, 0, Tone.BAD, "failing", "PrefectRunFailed", _failed, WithoutPolicy.SHOWN),
    Condition(_ID.NOT_SUCCEEDED, 1, Tone.BAD, "not succeeded", "PrefectNotSucceeded", _not_succeeded),
    Condition(_ID.START_MISSED, 2, Tone.WARN, "start missed", "PrefectStartMissed", _start_missed),
    Condition(_ID.RUN_STUCK, 3, Tone.WARN, "stuck", "PrefectRunStuck", _stuck),
    Condition(_ID.RUN_TOO_LONG, 4, Tone.WARN, "running too long", "PrefectRunTooLong", _too_long),
    Condition(_ID.START_LATE, 5, Tone.WARN, "late", "PrefectStartLate", _late),
    Condition(_ID.RUN_ORPHANED, 6, Tone.WARN, "left over", "PrefectZombieRun", _orphaned, WithoutPolicy.ALERTED),
    Condition(_ID.PAUSED_TOO_LONG, 7, Tone.WARN, "paused too long", "PrefectDeploymentPaused", _paused_too_long),
    Condition(_ID.BUDGET_SPENT, 8, Tone.WARN, "budget spent", "PrefectBudgetSpent", _budget_spent),
)
