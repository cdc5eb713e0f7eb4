"""The counters and histograms that the ledger keeps, and the birth hold.

A new series is shown as 0 for one birth hold before its first increment becomes visible: Prometheus cannot see an
increase of a series that began at 1.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from prefect_monitoring.model.changes import Changes, SeriesKey

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Series:
    """`value` is a counter's count or a histogram's sum in seconds; `buckets` counts observations, the last is +Inf."""

    value: float = 0.0
    buckets: tuple[int, ...] = ()
    released: bool = False

    @property
    def zero(self) -> Series:
        return Series(0.0, (0,) * len(self.buckets), self.released)


Bounds = Mapping[str, tuple[float, ...]]
"""Upper bounds per histogram, ascending, without +Inf; empty for a summary. Metrics without an entry are counters."""


def empty(metric: str, bounds: Bounds, *, released: bool) -> Series:
    buckets = (0,) * (len(bounds[metric]) + 1) if metric in bounds else ()
    return Series(0.0, buckets, released)


def observe(histogram: Series, values: Sequence[float], bounds: Sequence[float]) -> Series:
    """`histogram`, whose buckets end at `bounds` and +Inf, with `values` (seconds) added."""
    buckets = list(histogram.buckets)
    for value in values:
        buckets[bisect_left(bounds, value)] += 1
    return Series(histogram.value + sum(values), tuple(buckets), histogram.released)


def advance(
    series: Mapping[SeriesKey, Series], changes: Changes, bounds: Bounds, *, released: bool
) -> dict[SeriesKey, Series]:
    """The series that `changes` creates or moves, at their new values. New series get the given `released`."""
    moved: dict[SeriesKey, Series] = {}

    def now(key: SeriesKey) -> Series:
        return moved.get(key) or series.get(key) or empty(key.metric, bounds, released=released)

    for key in sorted(changes.zero_born - series.keys()):
        moved[key] = now(key)
    for key, count in changes.increments.items():
        before = now(key)
        moved[key] = Series(before.value + count, before.buckets, before.released)
    for key, values in changes.observations.items():
        if key.metric in bounds:  # else it is switched off
            moved[key] = observe(now(key), values, bounds[key.metric])
    return moved


@dataclass(slots=True)
class Hold(Generic[Key]):
    """Keys that wait until they have been exposed for `seconds`, and since when this process has exposed them.

    Used for new series at zero and for new failures. Not kept across restarts on purpose: a new process cannot know
    whether what the old one exposed was scraped.
    """

    seconds: float
    shown_since: dict[Key, float] = field(default_factory=dict)

    def show(self, keys: Collection[Key], now: float) -> None:
        """Notes that `keys` were published at `now`."""
        for key in keys:
            self.shown_since.setdefault(key, now)

    def due(self, now: float) -> set[Key]:
        return {key for key, since in self.shown_since.items() if now - since >= self.seconds}

    def forget(self, keys: Collection[Key]) -> None:
        for key in keys:
            self.shown_since.pop(key, None)
