"""Windows, baselines and run statistics with exact numbers, around hour and day boundaries."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.metrics import flow_runs
from prefect_monitoring.model.cursor import FLOW_RUNS
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.run_stats import RECENT_DURATIONS, RECENT_FAILURES, RunStats
from support.statements import Statements, counted
from unit.ledger_values import KEEP, baseline_cursor, outcome, run_id
from unit.rig import DAY, OpenLedger
from unit.snapshots import make_snapshot

PIPELINE = Pipeline("etl", "daily")
HOUR = 3600.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOW = at("2026-03-02 12:30")  # a Monday


@pytest.fixture
def count(ledger: Ledger):
    numbers = iter(range(1000))

    def add(when: str | float, state_type: str = "COMPLETED", seconds: float = 10.0) -> None:
        instant = at(when) if isinstance(when, str) else when
        ledger.commit(outcome(next(numbers), instant, PIPELINE, state_type, seconds), baseline_cursor(ledger), NOW)

    return add


def stats_of(ledger: Ledger, now: float = NOW):
    return ledger.run_stats([PIPELINE], now)[PIPELINE]


def test_windows_are_whole_hours_including_the_current_one(ledger: Ledger, count) -> None:
    count("2026-03-02 12:29:59.999999")
    count("2026-03-01 13:00:00", "FAILED")  # 24 hours end at 13:00 today: just inside
    count("2026-03-01 12:59:59.999999", "FAILED")  # just outside
    count("2026-02-23 13:00:00", "CRASHED")  # just inside 7 days
    count("2026-02-23 12:59:59.999999")
    count("2026-01-31 13:00:00")  # just inside 30 days
    count("2026-01-31 12:59:59.999999", "FAILED")
    count("2026-03-02 12:00:00", "CANCELLED")  # neither good nor bad
    assert stats_of(ledger).window_runs == {
        ("1d", "good"): 1,
        ("1d", "bad"): 1,
        ("7d", "good"): 1,
        ("7d", "bad"): 3,
        ("30d", "good"): 3,
        ("30d", "bad"): 3,
        ("30d_before", "good"): 0,
        ("30d_before", "bad"): 1,
        ("same_weekday", "good"): 1,
        ("same_weekday", "bad"): 0,
    }
    at_one = stats_of(ledger, at("2026-03-02 13:00:00")).window_runs
    assert at_one["1d", "bad"] == 0, "at 13:00, the hour that began at 13:00 yesterday drops out"
    assert stats_of(ledger, at("2026-03-02 12:59:59.999999")).window_runs["1d", "bad"] == 1


def test_baselines_are_medians_of_completed_runs(ledger: Ledger, count) -> None:
    count("2026-03-02 11:00", seconds=10.0)
    count("2026-03-02 10:00", seconds=20.0)
    count("2026-03-02 09:00", "FAILED", seconds=9000.0)
    count("2026-02-26 10:00", seconds=60.0)
    count("2026-01-31 13:00", seconds=310.0)  # the first hour of the 30 days
    count("2026-01-31 12:59:59", seconds=1000.0)  # the hour before the 30 days
    count("2026-01-05 00:00", seconds=3000.0)
    count("2026-01-01 13:00", seconds=5000.0)  # the first hour of the 30 days before
    count("2026-01-01 12:59:59", seconds=70000.0)  # too old
    baselines = dict(stats_of(ledger).baselines)
    # From 13:00 on 2026-02-22, -15, -08 and -01 to 13:00 on the next day, without any of the runs above.
    assert baselines == {
        "1d": 10.0,  # of two, the lower
        "7d": 20.0,
        "30d": 20.0,
        "30d_before": 3000.0,
    }


def test_same_weekday_is_the_same_24_hours_of_the_last_four_weeks(ledger: Ledger, count) -> None:
    count("2026-03-02 12:00", seconds=9999.0)  # within the last 24 hours
    count("2026-02-22 13:00:00", seconds=10.0)  # first hour, a week ago: Sunday afternoon
    count("2026-02-22 12:59:59.999999", seconds=9999.0)  # the hour before
    count("2026-02-23 11:59:59.999999", seconds=20.0)  # Monday, the last hour before the running one
    count("2026-02-23 13:00:00", seconds=9999.0)  # the hour after
    count("2026-02-16 09:00", seconds=30.0)
    count("2026-02-09 09:00", "FAILED", seconds=9999.0)
    count("2026-02-02 09:00", seconds=60.0)
    count("2026-01-26 09:00", seconds=9999.0)  # the fifth
    stats = stats_of(ledger)
    assert stats.baselines["same_weekday"] == 20.0
    assert (stats.window_runs["same_weekday", "good"], stats.window_runs["same_weekday", "bad"]) == (4, 1)
    at_one = stats_of(ledger, at("2026-03-02 13:00:00"))
    assert at_one.baselines["same_weekday"] == 30.0, "the first hour has dropped out, as in 1d"


def test_same_weekday_counts_only_the_elapsed_part_of_the_current_hour(ledger: Ledger, count) -> None:
    """Slow loads at night and more quick runs from noon to one, most of them after 12:30."""
    for day in ("2026-02-02", "2026-02-09", "2026-02-16", "2026-02-23"):
        for minute in range(0, 60, 8):
            count(f"{day} 00:{minute:02}", seconds=600.0)
        for minute in range(0, 60, 5):
            count(f"{day} 12:{minute:02}", seconds=20.0)
    assert stats_of(ledger, at("2026-03-02 12:00:00")).baselines["same_weekday"] == 600.0
    assert stats_of(ledger).baselines["same_weekday"] == 600.0, "6 of 14"
    assert stats_of(ledger, at("2026-03-02 13:00")).baselines["same_weekday"] == 20.0, "12 of 20"


def test_one_outlier_does_not_move_a_baseline(ledger: Ledger, count) -> None:
    """For example, a dead run set to Completed after 90 days: among others of its hour, or alone."""
    for second in range(20):
        count(NOW - 60 - second, seconds=2.0)
    count(NOW - 30, seconds=90 * DAY)
    count("2026-02-26 10:00", seconds=90 * DAY)
    baselines = stats_of(ledger).baselines
    assert (baselines["1d"], baselines["7d"], baselines["30d"]) == (2.0, 2.0, 2.0)


def test_baseline_weights_hours_by_their_runs(ledger: Ledger, count) -> None:
    count("2026-03-02 11:00", seconds=100.0)
    count("2026-03-02 10:00", seconds=50.0)
    for second in range(5):
        count(f"2026-03-02 09:00:0{second}", seconds=7.0 + second)
    assert stats_of(ledger).baselines["1d"] == 9.0


def test_hours_without_a_stored_median_count_with_their_mean(ledger: Ledger, count) -> None:
    count("2026-03-02 11:00", seconds=10.0)
    count("2026-03-02 11:10", seconds=20.0)
    with ledger.transaction() as connection:
        connection.execute(sa.update(schema.hourly_rollups).values(median=None))
    assert stats_of(ledger).baselines["1d"] == 15.0


def test_rerun_leaves_the_median_of_its_old_hour(ledger: Ledger, count) -> None:
    count("2026-03-02 09:00", seconds=5.0)
    count("2026-03-02 09:10", seconds=1.0)
    moved = outcome(1, at("2026-03-02 11:00"), PIPELINE, "COMPLETED", 3.0)
    before = ledger.known([run_id(1)]).runs[run_id(1)]
    moved.rollups[PIPELINE, int(at("2026-03-02 09:00"))].add(before, -1)
    moved.counted.clear()
    ledger.commit(moved, baseline_cursor(ledger), NOW)
    with ledger.transaction() as connection:
        hours = connection.execute(sa.select(schema.hourly_rollups.c["timed", "median"])).all()
    assert sorted(map(tuple, hours)) == [(1, 3.0), (1, 5.0)]


@pytest.mark.slow
def test_slow_sundays_do_not_make_mondays_look_slow(ledger: Ledger) -> None:
    """An hourly flow that takes 10 minutes on Sundays and 2 otherwise is never unusually slow."""
    hours = range(int(at("2026-01-26")), int(at("2026-03-09")), int(HOUR))
    for number, start in enumerate(hours):
        is_sunday = datetime.fromtimestamp(start, UTC).weekday() == 6
        run = outcome(number, start + 1800.0, PIPELINE, "COMPLETED", 600.0 if is_sunday else 120.0)
        ledger.commit(run, baseline_cursor(ledger), NOW)
    for hour in range(int(at("2026-03-01")), int(at("2026-03-04")), int(HOUR)):
        means = stats_of(ledger, hour + 1800.0).baselines
        assert means["1d"] < 1.25 * means["same_weekday"], datetime.fromtimestamp(hour, UTC)


def test_window_without_a_completed_run_has_no_baseline(ledger: Ledger, count) -> None:
    count("2026-02-26 10:00", "FAILED")
    assert stats_of(ledger).baselines == {}


def test_pipeline_without_runs_has_empty_statistics(ledger: Ledger) -> None:
    assert ledger.run_stats([Pipeline("never", "seen")], NOW) == {}


def test_rollups_outlive_the_runs(ledger: Ledger, count) -> None:
    count(NOW - 45 * DAY, seconds=100.0)
    count(NOW - 44 * DAY, "FAILED")
    count(NOW - 1 * DAY, seconds=50.0)
    ledger.prune(NOW, keep=KEEP, live=[PIPELINE])
    assert ledger.known([run_id(0), run_id(1)]).runs == {}
    assert stats_of(ledger).baselines["30d_before"] == pytest.approx(100.0)


def test_rollups_are_pruned_after_their_retention(ledger: Ledger, count) -> None:
    for days in (61, 63, 399, 401):
        count(NOW - days * DAY)
    ledger.prune(NOW, keep=KEEP, live=[PIPELINE])
    with ledger.transaction() as connection:
        rows = {
            name: set(connection.scalars(sa.select(table.c.start)))
            for name, table in (("hourly", schema.hourly_rollups), ("daily", schema.daily_rollups))
        }
    noon, midnight = at("2026-03-02 12:00"), at("2026-03-02 00:00")
    assert rows == {
        "hourly": {noon - 61 * DAY},
        "daily": {midnight - 61 * DAY, midnight - 63 * DAY, midnight - 399 * DAY},
    }


def test_last_outcomes_and_durations_are_those_of_the_newest_runs(ledger: Ledger, count) -> None:
    count("2026-03-02 10:00", seconds=11.0)
    count("2026-03-02 09:00", seconds=22.0)  # read later, ended earlier
    count("2026-03-02 08:00", "FAILED")
    stats = stats_of(ledger)
    assert stats.last_outcomes == {"completed": at("2026-03-02 10:00"), "failed": at("2026-03-02 08:00")}
    assert stats.last_duration == 11.0
    assert stats.consecutive_failures == 0
    assert stats.last_failure is None


def test_recent_durations_are_those_of_the_newest_completed_runs(ledger: Ledger, count) -> None:
    assert RunStats().last_duration is None
    for number in range(RECENT_DURATIONS + 6):
        count(NOW - number * HOUR, seconds=float(number))
    count(NOW - 60, "FAILED", seconds=9000.0)
    stats = stats_of(ledger)
    assert stats.recent_durations == tuple(map(float, range(RECENT_DURATIONS))), "newest first, and no more"
    assert stats.last_duration == 0.0, "a run may take no time at all"


def stats_of_many(ledger: Ledger, pipelines: int) -> Statements:
    """The statements for the run statistics of `number` pipelines, with short and long objective windows."""
    names = [Pipeline(f"etl {number}", "") for number in range(pipelines)]
    for number, pipeline in enumerate(names):
        ledger.commit(outcome(number, NOW - 60, pipeline), baseline_cursor(ledger), NOW)
    windows = {pipeline: 90 * DAY if number % 2 else 7 * DAY for number, pipeline in enumerate(names)}
    with counted(ledger._database.engine) as statements:
        assert len(ledger.run_stats(names, NOW, windows)) == pipelines
    return statements


def test_run_stats_take_the_same_statements_for_one_pipeline_and_hundreds(open_it: OpenLedger, tmp_path: Path) -> None:
    few, many = (
        stats_of_many(open_it(url=f"sqlite:///{tmp_path}/{pipelines}.db"), pipelines) for pipelines in (2, 300)
    )
    assert few.count == many.count <= 12


def test_run_stats_use_indexes_and_do_not_sort(ledger: Ledger) -> None:
    """They are computed at each poll and must not read old runs or runs of other pipelines."""
    statements = stats_of_many(ledger, 2)
    plans = {}
    with ledger.transaction() as connection:
        for text, parameters in statements.parameters.items():
            if text.startswith(("SELECT", "WITH")):
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters).all()
                plans[text] = [row[3] for row in rows]
    assert len(plans) == 11
    by_action = f"FROM {schema.actions.name} JOIN"
    of_runs = [plan for text, plan in plans.items() if schema.flow_runs.name in text and by_action not in text]
    assert len(of_runs) == 3
    for plan in plans.values():
        assert not [step for step in plan if step.startswith("SCAN prefect")], plan
    by_type = f"INDEX {schema.flow_runs.name}_by_pipeline (pipeline_id=? AND state_type=? AND ended_at>?)"
    for plan in of_runs:
        assert not [step for step in plan if "B-TREE" in step], plan
        searches = [
            step for step in plan if step.startswith("SEARCH") and not re.search("(_pipelines|_actions|states) ", step)
        ]
        assert searches
        assert all(step.endswith(by_type) for step in searches), plan


def again(ledger: Ledger, number: int, when: str, state_type: str = "FAILED") -> None:
    """The run ends once more, after a retry by hand."""
    changes, state_id = outcome(number, at(when), PIPELINE, state_type), run_id(int(at(when)))
    changes.runs[run_id(number)] = replace(changes.runs[run_id(number)], state_id=state_id)
    changes.counted = {(run_id(number), state_id)}
    changes.failed_at = {(run_id(number), state_id): at(when)} if state_type == "FAILED" else {}
    ledger.commit(changes, baseline_cursor(ledger), NOW)


def test_run_that_fails_again_after_a_manual_retry_fails_since_its_first_failure(ledger: Ledger) -> None:
    again(ledger, 1, "2026-03-02 08:00")
    assert stats_of(ledger).failing_since == at("2026-03-02 08:00")
    again(ledger, 1, "2026-03-02 11:00")
    stats = stats_of(ledger)
    assert (stats.consecutive_failures, stats.failing_since) == (1, at("2026-03-02 08:00"))
    again(ledger, 2, "2026-03-02 10:00")
    assert stats_of(ledger).failing_since == at("2026-03-02 08:00")
    again(ledger, 2, "2026-03-02 10:30", "COMPLETED")
    assert stats_of(ledger).failing_since == at("2026-03-02 11:00"), "failures before the success do not count"
    again(ledger, 1, "2026-03-02 12:00")
    assert stats_of(ledger).failing_since == at("2026-03-02 11:00"), "the second of its three failures"


def test_failures_without_a_stored_instant_fail_since_their_end(ledger: Ledger) -> None:
    again(ledger, 1, "2026-03-02 08:00")
    with ledger.transaction() as connection:
        connection.execute(sa.update(schema.counted_states).values(failed_at=None))
    assert stats_of(ledger).failing_since == at("2026-03-02 08:00")


def test_recent_runs_with_equal_end_times_are_limited(ledger: Ledger, count) -> None:
    """For example, many runs cancelled at once."""
    for _ in range(RECENT_DURATIONS + 6):
        count(NOW - 60, seconds=5.0)
        count(NOW - 30, "FAILED")
    stats = stats_of(ledger)
    assert stats.recent_durations == (5.0,) * RECENT_DURATIONS
    assert stats.recent_failures == (NOW - 30,) * RECENT_FAILURES
    assert stats.consecutive_failures == RECENT_DURATIONS + 6


def test_consecutive_failures_count_runs_after_the_last_success(ledger: Ledger, count) -> None:
    count("2026-03-02 08:00", "FAILED")
    count("2026-03-02 09:00")
    count("2026-03-02 10:00", "FAILED")
    count("2026-03-02 10:30", "CANCELLED")
    count("2026-03-02 11:00", "CRASHED")
    stats = stats_of(ledger)
    assert stats.consecutive_failures == 2
    assert stats.last_failure is not None
    assert stats.last_failure.ended_at == at("2026-03-02 11:00")


# Inputs of alerts


def test_failing_since_is_the_first_failure_after_the_last_success(ledger: Ledger, count) -> None:
    count("2026-03-02 05:00")
    assert (stats_of(ledger).failing_since, stats_of(ledger).recent_failures) == (None, ())
    count("2026-03-02 06:00", "FAILED")
    count("2026-03-02 07:00")
    assert (stats_of(ledger).failing_since, stats_of(ledger).recent_failures) == (None, (at("2026-03-02 06:00"),))

    count("2026-03-02 08:00", "CRASHED")
    count("2026-03-02 09:00", "FAILED")
    count("2026-03-02 10:00", "CANCELLED")
    count("2026-03-02 11:00", "FAILED")
    assert stats_of(ledger).failing_since == at("2026-03-02 08:00")
    assert stats_of(ledger).recent_failures == tuple(at(f"2026-03-02 {hour}:00") for hour in ("11", "09", "08"))
    assert stats_of(ledger, NOW + 22 * HOUR).recent_failures == (at("2026-03-02 11:00"),), "a day later they are old"


@pytest.mark.parametrize(
    ("window", "good", "bad"),
    [
        (HOUR, 1, 0),  # the running hour
        (2 * HOUR, 1, 1),
        (7 * DAY, 1, 2),
        (60 * DAY, 2, 2),
        (90 * DAY, 2, 3),  # beyond the hourly rollups: whole days
    ],
)
def test_objective_has_its_own_window(ledger: Ledger, count, window: float, good: int, bad: int) -> None:
    for when, state_type in (
        ("2026-03-02 12:10", "COMPLETED"),
        ("2026-03-02 11:10", "FAILED"),
        ("2026-02-24 00:00", "FAILED"),
        ("2026-01-02 00:00", "COMPLETED"),
        ("2025-12-03 00:00", "CRASHED"),
        ("2025-12-02 23:59", "CRASHED"),
    ):
        count(when, state_type)

    shown = ledger.run_stats([PIPELINE], NOW, {PIPELINE: window})[PIPELINE].window_runs
    assert (shown["slo", "good"], shown["slo", "bad"]) == (good, bad)


def test_pipelines_with_windows_of_different_lengths_do_not_mix(ledger: Ledger) -> None:
    other = Pipeline("etl", "hourly")
    for number, (pipeline, state_type) in enumerate([(PIPELINE, "FAILED"), (other, "COMPLETED"), (other, "FAILED")]):
        ledger.commit(outcome(number, NOW - 3 * HOUR, pipeline, state_type, 1.0), baseline_cursor(ledger), NOW)

    shown = ledger.run_stats([PIPELINE, other], NOW, {PIPELINE: DAY, other: HOUR})
    assert [shown[pipeline].window_runs["slo", "bad"] for pipeline in (PIPELINE, other)] == [1, 0]
    assert ("slo", "bad") not in ledger.run_stats([PIPELINE], NOW, {})[PIPELINE].window_runs


def test_deleted_failed_run_still_counts_but_has_no_link(ledger: Ledger, count) -> None:
    count(NOW - 2 * HOUR, "FAILED")
    count(NOW - HOUR, "FAILED")
    before = stats_of(ledger)
    assert not before.last_failure_gone
    ledger.touched.clear()
    ledger.mark_gone(FLOW_RUNS, NOW - DAY, NOW, ())
    assert ledger.touched == {PIPELINE}
    after = stats_of(ledger)
    assert after.last_failure_gone
    assert (after.consecutive_failures, after.failing_since) == (2, NOW - 2 * HOUR)
    assert after.window_runs == before.window_runs
    metric = next(metric for metric in flow_runs.METRICS if metric.name == "prefect_flow_run_last_failure_info")
    for stats, rows in ((before, 1), (after, 0)):
        assert len(list(metric.rows(replace(make_snapshot(), run_stats={PIPELINE: stats})))) == rows
