"""Which values of the label `state` belong to a state type: whether a run is good or bad is a matter of its type."""

from __future__ import annotations

from typing import Final

COMPLETED: Final = "completed|cached|rolled_back|skipped"
FAILED: Final = "failed|timed_out"
CRASHED: Final = "crashed"
CANCELLED: Final = "cancelled"
BAD: Final = f"{FAILED}|{CRASHED}"
JUDGED: Final = f"{COMPLETED}|{BAD}"  # a cancelled run is neither good nor bad
