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
    for silent_run in silent:
        policy = policies.get(silent_run.pipeline)
        if policy is not None and policy.unresponsive is not None:
            pipeline, run, at = silent_run.pipeline, silent_run.run, now - silent_run.seconds
            yield ending(Kind.MARK_CRASHED, pipeline, run, cause=UNRESPONSIVE, at=at, now=now)


def announcement(action: Action) -> dict[str, Any]:
    """The event that announces the action; whether it arrives shows whether heartbeats do."""
    return event_of(replace(action, id=action_id(Kind.MARK_CRASHED, action.id, "announced")))
