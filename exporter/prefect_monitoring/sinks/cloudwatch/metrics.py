"""The metrics that are pushed to CloudWatch: one row each, with unit and source. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from prefect_monitoring.model.counted_metrics import DURATION, START_DELAY
from prefect_monitoring.model.pushed_metrics import PushedName
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.run_stats import SLO_WINDOW, RunStats
from prefect_monitoring.policy.resolve import Policy

PREFECT_UP: Final = "PrefectUp"  # of the installation, not of a pipeline
_LONGEST: Final = 1024  # characters of a dimension's value
_USUAL_WINDOW: Final = "30d"
_ROUNDING: Final = 1e-6  # as in the rule for the budget: 0.1 * 30 = 2.9999…

Gauge = Callable[[RunStats, Policy | None, float], float | None]


@dataclass(frozen=True, slots=True)
class PushedMetric:
    """`observed`: the ledger's metric whose every value is pushed. `gauge`: computed once a minute, at `now`.

    A metric with neither is a count of outcomes, from `select.py`.
    """

    name: PushedName
    unit: str
    help: str
    observed: str = ""
    gauge: Gauge | None = None


def _success_rate(stats: RunStats, _policy: Policy | None, _now: float) -> float | None:
    good, bad = _window(stats)
    return 100 * good / (good + bad) if good + bad else None


def _budget_left(stats: RunStats, policy: Policy | None, _now: float) -> float | None:
    if policy is None:
        return None
    good, bad = _window(stats)
    return max(math.floor((1 - policy.objective) * (good + bad) + _ROUNDING), 1) - bad


def _last_success_age(stats: RunStats, _policy: Policy | None, now: float) -> float | None:
    at = stats.last_success
    return None if at is None else max(now - at, 0.0)


def _window(stats: RunStats) -> tuple[int, int]:
    """Good and bad runs of the objective's window; of 30 days without a declared one."""
    runs = stats.window_runs
    window = SLO_WINDOW if {(SLO_WINDOW, "good"), (SLO_WINDOW, "bad")} & runs.keys() else _USUAL_WINDOW
    return runs.get((window, "good"), 0), runs.get((window, "bad"), 0)


_ROWS: Final = (
    PushedMetric("RunsCompleted", "Count", "Completed outcomes; no datum for a minute without any."),
    PushedMetric("RunsFailed", "Count", "Failed, timed-out and crashed outcomes."),
    PushedMetric("RunsCancelled", "Count", "Cancelled outcomes."),
    PushedMetric(
        "RunDuration", "Seconds", "Each completed run's seconds, as values: percentiles are exact.", observed=DURATION
    ),
    PushedMetric(
        "StartDelay", "Seconds", "Each run's seconds from its expected to its first start.", observed=START_DELAY
    ),
    PushedMetric(
        "SuccessRate",
        "Percent",
        "Completed among completed and failed runs, by last state, over the objective's window (30 days without one).",
        gauge=_success_rate,
    ),
    PushedMetric(
        "ConsecutiveFailures",
        "Count",
        "Failed runs since the last completed one.",
        gauge=lambda stats, _policy, _now: float(stats.consecutive_failures),
    ),
    PushedMetric("LastSuccessAge", "Seconds", "Seconds since a run last completed.", gauge=_last_success_age),
    PushedMetric(
        "BudgetLeft", "Count", "Failed runs that the objective still allows in its window.", gauge=_budget_left
    ),
)
PUSHED_METRICS: Final[Mapping[PushedName, PushedMetric]] = {row.name: row for row in _ROWS}


def dimensions_of(pipeline: Pipeline, installation: str) -> dict[str, str]:
    """The dimensions of a pipeline's metrics, without empty ones, which CloudWatch refuses."""
    named = {"Flow": pipeline.flow, "Deployment": pipeline.deployment, "Installation": installation}
    return {name: as_dimension(value) for name, value in named.items() if value}


def as_dimension(text: str) -> str:
    """A name as CloudWatch takes it: printable ASCII; any other character is written as Python's escape for it."""
    plain = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return plain.encode("ascii", "backslashreplace").decode("ascii")[:_LONGEST].strip() or "(blank)"
