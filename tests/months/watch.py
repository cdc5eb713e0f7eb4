"""The observed period, and the intervals of scrapes and polls."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Watch:
    """Scrapes and evaluations every `step` seconds, and a poll before each of them if the server has changed.

    `idle`: seconds between polls while nothing changes; `background`: seconds between readings of tasks, inventory and
    audit. `slack`: how many seconds too late an alert may begin and end.
    """

    begin: float
    end: float
    step: float = 120.0
    # As rarely as alerts allow: with everything at every step, a month would take twice as long.
    idle: float = 480.0
    background: float = 240.0
    slack: float = 360.0

    @property
    def steps(self) -> int:
        return int((self.end - self.begin) / self.step)

    @property
    def birth_hold(self) -> str:
        """Slightly more than the scrape interval, as the setting requires."""
        return f"{self.step + 10:.0f}s"

    def at(self, step: int) -> float:
        return self.begin + step * self.step
