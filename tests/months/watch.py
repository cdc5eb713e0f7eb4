"""From when to when a Prometheus watches, and how often it and the exporter look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Watch:
    """Scrapes and evaluations come every `step` seconds, and a poll before each of them when the server has changed.

    `idle`: while nothing changes there, a poll comes after so many seconds; `others`: tasks, inventory and audit come
    so often. `slack`: how many seconds later than it might an alert may begin and end.
    """

    begin: float
    end: float
    step: float = 120.0
    # As rarely as no alert minds: with all of it at every step, a month would last twice as long.
    idle: float = 480.0
    others: float = 240.0
    slack: float = 360.0

    @property
    def steps(self) -> int:
        return int((self.end - self.begin) / self.step)

    @property
    def birth_hold(self) -> str:
        """A little over the scrape interval, as the setting wants it."""
        return f"{self.step + 10:.0f}s"

    def at(self, step: int) -> float:
        return self.begin + step * self.step
