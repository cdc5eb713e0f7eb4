"""What happened in a period of time: sums that the ledger gives and the weekly report compares."""

from __future__ import annotations

from dataclasses import dataclass, replace

from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.units import DAY, HOUR


@dataclass(frozen=True, slots=True)
class Period:
    """[start, end) in epoch seconds: whole hours or days, including the current one, as in run statistics."""

    start: int
    end: int

    @classmethod
    def of_hours(cls, at: float, days: int) -> Period:
        """The last `days` times 24 hours at the instant `at`."""
        end = (int(at // HOUR) + 1) * HOUR
        return cls(end - days * DAY, end)

    @classmethod
    def of_days(cls, at: float, days: int) -> Period:
        """The last `days` days (UTC) at the instant `at`."""
        end = (int(at // DAY) + 1) * DAY
        return cls(end - days * DAY, end)

    @property
    def before(self) -> Period:
        """The period of the same length before it."""
        return Period(2 * self.start - self.end, self.start)


@dataclass(frozen=True, slots=True)
class RunCounts:
    """Runs of a period by their last state, and the seconds that completed runs took (`timed`: how many have them)."""

    good: int = 0
    bad: int = 0
    timed: int = 0
    seconds: float = 0.0

    def __add__(self, other: RunCounts) -> RunCounts:
        return RunCounts(
            self.good + other.good, self.bad + other.bad, self.timed + other.timed, self.seconds + other.seconds
        )

    def without_failures(self, count: int) -> RunCounts:
        """The same without `count` failures, which are to be retried."""
        return replace(self, bad=max(self.bad - count, 0))

    @property
    def runs(self) -> int:
        return self.good + self.bad

    @property
    def success_ratio(self) -> float | None:
        """None without runs."""
        return self.good / self.runs if self.runs else None

    @property
    def mean_seconds(self) -> float | None:
        """Mean duration of a completed run; None without completed runs."""
        return self.seconds / self.timed if self.timed else None


@dataclass(frozen=True, slots=True)
class Growth:
    """The increase of a counter and its number of steps; for a summary, the sum and count of its values."""

    amount: float = 0.0
    seen: int = 0

    def plus(self, amount: float) -> Growth:
        return Growth(self.amount + amount, self.seen + 1)

    def __add__(self, other: Growth) -> Growth:
        return Growth(self.amount + other.amount, self.seen + other.seen)

    @property
    def mean(self) -> float | None:
        return self.amount / self.seen if self.seen else None


@dataclass(frozen=True, slots=True)
class FailedRuns:
    """Failed runs of one pipeline with the same cause and message pattern; `last_at`: when the last one ended."""

    pipeline: Pipeline
    cause: str
    pattern: str
    runs: int
    last_at: float
