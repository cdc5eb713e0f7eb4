"""Requests over Prefect's client to a real server: counted, throttled, with explained errors, and read-only."""

from __future__ import annotations

import ast
import asyncio
import gc
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import prefect.client.base
import pytest
from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL, temporary_settings

from prefect_monitoring.prefect_api import client
from prefect_monitoring.prefect_api.actions import ACT_ON_RUNS
from prefect_monitoring.prefect_api.address import api_address
from prefect_monitoring.prefect_api.automations import MANAGE_AUTOMATIONS
from prefect_monitoring.prefect_api.client import (
    SHORT_WAIT_SECONDS,
    PrefectHttp,
    Traffic,
    _retry_after_seconds,
    open_http,
)
from prefect_monitoring.prefect_api.errors import ApiError, NoApiUrlError, ThrottledError
from support.reads import READS
from unit.loopback import Answer, Asked, Loopback

FLOWS = "/flows/filter"


@pytest.fixture
async def http(site: Loopback, traffic: Traffic) -> AsyncIterator[PrefectHttp]:
    with temporary_settings({PREFECT_API_URL: site.url}):
        async with open_http(traffic, 100) as client:
            yield client


# Never a write


def test_endpoints_of_the_package_are_the_reviewed_reads() -> None:
    texts = {
        node.value
        for path in Path(client.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    endpoints = {text for text in texts if re.fullmatch(r"/[a-z0-9_]+/[\w{}/-]*", text)}
    writes = {endpoint for _, endpoint in ACT_ON_RUNS | MANAGE_AUTOMATIONS}
    assert endpoints - writes == READS


async def test_no_other_endpoint_can_be_requested(http: PrefectHttp, site: Loopback) -> None:
    with pytest.raises(ValueError, match="might change"):
        await http.request("/deployments/get_scheduled_flow_runs", json={})
    assert site.asked == []


# Answers


async def test_nothing_of_an_answer_waits_for_the_garbage_collector(http: PrefectHttp, site: Loopback) -> None:
    """A baseline is thousands of pages of half a megabyte each."""
    site.answer = lambda _: Answer(body=[{"id": "1"}])
    await http.request(FLOWS, json={})
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            await http.request(FLOWS, json={})
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert [garbage for garbage in gc.garbage if isinstance(garbage, httpx.Response | httpx.Request)] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def test_response_is_decoded_and_counted(http: PrefectHttp, site: Loopback, traffic: Traffic) -> None:
    site.answer = lambda asked: Answer(body={"you": asked.body})
    assert await http.request(FLOWS, json={"a": 1}) == {"you": {"a": 1}}
    assert await http.request("/flow_run_states/", params={"flow_run_id": "7"})
    assert site.asked[0].method == "POST"
    assert (site.asked[-1].method, site.asked[-1].path.split("/api")[1]) == ("GET", "/flow_run_states/?flow_run_id=7")
    assert traffic.requests == {(FLOWS, "200"): 1, ("/flow_run_states/", "200"): 1}


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (Answer(401), "401", "PREFECT_API_KEY"),
        (Answer(403, {"detail": "no"}), "403", "lack the right"),
        (Answer(404), "404", "ends in /api"),
        (Answer(422), "422", "3.4.20"),
        (Answer(500), "500", "its own log says why"),
        (Answer(200, b"<html>login</html>"), "invalid_json", "not JSON"),
    ],
)
async def test_error_has_a_hint(
    http: PrefectHttp, site: Loopback, traffic: Traffic, answer: Answer, code: str, message: str
) -> None:
    site.answer = lambda _: answer
    with pytest.raises(ApiError, match=message) as caught:
        await http.request(FLOWS, json={})
    assert caught.value.code == code
    assert traffic.requests == {(FLOWS, code): 1}
    assert len(site.asked) == 1, "a permanent error is not retried"


async def test_short_server_outage_is_retried_only_briefly(http: PrefectHttp, site: Loopback, traffic: Traffic) -> None:
    """Prefect's client would retry for minutes."""
    answers = iter([Answer(503), Answer(200, [1])])
    site.answer = lambda _: next(answers)
    assert await http.request(FLOWS, json={}) == [1]
    assert traffic.requests == {(FLOWS, "503"): 1, (FLOWS, "200"): 1}
    site.answer = lambda _: Answer(503)
    begun = time.monotonic()
    with pytest.raises(ApiError) as caught:
        await http.request(FLOWS, json={})
    assert caught.value.code == "503"
    assert time.monotonic() - begun < 20
    assert traffic.throttled == 0


@pytest.mark.slow
async def test_request_after_a_server_error_does_not_use_the_closing_connection(
    http: PrefectHttp, site: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect's server closes it; Prefect's client would notice only after sending, and sleep."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(prefect.client.base.anyio, "sleep", sleep)
    for _ in range(3):
        site.answer = lambda _: Answer(500, closes_after=0.01)
        with pytest.raises(ApiError, match="500"):
            await http.request(FLOWS, json={})
        site.answer = lambda _: Answer(body=[])
        assert await http.request(FLOWS, json={}) == []
    assert slept == []


async def test_refused_connection_is_an_error(site: Loopback, traffic: Traffic) -> None:
    with temporary_settings({PREFECT_API_URL: "http://user:s3cret@127.0.0.1:9/api"}):
        async with open_http(traffic, 100) as http:
            with pytest.raises(ApiError, match="could not be reached") as caught:
                await http.request(FLOWS, json={})
    assert "s3cret" not in str(caught.value)
    assert traffic.requests == {(FLOWS, "error"): 1}


async def test_cancelled_request_counts_as_timeout(http: PrefectHttp, site: Loopback, traffic: Traffic) -> None:
    site.answer = lambda _: Answer(delay=30)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await http.request(FLOWS, json={})
    assert traffic.requests == {(FLOWS, "timeout"): 1}


# Pauses


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0", 0), ("3", 3), ("2.5", 2.5), ("-4", 0), ("999999", 3600), ("soon", 60), ("", 60), (None, SHORT_WAIT_SECONDS)],
)
def test_retry_after_is_parsed(header: str | None, seconds: float) -> None:
    assert _retry_after_seconds(header) == seconds


@pytest.mark.parametrize("header", ["nan", "inf", "-inf", "1e400"])
def test_invalid_retry_after_is_a_bounded_pause(header: str) -> None:
    assert 0 <= _retry_after_seconds(header) <= 3600


def test_retry_after_date_is_parsed() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=90)
    assert 85 <= _retry_after_seconds(format_datetime(soon, usegmt=True)) <= 91
    assert _retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0


async def test_short_pause_is_waited_out(http: PrefectHttp, site: Loopback, traffic: Traffic) -> None:
    answers = iter([Answer(429, headers={"Retry-After": "0.3"}), Answer(200, [1])])
    site.answer = lambda _: next(answers)
    begun = time.monotonic()
    assert await http.request(FLOWS, json={}) == [1]
    assert time.monotonic() - begun >= 0.3
    assert traffic.requests == {(FLOWS, "429"): 1, (FLOWS, "200"): 1}
    assert traffic.throttled == 1


async def test_endless_short_pauses_are_given_up(http: PrefectHttp, site: Loopback, traffic: Traffic) -> None:
    site.answer = lambda _: Answer(429, headers={"Retry-After": "0"})
    with pytest.raises(ThrottledError):
        await http.request(FLOWS, json={})
    assert len(site.asked) == traffic.throttled == client.MAX_TRIES


@pytest.mark.parametrize("status", [429, 503])
async def test_nothing_is_sent_during_a_long_pause(
    http: PrefectHttp, site: Loopback, traffic: Traffic, status: int
) -> None:
    site.answer = lambda _: Answer(status, headers={"Retry-After": "60"})
    with pytest.raises(ThrottledError):
        await http.request(FLOWS, json={})
    for endpoint in (FLOWS, "/deployments/filter"):
        with pytest.raises(ThrottledError, match="Retry-After") as caught:
            await http.request(endpoint, json={})
        assert 50 < caught.value.seconds <= 60
    assert len(site.asked) == 1
    assert traffic.requests == {(FLOWS, str(status)): 1}
    assert traffic.throttled == 1, "one pause, regardless of the delayed requests"


async def test_queued_request_is_not_sent_during_a_pause(site: Loopback, traffic: Traffic) -> None:
    """Two per second: later requests of a batch are still queued when the API asks for a pause."""
    site.answer = lambda _: Answer(429, headers={"Retry-After": "60"})
    with temporary_settings({PREFECT_API_URL: site.url}):
        async with open_http(traffic, 4) as http:
            results = await asyncio.gather(*(http.request(FLOWS, json={}) for _ in range(8)), return_exceptions=True)
    assert all(isinstance(result, ThrottledError) for result in results)
    assert len(site.asked) <= 4, "no more than the concurrent requests"


async def test_request_rate_is_limited(site: Loopback, traffic: Traffic) -> None:
    with temporary_settings({PREFECT_API_URL: site.url}):
        async with open_http(traffic, 20) as http:
            begun = time.monotonic()
            await asyncio.gather(*(http.request(FLOWS, json={}) for _ in range(30)))
    assert time.monotonic() - begun >= 0.4
    assert traffic.requests == {(FLOWS, "200"): 30}


# The address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:4200/api", "http://127.0.0.1:4200/api"),
        ("http://127.0.0.1:4200/api/", "http://127.0.0.1:4200/api"),
        ("https://user:s3cret@prefect.test/api", "https://prefect.test/api"),
    ],
)
def test_address_is_shown_without_credentials(url: str, address: str) -> None:
    with temporary_settings({PREFECT_API_URL: url}):
        assert api_address() == address


@pytest.mark.parametrize(
    "url", ["prefect.test/api", "http://prefect.test:99999/api", "http://pre fect/api", "http://:4200/api"]
)
def test_invalid_address_is_refused_without_showing_it(url: str) -> None:
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(NoApiUrlError, match="not an http://") as fault:
        api_address()
    assert url not in str(fault.value)


async def test_without_an_address_nothing_is_started(traffic: Traffic) -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        with pytest.raises(NoApiUrlError, match="PREFECT_API_URL"):
            api_address()
        with pytest.raises(NoApiUrlError):
            async with open_http(traffic, 10):
                raise AssertionError


async def test_api_key_is_sent_and_never_shown(site: Loopback, traffic: Traffic) -> None:
    def refuse(asked: Asked) -> Answer:
        assert "s3cret-key" in asked.headers["authorization"]
        return Answer(401, {"detail": "no"})

    site.answer = refuse
    with temporary_settings({PREFECT_API_URL: site.url, PREFECT_API_KEY: "s3cret-key"}):
        async with open_http(traffic, 10) as http:
            with pytest.raises(ApiError) as caught:
                await http.request(FLOWS, json={})
    assert len(site.asked) == 1
    assert "s3cret" not in str(caught.value)
    assert caught.value.code == "401"


def test_common_errors_have_hints() -> None:
    assert {401, 403, 404, 422} <= client._HINTS.keys()
