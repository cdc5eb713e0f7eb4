"""The status of a pipeline: the conditions that hold, else its active runs, else its last outcome. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from prefect_monitoring.model.records import COMPLETED_LABELS
from prefect_monitoring.policy.pipelines_file import CRITICALITIES
from prefect_monitoring.web.status_page.conditions import CONDITIONS, Condition
from prefect_monitoring.web.status_page.pipeline_view import PipelineView
from prefect_monitoring.web.status_page.tone import Tone

# By the state of the run; of several, the first is shown.
_ACTIVITIES: Final = {
    "running": "running",
    "retrying": "running again",
    "cancelling": "being cancelled",
    "late": "late",
    "awaiting_concurrency_slot": "waiting for a slot",
    "awaiting_retry": "waiting for a retry",
    "pending": "starting",
    "submitting": "starting",
    "infrastructure_pending": "starting",
}
_ACTIVITY_RANKS: Final = {state: rank for rank, state in enumerate(_ACTIVITIES)}
_OUTCOMES: Final = {"completed": "succeeded", "timed_out": "timed out"}
NEVER_SUCCEEDED: Final = "never succeeded"
_CRITICALITY_RANKS: Final = {criticality: rank for rank, criticality in enumerate(CRITICALITIES)}


class Group(IntEnum):
    """In the order of the page. UNWATCHED: something is wrong, but no alert fires for runs that nobody declared."""

    ATTENTION = 0
    UNWATCHED = 1
    FINE = 2
    IDLE = 3


@dataclass(frozen=True, slots=True)
class StatusLine:
    """A short text about a pipeline; `since` in epoch seconds."""

    text: str
    detail: str = ""
    since: float | None = None


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """`lines`: the status, then further remarks. `conditions`: those that hold, the worst first.

    `rank` sorts within a group.
    """

    group: Group
    tone: Tone
    lines: tuple[StatusLine, ...]
    conditions: tuple[Condition, ...] = ()
    rank: tuple[int, int] = (0, 0)


def status_of(view: PipelineView) -> PipelineStatus:
    findings = [(condition, finding) for condition in CONDITIONS if (finding := condition.check(view)) is not None]
    if not findings:
        return _without_findings(view)
    lines = [StatusLine(condition.text, finding.detail, finding.since) for condition, finding in findings]
    run_state = _activity(view)
    if run_state is not None and run_state not in {finding.run_state for _, finding in findings}:
        lines.append(_activity_line(view, run_state))
    conditions = tuple(condition for condition, _ in findings)
    if not any(condition.fires(view) for condition in conditions):
        return PipelineStatus(Group.UNWATCHED, Tone.WARN, tuple(lines), conditions)
    worst = conditions[0]
    criticality = view.policy.criticality if view.policy is not None else "standard"
    rank = _CRITICALITY_RANKS[criticality], worst.rank
    return PipelineStatus(Group.ATTENTION, worst.severity, tuple(lines), conditions, rank)


def _without_findings(view: PipelineView) -> PipelineStatus:
    run_state = _activity(view)
    never = () if view.stats.last_success is not None or not view.is_loaded else (StatusLine(NEVER_SUCCEEDED),)
    group = Group.IDLE if never else Group.FINE
    if run_state is not None:
        return PipelineStatus(group, Tone.BUSY, (_activity_line(view, run_state), *never))
    if view.is_paused:
        return PipelineStatus(Group.IDLE, Tone.IDLE, (StatusLine("paused", since=view.due.paused_at),))
    if view.newest_outcome is not None:
        outcome, _ = view.newest_outcome
        tone = Tone.OK if outcome in COMPLETED_LABELS else Tone.IDLE
        line = StatusLine(_OUTCOMES.get(outcome, outcome.replace("_", " ")))
        return PipelineStatus(group, tone, (line, *never))
    text = "no runs yet" if view.is_loaded else "not known yet"
    return PipelineStatus(Group.IDLE, Tone.IDLE, (StatusLine(text),))


def _activity(view: PipelineView) -> str | None:
    """The state of the active runs to show; None when none is active."""
    return min(view.active, key=lambda state: _ACTIVITY_RANKS.get(state, len(_ACTIVITY_RANKS)), default=None)


def _activity_line(view: PipelineView, run_state: str) -> StatusLine:
    count = view.active[run_state]
    text = _ACTIVITIES.get(run_state, f"run {run_state.replace('_', ' ')}")
    return StatusLine(text, f"{count} runs" if count > 1 else "", view.oldest.get(run_state))
