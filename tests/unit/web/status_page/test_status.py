"""The status of a pipeline: group, lines and tone, from its conditions, active runs and last outcome."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prefect_monitoring.model.changes import Schedule
from prefect_monitoring.model.records import COMPLETED_LABELS, Pipeline
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import Health, Snapshot
from prefect_monitoring.web.status_page.conditions import ConditionId
from prefect_monitoring.web.status_page.pipeline_view import pipeline_views
from prefect_monitoring.web.status_page.status import Group, PipelineStatus, StatusLine, status_of
from prefect_monitoring.web.status_page.tone import Tone
from unit.snapshots import NOW
from unit.status_pages import DAY, GOOD, HOUR, failing, snapshot_of

PIPELINE = Pipeline("etl", "daily")
ALONE = Pipeline("etl", "")


def status(snapshot: Snapshot) -> PipelineStatus:
    (view,) = pipeline_views(snapshot)
    return status_of(view)


def test_pipeline_without_conditions_shows_its_last_outcome() -> None:
    assert status(snapshot_of({PIPELINE: GOOD})) == PipelineStatus(Group.FINE, Tone.OK, (StatusLine("succeeded"),))
    cancelled = replace(GOOD, last_outcomes={"completed": NOW - DAY, "cancelled": NOW})
    expected = PipelineStatus(Group.FINE, Tone.IDLE, (StatusLine("cancelled"),))
    assert status(snapshot_of({PIPELINE: cancelled})) == expected


@pytest.mark.parametrize("outcome", COMPLETED_LABELS)
def test_completed_run_of_any_name_is_fine(outcome: str) -> None:
    """It meets the start and is the last success."""
    policy = Policy(max_staleness=HOUR)
    stats = replace(GOOD, last_outcomes={"completed": NOW - DAY, outcome: NOW - 60})
    shown = status(snapshot_of({PIPELINE: stats}, policies={PIPELINE: policy}))
    assert (shown.group, shown.tone) == (Group.FINE, Tone.OK)


def test_paused_pipeline_is_idle_whether_or_not_it_is_listed() -> None:
    since = Schedule(paused_at=NOW - HOUR)
    snapshot = snapshot_of({PIPELINE: GOOD}, paused=(PIPELINE,), schedules={PIPELINE: since})
    expected = PipelineStatus(Group.IDLE, Tone.IDLE, (StatusLine("paused", since=NOW - HOUR),))
    assert status(snapshot) == expected
    assert status(replace(snapshot, deployments=None)) == expected


def test_pipeline_without_runs_is_idle() -> None:
    snapshot = snapshot_of({}, without_runs=(PIPELINE,))
    assert status(snapshot) == PipelineStatus(Group.IDLE, Tone.IDLE, (StatusLine("no runs yet"),))
    loading = replace(snapshot, health=Health(("loading",), baseline_complete=False))
    assert status(loading) == PipelineStatus(Group.IDLE, Tone.IDLE, (StatusLine("not known yet"),))


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("running", "running"),
        ("retrying", "running again"),
        ("cancelling", "being cancelled"),
        ("late", "late"),
        ("pending", "starting"),
        ("submitting", "starting"),
        ("infrastructure_pending", "starting"),
        ("awaiting_concurrency_slot", "waiting for a slot"),
        ("awaiting_retry", "waiting for a retry"),
        ("suspended", "run suspended"),
        ("some_state", "run some state"),
    ],
)
def test_active_run_is_shown(state: str, text: str) -> None:
    snapshot = snapshot_of({PIPELINE: GOOD}, active={(PIPELINE, state): NOW - 60})
    assert status(snapshot) == PipelineStatus(Group.FINE, Tone.BUSY, (StatusLine(text, since=NOW - 60),))


def test_most_advanced_active_run_is_shown() -> None:
    states = ("suspended", "pending", "late", "running")
    snapshot = snapshot_of({PIPELINE: GOOD}, active={(PIPELINE, state): NOW - 60 for state in states})
    assert status(snapshot).lines == (StatusLine("running", since=NOW - 60),)
    assert snapshot.active is not None
    many = replace(snapshot.active, counts={(PIPELINE, "k8s", "running"): 5})
    assert status(replace(snapshot, active=many)).lines == (StatusLine("running", "5 runs", NOW - 60),)


def test_condition_comes_before_the_activity() -> None:
    troubled = status(snapshot_of({PIPELINE: failing(PIPELINE)}, active={(PIPELINE, "running"): NOW - 60}))
    assert (troubled.group, troubled.tone) == (Group.ATTENTION, Tone.BAD)
    assert [condition.id for condition in troubled.conditions] == [ConditionId.RUN_FAILED]
    assert [line.text for line in troubled.lines] == ["failing", "running"], "somebody may be fixing it"


def test_active_run_that_a_condition_names_is_not_repeated() -> None:
    late = status(snapshot_of({PIPELINE: GOOD}, active={(PIPELINE, "late"): NOW - HOUR}))
    assert late.lines == (StatusLine("late", "1 run", NOW - HOUR),)
    assert (late.group, late.tone) == (Group.ATTENTION, Tone.WARN)


def test_active_run_since_the_instant_of_another_finding_is_shown() -> None:
    since = NOW - 60
    snapshot = snapshot_of({PIPELINE: failing(PIPELINE, since=since)}, active={(PIPELINE, "running"): since})
    assert [line.text for line in status(snapshot).lines] == ["failing", "running"]


def test_several_conditions_are_listed_worst_first() -> None:
    troubled = status(snapshot_of({PIPELINE: failing(PIPELINE)}, active={(PIPELINE, "running"): NOW - DAY}))
    assert [condition.id for condition in troubled.conditions] == [ConditionId.RUN_FAILED, ConditionId.RUN_TOO_LONG]
    assert troubled.tone is Tone.BAD
    assert [line.text for line in troubled.lines] == ["failing", "running too long"]


def test_undeclared_pipeline_needs_attention_only_where_an_alert_fires() -> None:
    unwatched = status(snapshot_of({ALONE: failing(ALONE)}))
    assert (unwatched.group, unwatched.tone, unwatched.lines[0].text) == (Group.UNWATCHED, Tone.WARN, "failing")
    assert status(snapshot_of({ALONE: failing(ALONE)}, policies={ALONE: Policy()})).group is Group.ATTENTION
    assert status(snapshot_of({ALONE: failing(ALONE)}, orphans={ALONE: 2})).group is Group.ATTENTION


def test_rank_is_criticality_then_the_worst_condition() -> None:
    late = {(PIPELINE, "late"): NOW - HOUR}

    def rank(criticality: str, *, is_failing: bool) -> tuple[int, int]:
        stats = failing(PIPELINE) if is_failing else GOOD
        policies = {PIPELINE: Policy(criticality=criticality)}
        return status(snapshot_of({PIPELINE: stats}, active=late, policies=policies)).rank

    ranks = [rank(name, is_failing=failed) for name in ("critical", "standard", "low") for failed in (True, False)]
    assert ranks == sorted(set(ranks))
    crashed = status(snapshot_of({PIPELINE: failing(PIPELINE, 1, "CRASHED")})).rank
    assert crashed == status(snapshot_of({PIPELINE: failing(PIPELINE)})).rank, "a crash and a failure rank the same"
