"""Unreadable records: all others are counted, and each is counted exactly once as soon as it can be read."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from prefect_monitoring.backfill.loading import load
from prefect_monitoring.ingest.source import Scope
from prefect_monitoring.ingest.sources import SOURCES, Readers, read_source
from prefect_monitoring.ingest.task_runs import MAX_OWNERS_ASKED
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    DURATION,
    FAILED_ACTIONS,
    LAST_MATERIALIZATION,
    OUTCOMES,
    TASK_OUTCOMES,
)
from prefect_monitoring.model.cursor import ASSET_EVENTS, AUTOMATION_EVENTS, FLOW_RUNS, LOG_LINES, TASK_RUNS
from prefect_monitoring.model.records import DELETED, NO_FLOW, FailedAction, Flow, Materialization, Pipeline
from prefect_monitoring.model.unreadable import FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, set_aside
from prefect_monitoring.prefect_api.errors import ApiError
from unit.conftest import MakeReaders, OpenLedger
from unit.fake_details import note
from unit.fake_prefect import FakePrefect
from unit.ledger_values import KEEP

PIPELINE = Pipeline("etl", "daily")
ENTRIES = {entry.name: entry for entry in SOURCES}
Place = tuple[str, str]


async def read(readers: Readers, source: str = "finished_flow_runs") -> bool:
    """Reads once; returns whether nothing is left."""
    until = readers.flow_runs.clock() if ENTRIES[source].compares else None
    return (await read_source(ENTRIES[source], readers, Scope(60.0, until))).complete


def count(readers: Readers, metric: str, detail: str = "", task: str = "") -> float:
    series = readers.flow_runs.ledger.series.get(SeriesKey(metric, PIPELINE, detail, task))
    return 0.0 if series is None else series.value


def aside(readers: Readers, cursor: str) -> set[str]:
    return readers.flow_runs.aside.ids(cursor)


def finished(fake: FakePrefect, place: Place, state_type: str = "COMPLETED") -> str:
    run = fake.schedule(*place)
    fake.start(run)
    fake.finish(run, 10.0, state_type)
    return run


def retried(fake: FakePrefect, place: Place) -> str:
    """A run that failed and completed when retried: only its history shows the failure."""
    run = finished(fake, place, "FAILED")
    fake.retry(run)
    fake.start(run, 60.0)
    fake.finish(run, 20.0)
    return run


# Flow runs


async def test_unreadable_run_does_not_delay_the_first_start(
    fake: FakePrefect, place: Place, readers: Readers, caplog: pytest.LogCaptureFixture
) -> None:
    finished(fake, place)
    bad = finished(fake, place)
    finished(fake, place, "FAILED")
    fake.unreadable = {bad}
    assert await read(readers)
    ledger = readers.flow_runs.ledger
    assert ledger.cursor.baseline_complete
    assert (count(readers, OUTCOMES, "completed"), count(readers, OUTCOMES, "failed")) == (1, 1)
    assert aside(readers, FLOW_RUNS) == {bad}
    for _ in range(3):
        await read(readers)
    assert caplog.text.count(bad) == 1, "it is logged once"
    fake.now += 40 * 86400.0
    finished(fake, place)
    await read(readers)
    horizon = ledger.cursor.horizon
    ledger.prune(fake.now, keep=KEEP, live=())
    assert ledger.cursor.horizon > horizon, "old runs are still pruned"
    assert not ledger.unreadable


async def test_run_that_becomes_readable_is_counted_once_after_a_growing_delay(
    fake: FakePrefect, place: Place, readers: Readers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await read(readers)
    bad = finished(fake, place)
    fake.unreadable = {bad}
    await read(readers)
    asked = fake.requests["flow_runs"]
    fake.now += FIRST_WAIT_SECONDS
    await read(readers)
    assert fake.requests["flow_runs"] == asked + 1
    fake.unreadable.clear()
    fake.now += FIRST_WAIT_SECONDS
    fake.now += 400.0  # beyond the overlap: no page contains it again
    await read(readers)
    assert count(readers, OUTCOMES, "completed") == 1
    assert aside(readers, FLOW_RUNS) == set()
    assert f"{bad} of flow_runs can be read now" in caplog.text
    fake.now += 4000.0
    await read(readers)
    assert count(readers, OUTCOMES, "completed") == 1


async def test_restart_retries_unreadable_runs_at_once(
    fake: FakePrefect, place: Place, readers: Readers, make_readers: MakeReaders, open_it: OpenLedger
) -> None:
    await read(readers)
    bad = finished(fake, place)
    fake.unreadable = {bad}
    for _ in range(8):
        fake.now += 500.0
        await read(readers)
    readers.flow_runs.close()
    fake.unreadable.clear()
    restarted = make_readers(open_it())
    assert aside(restarted, FLOW_RUNS) == {bad}
    await read(restarted)
    assert (count(restarted, OUTCOMES, "completed"), aside(restarted, FLOW_RUNS)) == (1, set())


async def test_deleted_unreadable_run_is_not_requested_again(fake: FakePrefect, place: Place, readers: Readers) -> None:
    bad = finished(fake, place)
    fake.unreadable = {bad}
    await read(readers)
    fake.delete_run(bad)
    fake.now += FIRST_WAIT_SECONDS
    await read(readers)
    assert aside(readers, FLOW_RUNS) == set()


async def test_many_unreadable_runs_of_one_instant_do_not_stop_the_paging(
    fake: FakePrefect, place: Place, readers: Readers
) -> None:
    fake.page_limit = 2
    runs = [finished(fake, place) for _ in range(7)]
    for run in runs:
        fake.runs[run].end = fake.now
    fake.unreadable = set(runs[:6])
    assert await read(readers)
    assert count(readers, OUTCOMES, "completed") == 1
    assert aside(readers, FLOW_RUNS) == fake.unreadable


async def test_run_with_a_refused_history_counts_its_row_and_later_its_history(
    fake: FakePrefect, place: Place, readers: Readers
) -> None:
    run = retried(fake, place)
    good = retried(fake, place)
    fake.refused = {run}
    assert await read(readers)
    assert readers.flow_runs.ledger.cursor.baseline_complete
    assert (count(readers, OUTCOMES, "completed"), count(readers, OUTCOMES, "failed")) == (2, 1)
    assert count(readers, DURATION) == 20.0, f"of {good} alone: a row does not say when an attempt began"
    assert aside(readers, FLOW_RUNS) == {run}
    fake.refused.clear()
    fake.now += FIRST_WAIT_SECONDS
    for _ in range(3):
        await read(readers)
        fake.now += LONGEST_WAIT_SECONDS
    assert (count(readers, OUTCOMES, "completed"), count(readers, OUTCOMES, "failed")) == (2, 2)
    assert count(readers, DURATION) == 40.0
    assert aside(readers, FLOW_RUNS) == set()


async def test_audit_and_backfill_continue_beside_unreadable_runs(
    fake: FakePrefect, place: Place, readers: Readers
) -> None:
    finished(fake, place)
    bad, refused = finished(fake, place), retried(fake, place)
    fake.unreadable, fake.refused = {bad}, {refused}
    await load(readers, lambda *_: None)
    cursors = readers.flow_runs.ledger.cursors
    assert all(cursors[cursor].baseline_complete for cursor in (FLOW_RUNS, TASK_RUNS, LOG_LINES))
    assert aside(readers, FLOW_RUNS) == {bad, refused}
    fake.now += 7200.0
    await read(readers)
    await read(readers, "audit_flow_runs")
    report = readers.reconciliation_of(FLOW_RUNS).report
    assert report is not None
    assert report.missing == 0, "unreadable runs are counted by another metric"
    assert count(readers, OUTCOMES, "completed") == 2


async def test_unreadable_active_run_alone_is_left_out(fake: FakePrefect, place: Place, readers: Readers) -> None:
    good, bad = fake.schedule(*place), fake.schedule(*place)
    fake.start(good)
    fake.start(bad)
    fake.unreadable = {bad}
    await read(readers, "active_flow_runs")
    under_way = readers.flow_runs.under_way
    assert under_way is not None
    assert under_way.runs.keys() == {good}
    first_met = readers.flow_runs.aside.since("active_flow_runs", "")
    fake.now += 60.0
    await read(readers, "active_flow_runs")
    assert readers.flow_runs.aside.since("active_flow_runs", "") == first_met
    fake.unreadable.clear()
    await read(readers, "active_flow_runs")
    assert readers.flow_runs.aside.since("active_flow_runs", "") == []


# Flows, deployments and flow runs that name other records


async def test_only_the_run_of_an_unreadable_deployment_waits_for_its_name(
    fake: FakePrefect, place: Place, readers: Readers
) -> None:
    flow, deployment = place
    waiting = finished(fake, place)
    other = finished(fake, (flow, fake.add_deployment("hourly", flow)))
    fake.unreadable = {deployment}
    assert await read(readers)
    series = readers.flow_runs.ledger.series
    assert aside(readers, FLOW_RUNS) == {waiting}
    assert series[SeriesKey(OUTCOMES, Pipeline("etl", "hourly"), "completed")].value == 1, f"{other} waits for nothing"
    assert SeriesKey(OUTCOMES, Pipeline("etl", DELETED), "completed") not in series, "not counted as deleted"
    fake.now += 7200.0
    await read(readers)
    await read(readers, "audit_flow_runs")
    report = readers.reconciliation_of(FLOW_RUNS).report
    assert report is not None
    assert report.missing == 0
    fake.unreadable.clear()
    for _ in range(2):
        fake.now += LONGEST_WAIT_SECONDS
        await read(readers)
    assert count(readers, OUTCOMES, "completed") == 1
    assert aside(readers, FLOW_RUNS) == set()


async def test_only_the_active_run_of_an_unreadable_flow_is_left_out(
    fake: FakePrefect, place: Place, readers: Readers
) -> None:
    good, bad = fake.schedule(*place), fake.schedule(fake.add_flow("odd"))
    fake.start(good)
    fake.start(bad)
    fake.unreadable = {fake.runs[bad].flow_id}
    await read(readers, "active_flow_runs")
    under_way = readers.flow_runs.under_way
    assert under_way is not None
    assert under_way.runs.keys() == {good}
    assert readers.flow_runs.aside.since("active_flow_runs", "") != []


@pytest.mark.parametrize("unreadable", ["deployment", "both"])
async def test_details_of_an_unreadable_deployment_wait_for_its_name(
    fake: FakePrefect, place: Place, flow_run: str, readers: Readers, unreadable: str
) -> None:
    task_run = fake.tasks.run("load", flow_run)
    line = fake.logs.emit("rows", 5, flow_run)
    fake.unreadable = {place[1], flow_run} if unreadable == "both" else {place[1]}
    assert await read(readers, "finished_task_runs")
    assert await read(readers, "log_lines")
    assert (aside(readers, TASK_RUNS), aside(readers, LOG_LINES)) == ({task_run}, {line})
    fake.unreadable.clear()
    for _ in range(2):
        fake.now += LONGEST_WAIT_SECONDS
        await read(readers, "finished_task_runs")
        await read(readers, "log_lines")
    assert count(readers, TASK_OUTCOMES, "completed", "load") == 1
    assert count(readers, CUSTOM_OBSERVED, "rows") == 5
    assert (aside(readers, TASK_RUNS), aside(readers, LOG_LINES)) == (set(), set())


async def test_flow_whose_row_has_no_id_is_not_taken_for_deleted(
    fake: FakePrefect, place: Place, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await read(readers, "flows")

    async def answer(_ids: object = None) -> dict[str, Flow]:
        note("row 1")
        return {}

    monkeypatch.setattr(fake, "flows", answer)
    await read(readers, "flows")
    assert place[0] not in readers.flow_runs.ledger.names.gone
    waiting = finished(fake, (fake.add_flow("odd"), place[1]))
    assert await read(readers)
    assert aside(readers, FLOW_RUNS) == {waiting}, "its flow exists, in a row that cannot be read"


# Deleted states


@pytest.mark.parametrize("counted_before", [True, False])
async def test_run_whose_deleted_state_reappears_is_counted_once(
    fake: FakePrefect, place: Place, readers: Readers, *, counted_before: bool
) -> None:
    run = finished(fake, place, "FAILED")
    states = fake.runs[run].states
    if counted_before:
        await read(readers)
    fake.runs[run].states = [replace(states[-1], id=run, message="")]
    fake.now += 60.0
    await read(readers)
    assert count(readers, OUTCOMES, "failed") == 1
    fake.runs[run].states = states
    for _ in range(2):
        fake.now += 60.0
        await read(readers)
    assert count(readers, OUTCOMES, "failed") == 1
    fake.retry(run)
    fake.start(run, 60.0)
    fake.finish(run, 20.0, "FAILED")
    await read(readers)
    assert count(readers, OUTCOMES, "failed") == 2, "later outcomes are counted"


async def test_deleted_state_of_another_outcome_is_counted(fake: FakePrefect, place: Place, readers: Readers) -> None:
    run = finished(fake, place, "FAILED")
    await read(readers)
    fake.now += 60.0
    fake.set_state(run, "COMPLETED", force=True)
    fake.runs[run].states = [replace(fake.runs[run].state, id=run)]
    await read(readers)
    assert (count(readers, OUTCOMES, "failed"), count(readers, OUTCOMES, "completed")) == (1, 1)


# Task runs, lines, events


async def test_unreadable_task_run_is_counted_once_it_can_be_read(
    fake: FakePrefect, flow_run: str, readers: Readers
) -> None:
    await read(readers)
    fake.tasks.run("load", flow_run)
    bad = fake.tasks.run("load", flow_run)
    undone = fake.tasks.run("load", flow_run)
    fake.tasks.roll_back(undone)
    fake.unreadable, fake.refused = {bad}, {undone}
    assert await read(readers, "finished_task_runs")
    assert readers.flow_runs.ledger.cursors[TASK_RUNS].baseline_complete
    assert count(readers, TASK_OUTCOMES, "completed", "load") == 1
    assert count(readers, TASK_OUTCOMES, "rolled_back", "load") == 1, "the state in its row"
    assert aside(readers, TASK_RUNS) == {bad, undone}
    fake.unreadable.clear()
    fake.refused.clear()
    for _ in range(3):
        fake.now += LONGEST_WAIT_SECONDS
        await read(readers, "finished_task_runs")
    assert count(readers, TASK_OUTCOMES, "completed", "load") == 3, "also what was completed before the roll-back"
    assert count(readers, TASK_OUTCOMES, "rolled_back", "load") == 1
    assert aside(readers, TASK_RUNS) == set()


async def test_unreadable_log_line_is_counted_once_it_can_be_read(
    fake: FakePrefect, flow_run: str, readers: Readers
) -> None:
    await read(readers)
    fake.logs.emit("rows", 1, flow_run)
    fake.now += 1
    bad = fake.logs.emit("rows", 10, flow_run)
    fake.now += 1
    fake.logs.emit("rows", 100, flow_run)
    fake.unreadable = {bad}
    assert await read(readers, "log_lines")
    rows = SeriesKey(CUSTOM_OBSERVED, PIPELINE, "rows")
    assert readers.flow_runs.ledger.series[rows].value == 101
    assert aside(readers, LOG_LINES) == {bad}
    fake.now += 100_000.0
    await read(readers, "log_lines")
    readers.flow_runs.ledger.prune(fake.now, keep=KEEP, live={PIPELINE})
    fake.unreadable.clear()
    for _ in range(2):
        fake.now += 2 * LONGEST_WAIT_SECONDS
        await read(readers, "log_lines")
    assert readers.flow_runs.ledger.series[rows].value == 111, "its neighbours are forgotten, and not counted again"
    assert aside(readers, LOG_LINES) == set()


async def test_unreadable_event_is_counted_once_it_can_be_read(fake: FakePrefect, readers: Readers) -> None:
    await read(readers, "failed_actions")
    ids = [fake.new_id() for _ in range(3)]
    for number, event in enumerate(ids):
        fake.events.happened.append(FailedAction(event, "pause", fake.now + number))
    fake.events.unreadable = {ids[1]}
    fake.now += 60.0
    await read(readers, "failed_actions")
    failed = SeriesKey(FAILED_ACTIONS, NO_FLOW, "pause")
    assert readers.flow_runs.ledger.series[failed].value == 2
    assert aside(readers, AUTOMATION_EVENTS) == {ids[1]}
    fake.events.unreadable.clear()
    for _ in range(2):
        fake.now += LONGEST_WAIT_SECONDS
        await read(readers, "failed_actions")
    assert readers.flow_runs.ledger.series[failed].value == 3
    assert aside(readers, AUTOMATION_EVENTS) == set()


async def test_unreadable_materialization_is_counted_once_it_can_be_read(
    fake: FakePrefect, make_readers: MakeReaders
) -> None:
    readers = make_readers(assets=[{"asset": "lake/.*"}])
    ids = [fake.new_id() for _ in range(3)]
    for number, event in enumerate(ids):
        fake.events.materialized.append(Materialization(event, f"lake/{number}", fake.now - 60.0, "succeeded"))
    fake.events.unreadable = {ids[1]}
    assert await read(readers, "assets")
    assert aside(readers, ASSET_EVENTS) == {ids[1]}
    cursor = readers.flow_runs.ledger.cursors[ASSET_EVENTS]
    fake.events.unreadable.clear()
    fake.now += 5000.0
    fake.events.limit = 1  # the retry requests only its event
    await read(readers, "assets")
    values = readers.flow_runs.ledger.values
    assert {key.detail for key in values if key.metric == LAST_MATERIALIZATION} == {f"lake/{n}" for n in range(3)}
    assert aside(readers, ASSET_EVENTS) == set()
    assert readers.flow_runs.ledger.cursors[ASSET_EVENTS].watermark >= cursor.watermark


async def test_retry_of_an_event_does_not_move_the_cursor(fake: FakePrefect, readers: Readers) -> None:
    await read(readers, "failed_actions")
    bad = fake.new_id()
    fake.events.happened.append(FailedAction(bad, "pause", fake.now + 1.0))
    fake.events.unreadable = {bad}
    fake.now += 60.0
    await read(readers, "failed_actions")
    for number in range(3):
        fake.events.happened.append(FailedAction(fake.new_id(), "pause", fake.now + number))
    fake.events.unreadable.clear()
    fake.events.limit = 1
    fake.now += 6 * 3600.0
    await read(readers, "failed_actions")
    assert readers.flow_runs.ledger.cursors[AUTOMATION_EVENTS].watermark <= fake.now - 5 * 3600.0


async def test_details_of_an_unreadable_flow_run_count_under_its_flow(
    fake: FakePrefect, place: Place, readers: Readers
) -> None:
    await read(readers)
    bad = finished(fake, place)
    deleted = finished(fake, place)
    for run in (bad, deleted):
        fake.tasks.run("load", run)
        fake.logs.emit("rows", 5, run)
    fake.unreadable = {bad}
    fake.delete_run(deleted)
    fake.now += 1.0
    assert await read(readers, "finished_task_runs")
    assert await read(readers, "log_lines")
    assert count(readers, TASK_OUTCOMES, "completed", "load") == 1
    assert count(readers, CUSTOM_OBSERVED, "rows") == 5
    gone = SeriesKey(CUSTOM_OBSERVED, Pipeline("(deleted)", ""), "rows")
    assert readers.flow_runs.ledger.series[gone].value == 5, "of the flow run that is gone"
    asked = fake.requests["owner"]
    fake.tasks.run("load", bad)
    fake.now += 1.0
    await read(readers, "finished_task_runs")
    assert (count(readers, TASK_OUTCOMES, "completed", "load"), fake.requests["owner"]) == (2, asked)


async def test_flows_of_many_unreadable_runs_are_requested_in_batches(
    fake: FakePrefect, place: Place, readers: Readers
) -> None:
    await read(readers)
    runs = [finished(fake, place) for _ in range(MAX_OWNERS_ASKED + 5)]
    fake.unreadable = set(runs)
    for run in runs:
        fake.tasks.run("load", run)
    fake.now += 1.0
    with pytest.raises(ApiError, match="still to be asked for"):
        await read(readers, "finished_task_runs")
    assert fake.requests["owner"] == MAX_OWNERS_ASKED
    assert await read(readers, "finished_task_runs")
    assert count(readers, TASK_OUTCOMES, "completed", "load") == len(runs)


def test_retry_delay_grows_up_to_an_hour() -> None:
    record = set_aside(FLOW_RUNS, "r", 0.0, counted=False, after=None)
    waits = []
    for _ in range(12):
        waits.append(record.next_at - record.since)
        record = record.tried(record.since)
    assert waits[:4] == [15.0, 30.0, 60.0, 120.0]
    assert waits[-1] == LONGEST_WAIT_SECONDS
