"""Rows of an unexpected shape next to good ones in every list, and rows without their state."""

from __future__ import annotations

import copy
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast
from uuid import UUID

import pytest

from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.events import EventsApi
from prefect_monitoring.prefect_api.flow_runs import PrefectApi
from prefect_monitoring.prefect_api.inventory import InventoryApi
from prefect_monitoring.prefect_api.logs import LogApi
from prefect_monitoring.prefect_api.pagination import MANY_ROWS, instant
from prefect_monitoring.prefect_api.task_runs import TaskApi
from prefect_monitoring.prefect_api.unreadable import Rows, collected_in, some_are_nameless
from unit.loopback import Answer, Loopback

GOOD, BAD = str(UUID(int=1)), str(UUID(int=2))
NOON, LATER = "2026-03-02T12:00:00Z", "2026-03-02T12:00:09Z"
STATE = {"id": str(UUID(int=3)), "type": "COMPLETED", "name": "Completed", "timestamp": LATER}
RUN = {
    "id": GOOD,
    "name": "run",
    "flow_id": "f",
    "deployment_id": None,
    "expected_start_time": NOON,
    "start_time": NOON,
    "end_time": LATER,
    "run_count": 1,
    "state_id": STATE["id"],
    "state_type": "COMPLETED",
    "state_name": "Cached",
    "state": STATE,
}
TASK_RUN = {**RUN, "flow_run_id": None, "task_key": "load-1a2b3c4d", "dynamic_key": "0"}
LINE = {"id": GOOD, "timestamp": NOON, "message": "METRIC: rows=1", "flow_run_id": None, "task_run_id": None}
EVENT = {"id": GOOD, "occurred": NOON, "resource": {"prefect.resource.id": "a"}, "payload": {}}
POOL = {"id": GOOD, "name": "p", "type": "process"}
LIMIT = {"id": GOOD, "name": "l", "limit": 1, "active_slots": 0}
NO_STATE = {"state": None, "state_type": None}
Read = Callable[[PrefectHttp], Awaitable[Any]]


async def page_of(reading: Awaitable[Any]) -> int:
    return len((await reading).runs)


async def length_of(reading: Awaitable[Any]) -> int:
    return len(await reading)


async def workers_of(http: PrefectHttp) -> int:
    workers = await InventoryApi(PrefectApi(http).paginator).workers("p")
    return workers.online


async def lines_of(http: PrefectHttp) -> int:
    return len((await LogApi(PrefectApi(http).paginator).page(0.0, None, 0)).lines)


async def failed_actions_of(http: PrefectHttp) -> int:
    return len((await EventsApi(http).failed_actions(0.0, 60.0)).actions)


def inventory(http: PrefectHttp) -> InventoryApi:
    return InventoryApi(PrefectApi(http).paginator)


def tasks(http: PrefectHttp) -> TaskApi:
    return TaskApi(PrefectApi(http).paginator)


CASES: dict[str, tuple[Read, dict[str, Any], dict[str, Any]]] = {
    "finished": (lambda http: page_of(PrefectApi(http).finished_page(0.0, None, 0)), RUN, NO_STATE),
    "finished, no instant": (
        lambda http: page_of(PrefectApi(http).finished_page(0.0, None, 0)),
        RUN,
        {"end_time": "?"},
    ),
    "active": (lambda http: length_of(PrefectApi(http).active_runs()), RUN, {"state": {}, "state_type": 7}),
    "without end": (lambda http: length_of(PrefectApi(http).runs_without_end(0.0)), RUN, {"run_count": "many"}),
    "by id": (lambda http: length_of(PrefectApi(http).flow_runs([GOOD, BAD])), RUN, {"tags": 5}),
    "flows": (lambda http: length_of(PrefectApi(http).flows()), {"id": GOOD, "name": "f"}, {"id": None}),
    "deployments": (lambda http: length_of(PrefectApi(http).deployments()), {"id": GOOD, "name": "d"}, {"tags": 5}),
    "task runs": (lambda http: page_of(tasks(http).finished_page(0.0, None, 0)), TASK_RUN, NO_STATE),
    "unfinished task runs": (lambda http: length_of(tasks(http).unfinished(["f"])), TASK_RUN, {"start_time": 7}),
    "lines": (lines_of, LINE, {"timestamp": "yesterday"}),
    "lines, no id": (lines_of, LINE, {"id": "7"}),
    "events": (failed_actions_of, EVENT, {"resource": None}),
    "pools": (lambda http: length_of(inventory(http).work_pools()), POOL, {"type": None}),
    "workers": (workers_of, {"id": GOOD, "status": "ONLINE"}, {"status": "ONLINE", "last_heartbeat_time": "?"}),
    "queues": (lambda http: length_of(inventory(http).work_queues()), {"id": GOOD, "name": "q"}, {"last_polled": "?"}),
    "limits": (lambda http: length_of(inventory(http).concurrency_limits()), LIMIT, {"limit": None}),
    "automations": (
        lambda http: length_of(inventory(http).automations()),
        {"id": GOOD, "name": "a", "enabled": True},
        {"name": None},
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_bad_row_is_noted_and_others_are_read(site: Loopback, http: PrefectHttp, case: str) -> None:
    read, good, changes = CASES[case]
    rows = [{**good, "id": BAD, **changes}, good]
    site.answer = lambda asked: Answer(body={"events": rows} if "/events/" in asked.path else rows)
    noted: Rows = {}
    with collected_in(noted):
        assert await read(http) == 1
    assert noted.keys() == {BAD} or set(noted) <= {"row 0", "7"}
    with pytest.raises(ApiError) as caught:
        await read(http)
    assert caught.value.code == "invalid_json", "without a caller that sets it aside, it is an error"


STRANGE: list[Any] = [None, 7, -1.5, "garbage", "2026-03-02T12:00:00", True, [], {}, [["deep"]], {"x": {"type": 1}}]
LEFT_OUT = object()


class Answering:
    """Replaces PrefectHttp and answers every request with `rows`."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    async def request(self, endpoint: str, **_asked: object) -> Any:
        return {"events": self.rows} if endpoint.startswith("/events/") else self.rows

    async def sized(self, endpoint: str, **asked: object) -> tuple[Any, int]:
        return await self.request(endpoint, **asked), 1


def strange_rows(good: dict[str, Any]) -> Iterator[Any]:
    """`good` with each value, at the top and one level below, replaced or left out; and values that are no rows."""
    yield from STRANGE
    row = {**good, "id": BAD}
    for path in [(key,) for key in row] + [(key, inner) for key in row for inner in inside(row[key])]:
        for value in [LEFT_OUT, *STRANGE]:
            changed = copy.deepcopy(row)
            place = changed if len(path) == 1 else changed[path[0]]
            if value is LEFT_OUT:
                del place[path[-1]]
            else:
                place[path[-1]] = value
            yield changed


def inside(value: Any) -> Iterator[str]:
    return iter(value if isinstance(value, dict) else ())


@pytest.mark.parametrize("case", CASES)
async def test_bad_value_in_a_row_blocks_no_other_row(case: str) -> None:
    read, good, _ = CASES[case]
    for row in strange_rows(good):
        http = cast("PrefectHttp", Answering([row, good]))
        noted: Rows = {}
        with collected_in(noted):
            assert await read(http) in {1, 2}, row
        assert len(noted) <= 1, row


async def test_page_of_mostly_bad_rows_is_an_error(site: Loopback, http: PrefectHttp) -> None:
    bad = [{**RUN, **NO_STATE, "id": str(UUID(int=10 + number))} for number in range(MANY_ROWS)]
    site.answer = lambda _: Answer(body=[*bad, RUN])
    with collected_in({}), pytest.raises(ApiError, match="of another shape"):
        await PrefectApi(http).finished_page(0.0, None, 0)
    site.answer = lambda _: Answer(body=[*bad[:2], RUN])
    with collected_in({}):
        page = await PrefectApi(http).finished_page(0.0, None, 0)
    assert (len(page.runs), page.unreadable) == (1, 2)


async def test_lookup_answered_with_another_row_does_not_mean_deleted(site: Loopback, http: PrefectHttp) -> None:
    site.answer = lambda _: Answer(body=[{"id": GOOD, "name": "etl"}, {"surprise": 1, "id": BAD}])
    with collected_in({}), pytest.raises(ApiError, match="other rows"):
        await PrefectApi(http).flows([GOOD, str(UUID(int=4))])


@pytest.mark.parametrize("row", [{"id": BAD, "surprise": 1}, {"id": BAD, "name": None}])
async def test_flow_or_deployment_without_a_name_is_not_named_by_its_id(
    site: Loopback, http: PrefectHttp, row: dict[str, Any]
) -> None:
    site.answer = lambda _: Answer(body=[row])
    aside: Rows = {}
    with collected_in(aside):
        assert await PrefectApi(http).flows([BAD]) == {}
        assert await PrefectApi(http).deployments([BAD]) == {}
    assert aside.keys() == {BAD}, "its runs wait until it can be read"


@pytest.mark.parametrize("other", [{}, {"id": None}, {"id": "7"}])
async def test_lookup_answered_with_a_row_without_an_id_is_unreadable(
    site: Loopback, http: PrefectHttp, other: dict[str, Any]
) -> None:
    site.answer = lambda _: Answer(body=[{"id": GOOD, "name": "etl"}, {"surprise": 1, **other}])
    with collected_in({}):
        assert (await PrefectApi(http).flows([GOOD, str(UUID(int=4))])).keys() == {GOOD}
        assert some_are_nameless(), "so that the caller assumes nothing to be deleted"
    with pytest.raises(ApiError):
        await PrefectApi(http).flows([GOOD, str(UUID(int=4))])


@pytest.mark.parametrize("gone", [{"state": None}, {"state": None, "state_id": None}, {"state": {"id": "?"}}])
async def test_run_without_its_state_is_decoded_from_its_row(
    site: Loopback, http: PrefectHttp, gone: dict[str, Any]
) -> None:
    site.answer = lambda _: Answer(body=[{**RUN, **gone}])
    (run,) = (await PrefectApi(http).finished_page(0.0, None, 0)).runs
    assert (run.state.type, run.state.name, run.state.at) == ("COMPLETED", "Cached", instant(LATER))
    assert run.state.id == (gone.get("state_id", STATE["id"]) or GOOD), "its own id replaces that of a deleted state"


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "UTC"])
def test_instant_without_an_offset_is_utc(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert instant("2026-03-02T12:00:00.5") == instant("2026-03-02T12:00:00.5Z") == 1772452800.5
        assert instant("2026-03-02 12:00:00.5") == 1772452800.5
    finally:
        monkeypatch.undo()
        time.tzset()
