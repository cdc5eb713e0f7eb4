"""The metrics that the ledger keeps: one row for each, which counting, ledger, snapshot, backfill and metrics read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Literal

from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.cursor import ASSET_EVENTS, AUTOMATION_EVENTS, FLOW_RUNS, LOG_LINES, TASK_RUNS
from prefect_monitoring.model.metric_lines import Reason
from prefect_monitoring.model.records import NO_FLOW, Pipeline
from prefect_monitoring.model.series import Bounds

Kind = Literal["counter", "histogram", "summary", "last_value"]

OUTCOMES: Final = "prefect_flow_run_outcomes_total"
DURATION: Final = "prefect_flow_run_duration_seconds"
START_DELAY: Final = "prefect_flow_run_start_delay_seconds"
RETRIES: Final = "prefect_flow_run_retries_total"
FAILURES: Final = "prefect_flow_run_failures_total"
TASK_OUTCOMES: Final = "prefect_task_run_outcomes_total"
TASK_SECONDS: Final = "prefect_task_run_seconds_total"
TASK_RETRIES: Final = "prefect_task_run_retries_total"
TASK_FAILURES: Final = "prefect_task_run_failures_total"
TASK_DURATION: Final = "prefect_task_run_duration_seconds"
CUSTOM_OBSERVED: Final = "prefect_custom_metric_observed"
CUSTOM_VALUE: Final = "prefect_custom_metric_value"
REJECTED: Final = "prefect_exporter_metric_lines_rejected_total"
LAST_MATERIALIZATION: Final = "prefect_asset_last_materialization_timestamp_seconds"
VALUES_REJECTED: Final = "prefect_exporter_custom_values_rejected_total"
FAILED_ACTIONS: Final = "prefect_automation_actions_failed_total"
ACTIONS: Final = "prefect_exporter_actions_total"

_DURATION_BUCKETS: Final = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400)
_WITHOUT_DETAIL: Final = ("",)


@dataclass(frozen=True, slots=True)
class CountedMetric:
    """What is kept under a name, and what it is counted from.

    `kind`: a summary is a sum and a count, a last value is replaced rather than added to.
    `sources`: the cursors that it is counted from; it is shown once the baseline of all of them is complete.
    `labels`: as exposed, in this order; `flow`, `deployment` and `task` are the key's, `action` and `result` are among
    its labels, any other is the key's detail.
    A metric without `deployment` is not kept by pipeline.
    `buckets`: upper bounds in seconds, ascending, without +Inf; `buckets_option` is the option that replaces them.
    `zero_born`: the details that are exposed at zero from the moment the pipeline or task is known.
    `backfilled`: whether a backfill records and writes its past.
    `by_day`: whether the ledger also keeps what it grew by on each day.
    `increases`: whether prometheus/rules/increases.yml records what it grew by, and a backfill what it grew by before.
    `summed_by`: the labels of a second record of its increases, where dashboards read the sum of many series.
    `by_default`: else it is kept and exposed only when `metrics_on` names it.
    """

    name: str
    kind: Kind
    sources: tuple[str, ...]
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()
    buckets_option: str = ""
    zero_born: tuple[str, ...] = ()
    backfilled: bool = False
    by_day: bool = False
    increases: bool = False
    summed_by: tuple[str, ...] = ()
    by_default: bool = True

    @property
    def families(self) -> tuple[str, ...]:
        """The names under which it is exposed."""
        return (f"{self.name}_sum", f"{self.name}_count") if self.kind == "summary" else (self.name,)

    @property
    def counters(self) -> tuple[str, ...]:
        """The names of its samples that count, without buckets."""
        return (f"{self.name}_sum", f"{self.name}_count") if self.is_observed else (self.name,)

    def recorded(self, name: str, what: Literal["increase", "last"], by: tuple[str, ...] = ()) -> str:
        """The name of the series that is recorded for one of its counters."""
        return f"{'_'.join(by or self.labels)}:{name.removesuffix('_total')}:{what}"

    @property
    def is_by_pipeline(self) -> bool:
        return "deployment" in self.labels

    @property
    def is_observed(self) -> bool:
        """Whether single values are added to it, rather than amounts."""
        return self.kind in {"histogram", "summary"}

    @property
    def label_values(self) -> Callable[[SeriesKey], tuple[str, ...]]:
        """Gives the label values of a series, in the order of `labels`."""
        parts = [_KEY_PARTS.get(label, _DETAIL) for label in self.labels]
        return lambda key: tuple([part(key) for part in parts])


_KEY_PARTS: Final[Mapping[str, Callable[[SeriesKey], str]]] = {
    "flow": attrgetter("pipeline.flow"),
    "deployment": attrgetter("pipeline.deployment"),
    "task": attrgetter("task"),
    "action": lambda key: dict(key.labels)["action"],
    "result": lambda key: dict(key.labels)["result"],
}
_DETAIL: Final[Callable[[SeriesKey], str]] = attrgetter("detail")

# Backfilled histograms have no buckets, which would be fifteen times the data. Causes are patterns that change, so they
# are not backfilled.
_ROWS: Final = (
    CountedMetric(
        OUTCOMES,
        kind="counter",
        sources=(FLOW_RUNS,),
        labels=("flow", "deployment", "state"),
        zero_born=("completed", "failed", "crashed"),
        backfilled=True,
        increases=True,
    ),
    CountedMetric(
        DURATION,
        kind="histogram",
        sources=(FLOW_RUNS,),
        labels=("flow", "deployment"),
        buckets=_DURATION_BUCKETS,
        buckets_option="duration_buckets",
        zero_born=_WITHOUT_DETAIL,
        backfilled=True,
        increases=True,
    ),
    CountedMetric(
        START_DELAY,
        kind="histogram",
        sources=(FLOW_RUNS,),
        labels=("flow", "deployment"),
        buckets=(1, 5, 15, 60, 300, 900, 3600),
        buckets_option="start_delay_buckets",
        zero_born=_WITHOUT_DETAIL,
    ),
    CountedMetric(
        RETRIES,
        kind="counter",
        sources=(FLOW_RUNS,),
        labels=("flow", "deployment"),
        zero_born=_WITHOUT_DETAIL,
        backfilled=True,
        increases=True,
    ),
    CountedMetric(
        FAILURES,
        kind="counter",
        sources=(FLOW_RUNS,),
        labels=("flow", "deployment", "cause"),
    ),
    CountedMetric(
        TASK_OUTCOMES,
        kind="counter",
        sources=(TASK_RUNS,),
        labels=("flow", "deployment", "task", "state"),
        zero_born=("completed", "failed"),
        backfilled=True,
        increases=True,
        summed_by=("flow", "deployment", "state"),
    ),
    CountedMetric(
        TASK_SECONDS,
        kind="counter",
        sources=(TASK_RUNS,),
        labels=("flow", "deployment", "task"),
        zero_born=_WITHOUT_DETAIL,
        backfilled=True,
        by_day=True,
        increases=True,
        summed_by=("flow", "deployment"),
    ),
    CountedMetric(
        TASK_RETRIES,
        kind="counter",
        sources=(TASK_RUNS,),
        labels=("flow", "deployment", "task"),
        zero_born=_WITHOUT_DETAIL,
        backfilled=True,
        by_day=True,
        increases=True,
    ),
    # A failed attempt that a task's retry saved leaves no state, only a log line.
    CountedMetric(
        TASK_FAILURES,
        kind="counter",
        sources=(TASK_RUNS, LOG_LINES),
        labels=("flow", "deployment", "task", "cause"),
        by_day=True,
    ),
    # Over all deployments of a flow: buckets for each deployment would be too many series.
    CountedMetric(
        TASK_DURATION,
        kind="histogram",
        sources=(TASK_RUNS,),
        labels=("flow", "task"),
        buckets=_DURATION_BUCKETS,
        buckets_option="duration_buckets",
        by_default=False,
    ),
    CountedMetric(
        CUSTOM_OBSERVED,
        kind="summary",
        sources=(LOG_LINES,),
        labels=("flow", "deployment", "task", "metric"),
        backfilled=True,
        by_day=True,
        increases=True,
    ),
    CountedMetric(
        CUSTOM_VALUE,
        kind="last_value",
        sources=(LOG_LINES,),
        labels=("flow", "deployment", "task", "metric"),
    ),
    CountedMetric(
        REJECTED,
        kind="counter",
        sources=(LOG_LINES,),
        labels=("reason",),
        zero_born=tuple(Reason),
    ),
    CountedMetric(
        LAST_MATERIALIZATION,
        kind="last_value",
        sources=(ASSET_EVENTS,),
        labels=("asset", "result"),
    ),
    # For declared sources other than METRIC lines, whose readers create the series at zero.
    CountedMetric(
        VALUES_REJECTED,
        kind="counter",
        sources=(),
        labels=("reason",),
    ),
    # Its reader creates a series at zero for each automation that exists.
    CountedMetric(
        FAILED_ACTIONS,
        kind="counter",
        sources=(AUTOMATION_EVENTS,),
        labels=("automation",),
        by_day=True,
    ),
    # Zero-valued only where a rule covers the pipeline: model/actions.py.
    CountedMetric(
        ACTIONS,
        kind="counter",
        sources=(FLOW_RUNS,),
        labels=("action", "result", "flow", "deployment"),
        increases=True,
    ),
)
COUNTED_METRICS: Final[Mapping[str, CountedMetric]] = {row.name: row for row in _ROWS}

BY_DAY: Final = frozenset(row.name for row in _ROWS if row.by_day)


def bounds_of(on: Collection[str] = (), chosen: Callable[[str], tuple[float, ...]] | None = None) -> Bounds:
    """The bounds of every histogram and summary that is kept, with the metrics that `on` names.

    `chosen` gives the bounds that an option sets; without it, they are the defaults.
    """
    return {
        row.name: chosen(row.buckets_option) if chosen and row.buckets_option else row.buckets
        for row in _ROWS
        if row.is_observed and (row.by_default or row.name in on)
    }


DEFAULT_BOUNDS: Final[Bounds] = bounds_of()


def _zero_born(*, by_pipeline: bool, by_task: bool) -> tuple[tuple[str, str], ...]:
    """Metric and detail of the zero-born series of metrics with these labels."""
    return tuple(
        (row.name, detail)
        for row in _ROWS
        if row.is_by_pipeline is by_pipeline and ("task" in row.labels) is by_task
        for detail in row.zero_born
    )


# Computed once: every run that is read asks for them.
_OF_PIPELINES: Final = _zero_born(by_pipeline=True, by_task=False)
_OF_TASKS: Final = _zero_born(by_pipeline=True, by_task=True)
_OF_NO_PIPELINE: Final = _zero_born(by_pipeline=False, by_task=False)


def zero_born_series(pipeline: Pipeline) -> Iterable[SeriesKey]:
    """The series that exist as soon as a pipeline is known, before its first run."""
    return [SeriesKey(metric, pipeline, detail) for metric, detail in _OF_PIPELINES]


def zero_born_task_series(pipeline: Pipeline, task: str) -> Iterable[SeriesKey]:
    """The series that exist as soon as a task of a pipeline is known."""
    return [SeriesKey(metric, pipeline, detail, task) for metric, detail in _OF_TASKS]


def zero_born_series_without_pipeline() -> Iterable[SeriesKey]:
    """The zero-born series of metrics that are not by pipeline or flow."""
    return [SeriesKey(metric, NO_FLOW, detail) for metric, detail in _OF_NO_PIPELINE]
