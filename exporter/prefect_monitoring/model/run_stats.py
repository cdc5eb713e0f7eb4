"""Run statistics of a pipeline, and the windows over which its runs are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from prefect_monitoring.model.changes import KnownRun
from prefect_monitoring.model.records import COMPLETED_LABELS
from prefect_monitoring.model.units import DAY

WINDOWS: Final[Mapping[str, int]] = {"1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
# What the windows are compared with.
BEFORE: Final = "30d_before"
SAME_WEEKDAY: Final = "same_weekday"
SAME_WEEKDAY_WEEKS: Final = 4
ALL_WINDOWS: Final = (*WINDOWS, BEFORE, SAME_WEEKDAY)
RESULTS: Final = ("good", "bad")
SLO_WINDOW: Final = "slo"
RECENT_FAILURES: Final = 3
RECENT_DURATIONS: Final = 24


# A failure by the ids of its run and state: a run that fails again has another key.
FailureKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class UnresolvedFailures:
    """How many `runs` of a pipeline failed for good and are unresolved; the oldest failed at `since`.

    `retries`: how often the exporter retried the `newest`. `held`: those that have yet to be shown long enough.
    """

    runs: int
    since: float
    newest: KnownRun
    retries: int = 0
    held: frozenset[FailureKey] = frozenset()


@dataclass(frozen=True, slots=True)
class RunStats:
    """The run statistics of a pipeline. Instants in epoch seconds, durations in seconds, windows by name.

    `failing_since`: when a run first failed since the last completed one, retried or not. `baselines`: medians.
    `recent_failures`: the ends of the newest failed runs of the last day, newest first. `recent_durations`: of the
    newest completed runs, newest first. `unresolved`: how many runs failed for good and are unresolved, the oldest
    since `unresolved_since`. `last_failure`: the newest of them, else the last failure since a run completed.
    `last_failure_retries`: how often the exporter retried it. `last_failure_gone`: it was deleted; it still counts,
    but cannot be linked to.
    """

    last_outcomes: Mapping[str, float] = field(default_factory=dict)
    recent_durations: tuple[float, ...] = ()
    consecutive_failures: int = 0
    unresolved: int = 0
    unresolved_since: float | None = None
    failing_since: float | None = None
    recent_failures: tuple[float, ...] = ()
    last_failure: KnownRun | None = None
    last_failure_retries: int = 0
    last_failure_gone: bool = False
    window_runs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)
    time_shares: Mapping[str, float] = field(default_factory=dict)

    def with_unresolved(self, failures: UnresolvedFailures | None) -> RunStats:
        """The same, with the pipeline's unresolved failures."""
        if failures is None:
            return self
        return replace(
            self,
            unresolved=failures.runs,
            unresolved_since=failures.since,
            last_failure=failures.newest,
            last_failure_retries=failures.retries,
            last_failure_gone=False,
        )

    @property
    def last_success(self) -> float | None:
        """When a run last completed, under any state name."""
        return max((self.last_outcomes[one] for one in COMPLETED_LABELS if one in self.last_outcomes), default=None)

    @property
    def last_duration(self) -> float | None:
        """Seconds that the last completed run took."""
        return self.recent_durations[0] if self.recent_durations else None
