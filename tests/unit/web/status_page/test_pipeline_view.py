"""The view of each pipeline in a snapshot."""

from __future__ import annotations

from dataclasses import replace

from prefect_monitoring.model.changes import Schedule
from prefect_monitoring.model.records import NO_FLOW, OVERFLOW, Pipeline
from prefect_monitoring.model.run_stats import RunStats
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.web.status_page.pipeline_view import complete_to, pipeline_views
from unit.snapshots import NOW
from unit.status_pages import DAY, GOOD, HOUR, snapshot_of

PIPELINE = Pipeline("etl", "daily")


def test_pipelines_are_those_with_runs_deployments_or_active_runs() -> None:
    other, due = Pipeline("a", ""), Pipeline("due", "d")
    snapshot = snapshot_of(
        {PIPELINE: GOOD, OVERFLOW: GOOD, NO_FLOW: RunStats()},
        active={(other, "running"): NOW},
        schedules={due: Schedule()},
    )
    assert {view.pipeline for view in pipeline_views(snapshot)} == {PIPELINE, other, due}


def test_active_runs_of_all_pools_are_added_up() -> None:
    snapshot = snapshot_of({PIPELINE: GOOD}, active={(PIPELINE, "running"): NOW - 60})
    assert snapshot.active is not None
    counts = {(PIPELINE, "k8s", "running"): 2, (PIPELINE, "local", "running"): 3}
    (view,) = pipeline_views(replace(snapshot, active=replace(snapshot.active, counts=counts)))
    assert (dict(view.active), dict(view.oldest)) == ({"running": 5}, {"running": NOW - 60})


def test_complete_to_defaults_to_the_newest_end_in_the_ledger() -> None:
    snapshot = snapshot_of({PIPELINE: GOOD})
    (finished,) = snapshot.about.sources
    unread = replace(finished, complete_to=None, last_success=None)
    assert complete_to(snapshot) == NOW - 2
    restarted = replace(snapshot, about=replace(snapshot.about, sources=(unread,)))
    assert complete_to(restarted) == NOW - HOUR
    assert complete_to(replace(restarted, run_stats={})) is None


def test_slo_runs_need_a_policy_with_a_window_and_counts() -> None:
    (view,) = pipeline_views(snapshot_of({PIPELINE: GOOD}))
    assert view.slo_runs == (199, 1)
    assert replace(view, policy=None).slo_runs is None
    assert replace(view, policy=Policy(window=0.0)).slo_runs is None
    assert replace(view, stats=RunStats()).slo_runs is None


def test_usual_duration_is_that_of_the_baseline_window() -> None:
    (view,) = pipeline_views(snapshot_of({PIPELINE: replace(GOOD, baselines={"7d": 5.0, "30d": 90.0})}))
    assert view.usual_duration == 90.0
    assert replace(view, stats=RunStats()).usual_duration == 0.0


def test_pause_of_the_listed_deployment_overrides_the_ledger() -> None:
    paused = Schedule(paused_at=NOW - DAY)
    (view,) = pipeline_views(snapshot_of({PIPELINE: GOOD}, schedules={PIPELINE: paused}))
    assert not view.is_paused, "listed as running"
    assert replace(view, deployment=None).is_paused, "not listed: the ledger knows"
