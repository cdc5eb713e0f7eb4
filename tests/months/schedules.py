"""When deployments are due: by interval, or at times of the day on some days, in local time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86400.0

# Monday, 2026-03-02 00:00 UTC. Summer time begins in Berlin on the 28th day of the month that begins here.
BEGIN: Final = 1772409600.0
BERLIN: Final = ZoneInfo("Europe/Berlin")

Days = Callable[[date], bool]


def every_day(_day: date) -> bool:
    return True


def weekdays(day: date) -> bool:
    return day.weekday() < 5


def fifteenth(day: date) -> bool:
    return day.day == 15


@dataclass(frozen=True)
class OnDates:
    """Days of a year, each a month and a day."""

    dates: tuple[tuple[int, int], ...]

    def __call__(self, day: date) -> bool:
        return (day.month, day.day) in self.dates


def on(day: float, hours: float = 0.0) -> float:
    """The instant `hours` into a day of the month, which begins with day 0."""
    return BEGIN + day * DAY + hours * HOUR


@dataclass(frozen=True)
class Every:
    """Every so many seconds, `offset` seconds after the full interval."""

    seconds: float
    offset: float = 0.0

    def after(self, instant: float) -> float:
        return ((instant - self.offset) // self.seconds + 1) * self.seconds + self.offset


@dataclass(frozen=True)
class At:
    """At local times of the days that `days` has. A time that a shift leaves out comes an hour later."""

    times: tuple[str, ...]
    days: Days = every_day

    def after(self, instant: float) -> float:
        return next(start for start in self._from(datetime.fromtimestamp(instant, BERLIN).date()) if start > instant)

    def _from(self, day: date) -> Iterator[float]:
        while True:
            if self.days(day):
                for text in self.times:
                    local = datetime.combine(day, time.fromisoformat(text), BERLIN)
                    yield local.astimezone(UTC).timestamp()
            day += timedelta(days=1)


Schedule = Every | At
