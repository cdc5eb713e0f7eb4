"""The history as OpenMetrics text: a file per day, with every series at each slot of the grid from its first on."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

from prefect_monitoring.backfill.families import WORKSPACE, Family, as_labels, labels_of
from prefect_monitoring.ledger.backfill_journal import Move
from prefect_monitoring.metrics.exporter import LEDGER_CREATED
from prefect_monitoring.metrics.family import as_text
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.units import DAY

# What the recording rules call their knowledge of the ledger: prometheus/rules/increases.yml.
UNCHANGED: Final = "workspace:prefect_exporter_ledger:unchanged"
# A value, a timestamp, two blanks and a newline.
_BYTES_BESIDE_NAME: Final = 20


class Total(NamedTuple):
    amount: float = 0.0
    seen: int = 0


Totals = dict[SeriesKey, Total]


class Series(NamedTuple):
    """A series of the past: the ledger's series that it adds up, and the text before the value of its samples."""

    keys: tuple[SeriesKey, ...]
    text: str


@dataclass(frozen=True)
class History:
    """What is written: the families, each series' first slot (epoch seconds), the grid, the labels of the target.

    `end` is the last slot. `moves`: how often a series moved at most; `unmoved`: series of the ledger whose past begins
    after the end. `created_at`: when the ledger was created, epoch seconds.
    """

    families: tuple[Family, ...]
    first_slots: Mapping[SeriesKey, int]
    step: int
    end: int
    target: Mapping[str, str]
    created_at: float
    moves: Mapping[SeriesKey, int] = field(default_factory=dict)
    unmoved: frozenset[SeriesKey] = frozenset()

    @property
    def days(self) -> range:
        """The first instants of the days (UTC) that have samples."""
        return range(self._first // DAY * DAY, self.end + 1, DAY) if self._first <= self.end else range(0)

    @cached_property
    def _first(self) -> int:
        return min(self.first_slots.values(), default=self.end + 1)

    def slots(self, day: int, first: int | None = None) -> range:
        """The slots of a day from `first` on, or from the first of any series."""
        midnight = -(-day // self.step) * self.step
        first = self._first if first is None else first
        return range(max(midnight, first), min(day + DAY - 1, self.end) + 1, self.step)

    def first_slot(self, family: Family, series: Series) -> int:
        first = min(self.first_slots.get(key, self.end) for key in series.keys)
        return min(first, self.end) if family.part == "last" else first  # what begins later, rules count from 0

    def most_samples(self, family: Family, series: Series) -> int:
        slots = max((self.end - self.first_slot(family, series)) // self.step + 1, 0)
        moves = sum(self.moves.get(key, 0) for key in series.keys)
        match family.part:
            case "level":
                return slots
            case "increase":
                return min(slots, moves)
            case "last":
                return min(slots, moves + len(self.days) + 1)

    @cached_property
    def series(self) -> tuple[tuple[Family, tuple[Series, ...]], ...]:
        """The series of each family."""
        return tuple((family, tuple(self._series_of(family))) for family in self.families)

    def _series_of(self, family: Family) -> Iterator[Series]:
        keys: defaultdict[str, list[SeriesKey]] = defaultdict(list)
        for key in sorted(self.first_slots.keys() | self.unmoved if family.part == "last" else self.first_slots):
            if key.metric == family.metric:
                keys[labels_of(family, key, self.target)].append(key)
        for labels, together in keys.items():
            yield Series(tuple(together), f"{family.name}{{{labels}}}")


class Size(NamedTuple):
    samples: int = 0
    series: int = 0
    bytes: int = 0


def cost(history: History) -> Size:
    """The size of the whole history as text at most, computed before anything is written."""
    samples = series = size = 0
    for family, family_series in history.series:
        for one in family_series:
            count = history.most_samples(family, one)
            samples += count
            series += bool(count)
            size += count * (len(one.text.encode()) + _BYTES_BESIDE_NAME)
    slots = sum(len(history.slots(day)) for day in history.days)
    return Size(samples + slots + 1, series + 2, size + slots * len(UNCHANGED)) if slots else Size()


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
            for one in family_series:
                values = [*_samples(history, family, one, day, before, moved)]
                text.writelines(f"{one.text} {as_text(value)} {slot}\n" for slot, value in values)
                samples += len(values)
                series += bool(values)
        for family_lines in _about_the_ledger(history, day):
            text.writelines(family_lines)
            samples += len(family_lines) - 1
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


def _about_the_ledger(history: History, day: int) -> Iterator[list[str]]:
    """By which dashboards see that increases are known, and recording rules that the live ledger is that of the past.

    Each family with its TYPE line.
    """
    workspace = as_labels({WORKSPACE: history.target.get(WORKSPACE, "")})
    yield [f"# TYPE {UNCHANGED} gauge\n", *(f"{UNCHANGED}{{{workspace}}} 1 {slot}\n" for slot in history.slots(day))]
    if day <= history.end < day + DAY:
        sample = f"{LEDGER_CREATED}{{{as_labels(history.target)}}} {as_text(history.created_at)} {history.end}\n"
        yield [f"# TYPE {LEDGER_CREATED} gauge\n", sample]


def _samples(
    history: History,
    family: Family,
    series: Series,
    day: int,
    before: Mapping[SeriesKey, Total],
    moved: Mapping[SeriesKey, list[Move]],
) -> Iterator[tuple[int, float]]:
    """The slots and values of a series on a day; `moved`: the moves of the day, of each of its keys by slot."""
    moves = deque(heapq.merge(*(moved.get(key, ()) for key in series.keys), key=attrgetter("slot")))
    level: float = sum(getattr(before.get(key, Total()), family.measure) for key in series.keys)
    slots = history.slots(day, history.first_slot(family, series))
    for slot in slots:
        here = []
        while moves and moves[0].slot <= slot:
            here.append(getattr(moves.popleft(), family.measure))
            level += here[-1]
        if family.part == "increase":
            if here:
                yield slot, sum(here)
        elif family.part == "level" or here or slot in (slots[0], history.end):
            yield slot, level
