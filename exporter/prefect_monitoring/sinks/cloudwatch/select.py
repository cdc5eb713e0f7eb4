"""Selects the changes and gauges to push to CloudWatch, as the ledger keeps them until then. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from prefect_monitoring.config.settings import CloudWatchSettings
from prefect_monitoring.model.changes import Changes
from prefect_monitoring.model.counted_metrics import CUSTOM_OBSERVED, FAILURES, OUTCOMES
from prefect_monitoring.model.pushed_metrics import PushedName
from prefect_monitoring.model.records import NO_FLOW, OVERFLOW, Pipeline
from prefect_monitoring.sinks.cloudwatch.metrics import PREFECT_UP, PUSHED_METRICS
from prefect_monitoring.snapshot.model import Snapshot

Item = list[Any]
"""Metric, flow, deployment, and a [value, count] for each value: the content of a row of the outbox."""

_COMPLETED: Final = "RunsCompleted"
_FAILED: Final = "RunsFailed"
_CANCELLED: Final = "RunsCancelled"
_OBSERVED: Final[Mapping[str, str]] = {row.observed: row.name for row in PUSHED_METRICS.values() if row.observed}


@dataclass(slots=True)
class Selection:
    """The pipelines and metrics that the options choose.

    `custom`: the admitted custom metrics by pipeline: first come, first served, also after a restart.
    `left_out`: those that were requested but did not fit.
    """

    settings: CloudWatchSettings
    custom: dict[Pipeline, set[str]] = field(default_factory=dict)
    left_out: set[tuple[Pipeline, str]] = field(default_factory=set)
    _pipelines: re.Pattern[str] = field(init=False)
    _custom_names: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        self._pipelines = _any_of(self.settings.cloudwatch_pipelines)
        self._custom_names = _any_of(self.settings.cloudwatch_custom_metrics)

    @property
    def metrics(self) -> tuple[PushedName, ...]:
        """The metrics of each pipeline, without custom ones."""
        return self.settings.cloudwatch_metrics[: self.settings.cloudwatch_max_metrics]

    def has(self, pipeline: Pipeline) -> bool:
        return pipeline not in {NO_FLOW, OVERFLOW} and bool(self._pipelines.fullmatch("/".join(pipeline)))

    def changes(self, changes: Changes) -> list[Item]:
        """The items of a change: outcomes and observed values."""
        values: defaultdict[tuple[str, Pipeline], Counter[float]] = defaultdict(Counter)
        for (name, pipeline), count in _outcomes(changes).items():
            if count > 0 and name in self.metrics and self.has(pipeline):
                values[name, pipeline][1.0] += int(count)
        for key, observed in changes.observations.items():
            if not self.has(key.pipeline):
                continue
            if key.metric == CUSTOM_OBSERVED and self._admits(key.pipeline, key.detail):
                values[key.detail, key.pipeline].update(observed)
            elif (name := _OBSERVED.get(key.metric, "")) in self.metrics:
                values[name, key.pipeline].update(observed)
        return [_item(name, pipeline, counted) for (name, pipeline), counted in values.items()]

    def gauges(self, snapshot: Snapshot) -> list[Item]:
        """The items of a minute: the gauges of each pipeline, and whether Prefect answers."""
        chosen = [PUSHED_METRICS[name] for name in self.metrics]
        items = [
            _item(metric.name, pipeline, {value: 1})
            for pipeline, stats in snapshot.run_stats.items()
            if self.has(pipeline)
            for metric in chosen
            if metric.gauge is not None
            and (value := metric.gauge(stats, snapshot.policies.get(pipeline), snapshot.taken_at)) is not None
        ]
        if snapshot.about.api_up is not None:
            items.append(_item(PREFECT_UP, NO_FLOW, {float(snapshot.about.api_up): 1}))
        return items

    def _admits(self, pipeline: Pipeline, name: str) -> bool:
        """Whether a custom metric is requested and the pipeline has room for it."""
        if not self._custom_names.fullmatch(name) or name in PUSHED_METRICS:
            return False
        admitted = self.custom.setdefault(pipeline, set())
        if name not in admitted and len(self.metrics) + len(admitted) >= self.settings.cloudwatch_max_metrics:
            self.left_out.add((pipeline, name))
            return False
        admitted.add(name)
        return True


def _outcomes(changes: Changes) -> Mapping[tuple[str, Pipeline], float]:
    """Outcomes by result, by the types of their states: a failed state may have any name, and is counted by cause."""
    counted: Counter[tuple[str, Pipeline]] = Counter()
    for key, count in changes.increments.items():
        if key.metric == FAILURES:
            counted[_FAILED, key.pipeline] += int(count)
            counted[_COMPLETED, key.pipeline] -= int(count)
        elif key.metric == OUTCOMES:
            counted[_CANCELLED if key.detail == "cancelled" else _COMPLETED, key.pipeline] += int(count)
    return counted


def _item(name: str, pipeline: Pipeline, counted: Mapping[float, int]) -> Item:
    return [name, *pipeline, *([value, count] for value, count in counted.items())]


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    """Matches what any of the patterns matches; without patterns, nothing."""
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or r"(?!)", re.DOTALL)


def custom_to_keep(custom: Mapping[Pipeline, set[str]]) -> list[list[str]]:
    """The admitted custom metrics as the ledger keeps them."""
    return sorted([*pipeline, *sorted(names)] for pipeline, names in custom.items())


def custom_kept(rows: Iterable[list[str]]) -> Iterator[tuple[Pipeline, set[str]]]:
    """The reverse of `custom_to_keep`."""
    return ((Pipeline(flow, deployment), set(names)) for flow, deployment, *names in rows)
