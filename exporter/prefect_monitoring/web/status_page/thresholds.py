"""The limits that the status page shares with the rules in prometheus/rules/; a contract test compares the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from prefect_monitoring.model.units import DAY

RUNNING_STATES: Final = ("running", "retrying")
# The window of the median duration that counts as usual.
BASELINE_WINDOW: Final = "30d"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Seconds unless the name says otherwise. A condition holds beyond its threshold, or from a number of runs on.

    `stuck_seconds`: by the state of the run. `long_run_*`: without a declared maximum, a run is too long after
    `factor` times its usual duration but not before `min_seconds`, or after `unknown_seconds` without a usual duration.
    `budget_rounding`: added to the failures that an SLO allows before they are rounded down to whole runs.
    """

    failed_runs: int
    start_missed_seconds: int
    stuck_seconds: Mapping[str, int]
    long_run_factor: int
    long_run_min_seconds: int
    long_run_unknown_seconds: int
    start_late_seconds: int
    grace_duration_factor: int
    budget_min_runs: int
    budget_rounding: float


THRESHOLDS: Final = Thresholds(
    failed_runs=1,
    start_missed_seconds=600,
    stuck_seconds=MappingProxyType(
        {
            "pending": 900,
            "submitting": 900,
            "infrastructure_pending": 900,
            "awaiting_retry": 900,
            "cancelling": 900,
            "awaiting_concurrency_slot": 3600,
        }
    ),
    long_run_factor=3,
    long_run_min_seconds=1800,
    long_run_unknown_seconds=DAY,
    start_late_seconds=300,
    grace_duration_factor=3,
    budget_min_runs=1,
    budget_rounding=1e-6,
)
