"""Writes to Prefect: only those that a client was opened for, sent once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_monitoring.prefect_api.automations import MANAGE_AUTOMATIONS
from prefect_monitoring.prefect_api.client import PrefectHttp, Traffic, open_http
from prefect_monitoring.prefect_api.errors import ApiError, ThrottledError
from support.reads import READS
from unit.loopback import Answer, Asked, Loopback


@pytest.fixture
async def http(site: Loopback, traffic: Traffic) -> AsyncIterator[PrefectHttp]:
    with temporary_settings({PREFECT_API_URL: site.url}):
        async with open_http(traffic, 100, MANAGE_AUTOMATIONS) as client:
            yield client


def test_writes_are_limited_to_automations() -> None:
    assert {endpoint.split("/")[1] for _, endpoint in MANAGE_AUTOMATIONS} == {"automations"}
    assert not READS & {endpoint for _, endpoint in MANAGE_AUTOMATIONS}


async def test_read_only_client_cannot_write(site: Loopback, traffic: Traffic) -> None:
    with temporary_settings({PREFECT_API_URL: site.url}):
        async with open_http(traffic, 100) as http:
            with pytest.raises(ValueError, match="not among the writes"):
                await http.write("POST", "/automations/", json={})
    assert site.asked == []


@pytest.mark.parametrize(
    "write", [("POST", "/deployments/"), ("PATCH", "/automations/{id}"), ("POST", "/flows/filter")]
)
async def test_no_other_write_can_be_sent(http: PrefectHttp, site: Loopback, write: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="not among the writes"):
        await http.write(*write, json={})
    assert site.asked == []


async def test_empty_response_is_none(http: PrefectHttp, site: Loopback, traffic: Traffic) -> None:
    site.answer = lambda _: Answer(204, b"")
    assert await http.write("DELETE", "/automations/{id}", names={"id": "../flows"}) is None
    assert (site.asked[0].method, site.asked[0].path) == ("DELETE", "/api/automations/%2E%2E%2Fflows")
    assert traffic.requests == {("/automations/{id}", "204"): 1}


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_failed_write_is_not_retried(http: PrefectHttp, site: Loopback, status: int) -> None:
    site.answer = lambda _: Answer(status)
    with pytest.raises(ApiError):
        await http.write("POST", "/automations/", json={})
    assert len(site.asked) == 1


async def test_write_without_a_response_is_not_retried(http: PrefectHttp, site: Loopback, traffic: Traffic) -> None:
    """Prefect's client would silently send it again two seconds later."""

    def hang_up(_: Asked) -> Answer:
        raise ConnectionAbortedError

    site.answer = hang_up
    with pytest.raises(ApiError, match="may have been carried out"):
        await http.write("POST", "/automations/", json={})
    assert len(site.asked) == 1
    assert traffic.requests == {("/automations/", "error"): 1}
    site.answer = lambda _: Answer(201, {"id": "1"})
    assert await http.write("POST", "/automations/", json={}) == {"id": "1"}


async def test_throttled_write_is_retried(http: PrefectHttp, site: Loopback) -> None:
    answers = [Answer(429, headers={"Retry-After": "0"}), Answer(201, {"id": "1"})]
    site.answer = lambda _: answers.pop(0)
    assert await http.write("POST", "/automations/", json={}) == {"id": "1"}


async def test_long_pause_is_left_to_the_caller(http: PrefectHttp, site: Loopback) -> None:
    site.answer = lambda _: Answer(503, headers={"Retry-After": "0"})
    with pytest.raises(ThrottledError):
        await http.write("POST", "/automations/", json={})
    assert len(site.asked) == 1, "it may have been carried out"
