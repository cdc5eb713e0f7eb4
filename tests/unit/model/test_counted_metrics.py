"""The table of the metrics that the ledger stores."""

from __future__ import annotations

import pytest

from prefect_monitoring.analysis.metric_lines import Reason
from prefect_monitoring.metrics import CATALOGUE
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import (
    COUNTED_METRICS,
    CUSTOM_OBSERVED,
    DEFAULT_BOUNDS,
    DURATION,
    OUTCOMES,
    REJECTED,
    RETRIES,
    START_DELAY,
    TASK_DURATION,
    TASK_FAILURES,
    TASK_OUTCOMES,
    TASK_RETRIES,
    TASK_SECONDS,
    VALUES_REJECTED,
    CountedMetric,
    bounds_of,
    zero_born_series,
    zero_born_series_without_pipeline,
    zero_born_task_series,
)
from prefect_monitoring.model.cursor import ASSET_EVENTS, AUTOMATION_EVENTS, FLOW_RUNS, LOG_LINES, TASK_RUNS
from prefect_monitoring.model.records import NO_FLOW, Pipeline

PIPELINE = Pipeline("etl", "daily")
ROWS = list(COUNTED_METRICS.values())


def test_zero_born_series_of_a_pipeline_have_no_task() -> None:
    assert list(zero_born_series(PIPELINE)) == [
        SeriesKey(OUTCOMES, PIPELINE, "completed"),
        SeriesKey(OUTCOMES, PIPELINE, "failed"),
        SeriesKey(OUTCOMES, PIPELINE, "crashed"),
        SeriesKey(DURATION, PIPELINE),
        SeriesKey(START_DELAY, PIPELINE),
        SeriesKey(RETRIES, PIPELINE),
    ]


def test_zero_born_series_of_a_task_have_the_task() -> None:
    assert list(zero_born_task_series(PIPELINE, "load")) == [
        SeriesKey(TASK_OUTCOMES, PIPELINE, "completed", "load"),
        SeriesKey(TASK_OUTCOMES, PIPELINE, "failed", "load"),
        SeriesKey(TASK_SECONDS, PIPELINE, task="load"),
        SeriesKey(TASK_RETRIES, PIPELINE, task="load"),
    ]


def test_zero_born_series_without_pipeline_are_the_reasons_of_rejected_lines() -> None:
    assert set(zero_born_series_without_pipeline()) == {SeriesKey(REJECTED, NO_FLOW, reason) for reason in Reason}


def test_bounds_default_to_the_buckets_of_the_table() -> None:
    assert set(DEFAULT_BOUNDS) == {DURATION, START_DELAY, CUSTOM_OBSERVED}
    assert DEFAULT_BOUNDS[CUSTOM_OBSERVED] == (), "a summary has none"
    assert DEFAULT_BOUNDS[DURATION] == COUNTED_METRICS[DURATION].buckets


def test_bounds_follow_the_options_and_enabled_metrics() -> None:
    options = {"duration_buckets": (60.0, 600.0), "start_delay_buckets": (5.0,)}
    assert bounds_of([TASK_DURATION], options.__getitem__) == {
        DURATION: (60.0, 600.0),
        START_DELAY: (5.0,),
        TASK_DURATION: (60.0, 600.0),
        CUSTOM_OBSERVED: (),
    }


def test_labels_are_read_from_the_key_in_their_order() -> None:
    key = SeriesKey(TASK_FAILURES, PIPELINE, "timeout", "load")
    assert COUNTED_METRICS[TASK_FAILURES].label_values(key) == ("etl", "daily", "load", "timeout")
    assert COUNTED_METRICS[TASK_DURATION].label_values(key) == ("etl", "load")
    assert COUNTED_METRICS[REJECTED].label_values(SeriesKey(REJECTED, NO_FLOW, "name")) == ("name",)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_is_consistent_and_exposed(row: CountedMetric) -> None:
    assert set(row.sources) <= {FLOW_RUNS, TASK_RUNS, LOG_LINES, AUTOMATION_EVENTS, ASSET_EVENTS}
    assert row.sources or row.name == VALUES_REJECTED, "shown at once"
    assert (row.kind == "histogram") == bool(row.buckets)
    details = [label for label in row.labels if label not in {"flow", "deployment", "task", "action", "result"}]
    assert len(details) <= 1, "a key has one detail"
    assert bool(details) or row.zero_born in {(), ("",)}
    exposed = [metric for metric in CATALOGUE if metric.name.removesuffix("_sum") == row.name]
    assert [metric.labels for metric in exposed] == [row.labels]
    assert [metric.by_default for metric in exposed] == [row.by_default]
