"""Counts observations in the metrics that are declared for them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from prefect_monitoring.analysis.metric_lines import Observation
from prefect_monitoring.config.custom_metrics import CustomMetric
from prefect_monitoring.model.changes import Changes, LastValue, SeriesKey
from prefect_monitoring.model.counted_metrics import CUSTOM_OBSERVED, CUSTOM_VALUE
from prefect_monitoring.model.metric_lines import Reason
from prefect_monitoring.model.records import Pipeline

Values = Callable[[SeriesKey], LastValue | None]
"""Gives the last value of a series in the ledger."""
Admits = Callable[[SeriesKey], bool]
"""Whether there is room for a series."""
Declarations = Mapping[str, Sequence[CustomMetric]]
"""The metrics that are declared for a name in METRIC lines, or in the metadata of assets."""


def declarations_of(metrics: Iterable[CustomMetric], cursor: str) -> Declarations:
    """Those of `metrics` that are made from named values that are read with this cursor."""
    by_name: defaultdict[str, list[CustomMetric]] = defaultdict(list)
    for metric in metrics:
        if metric.cursor == cursor:
            by_name[metric.reported_name].append(metric)
    return dict(by_name)


def key_of(metric: CustomMetric, pipeline: Pipeline, task: str, labels: Iterable[tuple[str, str]]) -> SeriesKey:
    """The series of an observation, with the labels that the declaration keeps."""

    def keeps(label: str) -> bool:
        return metric.labels is None or label in metric.labels

    return SeriesKey(
        metric.name,
        Pipeline(pipeline.flow if keeps("flow") else "", pipeline.deployment if keeps("deployment") else ""),
        task=task if keeps("task") else "",
        labels=tuple(label for label in labels if keeps(label[0])),
    )


def count_observation(
    changes: Changes,
    observation: Observation,
    pipeline: Pipeline,
    task: str,
    at: float,
    declared: Sequence[CustomMetric],
    values: Values,
    admits: Admits,
) -> list[Reason]:
    """Adds a value to the generic metrics and to those declared for it; returns the reasons of rejections."""
    last = LastValue(observation.value, at)
    rejected: set[Reason | None] = set()
    if all(metric.keep_generic for metric in declared):
        observed = SeriesKey(CUSTOM_OBSERVED, pipeline, observation.name, task, observation.labels)
        rejected.add(_count_generic(changes, observed, last, values, admits))
    for metric in declared:
        if metric.enabled:
            key = key_of(metric, pipeline, task, observation.labels)
            rejected.add(count_declared(changes, metric, key, last, values, admits))
    return [reason for reason in Reason if reason in rejected]


def _count_generic(
    changes: Changes, observed: SeriesKey, last: LastValue, values: Values, admits: Admits
) -> Reason | None:
    if not admits(observed):
        return Reason.TOO_MANY
    changes.observe(observed, last.at, last.value)
    replace_last(changes, observed._replace(metric=CUSTOM_VALUE), last, values)
    return None


def count_declared(
    changes: Changes,
    metric: CustomMetric,
    key: SeriesKey,
    last: LastValue,
    values: Values,
    admits: Admits,
) -> Reason | None:
    """Adds an observation to a declared metric; returns why it was rejected, or None."""
    if metric.type != "gauge" and last.value < 0:
        return Reason.NEGATIVE
    if not admits(key):
        return Reason.TOO_MANY
    match metric.type:
        case "gauge":
            replace_last(changes, key, last, values)
        case "counter":
            changes.count(key, last.at, last.value)
        case "histogram":
            changes.observe(key, last.at, last.value)
    return None


def replace_last(changes: Changes, key: SeriesKey, last: LastValue, values: Values) -> None:
    """Replaces the last value, unless it is from a later instant: records may arrive late."""
    before = changes.values.get(key) or values(key)
    if before is None or before.at <= last.at:
        changes.values[key] = last
