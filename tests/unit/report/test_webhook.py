"""Slack over HTTP: refusals are errors with a reason, and no error contains the webhook's URL."""

from __future__ import annotations

import logging

import pytest

from prefect_monitoring.model.sink_status import SinkError
from prefect_monitoring.report import webhook
from prefect_monitoring.report.webhook import SlackError, post
from unit.loopback import Answer, loopback

PATH = "/services/T000/B000/Sesam0451"
MESSAGE = {"text": "Prefect", "blocks": []}


async def test_message_is_posted_as_json(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with loopback() as site:
        site.answer = lambda _: Answer(body=b"ok")
        await post(f"{site.url}{PATH}", MESSAGE)
    [asked] = site.asked
    assert (asked.method, asked.path, asked.body) == ("POST", f"/api{PATH}", MESSAGE)
    assert "Sesam" not in caplog.text


@pytest.mark.parametrize(
    ("status", "body", "reason", "said"),
    [
        (429, b"rate_limited", SinkError.THROTTLED, "429 rate_limited"),
        (500, b"<html>/services/T000/B000/Sesam0451</html>", SinkError.UNREACHABLE, "500"),
        (400, b"invalid_blocks", SinkError.REFUSED, "400 invalid_blocks"),
        (403, b"invalid_token", SinkError.CREDENTIALS, "403 invalid_token"),
        (404, b"no_service", SinkError.CONFIGURATION, "404 no_service"),
        (302, b"", SinkError.REFUSED, "302"),
    ],
)
async def test_unsuccessful_response_is_an_error(status: int, body: bytes, reason: SinkError, said: str) -> None:
    async with loopback() as site:
        site.answer = lambda _: Answer(status, body)
        with pytest.raises(SlackError, match=f"^Slack answered {said}$") as caught:
            await post(f"{site.url}{PATH}", MESSAGE)
    assert caught.value.reason is reason


async def test_hanging_slack_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_SECONDS", 0.2)
    async with loopback() as site:
        site.answer = lambda _: Answer(delay=5)
        with pytest.raises(SlackError, match="could not be reached") as caught:
            await post(f"{site.url}{PATH}", MESSAGE)
    assert caught.value.reason is SinkError.UNREACHABLE


@pytest.mark.parametrize("url", [f"http://127.0.0.1:1{PATH}", f"hooks.slack.test{PATH}", f"https://[{PATH}"])
async def test_unreachable_address_is_an_error_without_it(url: str) -> None:
    with pytest.raises(SlackError) as caught:
        await post(url, MESSAGE)
    assert "Sesam" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_unusable_proxy_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://proxy:1")
    with pytest.raises(SlackError, match="check report_slack_webhook_url and the proxies") as caught:
        await post(f"https://hooks.slack.test{PATH}", MESSAGE)
    assert caught.value.reason is SinkError.CONFIGURATION
