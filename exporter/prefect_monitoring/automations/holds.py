"""Undoes a hold: a pause or a raised limit. Pure."""

from __future__ import annotations

from dataclasses import replace

from prefect_monitoring.automations.retries import PATIENCE_SECONDS
from prefect_monitoring.model.actions import Action, ActionResult, Hold, Kind, action_id
from prefect_monitoring.model.units import HOUR


def undo(hold: Action, kind: Kind, now: float) -> Action:
    """The intention, of `kind`, to restore what was there before `hold`."""
    hour = int(now // HOUR)  # a failed attempt is repeated an hour later: otherwise it would be held for ever
    return replace(
        hold,
        id=action_id(kind, hold.id, hour),
        kind=kind,
        decided_at=now,
        expires_at=now + PATIENCE_SECONDS,
        result=ActionResult.PLANNED,
        reason="",
        finished_at=None,
        before=hold.after,
        after=hold.before,
        hold=Hold.NONE,
        held_until=None,
    )
