"""Deployments, pools, workers, queues, limits and automations of a real server; reading them changes nothing."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.exposition import matching, value
from support.prefect_server import PrefectServer, start_server
from support.processes import wait_until_async
from support.proxy import FaultProxy
from support.reads import READS
from support.rig import Rig, rig
from support.seeder import Seeder
from support.versions import DATES_ENDS_BEFORE_THE_START

NEXT = "prefect_deployment_next_due_timestamp_seconds"
LAST = "prefect_deployment_last_due_timestamp_seconds"
METRICS = {
    "prefect_deployment_info",
    "prefect_deployment_tag_info",
    "prefect_deployment_paused",
    "prefect_deployment_ready",
    NEXT,
    LAST,
    "prefect_work_pool_info",
    "prefect_work_pool_ready",
    "prefect_work_pool_paused",
    "prefect_work_pool_slots",
    "prefect_work_pool_slots_used",
    "prefect_work_pool_workers",
    "prefect_work_pool_last_heartbeat_timestamp_seconds",
    "prefect_work_queue_ready",
    "prefect_work_queue_paused",
    "prefect_work_queue_late_runs",
    "prefect_work_queue_last_polled_timestamp_seconds",
    "prefect_work_queue_slots",
    "prefect_concurrency_limit_slots",
    "prefect_concurrency_limit_slots_used",
    "prefect_automations",
}
NOT_ON_OLDER_SERVERS = (
    set() if DATES_ENDS_BEFORE_THE_START else {"prefect_deployment_ready", "prefect_work_pool_slots_used"}
)
SCHEDULER_SECONDS = 30.0


@pytest.fixture
async def exporter(server: PrefectServer, unique: str, tmp_path: Path) -> AsyncIterator[Rig]:
    """An exporter for this test's flows and pools only."""
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*", include_pools=f"({unique}.*)?") as running:
        yield running


@pytest.fixture
def flow(seeder: Seeder, unique: str) -> str:
    return seeder.flow(f"{unique}etl")


async def scheduled(seeder: Seeder, deployment: str) -> float:
    """The next start, with runs like those that the scheduler creates."""
    seeder.schedule(deployment)
    starts = await wait_until_async(
        lambda: seeder.scheduled_starts(deployment), SCHEDULER_SECONDS, "runs that the scheduler made"
    )
    return float(starts[0])


async def test_every_metric_has_a_value(server: PrefectServer, seeder: Seeder, unique: str, exporter: Rig) -> None:
    pool, closed = f"{unique}pool", f"{unique}closed"
    seeder.work_pool(pool, concurrency_limit=3)
    seeder.work_queue(pool, "urgent", concurrency_limit=2)
    seeder.work_pool(closed)
    seeder.pause(work_pool=closed)
    seeder.work_queue(pool, "shut")
    seeder.pause(work_pool=pool, work_queue="shut")
    deployment = seeder.deployment(
        seeder.flow(f"{unique}etl"), "daily", work_pool=pool, work_queue="urgent", tags=["critical"], interval=3
    )
    seeder.deployment(seeder.flow(f"{unique}other"), "never", paused=True)
    seeder.heartbeat(pool, "worker-1")
    seeder.poll_for_work(pool)
    seeder.run(seeder.flow(f"{unique}etl"), deployment_id=deployment)
    seeder.run(
        seeder.flow(f"{unique}etl"), deployment_id=deployment, state="Late", at=datetime.now(UTC) - timedelta(hours=1)
    )
    seeder.concurrency_limit(f"{unique}database", 5)
    seeder.take_slots(f"{unique}database", 2)
    seeder.automation(f"{unique}automation")
    await scheduled(seeder, deployment)
    missing = METRICS

    async def nothing_is_missing() -> bool:
        """True once a start has passed and the scheduler has created the next."""
        nonlocal missing
        await exporter.inventory()
        await exporter.poll()
        missing = METRICS - NOT_ON_OLDER_SERVERS - {name for (name, _), number in exporter.samples.items() if number}
        return not missing

    with suppress(TimeoutError):
        await wait_until_async(nothing_is_missing, SCHEDULER_SECONDS, "a value of every metric")
    assert not missing
    shown = exporter.samples
    assert value(shown, "prefect_work_pool_slots", work_pool=pool) == 3
    if DATES_ENDS_BEFORE_THE_START:
        assert value(shown, "prefect_work_pool_slots_used", work_pool=pool) == 1
    assert value(shown, "prefect_work_pool_ready", work_pool=pool) == 1
    assert value(shown, "prefect_work_pool_paused", work_pool=pool) == 0
    assert value(shown, "prefect_work_pool_paused", work_pool=closed) == 1
    assert value(shown, "prefect_work_pool_ready", work_pool=closed) == 0
    assert value(shown, "prefect_work_pool_slots", work_pool=closed) is None
    assert value(shown, "prefect_work_queue_slots", work_pool=pool, work_queue="urgent") == 2
    assert value(shown, "prefect_work_queue_ready", work_pool=pool, work_queue="urgent") == 1
    assert value(shown, "prefect_work_queue_paused", work_pool=pool, work_queue="shut") == 1
    assert value(shown, "prefect_work_queue_paused", work_pool=pool, work_queue="urgent") == 0
    late = matching(shown, "prefect_work_queue_late_runs", work_pool=pool)
    assert {dict(labels)["work_queue"]: number >= 1 for labels, number in late.items()} == {
        "default": False,
        "urgent": True,
        "shut": False,
    }
    polled = value(shown, "prefect_work_queue_last_polled_timestamp_seconds", work_pool=pool, work_queue="urgent")
    assert polled == pytest.approx(time.time(), abs=60)
    assert value(shown, "prefect_concurrency_limit_slots", limit=f"{unique}database") == 5
    assert value(shown, "prefect_concurrency_limit_slots_used", limit=f"{unique}database") == 2
    paused = {dict(labels)["flow"]: number for labels, number in matching(shown, "prefect_deployment_paused").items()}
    assert paused == {f"{unique}etl": 0, f"{unique}other": 1}


async def test_silent_worker_is_shown_offline(seeder: Seeder, unique: str, exporter: Rig) -> None:
    pool = f"{unique}pool"
    seeder.work_pool(pool)
    await exporter.inventory()
    workers = {"online": 0.0, "offline": 0.0}

    async def look() -> dict[str, float]:
        await exporter.inventory()
        counts = matching(exporter.samples, "prefect_work_pool_workers", work_pool=pool)
        return {dict(labels)["state"]: number for labels, number in counts.items()}

    assert await look() == workers
    assert not matching(exporter.samples, "prefect_work_pool_last_heartbeat_timestamp_seconds", work_pool=pool)
    for worker in ("a", "b"):
        seeder.heartbeat(pool, worker, every=1)
    began = time.time()
    assert await look() == {"online": 2, "offline": 0}
    heard = value(exporter.samples, "prefect_work_pool_last_heartbeat_timestamp_seconds", work_pool=pool)
    assert heard == pytest.approx(began, abs=2)

    async def gone() -> bool:
        seeder.heartbeat(pool, "b", every=1)
        return await look() == {"online": 1, "offline": 1}

    await wait_until_async(gone, 40, "a worker without heartbeats")


@pytest.mark.parametrize("kind", ["ecs:push", "prefect:managed"])
async def test_pool_without_workers_by_design(seeder: Seeder, unique: str, exporter: Rig, kind: str) -> None:
    pool = f"{unique}pool"
    seeder.work_pool(pool, type=kind)
    await exporter.inventory()
    shown = exporter.samples
    assert value(shown, "prefect_work_pool_info", work_pool=pool, type=kind) == 1
    assert not matching(shown, "prefect_work_pool_workers", work_pool=pool)
    asked = exporter.traffic.requests
    assert not any(endpoint.endswith("/workers/filter") for endpoint, _ in asked), "not requested"


@pytest.mark.parametrize("name", ["two words", "Größe", "a.b", "what?x=1#y", "a+b;c"])
async def test_pool_of_any_name_has_its_workers(seeder: Seeder, unique: str, exporter: Rig, name: str) -> None:
    pool = unique + name
    seeder.work_pool(pool)
    seeder.heartbeat(pool, "worker")
    await exporter.inventory()
    assert value(exporter.samples, "prefect_work_pool_workers", work_pool=pool, state="online") == 1
    assert {endpoint for endpoint, _ in exporter.traffic.requests} <= READS


async def test_pool_name_is_escaped_in_the_path(server: PrefectServer, seeder: Seeder, tmp_path: Path) -> None:
    seeder.work_pool("..")
    seeder.call("POST", "/work_pools/%2E%2E/workers/heartbeat", {"name": "worker"})
    async with rig(server.url, tmp_path, include_pools=r"\.\.") as exporter:
        await exporter.inventory()
        assert value(exporter.samples, "prefect_work_pool_workers", work_pool="..", state="online") == 1


async def test_limit_of_a_deployment(seeder: Seeder, unique: str, flow: str, exporter: Rig) -> None:
    deployment = seeder.deployment(flow, "daily", concurrency_limit=4)
    seeder.take_slots(f"deployment:{deployment}", 3)
    seeder.concurrency_limit(f"{unique}off", 9, active=False)
    await exporter.inventory()
    limit = f"{unique}etl/daily"
    assert value(exporter.samples, "prefect_concurrency_limit_slots", limit=limit) == 4
    assert value(exporter.samples, "prefect_concurrency_limit_slots_used", limit=limit) == 3
    names = {dict(labels)["limit"] for labels in matching(exporter.samples, "prefect_concurrency_limit_slots")}
    assert f"{unique}off" not in names
    seeder.delete_deployment(deployment)
    await exporter.inventory()
    names = {dict(labels)["limit"] for labels in matching(exporter.samples, "prefect_concurrency_limit_slots")}
    assert not {name for name in names if name == limit or name.startswith("deployment:")}


async def test_automations(seeder: Seeder, unique: str, exporter: Rig) -> None:
    async def look() -> list[float]:
        await exporter.inventory()
        counts = [value(exporter.samples, "prefect_automations", enabled=enabled) for enabled in ("true", "false")]
        return [number for number in counts if number is not None]

    on, off = await look()
    seeder.automation(f"{unique}a")
    seeder.automation(f"{unique}b")
    seeder.automation(f"{unique}c", enabled=False)
    assert await look() == [on + 2, off + 1]


# When deployments are due


async def test_next_due_is_the_earliest_run_of_the_schedules(
    seeder: Seeder, unique: str, flow: str, exporter: Rig
) -> None:
    minutely = seeder.deployment(flow, "minutely", interval=60)
    seeder.deployment(flow, "by hand")
    yearly = seeder.deployment(flow, "yearly", cron="0 0 1 1 *")
    for deployment in (minutely, yearly):
        await scheduled(seeder, deployment)
    ahead = datetime.now(UTC) + timedelta(seconds=1)
    seeder.run(flow, deployment_id=yearly, state="Scheduled", at=ahead)  # by hand, not by a schedule
    await exporter.inventory()
    asked = time.time()
    due = {dict(labels)["deployment"]: at for labels, at in matching(exporter.samples, NEXT).items()}
    assert due.keys() == {"minutely", "yearly"}
    assert due["minutely"] == min(at for at in seeder.scheduled_starts(minutely) if at > asked)
    january = datetime(datetime.now(UTC).year + 1, 1, 1, tzinfo=UTC)
    assert due["yearly"] == january.timestamp()
    assert not matching(exporter.samples, LAST, flow=f"{unique}etl")


async def test_next_due_appears_once_the_scheduler_has_made_runs(
    seeder: Seeder, unique: str, flow: str, exporter: Rig
) -> None:
    await exporter.inventory()
    seeder.deployment(flow, "hourly", interval=3600)

    async def due() -> float | None:
        await exporter.inventory()
        return value(exporter.samples, NEXT, flow=f"{unique}etl", deployment="hourly")

    assert await wait_until_async(due, SCHEDULER_SECONDS, "a next due start") > time.time()


async def test_paused_deployment_is_not_due(seeder: Seeder, unique: str, flow: str, exporter: Rig) -> None:
    deployment = seeder.deployment(flow, "hourly", interval=3600)
    await scheduled(seeder, deployment)
    await exporter.inventory()
    here = {"flow": f"{unique}etl", "deployment": "hourly"}
    assert value(exporter.samples, NEXT, **here) is not None
    seeder.pause(deployment_id=deployment)
    await exporter.inventory()
    assert value(exporter.samples, NEXT, **here) is None
    assert value(exporter.samples, "prefect_deployment_paused", **here) == 1
    assert exporter.reader.ledger.schedules[deployment].next_at is None
    seeder.pause(deployment_id=deployment, paused=False)
    await scheduled(seeder, deployment)
    await exporter.inventory()
    assert value(exporter.samples, NEXT, **here) is not None


async def test_start_that_passes_while_the_exporter_is_off_is_the_last_due(
    server: PrefectServer, seeder: Seeder, unique: str, flow: str, tmp_path: Path
) -> None:
    deployment = seeder.deployment(flow, "often", interval=6)
    await scheduled(seeder, deployment)
    here = {"flow": f"{unique}etl", "deployment": "often"}
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.inventory()
        due = value(exporter.samples, NEXT, **here)
        assert due is not None
        await exporter.stop()
        await asyncio.sleep(max(due - time.time(), 0) + 0.1)
        await exporter.start()
        await exporter.inventory()
        last, following = value(exporter.samples, LAST, **here), value(exporter.samples, NEXT, **here)
        assert last is not None
        assert following is not None
        assert due <= last < following
        assert (following - due) % 6 == 0
        exporter.clock = lambda: following + 1
        await exporter.poller.publish()
        assert value(exporter.samples, LAST, **here) == following, "it becomes the last one without a new reading"


# Number of requests, and no side effects


async def test_unchanged_inventory_costs_one_request_per_endpoint(
    seeder: Seeder, unique: str, flow: str, exporter: Rig
) -> None:
    for number in range(3):
        seeder.work_pool(f"{unique}{number}")
    seeder.work_pool(f"{unique}push", type="ecs:push")
    for number in range(5):
        await scheduled(seeder, seeder.deployment(flow, f"d{number}", interval=3600))
    await exporter.poller.take_inventory()
    before = exporter.traffic.requests.copy()
    await exporter.poller.take_inventory()
    asked = {endpoint: count for (endpoint, _), count in (exporter.traffic.requests - before).items()}
    assert {name: asked.get(name, 0) for name in READS if "work_" in name or "limit" in name or "autom" in name} == {
        "/work_pools/filter": 1,
        "/work_pools/{name}/workers/filter": 3,
        "/work_pools/{name}/queues/filter": 0,
        "/work_queues/filter": 1,
        "/v2/concurrency_limits/filter": 1,
        "/automations/filter": 1,
        "/automations/related-to/{resource}": 0,
    }
    assert "/flow_runs/filter" not in asked, "every next start is known"


def inventory_rows(seeder: Seeder, unique: str) -> dict[str, Any]:
    """The fields of this test's deployments, pools and queues that a reading could change."""
    everything: dict[str, Any] = {}
    for kind in ("deployments", "work_pools", "work_queues"):
        rows = seeder.call("POST", f"/{kind}/filter", {})
        mine = [row for row in rows if unique in str(row)]
        everything |= {row["id"]: {**row, "kind": kind} for row in mine}
    for pool in [row["name"] for row in everything.values() if row["kind"] == "work_pools"]:
        everything |= {row["id"]: row for row in seeder.call("POST", f"/work_pools/{pool}/workers/filter", {})}
    return everything


async def test_reading_changes_nothing(seeder: Seeder, unique: str, flow: str, exporter: Rig) -> None:
    pool, quiet = f"{unique}pool", f"{unique}quiet"
    for name in (pool, quiet):
        seeder.work_pool(name, concurrency_limit=3)
    seeder.heartbeat(pool, "worker")
    for name in (pool, quiet):
        deployment = seeder.deployment(flow, name, work_pool=name, interval=3600, concurrency_limit=1)
        await scheduled(seeder, deployment)
    before = inventory_rows(seeder, unique)
    assert {row.get("last_polled") for row in before.values()} == {None}
    for _ in range(3):
        await exporter.inventory()
        await exporter.poll()
    assert inventory_rows(seeder, unique) == before


async def test_dead_endpoint_hides_nothing_else(
    server: PrefectServer, seeder: Seeder, proxy: FaultProxy, unique: str, tmp_path: Path
) -> None:
    for pool in ("good", "bad"):
        seeder.work_pool(unique + pool)
        seeder.heartbeat(unique + pool, "worker")
    proxy.status(500, path="/automations")
    proxy.status(403, path=f"/work_pools/{unique}bad/")
    async with rig(proxy.url, tmp_path, include_pools=f"{unique}.*") as exporter:
        await exporter.inventory()
        shown = exporter.samples
        up = {
            dict(labels)["source"]: number for labels, number in matching(shown, "prefect_exporter_source_up").items()
        }
        assert {
            name: up[name] for name in ("work_pools", "work_queues", "concurrency_limits", "automations", "dues")
        } == {
            "work_pools": 0,
            "work_queues": 1,
            "concurrency_limits": 1,
            "automations": 0,
            "dues": 1,
        }
        assert not matching(shown, "prefect_automations")
        assert value(shown, "prefect_work_pool_info", work_pool=f"{unique}bad", type="process") == 1
        workers = matching(shown, "prefect_work_pool_workers")
        assert {dict(labels)["work_pool"] for labels in workers} == {f"{unique}good"}
        assert matching(shown, "prefect_work_queue_paused", work_pool=f"{unique}bad")
        proxy.clear()
        await exporter.inventory()
        workers = matching(exporter.samples, "prefect_work_pool_workers", state="online")
        assert {dict(labels)["work_pool"]: number for labels, number in workers.items()} == {
            f"{unique}good": 1,
            f"{unique}bad": 1,
        }
        assert matching(exporter.samples, "prefect_automations")


async def test_small_pages_hide_nothing(tmp_path: Path) -> None:
    env = {"PREFECT_SERVER_API_DEFAULT_LIMIT": "3"}
    with start_server(tmp_path, env=env) as strict, Seeder(strict.url) as seeder:
        pools = [f"pool-{number}" for number in range(5)]
        for pool in pools:
            seeder.work_pool(pool)
            seeder.work_queue(pool, "extra")
            for worker in range(4):
                seeder.heartbeat(pool, f"worker-{worker}")
            seeder.automation(f"of {pool}")
            seeder.concurrency_limit(pool, 1)
        flow = seeder.flow("etl")
        deployments = [seeder.deployment(flow, f"d{number}", interval=60) for number in range(5)]
        for deployment in deployments:
            await wait_until_async(
                lambda one=deployment: seeder.call(
                    "POST", "/flow_runs/count", {"flow_runs": {"deployment_id": {"any_": [one]}}}
                ),
                SCHEDULER_SECONDS,
                "runs that the scheduler made",
            )
        async with rig(strict.url, tmp_path) as exporter:
            await exporter.inventory()
            shown = exporter.samples
            assert len(matching(shown, "prefect_work_queue_paused")) == 10
            assert set(matching(shown, "prefect_work_pool_workers", state="online").values()) == {4.0}
            assert len(matching(shown, "prefect_work_pool_workers", state="online")) == 5
            assert value(shown, "prefect_automations", enabled="true") == 5
            assert len(matching(shown, "prefect_concurrency_limit_slots")) == 5
            assert len(matching(shown, NEXT)) == 5
