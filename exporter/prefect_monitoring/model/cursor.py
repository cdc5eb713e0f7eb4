"""How far each source is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# The server mints a state's timestamp just before it commits the state: a slow commit shows an end late. Task runs are
# written by a recorder that is up to a minute behind when many end at once.
OVERLAP_SECONDS: Final = 300.0
FLOW_RUNS: Final = "flow_runs"
TASK_RUNS: Final = "task_runs"
LOG_LINES: Final = "log_lines"
AUTOMATION_EVENTS: Final = "automation_events"
ASSET_EVENTS: Final = "asset_events"


def trend_cursor(metric: str) -> str:
    """The cursor of one declared metric: its store's points are its baseline, whenever it is declared."""
    return f"trend_points:{metric}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a source is read.

    `watermark`: every end up to here is read. `horizon`: states before it are history and never counted.
    `baseline_complete`: whether the baseline load is over.

    While a window is being read, newest end first: `window_newest` is the newest end in it, `page_before` and
    `page_offset` say where the next page begins, and `earliest_left` is the earliest end of the runs that could not
    be counted; the watermark stays before it.
    """

    watermark: float
    horizon: float
    baseline_complete: bool = False
    window_newest: float | None = None
    page_before: float | None = None
    page_offset: int = 0
    earliest_left: float | None = None

    @property
    def after(self) -> float:
        """The older end of the next window."""
        return max(self.horizon, self.watermark - OVERLAP_SECONDS)
