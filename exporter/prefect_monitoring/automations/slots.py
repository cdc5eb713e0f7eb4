"""Which work pools get more slots because a run takes too long, and when they get the old ones back. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from prefect_monitoring.automations.holds import undo
from prefect_monitoring.automations.retries import PATIENCE_SECONDS
from prefect_monitoring.model.actions import Action, ActionResult, Hold, Kind, action_id
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.action_rules import Scale
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.prefect_api.actions import DONE, Outcome

TOO_LONG: Final = "too_long"
# How far a hold's end may lag behind the last long run that was seen, so that not every poll writes.
_GRAIN_SECONDS: Final = 60.0
_RUNNING_STATES: Final = ("running", "retrying")


@dataclass(frozen=True, slots=True)
class Want:
    """A pool should have at least `slots`, because a run of `pipeline` has been Running since `since`."""

    pipeline: Pipeline
    slots: int
    since: float
    back_after: float


def wants(
    policies: Mapping[Pipeline, Policy], oldest: Mapping[tuple[Pipeline, str], float], now: float
) -> dict[str, Want]:
    """The greatest want for each pool, by name. `oldest`: when a pipeline's oldest run in a state entered it."""
    greatest: dict[str, Want] = {}
    for pipeline, policy in sorted(policies.items()):
        if (rule := policy.scale) is None:
            continue
        since = min((oldest[pipeline, state] for state in _RUNNING_STATES if (pipeline, state) in oldest), default=now)
        if now - since > rule.when_running_longer_than:
            want = _want(pipeline, rule, since)
            known = greatest.get(rule.work_pool)
            longer = max(want.back_after, known.back_after if known else 0.0)
            best = want if known is None or want.slots > known.slots else known
            greatest[rule.work_pool] = replace(best, back_after=longer)
    return greatest


def _want(pipeline: Pipeline, rule: Scale, since: float) -> Want:
    return Want(pipeline, rule.concurrency, since, rule.back_after)


def plan_slots(
    wanted: Mapping[str, Want],
    held: Sequence[Action],
    slots: Mapping[str, int | None],
    now: float,
    *,
    busy: Collection[str] = (),
) -> Iterator[Action]:
    """Yields new intentions, and those of `held` whose end or state changes without a request.

    `held`: raised limits in force, and those that somebody changed by hand. `slots`: the pools' limits as read now.
    `busy`: pools with an open intention, whose result decides which limit to restore.
    """
    holds = {hold.target: hold for hold in held}
    for pool, want in wanted.items():
        hold = holds.get(pool)
        if hold is not None and now + want.back_after - (hold.held_until or 0.0) >= _GRAIN_SECONDS:
            hold = replace(hold, held_until=now + want.back_after)
            yield hold
        by_hand = hold is not None and hold.hold is Hold.BY_HAND
        limit = slots.get(pool)
        if pool not in busy and not by_hand and limit is not None and limit < want.slots and hold_stands(hold, limit):
            yield _raise(pool, want, hold, limit, now)
    for pool, hold in holds.items():
        if pool not in wanted and pool not in busy and now >= (hold.held_until or 0.0):
            yield replace(hold, hold=Hold.RELEASED) if hold.hold is Hold.BY_HAND else undo(hold, Kind.SCALE_DOWN, now)


def hold_stands(hold: Action | None, limit: int) -> bool:
    return hold is None or hold.after == limit


def _raise(pool: str, want: Want, hold: Action | None, limit: int, now: float) -> Action:
    return Action(
        id=action_id(Kind.SCALE_UP, pool, want.since, want.slots, limit),
        kind=Kind.SCALE_UP,
        pipeline=want.pipeline,
        decided_at=now,
        expires_at=now + PATIENCE_SECONDS,
        cause=TOO_LONG,
        at=want.since,
        target=pool,
        target_name=pool,
        before=hold.before if hold is not None else limit,
        after=want.slots,
        held_until=now + want.back_after,
    )


def check_slots(action: Action, slots: Mapping[str, int | None], holds: Sequence[Action]) -> Outcome:
    """PLANNED if the limit is still what it was when the action was decided.

    `slots`: the pools' limits as read right before. `holds`: raised limits in force.
    """
    if action.target not in slots:
        return Outcome(ActionResult.REFUSED, f"the work pool {action.target} does not exist any more")
    limit = slots[action.target]
    if limit == action.after and action.result is ActionResult.SENT:
        return DONE
    if limit is None:
        return Outcome(ActionResult.REFUSED, f"the work pool {action.target} has no limit")
    raised = {hold.target: hold.after for hold in holds if hold.kind is Kind.SCALE_UP}
    if limit == raised.get(action.target, action.before):
        return Outcome(ActionResult.PLANNED)
    return Outcome(ActionResult.REFUSED, f"somebody set the limit of {action.target} to {limit}")


def changed_by_hand(held: Sequence[Action], slots: Mapping[str, int | None]) -> Iterator[Action]:
    """The raised limits that are no longer in force: changed by hand, or their pool is gone."""
    for hold in held:
        if hold.hold is Hold.HELD and hold.target not in slots:
            yield replace(hold, hold=Hold.RELEASED)
        elif hold.hold is Hold.HELD and slots[hold.target] != hold.after:
            yield replace(hold, hold=Hold.BY_HAND)
