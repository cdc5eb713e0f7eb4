"""When task runs and log lines are published: zero-born series, baselines, outages, and what waits for what."""

from __future__ import annotations

import asyncio
import time

import pytest

from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    CUSTOM_VALUE,
    REJECTED,
    TASK_FAILURES,
    TASK_OUTCOMES,
    TASK_SECONDS,
)
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.runtime import poller
from prefect_monitoring.snapshot.model import Snapshot
from support.options import settings_with
from unit.fake_prefect import FakePrefect
from unit.poller_process import Process
from unit.rig import DAY, MakeReaders

PIPELINE = Pipeline("etl", "daily")
LOADED = SeriesKey(TASK_OUTCOMES, PIPELINE, "completed", "load")
DOWN = ApiError("the API answered 503", "503")
OF_TASKS = {TASK_OUTCOMES, TASK_SECONDS, TASK_FAILURES}


class Details(Process):
    async def poll(self, after: float = 15.0) -> Snapshot:
        """Runs both jobs and publishes their result."""
        await super().poll(after)
        await self.poller.poll_details()
        await self.poller.publish()
        return self.last

    def loaded(self) -> float | None:
        series = self.series.get(LOADED)
        return series.value if series is not None else None


@pytest.fixture
def process(fake: FakePrefect, make_readers: MakeReaders) -> Details:
    return Details(fake, make_readers(), settings_with(birth_hold="70s"))


# Zero-born series and baselines


async def test_first_task_run_ever_is_seen_as_an_increase_from_zero(
    fake: FakePrefect, process: Details, flow_run: str
) -> None:
    await process.poll()
    fake.tasks.run("load", flow_run)
    values = []
    for _ in range(7):
        await process.poll()
        values.append(process.loaded())
    assert values == [0, 0, 0, 0, 0, 1, 1], "zero for one hold of 70 s, then the increment"


async def test_details_wait_for_the_baseline_of_flow_runs(fake: FakePrefect, process: Details, flow_run: str) -> None:
    fake.tasks.run("load", flow_run)
    fake.broken["finished_page"] = DOWN
    await process.poll()
    assert {fake.requests[name] for name in ("task_page", "log_page", "tasks_unfinished")} == {0}
    fake.broken.clear()
    await process.poll()
    assert process.loaded() == 1


async def test_each_baseline_is_shown_once_it_is_complete(fake: FakePrefect, process: Details, flow_run: str) -> None:
    run = fake.tasks.begin("load", flow_run)
    fake.tasks.fail_and_retry(run, fake.logs)
    fake.tasks.finish(run, 1.0)
    fake.logs.emit("rows", 5, flow_run)
    fake.broken["log_page"] = DOWN
    await process.poll()
    assert process.loaded() == 1
    assert TASK_FAILURES not in process.last.series, "failures that a retry saved are not known yet"
    assert process.last.values == {}
    assert CUSTOM_OBSERVED not in process.last.series
    fake.broken = {"task_page": DOWN, "task_count": DOWN}
    await process.poll()
    saved = process.last.series[TASK_FAILURES]
    assert {key.task: one.value for key, one in saved.items()} == {"load": 1}
    assert [one.value for one in process.last.series[CUSTOM_OBSERVED].values()] == [5]
    assert {one.value for one in process.last.series[REJECTED].values()} == {0}
    assert process.last.values[SeriesKey(CUSTOM_VALUE, PIPELINE, "rows")].value == 5
    assert process.loaded() == 1, "an outage of their source takes no counter away"


async def test_tasks_are_hidden_before_their_baseline(fake: FakePrefect, process: Details, flow_run: str) -> None:
    fake.page_limit = 1
    for _ in range(3):
        fake.tasks.run("load", flow_run)
    pages = 0

    def fail_at_the_second(endpoint: str) -> None:
        nonlocal pages
        pages += endpoint == "task_page"
        if endpoint == "task_page" and pages == 2:
            raise DOWN

    fake.before_request = fail_at_the_second
    await process.poll()
    assert process.ledger.series[LOADED].value == 1
    assert not OF_TASKS & process.last.series.keys()
    await process.poll()
    assert process.loaded() == 3


# Active task runs


async def test_stale_active_task_runs_are_dropped(fake: FakePrefect, process: Details, flow_run: str) -> None:
    for _ in range(2):
        fake.tasks.begin("load", flow_run)
    fake.tasks.begin("extract", flow_run)
    snapshot = await process.poll()
    expected = {(PIPELINE, "load", "running"): 2, (PIPELINE, "extract", "running"): 1}
    assert snapshot.active_tasks == expected
    fake.broken["tasks_unfinished"] = DOWN
    assert (await process.poll(15)).active_tasks == expected, "one missed poll is not stale yet"
    assert (await process.poll(61)).active_tasks is None
    fake.broken.clear()
    assert (await process.poll()).active_tasks == expected


async def test_failing_detail_source_affects_no_other(fake: FakePrefect, process: Details, flow_run: str) -> None:
    fake.tasks.run("load", flow_run)
    fake.logs.emit("rows", 5, flow_run)
    fake.broken = {"task_page": DOWN}
    snapshot = await process.poll()
    status = {source.name: source.up for source in snapshot.about.sources}
    assert status["finished_task_runs"] is False
    assert status["active_task_runs"] is True
    assert status["log_lines"] is True
    assert status["finished_flow_runs"] is True
    assert snapshot.about.api_up
    assert snapshot.health.not_ready == (), "readiness does not depend on details"


async def test_poll_waits_only_briefly_for_details(
    fake: FakePrefect, process: Details, flow_run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "DETAILS_PATIENCE", 0.3)
    await process.poll()
    fake.tasks.run("load", flow_run)
    gate = asyncio.Event()
    original = fake.tasks.finished_page

    async def slow(*arguments: object) -> object:
        await gate.wait()
        return await original(*arguments)  # type: ignore[arg-type]

    fake.tasks.finished_page = slow  # type: ignore[method-assign,assignment]
    details = asyncio.create_task(process.poller.poll_details())
    await asyncio.sleep(0)
    begun = time.monotonic()
    await process.poller.poll()
    assert 0.25 <= time.monotonic() - begun < 10
    assert process.loaded() is None
    gate.set()
    monkeypatch.setattr(poller, "DETAILS_PATIENCE", 60.0)
    begun = time.monotonic()
    await process.poller.poll()
    assert time.monotonic() - begun < 30, "details that have arrived are not awaited"
    assert process.loaded() == 0, "done at the same time, and shown at once"
    await details


# Run statistics and deletion


async def test_time_shares_follow_late_task_runs(fake: FakePrefect, process: Details, flow_run: str) -> None:
    fake.now += 1
    fake.tasks.lag = 100.0
    fake.tasks.run("load", flow_run, 5.0)
    fake.finish(flow_run, 4.0)
    snapshot = await process.poll()
    assert snapshot.run_stats[PIPELINE].time_shares == {}
    await process.poll(120)
    await process.poll()
    assert process.last.run_stats[PIPELINE].time_shares["load"] == pytest.approx(0.5, abs=0.01)


async def test_deleted_deployment_loses_its_last_values_at_once(
    fake: FakePrefect, process: Details, place: tuple[str, str], flow_run: str
) -> None:
    fake.logs.emit("rows", 5, flow_run)
    fake.logs.emit("rows", 7)
    await process.inventory()
    await process.poll()
    assert {key.pipeline for key in process.last.values} == {PIPELINE, Pipeline("", "")}
    fake.delete_deployment(place[1])
    await process.inventory()
    await process.poll()
    assert {key.pipeline for key in process.last.values} == {Pipeline("", "")}
    assert PIPELINE in {key.pipeline for key in process.last.series[CUSTOM_OBSERVED]}
    fake.now += 8 * DAY
    await process.inventory()
    await process.poll()
    assert CUSTOM_OBSERVED not in process.last.series or PIPELINE not in {
        key.pipeline for key in process.last.series[CUSTOM_OBSERVED]
    }


# Servers that cannot count task runs by their end


async def test_older_server_is_read_again_instead_of_counted(
    fake: FakePrefect, process: Details, flow_run: str
) -> None:
    def refuse(endpoint: str) -> None:
        if endpoint in {"task_count", "tasks_by_kind"}:
            fake.tasks.filters_ends = False
            raise ApiError("the API answered 422", "422")

    fake.before_request = refuse
    fake.tasks.run("load", flow_run)
    await process.poll()
    fake.tasks.filters_ends = True  # as after an hour, when it is probed again
    await process.inventory()
    await process.poll()
    fake.tasks.filters_ends = True
    fake.tasks.lag = 40.0
    fake.tasks.run("load", flow_run)
    fake.now += 10.0
    fake.tasks.lag = 0.0
    await process.poll()
    await process.poll(60)
    await process.poll(80)
    assert process.loaded() == 2, "late task runs were read again"
    states = {source.name: source.up for source in process.last.about.sources}
    assert states["finished_task_runs"]
    assert states["audit_task_runs"] is not False, "an unsupported request is not an outage"


async def test_source_of_disabled_metrics_is_not_read(fake: FakePrefect, make_readers: MakeReaders) -> None:
    off = ["prefect_automations", "prefect_automation_actions_failed_total"]
    process = Details(fake, make_readers(metrics_off=off), settings_with(metrics_off=off))
    await process.poller.take_inventory()
    await process.poll()
    read = {name for name, source in process.poller.sources.items() if source.up is not None}
    assert {"automations", "failed_actions"}.isdisjoint(read)
    assert {"work_pools", "concurrency_limits", "heartbeats"} <= read
