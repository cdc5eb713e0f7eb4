"""A ledger's state in memory, as last committed; it can be read without a transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

from prefect_monitoring.ledger.backfill_journal import Plan
from prefect_monitoring.model.changes import Changes, LastValue, Schedule, SeriesKey
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, CountedMetric
from prefect_monitoring.model.cursor import FLOW_RUNS, Cursor
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import OTHER, OVERFLOW, Pipeline
from prefect_monitoring.model.series import Bounds, Series
from prefect_monitoring.model.unreadable import Unreadable

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What pruning deleted, and the new `cursors`; `names` are ids of flows and deployments."""

    cursors: Mapping[str, Cursor]
    series: Collection[SeriesKey]
    values: Collection[SeriesKey]
    schedules: Collection[str]
    pipelines: Collection[Pipeline]
    names: Collection[str]
    unreadable: Collection[tuple[str, str]]


@dataclass(eq=False, repr=False)
class State:
    """`metrics` are the metrics it keeps, including declared ones.

    `schedules` are by deployment id, `unreadable` by cursor and id; `pipelines_file` is the last good one's text.

    `in_birth_hold`: the series that are still shown as 0. `folded`: what was counted under an overflow, by metric.
    `touched` collects the pipelines whose run statistics may have changed; `fault` is why the last commit failed.
    `plan` is that of a backfill, until the ledger serves. `pipeline_ids`: the numbers of pipelines in the ledger's
    rows.
    """

    bounds: Bounds
    metrics: Mapping[str, CountedMetric] = field(default_factory=lambda: COUNTED_METRICS)
    created_at: float = 0.0
    cursors: dict[str, Cursor] = field(default_factory=dict)
    names: Names = field(default_factory=lambda: Names({}, {}, frozenset()))
    series: dict[SeriesKey, Series] = field(default_factory=dict)
    values: dict[SeriesKey, LastValue] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    unreadable: dict[tuple[str, str], Unreadable] = field(default_factory=dict)
    pipelines_file: str | None = None
    plan: Plan | None = None
    in_birth_hold: set[SeriesKey] = field(default_factory=set)
    folded: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    touched: set[Pipeline] = field(default_factory=set)
    fault: str = ""
    pipeline_ids: dict[Pipeline, int] = field(default_factory=dict)
    pipelines_by_id: dict[int, Pipeline] = field(default_factory=dict)

    @property
    def cursor(self) -> Cursor:
        """How far finished flow runs are read."""
        return self.cursors[FLOW_RUNS]

    @property
    def keys(self) -> Iterator[SeriesKey]:
        """The keys of all series and last values."""
        return chain(self.series, self.values)

    @property
    def recorded(self) -> frozenset[str]:
        """The metrics that a backfill records."""
        return frozenset(name for name, row in self.metrics.items() if row.backfilled)

    @property
    def pipelines(self) -> Collection[Pipeline]:
        """Every pipeline with runs or rollups."""
        return self.pipeline_ids.keys()

    def remember_series(self, moved: Mapping[SeriesKey, Series]) -> None:
        self.series.update(moved)
        self.in_birth_hold |= {key for key, one in moved.items() if not one.released}
        self.in_birth_hold -= {key for key, one in moved.items() if one.released}

    def remember_pipelines(self, ids: Mapping[Pipeline, int]) -> None:
        self.pipeline_ids.update(ids)
        self.pipelines_by_id.update({number: pipeline for pipeline, number in ids.items()})

    def forget(self, forgotten: Forgotten) -> None:
        self.cursors = dict(forgotten.cursors)
        self.names = self.names.forgetting(forgotten.names)
        self.in_birth_hold.difference_update(forgotten.series)
        self.touched.difference_update(forgotten.pipelines)
        _drop(self.series, forgotten.series)
        _drop(self.values, forgotten.values)
        _drop(self.schedules, forgotten.schedules)
        _drop(self.unreadable, forgotten.unreadable)
        for pipeline in forgotten.pipelines:
            del self.pipelines_by_id[self.pipeline_ids.pop(pipeline)]

    def count_folded(self, changes: Changes) -> None:
        for key, count in changes.increments.items():
            if _is_folded(key):
                self.folded[key.metric] += count
        for key, seen in changes.observations.items():
            if _is_folded(key):
                self.folded[key.metric] += len(seen)


def _is_folded(key: SeriesKey) -> bool:
    return key.pipeline == OVERFLOW or OTHER in {key.task, key.detail}


def _drop(keyed: dict[Key, Any], keys: Iterable[Key]) -> None:
    for key in keys:
        keyed.pop(key, None)
