"""Few colours, each with one meaning on every dashboard, told apart by the colour-blind, on dark and on light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

GOOD: Final = "#4C9BE8"
WATCH: Final = "#E8A33D"
BAD: Final = "#D5521E"
LOST: Final = "#A66BB8"  # crashed: nobody knows how far it came
CALM: Final = "#8A93A0"  # neither good nor bad: cancelled, a limit, a comparison
FAINT: Final = "#5A9C8F"  # a second kind of good: running, cached
PLAIN: Final = "text"  # the theme's own

STATES: Final[Mapping[str, str]] = {
    "completed": GOOD,
    "cached": FAINT,
    "running": FAINT,
    "failed": BAD,
    "timed_out": WATCH,
    "crashed": LOST,
    "cancelled": CALM,
    "late": WATCH,
    "retrying": WATCH,
    "awaiting_retry": WATCH,
    "pending": CALM,
}

Steps = tuple[tuple[float | None, str], ...]

# Steps read "from this value on, this colour"; None is the base.
NO_JUDGEMENT: Final[Steps] = ((None, PLAIN),)
COUNT_IS_BAD: Final[Steps] = ((None, GOOD), (1.0, BAD))
COUNT_IS_WATCHED: Final[Steps] = ((None, GOOD), (1.0, WATCH))
SUCCESS: Final[Steps] = ((None, BAD), (0.9, WATCH), (0.99, GOOD))


def thresholds(steps: Steps) -> build.ThresholdsConfig:
    return (
        build.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=colour) for value, colour in steps])
    )
