"""The metric families that are backfilled, and the first slots and labels of their series."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, CountedMetric
from prefect_monitoring.model.label_values import bounded
from prefect_monitoring.model.records import Pipeline

Measure = Literal["amount", "seen"]


@dataclass(frozen=True, slots=True)
class Family:
    """A family of samples: the ledger's metric, the exposed name, the measure to write, and the type."""

    row: CountedMetric
    name: str
    measure: Measure = "amount"
    kind: Literal["counter", "unknown"] = "counter"

    @property
    def metric(self) -> str:
        return self.row.name

    @property
    def labels(self) -> tuple[str, ...]:
        return self.row.labels

    @property
    def title(self) -> str:
        """The name in the family's TYPE line."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name


def _families_of(row: CountedMetric) -> tuple[Family, ...]:
    """The families of a metric; empty if it is not backfilled. Sums and counts are separate families.

    In a summary, OpenMetrics would require them by instant, but TSDB blocks need them by series.
    """
    if not row.backfilled:
        return ()
    if not row.is_observed:
        return (Family(row, row.name),)
    return (
        Family(row, f"{row.name}_sum", "amount", "unknown"),
        Family(row, f"{row.name}_count", "seen", "unknown"),
    )


def families_of(rows: Iterable[CountedMetric]) -> tuple[Family, ...]:
    return tuple(family for row in rows for family in _families_of(row))


FAMILIES: Final = families_of(COUNTED_METRICS.values())
OWN_LABELS: Final = frozenset(label for family in FAMILIES for label in family.labels)
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def exposed(families: Iterable[Family], off: Collection[str]) -> tuple[Family, ...]:
    """The families without those that the setting `metrics_off` switches off, which are not live either."""
    return tuple(one for one in families if not {one.metric, one.name} & set(off))


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
    values = family.row.label_values(key)
    labels = {**dict(zip(family.labels, values, strict=True)), **dict(key.labels), **target}
    return ",".join(f'{name}="{bounded(value).translate(_ESCAPES)}"' for name, value in labels.items() if value)
