"""The metric families that are backfilled, and the first slots and labels of their series."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, CountedMetric
from prefect_monitoring.model.label_values import bounded
from prefect_monitoring.model.records import Pipeline

Measure = Literal["amount", "seen"]
Part = Literal["level", "increase", "last"]
RECORDED_PARTS: Final[tuple[Literal["increase", "last"], ...]] = ("increase", "last")
WORKSPACE: Final = "workspace"  # the only label of the target that recorded series have


@dataclass(frozen=True, slots=True)
class Family:
    """A family of samples: the ledger's metric, the exposed name, the measure to write, and the type.

    `part`: the counter's level at each step; or, where something was counted, what it grew by, and its last level, from
    which the recording rules of prometheus/rules/increases.yml go on.
    """

    row: CountedMetric
    exposed: str
    measure: Measure = "amount"
    kind: Literal["counter", "unknown"] = "counter"
    part: Part = "level"
    by: tuple[str, ...] = ()  # fewer labels, over which it is summed

    @property
    def metric(self) -> str:
        return self.row.name

    @property
    def name(self) -> str:
        return self.exposed if self.part == "level" else self.row.recorded(self.exposed, self.part, self.by)

    @property
    def title(self) -> str:
        """The name in the family's TYPE line."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name


def _families_of(row: CountedMetric) -> Iterator[Family]:
    """The families of a metric; none if it is not backfilled. Sums and counts are separate families.

    In a summary, OpenMetrics would require them by instant, but TSDB blocks need them by series.
    """
    if not row.backfilled:
        return
    if row.is_observed:
        levels: tuple[Family, ...] = (
            Family(row, f"{row.name}_sum", "amount", "unknown"),
            Family(row, f"{row.name}_count", "seen", "unknown"),
        )
    else:
        levels = (Family(row, row.name),)
    yield from levels
    if row.increases:
        for level in levels:
            for part in RECORDED_PARTS:
                yield replace(level, kind="unknown", part=part)
            if row.summed_by:
                yield replace(level, kind="unknown", part="increase", by=row.summed_by)


def families_of(rows: Iterable[CountedMetric]) -> tuple[Family, ...]:
    return tuple(family for row in rows for family in _families_of(row))


FAMILIES: Final = families_of(COUNTED_METRICS.values())
OWN_LABELS: Final = frozenset(label for family in FAMILIES for label in family.row.labels)
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def exposed(families: Iterable[Family], off: Collection[str]) -> tuple[Family, ...]:
    """The families without those that the setting `metrics_off` switches off, which are not live either."""
    return tuple(one for one in families if not {one.metric, one.exposed} & set(off))


def first_slots(series: Collection[SeriesKey], first_moves: Mapping[SeriesKey, int], step: int) -> dict[SeriesKey, int]:
    """The slot at which each series begins, at zero: the one before its first move.

    Zero-born series begin before the first move of any series of their pipeline and task; without one, they are left
    out.
    """
    begun: dict[tuple[Pipeline, str], int] = {}
    for key, slot in first_moves.items():
        group = (key.pipeline, key.task)
        begun[group] = min(slot, begun.get(group, slot))
    slots = {}
    for key in series:
        first = begun.get((key.pipeline, key.task)) if _is_zero_born(key) else first_moves.get(key)
        if first is not None:
            slots[key] = first - step
    return slots


def _is_zero_born(key: SeriesKey) -> bool:
    row = COUNTED_METRICS.get(key.metric)  # declared metrics are not zero-born
    return row is not None and key.detail in row.zero_born


def labels_of(family: Family, key: SeriesKey, target: Mapping[str, str]) -> str:
    """The labels of a series in OpenMetrics format; empty labels, which are the same as absent ones, are left out."""
    own = dict(zip(family.row.labels, family.row.label_values(key), strict=True))
    if family.part == "level":
        return as_labels({**own, **dict(key.labels), **target})
    kept = {name: own[name] for name in family.by or family.row.labels}
    return as_labels(kept | {WORKSPACE: target.get(WORKSPACE, "")})


def as_labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{bounded(value).translate(_ESCAPES)}"' for name, value in labels.items() if value)
