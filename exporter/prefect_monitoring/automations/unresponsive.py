"""Which runs stopped sending heartbeats and are marked Crashed. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from prefect_monitoring.automations.ended_runs import ending
from prefect_monitoring.automations.events import event_of
from prefect_monitoring.model.actions import Action, Kind, action_id
from prefect_monitoring.model.heartbeats import SilentRun
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.resolve import Policy

UNRESPONSIVE: Final = "unresponsive"


def plan_marks(silent: Iterable[SilentRun], policies: Mapping[Pipeline, Policy], now: float) -> Iterator[Action]:
    """An intention for each of `silent` whose pipeline declares it."""
    for one in silent:
        policy = policies.get(one.pipeline)
        if policy is not None and policy.unresponsive is not None:
            at = now - one.seconds
            yield ending(Kind.MARK_CRASHED, one.pipeline, one.run, cause=UNRESPONSIVE, at=at, now=now)


def announcement(action: Action) -> dict[str, Any]:
    """The event that says what is intended; whether it arrives shows whether heartbeats would."""
    return event_of(replace(action, id=action_id(Kind.MARK_CRASHED, action.id, "announced")))
