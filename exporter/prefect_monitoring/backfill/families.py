"""The families that have a past, and the series of them: from when on each is told, and under which labels."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from prefect_monitoring.model import counted_metrics
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.records import Pair

Measure = Literal["amount", "seen"]


@dataclass(frozen=True, slots=True)
class Family:
    """A family of samples: the ledger's metric, the name as exposed, what of it is told, as which OpenMetrics type.

    `detail` is the label that the key's detail is told as.
    """

    metric: str
    name: str
    measure: Measure = "amount"
    kind: Literal["counter", "unknown"] = "counter"
    detail: str = ""

    @property
    def title(self) -> str:
        """The name in the family's TYPE line."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name


# Each metric of ledger_history.RECORDED; the order is that of the files. Sums and counts are families of their own: as
# parts of a summary, OpenMetrics would want them by instant, and TSDB blocks want them by series.
FAMILIES: Final[tuple[Family, ...]] = (
    Family(counted_metrics.OUTCOMES, counted_metrics.OUTCOMES, detail="state"),
    Family(counted_metrics.DURATION, f"{counted_metrics.DURATION}_sum", "amount", "unknown"),
    Family(counted_metrics.DURATION, f"{counted_metrics.DURATION}_count", "seen", "unknown"),
    Family(counted_metrics.RETRIES, counted_metrics.RETRIES),
    Family(counted_metrics.TASK_OUTCOMES, counted_metrics.TASK_OUTCOMES, detail="state"),
    Family(counted_metrics.TASK_SECONDS, counted_metrics.TASK_SECONDS),
    Family(counted_metrics.TASK_RETRIES, counted_metrics.TASK_RETRIES),
    Family(counted_metrics.CUSTOM_OBSERVED, f"{counted_metrics.CUSTOM_OBSERVED}_sum", "amount", "unknown", "metric"),
    Family(counted_metrics.CUSTOM_OBSERVED, f"{counted_metrics.CUSTOM_OBSERVED}_count", "seen", "unknown", "metric"),
)
OWN_LABELS: Final = frozenset({"flow", "deployment", "task", *(one.detail for one in FAMILIES if one.detail)})
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def exposed(families: Iterable[Family], off: Collection[str]) -> tuple[Family, ...]:
    """The families without those that the setting `metrics_off` switches off: what is not live has no past either."""
    return tuple(one for one in families if not {one.metric, one.name} & set(off))


def births(series: Collection[SeriesKey], first_moves: Mapping[SeriesKey, int], step: int) -> dict[SeriesKey, int]:
    """At which slot each series begins, at zero: one before it moved, or before anything of its flow or task did.

    What never happened, where nothing else did either, has no past.
    """
    begun: dict[tuple[Pair, str], int] = {}
    for key, slot in first_moves.items():
        group = (key.pair, key.task)
        begun[group] = min(slot, begun.get(group, slot))
    found = {}
    for key in series:
        first = begun.get((key.pair, key.task)) if _is_zero_born(key) else first_moves.get(key)
        if first is not None:
            found[key] = first - step
    return found


def _is_zero_born(key: SeriesKey) -> bool:
    born = counted_metrics.task_births(key.pair, key.task) if key.task else counted_metrics.births(key.pair)
    return key in born


def labels_of(family: Family, key: SeriesKey, target: Mapping[str, str]) -> str:
    """The labels of a series as OpenMetrics writes them; an empty label is an absent one, and is left out."""
    told = {
        "flow": key.pair.flow,
        "deployment": key.pair.deployment,
        "task": key.task,
        **({family.detail: key.detail} if family.detail else {}),
        **dict(key.labels),
        **target,
    }
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in told.items() if value)
