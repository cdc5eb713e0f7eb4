"""Which deployments are asked about, and what is due when."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_monitoring.changes import Due
from prefect_monitoring.dues import ASK_AGAIN_SECONDS, UNKNOWN, Asked, Plan, plan, settled
from prefect_monitoring.records import Deployment

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
    "known and ahead": (ONE, Due(None, AHEAD), JUST, Plan()),
    "known, asked by an earlier process": (ONE, Due(None, AHEAD), None, Plan(ask=["d"])),
    "nothing was scheduled yet": (ONE, Due(PAST, None), JUST, Plan(ask=["d"])),
    "passed": (ONE, Due(None, PAST), JUST, Plan(ask=["d"], passed={"d": PAST})),
    "passing now": (ONE, Due(None, NOW), JUST, Plan(ask=["d"], passed={"d": NOW})),
    "passed while nobody watched": (ONE, Due(None, PAST), None, Plan(ask=["d"], passed={"d": PAST})),
    "other schedules": (ONE, Due(None, AHEAD), Asked(DAILY, NOW - 60), Plan(ask=["d"])),
    "other schedules, passed": (ONE, Due(None, PAST), Asked(DAILY, NOW - 60), Plan(ask=["d"])),
    "asked long ago": (ONE, Due(None, AHEAD), Asked(HOURLY, NOW - ASK_AGAIN_SECONDS), Plan(ask=["d"])),
    "paused": (PAUSED, Due(PAST, AHEAD), JUST, Plan(off=["d"])),
    "paused, passed": (PAUSED, Due(None, PAST), JUST, Plan(off=["d"])),
    "paused for long": (PAUSED, Due(PAST, None), JUST, Plan()),
    "without schedules": (BARE, UNKNOWN, None, Plan()),
    "schedules taken away": (BARE, Due(None, AHEAD), JUST, Plan(off=["d"])),
    "not read since the start": (UNREAD, Due(None, PAST), None, Plan()),
}


@pytest.mark.parametrize(("deployment", "due", "before", "expected"), CASES.values(), ids=CASES)
def test_plan(deployment: Deployment, due: Due, before: Asked | None, expected: Plan) -> None:
    asked = {"d": before} if before else {}
    assert plan([deployment], {"d": due}, asked, NOW) == expected


def test_others_are_no_business_of_a_deployments() -> None:
    other = replace(ONE, id="e")
    assert plan([ONE, other], {"d": Due(None, AHEAD), "e": Due(None, PAST)}, {"d": JUST, "e": JUST}, NOW) == Plan(
        ask=["e"], passed={"e": PAST}
    )


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        (UNKNOWN, UNKNOWN),
        (Due(PAST, AHEAD), Due(PAST, AHEAD)),
        (Due(None, PAST), Due(PAST, None)),
        (Due(PAST - 60, PAST), Due(PAST, None)),
        (Due(PAST, PAST - 60), Due(PAST, None)),
    ],
)
def test_start_that_has_passed_is_the_last_one(due: Due, expected: Due) -> None:
    assert settled(due, ONE, NOW) == expected


@pytest.mark.parametrize("deployment", [PAUSED, BARE])
def test_start_that_was_called_off_never_was_due(deployment: Deployment) -> None:
    assert settled(Due(None, PAST), deployment, NOW) == UNKNOWN
    assert settled(Due(PAST, AHEAD), deployment, NOW) == Due(PAST, None)


@given(
    periods=st.lists(st.integers(5, 400), min_size=1, max_size=4),
    steps=st.lists(st.tuples(st.integers(1, 300), st.booleans()), max_size=40),
)
def test_what_is_shown_is_what_the_schedules_said(periods: list[int], steps: list[tuple[int, bool]]) -> None:
    """Deployments that start every so many seconds, passes at any distance, and processes that begin in between."""
    deployments = [replace(ONE, id=str(period)) for period in periods]
    dues: dict[str, Due] = {}
    asked: dict[str, Asked] = {}
    now = 0.0
    for after, restarted in steps:
        now += after
        asked = {} if restarted else asked
        before = {one.id: settled(dues.get(one.id, UNKNOWN), one, now) for one in deployments}
        todo = plan(deployments, dues, asked, now)
        for one in todo.ask:
            last = max(todo.passed.get(one, 0.0), dues.get(one, UNKNOWN).last_at or 0.0) or None
            dues[one] = Due(last, (now // int(one) + 1) * int(one))
            asked[one] = Asked(HOURLY, now)
        for one in deployments:
            shown = settled(dues[one.id], one, now)
            assert shown.last_at == before[one.id].last_at, "storing it changes nothing"
            assert shown.next_at == (now // int(one.id) + 1) * int(one.id)
            assert shown.last_at is None or (shown.last_at <= now and shown.last_at % int(one.id) == 0)
        assert plan(deployments, dues, asked, now) == Plan(), "an idle pass asks nothing"
