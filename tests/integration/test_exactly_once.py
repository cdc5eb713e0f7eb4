"""Counters equal the history of a real server for every way a run can end."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from prefect_monitoring.prefect_api import pagination
from support.bulk import bulk_finished_runs
from support.exposition import matching, total, value
from support.prefect_server import PrefectServer, start_server
from support.rig import rig
from support.seeder import Seeder
from support.truth import truth
from support.versions import DATES_ENDS_BEFORE_THE_START

OUTCOMES = "prefect_flow_run_outcomes_total"


@pytest.fixture
def deployed(seeder: Seeder, unique: str) -> tuple[str, str]:
    """The ids of a flow and its deployment."""
    flow = seeder.flow(f"{unique}dbt")
    return flow, seeder.deployment(flow, "daily")


async def test_every_terminal_state_is_counted(
    server: PrefectServer, seeder: Seeder, unique: str, deployed: tuple[str, str], tmp_path: Path
) -> None:
    flow, deployment = deployed
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.inventory()
        await exporter.poll()
        for end in (seeder.completed, seeder.failed, seeder.timed_out, seeder.crashed, seeder.cancelled):
            end(seeder.run(flow, deployment_id=deployment))
            end(seeder.run(flow))
        seeder.crashed(seeder.run(flow, deployment_id=deployment), started=False)
        custom = seeder.run(flow)
        seeder.running(custom)
        seeder.set_state(custom, "COMPLETED", "batch-4711")
        assert await exporter.totals(unique) == truth(server.url, flow_prefix=unique)
        assert value(exporter.samples, OUTCOMES, flow=f"{unique}dbt", deployment="daily", state="crashed") == 2
        assert value(exporter.samples, OUTCOMES, flow=f"{unique}dbt", deployment="", state="completed") == 2


@pytest.mark.parametrize("watched", ["between", "within one poll interval", "while off"])
@pytest.mark.parametrize("forced", [False, True], ids=["old UI", "new UI"])
async def test_retried_from_the_ui(
    server: PrefectServer,
    seeder: Seeder,
    unique: str,
    deployed: tuple[str, str],
    tmp_path: Path,
    watched: str,
    forced: bool,
) -> None:
    flow, deployment = deployed
    pipeline = {"flow": f"{unique}dbt", "deployment": "daily"}
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.inventory()
        await exporter.poll()

        async def look() -> None:
            if watched == "between":
                await exporter.poll(2)

        if watched == "while off":
            await exporter.stop()
        begun = time.time()
        run = seeder.run(flow, deployment_id=deployment)
        seeder.failed(run)
        await look()
        if watched == "between":
            assert value(exporter.samples, "prefect_flow_run_consecutive_failures", **pipeline) == 1
        seeder.retry_from_ui(run, force=forced)
        await look()
        if watched == "between":
            assert value(exporter.samples, "prefect_flow_run_consecutive_failures", **pipeline) == 0, (
                "a retry is pending"
            )
            assert total(exporter.samples, "prefect_flow_runs", **pipeline, state="awaiting_retry") == 1
        waited_from = time.time()
        await asyncio.sleep(2)
        waited = time.time() - waited_from
        seeder.running(run)
        await look()
        seeder.completed(run)
        at_most = time.time() - begun - waited
        if watched == "while off":
            await exporter.start()
        assert (
            await exporter.totals(unique)
            == Counter({(f"{unique}dbt", "daily", "failed"): 1, (f"{unique}dbt", "daily", "completed"): 1})
            == truth(server.url, flow_prefix=unique)
        )
        samples = exporter.samples
        assert value(samples, "prefect_flow_run_duration_seconds_count", **pipeline) == 1
        assert value(samples, "prefect_flow_run_duration_seconds_sum", **pipeline) <= at_most, "without the wait"
        assert value(samples, "prefect_flow_run_start_delay_seconds_count", **pipeline) == 1
        assert value(samples, "prefect_flow_run_start_delay_seconds_sum", **pipeline) <= at_most, "without a delay"
        assert value(samples, "prefect_flow_run_retries_total", **pipeline) == 1
        assert value(samples, "prefect_flow_run_consecutive_failures", **pipeline) == 0
        assert value(samples, "prefect_flow_run_window_runs", **pipeline, window="1d", result="good") == 1
        assert value(samples, "prefect_flow_run_window_runs", **pipeline, window="1d", result="bad") == 0


@pytest.mark.parametrize(
    "forced",
    [
        pytest.param(False, id="old UI"),
        pytest.param(
            True, id="new UI", marks=pytest.mark.xfail(not DATES_ENDS_BEFORE_THE_START, reason="not in the API")
        ),
    ],
)
async def test_crash_before_the_start_is_counted_when_retried_within_one_interval(
    server: PrefectServer, seeder: Seeder, unique: str, deployed: tuple[str, str], tmp_path: Path, forced: bool
) -> None:
    """run_count only grows to 1: only the empirical policy or the early start shows that the run had ended before."""
    flow, deployment = deployed
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.poll()
        run = seeder.run(flow, deployment_id=deployment)
        seeder.crashed(run, started=False)
        await asyncio.sleep(0.1)
        seeder.retry_from_ui(run, force=forced)
        seeder.completed(run)
        assert await exporter.totals(unique) == truth(server.url, flow_prefix=unique)
        assert value(exporter.samples, OUTCOMES, flow=f"{unique}dbt", deployment="daily", state="crashed") == 1


async def test_states_set_by_hand_are_counted_at_once_and_an_hour_later(
    server: PrefectServer, seeder: Seeder, unique: str, deployed: tuple[str, str], tmp_path: Path
) -> None:
    flow, deployment = deployed
    pipeline = {"flow": f"{unique}dbt", "deployment": "daily"}
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        (old,) = bulk_finished_runs(server, flow, [long_ago], deployment_id=deployment, state="Failed")
        await exporter.poll()
        assert value(exporter.samples, "prefect_flow_run_consecutive_failures", **pipeline) == 1
        at_once = seeder.run(flow, deployment_id=deployment)
        seeder.failed(at_once)
        seeder.mark(at_once, "COMPLETED")
        seeder.mark(old, "COMPLETED")
        assert seeder.read(old)["end_time"][:19] == long_ago.isoformat()[:19], "the old end time hides the change"
        await exporter.poll()
        await exporter.inventory()  # which compares the closed hours
        assert (
            await exporter.totals(unique)
            == Counter({(f"{unique}dbt", "daily", "failed"): 2, (f"{unique}dbt", "daily", "completed"): 2})
            == truth(server.url, flow_prefix=unique)
        )
        samples = exporter.samples
        assert value(samples, "prefect_flow_run_consecutive_failures", **pipeline) == 0
        assert value(samples, "prefect_flow_run_window_runs", **pipeline, window="1d", result="good") == 2
        assert value(samples, "prefect_flow_run_window_runs", **pipeline, window="1d", result="bad") == 0
        assert value(samples, "prefect_flow_run_duration_seconds_count", **pipeline) == 0, "nothing ran to completion"


async def test_runs_with_equal_end_times_are_counted_across_pages(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagination, "MAX_PAGE", 3)
    flow = seeder.flow(f"{unique}burst")
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.poll()
        now = datetime.now(UTC)
        ends = [now - timedelta(seconds=s) for s in (5, 4, 4, 4, 4, 4, 4, 4, 3, 3, 2)]
        bulk_finished_runs(server, flow, ends)
        assert await exporter.totals(unique) == Counter({(f"{unique}burst", "", "completed"): len(ends)})


async def test_server_with_a_page_limit_of_50_is_read_whole(tmp_path: Path) -> None:
    with start_server(tmp_path, env={"PREFECT_SERVER_API_DEFAULT_LIMIT": "50"}) as server, Seeder(server.url) as seeder:
        flow = seeder.flow("many")
        now = datetime.now(UTC)
        bulk_finished_runs(server, flow, [now - timedelta(minutes=m) for m in range(120)])
        for number in range(60):
            seeder.deployment(flow, f"d{number}")
        async with rig(server.url, tmp_path) as exporter:
            await exporter.inventory()
            assert await exporter.totals("") == truth(server.url)
            assert len(matching(exporter.samples, "prefect_deployment_info")) == 60


async def test_outcomes_while_the_exporter_was_off_are_counted(
    server: PrefectServer, seeder: Seeder, unique: str, deployed: tuple[str, str], tmp_path: Path
) -> None:
    flow, deployment = deployed
    now = datetime.now(UTC)
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        bulk_finished_runs(server, flow, [now - timedelta(hours=9)], deployment_id=deployment)
        exporter.clock = lambda: (now - timedelta(hours=8)).timestamp()
        await exporter.poll()
        await exporter.stop()
        ends = [now - timedelta(minutes=m) for m in range(1, 480)]
        bulk_finished_runs(server, flow, ends[::2], deployment_id=deployment)
        bulk_finished_runs(server, flow, ends[1::2], deployment_id=deployment, state="Failed")
        await exporter.start()
        before = total(exporter.samples, OUTCOMES, flow=f"{unique}dbt")
        assert await exporter.totals(unique) == truth(server.url, flow_prefix=unique)
        assert before == 1, "the restart showed what the ledger knew"


async def test_deleted_objects_keep_counters_and_lose_gauges(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    first, second = seeder.flow(f"{unique}first"), seeder.flow(f"{unique}second")
    known_second = {"flow": f"{unique}second", "deployment": ""}
    deployment = seeder.deployment(first, "gone")
    known = {"flow": f"{unique}first", "deployment": "gone"}
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*", inventory_interval="1s") as exporter:
        await exporter.inventory()
        await exporter.poll()
        seeder.failed(seeder.run(first, deployment_id=deployment))
        seeder.failed(seeder.run(second))
        counted = await exporter.totals(unique)
        assert value(exporter.samples, "prefect_flow_run_consecutive_failures", **known) == 1

        seeder.delete_deployment(deployment)
        await exporter.inventory()
        assert await exporter.totals(unique) == counted, "counters stay"
        assert value(exporter.samples, "prefect_flow_run_consecutive_failures", **known) is None, "gauges go"
        assert value(exporter.samples, "prefect_deployment_info", **known, work_pool="", work_queue="") is None

        assert value(exporter.samples, "prefect_flow_run_consecutive_failures", **known_second) == 1
        seeder.delete_flow(second)
        await exporter.inventory()
        assert await exporter.totals(unique) == counted, "what was counted stays counted"
        assert value(exporter.samples, "prefect_flow_run_consecutive_failures", **known_second) is None


async def test_runs_of_an_unknown_deployment_are_counted_as_deleted(
    server: PrefectServer, seeder: Seeder, unique: str, deployed: tuple[str, str], tmp_path: Path
) -> None:
    flow, deployment = deployed
    seeder.completed(seeder.run(flow, deployment_id=deployment))
    seeder.delete_deployment(deployment)
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        assert await exporter.totals(unique) == Counter({(f"{unique}dbt", "(deleted)", "completed"): 1})
        asked = exporter.traffic.requests["/deployments/filter", "200"]
        await exporter.poll()
        assert exporter.traffic.requests["/deployments/filter", "200"] == asked, "not requested again"


async def test_active_runs_are_shown_by_state(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    pool = seeder.work_pool(f"{unique}pool")
    flow = seeder.flow(f"{unique}live")
    deployment = seeder.deployment(flow, "d", work_pool=f"{unique}pool")
    assert pool
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.inventory()
        running = seeder.run(flow, deployment_id=deployment)
        state = seeder.running(running)
        seeder.run(flow, deployment_id=deployment, state="Scheduled", at=datetime.now(UTC) + timedelta(hours=1))
        due = datetime.now(UTC) - timedelta(minutes=5)
        late = seeder.run(flow, deployment_id=deployment, state="Scheduled", at=due)
        seeder.set_state(late, "SCHEDULED", "Late", scheduled_time=due, force=True)
        await exporter.poll()
        live = matching(exporter.samples, "prefect_flow_runs", flow=f"{unique}live")
        assert {dict(labels)["state"]: number for labels, number in live.items()} == {"running": 1, "late": 1}
        assert all(dict(labels)["work_pool"] == f"{unique}pool" for labels in live)
        oldest = "prefect_flow_run_oldest_state_timestamp_seconds"
        pipeline = {"flow": f"{unique}live", "deployment": "d"}
        began = datetime.fromisoformat(state["timestamp"]).timestamp()
        assert value(exporter.samples, oldest, **pipeline, state="running") == pytest.approx(began, abs=0.001)
        assert value(exporter.samples, oldest, **pipeline, state="late") == pytest.approx(due.timestamp(), abs=0.001)
        info = value(
            exporter.samples, "prefect_deployment_info", **pipeline, work_pool=f"{unique}pool", work_queue="default"
        )
        assert info == 1
        seeder.completed(running)
        await exporter.poll()
        assert total(exporter.samples, "prefect_flow_runs", flow=f"{unique}live") == 1


async def test_counters_outlive_a_deleted_flow_by_their_time_to_live(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    flow = seeder.flow(f"{unique}old")
    start = datetime.now(UTC).timestamp()
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*", series_ttl="2d") as exporter:
        seeder.failed(seeder.run(flow))
        await exporter.inventory()
        counted = await exporter.totals(unique)
        assert counted == Counter({(f"{unique}old", "", "failed"): 1})
        for days, what in ((10, "a flow that exists keeps its counters"), (10, "just deleted"), (11, "a day later")):
            exporter.clock = lambda days=days: start + days * 86400.0
            if what == "just deleted":
                seeder.delete_flow(flow)
            await exporter.inventory()
            assert await exporter.totals(unique) == counted, what
        exporter.clock = lambda: start + 12.5 * 86400
        await exporter.inventory()
        assert not await exporter.totals(unique)
        assert not matching(exporter.samples, OUTCOMES, flow=f"{unique}old")
