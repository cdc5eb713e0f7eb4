"""What log lines add: sums, counts and last values of custom metrics, and failures that a retry saved."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prefect_monitoring.analysis.failure_causes import cause_of
from prefect_monitoring.analysis.metric_lines import saved_failure
from prefect_monitoring.counting.log_lines import LabelledLine, fold_lines
from prefect_monitoring.model.changes import Changes, LastValue, SeriesKey
from prefect_monitoring.model.counted_metrics import CUSTOM_OBSERVED, CUSTOM_VALUE, REJECTED, TASK_FAILURES
from prefect_monitoring.model.metric_lines import Reason
from prefect_monitoring.model.records import NO_FLOW, LogLine, Pipeline

PIPELINE = Pipeline("etl", "daily")
ROWS = SeriesKey(CUSTOM_VALUE, PIPELINE, "rows", "load")
RETRIED = "Task run failed with exception: ValueError('HTTP 429') - Retry 1/3 will start immediately"


def labelled(
    message: str, number: int = 1, at: float = 100.0, pipeline: Pipeline | None = PIPELINE, task: str = "load"
):
    return LabelledLine(LogLine(f"l{number}", at, message, "r", "t"), pipeline, task)


def fold(
    *lines: LabelledLine,
    values: dict[SeriesKey, LastValue] | None = None,
    admits: Callable[[SeriesKey], bool] = lambda _: True,
) -> Changes:
    return fold_lines(lines, (values or {}).get, admits, cause_of)


def test_one_line() -> None:
    changes = fold(labelled('METRIC: rows{table="orders"}=42'))
    labels = (("table", "orders"),)
    assert changes.observations == {SeriesKey(CUSTOM_OBSERVED, PIPELINE, "rows", "load", labels): [42.0]}
    assert changes.values == {SeriesKey(CUSTOM_VALUE, PIPELINE, "rows", "load", labels): LastValue(42.0, 100.0)}
    assert changes.lines == {"l1": 100.0}
    assert not changes.increments
    assert changes.zero_born == {SeriesKey(REJECTED, NO_FLOW, reason) for reason in Reason}


def test_line_of_the_flow_itself_has_no_task() -> None:
    changes = fold(labelled("METRIC: rows=1", task=""))
    assert [key.task for key in changes.observations] == [""]


def test_every_value_of_a_line_is_observed_and_the_last_is_the_last() -> None:
    changes = fold(labelled("METRIC: rows=1 rows=2\nMETRIC: rows=3"), labelled("METRIC: rows=4", 2, 101.0))
    assert changes.observations == {SeriesKey(CUSTOM_OBSERVED, PIPELINE, "rows", "load"): [1.0, 2.0, 3.0, 4.0]}
    assert changes.values[ROWS] == LastValue(4.0, 101.0)


@pytest.mark.parametrize(("at", "last"), [(99.0, 1.0), (100.0, 2.0), (101.0, 2.0)])
def test_last_value_is_that_of_the_latest_instant_not_of_the_latest_arrival(at: float, last: float) -> None:
    together = fold(labelled("METRIC: rows=1"), labelled("METRIC: rows=2", 2, at))
    assert together.values[ROWS].value == last
    later = fold(labelled("METRIC: rows=2", 2, at), values={ROWS: LastValue(1.0, 100.0)})
    assert later.values.get(ROWS, LastValue(1.0, 100.0)).value == last
    assert [*later.observations.values()] == [[2.0]], "an old value is still counted"


def test_what_cannot_be_read_is_counted_by_reason() -> None:
    changes = fold(labelled('METRIC: rows=oops 1rows=1 fine=1 bad{flow="x"}=1 none=nan'))
    rejected = {key.detail: count for key, count in changes.increments.items() if key.metric == REJECTED}
    assert rejected == {"malformed": 1, "name": 1, "label": 1, "non_finite": 1}
    assert {key.detail for key in changes.observations} == {"fine"}


def test_series_without_room_is_rejected_and_leaves_no_trace() -> None:
    changes = fold(labelled("METRIC: rows=1 bytes=2"), admits=lambda key: key.detail == "rows")
    assert {key.detail for key in changes.observations} == {"rows"}
    assert {key.detail for key in changes.values} == {"rows"}
    assert changes.increments == {SeriesKey(REJECTED, NO_FLOW, "too_many"): 1}


def test_excluded_line_is_remembered_and_not_counted() -> None:
    changes = fold(labelled("METRIC: rows=1 x=oops", pipeline=None), labelled(RETRIED, 2, pipeline=None))
    assert changes.lines == {"l1": 100.0, "l2": 100.0}
    assert not changes.observations
    assert not changes.values
    assert not changes.increments


def test_failure_that_a_retry_saved_is_one_failure_of_the_task() -> None:
    changes = fold(labelled(RETRIED))
    assert changes.increments == {SeriesKey(TASK_FAILURES, PIPELINE, "rate_limit", "load"): 1}
    assert not changes.observations


@pytest.mark.parametrize(
    ("message", "saved"),
    [
        (RETRIED, "ValueError('HTTP 429')"),
        ("Task run failed with exception: E('x') - Retry 12/100 will start 30 second(s) from now", "E('x')"),
        ("Task run failed with state: Failed(message='no') - Retry 1/3 will start immediately", "Failed(message='no')"),
        ("Task run failed with exception: E('a\nb - Retry 1/2 will wait') - Retry 1/3 will start immediately", None),
        # The last attempt is counted by its state.
        ("Task run failed with exception: E('x') - Retries are exhausted", None),
        ("Task run failed with exception: E('x')", None),
        ("I say: " + RETRIED, None),
        ("", None),
    ],
)
def test_only_a_retried_attempt_is_a_saved_failure(message: str, saved: str | None) -> None:
    expected = "E('a\nb - Retry 1/2 will wait')" if "\n" in message else saved
    assert saved_failure(message) == expected


def test_flows_own_lines_tell_of_no_task() -> None:
    assert not fold(labelled(RETRIED, task="")).increments


def test_line_with_metric_and_failure_counts_as_both() -> None:
    both = "Task run failed with exception: E('METRIC: rows=1') - Retry 1/3 will start immediately"
    changes = fold(labelled(both))
    assert {key.metric for key in changes.increments} <= {TASK_FAILURES, REJECTED}
    assert changes.increments[SeriesKey(TASK_FAILURES, PIPELINE, "other", "load")] == 1
