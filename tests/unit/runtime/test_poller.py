"""What is published when: zero-born series, baseline, outages, pruning."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.runtime.poller import Poller
from support.options import settings_with
from support.processes import wait_until
from unit.fake_prefect import FakePrefect
from unit.poller_process import FAILED, PIPELINE, Process
from unit.rig import DAY, MakeReaders, OpenLedger

DOWN = ApiError("the API answered 503", "503")


@pytest.fixture
def process(fake: FakePrefect, make_readers: MakeReaders) -> Process:
    return Process(fake, make_readers(), settings_with(birth_hold="70s"))


def fail_one(fake: FakePrefect, place: tuple[str, str]) -> str:
    run = fake.schedule(*place)
    fake.start(run)
    fake.finish(run, 1, "FAILED", "boom")
    return run


# Births


async def test_first_failure_ever_is_seen_as_an_increase_from_zero(
    fake: FakePrefect, process: Process, place: tuple[str, str]
) -> None:
    await process.poll()
    await process.inventory()
    fail_one(fake, place)
    values = []
    for _ in range(8):
        await process.poll(15)
        values.append(process.outcome())
    assert values == [0, 0, 0, 0, 0, 1, 1, 1], "zero for one hold of 70 s, then the increment"


@pytest.mark.slow
async def test_baseline_of_several_readings_does_not_wait_for_the_next_poll(
    fake: FakePrefect, make_readers: MakeReaders, place: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(fake, make_readers(), settings_with(poll_interval="1h"))
    fake.page_limit = 1
    for _ in range(6):
        fail_one(fake, place)
    # Six pages take longer than the time after which a reading begins none.
    monkeypatch.setattr(Poller, "_budget", 0.5)
    fake.before_request = lambda endpoint: time.sleep(0.2 * (endpoint == "finished_page"))
    jobs = process.poller.start()
    try:
        await asyncio.to_thread(wait_until, lambda: process.is_ready, 30, "the baseline")
    finally:
        await jobs.stop()
    assert process.outcome() == 6
    assert len(process.published) > 1, "existing data is published in between"


async def test_baseline_is_exposed_at_once_and_complete(
    fake: FakePrefect, process: Process, place: tuple[str, str]
) -> None:
    fake.page_limit = 2
    for _ in range(5):
        fail_one(fake, place)
    pages = 0

    def fail_at_the_second(endpoint: str) -> None:
        nonlocal pages
        pages += endpoint == "finished_page"
        if endpoint == "finished_page" and pages == 2:
            raise DOWN

    fake.before_request = fail_at_the_second
    snapshot = await process.poll()
    assert snapshot.series == {}
    assert snapshot.run_stats == {}
    assert process.ledger.series[FAILED].value > 0
    assert "the baseline is being loaded" in snapshot.health.not_ready[0]
    snapshot = await process.poll()
    assert process.outcome() == 5
    assert snapshot.health.not_ready == ()
    fail_one(fake, place)
    await process.poll()
    assert process.outcome() == 6, "a series of the baseline has no birth hold"


async def test_restart_during_the_hold_restarts_it(
    fake: FakePrefect, process: Process, place: tuple[str, str], open_it: OpenLedger, make_readers: MakeReaders
) -> None:
    await process.poll()
    await process.inventory()
    fail_one(fake, place)
    for _ in range(4):
        await process.poll(15)
    process.readers.flow_runs.close()
    fake.now += 1000
    second = Process(fake, make_readers(open_it()), process.settings)
    await second.poller.publish()
    values = [second.outcome()]
    for _ in range(6):
        await second.poll(15)
        values.append(second.outcome())
    assert values == [0, 0, 0, 0, 0, 1, 1], "a new process cannot know whether the old one's zero was scraped"


async def test_release_is_not_shown_before_it_is_stored(
    fake: FakePrefect, process: Process, place: tuple[str, str]
) -> None:
    await process.poll()
    await process.inventory()
    fail_one(fake, place)
    await process.poll()
    raw = process.ledger._database.engine.raw_connection().driver_connection
    assert raw is not None
    raw.execute("PRAGMA query_only = ON")
    snapshot = await process.poll(100)
    assert process.outcome() == 0
    assert any("read-only" in fault for fault in snapshot.health.not_ready)
    raw.execute("PRAGMA query_only = OFF")
    snapshot = await process.poll()
    assert process.outcome() == 1
    assert snapshot.health.not_ready == ()


async def test_without_a_hold_the_zero_is_still_shown_once(
    fake: FakePrefect, make_readers: MakeReaders, place: tuple[str, str]
) -> None:
    process = Process(fake, make_readers(), settings_with(birth_hold="0s"))
    await process.poll()
    fail_one(fake, place)
    await process.poll()
    assert process.outcome() == 0
    await process.poll()
    assert process.outcome() == 1


async def test_what_can_run_is_born_before_it_runs(fake: FakePrefect, process: Process, place: tuple[str, str]) -> None:
    lone = fake.add_flow("lone")
    await process.poll()
    await process.inventory()
    await process.poller.publish()
    assert {key.pipeline for key in process.series} == {PIPELINE, Pipeline("lone", "")}, (
        "a flow with deployments has none more"
    )
    assert all(series.value == 0 for series in process.series.values())
    assert lone


# Outages


async def test_outage_keeps_counters_and_drops_stale_active_runs(
    fake: FakePrefect, process: Process, place: tuple[str, str]
) -> None:
    fail_one(fake, place)
    fake.start(fake.schedule(*place))
    await process.inventory()
    await process.poll()
    assert process.last.active is not None
    assert process.last.deployments
    fake.broken = dict.fromkeys(("finished_page", "active_runs", "flows", "deployments"), DOWN)
    snapshot = await process.poll(15)
    assert not snapshot.about.api_up
    assert snapshot.active is not None, "one missed poll is not stale yet"
    snapshot = await process.poll(61)
    assert snapshot.active is None
    assert process.outcome() == 1
    assert snapshot.run_stats[PIPELINE].consecutive_failures == 1
    await process.poll(150)
    assert process.last.deployments is None
    fake.broken.clear()
    await process.inventory()
    snapshot = await process.poll()
    assert snapshot.about.api_up
    assert snapshot.active is not None
    assert snapshot.active.counts == {(PIPELINE, "process", "running"): 1}


async def test_failing_source_affects_no_other(fake: FakePrefect, process: Process, place: tuple[str, str]) -> None:
    fake.broken = {"active_runs": DOWN}
    fail_one(fake, place)
    snapshot = await process.poll()
    status = {source.name: source for source in snapshot.about.sources}
    assert status["finished_flow_runs"].up is True
    assert status["finished_flow_runs"].records == 1
    assert status["active_flow_runs"].up is False
    assert status["active_flow_runs"].error == str(DOWN)
    assert status["flows"].up is None
    assert snapshot.about.api_up
    assert process.outcome() == 1


async def test_not_ready_before_the_first_successful_poll(fake: FakePrefect, process: Process) -> None:
    fake.broken = {"finished_page": DOWN, "active_runs": DOWN}
    snapshot = await process.poll()
    assert len(snapshot.health.not_ready) == 2
    assert str(DOWN) in snapshot.health.not_ready[1]
    fake.broken.clear()
    assert (await process.poll()).health.not_ready == ()


async def test_lag_counts_from_the_last_complete_reading(fake: FakePrefect, process: Process) -> None:
    await process.poll()
    complete_to = fake.now
    fake.broken = {"finished_page": DOWN}
    snapshot = await process.poll(60)
    finished = next(source for source in snapshot.about.sources if source.name == "finished_flow_runs")
    assert finished.complete_to == complete_to
    assert snapshot.taken_at - complete_to == 60


# Run statistics


async def test_windows_move_on_without_runs(fake: FakePrefect, process: Process, place: tuple[str, str]) -> None:
    fail_one(fake, place)
    await process.inventory()
    await process.poll()
    assert process.last.run_stats[PIPELINE].window_runs["1d", "bad"] == 1
    await process.poll(25 * 3600)
    assert process.last.run_stats[PIPELINE].window_runs["1d", "bad"] == 0
    assert process.last.run_stats[PIPELINE].consecutive_failures == 1


async def test_deleted_deployment_loses_its_gauges_at_once_and_its_counters_later(
    fake: FakePrefect, process: Process, place: tuple[str, str]
) -> None:
    await process.inventory()
    fail_one(fake, place)
    await process.poll()
    assert PIPELINE in process.last.run_stats
    fake.delete_deployment(place[1])
    await process.inventory()
    await process.poll()
    assert PIPELINE not in process.last.run_stats
    assert not process.last.deployments
    assert process.outcome() == 1
    fake.now += 8 * DAY
    await process.inventory()
    await process.poll()
    assert process.outcome() is None


async def test_dead_pipelines_make_room_under_the_cap(fake: FakePrefect, make_readers: MakeReaders) -> None:
    process = Process(fake, make_readers(max_pairs=1), settings_with(max_pairs=1))
    old = fake.add_flow("old")
    await process.poll()
    await process.inventory()
    fake.delete_flow(old)
    await process.inventory()
    fake.now += 8 * DAY
    await process.inventory()
    fake.add_flow("new")
    await process.inventory()
    await process.poll()
    assert {key.pipeline for key in process.series} == {Pipeline("new", "")}


async def test_prune_runs_once_an_hour(fake: FakePrefect, process: Process) -> None:
    await process.poll()
    horizon = process.ledger.cursor.horizon
    fake.now += 1800
    run = fake.schedule(fake.add_flow("etl"))
    fake.start(run)
    fake.finish(run)
    await process.poll()
    await process.inventory()
    assert process.ledger.cursor.horizon == horizon
    await process.poll(1800)
    await process.inventory()
    assert process.ledger.cursor.horizon > horizon


# Log messages


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[int], list[str]]:
    caplog.set_level(logging.DEBUG, logger="prefect_monitoring")

    def at(level: int) -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno == level]

    return at


async def test_outage_is_logged_once_over_all_sources_and_polls(
    fake: FakePrefect, process: Process, logged: Callable[[int], list[str]]
) -> None:
    await process.poll()
    fake.broken = dict.fromkeys(("finished_page", "active_runs", "flows", "deployments", "ended_by_type"), DOWN)
    reads = ("work_pools", "work_queues", "concurrency_limits", "automations", "next_starts")
    fake.inventory.broken, fake.events.broken = dict.fromkeys(reads, DOWN), DOWN
    for _ in range(5):
        await process.poll()
        await process.inventory()
    assert len(logged(logging.WARNING)) == 1
    assert str(DOWN) in logged(logging.WARNING)[0]
    fake.broken, fake.inventory.broken, fake.events.broken = {}, {}, None
    for _ in range(3):
        await process.inventory()
        await process.poll()
    assert len([line for line in logged(logging.INFO) if "Every source is read again" in line]) == 1


async def test_complete_baseline_is_logged(
    fake: FakePrefect, process: Process, place: tuple[str, str], logged: Callable[[int], list[str]]
) -> None:
    fail_one(fake, place)
    await process.poll()
    await process.poll()
    assert [line for line in logged(logging.INFO) if "baseline is complete: 1 finished runs" in line]
    assert len([line for line in logged(logging.INFO) if "baseline" in line]) == 1


# Subflows


async def test_subflow_run_with_an_ended_parent_is_an_orphan(
    fake: FakePrefect, process: Process, place: tuple[str, str]
) -> None:
    parent, child = fake.schedule(*place), fake.schedule(place[0])
    fake.runs[child].parent = parent
    for run in (parent, child):
        fake.start(run)
    assert (await process.poll()).active.orphans == {}

    fake.finish(parent, 1, "CRASHED", "gone")
    assert (await process.poll()).active.orphans == {Pipeline("etl", ""): 1}
    fake.finish(child, 1)
    assert (await process.poll()).active.orphans == {}


async def test_no_request_for_parents_without_subflows(
    fake: FakePrefect, process: Process, place: tuple[str, str]
) -> None:
    fake.start(fake.schedule(*place))
    await process.poll()
    assert fake.requests["active_children"] == 0


# Declarations


async def test_declarations_survive_an_outage_and_objectives_have_their_windows(
    fake: FakePrefect, make_readers: MakeReaders, place: tuple[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "pipelines.yml"
    file.write_text("pipelines: [{flow: etl, criticality: critical, slo: {window: 2h}}]")
    process = Process(fake, make_readers(), settings_with(pipelines=str(file)))
    fail_one(fake, place)
    fake.now += 7200
    fail_one(fake, place)
    await process.poll()
    await process.inventory()
    await process.poll()
    assert process.last.run_stats[PIPELINE].window_runs["slo", "bad"] == 1
    assert process.last.run_stats[PIPELINE].window_runs["1d", "bad"] == 2

    def broken(_endpoint: str) -> None:
        raise DOWN

    fake.before_request = broken
    snapshot = await process.poll(after=3600)
    assert snapshot.deployments is None
    assert snapshot.policies[PIPELINE].criticality == "critical"

    file.write_text("pipelines: [{flow: etl, slo: {window: 1d}}]")
    changed = await process.poll()
    assert changed.policies[PIPELINE].criticality == "standard"
    assert changed.run_stats[PIPELINE].window_runs["slo", "bad"] == 2
