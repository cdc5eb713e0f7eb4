"""Which failed runs get a retry, when, and whether it may still be sent. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from prefect_monitoring.model.actions import (
    Action,
    ActionResult,
    Kind,
    retries_made,
    retry_id,
    spread,
    was_marked_crashed,
)
from prefect_monitoring.model.changes import KnownRun
from prefect_monitoring.model.records import NO_FLOW, TERMINAL_TYPES, FlowRun, Pipeline
from prefect_monitoring.policy.action_rules import MAX_RETRIES, Retry
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.prefect_api.actions import DONE, Outcome, Transition

# How long an intention may wait for the API to answer before its run counts as failed for good.
PATIENCE_SECONDS: Final = 300.0
_FAILED_TYPES: Final = {"failed": "FAILED", "crashed": "CRASHED"}


@dataclass(frozen=True, slots=True)
class Target:
    """What is known of a run right before a request about it; `run` is None if it is gone."""

    run: FlowRun | None
    history: tuple[Transition, ...] = ()
    deployment_exists: bool = True


def plan_retries(
    failures: Iterable[KnownRun],
    policies: Mapping[Pipeline, Policy],
    past: Mapping[str, Sequence[Action]],
    *,
    enabled_at: float,
    now: float,
) -> Iterator[Action]:
    """An intention for each of `failures` to retry, the oldest first; EXHAUSTED if no retry is left.

    `past` are the actions about each run, by run id. A failure with an action is decided already.
    """
    for run in sorted(failures, key=lambda run: (run.ended_at or 0.0, run.run_id)):
        policy = policies.get(run.pipeline) if run.pipeline is not None else None
        rule = policy.retry if policy is not None else None
        before = [action for action in past.get(run.run_id, ()) if action.kind is Kind.RETRY]
        decided = any(action.state_id == run.state_id for action in before)
        if rule is None or decided or not _is_eligible(run, rule, enabled_at, now):
            continue
        may_still_work = run.state_type == "CRASHED" and was_marked_crashed(past.get(run.run_id, ()))
        if policy is not None and (policy.retry_unresponsive or not may_still_work):
            yield _retry(run, rule, retries_made(before), now)


def _is_eligible(run: KnownRun, rule: Retry, enabled_at: float, now: float) -> bool:
    ended_at = run.ended_at if run.ended_at is not None else run.state_at
    young = max(enabled_at, now - rule.within) < ended_at
    return young and run.state_type in {_FAILED_TYPES[state] for state in rule.states} and rule.covers(run.cause)


def _retry(run: KnownRun, rule: Retry, made: int, now: float) -> Action:
    ended_at = run.ended_at if run.ended_at is not None else run.state_at
    attempt = made + 1
    identifier = retry_id(run.run_id, run.state_id, attempt)
    wait = spread(rule.delay * rule.backoff**made, rule.jitter, identifier)
    action = Action(
        id=identifier,
        kind=Kind.RETRY,
        pipeline=run.pipeline or NO_FLOW,
        decided_at=now,
        expires_at=ended_at + rule.within if rule.unless_running else now + PATIENCE_SECONDS,
        run_id=run.run_id,
        run_name=run.name,
        state_id=run.state_id,
        cause=run.cause,
        attempt=attempt,
        allowed=rule.max,
        at=max(ended_at + wait, now),
    )
    if made < rule.max:
        return action
    reason = f"{made} of {rule.max} retries are used"
    return replace(action, result=ActionResult.EXHAUSTED, reason=reason, finished_at=now, attempt=made, at=None)


def check_retry(action: Action, target: Target) -> Outcome:
    """Judges a run that was read right before the request: PLANNED if it may be sent, DONE if it was sent already."""
    run, history = target.run, target.history
    if any(state.transition_id == action.id for state in history):
        return DONE
    if run is None:
        return Outcome(ActionResult.REFUSED, "the run does not exist any more")
    obstacles = {
        f"the run is {run.state.name} by now": run.state.id != action.state_id,
        "the run has no deployment: nothing would start it again": run.deployment_id is None,
        "the run's deployment does not exist any more: nothing would start it again": not target.deployment_exists,
        "another run started it, and decides about it": run.is_subflow,
    }
    for reason, applies in obstacles.items():
        if applies:
            return Outcome(ActionResult.REFUSED, reason)
    return _check_history(action, history)


def _check_history(action: Action, history: tuple[Transition, ...]) -> Outcome:
    """REFUSED once a person has retried the run or set its state. Retries that the ledger has lost count too."""
    made = 0
    for before, after in pairwise(history):
        if before.type not in TERMINAL_TYPES:
            continue
        if after.transition_id and after.transition_id in _possible_ids(action.run_id, before.state_id):
            made += 1
        elif after.type in TERMINAL_TYPES:
            return Outcome(ActionResult.REFUSED, f"somebody set the run from {before.name} to {after.name}")
        else:
            return Outcome(ActionResult.REFUSED, f"somebody retried the run by hand ({after.name})")
    if any(state.type == "CANCELLING" for state in history):
        return Outcome(ActionResult.REFUSED, "somebody cancelled the run")  # though its process reported a failure
    if made >= action.allowed:
        return Outcome(ActionResult.EXHAUSTED, f"{made} of {action.allowed} retries are used")
    return Outcome(ActionResult.PLANNED)


def _possible_ids(run_id: str, state_id: str) -> set[str]:
    return {retry_id(run_id, state_id, attempt) for attempt in range(1, MAX_RETRIES + 1)}
