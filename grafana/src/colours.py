"""A few colours with one meaning each on every dashboard, distinguishable for the colour-blind, on dark and on light.

States have Prefect's colours if it has one, in shades that protanopes and deuteranopes can distinguish.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

GOOD: Final = "#1FA67F"  # completed, or as it should be
WATCH: Final = "#E8873D"  # worth a look: late, near a limit
BAD: Final = "#DB4437"  # failed, or an objective missed
LOST: Final = "#A66BB8"  # crashed: how far it came is unknown
CALM: Final = "#8A93A0"  # not judged, or not known: cancelled, pending, a comparison, no data
RUNNING: Final = "#3D8BEA"
RETRYING: Final = "#E6C229"
CACHED: Final = "#8CCFB5"  # completed without any work
DATA: Final = "#7A97C9"  # a measurement that is neither good nor bad
PLAIN: Final = "text"  # the theme's own

STATES: Final[Mapping[str, str]] = {
    "completed": GOOD,
    "cached": CACHED,
    "rolled_back": "#5C7F74",
    "skipped": "#B9DCCD",
    "running": RUNNING,
    "failed": BAD,
    "timed_out": "#A3304F",
    "crashed": LOST,
    "cancelled": CALM,
    "cancelling": "#5F6773",
    "late": WATCH,
    "retrying": RETRYING,
    "awaiting_retry": "#A89228",
    "awaiting_concurrency_slot": "#B8A9D9",
    "scheduled": "#C3C8D0",
    "pending": CALM,
}

Steps = tuple[tuple[float | None, str], ...]


def steps(first: str, *further: tuple[float, str], low: float = 0.0) -> Steps:
    """Read "from this value on, this colour", `first` from `low` on. Below it is the base, for what has no number.

    So neither "No data" nor "unknown" has the colour of something good.
    """
    return ((None, CALM), (low, first), *further)


NO_JUDGEMENT: Final[Steps] = ((None, PLAIN),)
COUNT_IS_BAD: Final = steps(GOOD, (1.0, BAD))
COUNT_IS_WATCHED: Final = steps(GOOD, (1.0, WATCH))
AGAINST_OBJECTIVE: Final = steps(BAD, (0.0, GOOD), low=-1.0)  # of success minus the objective
ANY_IS_BAD: Final = steps(PLAIN, (1.0, BAD))
ANY_IS_WATCHED: Final = steps(PLAIN, (1.0, WATCH))


def thresholds(limits: Steps) -> build.ThresholdsConfig:
    return (
        build.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=colour) for value, colour in limits])
    )
