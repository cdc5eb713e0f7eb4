"""The names under which a run is counted: ids become pipelines, within filters and label caps. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from prefect_monitoring.config.custom_metrics import CustomMetric
from prefect_monitoring.config.settings import FilterSettings, LabelSettings
from prefect_monitoring.counting.filters import Filters
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, CUSTOM_OBSERVED, zero_born_series
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import DELETED, NO_FLOW, OTHER, OVERFLOW, Deployment, Flow, FlowRun, Pipeline

# The key of such a series has no pipeline.
_NOT_BY_PIPELINE: Final = frozenset(name for name, row in COUNTED_METRICS.items() if not row.is_by_pipeline)


class Catalog:
    """Admits pipelines, their tasks and custom metrics up to their caps; anything beyond is counted together.

    `admitted`: the keys of existing series and last values. Each of the `declared` metrics has its own cap.
    """

    def __init__(
        self,
        filters: FilterSettings,
        labels: LabelSettings,
        admitted: Iterable[SeriesKey],
        declared: Iterable[CustomMetric] = (),
    ) -> None:
        self._filters = Filters(filters)
        self._labels = labels
        self._admitted: set[Pipeline] = set()
        self._tasks: defaultdict[Pipeline, set[str]] = defaultdict(set)
        self._custom: defaultdict[Pipeline, set[SeriesKey]] = defaultdict(set)
        self._caps = {metric.name: metric.max_series for metric in declared}
        self._declared: defaultdict[str, set[SeriesKey]] = defaultdict(set)
        for key in admitted:
            self._remember(key)

    def _remember(self, key: SeriesKey) -> None:
        if key.metric in self._caps:
            self._declared[key.metric].add(key)
            return
        if key.pipeline == OVERFLOW or key.metric in _NOT_BY_PIPELINE:
            return
        self._admitted.add(key.pipeline)
        if key.metric == CUSTOM_OBSERVED:
            self._custom[key.pipeline].add(key)
        elif key.task not in {"", OTHER}:
            self._tasks[key.pipeline].add(key.task)

    def pipeline_of(self, names: Names, run: FlowRun) -> Pipeline | None:
        """The pipeline a run is counted under; None when the filters exclude it."""
        deployment = names.deployments.get(run.deployment_id) if run.deployment_id else None
        pipeline = names.pipeline_of(run.flow_id, run.deployment_id)
        tags = {*run.tags, *(deployment.tags if deployment else ())}
        return self._admit(pipeline) if self._filters.allow(pipeline, tags, run.work_pool) else None

    def pipeline_of_unreadable(self, flow: Flow, deployment: Deployment | None) -> Pipeline | None:
        """The pipeline of a run with only flow and deployment known; None when the filters exclude it."""
        pipeline = Pipeline(flow.name, deployment.name if deployment else "")
        tags, work_pool = (deployment.tags, deployment.work_pool) if deployment else ((), "")
        return self._admit(pipeline) if self._filters.allow(pipeline, tags, work_pool) else None

    def pipeline_outside_flows(self) -> Pipeline | None:
        """The pipeline of task runs outside flows; None when the filters exclude it."""
        return self._admit(NO_FLOW) if self._filters.allow(NO_FLOW, (), "") else None

    def pipeline_of_deleted(self) -> Pipeline | None:
        """The pipeline of records whose flow run is gone; None when the filters exclude it."""
        gone = Pipeline(DELETED, "")
        return self._admit(gone) if self._filters.allow(gone, (), "") else None

    def task_of(self, pipeline: Pipeline, task: str) -> str:
        """The name under which a task of `pipeline` is counted."""
        tasks = self._tasks[pipeline]
        if pipeline == OVERFLOW or (task not in tasks and len(tasks) >= self._labels.max_tasks):
            return OTHER
        tasks.add(task)
        return task

    def admits_custom(self, key: SeriesKey) -> bool:
        """Whether there is room for this series of a custom metric, declared or not."""
        cap = self._caps.get(key.metric)
        series = self._custom[key.pipeline] if cap is None else self._declared[key.metric]
        limit = self._labels.max_custom_metrics if cap is None else cap
        if key not in series and (key.pipeline == OVERFLOW or len(series) >= limit):
            return False
        series.add(key)
        return True

    def zero_born_series(self, names: Names) -> set[SeriesKey]:
        """The zero-born series of each deployment, and of each flow without deployments."""
        zero_born: set[SeriesKey] = set()
        with_deployment = set()
        for pipeline, deployment in names.live_deployments():
            with_deployment.add(pipeline.flow)
            if self._filters.allow(pipeline, deployment.tags, deployment.work_pool):
                zero_born.update(zero_born_series(self._admit(pipeline)))
        for flow in names.live_flows():
            pipeline = Pipeline(flow.name, "")
            if flow.name not in with_deployment and self._filters.allow(pipeline, (), ""):
                zero_born.update(zero_born_series(self._admit(pipeline)))
        return zero_born

    def live_deployments(self, names: Names) -> dict[Pipeline, Deployment]:
        """The deployments that exist and are not excluded; of two with the same name, one is about to be found gone."""
        return {
            pipeline: deployment
            for pipeline, deployment in names.live_deployments()
            if self._filters.allow(pipeline, deployment.tags, deployment.work_pool) and pipeline in self._admitted
        }

    def live_pipelines(self, names: Names) -> set[Pipeline]:
        """The pipelines that exist and are not excluded: their gauges are shown, and their series do not expire."""
        flows = {Pipeline(flow.name, "") for flow in names.live_flows()}
        return self.live_deployments(names).keys() | {
            pipeline for pipeline in flows if self._filters.allow_flow(pipeline.flow)
        }

    def keep(self, keys: Iterable[SeriesKey]) -> None:
        """Makes room: keeps only what `keys` still need."""
        self._admitted.clear()
        self._tasks.clear()
        self._custom.clear()
        self._declared.clear()
        for key in keys:
            self._remember(key)

    def _admit(self, pipeline: Pipeline) -> Pipeline:
        if pipeline not in self._admitted and len(self._admitted) >= self._labels.max_pairs:
            return OVERFLOW
        self._admitted.add(pipeline)
        return pipeline
