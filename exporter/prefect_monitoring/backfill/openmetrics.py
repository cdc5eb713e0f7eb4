"""The history as OpenMetrics text: a file per day, with every series at each slot of the grid from its first on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from prefect_monitoring.backfill.families import Family, labels_of
from prefect_monitoring.ledger.backfill_journal import Move
from prefect_monitoring.metrics.family import as_text
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.units import DAY

# A value, a timestamp, two blanks and a newline.
_BYTES_BESIDE_NAME: Final = 20


class Total(NamedTuple):
    amount: float = 0.0
    seen: int = 0


Totals = dict[SeriesKey, Total]


@dataclass(frozen=True)
class History:
    """What is written: the families, each series' first slot (epoch seconds), the grid, the labels of the target.

    `end` is the last slot.
    """

    families: tuple[Family, ...]
    first_slots: Mapping[SeriesKey, int]
    step: int
    end: int
    target: Mapping[str, str]

    @property
    def days(self) -> range:
        """The first instants of the days (UTC) that have samples."""
        first = min((slot for slot in self.first_slots.values() if slot <= self.end), default=None)
        return range(first // DAY * DAY, self.end + 1, DAY) if first is not None else range(0)

    def slots(self, day: int, key: SeriesKey) -> range:
        """The slots of a day at which a series has samples."""
        first = -(-day // self.step) * self.step
        return range(max(first, self.first_slots[key]), min(day + DAY - 1, self.end) + 1, self.step)

    @cached_property
    def series(self) -> tuple[tuple[Family, tuple[tuple[SeriesKey, str], ...]], ...]:
        """The series of each family, with the text before the value of their samples, which is the same every day."""
        keys = sorted(self.first_slots)
        return tuple(
            (
                family,
                tuple(
                    (key, f"{family.name}{{{labels_of(family, key, self.target)}}}")
                    for key in keys
                    if key.metric == family.metric
                ),
            )
            for family in self.families
        )


class Size(NamedTuple):
    samples: int = 0
    series: int = 0
    bytes: int = 0


def cost(history: History) -> Size:
    """The size of the whole history as text, computed before anything is written."""
    samples = series = size = 0
    for _, family_series in history.series:
        for key, name in family_series:
            slots = max((history.end - history.first_slots[key]) // history.step + 1, 0)
            samples += slots
            series += bool(slots)
            size += slots * (len(name.encode()) + _BYTES_BESIDE_NAME)
    return Size(samples, series, size)


def write_day(file: Path, history: History, day: int, before: Mapping[SeriesKey, Total], moves: Iterable[Move]) -> Size:
    """Writes the samples of a day, at whose begin the series had the values `before`. Writes the file atomically."""
    moved: defaultdict[SeriesKey, list[Move]] = defaultdict(list)
    for move in moves:
        moved[move.key].append(move)
    partial = file.with_suffix(".partial")
    samples = series = 0
    with partial.open("w", encoding="utf-8", newline="\n") as text:
        for family, family_series in history.series:
            text.write(f"# TYPE {family.title} {family.kind}\n")
            for key, name in family_series:
                if slots := history.slots(day, key):
                    curve = _curve(before.get(key, Total()), moved.get(key, ()), slots)
                    text.writelines(
                        f"{name} {as_text(getattr(total, family.measure))} {slot}\n" for slot, total in curve
                    )
                    samples += len(curve)
                    series += 1
        text.write("# EOF\n")
    size = partial.stat().st_size
    partial.replace(file)
    return Size(samples, series, size)


def add_up(totals: Totals, moves: Iterable[Move]) -> None:
    """Adds `moves` to `totals`."""
    for move in moves:
        total = totals.get(move.key, Total())
        totals[move.key] = Total(total.amount + move.amount, total.seen + move.seen)


def _curve(start: Total, moves: Sequence[Move], slots: range) -> list[tuple[int, Total]]:
    """The value of a series at each of `slots`; `moves` of this day, by slot."""
    curve = []
    amount, seen = start
    upcoming = iter(moves)
    move = next(upcoming, None)
    for slot in slots:
        while move is not None and move.slot <= slot:
            amount, seen = amount + move.amount, seen + move.seen
            move = next(upcoming, None)
        curve.append((slot, Total(amount, seen)))
    return curve
