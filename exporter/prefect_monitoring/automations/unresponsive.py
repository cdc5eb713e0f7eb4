"""Which runs stopped sending heartbeats and are marked Crashed. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from prefect_monitoring.automations.events import event_of
from prefect_monitoring.automations.retries import PATIENCE_SECONDS, Target
from prefect_monitoring.model.actions import Action, ActionResult, Kind, action_id
from prefect_monitoring.model.heartbeats import SilentRun
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.prefect_api.actions import DONE, Outcome

UNRESPONSIVE: Final = "unresponsive"


def plan_marks(silent: Iterable[SilentRun], policies: Mapping[Pipeline, Policy], now: float) -> Iterator[Action]:
    """An intention for each of `silent` whose pipeline declares it."""
    for one in silent:
        policy, run = policies.get(one.pipeline), one.run
        if policy is not None and policy.unresponsive is not None:
            yield Action(
                id=action_id(Kind.MARK_CRASHED, run.id, run.state.id),
                kind=Kind.MARK_CRASHED,
                pipeline=one.pipeline,
                decided_at=now,
                expires_at=now + PATIENCE_SECONDS,
                run_id=run.id,
                run_name=run.name,
                state_id=run.state.id,
                cause=UNRESPONSIVE,
                at=now - one.seconds,
            )


def announcement(action: Action) -> dict[str, Any]:
    """The event that says what is intended; whether it arrives shows whether heartbeats would."""
    return event_of(replace(action, id=action_id(Kind.MARK_CRASHED, action.id, "announced")))


def judge_mark(action: Action, target: Target) -> Outcome:
    """PLANNED to send it, DONE when it was sent already."""
    if any(state.transition_id == action.id for state in target.history):
        return DONE
    if target.run is None:
        return Outcome(ActionResult.REFUSED, "the run does not exist any more")
    if target.run.state.id != action.state_id:
        return Outcome(ActionResult.REFUSED, f"the run is {target.run.state.name} by now")
    return Outcome(ActionResult.PLANNED)
