"""The report's figures: comparisons, and agreement with the metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_monitoring.config.settings import Settings
from prefect_monitoring.model.actions import ActionResult, Kind
from prefect_monitoring.model.changes import Schedule, SeriesKey
from prefect_monitoring.model.counted_metrics import TASK_RETRIES
from prefect_monitoring.model.records import OVERFLOW, Pipeline
from prefect_monitoring.report.advice import LIKELY_FIX, likely_fix
from prefect_monitoring.report.comparing import UnknownTeamError, figures_of
from prefect_monitoring.report.facts import read_facts
from prefect_monitoring.report.figures import Figures, Idle, Slower, Volume
from support.options import settings_with
from unit.ledger_values import NOW
from unit.report_ledgers import Past
from unit.rig import DAY, OpenLedger

ETL, DBT, LAB = Pipeline("etl", "daily"), Pipeline("dbt", "prod"), Pipeline("lab", "")


def figures(settings: Settings, days: int = 7, team: str = "", at: float = NOW) -> Figures:
    return figures_of(read_facts(settings, at, days), team)


# Success


def test_success_is_compared_with_the_objective_and_the_previous_week(past: Past, settings: Settings) -> None:
    past.exists(ETL, DBT, LAB, tags=("team:data",))
    past.ran(ETL, 1, times=8)
    past.ran(ETL, 2, state_type="FAILED", times=2)
    past.ran(ETL, 9, times=4)
    past.ran(DBT, 9, times=1)
    past.ran(LAB, 1, state_type="CRASHED")
    by_pipeline = {entry.pipeline: entry for entry in figures(settings).pipelines}
    assert list(by_pipeline) == [ETL, LAB, DBT], "missed objectives come first, then failures"
    assert (by_pipeline[ETL].now.success_ratio, by_pipeline[ETL].before and by_pipeline[ETL].before.runs) == (0.8, 4)
    assert (by_pipeline[ETL].objective, by_pipeline[ETL].team, by_pipeline[ETL].is_below) == (0.99, "data", True)
    assert by_pipeline[DBT].now.runs == 0
    assert by_pipeline[LAB].objective is None, "runs without a deployment have no objective"


def test_runs_at_the_edges_of_the_period_count_once(past: Past, settings: Settings) -> None:
    past.exists(ETL)
    for days_ago in (0, 6.9, 7.1, 13.9, 14.1):
        past.ran(ETL, days_ago)
    [etl] = figures(settings).pipelines
    assert (etl.now.runs, etl.before and etl.before.runs) == (2, 2)


def test_cancelled_runs_do_not_count(past: Past, settings: Settings) -> None:
    past.exists(ETL)
    past.ran(ETL, 1, state_type="CANCELLED")
    assert figures(settings).total.runs == 0


def test_empty_ledger_has_no_figures(past: Past, settings: Settings) -> None:
    report = figures(settings)
    assert (report.pipelines, report.failures, report.budgets, report.idle) == ((), (), (), ())
    assert report.total.success_ratio is None


def test_previous_period_is_not_compared_if_the_ledger_is_younger(open_it: OpenLedger, settings: Settings) -> None:
    past = Past(open_it(lookback=10 * DAY, task_lookback=3 * DAY), NOW)
    past.exists(ETL)
    past.ran(ETL, 1)
    past.task(ETL, "load", 1, retries=1)
    report = figures(settings)
    assert (report.total.runs, report.total_before) == (1, None)
    assert [entry.before for entry in report.pipelines] == [None]
    assert (report.retries, report.retries_before, report.days_from) == (1, None, NOW - 3 * DAY)
    assert figures(settings, days=3).total_before is not None


def test_runs_of_deleted_and_folded_pipelines_are_counted_separately(past: Past, settings: Settings) -> None:
    past.exists(ETL)
    past.ran(ETL, 1)
    past.ran(Pipeline("gone", "prod"), 1, times=2)
    past.ran(OVERFLOW, 1, state_type="FAILED")
    report = figures(settings)
    assert [entry.pipeline for entry in report.pipelines] == [ETL]
    assert (report.total.runs, report.elsewhere.runs) == (1, 3)
    assert report.failures == ()


# Failures


def test_failures_are_grouped_by_cause_and_pattern(past: Past, settings: Settings) -> None:
    past.exists(ETL, DBT)
    past.ran(ETL, 3, state_type="FAILED", times=3, cause="timeout", pattern="no answer in # s")
    past.ran(DBT, 1, state_type="CRASHED", cause="timeout", pattern="no answer in # s")
    past.ran(DBT, 2, state_type="FAILED", cause="code", pattern="KeyError: 'id'")
    past.ran(DBT, 9, state_type="FAILED", cause="code", pattern="KeyError: 'id'")
    first, second = figures(settings).failures
    assert (first.cause, first.pattern, first.runs) == ("timeout", "no answer in # s", 4)
    assert first.pipelines == ((ETL, 3), (DBT, 1))
    assert first.last_at == NOW - DAY
    assert (second.cause, second.runs) == ("code", 1)


def test_run_awaiting_a_retry_has_not_failed(past: Past, settings: Settings) -> None:
    past.exists(ETL)
    [run] = past.ran(ETL, 0.01, state_type="FAILED")
    state = past.ledger.known([run]).runs[run].state_id
    past.acted(ETL, Kind.RETRY, ActionResult.PLANNED, run, days_ago=0.01, state=state)
    report = figures(settings)
    assert (report.total.bad, report.failures) == (0, ())


# Budgets


def test_budget_is_counted_in_runs_over_its_window(past: Past, tmp_path: Path) -> None:
    past.exists(ETL, DBT)
    past.ran(ETL, 20, times=195)
    past.ran(ETL, 20, state_type="FAILED", times=5)
    past.ran(DBT, 1, times=3)
    file = tmp_path / "pipelines.yml"
    file.write_text("pipelines:\n- {flow: etl, slo: {min_success_ratio: 98%}}\n")
    settings = settings_with(ledger_url=f"sqlite:///{tmp_path}/ledger.db", pipelines=str(file))
    first, second = figures(settings).budgets
    assert (first.pipeline, first.allowed, first.failed, first.left) == (ETL, 4, 5, -1)
    assert (second.pipeline, second.allowed, second.failed) == (DBT, 1, 0), "at least one run may fail"


def test_pipelines_file_in_the_ledger_applies_to_a_copy(past: Past, settings: Settings) -> None:
    past.exists(ETL)
    past.ran(ETL, 1)
    past.ledger.store_pipelines_file("defaults: {team: data}\npipelines:\n- {flow: etl, slo: {min_success_ratio: 50%}}")
    [etl] = figures(settings).pipelines
    assert (etl.team, etl.objective) == ("data", 0.5)


# Tasks


def test_tasks_with_most_retries_come_first_with_their_causes(past: Past, settings: Settings) -> None:
    past.exists(ETL)
    past.task(ETL, "load", 8, runs=20, retries=5, cause="timeout")
    past.task(ETL, "load", 1, runs=20, retries=4, cause="db_lock")
    past.task(ETL, "load", 2, runs=10, retries=9, cause="rate_limit")
    past.task(ETL, "extract", 1, retries=2, cause="timeout")
    report = figures(settings)
    first, second = report.retrying
    assert (first.task, first.retries, first.before, first.runs) == ("load", 13, 5, 30)
    assert first.causes == (("rate_limit", 9), ("db_lock", 4))
    assert (second.task, second.before) == ("extract", 0)
    assert (report.retries, report.retries_before) == (15, 5)


def test_total_retries_equal_the_counter(past: Past, settings: Settings) -> None:
    past.exists(ETL)
    past.task(ETL, "load", 13, retries=5)
    past.task(ETL, "load", 1, retries=2)
    report = figures(settings)
    assert (
        report.retries + (report.retries_before or 0)
        == past.ledger.series[SeriesKey(TASK_RETRIES, ETL, task="load")].value
    )


def test_every_cause_but_other_has_a_likely_fix() -> None:
    known = settings_with().labels.known_causes
    assert known - LIKELY_FIX.keys() == {"other"}
    assert likely_fix("other") == likely_fix("one of the user's")


# Slower, volumes


def test_slower_pipelines_and_tasks_are_sorted_by_lost_time(past: Past, settings: Settings) -> None:
    past.exists(ETL, DBT)
    past.ran(ETL, 8, times=5, seconds=100)
    past.ran(ETL, 1, times=5, seconds=130)
    past.ran(DBT, 8, times=5, seconds=1000)
    past.ran(DBT, 1, times=5, seconds=1200)  # by a fifth
    past.task(ETL, "load", 8, runs=10, seconds=20)
    past.task(ETL, "load", 1, runs=10, seconds=40)
    past.task(ETL, "quick", 8, runs=10, seconds=1)
    past.task(ETL, "quick", 1, runs=10, seconds=9)  # by seconds alone
    past.task(ETL, "rare", 8, runs=4, seconds=10)
    past.task(ETL, "rare", 1, runs=10, seconds=90)  # four runs are too few for a mean
    assert figures(settings).slower == (Slower(ETL, "load", 20, 40, 10), Slower(ETL, "", 100, 130, 5))


def test_volumes_that_changed_by_half_are_listed(past: Past, settings: Settings) -> None:
    past.exists(ETL, DBT)
    past.ran(ETL, 8, times=20)
    past.ran(ETL, 1, times=8)
    past.ran(DBT, 8, times=20)
    past.ran(DBT, 1, times=21)
    past.observed(ETL, "rows", 8, 1000.0)
    past.observed(ETL, "rows", 2, 50.0)
    past.observed(ETL, "rows", 1, 150.0)
    past.observed(ETL, "share", 8, 0.9)
    past.observed(ETL, "share", 1, 0.8)
    assert figures(settings).volumes == (Volume(ETL, 'rows{table="orders"}', 1000, 100), Volume(ETL, "", 20, 8))


# Actions and idle pipelines


def test_actions_are_counted_by_result_and_saved_runs(past: Past, settings: Settings) -> None:
    past.exists(ETL)
    saved, lost = past.ran(ETL, 1) + past.ran(ETL, 1, state_type="FAILED")
    past.acted(ETL, Kind.RETRY, ActionResult.DONE, saved)
    past.acted(ETL, Kind.RETRY, ActionResult.DONE, lost)
    past.acted(ETL, Kind.PAUSE, ActionResult.FAILED, lost)
    past.acted(ETL, Kind.RETRY, ActionResult.DONE, "00000000-0000-0000-0000-0000000000ff", days_ago=9)
    past.automation_failed("to Slack", 2)
    report = figures(settings)
    assert report.actions == {Kind.RETRY: {ActionResult.DONE: 2}, Kind.PAUSE: {ActionResult.FAILED: 1}}
    assert report.saved == 1
    assert report.failed_automations == {"to Slack": 1}


def test_paused_overdue_and_idle_pipelines_are_listed(past: Past, settings: Settings) -> None:
    paused, missed, never, met, recent = (
        Pipeline(name, "prod") for name in ("paused", "missed", "never", "met", "recent")
    )
    past.exists(paused, missed, never, met, recent)
    for pipeline in (paused, missed, met, recent):
        past.ran(pipeline, 3)
    past.ran(met, 0.5)
    past.scheduled(paused, Schedule(paused_at=NOW - DAY, unmet_at=NOW - 2 * DAY))
    past.scheduled(missed, Schedule(last_at=NOW - DAY, unmet_at=NOW - DAY))
    past.scheduled(met, Schedule(last_at=NOW - DAY, unmet_at=NOW - DAY))
    past.scheduled(recent, Schedule(next_at=NOW - 60))
    assert figures(settings).idle == (
        Idle(paused, "paused", NOW - DAY),
        Idle(missed, "missed", NOW - DAY),
        Idle(never, "never", None),
    )


# Teams


def test_report_of_a_team_has_only_its_pipelines(past: Past, settings: Settings) -> None:
    past.exists(ETL, tags=("team:data",))
    past.exists(DBT, tags=("team:analytics",))
    for pipeline in (ETL, DBT):
        past.ran(pipeline, 1, state_type="FAILED", cause="code")
        past.task(pipeline, "load", 1, retries=1)
    report = figures(settings, team="data")
    assert [entry.pipeline for entry in report.pipelines] == [ETL]
    assert [group.pipelines for group in report.failures] == [((ETL, 1),)]
    assert [task.pipeline for task in report.retrying] == [ETL]
    with pytest.raises(UnknownTeamError, match=r"'sales'\. Teams: analytics, data$"):
        figures(settings, team="sales")
