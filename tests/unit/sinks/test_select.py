"""Which metrics are owed to CloudWatch: by outcome type, as exact values, and within the cap."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prefect_monitoring.config.settings import CloudWatchSettings
from prefect_monitoring.model.changes import Changes, SeriesKey
from prefect_monitoring.model.counted_metrics import CUSTOM_OBSERVED, DURATION, FAILURES, OUTCOMES, START_DELAY
from prefect_monitoring.model.pushed_metrics import PUSHED_NAMES
from prefect_monitoring.model.records import NO_FLOW, OVERFLOW, Pipeline
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.sinks.cloudwatch.metrics import PUSHED_METRICS, as_dimension, dimensions_of
from prefect_monitoring.sinks.cloudwatch.select import Item, Selection, custom_kept, custom_to_keep
from unit.snapshots import NOW, PIPELINE, make_snapshot

OTHER_PIPELINE = Pipeline("other", "daily")


def selection(**options: object) -> Selection:
    return Selection(CloudWatchSettings.model_validate({"cloudwatch_pipelines": "etl/.*", **options}))


def owed(items: list[Item]) -> dict[str, list[list[float]]]:
    return {name: values for name, *_, values in ([item[0], item[3:]] for item in items)}


def changes_of(pipeline: Pipeline = PIPELINE, **custom: float) -> Changes:
    changes = Changes()
    for state in ("completed", "skipped", "failed", "timed_out", "cancelled"):
        changes.count(SeriesKey(OUTCOMES, pipeline, state), NOW)
    for cause in ("auth", "timeout"):
        changes.count(SeriesKey(FAILURES, pipeline, cause), NOW)
    for value in (3.5, 4.0, 3.5):
        changes.observe(SeriesKey(DURATION, pipeline), NOW, value)
    changes.observe(SeriesKey(START_DELAY, pipeline), NOW, 0.25)
    for name, value in custom.items():
        changes.observe(SeriesKey(CUSTOM_OBSERVED, pipeline, name, "load", (("table", "orders"),)), NOW, value)
    return changes


def test_every_selectable_name_has_a_metric() -> None:
    assert tuple(PUSHED_METRICS) == PUSHED_NAMES
    assert len(PUSHED_NAMES) <= 10


def test_outcomes_are_owed_by_result_and_durations_as_values() -> None:
    assert owed(selection().changes(changes_of())) == {
        "RunsCompleted": [[1.0, 2]],
        "RunsFailed": [[1.0, 2]],
        "RunsCancelled": [[1.0, 1]],
        "RunDuration": [[3.5, 2], [4.0, 1]],
        "StartDelay": [[0.25, 1]],
    }


def test_failed_outcome_under_any_name_counts_as_failed() -> None:
    changes = Changes()
    changes.count(SeriesKey(OUTCOMES, PIPELINE, "skipped"), NOW)
    changes.count(SeriesKey(FAILURES, PIPELINE, "unknown"), NOW)
    assert owed(selection().changes(changes)) == {"RunsFailed": [[1.0, 1]]}


@pytest.mark.parametrize("pipeline", [OTHER_PIPELINE, Pipeline("etl2", "daily"), OVERFLOW, NO_FLOW])
def test_pipelines_without_a_matching_pattern_are_left_out(pipeline: Pipeline) -> None:
    assert selection().changes(changes_of(pipeline)) == []
    assert selection(cloudwatch_pipelines="").changes(changes_of()) == []
    assert not selection(cloudwatch_pipelines=".*").has(OVERFLOW)


def test_selected_custom_metrics_are_owed_up_to_the_cap() -> None:
    chosen = selection(cloudwatch_custom_metrics="rows_.*")
    assert owed(chosen.changes(changes_of(rows_a=7.0, seconds=1.0)))["rows_a"] == [[7.0, 1]]
    later = owed(chosen.changes(changes_of(rows_b=1.0, rows_a=8.0)))
    assert "rows_b" not in later, "nine metrics and one make ten"
    assert later["rows_a"] == [[8.0, 1]]
    assert chosen.left_out == {(PIPELINE, "rows_b")}
    again = selection(cloudwatch_custom_metrics="rows_.*")
    again.custom.update(custom_kept(custom_to_keep(chosen.custom)))
    assert "rows_b" not in owed(again.changes(changes_of(rows_b=1.0))), "after a restart as well"


def test_custom_metric_with_a_reserved_name_is_left_out() -> None:
    assert owed(selection(cloudwatch_custom_metrics=".*").changes(changes_of(RunsFailed=9.0)))["RunsFailed"] == [[1, 2]]


def test_unselected_metrics_are_left_out() -> None:
    chosen = selection(cloudwatch_metrics="RunsFailed,BudgetLeft", cloudwatch_max_metrics=1)
    assert owed(chosen.changes(changes_of())).keys() == {"RunsFailed"}
    assert owed(chosen.gauges(make_snapshot())).keys() == {"PrefectUp"}


def test_gauges_show_the_run_statistics_of_a_pipeline() -> None:
    snapshot = make_snapshot()
    stats = replace(snapshot.run_stats[PIPELINE], window_runs={("slo", "good"): 28, ("slo", "bad"): 2})
    snapshot = replace(
        snapshot, run_stats={PIPELINE: stats, OTHER_PIPELINE: stats}, policies={PIPELINE: Policy(objective=0.9)}
    )
    assert owed(selection().gauges(snapshot)) == {
        "SuccessRate": [[pytest.approx(93.33, abs=0.01), 1]],
        "ConsecutiveFailures": [[1.0, 1]],
        "LastSuccessAge": [[3600.0, 1]],
        "BudgetLeft": [[1, 1]],
        "PrefectUp": [[1.0, 1]],
    }


def test_unknown_gauges_are_not_owed() -> None:
    snapshot = make_snapshot()
    stats = replace(snapshot.run_stats[PIPELINE], window_runs={}, last_outcomes={})
    unknown = replace(snapshot, run_stats={PIPELINE: stats}, policies={}, about=replace(snapshot.about, api_up=None))
    assert owed(selection().gauges(unknown)).keys() == {"ConsecutiveFailures"}


def test_names_become_valid_cloudwatch_dimensions() -> None:
    assert dimensions_of(Pipeline("größe\n", ""), "prod") == {"Flow": "gr\\xf6\\xdfe\\n", "Installation": "prod"}
    assert as_dimension("x" * 2000) == "x" * 1024
    assert as_dimension(" ") == "(blank)"


@pytest.mark.parametrize("name", ["completed", "skipped", "cached", "rolled_back"])
def test_last_success_is_a_completed_run_with_any_state_name(name: str) -> None:
    snapshot = make_snapshot()
    stats = replace(snapshot.run_stats[PIPELINE], last_outcomes={name: NOW - 60.0, "failed": NOW})
    gauges = selection().gauges(replace(snapshot, run_stats={PIPELINE: stats}))
    assert owed(gauges)["LastSuccessAge"] == [[60.0, 1]]
