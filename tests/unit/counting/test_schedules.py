"""Which deployments are requested, and when starts are due."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_monitoring.counting.schedules import (
    ASK_AGAIN_SECONDS,
    UNKNOWN,
    Asked,
    Plan,
    passed,
    plan,
    settled,
    settled_all,
)
from prefect_monitoring.model.changes import Schedule
from prefect_monitoring.model.records import Deployment, Pipeline

NOW = 1772452800.0
HOURLY = '[{"cron":"0 * * * *"}]'
DAILY = '[{"cron":"0 0 * * *"}]'
ONE = Deployment("d", "daily", "f", "", "", (), paused=False, ready=False, schedules=HOURLY)
PAUSED = replace(ONE, paused=True)
BARE = replace(ONE, schedules="")
UNREAD = replace(ONE, paused=None, schedules="")
AHEAD, PAST = NOW + 60, NOW - 60
JUST = Asked(HOURLY, NOW - 60)

CASES = {
    "never asked": (ONE, UNKNOWN, None, Plan(ask=["d"])),
    "known and ahead": (ONE, Schedule(None, AHEAD), JUST, Plan()),
    "known, asked by an earlier process": (ONE, Schedule(None, AHEAD), None, Plan(ask=["d"])),
    "nothing was scheduled yet": (ONE, Schedule(PAST, None), JUST, Plan(ask=["d"])),
    "passed": (ONE, Schedule(None, PAST), JUST, Plan(ask=["d"], passed={"d": PAST})),
    "passing now": (ONE, Schedule(None, NOW), JUST, Plan(ask=["d"], passed={"d": NOW})),
    "passed while the exporter was off": (ONE, Schedule(None, PAST), None, Plan(ask=["d"], passed={"d": PAST})),
    "other schedules": (ONE, Schedule(None, AHEAD), Asked(DAILY, NOW - 60), Plan(ask=["d"])),
    "other schedules, passed": (ONE, Schedule(None, PAST), Asked(DAILY, NOW - 60), Plan(ask=["d"])),
    "asked long ago": (ONE, Schedule(None, AHEAD), Asked(HOURLY, NOW - ASK_AGAIN_SECONDS), Plan(ask=["d"])),
    "paused": (PAUSED, Schedule(PAST, AHEAD), JUST, Plan(off=["d"], pauses={"d": NOW})),
    "paused, passed": (PAUSED, Schedule(None, PAST), JUST, Plan(off=["d"], pauses={"d": NOW})),
    "paused for long": (PAUSED, Schedule(PAST, None, paused_at=PAST, unscheduled_at=PAST), JUST, Plan()),
    "paused, with something due": (PAUSED, Schedule(PAST, None, PAST, paused_at=PAST), JUST, Plan(off=["d"])),
    "no longer paused": (ONE, Schedule(None, AHEAD, paused_at=PAST), JUST, Plan(pauses={"d": None})),
    "paused, not read since the start": (UNREAD, Schedule(None, None, paused_at=PAST), None, Plan()),
    "without schedules": (BARE, UNKNOWN, None, Plan()),
    "schedules taken away": (BARE, Schedule(None, AHEAD), JUST, Plan(off=["d"])),
    "schedules taken away, nothing ahead": (BARE, Schedule(PAST, None, PAST), JUST, Plan(off=["d"])),
    "schedules taken away for long": (BARE, Schedule(PAST, None, PAST, unscheduled_at=PAST), JUST, Plan()),
    "not read since the start": (UNREAD, Schedule(None, PAST), None, Plan()),
}


@pytest.mark.parametrize(("deployment", "due", "before", "expected"), CASES.values(), ids=CASES)
def test_plan_of_a_pass_has_what_to_ask_and_what_passed(
    deployment: Deployment, due: Schedule, before: Asked | None, expected: Plan
) -> None:
    asked = {"d": before} if before else {}
    assert plan([deployment], {"d": due}, asked, NOW) == expected


def test_plan_keeps_deployments_apart() -> None:
    other = replace(ONE, id="e")
    assert plan(
        [ONE, other], {"d": Schedule(None, AHEAD), "e": Schedule(None, PAST)}, {"d": JUST, "e": JUST}, NOW
    ) == Plan(ask=["e"], passed={"e": PAST})


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        (UNKNOWN, UNKNOWN),
        (Schedule(PAST, AHEAD), Schedule(PAST, AHEAD)),
        (Schedule(None, PAST), Schedule(PAST, None, PAST)),
        (Schedule(PAST - 60, PAST), Schedule(PAST, None, PAST)),
        (Schedule(PAST, PAST - 60), Schedule(PAST, None)),
    ],
)
def test_start_that_has_passed_is_the_last_start(due: Schedule, expected: Schedule) -> None:
    assert settled(due, ONE, NOW, None) == expected


@pytest.mark.parametrize("deployment", [PAUSED, BARE])
def test_start_that_was_cancelled_was_never_due(deployment: Deployment) -> None:
    assert settled(Schedule(None, PAST), deployment, NOW, None) == UNKNOWN
    assert settled(Schedule(PAST, AHEAD), deployment, NOW, None) == Schedule(PAST, None)


@given(
    periods=st.lists(st.integers(5, 400), min_size=1, max_size=4),
    steps=st.lists(st.tuples(st.integers(1, 300), st.booleans()), max_size=40),
)
def test_due_starts_match_the_schedules(periods: list[int], steps: list[tuple[int, bool]]) -> None:
    """Deployments with any interval, passes at any distance, and restarts in between."""
    deployments = [replace(ONE, id=str(period)) for period in periods]
    schedules: dict[str, Schedule] = {}
    asked: dict[str, Asked] = {}
    now = 0.0
    for after, restarted in steps:
        now += after
        asked = {} if restarted else asked
        before = {
            deployment.id: settled(schedules.get(deployment.id, UNKNOWN), deployment, now, None)
            for deployment in deployments
        }
        todo = plan(deployments, schedules, asked, now)
        for deployment_id in todo.ask:
            last = (
                max(todo.passed.get(deployment_id, 0.0), schedules.get(deployment_id, UNKNOWN).last_at or 0.0) or None
            )
            schedules[deployment_id] = Schedule(last, (now // int(deployment_id) + 1) * int(deployment_id))
            asked[deployment_id] = Asked(HOURLY, now)
        for deployment in deployments:
            shown = settled(schedules[deployment.id], deployment, now, None)
            assert shown.last_at == before[deployment.id].last_at, "storing it changes nothing"
            assert shown.next_at == (now // int(deployment.id) + 1) * int(deployment.id)
            assert shown.last_at is None or (shown.last_at <= now and shown.last_at % int(deployment.id) == 0)
        assert plan(deployments, schedules, asked, now) == Plan(), "an idle pass requests nothing"


@pytest.mark.parametrize(
    ("due", "completed_at", "unmet_at"),
    [
        (Schedule(None, None), None, NOW),
        (Schedule(PAST, None, PAST), None, PAST),
        (Schedule(PAST, None, PAST), PAST - 1, PAST),
        (Schedule(PAST, None, PAST), PAST, NOW),
        (Schedule(PAST, None, None), PAST + 1, NOW),
    ],
)
def test_unmet_start_is_the_earliest_since_the_last_success(
    due: Schedule, completed_at: float | None, unmet_at: float
) -> None:
    assert passed(due, NOW, completed_at) == Schedule(NOW, None, unmet_at)


def test_success_meets_every_earlier_start() -> None:
    due = Schedule(PAST, AHEAD, PAST - 600)

    assert settled(due, ONE, NOW, PAST - 601).unmet_at == PAST - 600
    assert settled(due, ONE, NOW, PAST - 600).unmet_at is None


@pytest.mark.parametrize("deployment", [PAUSED, BARE])
def test_paused_deployment_has_no_schedule(deployment: Deployment) -> None:
    assert settled(Schedule(PAST, None, PAST), deployment, NOW, None) == UNKNOWN
    assert settled(Schedule(PAST, None, PAST), UNREAD, NOW, None) == Schedule(PAST, None, PAST), (
        "not known yet whether it is paused"
    )


def test_what_was_due_before_a_pause_is_not_asked_for_after_it() -> None:
    due = Schedule(PAST, AHEAD, PAST - 600, unscheduled_at=PAST + 1)

    shown = settled(due, ONE, NOW, None)
    assert (shown.last_at, shown.next_at, shown.unmet_at) == (None, AHEAD, None)
    met = settled(due, ONE, NOW, PAST + 5)
    assert (met.last_at, met.unmet_at) == (PAST, None), "a start that took place is not unmet"
    later = settled(replace(due, next_at=NOW), ONE, NOW, None)
    assert (later.last_at, later.unmet_at) == (NOW, NOW), "later starts count from then on"
    assert passed(due, NOW, None).unmet_at == NOW


def test_unmet_start_of_a_frequent_schedule_stays_the_earliest() -> None:
    due, failing_since = UNKNOWN, NOW
    for start in range(12):
        due = passed(due, NOW + 300 * start, NOW - 30)

    assert (due.last_at, due.unmet_at) == (NOW + 300 * 11, failing_since)


def test_start_is_not_unmet_before_completed_runs_are_known() -> None:
    pipeline, known = Pipeline("etl", "daily"), {"d": Schedule(PAST, AHEAD, PAST)}

    assert settled_all(known, {pipeline: ONE}, NOW, None) == {pipeline: Schedule(PAST, AHEAD)}
    assert settled_all(known, {pipeline: ONE}, NOW, {}) == {pipeline: Schedule(PAST, AHEAD, PAST)}
    assert settled_all(known, {pipeline: ONE}, NOW, {pipeline: NOW}) == {pipeline: Schedule(PAST, AHEAD)}
    assert settled_all({}, {pipeline: ONE}, NOW, {}) == {pipeline: UNKNOWN}
