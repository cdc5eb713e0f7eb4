"""Closed hours against the API's counts: missing runs are counted or reported, deleted runs are marked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from prefect_monitoring.ingest.reconcile import RECENT_SECONDS, WHOLE_INTERVAL, Reconciliation, Verdict
from prefect_monitoring.ingest.sources import Readers
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import OUTCOMES, TASK_OUTCOMES
from prefect_monitoring.model.cursor import FLOW_RUNS, OVERLAP_SECONDS, TASK_RUNS
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.source_status import ReconciliationReport
from prefect_monitoring.prefect_api.client import Traffic
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.runtime.poller import Poller, make_poller
from prefect_monitoring.snapshot.model import Snapshot
from support.options import settings_with
from unit.fake_prefect import FakePrefect
from unit.rig import DAY

PIPELINE = Pipeline("etl", "daily")
COMPLETED = SeriesKey(OUTCOMES, PIPELINE, "completed")
LOADED = SeriesKey(TASK_OUTCOMES, PIPELINE, "completed", "load")
HOUR = 3600


def run_one(fake: FakePrefect, place: tuple[str, str]) -> str:
    """Runs a flow run with one task run."""
    run = fake.schedule(*place)
    fake.start(run)
    fake.tasks.run("load", run)
    fake.finish(run, 1)
    return run


async def read(readers: Readers) -> None:
    await readers.flow_runs.read_finished(60)
    await readers.task_runs.read_finished(60)


def reconciliations(readers: Readers) -> dict[str, Reconciliation]:
    return {audit.source: audit for audit in readers.reconciliations}


async def test_reconciliation_without_differences_finds_nothing(
    fake: FakePrefect, readers: Readers, place: tuple[str, str]
) -> None:
    run_one(fake, place)
    await read(readers)
    fake.now += HOUR
    for source, pages in ((FLOW_RUNS, "finished_page"), (TASK_RUNS, "task_page")):
        asked = fake.requests[pages]
        assert await reconciliations(readers)[source].closed_hours(0.0, fake.now) == Verdict()
        assert fake.requests[pages] == asked, "hours without a difference are not read again"


async def test_last_minutes_are_left_to_the_incremental_reader(
    fake: FakePrefect, readers: Readers, place: tuple[str, str]
) -> None:
    await read(readers)
    run_one(fake, place)
    fake.now += OVERLAP_SECONDS - 60
    assert await reconciliations(readers)[FLOW_RUNS].closed_hours(0.0, fake.now) == Verdict()
    assert COMPLETED not in readers.flow_runs.ledger.series
    fake.now += 120
    assert await reconciliations(readers)[FLOW_RUNS].closed_hours(0.0, fake.now) == Verdict(read_again=1)
    assert readers.flow_runs.ledger.series[COMPLETED].value == 1


async def test_late_task_runs_are_counted_and_deleted_ones_noted(
    fake: FakePrefect, readers: Readers, place: tuple[str, str]
) -> None:
    gone, run = run_one(fake, place), run_one(fake, place)
    fake.tasks.lag = 2 * HOUR
    fake.tasks.run("load", run)
    fake.tasks.lag = 0.0
    await read(readers)
    ledger = readers.flow_runs.ledger
    assert ledger.series[LOADED].value == 2
    fake.delete_run(gone)
    fake.now += HOUR
    run_one(fake, place)
    await read(readers)
    audit = reconciliations(readers)[TASK_RUNS]
    assert await audit.closed_hours(0.0, fake.now) == Verdict(read_again=1)
    fake.now += 2 * HOUR
    await read(readers)
    assert ledger.series[LOADED].value == 3, "hours late: before the incremental reader's window"
    assert await audit.closed_hours(0.0, fake.now) == Verdict(read_again=3)
    assert ledger.series[LOADED].value == 4, "and deleted runs are not subtracted"
    assert ledger.ended_by_kind(TASK_RUNS, 0, fake.now) == {"COMPLETED": 3}
    assert await audit.closed_hours(0.0, fake.now) == Verdict()


async def test_simultaneous_deletion_and_late_arrival_are_both_found(
    fake: FakePrefect, readers: Readers, place: tuple[str, str]
) -> None:
    """Of different kinds: with the same kind, the counts would not change."""
    gone = run_one(fake, place)
    late = run_one(fake, place)
    hidden = fake.runs.pop(late)
    await read(readers)
    fake.now += HOUR
    fake.runs[late] = hidden
    fake.set_state(late, "CANCELLED")
    fake.delete_run(gone)
    verdict = await reconciliations(readers)[FLOW_RUNS].closed_hours(0.0, fake.now)
    assert verdict == Verdict(read_again=1)
    assert readers.flow_runs.ledger.ended_by_kind(FLOW_RUNS, 0, fake.now) == {"CANCELLED": 1}


async def test_runs_that_cannot_be_counted_are_reported_missing(
    fake: FakePrefect, readers: Readers, place: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await read(readers)
    run_one(fake, place)
    fake.now += HOUR

    async def count_nothing(runs: object, _cursor_after: object):
        return type("Absorbed", (), {"left": (), "reason": "", "pipelines": {}})()

    audit = reconciliations(readers)[FLOW_RUNS]
    broken = Reconciliation(
        audit.reader,
        audit.source,
        audit.kinds,
        audit.count,
        replace(audit.finished, absorb=count_nothing),
    )
    assert await broken.closed_hours(0.0, fake.now) == Verdict(read_again=1, missing=1)
    assert await audit.closed_hours(0.0, fake.now) == Verdict(read_again=1)


async def test_verdicts_of_halves_add_up(
    fake: FakePrefect, readers: Readers, place: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_monitoring.ingest.reconcile.MAX_PAGE", 2)
    await read(readers)
    for _ in range(8):
        run_one(fake, place)
        fake.now += 2 * HOUR
    for audit in readers.reconciliations:
        assert (await audit.closed_hours(0.0, fake.now)).missing == 0
        assert await audit.closed_hours(0.0, fake.now) == Verdict()
    assert readers.flow_runs.ledger.series[COMPLETED].value == 8
    assert readers.flow_runs.ledger.series[LOADED].value == 8


async def test_run_with_unreadable_names_gives_no_verdict(
    fake: FakePrefect, readers: Readers, place: tuple[str, str]
) -> None:
    await read(readers)
    run_one(fake, place)
    fake.now += HOUR
    fake.broken["flows"] = ApiError("the server failed", "500")
    for audit in readers.reconciliations:
        with pytest.raises(ApiError, match="the server failed"):
            await audit.closed_hours(0.0, fake.now)


async def test_ends_before_the_horizon_are_left_alone(
    fake: FakePrefect, readers: Readers, place: tuple[str, str]
) -> None:
    now = fake.now
    fake.now = now - 40 * DAY
    run_one(fake, place)
    fake.now = now
    await read(readers)
    for audit in readers.reconciliations:
        assert await audit.closed_hours(0.0, fake.now) == Verdict()


# In the poller


@pytest.fixture
def poller(fake: FakePrefect, readers: Readers, published: list[Snapshot]) -> Poller:
    async def publish(snapshot: Snapshot) -> None:
        published.append(snapshot)

    return make_poller(readers, settings_with(birth_hold="0s"), Traffic(), publish, fake.clock)


@pytest.fixture
def published() -> list[Snapshot]:
    return []


@pytest.fixture
def asked(fake: FakePrefect, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, float]]:
    """Records each audit's window, as seconds before now."""
    seen: list[tuple[str, float, float]] = []
    original = Reconciliation.closed_hours

    async def note(audit: Reconciliation, low: float, high: float) -> Verdict:
        seen.append((audit.source, fake.now - low, fake.now - high))
        return await original(audit, low, high)

    monkeypatch.setattr(Reconciliation, "closed_hours", note)
    return seen


async def poll(poller: Poller) -> None:
    await poller.poll()
    await poller.poll_details()


async def test_no_audit_before_the_baseline_is_complete(
    fake: FakePrefect, poller: Poller, asked: list[tuple[str, float, float]]
) -> None:
    await poller.audit()
    assert asked == []
    assert [poller.sources[name].up for name in ("audit_flow_runs", "audit_task_runs")] == [None, None]
    await poller.poll()
    await poller.audit()
    assert [source for source, _, _ in asked] == [FLOW_RUNS], "task runs are not read yet"
    await poller.poll_details()
    await poller.audit()
    assert {source for source, _, _ in asked} == {FLOW_RUNS, TASK_RUNS}


async def test_audit_covers_everything_hourly_and_otherwise_the_last_day(
    fake: FakePrefect, readers: Readers, poller: Poller, asked: list[tuple[str, float, float]]
) -> None:
    await poll(poller)
    await poller.audit()
    assert [(source, before) for source, before, _ in asked] == [(FLOW_RUNS, fake.now), (TASK_RUNS, fake.now)]
    for minutes in (2, 30, 59.9):
        asked.clear()
        fake.now += minutes * 60 - (fake.now - readers.reconciliation_of(FLOW_RUNS).whole_at)
        await poll(poller)
        await poller.audit()
        assert asked == [(FLOW_RUNS, RECENT_SECONDS, 0.0), (TASK_RUNS, RECENT_SECONDS, 0.0)]
    asked.clear()
    fake.now += WHOLE_INTERVAL
    await poll(poller)
    await poller.audit()
    assert [before for _, before, _ in asked] == [fake.now] * 2


async def test_runs_not_read_yet_are_not_missing(
    fake: FakePrefect, poller: Poller, asked: list[tuple[str, float, float]]
) -> None:
    await poll(poller)
    fake.broken["finished_page"] = ApiError("the server failed", "500")
    fake.now += HOUR
    await poll(poller)
    await poller.audit()
    assert {source: until for source, _, until in asked} == {FLOW_RUNS: HOUR, TASK_RUNS: 0.0}


def verdicts(monkeypatch: pytest.MonkeyPatch) -> Callable[[Verdict], None]:
    now = Verdict()

    async def answer(_audit: Reconciliation, _low: float, _high: float) -> Verdict:
        return now

    def change(verdict: Verdict) -> None:
        nonlocal now
        now = verdict

    monkeypatch.setattr(Reconciliation, "closed_hours", answer)
    return change


async def test_missing_runs_are_reported_until_a_full_audit_finds_them(
    fake: FakePrefect, poller: Poller, published: list[Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = verdicts(monkeypatch)
    missing = []
    await poll(poller)
    story = [(0, Verdict(5, 3)), (120, Verdict()), (120, Verdict(1, 4)), (120, Verdict()), (HOUR, Verdict(5, 0))]
    for seconds, verdict in story:
        fake.now += seconds
        answer(verdict)
        await poll(poller)
        await poller.audit()
        await poller.publish()
        missing.append(published[-1].about.reconciliations[FLOW_RUNS].missing)
        assert published[-1].about.reconciliations[TASK_RUNS] == ReconciliationReport(missing[-1], fake.now)
    assert missing == [3, 3, 4, 3, 0]
    assert poller.sources["audit_flow_runs"].records == 11


async def test_failed_audit_keeps_the_last_verdict_and_its_age(
    fake: FakePrefect, poller: Poller, published: list[Snapshot]
) -> None:
    await poll(poller)
    await poller.audit()
    done_at = fake.now
    fake.broken["ended_by_type"] = ApiError("the server failed", "500")
    fake.now += 120
    await poll(poller)
    await poller.audit()
    await poller.publish()
    assert published[-1].about.reconciliations[FLOW_RUNS] == ReconciliationReport(0, done_at)
    assert published[-1].about.reconciliations[TASK_RUNS] == ReconciliationReport(0, fake.now)
    status = {source.name: source for source in published[-1].about.sources}
    assert status["audit_flow_runs"].error == "the server failed"
