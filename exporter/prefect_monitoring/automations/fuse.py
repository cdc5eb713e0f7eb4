"""The fuse: stops all actions when an hour has seen too many, in total or for one cause. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from prefect_monitoring.model.actions import Acting, Action, ActionResult
from prefect_monitoring.model.units import HOUR

QUIET_SECONDS: Final = HOUR


@dataclass(frozen=True, slots=True)
class Fuse:
    """The most actions in an hour, in total and for one cause."""

    per_hour: int
    per_cause: int

    def admit(
        self, wanted: Iterable[Action], spent: Mapping[str, int], acting: Acting, now: float
    ) -> tuple[list[Action], Acting]:
        """`wanted` in the same order, with result FUSE for those that a blown fuse withholds; and the new state.

        `spent`: actions by cause since the later of an hour ago and `acting.fuse_from`.
        """
        by_cause = Counter(spent)
        admitted: list[Action] = []
        for action in wanted:
            if action.result is not ActionResult.PLANNED:
                admitted.append(action)
                continue
            if acting.stopped_at is None and (reason := self._blown(by_cause, action.cause)):
                acting = acting.stopped(now, reason)
            if acting.stopped_at is not None:
                withheld = f"withheld: {acting.stopped_by}"
                admitted.append(replace(action, result=ActionResult.FUSE, reason=withheld, finished_at=now))
                continue
            by_cause[action.cause] += 1
            admitted.append(action)
        return admitted, acting

    def _blown(self, spent: Counter[str], cause: str) -> str:
        if spent.total() >= self.per_hour:
            return f"{self.per_hour} actions within an hour"
        if spent[cause] >= self.per_cause:
            return f"{self.per_cause} actions for the cause {cause} within an hour"
        return ""


def after_a_quiet_hour(acting: Acting, last_withheld_at: float, now: float) -> Acting:
    """Resets a blown fuse once nothing had to be withheld for an hour; a stop by hand stays."""
    if acting.fuse_blown and now - max(acting.stopped_at or 0.0, last_withheld_at) >= QUIET_SECONDS:
        return acting.resumed(now)
    return acting
