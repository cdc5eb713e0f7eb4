"""How a pair is: what the alerts would say of it, else what it does now, else how its last run ended. Pure.

The limits are those of prometheus/rules/; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from prefect_monitoring.analysis.failure_causes import OTHER_CAUSE
from prefect_monitoring.model.run_stats import SLO_WINDOW
from prefect_monitoring.policy.pipelines_file import CRITICALITIES
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.web.status_page.formatting import counted, percent, span
from prefect_monitoring.web.status_page.pipeline_view import Case

LATE_SECONDS: Final = 300
MISSED_SECONDS: Final = 600
STUCK_SECONDS: Final = 900
SLOT_SECONDS: Final = 3600
USUAL_FACTOR: Final = 3
LONG_SECONDS: Final = 1800
DEAD_SECONDS: Final = 24 * 3600
_STARTING: Final = ("pending", "submitting", "infrastructure_pending")
_DOING: Final = {
    "running": "running",
    "retrying": "running again",
    "cancelling": "being cancelled",
    "late": "late",
    "awaiting_concurrency_slot": "waiting for a slot",
    "awaiting_retry": "waiting for a retry",
    **dict.fromkeys(_STARTING, "starting"),
}
_ENDED: Final = {"completed": "succeeded", "timed_out": "timed out"}


class Group(IntEnum):
    """In the order of the page. UNWATCHED: failing, but no alert speaks for runs that nobody declared."""

    ATTENTION = 0
    UNWATCHED = 1
    FINE = 2
    IDLE = 3


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about a pair in a few words, since when, and the alert that says the same."""

    text: str
    detail: str = ""
    since: float | None = None
    alert: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """`remarks`: what it is, then what else there is to say. `tone`: bad, warn, busy, ok or idle. `rank` sorts."""

    group: Group
    rank: tuple[int, int]
    tone: str
    remarks: tuple[Remark, ...]


def state_of(case: Case) -> State:
    found = [(rank, remark) for rank, judge in enumerate(_JUDGES) if (remark := judge(case)) is not None]
    if not found:
        return _untroubled(case)
    alerts = [(rank, remark) for rank, remark in found if case.policy is not None or rank == _ORPHANED]
    criticality = CRITICALITIES.index(case.policy.criticality if case.policy else "standard")
    is_bad = found[0][1].text in {"failing", "not succeeded"}
    remarks = [remark for _, remark in found]
    doing = _doing(case)
    if doing is not None and not any(remark.since == doing.since for remark in remarks):
        remarks.append(doing)
    if not alerts:
        return State(Group.UNWATCHED, (0, 0), "warn", tuple(remarks))
    return State(Group.ATTENTION, (criticality, found[0][0]), "bad" if is_bad else "warn", tuple(remarks))


def _untroubled(case: Case) -> State:
    doing = _doing(case)
    if doing is not None:
        return State(Group.FINE, (0, 0), "busy", (doing,))
    if case.is_paused:
        return State(Group.IDLE, (0, 0), "idle", (Remark("paused", since=case.due.paused_at),))
    if case.newest_outcome is not None:
        outcome = case.newest_outcome[0]
        tone = "ok" if outcome == "completed" else "idle"
        return State(Group.FINE, (0, 0), tone, (Remark(_ENDED.get(outcome, outcome.replace("_", " "))),))
    text = "no runs yet" if case.is_loaded else "not known yet"
    return State(Group.IDLE, (0, 0), "idle", (Remark(text),))


def _doing(case: Case) -> Remark | None:
    for state in sorted(case.active, key=lambda one: list(_DOING).index(one) if one in _DOING else len(_DOING)):
        count = case.active[state]
        text = _DOING.get(state, f"run {state.replace('_', ' ')}")
        return Remark(text, f"{count} runs" if count > 1 else "", case.oldest.get(state))
    return None


def _failing(case: Case) -> Remark | None:
    count = case.standing.consecutive_failures
    if not count:
        return None
    last = case.standing.last_failure
    told = [counted(count, "run", "runs in a row")]
    if last is not None and last.cause not in {"", OTHER_CAUSE}:
        told.append(f"cause: {last.cause.replace('_', ' ')}")
    crashed = last is not None and last.state_type == "CRASHED"
    alert = "PrefectRunCrashed" if crashed else "PrefectRunFailed"
    return Remark("failing", ", ".join(told), case.standing.failing_since, alert)


def _not_succeeded(case: Case) -> Remark | None:
    if case.policy is None or case.is_paused or not case.is_loaded:
        return None
    completed = case.standing.last_outcomes.get("completed")
    if case.policy.max_staleness is not None and completed is not None:
        is_stale, since, why = case.read_at - completed > case.policy.max_staleness, completed, "stale"
    elif case.due.unmet_at is not None:
        patience = case.policy.grace + (case.policy.max_duration or USUAL_FACTOR * _usual(case))
        is_stale, since, why = case.read_at - case.due.unmet_at > patience, case.due.unmet_at, "overdue"
    else:
        return None
    return Remark("not succeeded", why, since, "PrefectNotSucceeded") if is_stale else None


def _missed(case: Case) -> Remark | None:
    last_due = case.due.last_at
    if case.policy is None or last_due is None or case.is_paused or not (case.is_loaded and case.is_active_known):
        return None
    newest = case.newest_outcome
    came = bool(case.active) or (newest is not None and newest[1] >= last_due)
    is_missed = case.read_at - last_due > MISSED_SECONDS and not came
    return Remark("start missed", "", last_due, "PrefectStartMissed") if is_missed else None


def _stuck(case: Case) -> Remark | None:
    for limit, states in (
        (STUCK_SECONDS, (*_STARTING, "awaiting_retry", "cancelling")),
        (SLOT_SECONDS, ("awaiting_concurrency_slot",)),
    ):
        for state in states:
            since = case.oldest.get(state)
            if case.policy is not None and since is not None and case.now - since > limit:
                return Remark("stuck", state.replace("_", " "), since, "PrefectRunStuck")
    return None


def _too_long(case: Case) -> Remark | None:
    """Where nothing is declared and nothing is usual, a day is too long for everything."""
    running = [case.oldest[state] for state in ("running", "retrying") if state in case.oldest]
    if case.policy is None or not running:
        return None
    usual = _usual(case)
    limit = case.policy.max_duration or (max(USUAL_FACTOR * usual, LONG_SECONDS) if usual else DEAD_SECONDS)
    if case.now - min(running) <= limit:
        return None
    told = f"at most {span(limit)}" if case.policy.max_duration else f"usually {span(usual)}" if usual else ""
    return Remark("running too long", told, min(running), "PrefectRunTooLong")


def _late(case: Case) -> Remark | None:
    since = case.oldest.get("late")
    if case.policy is None or since is None or case.now - since <= LATE_SECONDS:
        return None
    return Remark("late", counted(case.active.get("late", 1), "run", "runs"), since, "PrefectStartLate")


def _orphaned(case: Case) -> Remark | None:
    if not case.orphans:
        return None
    told = f"{counted(case.orphans, 'run', 'runs')} of a parent that is over"
    return Remark("left over", told, alert="PrefectZombieRun")


def _paused_too_long(case: Case) -> Remark | None:
    if case.policy is None or case.policy.max_pause is None or case.due.paused_at is None:
        return None
    is_long = case.now - case.due.paused_at > case.policy.max_pause
    told = f"at most {span(case.policy.max_pause)}"
    return Remark("paused too long", told, case.due.paused_at, "PrefectDeploymentPaused") if is_long else None


def _budget_spent(case: Case) -> Remark | None:
    if case.policy is None or (runs := slo_runs(case, case.policy)) is None:
        return None
    allowed = allowed_failures(case.policy, *runs)
    told = f"{runs[1]} failed, {percent(case.policy.objective)} allows {allowed}"
    return Remark("budget spent", told, None, "PrefectBudgetSpent") if runs[1] > allowed else None


def allowed_failures(policy: Policy, good: int, bad: int) -> int:
    """As flow_deployment:prefect_slo_budget_runs:allowed has it: one at least."""
    return math.floor(max((1 - policy.objective) * (good + bad) + 1e-6, 1.0))


def slo_runs(case: Case, policy: Policy) -> tuple[int, int] | None:
    """Good and bad runs of the SLO's window; None when it has not been added up."""
    if policy.window <= 0 or (SLO_WINDOW, "bad") not in case.standing.window_runs:
        return None
    return case.standing.window_runs.get((SLO_WINDOW, "good"), 0), case.standing.window_runs[SLO_WINDOW, "bad"]


def _usual(case: Case) -> float:
    return case.standing.baselines.get("30d", 0.0)


# The worst first; the place of each is its rank.
_JUDGES: Final[tuple[Callable[[Case], Remark | None], ...]] = (
    *(_failing, _not_succeeded, _missed, _stuck, _too_long, _late),
    *(_orphaned, _paused_too_long, _budget_spent),
)
_ORPHANED: Final = _JUDGES.index(_orphaned)
