"""Actions as Prefect events, so that they appear in the event feed of the run that they are about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect_monitoring.model.action_text import describe
from prefect_monitoring.model.actions import Action, Kind


def event_of(action: Action) -> dict[str, Any]:
    """The event of a finished action. It has the action's id, so that Prefect stores it once if it is sent twice."""
    at = datetime.fromtimestamp(action.finished_at or action.decided_at, UTC)
    return {
        "id": action.id,
        "event": f"prefect-monitoring.{action.kind}.{action.result}",
        "occurred": at.isoformat(),
        "resource": _resource(action),
        "related": _related(action),
        "payload": {
            "message": describe(action),
            "flow": action.pipeline.flow,
            "deployment": action.pipeline.deployment,
            "reason": action.reason,
            "cause": action.cause,
            "attempt": action.attempt,
            "allowed": action.allowed,
        },
    }


def _resource(action: Action) -> dict[str, str]:
    if action.run_id:
        return {"prefect.resource.id": f"prefect.flow-run.{action.run_id}", "prefect.resource.name": action.run_name}
    return {
        "prefect.resource.id": f"prefect-monitoring.work-pool.{action.target}",
        "prefect.resource.name": action.target_name,
    }


def _related(action: Action) -> list[dict[str, str]]:
    if action.kind not in {Kind.PAUSE, Kind.RESUME}:
        return []
    return [
        {
            "prefect.resource.id": f"prefect.deployment.{action.target}",
            "prefect.resource.role": "deployment",
            "prefect.resource.name": action.target_name,
        }
    ]
