"""The values of the label `state` by state type: the type decides whether a run is good or bad."""

from __future__ import annotations

from typing import Final

COMPLETED: Final = "completed|cached|rolled_back|skipped"
FAILED: Final = "failed|timed_out"
CRASHED: Final = "crashed"
CANCELLED: Final = "cancelled"
BAD: Final = f"{FAILED}|{CRASHED}"
JUDGED: Final = f"{COMPLETED}|{BAD}"  # a cancelled run is neither good nor bad
