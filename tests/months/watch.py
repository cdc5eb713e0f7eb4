"""From when to when a Prometheus watches, and how often it and the exporter look."""

from __future__ import annotations

from dataclasses import dataclass

from months.schedules import MINUTE


@dataclass(frozen=True)
class Watch:
    """Scrapes and evaluations come every `step` seconds, and a poll before each of them when the server has changed.

    `idle`: seconds between polls while nothing changes there. `background`: seconds between reads of tasks, inventory
    and audit. `slack`: by how many seconds an alert may begin or end late.
    """

    begin: float
    end: float
    step: float = 120.0
    # As rarely as no alert minds: with all of it at every step, a month would last twice as long.
    idle: float = 240.0
    background: float = 240.0
    slack: float = 360.0

    @property
    def steps(self) -> int:
        return int((self.end - self.begin) / self.step)

    @property
    def between(self) -> float:
        """How long before a scrape another poll comes where heartbeats are counted, which lapses of a minute spoil."""
        return self.step / 2 if self.step > MINUTE else 0.0

    @property
    def birth_hold(self) -> str:
        """A little over the scrape interval, as the setting wants it."""
        return f"{self.step + 10:.0f}s"

    def at(self, step: int) -> float:
        return self.begin + step * self.step
