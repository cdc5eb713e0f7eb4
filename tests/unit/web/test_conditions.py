"""What the status page says of a pair: as the alerts would, and of nothing that is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prefect_monitoring.model.changes import Due
from prefect_monitoring.model.records import NO_FLOW, OVERFLOW, Pair
from prefect_monitoring.model.run_stats import Standing
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import Health, Snapshot
from prefect_monitoring.web.status_page.conditions import Group, State, state_of
from prefect_monitoring.web.status_page.pipeline_view import cases, read_at
from unit.snapshots import NOW
from unit.status_pages import DAY, GOOD, HOUR, MINUTE, failing, snapshot_of

PAIR = Pair("etl", "daily")
ALONE = Pair("etl", "")


def judged(snapshot: Snapshot, pair: Pair = PAIR) -> State:
    return next(state_of(case) for case in cases(snapshot) if case.pair == pair)


def told(snapshot: Snapshot, pair: Pair = PAIR) -> tuple[Group, str, str]:
    state = judged(snapshot, pair)
    return state.group, state.remarks[0].text, state.remarks[0].detail


def active(state: str, seconds: float, **more: object) -> Snapshot:
    return snapshot_of({PAIR: GOOD}, active={(PAIR, state): NOW - seconds}, **more)  # type: ignore[arg-type]


def test_a_pair_without_trouble_is_as_its_last_run() -> None:
    assert told(snapshot_of({PAIR: GOOD})) == (Group.FINE, "succeeded", "")
    cancelled = replace(GOOD, last_outcomes={"completed": NOW - DAY, "cancelled": NOW})
    assert told(snapshot_of({PAIR: cancelled})) == (Group.FINE, "cancelled", "")
    assert judged(snapshot_of({PAIR: GOOD})).tone == "ok"
    assert judged(snapshot_of({PAIR: cancelled})).tone == "idle"


def test_paused_and_never_run() -> None:
    since = Due(paused_at=NOW - HOUR)
    paused = judged(snapshot_of({PAIR: GOOD}, paused=(PAIR,), dues={PAIR: since}))
    assert (paused.group, paused.remarks[0].text, paused.remarks[0].since) == (Group.IDLE, "paused", NOW - HOUR)
    unlisted = replace(snapshot_of({PAIR: GOOD}, dues={PAIR: since}), deployments=None)
    assert judged(unlisted).remarks[0].text == "paused", "the ledger knows, whether or not they can be listed"
    assert told(snapshot_of({}, without_runs=(PAIR,))) == (Group.IDLE, "no runs yet", "")


def test_before_the_level_is_complete_nothing_is_said_of_the_past() -> None:
    loading = replace(
        snapshot_of({}, without_runs=(PAIR,), dues={PAIR: Due(last_at=NOW - DAY, unmet_at=NOW - DAY)}),
        health=Health(("loading",), level_complete=False),
    )
    assert told(loading) == (Group.IDLE, "not known yet", "")


@pytest.mark.parametrize(
    ("state", "seconds", "text"),
    [
        ("running", 60, "running"),
        ("late", 299, "late"),
        ("pending", 899, "starting"),
        ("awaiting_concurrency_slot", 3599, "waiting for a slot"),
        ("awaiting_retry", 899, "waiting for a retry"),
        ("awaiting_retry", -3600, "waiting for a retry"),
        ("suspended", 99999, "run suspended"),
    ],
)
def test_what_goes_on_is_no_trouble(state: str, seconds: float, text: str) -> None:
    assert told(active(state, seconds))[:2] == (Group.FINE, text)


@pytest.mark.parametrize(
    ("state", "seconds", "text", "alert"),
    [
        ("late", 301, "late", "PrefectStartLate"),
        ("pending", 901, "stuck", "PrefectRunStuck"),
        ("infrastructure_pending", 901, "stuck", "PrefectRunStuck"),
        ("cancelling", 901, "stuck", "PrefectRunStuck"),
        ("awaiting_retry", 901, "stuck", "PrefectRunStuck"),
        ("awaiting_concurrency_slot", 3601, "stuck", "PrefectRunStuck"),
        ("running", 1801, "running too long", "PrefectRunTooLong"),
        ("retrying", 1801, "running too long", "PrefectRunTooLong"),
    ],
)
def test_what_goes_on_for_too_long(state: str, seconds: float, text: str, alert: str) -> None:
    found = judged(active(state, seconds))
    assert (found.group, found.remarks[0].text, found.remarks[0].alert) == (Group.ATTENTION, text, alert)
    assert found.remarks[0].since == NOW - seconds
    assert len(found.remarks) == 1, "what is said once is not said again"


@pytest.mark.parametrize(
    ("policy", "usual", "limit"),
    [(Policy(max_duration=600.0), 9999.0, 600), (Policy(), 700.0, 2100), (Policy(), 10.0, 1800), (Policy(), 0.0, DAY)],
)
def test_too_long_is_what_is_declared_else_what_is_unusual(policy: Policy, usual: float, limit: float) -> None:
    standing = replace(GOOD, baselines={"30d": usual} if usual else {})
    for seconds, group in ((limit, Group.FINE), (limit + 1, Group.ATTENTION)):
        at = {(PAIR, "running"): NOW - seconds}
        assert judged(snapshot_of({PAIR: standing}, active=at, policies={PAIR: policy})).group == group


def test_failing() -> None:
    found = judged(snapshot_of({PAIR: failing(PAIR)}, active={(PAIR, "running"): NOW - 60}))
    assert (found.group, found.tone) == (Group.ATTENTION, "bad")
    first, second = found.remarks
    assert (first.text, first.detail, first.since) == ("failing", "3 runs in a row, cause: rate limit", NOW - 2 * HOUR)
    assert first.alert == "PrefectRunFailed"
    assert (second.text, second.since) == ("running", NOW - 60), "somebody may be at it"
    crashed = judged(snapshot_of({PAIR: failing(PAIR, 1, "CRASHED")}))
    assert (crashed.remarks[0].detail, crashed.remarks[0].alert) == ("1 run, cause: rate limit", "PrefectRunCrashed")
    last = failing(PAIR).last_failure
    assert last is not None
    for cause in ("", "other"):
        unclear = replace(failing(PAIR), last_failure=replace(last, cause=cause))
        assert told(snapshot_of({PAIR: unclear}))[2] == "3 runs in a row", "that the cause is not known tells nothing"


def test_what_nobody_declared_fails_without_an_alert() -> None:
    found = judged(snapshot_of({ALONE: failing(ALONE)}), ALONE)
    assert (found.group, found.tone, found.remarks[0].text) == (Group.UNWATCHED, "warn", "failing")
    declared = snapshot_of({ALONE: failing(ALONE)}, policies={ALONE: Policy()})
    assert judged(declared, ALONE).group == Group.ATTENTION
    long = snapshot_of({ALONE: GOOD}, active={(ALONE, "running"): NOW - 9 * DAY})
    assert judged(long, ALONE).group == Group.FINE
    left = judged(snapshot_of({ALONE: GOOD}, orphans={ALONE: 2}, active={(ALONE, "running"): NOW - 60}), ALONE)
    assert (left.group, left.remarks[0].alert) == (Group.ATTENTION, "PrefectZombieRun")


@pytest.mark.parametrize(
    ("policy", "due", "completed", "stale"),
    [
        (Policy(max_staleness=3600.0), Due(unmet_at=NOW - 9 * DAY), NOW - 3500, False),
        (Policy(max_staleness=3600.0), Due(), NOW - 3700, True),
        (Policy(grace=600.0), Due(unmet_at=NOW - 800), NOW - DAY, False),  # 600 + 3 * 90
        (Policy(grace=600.0), Due(unmet_at=NOW - 900), NOW - DAY, True),
        (Policy(grace=600.0, max_duration=7200.0), Due(unmet_at=NOW - 900), NOW - DAY, False),
        (Policy(grace=600.0), Due(), NOW - 99 * DAY, False),
    ],
)
def test_not_succeeded(policy: Policy, due: Due, completed: float, *, stale: bool) -> None:
    standing = replace(GOOD, last_outcomes={"completed": completed})
    snapshot = snapshot_of({PAIR: standing}, policies={PAIR: policy}, dues={PAIR: due})
    assert (judged(snapshot).remarks[0].text == "not succeeded") == stale
    paused = snapshot_of({PAIR: standing}, policies={PAIR: policy}, dues={PAIR: due}, paused=(PAIR,))
    assert judged(paused).remarks[0].text == "paused"


def test_start_missed() -> None:
    due = Due(last_at=NOW - 700, unmet_at=NOW - 700)
    assert told(snapshot_of({PAIR: GOOD}, dues={PAIR: due}))[:2] == (Group.ATTENTION, "start missed")
    came = replace(GOOD, last_outcomes={"cancelled": NOW - 650})
    assert judged(snapshot_of({PAIR: came}, dues={PAIR: due})).group == Group.FINE
    assert judged(snapshot_of({PAIR: GOOD}, dues={PAIR: due}, active={(PAIR, "running"): NOW - 9})).group == Group.FINE
    unknown = replace(snapshot_of({PAIR: GOOD}, dues={PAIR: due}), active=None)
    assert judged(unknown).group == Group.FINE, "it may be running"


def test_what_was_due_after_the_last_reading_is_not_judged() -> None:
    """Prefect is down since a day: that a run was due meanwhile says nothing about the pipeline."""
    snapshot = snapshot_of({PAIR: GOOD}, dues={PAIR: Due(last_at=NOW - HOUR, unmet_at=NOW - HOUR)})
    (finished,) = snapshot.about.sources
    down = replace(finished, up=False, complete_to=NOW - DAY, last_success=NOW - DAY)
    assert judged(snapshot).group == Group.ATTENTION
    assert judged(replace(snapshot, about=replace(snapshot.about, sources=(down,)))).group == Group.FINE
    restarted = replace(snapshot, about=replace(snapshot.about, sources=(replace(down, complete_to=None),)))
    assert read_at(restarted) == NOW - HOUR, "the newest end that the ledger knows"
    assert judged(restarted).group == Group.FINE
    assert read_at(replace(restarted, standings={})) is None


def test_budget_is_counted_in_runs() -> None:
    for bad, group in ((2, Group.FINE), (3, Group.ATTENTION)):
        standing = replace(GOOD, window_runs={("slo", "good"): 200 - bad, ("slo", "bad"): bad})
        assert judged(snapshot_of({PAIR: standing})).group == group
    assert judged(snapshot_of({PAIR: standing})).remarks[0].detail == "3 failed, 99\u00a0% allows 2"
    few = replace(GOOD, window_runs={("slo", "good"): 3, ("slo", "bad"): 1})
    assert judged(snapshot_of({PAIR: few})).group == Group.FINE, "one failure is always allowed"


def test_paused_for_longer_than_declared() -> None:
    for seconds, group in ((HOUR, Group.IDLE), (HOUR + 1, Group.ATTENTION)):
        due = {PAIR: Due(paused_at=NOW - seconds)}
        policy = {PAIR: Policy(max_pause=HOUR)}
        assert judged(snapshot_of({PAIR: GOOD}, paused=(PAIR,), dues=due, policies=policy)).group == group


def test_pairs_are_those_with_runs_deployments_or_something_under_way() -> None:
    other, due = Pair("a", ""), Pair("due", "d")
    snapshot = snapshot_of(
        {PAIR: GOOD, OVERFLOW: GOOD, NO_FLOW: Standing()}, active={(other, "running"): NOW}, dues={due: Due()}
    )
    assert {case.pair for case in cases(snapshot)} == {PAIR, other, due}


def test_counts_of_all_pools_are_one() -> None:
    snapshot = active("running", MINUTE)
    assert snapshot.active is not None
    counts = {(PAIR, "k8s", "running"): 2, (PAIR, "local", "running"): 3}
    several = replace(snapshot, active=replace(snapshot.active, counts=counts))
    assert told(several) == (Group.FINE, "running", "5 runs")
