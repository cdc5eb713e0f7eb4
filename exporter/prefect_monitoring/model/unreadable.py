"""Records that cannot be read: set aside, so that reading goes on, and tried again later."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from prefect_monitoring.model.units import HOUR

FIRST_WAIT_SECONDS: Final = 15.0
LONGEST_WAIT_SECONDS: Final = HOUR


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record of the source with that cursor. Instants in epoch seconds.

    `since`: when it was first seen; it is tried again from `next_at` on. `counted`: its row is counted, and only its
    state history cannot be read. `after`: the missing part lies after this instant; None where unknown.
    """

    cursor: str
    id: str
    since: float
    tries: int
    next_at: float
    counted: bool = False
    after: float | None = None

    def tried(self, now: float) -> Unreadable:
        """The same after another try that failed: each wait is twice as long as the one before."""
        wait = min(FIRST_WAIT_SECONDS * 2.0**self.tries, LONGEST_WAIT_SECONDS)
        return replace(self, tries=self.tries + 1, next_at=now + wait)


def set_aside(cursor: str, identifier: str, now: float, *, counted: bool, after: float | None) -> Unreadable:
    """A record that is set aside for the first time."""
    return Unreadable(cursor, identifier, now, 0, now, counted, after).tried(now)
