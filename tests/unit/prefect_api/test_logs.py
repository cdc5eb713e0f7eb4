"""Log lines: requests, servers without text search, and JSON to records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from prefect_monitoring.model.records import LogLine
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.logs import LogApi, LogPage
from prefect_monitoring.prefect_api.pagination import MAX_PAGE, Paginator
from unit.loopback import Answer, Asked, Loopback

NOON = 1772452800.0
METRIC = "METRIC: rows=1"
SAVED = "Task run failed with exception: ValueError('x') - Retry 1/2 will start immediately"


def row(number: int = 1, message: object = METRIC, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(UUID(int=number)),
        "timestamp": f"2026-03-02T12:00:{number % 60:02}.500000Z",
        "message": message,
        "flow_run_id": "r",
        "task_run_id": None,
        "name": "prefect.flow_runs",
        "level": 20,
        **changes,
    }


@pytest.fixture
def api(http: PrefectHttp) -> LogApi:
    return LogApi(Paginator(http))


def with_text(asked: Asked) -> bool:
    return "text" in asked.body["logs"]


async def test_lines_are_found_by_phrase_and_decoded(site: Loopback, api: LogApi) -> None:
    site.answer = lambda _: Answer(body=[row(1), row(2, SAVED, flow_run_id=None, task_run_id="t")])
    page = await api.page(NOON, NOON + 60, 400)
    assert page == LogPage(
        (LogLine(row(1)["id"], NOON + 1.5, METRIC, "r", None), LogLine(row(2)["id"], NOON + 2.5, SAVED, None, "t")),
        rows=2,
        last=NOON + 2.5,
        complete=True,
    )
    asked = site.asked[-1]
    assert asked.path == "/api/logs/filter"
    assert (asked.body["sort"], asked.body["offset"], asked.body["limit"]) == ("TIMESTAMP_ASC", 400, MAX_PAGE)
    assert asked.body["logs"]["timestamp"] == {
        "after_": "2026-03-02T12:00:00+00:00",
        "before_": "2026-03-02T12:01:00+00:00",
    }
    assert asked.body["logs"]["text"] == {"query": '"METRIC:" "Task run failed with"'}, "phrases, in quotes"
    await api.page(NOON, None, 0)
    assert "before_" not in site.asked[-1].body["logs"]["timestamp"]


async def test_false_hits_are_dropped_but_count_as_read(site: Loopback, api: LogApi) -> None:
    """The server's search ignores case and includes logger names; false hits count as read."""
    false_hits = [
        row(2, "metric: rows=1"),
        row(3, "nothing", name="METRIC: x"),
        row(4, None),
        row(5, "task run failed"),
    ]
    site.answer = lambda _: Answer(body=[row(1), *false_hits])
    page = await api.page(NOON, None, 0)
    assert [line.id for line in page.lines] == [row(1)["id"]]
    assert (page.rows, page.last, page.complete) == (5, NOON + 5.5, True)


async def test_empty_page_is_complete_and_full_page_is_not(site: Loopback, api: LogApi) -> None:
    site.answer = lambda _: Answer(body=[])
    assert await api.page(NOON, None, 0) == LogPage((), 0, None, complete=True)
    site.answer = lambda _: Answer(body=[row(number, "nothing") for number in range(MAX_PAGE)])
    page = await api.page(NOON, None, 0)
    assert (page.lines, page.rows, page.complete) == ((), MAX_PAGE, False)


# A server that cannot search


def cannot_search(status: int) -> Callable[[Asked], Answer]:
    def answer(asked: Asked) -> Answer:
        return (
            Answer(status, {"detail": "text: Extra inputs are not permitted"})
            if with_text(asked)
            else Answer(body=[row(1), row(2, "nothing")])
        )

    return answer


@pytest.mark.parametrize("status", [422, 500])
async def test_server_without_text_search_is_read_completely(site: Loopback, api: LogApi, status: int) -> None:
    site.answer = cannot_search(status)
    page = await api.page(NOON, None, 0)
    assert ([line.id for line in page.lines], page.rows) == ([row(1)["id"]], 2)
    assert not api.can_search
    asked = len(site.asked)
    await api.page(NOON, None, 0)
    assert [with_text(request) for request in site.asked[asked:]] == [False], "it is not retried"


async def test_single_500_is_not_a_missing_search(site: Loopback, api: LogApi) -> None:
    statuses = iter([500])
    site.answer = lambda asked: Answer(next(statuses, 200) if with_text(asked) else 200, [row(1)])
    page = await api.page(NOON, None, 0)
    assert page.rows == 1
    assert api.can_search
    assert all(map(with_text, site.asked))


async def test_refused_search_is_retried_later(site: Loopback, api: LogApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_monitoring.prefect_api.capabilities.ASK_AGAIN_SECONDS", 0.0)
    site.answer = cannot_search(500)
    await api.page(NOON, None, 0)
    site.answer = lambda _: Answer(body=[row(1)])
    await api.page(NOON, None, 0)
    assert with_text(site.asked[-1])
    assert api.can_search


@pytest.mark.parametrize("status", [422, 500])
async def test_broken_endpoint_is_not_taken_for_a_missing_search(site: Loopback, api: LogApi, status: int) -> None:
    site.answer = lambda _: Answer(status, {"detail": "no"})
    with pytest.raises(ApiError) as caught:
        await api.page(NOON, None, 0)
    assert caught.value.code == str(status)
    assert api.can_search
    site.answer = lambda _: Answer(body=[row(1)])
    assert len((await api.page(NOON, None, 0)).lines) == 1
    assert with_text(site.asked[-1])


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_other_refusal_is_not_a_missing_search(site: Loopback, api: LogApi, status: int) -> None:
    site.answer = lambda _: Answer(status, {"detail": "no"})
    with pytest.raises(ApiError):
        await api.page(NOON, None, 0)
    assert api.can_search
    assert all(with_text(request) for request in site.asked)


async def test_server_with_a_smaller_page_limit_can_still_search(site: Loopback, api: LogApi) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.body["limit"] > 50:
            return Answer(422, {"detail": "Invalid limit: must be less than or equal to 50."})
        return Answer(body=[row(number) for number in range(50)])

    site.answer = answer
    page = await api.page(NOON, None, 0)
    assert (page.rows, page.complete) == (50, False)
    assert api.can_search


@pytest.mark.parametrize(
    "rows",
    [
        [{}],
        [None],
        ["x"],
        {"detail": "?"},
        None,
        [row(timestamp=None)],
        [row(timestamp="yesterday")],
    ],
)
async def test_rows_of_another_shape_are_an_error_not_a_crash(site: Loopback, api: LogApi, rows: object) -> None:
    site.answer = lambda _: Answer(body=rows)
    with pytest.raises(ApiError) as caught:
        await api.page(NOON, None, 0)
    assert caught.value.code == "invalid_json"
