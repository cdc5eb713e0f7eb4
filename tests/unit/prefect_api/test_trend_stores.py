"""Variables and blocks with points: requests, without secrets."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.pagination import Paginator
from prefect_monitoring.prefect_api.trend_stores import MAX_PAGES, TrendStoreApi
from unit.loopback import Answer, Asked, Loopback

DIGITS = "0123456789abcdef" * 2


@pytest.fixture
def api(http: PrefectHttp) -> TrendStoreApi:
    return TrendStoreApi(Paginator(http))


def document(name: str, data: object, slug: str = "pipeline-metrics") -> dict[str, Any]:
    return {"id": name, "name": name, "data": data, "block_type": {"slug": slug}}


async def test_all_variables_are_requested_at_once(api: TrendStoreApi, site: Loopback) -> None:
    site.answer = lambda _: Answer(body=[{"id": "1", "name": "a", "value": [1]}, {"id": "2", "name": "b", "value": {}}])
    assert await api.variables(["b", "a", "missing"]) == {"a": [[1]], "b": [{}]}
    (asked,) = site.asked
    assert asked.path == "/api/variables/filter"
    assert asked.body["variables"] == {"name": {"any_": ["a", "b", "missing"]}}


async def test_blocks_are_read_without_secrets_and_with_their_part_documents(
    api: TrendStoreApi, site: Loopback
) -> None:
    def answer(asked: Asked) -> Answer:
        wanted = asked.body["block_documents"]
        if wanted["is_anonymous"] == {"eq_": False}:
            return Answer(
                body=[document("orders", {"points": []}), document("orders", {}, "own"), document("shop", {}, "own")]
            )
        assert wanted["name"] == {"like_": "orders-points-"}
        return Answer(
            body=[document(f"orders-points-{DIGITS}", {"points": [1]}), document(f"my-orders-points-{DIGITS}", 0)]
        )

    site.answer = answer
    stores = await api.blocks(["pipeline-metrics/orders", "own/shop"])
    assert stores == {"pipeline-metrics/orders": [{"points": []}, {"points": [1]}], "own/shop": [{}]}
    assert len(site.asked) == 2
    assert {request.path for request in site.asked} == {"/api/block_documents/filter"}
    assert all(request.body["include_secrets"] is False for request in site.asked)
    assert site.asked[0].body["block_types"] == {"slug": {"any_": ["own", "pipeline-metrics"]}}


async def test_no_request_without_declarations(api: TrendStoreApi, site: Loopback) -> None:
    assert (await api.variables([]), await api.blocks([])) == ({}, {})
    assert site.asked == []


async def test_store_with_too_many_documents_is_given_up(api: TrendStoreApi, site: Loopback) -> None:
    def answer(asked: Asked) -> Answer:
        return Answer(body=[document("orders", {})] * asked.body["limit"])

    site.answer = answer
    with pytest.raises(ApiError, match="too many to read"):
        await api.blocks(["pipeline-metrics/orders"])
    assert len(site.asked) == MAX_PAGES


@pytest.mark.parametrize("body", [{}, [{"id": "1"}], [{"id": "1", "name": "x", "block_type": None, "data": {}}]])
async def test_response_of_another_shape_is_an_error(api: TrendStoreApi, site: Loopback, body: object) -> None:
    site.answer = lambda _: Answer(body=body)
    with pytest.raises(ApiError):
        await api.blocks(["pipeline-metrics/orders"])
