"""Scrapes become promtool's input series: what a Prometheus would have stored, in its run-length notation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

# Instants are told from the beginning of the month: there, promtool's clock stands at 0.
INSTANT_SUFFIX: Final = "_timestamp_seconds"


@dataclass
class SeriesRuns:
    """The values of one series: [value, first step, last step] of each run of equal ones, in order."""

    shift: float
    runs: list[list[float]] = field(default_factory=list)

    def add(self, step: int, text: str) -> None:
        value = float(text) - self.shift
        if self.runs and self.runs[-1][0] == value and self.runs[-1][2] == step - 1:
            self.runs[-1][2] = step
        else:
            self.runs.append([value, step, step])


@dataclass
class Storage:
    """What was scraped. `begin` is the instant that promtool calls 0; steps are counted from there."""

    begin: float
    series: dict[str, SeriesRuns] = field(default_factory=dict)
    ends: dict[str, list[int]] = field(default_factory=dict)
    _live: dict[str, set[str]] = field(default_factory=dict)

    def scraped(self, step: int, target: Mapping[str, str], lines: Iterable[str]) -> None:
        """Takes in a scrape of `target`; a series that it had before and has no more ends here."""
        self._take(step, target, ("up 1", *lines))

    def failed(self, step: int, target: Mapping[str, str]) -> None:
        """The target did not answer: all that it had ends, except for what Prometheus says of it."""
        self._take(step, target, ("up 0",))

    def removed(self, step: int, target: Mapping[str, str]) -> None:
        """Prometheus knows nothing of the target any more."""
        self._take(step, target, ())

    def _take(self, step: int, target: Mapping[str, str], lines: Iterable[str]) -> None:
        labels = ",".join(f'{name}="{value}"' for name, value in target.items())
        seen: set[str] = set()
        for line in lines:
            key, _, value = line.rpartition(" ")
            name, brace, rest = key.partition("{")
            key = f"{name}{{{labels},{rest}" if brace else f"{name}{{{labels}}}"
            if key not in self.series:
                self.series[key] = SeriesRuns(self.begin if name.endswith(INSTANT_SUFFIX) else 0.0)
            self.series[key].add(step, value)
            seen.add(key)
        self._end(step, labels, seen)

    def _end(self, step: int, labels: str, seen: set[str]) -> None:
        for key in self._live.get(labels, set()) - seen:
            self.ends.setdefault(key, []).append(step)
        self._live[labels] = seen

    def input_series(self) -> Iterator[tuple[str, str]]:
        """Each series in promtool's notation, and its values."""
        for key, series in self.series.items():
            yield key, " ".join(_notation(series.runs, self.ends.get(key, ())))


def _notation(runs: Iterable[list[float]], ends: Iterable[int]) -> Iterator[str]:
    """`vxN` is v and N more of it, `_xN` are N missing ones."""
    reached = 0
    stale = set(ends)
    for value, first, last in runs:
        if reached < first and reached in stale:
            yield "stale"
            reached += 1
        if reached < first:
            yield f"_x{int(first) - reached}"
        yield f"{value!r}x{int(last - first)}" if last > first else repr(value)
        reached = int(last) + 1
    if reached in stale:
        yield "stale"
