"""The past as OpenMetrics text: a file a day, every series at each slot of the grid, from its birth on."""

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
    """What is told: the families, when each series begins (slots, epoch seconds), the grid, the labels of the target.

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
        """The slots of a day at which a series is told."""
        first = -(-day // self.step) * self.step
        return range(max(first, self.first_slots[key]), min(day + DAY - 1, self.end) + 1, self.step)

    @cached_property
    def series(self) -> tuple[tuple[Family, tuple[tuple[SeriesKey, str], ...]], ...]:
        """The series of each family, and how a sample of theirs begins: the same for each day."""
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
    """What the whole past will take as text, worked out before a line is written."""
    samples = series = size = 0
    for _, told in history.series:
        for key, name in told:
            slots = max((history.end - history.first_slots[key]) // history.step + 1, 0)
            samples += slots
            series += bool(slots)
            size += slots * (len(name.encode()) + _BYTES_BESIDE_NAME)
    return Size(samples, series, size)


def write_day(file: Path, history: History, day: int, before: Mapping[SeriesKey, Total], moves: Iterable[Move]) -> Size:
    """Writes the samples of a day whose series stood at `before` when it began. The file is whole or not there."""
    moved: defaultdict[SeriesKey, list[Move]] = defaultdict(list)
    for move in moves:
        moved[move.key].append(move)
    partial = file.with_suffix(".partial")
    samples = series = 0
    with partial.open("w", encoding="utf-8", newline="\n") as text:
        for family, told in history.series:
            text.write(f"# TYPE {family.title} {family.kind}\n")
            for key, name in told:
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
    """Brings `totals` to where the series stand after `moves`."""
    for move in moves:
        total = totals.get(move.key, Total())
        totals[move.key] = Total(total.amount + move.amount, total.seen + move.seen)


def _curve(start: Total, moves: Sequence[Move], slots: range) -> list[tuple[int, Total]]:
    """Where a series stands at each of `slots`; `moves` by slot, all of this day."""
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
