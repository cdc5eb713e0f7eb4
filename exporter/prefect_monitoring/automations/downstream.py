"""Which deployments are paused because a pipeline failed, and which of them are resumed. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from prefect_monitoring.automations.holds import undo
from prefect_monitoring.automations.retries import PATIENCE_SECONDS
from prefect_monitoring.model.actions import Action, ActionResult, Hold, Kind, action_id
from prefect_monitoring.model.changes import KnownRun
from prefect_monitoring.model.records import Deployment, Pipeline
from prefect_monitoring.model.run_stats import RunStats
from prefect_monitoring.model.units import HOUR
from prefect_monitoring.policy.action_rules import OnFailure
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.prefect_api.actions import DONE, Outcome

YOUNG_SECONDS: Final = HOUR


@dataclass(frozen=True, slots=True)
class Pipelines:
    """The inputs: run statistics, policies, and the deployments that exist."""

    run_stats: Mapping[Pipeline, RunStats]
    policies: Mapping[Pipeline, Policy]
    deployments: Mapping[Pipeline, Deployment]


def plan_downstream(
    view: Pipelines, held: Sequence[Action], *, enabled_at: float, now: float, open_actions: Sequence[Action] = ()
) -> Iterator[Action]:
    """Yields new intentions, and those of the `held` pauses that are released without a request.

    `held`: pauses in force, and those that somebody ended by hand. `open_actions`: those still to be carried out.
    """
    in_force = list(held)
    for pause in held:
        if _last_success(view.run_stats.get(pause.pipeline)) > (pause.at or 0.0):
            for change in _after_success(pause, view, in_force, now):
                if change.hold is Hold.RELEASED:
                    in_force.remove(pause)
                yield change
    paused = [*held, *(action for action in open_actions if action.kind is Kind.PAUSE)]
    for pipeline, policy in view.policies.items():
        rule, stats = policy.on_failure, view.run_stats.get(pipeline)
        failure = stats.last_failure if stats is not None and stats.consecutive_failures else None
        if rule is None or rule.by != "exporter" or failure is None or failure.ended_at is None:
            continue
        if failure.ended_at > max(enabled_at, now - YOUNG_SECONDS):
            yield from _pauses(pipeline, rule, failure, view, paused, now)


def _pauses(
    pipeline: Pipeline, rule: OnFailure, failure: KnownRun, view: Pipelines, paused: Sequence[Action], now: float
) -> Iterator[Action]:
    known = {pause.target_name for pause in paused if pause.pipeline == pipeline}
    for target in rule.targets:
        deployment = view.deployments.get(Pipeline(target.flow, target.deployment))
        if str(target) in known:
            continue  # paused already, or resumed by hand since: not paused again before the pipeline completes
        action = Action(
            id=action_id(Kind.PAUSE, failure.run_id, failure.state_id, target),
            kind=Kind.PAUSE,
            pipeline=pipeline,
            decided_at=now,
            expires_at=now + PATIENCE_SECONDS,
            run_id=failure.run_id,
            run_name=failure.name,
            state_id=failure.state_id,
            cause=failure.cause,
            at=failure.ended_at,
            target=deployment.id if deployment else "",
            target_name=str(target),
        )
        if deployment is None:
            action = replace(action, result=ActionResult.REFUSED, reason=f"{target} does not exist", finished_at=now)
        yield action


def _after_success(pause: Action, view: Pipelines, in_force: Sequence[Action], now: float) -> Iterator[Action]:
    policy = view.policies.get(pause.pipeline)
    rule = policy.on_failure if policy is not None else None
    if pause.hold is Hold.BY_HAND:
        yield replace(pause, hold=Hold.RELEASED)
    elif rule is not None and rule.resume_on_success:
        same = [hold.id for hold in in_force if hold.target == pause.target and hold.hold is Hold.HELD]
        if same != [pause.id]:
            yield replace(pause, hold=Hold.RELEASED)  # another failure still holds it; the last hold resumes it
        else:
            yield undo(pause, Kind.RESUME, now)


def _last_success(stats: RunStats | None) -> float:
    return (stats.last_success or 0.0) if stats else 0.0


def check_pause(action: Action, deployment: Deployment | None, ours: Sequence[Action]) -> Outcome:
    """PLANNED if it may be sent. `ours`: pauses in force of the same deployment, for other pipelines."""
    if deployment is None:
        return Outcome(ActionResult.REFUSED, f"{action.target_name} does not exist any more")
    if not deployment.paused:
        return Outcome(ActionResult.PLANNED)
    if action.result is ActionResult.SENT or ours:
        return DONE
    return Outcome(ActionResult.REFUSED, f"{action.target_name} was paused already, and not by the exporter")


def check_resume(action: Action, deployment: Deployment | None) -> Outcome:
    """PLANNED if it may be sent."""
    if deployment is None:
        return Outcome(ActionResult.REFUSED, f"{action.target_name} does not exist any more")
    if deployment.paused:
        return Outcome(ActionResult.PLANNED)
    if action.result is ActionResult.SENT:
        return DONE
    return Outcome(ActionResult.REFUSED, f"somebody resumed {action.target_name} already")


def resumed_by_hand(held: Sequence[Action], deployments: Mapping[str, Deployment]) -> Iterator[Action]:
    """The pauses that were resumed by hand, or whose deployment is gone. `deployments` by id."""
    for pause in held:
        deployment = deployments.get(pause.target)
        if pause.hold is Hold.HELD and deployment is None:
            yield replace(pause, hold=Hold.RELEASED)
        elif pause.hold is Hold.HELD and deployment is not None and not deployment.paused:
            yield replace(pause, hold=Hold.BY_HAND)
