"""When deployments are due, and for which of them to ask the API: only when something has changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from prefect_monitoring.model.changes import Schedule
from prefect_monitoring.model.records import Deployment, Pipeline

ASK_AGAIN_SECONDS: Final = 3600.0  # cancelling a start does not change the schedules
UNKNOWN: Final = Schedule()


@dataclass(frozen=True, slots=True)
class Asked:
    """A deployment's schedules when the API was last asked for its next start, and when that was."""

    schedules: str
    at: float


@dataclass(slots=True)
class Plan:
    """Deployment ids. `ask`: to ask for their next start; `passed`: starts that were due since; `off`: no longer due.

    `pauses`: since when newly paused deployments are paused, and None for resumed ones.
    """

    ask: list[str] = field(default_factory=list)
    passed: dict[str, float] = field(default_factory=dict)
    off: list[str] = field(default_factory=list)
    pauses: dict[str, float | None] = field(default_factory=dict)


def is_scheduled(deployment: Deployment) -> bool:
    return not deployment.paused and bool(deployment.schedules)


def is_no_longer_due(due: Schedule) -> bool:
    """Whether the unmet start is no longer due: the deployment was paused or lost its schedules since."""
    return due.unmet_at is not None and due.unscheduled_at is not None and due.unmet_at <= due.unscheduled_at


def paused(due: Schedule, at: float | None, now: float) -> Schedule:
    """`due` once a deployment was found paused at the instant `at`, or resumed `now`."""
    return replace(due, paused_at=at, resumed_at=now if at is None else due.resumed_at)


def passed(due: Schedule, at: float, completed_at: float | None) -> Schedule:
    """`due` once the start that was expected at `at` has passed; `completed_at`: when a run last completed."""
    before = None if is_no_longer_due(due) else unmet(due, completed_at)
    return replace(due, last_at=at, unmet_at=before or at)


def unmet(due: Schedule, completed_at: float | None) -> float | None:
    """The earliest expected start that has passed without a completed run since."""
    is_met = due.unmet_at is None or (completed_at is not None and completed_at >= due.unmet_at)
    return None if is_met else due.unmet_at


def settled(due: Schedule, deployment: Deployment, now: float, completed_at: float | None) -> Schedule:
    """`due` at `now`: a next start that has passed is the last one, and unmet unless a run completed.

    A deployment that is paused or without schedules is not due. Its unmet start is dropped, and stays so when the
    deployment is active again.
    """
    is_off = not is_scheduled(deployment)
    if is_off:
        due = replace(due, next_at=None)
    elif due.next_at is not None and due.next_at <= now:
        is_newer = due.last_at is None or due.next_at > due.last_at
        due = replace(passed(due, due.next_at, completed_at) if is_newer else due, next_at=None)
    first = unmet(due, completed_at)
    if first is not None and (is_no_longer_due(due) or (is_off and deployment.paused is not None)):
        return replace(due, last_at=None, unmet_at=None)
    return replace(due, unmet_at=first)


def settled_all(
    known: Mapping[str, Schedule],
    deployments: Mapping[Pipeline, Deployment],
    now: float,
    completed: Mapping[Pipeline, float] | None,
) -> dict[Pipeline, Schedule]:
    """The schedules of every deployment; `completed`: when a run of a pipeline last completed.

    While `completed` is None (unknown), nothing is unmet: otherwise alerts would fire for starts that were met.
    """
    found = {
        pipeline: settled(known.get(deployment.id, UNKNOWN), deployment, now, (completed or {}).get(pipeline))
        for pipeline, deployment in deployments.items()
    }
    return (
        found if completed is not None else {pipeline: replace(due, unmet_at=None) for pipeline, due in found.items()}
    )


def plan(
    deployments: Iterable[Deployment], schedules: Mapping[str, Schedule], asked: Mapping[str, Asked], now: float
) -> Plan:
    """What to do about deployments; those not read since the process started are left alone."""
    result = Plan()
    for deployment in deployments:
        due = schedules.get(deployment.id, UNKNOWN)
        if deployment.paused is None:
            continue
        if deployment.paused != (due.paused_at is not None):
            result.pauses[deployment.id] = now if deployment.paused else None
        if not is_scheduled(deployment):
            if due.next_at is not None or (due.unmet_at is not None and not is_no_longer_due(due)):
                result.off.append(deployment.id)
            continue
        before = asked.get(deployment.id)
        has_passed = due.next_at is not None and due.next_at <= now
        # With other schedules than before, it is unknown whether the expected start came.
        changed = before is not None and before.schedules != deployment.schedules
        if has_passed and not changed and due.next_at is not None:
            result.passed[deployment.id] = due.next_at
        recent = before is not None and now - before.at < ASK_AGAIN_SECONDS
        if due.next_at is None or has_passed or changed or not recent:
            result.ask.append(deployment.id)
    return result
