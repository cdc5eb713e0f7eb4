"""One structured log line for each action that comes to its end."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Final

from prefect_monitoring.model.actions import Action, ActionResult, Kind

log = logging.getLogger(__name__)

_LEVELS: Final = {ActionResult.FAILED: logging.ERROR, ActionResult.FUSE: logging.WARNING}
_UNSAID: Final = ("", None, 0)


def tell(action: Action) -> None:
    """Logs an action; those that wait for their end stay silent."""
    if action.result.is_final:
        fields = {f"action_{name}": value for name, value in asdict(action).items() if value not in _UNSAID}
        log.log(_LEVELS.get(action.result, logging.INFO), "Action %s", describe(action), extra=fields)


def describe(action: Action) -> str:
    """An action in one line: what, for which pipeline and run, what became of it, and why."""
    pipeline = f"{action.pair.flow}/{action.pair.deployment}" if action.pair.deployment else action.pair.flow
    about = {
        Kind.RETRY: f"retry {action.attempt} of {action.allowed} of {pipeline} ({action.run_name})",
        Kind.PAUSE: f"pause {action.target_name}, because {pipeline} failed ({action.run_name}, {action.cause})",
        Kind.RESUME: f"resume {action.target_name}, because {pipeline} completed",
        Kind.SCALE_UP: f"raise the limit of {action.target_name} from {action.before} to {action.after} for {pipeline}",
        Kind.SCALE_DOWN: f"restore the limit of {action.target_name} from {action.before} to {action.after}",
        Kind.SKIP: f"skip {action.run_name} of {pipeline}, which is late",
    }
    reason = f" ({action.reason})" if action.reason else ""
    return f"{about[action.kind]}: {action.result}{reason}"
