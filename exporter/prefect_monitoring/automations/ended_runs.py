"""Shared by the rules that end a run: the intention, and whether it still applies. Pure: no clock, no I/O."""

from __future__ import annotations

from prefect_monitoring.automations.retries import PATIENCE_SECONDS, Target
from prefect_monitoring.model.actions import Action, ActionResult, Kind, action_id
from prefect_monitoring.model.records import FlowRun, Pipeline
from prefect_monitoring.prefect_api.actions import DONE, Outcome


def ending(kind: Kind, pipeline: Pipeline, run: FlowRun, *, cause: str, at: float, now: float) -> Action:
    """The intention to end `run`, at most one for each of its states. `cause` began at the instant `at`."""
    return Action(
        id=action_id(kind, run.id, run.state.id),
        kind=kind,
        pipeline=pipeline,
        decided_at=now,
        expires_at=now + PATIENCE_SECONDS,
        run_id=run.id,
        run_name=run.name,
        state_id=run.state.id,
        cause=cause,
        at=at,
    )


def check_ending(action: Action, target: Target, *, instead: str = "") -> Outcome:
    """PLANNED if it may be sent, DONE if it was sent already. `instead`: the type that Prefect may set instead."""
    if any(state.transition_id == action.id for state in target.history):
        return DONE
    if target.run is None:
        return Outcome(ActionResult.REFUSED, "the run does not exist any more")
    if instead and action.result is ActionResult.SENT and target.run.state.type == instead:
        return DONE  # without our transition's id
    if target.run.state.id != action.state_id:
        return Outcome(ActionResult.REFUSED, f"the run is {target.run.state.name} by now")
    return Outcome(ActionResult.PLANNED)
