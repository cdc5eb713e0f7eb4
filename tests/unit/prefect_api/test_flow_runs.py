"""Flow runs from JSON to records, and lists longer than a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import pytest

from prefect_monitoring.model.records import TERMINAL_TYPES, State
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.flow_runs import PrefectApi, RunGroup
from prefect_monitoring.prefect_api.pagination import MAX_PAGE
from prefect_monitoring.prefect_api.state_history import HISTORY_FAULTS, Histories
from prefect_monitoring.prefect_api.unreadable import Rows, collected_in
from unit.loopback import Answer, Asked, Loopback

STATE = str(UUID(int=77))


def run_row(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(UUID(int=number)),
        "name": f"run-{number}",
        "flow_id": "f",
        "deployment_id": None,
        "work_pool_name": None,
        "tags": ["a"],
        "run_count": 2,
        "total_run_time": 12.5,
        "empirical_policy": {"retry_type": "reschedule"},
        "expected_start_time": "2026-03-02T12:00:00Z",
        "next_scheduled_start_time": "2026-03-02T12:30:00Z",
        "start_time": "2026-03-02T12:00:01.000001Z",
        "end_time": None,
        "state": {
            "id": STATE,
            "type": "SCHEDULED",
            "name": "AwaitingRetry",
            "timestamp": "2026-03-02T13:00:00.5+01:00",
            "message": None,
        },
        **changes,
    }


@pytest.fixture
def api(http: PrefectHttp) -> PrefectApi:
    return PrefectApi(http)


async def test_flow_run_is_decoded(site: Loopback, api: PrefectApi) -> None:
    site.answer = lambda _: Answer(body=[run_row()])
    (run,) = (await api.finished_page(0.0, 1772452800.000001, 400)).runs
    assert run.state == State(STATE, "SCHEDULED", "AwaitingRetry", 1772452800.5, "")
    assert run.state.label == "awaiting_retry"
    assert (run.attempts, run.rescheduled, run.deployment_id, run.work_pool, run.tags) == (2, True, None, "", ("a",))
    assert (run.expected_at, run.started_at, run.ended_at) == (1772452800.0, 1772452801.000001, None)
    assert run.scheduled_at == 1772454600.0, "when the retry is due; it was first expected before"
    assert run.run_time == 12.5
    asked = site.asked[-1].body
    assert asked["sort"] == "END_TIME_DESC"
    assert asked["offset"] == 400
    assert asked["flow_runs"]["end_time"] == {
        "after_": "1970-01-01T00:00:00+00:00",
        "before_": "2026-03-02T12:00:00.000001+00:00",
    }
    assert "state" not in asked["flow_runs"], "SQLite would sort all ended runs for each page"


@pytest.mark.parametrize("policy", [None, {}, {"retry_type": None}, {"retry_type": "in_process"}])
async def test_run_that_was_not_rescheduled_has_no_reschedule(site: Loopback, api: PrefectApi, policy: object) -> None:
    site.answer = lambda _: Answer(body=[run_row(empirical_policy=policy)])
    (run,) = await api.active_runs()
    assert not run.rescheduled


def test_custom_state_name_maps_to_its_type() -> None:
    assert State("s", "COMPLETED", "Nothing to do, order 4711", 0, "").label == "completed"
    assert State("s", "FAILED", "TimedOut", 0, "").label == "timed_out"
    assert State("s", "CRASHED", "", 0, "").label == "crashed"


@pytest.mark.parametrize(
    "rows", [[{}], [None], ["x"], {"detail": "?"}, None, [run_row(state=None)], [run_row(end_time="yesterday")]]
)
async def test_rows_of_another_shape_are_an_error_not_a_crash(site: Loopback, api: PrefectApi, rows: object) -> None:
    site.answer = lambda _: Answer(body=rows)
    with pytest.raises(ApiError) as caught:
        await api.finished_page(0.0, None, 0)
    assert caught.value.code == "invalid_json"


# Pages


def listing(rows: list[dict[str, Any]], allowed: int = MAX_PAGE):
    def answer(asked: Asked) -> Answer:
        limit, offset = asked.body["limit"], asked.body["offset"]
        if limit > allowed:
            return Answer(422, {"detail": f"Invalid limit: must be less than or equal to {allowed}."})
        wanted = asked.body.get("flows", {}).get("id", {}).get("any_")
        chosen = [row for row in rows if wanted is None or row["id"] in wanted]
        return Answer(body=chosen[offset : offset + limit])

    return answer


def flow_rows(count: int) -> list[dict[str, Any]]:
    return [{"id": str(UUID(int=number)), "name": f"flow-{number:04}"} for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 399, 400, 555])
async def test_lists_are_read_completely(site: Loopback, api: PrefectApi, count: int) -> None:
    site.answer = listing(flow_rows(count))
    assert len(await api.flows()) == count


@pytest.mark.parametrize("allowed", [1, 2, 50])
async def test_server_with_a_smaller_page_limit_is_read(site: Loopback, api: PrefectApi, allowed: int) -> None:
    site.answer = listing(flow_rows(7), allowed)
    assert len(await api.flows()) == 7
    before = len(site.asked)
    await api.flows()
    assert all(request.body["limit"] == allowed for request in site.asked[before:]), "the refusal is remembered"


async def test_list_that_shifts_during_paging_is_read_again(site: Loopback, api: PrefectApi) -> None:
    rows = flow_rows(450)
    plain = listing(rows)

    def shifting(asked: Asked) -> Answer:
        answer = plain(asked)
        if len(site.asked) == 1:
            del rows[0]  # everything moves up by one: a row slips from the second page to the first
        return answer

    site.answer = shifting
    flows = await api.flows()
    assert {row["id"] for row in rows} <= flows.keys()


async def test_many_ids_are_requested_in_batches(site: Loopback, api: PrefectApi) -> None:
    rows = flow_rows(450)
    site.answer = listing(rows)
    flows = await api.flows({row["id"] for row in rows[:430]} | {"00000000-0000-0000-0000-00000000ffff"})
    assert len(flows) == 430
    assert all(len(request.body["flows"]["id"]["any_"]) <= MAX_PAGE for request in site.asked)


async def test_page_is_complete_when_it_is_not_full(site: Loopback, api: PrefectApi) -> None:
    site.answer = listing([run_row(number) for number in range(MAX_PAGE)])
    assert not (await api.finished_page(0.0, None, 0)).complete
    site.answer = listing([run_row(number) for number in range(MAX_PAGE - 1)])
    assert (await api.finished_page(0.0, None, 0)).complete


async def test_active_runs_are_neither_over_nor_merely_scheduled(site: Loopback, api: PrefectApi) -> None:
    await api.active_runs()
    state = site.asked[-1].body["flow_runs"]["state"]
    assert "COMPLETED" in state["type"]["not_any_"]
    assert state["name"]["not_any_"] == ["Scheduled"]


async def test_active_children_are_requested_by_parent(site: Loopback, api: PrefectApi) -> None:
    site.answer = listing([run_row(7)])
    children = await api.active_children(["parent-2", "parent-1"])
    asked = site.asked[-1].body["flow_runs"]
    assert asked["parent_flow_run_id"] == {"any_": ["parent-1", "parent-2"]}
    assert asked["state"]["name"]["not_any_"] == ["Scheduled"]
    assert asked["operator"] == "and_"
    assert children == {run_row(7)["id"]}


# Histories and counts


def histories_of(answers: Mapping[str, Answer]) -> Callable[[Asked], Answer]:
    """Answers with the history of each run, and an empty one for others."""
    return lambda asked: answers.get(asked.path.rpartition("=")[2], Answer(body=[]))


def a_state(number: int, state_type: str = "RUNNING", **changes: Any) -> dict[str, Any]:
    at = f"2026-03-02T12:00:0{number}Z"
    return {"id": str(UUID(int=number)), "type": state_type, "name": None, "timestamp": at, **changes}


async def test_histories_are_sorted_and_a_broken_one_affects_no_other(site: Loopback, api: PrefectApi) -> None:
    body = [a_state(2, "FAILED", name="Failed", message="boom"), a_state(1)]
    site.answer = histories_of({"good": Answer(body=body), "bad": Answer(500)})
    histories = await api.histories(["good", "bad", "fine"])
    assert histories.states.keys() == {"good", "fine"}
    assert [(state.name, state.message) for state in histories.states["good"]] == [("Running", ""), ("Failed", "boom")]
    assert histories.refused.keys() == {"bad"}
    assert histories.fault is None
    assert await api.histories([]) == Histories()


@pytest.mark.parametrize(
    "answer",
    [Answer(500), Answer(404), Answer(body={}), Answer(body=[{}]), Answer(body=[a_state(1, timestamp=None)])],
    ids=["500", "404", "object", "no state", "no time"],
)
async def test_refused_histories_alone_are_not_an_outage(site: Loopback, api: PrefectApi, answer: Answer) -> None:
    site.answer = histories_of({f"bad{number}": answer for number in range(5)})
    histories = await api.histories([f"bad{number}" for number in range(5)])
    assert (len(histories.refused), histories.fault) == (5, None), "the endpoint works for a run that does not exist"


@pytest.mark.parametrize("status", [500, 503, 401, 404])
async def test_failing_endpoint_is_not_requested_for_every_run(site: Loopback, api: PrefectApi, status: int) -> None:
    site.answer = lambda _: Answer(status)
    histories = await api.histories([str(number) for number in range(100)])
    assert (histories.states, histories.refused) == ({}, {})
    assert histories.outage
    assert len(site.asked) <= 2 * (HISTORY_FAULTS + 4)


async def test_runs_are_counted_by_type(site: Loopback, api: PrefectApi) -> None:
    counts = {"FAILED": 3, "COMPLETED": 0}
    site.answer = lambda asked: Answer(body=counts[asked.body["flow_runs"]["state"]["type"]["any_"][0]])
    assert await api.ended_by_type(0.0, 10.0, counts) == counts
    for request in site.asked:
        assert request.body["flow_runs"]["end_time"]["before_"] == "1970-01-01T00:00:10+00:00"


async def test_completed_count_is_the_total_less_other_terminal_states(site: Loopback, api: PrefectApi) -> None:
    counts = {"CANCELLED": 1, "CRASHED": 2, "FAILED": 3}

    def answer(asked: Asked) -> Answer:
        state = asked.body["flow_runs"].get("state")
        return Answer(body=counts[state["type"]["any_"][0]] if state else 100)

    site.answer = answer
    assert await api.ended_by_type(0.0, 10.0, TERMINAL_TYPES) == {**counts, "COMPLETED": 94}
    assert len(site.asked) == 4


async def test_histories_beyond_the_deadline_are_left_for_the_next_reading(
    site: Loopback, api: PrefectApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_monitoring.prefect_api.state_history.HISTORY_SECONDS", -1.0)
    histories = await api.histories(["a", "b"])
    assert (histories.states, histories.refused, histories.outage) == ({}, {}, "")
    assert "than there is time" in str(histories.fault)


async def test_constantly_shifting_list_is_still_read_completely(site: Loopback, api: PrefectApi) -> None:
    arrivals = 0

    def answer(asked: Asked) -> Answer:
        nonlocal arrivals
        arrivals += 1
        rows = [run_row(number) for number in range(1000 + arrivals, 0, -1)]
        return Answer(body=rows[asked.body["offset"] : asked.body["offset"] + MAX_PAGE])

    site.answer = answer
    assert len(await api.active_runs()) >= 1000


async def test_runs_are_requested_by_id_in_batches_in_any_state(site: Loopback, api: PrefectApi) -> None:
    def answer(asked: Asked) -> Answer:
        wanted = asked.body["flow_runs"]["id"]["any_"][asked.body["offset"] :][: asked.body["limit"]]
        return Answer(body=[run_row(UUID(run_id).int) for run_id in wanted])

    site.answer = answer
    ids = [str(UUID(int=number)) for number in range(1, 431)]
    assert {run.id for run in await api.flow_runs(ids)} == set(ids)
    assert all(len(request.body["flow_runs"]["id"]["any_"]) <= MAX_PAGE for request in site.asked)
    assert all("state" not in request.body["flow_runs"] for request in site.asked)
    before = len(site.asked)
    assert await api.flow_runs(()) == []
    assert len(site.asked) == before


@pytest.mark.parametrize("answer", [None, "many", [], {"count": 1}])
async def test_count_that_is_no_number_is_an_error(site: Loopback, api: PrefectApi, answer: object) -> None:
    site.answer = lambda _: Answer(body=answer)
    with pytest.raises(ApiError):
        await api.ended_by_type(0.0, 10.0, ["FAILED"])


async def test_pages_of_large_rows_are_bounded_and_complete(
    site: Loopback, api: PrefectApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run includes its parameters, up to 512 kB."""
    monkeypatch.setattr("prefect_monitoring.prefect_api.client.MAX_ANSWER_BYTES", 300_000)
    monkeypatch.setattr("prefect_monitoring.prefect_api.pagination.TARGET_BYTES", 150_000)
    rows = [run_row(number, parameters={"blob": "x" * 20_000}) for number in range(222)]
    site.answer = listing(rows)
    assert len(await api.active_runs()) == 222
    sizes = [request.body["limit"] for request in site.asked]
    assert sizes[:3] == [200, 50, 12]
    assert set(sizes[3:]) == {7}, "no response is too large any more"
    site.answer = listing([run_row(number) for number in range(150)])
    for _ in range(6):
        assert len(await api.active_runs()) == 150
    assert site.asked[-1].body["limit"] == MAX_PAGE, "small rows come in full pages again"


async def test_overdue_runs_are_counted_and_listed_by_group(site: Loopback, api: PrefectApi) -> None:
    state = {"operator": "and_", "type": {"any_": ["SCHEDULED"]}, "name": {"any_": ["Scheduled", "Late"]}}
    runs = {"operator": "and_", "state": state, "expected_start_time": {"before_": "1970-01-01T00:01:40+00:00"}}
    site.answer = lambda _: Answer(body=3)
    assert await api.count_overdue(100.0) == 3
    assert (site.asked[-1].path, site.asked[-1].body) == ("/api/flow_runs/count", {"flow_runs": runs})
    await api.count_overdue(100.0, RunGroup(deployments=("d", "e")))
    assert site.asked[-1].body == {"flow_runs": {**runs, "deployment_id": {"any_": ["d", "e"]}}}
    await api.count_overdue(100.0, RunGroup(flows=("f",)))
    assert site.asked[-1].body == {
        "flow_runs": {**runs, "deployment_id": {"operator": "and_", "is_null_": True}},
        "flows": {"id": {"any_": ["f"]}},
    }
    site.answer = listing([run_row(number) for number in range(500)])
    (first,) = await api.longest_overdue(100.0, RunGroup(deployments=("d",)))
    assert first.id == str(UUID(int=0))
    assert site.asked[-1].body["sort"] == "EXPECTED_START_TIME_ASC"
    assert site.asked[-1].body["limit"] == 1
    assert len(await api.overdue_runs(100.0, most=150)) == MAX_PAGE, "one large row does not make all pages small"
    assert len(await api.active_runs(late=False, most=200)) == 399
    assert site.asked[-1].body["flow_runs"]["state"]["name"] == {"not_any_": ["Scheduled", "Late"]}


@pytest.mark.parametrize("group", [RunGroup(deployments=("a", "b", "c")), RunGroup(flows=("a", "b"))])
def test_halves_add_up_to_the_group(group: RunGroup) -> None:
    first, second = group.halves()
    assert (*first.deployments, *second.deployments) == group.deployments
    assert (*first.flows, *second.flows) == group.flows
    assert not group.is_single
    assert second.is_single


async def test_oversized_row_does_not_block_others(
    site: Loopback, api: PrefectApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("prefect_monitoring.prefect_api.client.MAX_ANSWER_BYTES", 5_000)
    large = run_row(3, parameters={"blob": "x" * 5_000})
    site.answer = listing([run_row(1), run_row(2), large, run_row(4)])
    rows: Rows = {}
    with collected_in(rows):
        assert len(await api.active_runs()) == 3
    assert len(rows) == 1
    assert "A row is left out: /api/flow_runs/filter answered more than" in caplog.text
    with collected_in({}):
        page = await api.finished_page(0.0, None, 2)
    assert (page.runs, page.complete, page.unreadable) == ((), False, 1)


async def test_long_message_keeps_its_beginning_and_end(site: Loopback, api: PrefectApi) -> None:
    """Messages of five megabytes exist; the error is at the beginning or at the end."""
    row = run_row(1)
    row["state"]["message"] = "ValueError: at first" + "x" * 5_000_000 + "at last"
    site.answer = listing([row])
    for runs in (await api.active_runs(), (await api.finished_page(0.0, None, 0)).runs):
        message = runs[0].state.message
        assert message.startswith("ValueError: at first")
        assert message.endswith("at last")
        assert len(message) < 10_000
