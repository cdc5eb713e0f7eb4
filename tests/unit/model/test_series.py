"""Counters and histograms as values, and the birth hold."""

from __future__ import annotations

import pytest

from prefect_monitoring.model.changes import Changes, SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    DEFAULT_BOUNDS,
    DURATION,
    OUTCOMES,
    REJECTED,
    START_DELAY,
    TASK_DURATION,
    TASK_FAILURES,
    TASK_OUTCOMES,
    zero_born_series,
)
from prefect_monitoring.model.cursor import FLOW_RUNS, LOG_LINES, TASK_RUNS
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.series import Hold, Series, advance, empty
from prefect_monitoring.snapshot.builder import shown

PIPELINE = Pipeline("etl", "daily")
COMPLETED = SeriesKey(OUTCOMES, PIPELINE, "completed")
TIMES = SeriesKey(DURATION, PIPELINE)
BOUNDS = {DURATION: (1.0, 10.0), START_DELAY: (1.0,)}


def test_bounds_are_upper_and_inclusive() -> None:
    changes = Changes()
    changes.observations[TIMES] += [0.0, 1.0, 1.000001, 10.0, 10.5]
    moved = advance({}, changes, BOUNDS, released=True)
    assert moved[TIMES] == Series(pytest.approx(22.500001), (2, 2, 1), released=True)


def test_increments_change_only_their_series() -> None:
    before = {COMPLETED: Series(5.0, (), released=True), TIMES: Series(1.0, (1, 0, 0), released=True)}
    changes = Changes()
    changes.increments[COMPLETED] += 2
    moved = advance(before, changes, BOUNDS, released=False)
    assert moved == {COMPLETED: Series(7.0, (), released=True)}, "a series known before keeps its release"
    assert before[COMPLETED].value == 5.0


def test_zero_born_series_that_exist_are_not_changed() -> None:
    changes = Changes(zero_born=set(zero_born_series(PIPELINE)))
    moved = advance({COMPLETED: Series(5.0, (), released=True)}, changes, BOUNDS, released=False)
    assert COMPLETED not in moved
    assert moved[TIMES] == Series(0.0, (0, 0, 0), released=False)
    assert len(moved) == len(set(zero_born_series(PIPELINE))) - 1


def test_zero_keeps_the_shape() -> None:
    assert Series(9.0, (1, 2, 3)).zero == Series(0.0, (0, 0, 0))
    assert empty(DURATION, BOUNDS, released=False).buckets == (0, 0, 0)
    assert empty(OUTCOMES, BOUNDS, released=False).buckets == ()


def test_default_bounds_reach_from_a_second_to_a_day() -> None:
    assert DEFAULT_BOUNDS[DURATION][0] == 1
    assert DEFAULT_BOUNDS[DURATION][-1] == 86400
    for limits in DEFAULT_BOUNDS.values():
        assert list(limits) == sorted(set(limits))


def test_shown_series_is_hidden_zero_or_its_value() -> None:
    series = {COMPLETED: Series(3.0, (), released=False), TIMES: Series(4.0, (1, 0, 0), released=True)}
    assert shown(series, ()) == {}
    assert shown(series, {FLOW_RUNS}) == {OUTCOMES: {COMPLETED: Series(0.0)}, DURATION: {TIMES: series[TIMES]}}


def test_metric_is_shown_once_the_baselines_of_all_its_sources_are_complete() -> None:
    kinds = (OUTCOMES, TASK_OUTCOMES, TASK_DURATION, TASK_FAILURES, CUSTOM_OBSERVED, REJECTED)
    series = {SeriesKey(metric, PIPELINE): Series(1.0, (), released=True) for metric in kinds}
    assert shown(series, {FLOW_RUNS}).keys() == {OUTCOMES}
    assert shown(series, {FLOW_RUNS, TASK_RUNS}).keys() == {OUTCOMES, TASK_OUTCOMES, TASK_DURATION}
    assert shown(series, {LOG_LINES}).keys() == {CUSTOM_OBSERVED, REJECTED}
    assert shown(series, {FLOW_RUNS, TASK_RUNS, LOG_LINES}).keys() == set(kinds)


def test_hold_begins_when_the_zero_is_shown() -> None:
    hold = Hold(70.0)
    assert hold.due(1e9) == set()
    hold.show({COMPLETED}, 100.0)
    hold.show({COMPLETED, TIMES}, 130.0)
    assert hold.due(169.9) == set()
    assert hold.due(170.0) == {COMPLETED}
    assert hold.due(200.0) == {COMPLETED, TIMES}
    hold.forget({COMPLETED})
    assert hold.due(200.0) == {TIMES}


def test_series_without_a_hold_is_released_at_once() -> None:
    hold = Hold(0.0)
    hold.show({COMPLETED}, 100.0)
    assert hold.due(100.0) == {COMPLETED}
