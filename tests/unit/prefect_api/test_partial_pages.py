"""Lists that the server answers with 500 because of single rows: the other rows are read, with few requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.events import EventsApi
from prefect_monitoring.prefect_api.pagination import MAX_PAGE, Paginator, instant, iso
from prefect_monitoring.prefect_api.partial_pages import MAX_PARTS
from prefect_monitoring.prefect_api.unreadable import Rows, collected_in, is_unlisted, some_are_nameless
from unit.loopback import Answer, Asked, Loopback

FLOWS = "/flows/filter"


def row(number: int) -> dict[str, Any]:
    return {"id": str(UUID(int=number)), "end_time": iso(3600.0 - number)}


def server(count: int, bad: set[int]) -> Callable[[Asked], Answer]:
    """Serves `count` rows; each page with one of the `bad` rows fails."""

    def answer(asked: Asked) -> Answer:
        page = range(count)[asked.body["offset"] : asked.body["offset"] + asked.body["limit"]]
        return Answer(500) if bad & set(page) else Answer(body=[row(number) for number in page])

    return answer


@pytest.mark.parametrize("count", [1, 7, 200, 450])
@pytest.mark.parametrize("bad", [{0}, {3}, {199}, {200}, {449}, {0, 6}, {10, 11, 12, 13}, set(range(180, 220))])
async def test_all_other_rows_of_a_list_are_read(site: Loopback, http: PrefectHttp, count: int, bad: set[int]) -> None:
    there = {number for number in bad if number < count}
    site.answer = server(count, there)
    with collected_in({}):
        rows = await Paginator(http).all(FLOWS, {})
    listed = [listed_row["id"] for listed_row in rows if not is_unlisted(listed_row["id"])]
    assert listed == [row(number)["id"] for number in range(count) if number not in there]
    assert len(rows) - len(listed) == len(there)
    pages = count // MAX_PAGE + 1 + (len(there) > MAX_PARTS // 4) * 5
    assert len(site.asked) <= pages * (MAX_PARTS + 3)


async def test_single_bad_row_takes_few_requests_and_is_located(site: Loopback, http: PrefectHttp) -> None:
    site.answer = server(MAX_PAGE, {77})
    noted: Rows = {}
    with collected_in(noted):
        rows, limit = await Paginator(http).page(FLOWS, {}, 0)
    assert (len(rows), limit) == (MAX_PAGE, MAX_PAGE)
    assert len(site.asked) <= 20
    assert rows[77]["id"] == f"unlisted row 1 behind {row(76)['id']} ({iso(3600.0 - 76)})"
    site.answer = server(3, {0})
    with collected_in({}):
        rows, _ = await Paginator(http).page(FLOWS, {}, 0)
    assert rows[0]["id"].startswith("unlisted row 1 ahead of")


async def test_list_that_fails_completely_is_an_outage(site: Loopback, http: PrefectHttp) -> None:
    site.answer = lambda _: Answer(500)
    with collected_in({}), pytest.raises(ApiError) as caught:
        await Paginator(http).page(FLOWS, {}, 0)
    assert caught.value.code == "500"
    assert len(site.asked) == 3
    site.answer = server(10, {1})
    with pytest.raises(ApiError):  # where the caller does not set rows aside
        await Paginator(http).page(FLOWS, {}, 0)


async def test_error_while_splitting_a_page_is_raised(site: Loopback, http: PrefectHttp) -> None:
    whole = server(10, {1})
    site.answer = lambda asked: whole(asked) if asked.body["limit"] in {1, MAX_PAGE} else Answer(401)
    with collected_in({}), pytest.raises(ApiError) as caught:
        await Paginator(http).page(FLOWS, {}, 0)
    assert caught.value.code == "401"


def test_missing_rows_are_known_within_the_reading() -> None:
    assert not some_are_nameless()
    with collected_in({}):
        assert not some_are_nameless()


def events(times: list[float], bad: set[float]) -> Callable[[Asked], Answer]:
    """Serves failed actions at these instants; each response with one of the `bad` ones fails."""

    def answer(asked: Asked) -> Answer:
        low, high = (instant(asked.body["filter"]["occurred"][bound]) for bound in ("since", "until"))
        page = [at for at in times if low <= at <= high][: asked.body["limit"]]
        resource = {"prefect.resource.id": "a"}
        rows = [{"id": str(UUID(int=int(at))), "occurred": iso(at), "resource": resource} for at in page]
        return Answer(500) if bad & set(page) else Answer(body={"events": rows, "next_page": None})

    return answer


@pytest.mark.parametrize("bad", [100.0, 5000.0, 86000.0])
async def test_events_around_an_unlisted_one_are_read(site: Loopback, http: PrefectHttp, bad: float) -> None:
    times = [100.0, 2000.0, 5000.0, 86000.0]
    site.answer = events(times, {bad})
    noted: Rows = {}
    with collected_in(noted):
        page = await EventsApi(http).failed_actions(0.0, 7 * 86400.0)
    assert [action.at for action in page.actions] == [at for at in times if at != bad]
    assert (page.complete, page.last is not None and page.last >= times[-1]) == (True, True)
    assert [is_unlisted(identifier) for identifier in noted] == [True]
    assert len(site.asked) <= 26
    with pytest.raises(ApiError):
        await EventsApi(http).failed_actions(0.0, 7 * 86400.0)


async def test_events_that_fail_completely_are_an_outage(site: Loopback, http: PrefectHttp) -> None:
    site.answer = lambda _: Answer(500)
    with collected_in({}), pytest.raises(ApiError):
        await EventsApi(http).failed_actions(0.0, 86400.0)
    assert len(site.asked) == 3
