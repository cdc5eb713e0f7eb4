"""Quantiles of a pipeline's durations and start delays over its windows: values that a run had, not interpolations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from prefect_monitoring.model.run_stats import WINDOWS

QUANTILE_WINDOWS: Final[Mapping[str, int]] = {name: WINDOWS[name] for name in ("7d", "30d")}
# By label value, in percent.
QUANTILES: Final[Mapping[str, int]] = {"0.5": 50, "0.95": 95}

ByWindow = Mapping[tuple[str, str], float]
"""Seconds by the label values of window and quantile; windows without runs are missing."""


@dataclass(frozen=True, slots=True)
class RunQuantiles:
    """Quantiles of runs that ended within each window: durations of completed runs, start delays of started runs.

    `runs`: how many completed runs the longest window has.
    """

    duration: ByWindow = field(default_factory=dict)
    start_delay: ByWindow = field(default_factory=dict)
    runs: int = 0
