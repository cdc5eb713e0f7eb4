"""The conditions of the status page: when each holds, and that unknown data triggers none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prefect_monitoring.model.changes import Schedule
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import Health, Snapshot
from prefect_monitoring.web.status_page.conditions import CONDITIONS, ConditionId, Finding, allowed_failures
from prefect_monitoring.web.status_page.pipeline_view import pipeline_views
from prefect_monitoring.web.status_page.thresholds import RUNNING_STATES, THRESHOLDS
from prefect_monitoring.web.status_page.tone import Tone
from unit.snapshots import NOW
from unit.status_pages import DAY, GOOD, HOUR, failing, snapshot_of

PIPELINE = Pipeline("etl", "daily")
ALONE = Pipeline("etl", "")


def findings(snapshot: Snapshot) -> dict[ConditionId, Finding]:
    """The conditions of the snapshot's only pipeline."""
    (view,) = pipeline_views(snapshot)
    checks = {condition.id: condition.check(view) for condition in CONDITIONS}
    return {key: finding for key, finding in checks.items() if finding is not None}


def active(state: str, seconds: float, policy: Policy | None = None, usual: float = 90.0) -> Snapshot:
    stats = GOOD if usual else replace(GOOD, recent_durations=())
    stats = replace(stats, baselines={"30d": usual} if usual else {})
    policies = {PIPELINE: policy} if policy is not None else {}
    return snapshot_of({PIPELINE: stats}, active={(PIPELINE, state): NOW - seconds}, policies=policies)


def test_table_has_each_condition_once_with_the_worst_first() -> None:
    assert sorted(condition.id for condition in CONDITIONS) == sorted(ConditionId)
    ranks = [condition.rank for condition in CONDITIONS]
    assert ranks == sorted(ranks)
    tones = [condition.severity for condition in CONDITIONS]
    assert tones == sorted(tones, key=[Tone.BAD, Tone.WARN].index), "nothing bad comes after a warning"


def test_healthy_pipeline_has_no_finding() -> None:
    assert findings(snapshot_of({PIPELINE: GOOD})) == {}


LIMITS = [
    *((ConditionId.RUN_STUCK, state, seconds) for state, seconds in THRESHOLDS.stuck_seconds.items()),
    *((ConditionId.RUN_TOO_LONG, state, THRESHOLDS.long_run_min_seconds) for state in RUNNING_STATES),
    (ConditionId.START_LATE, "late", THRESHOLDS.start_late_seconds),
]


@pytest.mark.parametrize(("condition", "state", "seconds"), LIMITS)
def test_active_run_is_reported_beyond_its_threshold(condition: ConditionId, state: str, seconds: float) -> None:
    assert findings(active(state, seconds)) == {}
    beyond = findings(active(state, seconds + 1))
    assert beyond.keys() == {condition}
    assert (beyond[condition].since, beyond[condition].run_state) == (NOW - seconds - 1, state)


@pytest.mark.parametrize(("state", "seconds"), [("suspended", 99 * DAY), ("awaiting_retry", -HOUR)])
def test_active_run_that_may_wait_is_not_reported(state: str, seconds: float) -> None:
    assert findings(active(state, seconds)) == {}


@pytest.mark.parametrize(
    ("policy", "usual", "limit", "detail"),
    [
        (Policy(max_duration=600.0), 9999.0, 600, "at most 10 min"),
        (Policy(), 700.0, THRESHOLDS.long_run_factor * 700, "usually 11 min 40 s"),
        (Policy(), 10.0, THRESHOLDS.long_run_min_seconds, "usually 10 s"),
        (Policy(), 0.0, THRESHOLDS.long_run_unknown_seconds, ""),
    ],
)
def test_too_long_is_the_declared_limit_or_an_unusual_duration(
    policy: Policy, usual: float, limit: float, detail: str
) -> None:
    assert findings(active("running", limit, policy, usual)) == {}
    finding = findings(active("running", limit + 1, policy, usual))[ConditionId.RUN_TOO_LONG]
    assert finding.detail.replace("\u00a0", " ") == detail


@pytest.mark.parametrize(
    ("kind", "condition"), [("FAILED", ConditionId.RUN_FAILED), ("CRASHED", ConditionId.RUN_CRASHED)]
)
def test_failing_since_the_first_failure_in_a_row(kind: str, condition: ConditionId) -> None:
    expected = Finding("3 runs in a row, cause: rate limit", NOW - 2 * HOUR)
    assert findings(snapshot_of({PIPELINE: failing(PIPELINE, 3, kind)})) == {condition: expected}
    single = findings(snapshot_of({PIPELINE: failing(PIPELINE, 1, kind)}))
    assert single[condition].detail == "1 run, cause: rate limit"


def test_failing_beside_parallel_runs_that_completed() -> None:
    stats = replace(
        failing(PIPELINE, 0), failing_since=None, unresolved=2, unresolved_since=NOW - HOUR, last_failure=None
    )
    assert findings(snapshot_of({PIPELINE: stats})) == {ConditionId.RUN_FAILED: Finding("2 runs", NOW - HOUR)}


@pytest.mark.parametrize("cause", ["", "other"])
def test_failing_for_an_unknown_cause_names_no_cause(cause: str) -> None:
    last = failing(PIPELINE).last_failure
    assert last is not None
    unclear = replace(failing(PIPELINE), last_failure=replace(last, cause=cause))
    assert findings(snapshot_of({PIPELINE: unclear}))[ConditionId.RUN_FAILED].detail == "3 runs in a row"


def test_pipeline_without_a_policy_can_only_fail_or_leave_runs_over() -> None:
    snapshot = snapshot_of({ALONE: failing(ALONE)}, orphans={ALONE: 2}, active={(ALONE, "running"): NOW - 9 * DAY})
    assert findings(snapshot).keys() == {ConditionId.RUN_FAILED, ConditionId.RUN_ORPHANED}
    declared = findings(replace(snapshot, policies={ALONE: Policy()}))
    assert declared.keys() == {ConditionId.RUN_FAILED, ConditionId.RUN_ORPHANED, ConditionId.RUN_TOO_LONG}
    assert declared[ConditionId.RUN_ORPHANED].detail == "2 runs of a parent that is over"


def test_alert_fires_without_a_policy_for_orphans_only() -> None:
    (view,) = pipeline_views(snapshot_of({ALONE: GOOD}))
    assert {condition.id for condition in CONDITIONS if condition.fires(view)} == {ConditionId.RUN_ORPHANED}
    declared = replace(view, policy=Policy())
    assert all(condition.fires(declared) for condition in CONDITIONS)


PATIENCE = 600 + THRESHOLDS.grace_duration_factor * 90  # the grace, and the usual duration of GOOD


@pytest.mark.parametrize(
    ("policy", "due", "completed", "detail"),
    [
        (Policy(max_staleness=3600.0), Schedule(unmet_at=NOW - 9 * DAY), NOW - 3500, None),
        (Policy(max_staleness=3600.0), Schedule(), NOW - 3700, "stale"),
        (Policy(grace=600.0), Schedule(unmet_at=NOW - PATIENCE), NOW - DAY, None),
        (Policy(grace=600.0), Schedule(unmet_at=NOW - PATIENCE - 3), NOW - DAY, "overdue"),  # read until 2 s ago
        (Policy(grace=600.0, max_duration=7200.0), Schedule(unmet_at=NOW - PATIENCE - 3), NOW - DAY, None),
        (Policy(grace=600.0), Schedule(), NOW - 99 * DAY, None),
    ],
)
def test_pipeline_without_a_success_in_time_is_reported(
    policy: Policy, due: Schedule, completed: float, detail: str | None
) -> None:
    stats = replace(GOOD, last_outcomes={"completed": completed})
    snapshot = snapshot_of({PIPELINE: stats}, policies={PIPELINE: policy}, schedules={PIPELINE: due})
    finding = findings(snapshot).get(ConditionId.NOT_SUCCEEDED)
    assert (finding.detail if finding is not None else None) == detail
    paused = snapshot_of({PIPELINE: stats}, policies={PIPELINE: policy}, schedules={PIPELINE: due}, paused=(PIPELINE,))
    assert findings(paused) == {}


def test_start_is_missed_only_if_nothing_started_and_nothing_runs() -> None:
    due = Schedule(last_at=NOW - 2 - THRESHOLDS.start_missed_seconds - 1)
    snapshot = snapshot_of({PIPELINE: GOOD}, schedules={PIPELINE: due})
    assert findings(snapshot) == {ConditionId.START_MISSED: Finding(since=due.last_at)}
    in_time = replace(due, last_at=NOW - 2 - THRESHOLDS.start_missed_seconds)
    assert findings(snapshot_of({PIPELINE: GOOD}, schedules={PIPELINE: in_time})) == {}
    came = replace(GOOD, last_outcomes={"cancelled": NOW - 550})
    assert findings(snapshot_of({PIPELINE: came}, schedules={PIPELINE: due})) == {}
    assert (
        findings(snapshot_of({PIPELINE: GOOD}, schedules={PIPELINE: due}, active={(PIPELINE, "running"): NOW - 9}))
        == {}
    )
    assert findings(replace(snapshot, active=None)) == {}, "it may be running"


def test_repeatedly_missed_start_counts_from_the_first() -> None:
    due = Schedule(last_at=NOW - 60, unmet_at=NOW - HOUR / 2)
    assert (
        findings(snapshot_of({PIPELINE: GOOD}, schedules={PIPELINE: due}))[ConditionId.START_MISSED].since
        == due.unmet_at
    )
    came = replace(GOOD, last_outcomes={"failed": NOW - HOUR / 3})
    assert ConditionId.START_MISSED not in findings(snapshot_of({PIPELINE: came}, schedules={PIPELINE: due}))


def test_success_is_not_expected_of_approvals_first_runs_and_right_after_a_resume() -> None:
    overdue = {PIPELINE: Schedule(unmet_at=NOW - 9 * DAY)}
    new = replace(GOOD, baselines={}, recent_durations=(), last_outcomes={})
    for stats, state, is_found in ((GOOD, "paused", False), (GOOD, "pending", True), (new, "running", False)):
        conditions = findings(snapshot_of({PIPELINE: stats}, schedules=overdue, active={(PIPELINE, state): NOW - 9}))
        assert (ConditionId.NOT_SUCCEEDED in conditions) is is_found, state
    stale, policies = replace(GOOD, last_outcomes={"completed": NOW - DAY}), {PIPELINE: Policy(max_staleness=HOUR)}
    for resumed_at, is_found in ((None, True), (NOW - HOUR / 2, False), (NOW - 2 * HOUR, True)):
        schedules = {PIPELINE: Schedule(resumed_at=resumed_at)}
        conditions = findings(snapshot_of({PIPELINE: stale}, schedules=schedules, policies=policies))
        assert (ConditionId.NOT_SUCCEEDED in conditions) is is_found, resumed_at


def test_incomplete_baseline_is_not_judged() -> None:
    overdue = Schedule(last_at=NOW - DAY, unmet_at=NOW - DAY)
    snapshot = snapshot_of({}, without_runs=(PIPELINE,), schedules={PIPELINE: overdue})
    assert findings(snapshot).keys() == {ConditionId.NOT_SUCCEEDED, ConditionId.START_MISSED}
    assert findings(replace(snapshot, health=Health(("loading",), baseline_complete=False))) == {}


def test_start_due_after_the_last_reading_is_not_judged() -> None:
    """While Prefect is down for a day, a due run says nothing about the pipeline."""
    due = NOW - HOUR + 1  # after the last known run
    snapshot = snapshot_of({PIPELINE: GOOD}, schedules={PIPELINE: Schedule(last_at=due, unmet_at=due)})
    (finished,) = snapshot.about.sources
    down = replace(finished, up=False, complete_to=NOW - DAY, last_success=NOW - DAY)
    assert findings(snapshot).keys() == {ConditionId.NOT_SUCCEEDED, ConditionId.START_MISSED}
    for source in (down, replace(down, complete_to=None)):
        assert findings(replace(snapshot, about=replace(snapshot.about, sources=(source,)))) == {}


def test_spent_budget_is_counted_in_runs() -> None:
    def spent(good: int, bad: int) -> str | None:
        stats = replace(GOOD, window_runs={("slo", "good"): good, ("slo", "bad"): bad})
        finding = findings(snapshot_of({PIPELINE: stats})).get(ConditionId.BUDGET_SPENT)
        return finding.detail if finding is not None else None

    assert spent(198, 2) is None
    assert spent(197, 3) == "3 failed, 99\u00a0% allows 2"
    assert spent(3, 1) is None, "one failure is always allowed"


@pytest.mark.parametrize(
    ("objective", "runs", "allowed"), [(0.99, 300, 3), (0.99, 299, 2), (0.9, 30, 3), (0.999, 5, 1), (0.99, 0, 1)]
)
def test_allowed_failures_are_whole_runs_and_at_least_one(objective: float, runs: int, allowed: int) -> None:
    assert allowed_failures(Policy(objective=objective), runs, 0) == allowed


@pytest.mark.parametrize(("seconds", "expected"), [(HOUR, set()), (HOUR + 1, {ConditionId.PAUSED_TOO_LONG})])
def test_pause_longer_than_declared_is_reported(seconds: float, expected: set[ConditionId]) -> None:
    due, policy = Schedule(paused_at=NOW - seconds), Policy(max_pause=HOUR)
    snapshot = snapshot_of({PIPELINE: GOOD}, paused=(PIPELINE,), schedules={PIPELINE: due}, policies={PIPELINE: policy})
    assert findings(snapshot).keys() == expected
