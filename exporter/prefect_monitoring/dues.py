"""When deployments are due, and which of them to ask about: what is known stays known until something changes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from prefect_monitoring.changes import Due
from prefect_monitoring.records import Deployment

ASK_AGAIN_SECONDS: Final = 3600.0  # a start that a person called off does not change the schedules
UNKNOWN: Final = Due(None, None)


@dataclass(frozen=True, slots=True)
class Asked:
    """The schedules that a deployment had when it was last asked about, and when that was."""

    schedules: str
    at: float


@dataclass(slots=True)
class Plan:
    """Deployment ids: `ask` when they start next, `passed` is what was due meanwhile, `off` are due no more."""

    ask: list[str] = field(default_factory=list)
    passed: dict[str, float] = field(default_factory=dict)
    off: list[str] = field(default_factory=list)


def is_scheduled(deployment: Deployment) -> bool:
    return not deployment.paused and bool(deployment.schedules)


def settled(due: Due, deployment: Deployment, now: float) -> Due:
    """What is due once `now` is here: a next start that has passed is the last one.

    What is paused or lost its schedules is not due: the start that it was waiting for never came.
    """
    if not is_scheduled(deployment):
        return replace(due, next_at=None)
    if due.next_at is None or due.next_at > now:
        return due
    return Due(max(due.next_at, due.last_at or due.next_at), None)


def plan(deployments: Iterable[Deployment], dues: Mapping[str, Due], asked: Mapping[str, Asked], now: float) -> Plan:
    """What to do about deployments that were read; those that were not since the start are left alone."""
    result = Plan()
    for one in deployments:
        due = dues.get(one.id, UNKNOWN)
        if one.paused is None:
            continue
        if not is_scheduled(one):
            if due.next_at is not None:
                result.off.append(one.id)
            continue
        before = asked.get(one.id)
        has_passed = due.next_at is not None and due.next_at <= now
        # Under other schedules than those that it was expected by, nobody knows whether the start came.
        changed = before is not None and before.schedules != one.schedules
        if has_passed and not changed and due.next_at is not None:
            result.passed[one.id] = due.next_at
        recent = before is not None and now - before.at < ASK_AGAIN_SECONDS
        if due.next_at is None or has_passed or changed or not recent:
            result.ask.append(one.id)
    return result
