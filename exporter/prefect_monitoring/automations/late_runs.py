"""Which runs are so late that they are ended instead of started. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prefect_monitoring.automations.retries import PATIENCE_SECONDS, Target
from prefect_monitoring.model.actions import Action, ActionResult, Kind, action_id
from prefect_monitoring.model.records import FlowRun, Pipeline
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.prefect_api.actions import DONE, Outcome

LATE: Final = "late"
WAITING_NAMES: Final = ("Scheduled", "Late")


def plan_skips(
    runs: Iterable[tuple[Pipeline, FlowRun]], policies: Mapping[Pipeline, Policy], *, enabled_at: float, now: float
) -> Iterator[Action]:
    """An intention for each of `runs` that waits for its first start for longer than declared."""
    for pipeline, run in runs:
        policy = policies.get(pipeline)
        rule = policy.skip if policy is not None else None
        if rule is None or run.expected_at is None or not _waits_for_its_first_start(run):
            continue
        if enabled_at < run.expected_at < now - rule.when_later_than:
            yield Action(
                id=action_id(Kind.SKIP, run.id, run.state.id),
                kind=Kind.SKIP,
                pipeline=pipeline,
                decided_at=now,
                expires_at=now + PATIENCE_SECONDS,
                run_id=run.id,
                run_name=run.name,
                state_id=run.state.id,
                cause=LATE,
                at=run.expected_at,
            )


def _waits_for_its_first_start(run: FlowRun) -> bool:
    first = run.attempts == 0 and not run.rescheduled and not run.is_subflow
    return first and run.state.type == "SCHEDULED" and run.state.name in WAITING_NAMES


def judge_skip(action: Action, target: Target) -> Outcome:
    """PLANNED to send it."""
    if any(state.transition_id == action.id for state in target.history):
        return DONE
    if target.run is None:
        return Outcome(ActionResult.REFUSED, "the run does not exist any more")
    if action.result is ActionResult.SENT and target.run.state.type == "CANCELLED":
        return DONE  # which Prefect set instead, without our transition's id
    if target.run.state.id != action.state_id:
        return Outcome(ActionResult.REFUSED, f"the run is {target.run.state.name} by now")
    return Outcome(ActionResult.PLANNED)
