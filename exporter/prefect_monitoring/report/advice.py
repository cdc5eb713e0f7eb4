"""What usually helps against a failure cause: one line each, as in the runbook of PrefectTasksRetrying."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LIKELY_FIX: Final[Mapping[str, str]] = {
    "rate_limit": "Back off exponentially with jitter, and limit how many run at once.",
    "db_lock": "Wait before the retry, and keep away from the other writer's hours.",
    "timeout": "Allow more time, or ask for less at once.",
    "connection": "Retry with a longer delay; report it to whoever runs the other side.",
    "out_of_memory": "Give it more memory, or process in smaller batches.",
    "infrastructure": "Look at the worker and its machine: evictions, images, disk.",
    "auth": "Renew the credentials; no retry helps, so fail at once.",
    "data": "Check what came in; no retry helps, so fail at once.",
    "code": "Fix the code; no retry helps, so fail at once.",
}
SEE_LOG: Final = "Read the log of one of its runs."


def likely_fix(cause: str) -> str:
    """What to try first against `cause`; causes that the user declares have no advice."""
    return LIKELY_FIX.get(cause, SEE_LOG)
