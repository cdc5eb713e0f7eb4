"""The durations of a pipeline's last runs as a small bar chart: SVG path data and a sentence for screen readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from prefect_monitoring.model.run_stats import RECENT_DURATIONS
from prefect_monitoring.web.status_page.formatting import span

HEIGHT: Final = 24
STEP: Final = 5
WIDTH: Final = STEP * RECENT_DURATIONS
MAX_LIMIT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Sparkline:
    """`earlier` and `last` are path data of the bars; `limit` is the y of the declared maximum, if it is drawn.

    `scale`: what the height stands for.
    """

    earlier: str
    last: str
    limit: int | None
    label: str
    scale: str


def sparkline(newest_first: Sequence[float], limit: float | None) -> Sparkline | None:
    """Durations and `limit` in seconds; None without a duration. The limit is drawn unless it flattens the bars."""
    if not newest_first:
        return None
    seconds = [max(duration, 0.0) for duration in reversed(newest_first)]
    highest = max(seconds)
    is_drawn = limit is not None and limit <= MAX_LIMIT * highest
    top = max(highest, limit or 0.0) if is_drawn else highest
    first = RECENT_DURATIONS - len(seconds)
    bars = [_bar(place, duration / top if top else 0.0) for place, duration in enumerate(seconds, first)]
    height = HEIGHT - _pixels(limit / top) if is_drawn and limit is not None and top else None
    return Sparkline("".join(bars[:-1]), bars[-1], height, _label(seconds, limit), f"0 to {span(top)}")


def _bar(place: int, share: float) -> str:
    return f"M{place * STEP + 2} {HEIGHT}v-{_pixels(share)}"


def _pixels(share: float) -> int:
    """At least one, so that a run that took no time still has a bar."""
    return max(round(share * (HEIGHT - 1)), 1)


def _label(seconds: Sequence[float], limit: float | None) -> str:
    if len(seconds) == 1:
        sentence = f"The only completed run took {span(seconds[0])}"
    else:
        low, high = span(min(seconds)), span(max(seconds))
        between = low if low == high else f"{low} to {high}"
        sentence = f"The last {len(seconds)} completed runs took {between}, the newest {span(seconds[-1])}"
    return f"{sentence}; at most {span(limit)} is declared" if limit is not None else sentence
