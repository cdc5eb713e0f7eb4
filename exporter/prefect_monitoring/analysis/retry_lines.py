"""Failed attempts that a retry follows: Prefect keeps what went wrong nowhere but in a log line of the task run."""

from __future__ import annotations

import re
from typing import Final

FAILURE_PHRASE: Final = "Task run failed with"
_SAVED: Final = re.compile(rf"{FAILURE_PHRASE} \w+: (?P<what>.*) - Retry \d+/\d+ will start", re.DOTALL)


def saved_failure(message: str) -> str | None:
    """What an attempt failed with, as the line tells it; None for any other line."""
    found = _SAVED.match(message)
    return found["what"] if found else None
