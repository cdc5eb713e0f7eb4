"""Task runs: requests, and JSON to records."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import pytest

from prefect_monitoring.ingest.incremental import next_page
from prefect_monitoring.model.records import TERMINAL_TYPES, State, TaskRun
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.pagination import MAX_PAGE, Paginator
from prefect_monitoring.prefect_api.state_history import Histories
from prefect_monitoring.prefect_api.task_runs import TaskApi, task_name
from unit.loopback import Answer, Asked, Loopback

NO_PLACEHOLDERS = {"exists_": False}
BEFORE, NOON, AFTER = "2026-03-02T11:59:00Z", "2026-03-02T12:00:00Z", "2026-03-02T12:00:09Z"
STATE = str(UUID(int=77))


def row(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(UUID(int=number)),
        "name": "load-0a1",
        "task_key": "load-1a2b3c4d",
        "dynamic_key": "0a1b2c3d-0000-4000-8000-000000000000",
        "flow_run_id": "r",
        "flow_run_run_count": 2,
        "run_count": 3,
        "total_run_time": 12.5,
        "start_time": "2026-03-02T12:00:01.000001Z",
        "end_time": "2026-03-02T12:01:00Z",
        "state": {
            "id": STATE,
            "type": "COMPLETED",
            "name": "Cached",
            "timestamp": "2026-03-02T12:01:00Z",
            "message": None,
        },
        **changes,
    }


@pytest.fixture
def api(http: PrefectHttp) -> TaskApi:
    return TaskApi(Paginator(http))


# Names

HEX = "0a1b2c3d-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("run_name", "task_key", "dynamic_key", "task"),
    [
        ("load-0a1", "load-1a2b3c4d", HEX, "load"),
        ("load orders-0a1", "load_orders-1a2b3c4d", HEX, "load orders"),  # @task(name="load orders")
        ("load-0", "load-1a2b3c4d", "0", "load"),  # numbered, as mapped runs of older clients are
        ("load-12", "load-1a2b3c4d", "12", "load"),
        ("load-1234", "load-1a2b3c4d", "1234", "load"),
        ("orders of Monday", "load-1a2b3c4d", HEX, "load"),  # task_run_name
        ("orders-0a1-0a1", "load-1a2b3c4d", HEX, "orders-0a1"),
        ("a b-0a2", "flows.etl.load-1a2b3c4d", HEX, "flows.etl.load"),
        ("anything", "load-4d", HEX, "load-4d"),  # no hash: keys of older clients have none
        ("anything", "load", HEX, "load"),
        ("anything", "", HEX, "anything"),
        ("anything", "-1a2b3c4d", HEX, "anything"),
        ("-0a1", "load-1a2b3c4d", HEX, "load"),  # nothing else would be left
        ("load", "load-1a2b3c4d", "", "load"),
        ("load-", "other-1a2b3c4d", "", "other"),
    ],
)
def test_task_name_is_that_of_the_function_or_decorator(
    run_name: str, task_key: str, dynamic_key: str, task: str
) -> None:
    assert task_name(run_name, task_key, dynamic_key) == task


def test_edited_code_is_the_same_task() -> None:
    assert task_name("mine", "load-1a2b3c4d", HEX) == task_name("mine", "load-99999999", HEX)


# Rows


async def test_task_run_is_decoded(site: Loopback, api: TaskApi) -> None:
    site.answer = lambda _: Answer(body=[row()])
    (run,) = (await api.finished_page(0.0, 1772452800.000001, 400)).runs
    state = State(STATE, "COMPLETED", "Cached", 1772452860.0, "")
    assert run == TaskRun(row()["id"], "load", "r", 2, state, 3, 1772452801.000001, 1772452860.0, 12.5)
    assert run.kind == "COMPLETED"
    asked = site.asked[-1]
    assert asked.path == "/api/task_runs/filter"
    assert (asked.body["sort"], asked.body["offset"]) == ("END_TIME_DESC", 400)
    assert asked.body["task_runs"] == {
        "end_time": {"after_": "1970-01-01T00:00:00+00:00", "before_": "2026-03-02T12:00:00.000001+00:00"},
        "subflow_runs": NO_PLACEHOLDERS,
    }


async def test_fields_missing_on_older_servers_have_defaults(site: Loopback, api: TaskApi) -> None:
    bare = row(flow_run_id=None, start_time=None, end_time=None)
    del bare["flow_run_run_count"], bare["total_run_time"]
    site.answer = lambda _: Answer(body=[bare])
    (run,) = (await api.finished_page(0.0, None, 0)).runs
    assert (run.flow_run_id, run.flow_run_attempt, run.started_at, run.ended_at, run.run_time) == (
        None,
        0,
        None,
        None,
        0.0,
    )
    assert "before_" not in site.asked[-1].body["task_runs"]["end_time"]


@pytest.mark.parametrize(
    ("begun", "ended", "at"),
    [(NOON, AFTER, AFTER), (NOON, None, NOON), (None, None, BEFORE)],
    ids=["over", "running", "pending"],
)
async def test_run_with_an_unwritten_state_is_decoded(
    site: Loopback, api: TaskApi, begun: str | None, ended: str | None, at: str
) -> None:
    """Happens in Prefect 3.8.8 on SQLite while 2,000 task runs end at once."""
    of_the_run = {"state": None, "state_id": STATE, "state_type": "FAILED", "state_name": "TimedOut"}
    times = {"start_time": begun, "end_time": ended, "expected_start_time": BEFORE}
    site.answer = lambda _: Answer(body=[row(**of_the_run, **times)])
    (run,) = (await api.finished_page(0.0, None, 0)).runs
    assert run.state == State(STATE, "FAILED", "TimedOut", datetime.fromisoformat(at).timestamp(), "")
    assert not run.message_known


@pytest.mark.parametrize(
    "rows",
    [
        [{}],
        [None],
        ["x"],
        {"detail": "?"},
        None,
        [row(state=None, state_id=None)],
        [row(end_time="yesterday")],
        [row(task_key=None, name=None)],
    ],
)
async def test_rows_of_another_shape_are_an_error_not_a_crash(site: Loopback, api: TaskApi, rows: object) -> None:
    site.answer = lambda _: Answer(body=rows)
    with pytest.raises(ApiError) as caught:
        await api.finished_page(0.0, None, 0)
    assert caught.value.code == "invalid_json"


async def test_page_is_complete_when_it_is_not_full(site: Loopback, api: TaskApi) -> None:
    rows = [row(number) for number in range(MAX_PAGE)]
    site.answer = lambda _: Answer(body=rows)
    assert not (await api.finished_page(0.0, None, 0)).complete
    del rows[0]
    assert (await api.finished_page(0.0, None, 0)).complete


# Other requests


async def test_unfinished_task_runs_are_requested_by_flow_run(site: Loopback, api: TaskApi) -> None:
    site.answer = lambda _: Answer(body=[row()])
    assert len(await api.unfinished({"r", "q"})) == 1
    chosen = site.asked[-1].body["task_runs"]
    assert chosen["flow_run_id"] == {"any_": ["q", "r"]}
    assert chosen["subflow_runs"] == NO_PLACEHOLDERS
    assert not set(chosen["state"]["type"]["any_"]) & TERMINAL_TYPES
    assert {"PENDING", "RUNNING", "SCHEDULED"} <= set(chosen["state"]["type"]["any_"])


async def test_empty_ids_make_no_request(site: Loopback, api: TaskApi) -> None:
    assert await api.unfinished(()) == []
    assert await api.by_id(()) == []
    assert await api.histories([]) == Histories()
    assert site.asked == []


async def test_many_ids_are_requested_in_batches(site: Loopback, api: TaskApi) -> None:
    def answer(asked: Asked) -> Answer:
        wanted = asked.body["task_runs"]["id"]["any_"][asked.body["offset"] :][: asked.body["limit"]]
        return Answer(body=[row(UUID(run_id).int) for run_id in wanted])

    site.answer = answer
    ids = [str(UUID(int=number)) for number in range(1, 431)]
    assert {run.id for run in await api.by_id(ids)} == set(ids)
    assert all(len(request.body["task_runs"]["id"]["any_"]) <= MAX_PAGE for request in site.asked)
    assert all("state" not in request.body["task_runs"] for request in site.asked), "whatever state they are in"


def chosen_state(asked: Asked) -> tuple[tuple[str, ...], tuple[str, ...]]:
    state = asked.body["task_runs"].get("state", {})
    return tuple(state.get("type", {}).get("any_", ())), tuple(state.get("name", {}).get("any_", ()))


async def test_ended_task_runs_are_counted(site: Loopback, api: TaskApi) -> None:
    site.answer = lambda _: Answer(body=7)
    assert await api.count(0.0, 10.0) == 7
    asked = site.asked[-1]
    assert asked.path == "/api/task_runs/count"
    assert asked.body["task_runs"]["subflow_runs"] == NO_PLACEHOLDERS
    assert chosen_state(asked) == ((), ())
    assert asked.body["task_runs"]["end_time"] == {
        "after_": "1970-01-01T00:00:00+00:00",
        "before_": "1970-01-01T00:00:10+00:00",
    }


async def test_counts_distinguish_rollbacks_from_completions(site: Loopback, api: TaskApi) -> None:
    counts = {(("COMPLETED",), ()): 9, (("COMPLETED",), ("RolledBack",)): 2, (("FAILED",), ()): 3}
    site.answer = lambda asked: Answer(body=counts[chosen_state(asked)])
    everything = {"COMPLETED", "FAILED", "RolledBack"}
    assert await api.ended_by_kind(0.0, 10.0, everything) == {"COMPLETED": 7, "FAILED": 3, "RolledBack": 2}
    assert await api.ended_by_kind(0.0, 10.0, {"COMPLETED"}) == {"COMPLETED": 7}
    assert await api.ended_by_kind(0.0, 10.0, {"RolledBack"}) == {"RolledBack": 2}
    assert await api.ended_by_kind(0.0, 10.0, {"FAILED"}) == {"FAILED": 3}


async def test_completion_count_is_the_total_less_other_terminal_states(site: Loopback, api: TaskApi) -> None:
    counts = {((state,), ()): 1 for state in TERMINAL_TYPES - {"COMPLETED"}}
    counts |= {((), ()): 10, (("COMPLETED",), ("RolledBack",)): 2}
    site.answer = lambda asked: Answer(body=counts[chosen_state(asked)])
    found = await api.ended_by_kind(0.0, 10.0, TERMINAL_TYPES | {"RolledBack"})
    assert found == {"CANCELLED": 1, "CRASHED": 1, "FAILED": 1, "COMPLETED": 5, "RolledBack": 2}


@pytest.mark.parametrize("answer", [None, "many", [], {"count": 1}])
async def test_count_that_is_no_number_is_an_error(site: Loopback, api: TaskApi, answer: object) -> None:
    site.answer = lambda _: Answer(body=answer)
    with pytest.raises(ApiError):
        await api.count(0.0, 10.0)


async def test_histories_are_those_of_task_runs(site: Loopback, api: TaskApi) -> None:
    states = [
        {"id": STATE, "type": "COMPLETED", "name": "RolledBack", "timestamp": "2026-03-02T12:00:02Z", "message": None},
        {"id": row()["id"], "type": "COMPLETED", "name": "Completed", "timestamp": "2026-03-02T12:00:01Z"},
    ]
    site.answer = lambda _: Answer(body=states)
    histories = await api.histories(["t"])
    assert [state.label for state in histories.states["t"]] == ["completed", "rolled_back"]
    assert site.asked[-1].path == "/api/task_run_states/?task_run_id=t"


# Servers before 3.6.22


def older_server(runs: list[tuple[float, float | None]], limit: int) -> Callable[[Asked], Answer]:
    """Serves runs by start and end; it refuses to filter or count by end time."""

    def answer(asked: Asked) -> Answer:
        chosen = asked.body["task_runs"]
        if "end_time" in chosen:
            return Answer(
                422, body={"exception_detail": [{"loc": ["end_time"], "msg": "Extra inputs are not permitted"}]}
            )
        latest = datetime.fromisoformat(chosen.get("start_time", {}).get("before_", "2100-01-01T00:00:00+00:00"))
        begun = [(start, end) for start, end in runs if start <= latest.timestamp()]
        newest_first = sorted(begun, key=lambda run: float("inf") if run[1] is None else run[1], reverse=True)
        page = newest_first[asked.body["offset"] :][: min(asked.body["limit"], limit)]
        return Answer(body=[row(id=identifier(run), start_time=at(run[0]), end_time=at(run[1])) for run in page])

    return answer


def identifier(run: tuple[float, float | None]) -> str:
    return str(uuid5(NAMESPACE_OID, f"{run[0]}-{run[1]}"))


def at(instant: float | None) -> str | None:
    return None if instant is None else datetime.fromtimestamp(instant, UTC).isoformat()


async def all_pages(api: TaskApi, after: float) -> list[str]:
    """As the incremental reader reads them."""
    ids: list[str] = []
    position: tuple[float | None, int] = (None, 0)
    for _ in range(100):
        page = await api.finished_page(after, *position)
        ids += [run.id for run in page.runs]
        if page.complete:
            return ids
        position = next_page(page, *position)
    raise AssertionError("it never ends")


@pytest.mark.parametrize("limit", [1, 2, 3, 200])
async def test_older_servers_are_paged_by_start_times(site: Loopback, api: TaskApi, limit: int) -> None:
    """Runs that overlap, that end at one instant, that go on, and that ended before."""
    runs: list[tuple[float, float | None]] = [(10, 90), (20, 40), (30, 70), (31, 70), (32, 70), (35, None), (50, 60)]
    runs += [(1, 5), (2, 80), (71, 95), (5, 20), (6, 20)]
    wanted = {identifier(run) for run in runs if run[1] is not None and run[1] >= 20}
    site.answer = older_server(runs, limit)
    api._paginator._page_limit = limit
    assert set(await all_pages(api, 20.0)) == wanted
    assert not api.filters_ends


async def test_older_servers_are_probed_for_end_filters_once_an_hour(site: Loopback, api: TaskApi) -> None:
    site.answer = older_server([(1, 5)], 200)
    await api.finished_page(0.0, None, 0)
    await api.finished_page(0.0, None, 0)
    assert ["end_time" in asked.body["task_runs"] for asked in site.asked] == [True, False, False]


async def test_broken_endpoint_is_not_an_older_server(site: Loopback, api: TaskApi) -> None:
    site.answer = lambda _: Answer(422, body={})
    with pytest.raises(ApiError):
        await api.finished_page(0.0, None, 0)
    assert api.filters_ends
