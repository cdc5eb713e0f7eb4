"""One structured log line for each finished action."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Final

from prefect_monitoring.model.action_text import describe
from prefect_monitoring.model.actions import Action, ActionResult

log = logging.getLogger(__name__)

_LEVELS: Final = {ActionResult.FAILED: logging.ERROR, ActionResult.FUSE: logging.WARNING}
_LEFT_OUT: Final = ("", None, 0)


def log_end(action: Action) -> None:
    """Logs the action if its result is final."""
    if action.result.is_final:
        fields = {f"action_{name}": value for name, value in asdict(action).items() if value not in _LEFT_OUT}
        log.log(_LEVELS.get(action.result, logging.INFO), "Action %s", describe(action), extra=fields)
