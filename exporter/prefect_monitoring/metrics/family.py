"""A metric as data: name, type, help, labels and the function that gives its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from prometheus_client import Metric as ExposedFamily
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, UnknownMetricFamily
from prometheus_client.utils import floatToGoString

from prefect_monitoring.model.label_values import bounded_all
from prefect_monitoring.model.series import Series
from prefect_monitoring.snapshot.model import Snapshot

Kind = Literal["counter", "gauge", "histogram", "unknown"]
Row = tuple[tuple[str, ...], float | Series]
"""Label values in the order of the labels, and the value: a Series for a histogram, else a number."""


class DuplicateSeriesError(Exception):
    """Two rows of a metric have the same labels, of which Prometheus would silently keep one."""


@dataclass(frozen=True, slots=True)
class Metric:
    """`more_labels` are those that only the snapshot knows. Not `by_default`: shown when `metrics_on` names it."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    rows: Callable[[Snapshot], Iterable[Row]]
    bounds: Callable[[Snapshot], tuple[float, ...]] | None = None
    more_labels: Callable[[Snapshot], tuple[str, ...]] | None = None
    by_default: bool = True
    unit: str = ""

    def family(self, snapshot: Snapshot) -> ExposedFamily:
        """The metric's rows as prometheus_client exposes them. Raises DuplicateSeriesError."""
        names = (*self.labels, *(self.more_labels(snapshot) if self.more_labels else ()))
        rows: dict[tuple[str, ...], float | Series] = {}
        for whole, value in self.rows(snapshot):
            labels = bounded_all(whole)
            if labels in rows:
                raise DuplicateSeriesError(f"{self.name}{dict(zip(names, labels, strict=True))}")
            rows[labels] = value
        if self.kind == "histogram":
            return self._histogram(snapshot, names, rows)
        kinds: Mapping[str, type[CounterMetricFamily | GaugeMetricFamily | UnknownMetricFamily]] = {
            "counter": CounterMetricFamily,
            "gauge": GaugeMetricFamily,
            "unknown": UnknownMetricFamily,
        }
        family = kinds[self.kind](self.name, self.help, labels=names, unit=self.unit)
        for labels, value in rows.items():
            family.add_metric(labels, value)  # type: ignore[arg-type] # only histograms have Series for values
        return family

    def _histogram(
        self, snapshot: Snapshot, names: Sequence[str], rows: Mapping[tuple[str, ...], float | Series]
    ) -> ExposedFamily:
        family = HistogramMetricFamily(self.name, self.help, labels=names, unit=self.unit)
        limits = [as_text(limit) for limit in (self.bounds(snapshot) if self.bounds else ())] + ["+Inf"]
        for labels, series in rows.items():
            if isinstance(series, Series):
                buckets = list(zip(limits, accumulate(series.buckets), strict=True))
                family.add_metric(labels, buckets, series.value)
        return family


def as_text(value: float) -> str:
    """A number as the exposition writes it."""
    return str(floatToGoString(value))  # type: ignore[no-untyped-call] # untyped in prometheus_client
