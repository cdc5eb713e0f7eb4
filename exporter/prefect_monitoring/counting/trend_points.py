"""Counts the points of a trend store in the metric that is declared for it. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Final

from prefect_monitoring.analysis.metric_lines import fits_label
from prefect_monitoring.config.custom_metrics import CustomMetric
from prefect_monitoring.counting.custom_metrics import Admits, Values, count_declared
from prefect_monitoring.model.changes import Changes, LastValue, SeriesKey
from prefect_monitoring.model.counted_metrics import VALUES_REJECTED
from prefect_monitoring.model.metric_lines import Reason
from prefect_monitoring.model.records import NO_FLOW
from prefect_monitoring.model.trend_points import instant
from prefect_monitoring.model.units import DAY

MAX_POINTS: Final = 20_000
_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """A value of a point. `id`: 32 hex digits, the same at each reading. `fault`: why it cannot be counted."""

    id: str
    at: float
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    fault: Reason | None = None


def points_in(metric: CustomMetric, stored: Iterable[Any]) -> list[Any] | None:
    """The points in a store's values; None where the declared place has no list."""
    lists = [_list_in(value, metric.source.points) for value in stored]
    found = [points for points in lists if points is not None]
    return [point for points in found for point in points] if found or not lists else None


def _list_in(value: Any, key: str) -> list[Any] | None:
    if isinstance(value, str):  # older Variables were text only, and JSON is still often written as text
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if isinstance(value, Mapping):
        value = value.get(key)
    return value if isinstance(value, list) else None


def read_points(metric: CustomMetric, points: Iterable[Any], now: float) -> list[TrendPoint]:
    """The values of `points` for this metric, each once, the oldest first; at most the newest `MAX_POINTS`.

    Points with the same `id` are one point. Points without an id are identified by instant, value and labels; equal
    ones each count.
    """
    equal: Counter[str] = Counter()
    found: dict[str, TrendPoint] = {}
    for raw in points:
        if isinstance(raw, Mapping) and raw.get(metric.source.field) is None:
            continue  # not measured
        point = _point(metric, raw, now)
        if point.fault or not _has_id(raw):
            equal[point.id] += 1
            point = replace(point, id=_digest(point.id, equal[point.id]))
        found.setdefault(point.id, point)
    return sorted(found.values(), key=attrgetter("at"))[-MAX_POINTS:]


def _point(metric: CustomMetric, raw: Any, now: float) -> TrendPoint:
    """A faulty point is identified by its whole content, so that it counts once it is corrected."""
    source = metric.source
    try:
        at = instant({"timestamp": raw[source.timestamp]})
        value = raw[source.field]
        given = [(label, raw.get(label)) for label in metric.labels or ()]
        labels = tuple(sorted((label, _text(text)) for label, text in given if text is not None and text != ""))
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return TrendPoint(_digest(raw), 0.0, 0.0, fault=Reason.MALFORMED)
    if fault := _fault(at, value, labels, now):
        return TrendPoint(_digest(raw), 0.0, 0.0, fault=fault)
    identity = _digest("id", raw["id"]) if _has_id(raw) else _digest(at, float(value), labels)
    return TrendPoint(identity, at, float(value), labels)


def _fault(at: float, value: object, labels: Iterable[tuple[str, str]], now: float) -> Reason | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(at) or at > now + DAY:  # such as milliseconds
        return Reason.MALFORMED
    if not _is_finite(value):
        return Reason.NON_FINITE
    return None if all(fits_label(text) for _, text in labels) else Reason.LABEL


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond what a float holds
        return False


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise TypeError("a label is text or a whole number")
    return str(value)


def _has_id(raw: Any) -> bool:
    return isinstance(raw, Mapping) and isinstance(raw.get("id"), (str, int))


def _digest(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def fold_points(
    metric: CustomMetric, points: Sequence[TrendPoint], known: Collection[str], values: Values, admits: Admits
) -> Changes:
    """The changes from those of `points` whose ids are not `known`."""
    changes = Changes(zero_born={SeriesKey(VALUES_REJECTED, NO_FLOW, reason) for reason in Reason})
    for point in points:
        if point.id in known:
            continue
        changes.points.add((metric.name, point.id))
        key = SeriesKey(metric.name, NO_FLOW, labels=point.labels)
        fault = point.fault or count_declared(changes, metric, key, LastValue(point.value, point.at), values, admits)
        if fault:
            changes.count(SeriesKey(VALUES_REJECTED, NO_FLOW, fault), point.at)
    return changes
