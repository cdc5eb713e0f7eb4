"""Pools, workers, queues, limits, automations and next starts: requests, and JSON to records."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pytest

from prefect_monitoring.model.records import ConcurrencyLimit, Workers, WorkPool, WorkQueue
from prefect_monitoring.prefect_api import inventory as inventory_api
from prefect_monitoring.prefect_api.client import PrefectHttp, Traffic
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.inventory import InventoryApi
from prefect_monitoring.prefect_api.pagination import MAX_PAGE, Paginator, iso
from unit.loopback import Answer, Asked, Loopback

NOON = 1772452800.0


@pytest.fixture
def api(http: PrefectHttp) -> InventoryApi:
    return InventoryApi(Paginator(http), lambda: NOON)


def identified(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": str(UUID(int=number)), **row} for number, row in enumerate(rows)]


def page_of(rows: list[dict[str, Any]], asked: Asked) -> Answer:
    return Answer(body=rows[asked.body["offset"] : asked.body["offset"] + asked.body["limit"]])


# Records


@pytest.mark.parametrize("kind", ["ecs:push", "cloud-run-v2:push", "prefect:managed"])
@pytest.mark.parametrize(("status", "paused"), [("NOT_READY", False), ("PAUSED", True)])
async def test_pool_that_needs_no_worker_is_ready_unless_it_is_paused(
    site: Loopback, api: InventoryApi, kind: str, status: str, paused: bool
) -> None:
    site.answer = lambda _: Answer(
        body=identified([{"name": "p", "type": kind, "status": status, "is_paused": paused}])
    )
    assert [pool.ready for pool in await api.work_pools()] == [not paused]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"status": "READY", "is_paused": False, "concurrency_limit": 4, "active_slots": 1},
            WorkPool("p", "process", paused=False, ready=True, slots=4, slots_used=1),
        ),
        (
            {"status": "PAUSED", "is_paused": True, "concurrency_limit": None, "active_slots": None},
            WorkPool("p", "process", paused=True, ready=False, slots=None, slots_used=None),
        ),
        (
            {"is_paused": False, "concurrency_limit": 0},
            WorkPool("p", "process", paused=False, ready=None, slots=0, slots_used=None),
        ),
    ],
    ids=["ready", "paused", "older server"],
)
async def test_work_pool_is_decoded(site: Loopback, api: InventoryApi, row: dict[str, Any], expected: WorkPool) -> None:
    site.answer = lambda _: Answer(body=identified([{"name": "p", "type": "process", **row}]))
    assert await api.work_pools() == [expected]
    assert (site.asked[-1].method, site.asked[-1].body) == ("POST", {"limit": MAX_PAGE, "offset": 0})


@pytest.mark.parametrize(
    ("kind", "has_workers"),
    [
        ("process", True),
        ("kubernetes", True),
        ("ecs", True),
        ("our-own", True),
        ("ecs:push", False),
        ("cloud-run-v2:push", False),
        ("prefect:managed", False),
        ("prefect-agent", False),
    ],
)
def test_pool_type_decides_whether_it_has_workers(kind: str, has_workers: bool) -> None:
    pool = WorkPool("p", kind, paused=False, ready=None, slots=None, slots_used=None)
    assert pool.has_workers is has_workers


async def test_workers_are_counted_by_status(site: Loopback, api: InventoryApi) -> None:
    rows = [
        {"name": "a", "status": "ONLINE", "last_heartbeat_time": "2026-03-02T12:00:00Z"},
        {"name": "b", "status": "OFFLINE", "last_heartbeat_time": "2026-03-01T12:00:00Z"},
        {"name": "c", "status": "OFFLINE", "last_heartbeat_time": None},
    ]
    site.answer = lambda _: Answer(body=identified(rows))
    assert await api.workers("p") == Workers(1, 2, NOON)
    site.answer = lambda _: Answer()
    assert await api.workers("p") == Workers(0, 0, None)


@pytest.mark.parametrize(
    ("interval", "age", "online"),
    [(None, 90, 1), (None, 91, 0), (10, 90, 1), (10, 91, 0), (60, 180, 1), (60, 181, 0), (30, -600, 1), (30, 21600, 0)],
)
async def test_worker_with_an_old_heartbeat_is_offline_despite_its_status(
    site: Loopback, api: InventoryApi, interval: int | None, age: float, online: int
) -> None:
    at = iso(NOON - age)
    row = {"name": "a", "status": "ONLINE", "last_heartbeat_time": at, "heartbeat_interval_seconds": interval}
    site.answer = lambda _: Answer(body=identified([row]))
    assert await api.workers("p") == Workers(online, 1 - online, NOON - age)


async def test_work_queue_is_decoded(site: Loopback, api: InventoryApi) -> None:
    rows = [
        {
            "work_pool_name": "p",
            "name": "q",
            "is_paused": True,
            "status": "PAUSED",
            "concurrency_limit": 2,
            "last_polled": "2026-03-02T12:00:00Z",
        },
        {"work_pool_name": None, "name": "left over", "is_paused": False, "concurrency_limit": None},
    ]
    site.answer = lambda _: Answer(body=identified(rows))
    assert await api.work_queues() == [
        WorkQueue("p", "q", paused=True, ready=False, slots=2, last_polled=NOON),
        WorkQueue("", "left over", paused=False, ready=None, slots=None, last_polled=None),
    ]
    assert len(site.asked) == 1


async def test_queues_that_fill_a_page_are_read_pool_by_pool(site: Loopback, api: InventoryApi) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/work_pools/filter"):
            return Answer(body=identified([{"name": name, "type": "process"} for name in ("a", "b")]))
        pool = asked.path.split("/")[-3]
        queues = [{"id": f"{pool}{n}", "name": f"q{n}", "work_pool_name": pool} for n in range(250)]
        return page_of(queues, asked)

    site.answer = answer
    queues = await api.work_queues()
    assert {(queue.work_pool, queue.name) for queue in queues} == {(pool, f"q{n}") for pool in "ab" for n in range(250)}
    assert len(queues) == 500


async def test_only_active_limits_count(site: Loopback, api: InventoryApi) -> None:
    deployment_id = str(UUID(int=7))
    rows = [
        {"name": "database", "active": True, "limit": 5, "active_slots": 2},
        {"name": "off", "active": False, "limit": 5, "active_slots": 0},
        {"name": f"deployment:{deployment_id}", "active": True, "limit": 1, "active_slots": 1},
        {"name": "my deployment:x", "limit": 3, "active_slots": 0},
    ]
    site.answer = lambda _: Answer(body=identified(rows))
    assert await api.concurrency_limits() == [
        ConcurrencyLimit("database", None, 5, 2),
        ConcurrencyLimit(f"deployment:{deployment_id}", deployment_id, 1, 1),
        ConcurrencyLimit("my deployment:x", None, 3, 0),
    ]


async def test_automations_are_counted_by_name_and_state(site: Loopback, api: InventoryApi) -> None:
    rows = identified([{"name": "same", "enabled": number % 3 > 0} for number in range(MAX_PAGE + 10)])
    site.answer = lambda asked: page_of(rows, asked)
    automations = await api.automations()
    assert Counter(automations) == {("same", True): 140, ("same", False): 70}
    site.answer = lambda _: Answer()
    assert await api.automations() == []
    assert site.asked[-1].body["sort"] == "CREATED_DESC", "names are not unique, so their order would not be stable"


@pytest.mark.parametrize("rows", [[{"id": "1"}], [{"id": "1", "name": None}], {"detail": "?"}])
async def test_rows_of_another_shape_are_an_error_not_a_crash(site: Loopback, api: InventoryApi, rows: object) -> None:
    site.answer = lambda _: Answer(body=rows)
    reads = (
        api.work_pools,
        lambda: api.workers("p"),
        api.work_queues,
        api.concurrency_limits,
        api.automations,
        lambda: api.next_starts(["d"], NOON),
    )
    for read in reads:
        if read == api.work_queues and rows == [{"id": "1", "name": None}]:
            continue
        with pytest.raises(ApiError) as caught:
            await read()
        assert caught.value.code == "invalid_json"


# Names in paths


@pytest.mark.parametrize("name", ["plain", "two words", "Größe", "50%", "50%25", "a/b", "..", "?x=1#y", "🦆", "a&b+c"])
async def test_pool_name_is_one_path_segment(site: Loopback, api: InventoryApi, traffic: Traffic, name: str) -> None:
    await api.workers(name)
    path = site.asked[-1].path
    assert path.startswith("/api/work_pools/")
    assert path.endswith("/workers/filter")
    assert path.count("/") == 5
    assert unquote(path.split("/")[3]) == name
    assert dict(traffic.requests) == {("/work_pools/{name}/workers/filter", "200"): 1}, "names are not used as labels"


async def test_pool_with_unreadable_workers_affects_no_other(site: Loopback, api: InventoryApi) -> None:
    site.answer = lambda asked: Answer(500) if "/bad/" in asked.path else Answer()
    workers, fault = await api.workers_of(["bad", "fine", "good"])
    assert workers.keys() == {"fine", "good"}
    assert fault is not None
    assert fault.code == "500"
    assert await api.workers_of([]) == ({}, None)


async def test_failing_endpoint_is_not_requested_for_every_pool(site: Loopback, api: InventoryApi) -> None:
    site.answer = lambda _: Answer(500)
    workers, fault = await api.workers_of([f"pool-{number}" for number in range(50)])
    assert workers == {}
    assert fault is not None
    assert len(site.asked) <= inventory_api.WORKER_FAULTS + inventory_api.WORKER_CONCURRENCY


# Next starts


def runs_of(starts: dict[str, list[float]]):
    """Answers like the server: runs of the requested deployments after the requested time, earliest first."""

    def answer(asked: Asked) -> Answer:
        wanted = asked.body["flow_runs"]["deployment_id"]["any_"]
        rows = [
            {
                "id": f"{deployment_id}-{at}",
                "deployment_id": deployment_id,
                "expected_start_time": f"2026-03-02T13:{int(at):02}:00Z",
            }
            for deployment_id in wanted
            for at in starts.get(deployment_id, ())
        ]
        return page_of(sorted(rows, key=lambda row: row["expected_start_time"]), asked)

    return answer


async def test_next_starts_are_requested_with_a_valid_filter(site: Loopback, api: InventoryApi) -> None:
    site.answer = runs_of({"a": [5.0, 1.0], "b": [3.0]})
    assert await api.next_starts(["b", "a", "c"], NOON) == {"a": NOON + 3660, "b": NOON + 3780}
    (asked,) = site.asked
    assert (asked.method, asked.path) == ("POST", "/api/flow_runs/filter")
    assert asked.body == {
        "flow_runs": {
            "deployment_id": {"any_": ["a", "b", "c"]},
            "state": {"type": {"any_": ["SCHEDULED"]}, "name": {"any_": ["Scheduled"]}},
            "expected_start_time": {"after_": "2026-03-02T12:00:00+00:00"},
            "tags": {"all_": ["auto-scheduled"]},
        },
        "sort": "NEXT_SCHEDULED_START_TIME_ASC",
        "limit": MAX_PAGE,
        "offset": 0,
    }


async def test_deployments_with_many_runs_do_not_hide_the_others(site: Loopback, api: InventoryApi) -> None:
    busy = {f"busy-{number}": [float(minute) for minute in range(50)] for number in range(10)}
    site.answer = runs_of({**busy, "rare": [59.0]})
    starts = await api.next_starts([*busy, "rare", "never"], NOON)
    assert starts == dict.fromkeys(busy, NOON + 3600) | {"rare": NOON + 3600 + 59 * 60}
    assert len(site.asked) == 2
    assert site.asked[1].body["flow_runs"]["deployment_id"]["any_"] == ["never", "rare"], "not requested twice"


async def test_ids_are_requested_in_batches(site: Loopback, api: InventoryApi) -> None:
    ids = [f"{number:04}" for number in range(450)]
    site.answer = runs_of({deployment_id: [1.0] for deployment_id in ids[:430]})
    assert len(await api.next_starts(ids, NOON)) == 430
    assert all(len(request.body["flow_runs"]["deployment_id"]["any_"]) <= MAX_PAGE for request in site.asked)
    assert await api.next_starts([], NOON) == {}


async def test_server_that_repeats_rows_is_not_requested_forever(site: Loopback, api: InventoryApi) -> None:
    row = {"id": "r", "deployment_id": "of nobody", "expected_start_time": "2026-03-02T13:00:00Z"}
    site.answer = lambda _: Answer(body=[row] * MAX_PAGE)
    assert "a" not in await api.next_starts(["a"], NOON)
    assert len(site.asked) == 1
