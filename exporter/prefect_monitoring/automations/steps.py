"""How each kind of action is carried out: what is read first, which request is sent, which holds its result ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from prefect_monitoring.automations.downstream import check_pause, check_resume
from prefect_monitoring.automations.ended_runs import check_ending
from prefect_monitoring.automations.late_runs import check_skip
from prefect_monitoring.automations.retries import check_retry
from prefect_monitoring.automations.slots import check_slots
from prefect_monitoring.automations.world import World
from prefect_monitoring.model.actions import Action, ActionResult, Hold, Kind
from prefect_monitoring.prefect_api.actions import ActionsApi, Outcome

Holds = Sequence[Action]


@dataclass(frozen=True, slots=True)
class Step:
    """`check` reads Prefect: PLANNED if the request may be sent. `then` yields the holds that the result changes."""

    check: Callable[[World, Action, Holds], Awaitable[Outcome]]
    send: Callable[[ActionsApi, Action], Awaitable[Outcome]]
    then: Callable[[Action, Holds], Iterator[Action]]


async def _check_retry(world: World, action: Action, _holds: Holds) -> Outcome:
    return check_retry(action, await world.target(action.run_id))


async def _check_skip(world: World, action: Action, _holds: Holds) -> Outcome:
    return check_skip(action, await world.target(action.run_id))


async def _check_mark(world: World, action: Action, _holds: Holds) -> Outcome:
    return check_ending(action, await world.target(action.run_id))


async def _check_pause(world: World, action: Action, holds: Holds) -> Outcome:
    existing = await world.deployments([action.target])
    ours = [hold for hold in holds if hold.target == action.target and hold.hold is Hold.HELD]
    return check_pause(action, existing.get(action.target), ours)


async def _check_resume(world: World, action: Action, _holds: Holds) -> Outcome:
    existing = await world.deployments([action.target])
    return check_resume(action, existing.get(action.target))


async def _check_slots(world: World, action: Action, holds: Holds) -> Outcome:
    return check_slots(action, await world.slots(), holds)


async def _send_retry(api: ActionsApi, action: Action) -> Outcome:
    message = (
        f"Retry {action.attempt} of {action.allowed} by prefect-monitoring, after a failure of cause {action.cause}"
    )
    return await api.retry(action.run_id, action.at or action.decided_at, action.id, message)


async def _send_skip(api: ActionsApi, action: Action) -> Outcome:
    due = datetime.fromtimestamp(action.at or action.decided_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return await api.skip(action.run_id, action.id, f"Skipped by prefect-monitoring: it was due {due}")


async def _send_mark(api: ActionsApi, action: Action) -> Outcome:
    since = datetime.fromtimestamp(action.at or action.decided_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    message = f"Marked Crashed by prefect-monitoring: no heartbeat since {since}"
    return await api.mark_crashed(action.run_id, action.id, message)


async def _set_slots(api: ActionsApi, action: Action) -> Outcome:
    return await api.set_slots(action.target, action.after or 0)


def _no_holds(_action: Action, _holds: Holds) -> Iterator[Action]:
    return iter(())


def _release_pause(action: Action, holds: Holds) -> Iterator[Action]:
    """Releases after a refused resume too: somebody resumed already, or the deployment is gone."""
    if action.result is not ActionResult.FAILED:
        for hold in holds:
            if hold.target == action.target and hold.pipeline == action.pipeline:
                yield replace(hold, hold=Hold.RELEASED)


def _release_slots(action: Action, holds: Holds) -> Iterator[Action]:
    """Releases limits that a higher one replaced, that were restored, or that somebody changed at the last moment."""
    done_or_over = action.result is ActionResult.DONE or action.kind is Kind.SCALE_DOWN
    if done_or_over and action.result is not ActionResult.FAILED:
        for hold in holds:
            if hold.target == action.target and hold.id != action.id:
                yield replace(hold, hold=Hold.RELEASED)


STEPS: Final[Mapping[Kind, Step]] = {
    Kind.RETRY: Step(_check_retry, _send_retry, _no_holds),
    Kind.SKIP: Step(_check_skip, _send_skip, _no_holds),
    Kind.MARK_CRASHED: Step(_check_mark, _send_mark, _no_holds),
    Kind.PAUSE: Step(_check_pause, lambda api, action: api.pause(action.target), _no_holds),
    Kind.RESUME: Step(_check_resume, lambda api, action: api.resume(action.target), _release_pause),
    Kind.SCALE_UP: Step(_check_slots, _set_slots, _release_slots),
    Kind.SCALE_DOWN: Step(_check_slots, _set_slots, _release_slots),
}
