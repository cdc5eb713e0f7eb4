"""The families that have a past, and the series of them: from when on each is told, and under which labels."""

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
    """A family of samples: the ledger's metric, the name as exposed, what of it is written, and as which type."""

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
    """None for what has no past. Sums and counts are families of their own.

    As parts of a summary, OpenMetrics would want them by instant, and TSDB blocks want them by series.
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
    """The families without those that the setting `metrics_off` switches off: what is not live has no past either."""
    return tuple(one for one in families if not {one.metric, one.name} & set(off))


def first_slots(series: Collection[SeriesKey], first_moves: Mapping[SeriesKey, int], step: int) -> dict[SeriesKey, int]:
    """At which slot each series begins, at zero: one before it moved, or before anything of its flow or task did.

    What never happened, where nothing else did either, has no past.
    """
    begun: dict[tuple[Pipeline, str], int] = {}
    for key, slot in first_moves.items():
        group = (key.pipeline, key.task)
        begun[group] = min(slot, begun.get(group, slot))
    found = {}
    for key in series:
        first = begun.get((key.pipeline, key.task)) if _is_zero_born(key) else first_moves.get(key)
        if first is not None:
            found[key] = first - step
    return found


def _is_zero_born(key: SeriesKey) -> bool:
    row = COUNTED_METRICS.get(key.metric)  # what users declare is not zero-born
    return row is not None and key.detail in row.zero_born


def labels_of(family: Family, key: SeriesKey, target: Mapping[str, str]) -> str:
    """The labels of a series as OpenMetrics writes them; an empty label is an absent one, and is left out."""
    values = family.row.label_values(key)
    labels = {**dict(zip(family.labels, values, strict=True)), **dict(key.labels), **target}
    return ",".join(f'{name}="{bounded(value).translate(_ESCAPES)}"' for name, value in labels.items() if value)
