"""The stand-in for Slack, PagerDuty and a dead man's switch: accepted and refused requests, and its page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from prefect_monitoring.demo.inbox import KEPT, KEPT_HEARTBEATS, make_inbox_app

NOW = 1_795_406_400.0  # 2026-11-23 04:00:00 UTC
KEY = "pagerduty-key".ljust(32, "-")


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def site(clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=make_inbox_app(clock))
    async with httpx.AsyncClient(transport=transport, base_url="http://inbox.test") as client:
        yield client


def slack(**changes: Any) -> dict[str, Any]:
    return {"attachments": [{"title": "🔴 orders failed", "text": "…", "color": "#d72b3f", **changes}]}


def event(action: str = "trigger", **changes: Any) -> dict[str, Any]:
    payload = {"summary": "orders failed", "source": "production", "severity": "critical"}
    return {
        "routing_key": KEY,
        "event_action": action,
        "dedup_key": "d1",
        "payload": {**payload, **changes.pop("payload", {})},
        **changes,
    }


async def messages(site: httpx.AsyncClient) -> list[dict[str, Any]]:
    received: list[dict[str, Any]] = (await site.get("/messages")).json()
    return received


async def test_slack_accepts_a_message(site: httpx.AsyncClient) -> None:
    answer = await site.post("/slack/data-alerts", json=slack())
    assert (answer.status_code, answer.text) == (200, "ok"), "Alertmanager 0.26 and newer looks for this word"
    await site.post("/slack/other", json=slack(title="✅ Resolved: orders failed"))
    first, second = await messages(site)
    assert first == {
        "kind": "slack",
        "channel": "#data-alerts",
        "received_at": NOW,
        "status": "firing",
        "body": slack(),
    }
    assert (second["channel"], second["status"]) == ("#other", "resolved")


SLACK_REFUSES = {
    "no object": ([], "object"),
    "nothing to show": ({"channel": "#x"}, "no_text"),
    "empty attachments": ({"attachments": [{"color": "good"}]}, "no_text"),
    "attachments that are no list": ({"text": "x", "attachments": "x"}, "attachments: "),
    "attachments of strings": ({"text": "x", "attachments": ["x"]}, "attachments.0: "),
    "too many attachments": ({"attachments": slack()["attachments"] * 21}, "attachments: "),
    "text": (slack(text="x" * 3001), "attachments.0.text: "),
    "title": (slack(title="x" * 1025), "attachments.0.title: "),
    "footer": (slack(footer="x" * 301), "attachments.0.footer: "),
    "six buttons": (slack(actions=[{"type": "button", "text": "x"}] * 6), "attachments.0.actions: "),
    "a button's text": (slack(actions=[{"type": "button", "text": "x" * 76}]), "attachments.0.actions.0.text: "),
    "a button's URL": (slack(actions=[{"text": "x", "url": "http://" + "x" * 3000}]), "attachments.0.actions.0.url: "),
}


@pytest.mark.parametrize(("body", "fault"), SLACK_REFUSES.values(), ids=SLACK_REFUSES)
async def test_slack_refuses_invalid_messages(site: httpx.AsyncClient, body: Any, fault: str) -> None:
    answer = await site.post("/slack/data-alerts", json=body)
    assert answer.status_code == 400
    assert answer.text.startswith("invalid_payload: ")
    assert fault in answer.text
    assert await messages(site) == []


async def test_slack_accepts_a_message_at_its_limits(site: httpx.AsyncClient) -> None:
    body = slack(text="🦆" * 3000, title="x" * 1024, footer="x" * 300, actions=[{"text": "x" * 75}] * 5)
    assert (await site.post("/slack/data-alerts", json=body)).status_code == 200
    assert (await site.post("/slack/data-alerts", json={"text": "plain"})).status_code == 200


@pytest.mark.parametrize("path", ["/slack/data-alerts", "/pagerduty/v2/enqueue", "/heartbeat"])
async def test_bad_json_and_wrong_methods_are_refused(site: httpx.AsyncClient, path: str) -> None:
    for content in (b"", b"{", b"\xff", b"payload=x"):
        assert (await site.post(path, content=content)).status_code == 400
    assert (await site.get(path)).status_code == 405
    assert await messages(site) == []


async def test_pagerduty_accepts_an_incident_and_its_resolution(site: httpx.AsyncClient) -> None:
    answer = await site.post("/pagerduty/v2/enqueue", json=event())
    assert answer.status_code == 202
    assert answer.json() == {"status": "success", "message": "Event processed", "dedup_key": "d1"}
    end = {"routing_key": KEY, "event_action": "resolve", "dedup_key": "d1"}
    assert (await site.post("/pagerduty/v2/enqueue", json=end)).status_code == 202
    assert [(message["kind"], message["channel"], message["status"]) for message in await messages(site)] == [
        ("pagerduty", "pagerduty-key", "firing"),
        ("pagerduty", "pagerduty-key", "resolved"),
    ]


PAGERDUTY_REFUSES = {
    "no object": ([], "object"),
    "short key": (event(routing_key="x"), "routing_key"),
    "no key": ({"event_action": "trigger"}, "routing_key"),
    "unknown action": (event("page"), "event_action"),
    "long dedup key": (event(dedup_key="x" * 256), "dedup_key"),
    "resolve without a dedup key": (event("resolve", dedup_key=""), "dedup_key"),
    "no payload": (event() | {"payload": None}, "payload"),
    "empty payload": (event() | {"payload": {}}, "payload.summary"),
    "blank summary": (event(payload={"summary": ""}), "payload.summary"),
    "long summary": (event(payload={"summary": "x" * 1025}), "payload.summary"),
    "no source": (event(payload={"source": None}), "payload.source"),
    "unknown severity": (event(payload={"severity": "high"}), "payload.severity"),
    "link to nowhere": (event(links=[{"text": "x"}]), "href"),
}


@pytest.mark.parametrize(("body", "fault"), PAGERDUTY_REFUSES.values(), ids=PAGERDUTY_REFUSES)
async def test_pagerduty_refuses_invalid_events(site: httpx.AsyncClient, body: Any, fault: str) -> None:
    answer = await site.post("/pagerduty/v2/enqueue", json=body)
    assert answer.status_code == 400
    assert answer.json()["status"] == "invalid event"
    assert fault in " ".join(answer.json()["errors"])
    assert await messages(site) == []


async def test_pagerduty_refuses_a_payload_of_half_a_megabyte(site: httpx.AsyncClient) -> None:
    body = event(payload={"custom_details": {"x": "x" * 512_000}})
    assert (await site.post("/pagerduty/v2/enqueue", json=body)).status_code == 413
    assert await messages(site) == []


async def test_only_the_newest_messages_are_kept_apart_from_heartbeats(site: httpx.AsyncClient, clock: Clock) -> None:
    for number in range(KEPT + 3):
        clock.now += 1
        await site.post("/slack/data-alerts", json=slack(title=f"message {number}"))
    for _ in range(KEPT_HEARTBEATS + 3):
        clock.now += 1
        assert (await site.post("/heartbeat", json={"status": "firing"})).text == "ok"
    received = await messages(site)
    titles = [message["body"]["attachments"][0]["title"] for message in received if message["kind"] == "slack"]
    assert (len(titles), titles[0], titles[-1]) == (KEPT, "message 3", f"message {KEPT + 2}")
    assert [message["kind"] for message in received].count("heartbeat") == KEPT_HEARTBEATS
    assert received == sorted(received, key=lambda message: message["received_at"])


# --- the page ------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects the text, the links, and every element and attribute."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[str] = []
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


async def shown(site: httpx.AsyncClient) -> Page:
    return Page((await site.get("/")).text)


async def test_page_without_messages_is_shown(site: httpx.AsyncClient) -> None:
    answer = await site.get("/")
    assert answer.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert 'http-equiv="refresh"' in answer.text
    assert "No messages." in Page(answer.text).text
    assert "no heartbeat yet" in Page(answer.text).text


async def test_page_shows_messages_as_recipients_see_them(site: httpx.AsyncClient, clock: Clock) -> None:
    text = "It failed.\n*Cause*  `1 &lt; 2 &amp; *so*`\n*not closed, 2*3*4"
    actions = [
        {"type": "button", "text": "View run", "url": "http://prefect.test/runs", "style": "primary"},
        {"type": "button", "text": "Runbook"},
    ]
    body = slack(text=text, actions=actions, footer="team &amp; co", title_link="https://prefect.test/")
    await site.post("/slack/data-alerts", json=body)
    links = [{"text": "Logs", "href": "http://prefect.test/logs"}]
    details = {"cause": "timeout", "empty": ""}
    await site.post("/pagerduty/v2/enqueue", json=event(links=links, payload={"custom_details": details}))
    await site.post("/heartbeat", json={"status": "firing"})
    clock.now += 7
    html = (await site.get("/")).text
    assert "<b>Cause</b>  <code>1 &lt; 2 &amp; *so*</code><br>*not closed, 2*3*4" in html
    page = Page(html)
    assert page.links == ["https://prefect.test/", "http://prefect.test/runs", "http://prefect.test/logs"]
    for wanted in ("#data-alerts · firing", "team & co", "pagerduty-key · firing", "cause", "timeout"):
        assert wanted in page.text
    assert "2026-11-23 04:00:00 UTC, 7 s ago" in page.text
    assert "Runbook" not in page.text, "Slack shows no button without a URL"
    assert "empty" not in page.text


async def test_page_lists_newest_first(site: httpx.AsyncClient, clock: Clock) -> None:
    for title in ("first", "second"):
        clock.now += 1
        await site.post("/slack/data-alerts", json=slack(title=title))
    text = (await shown(site)).text
    assert text.index("second") < text.index("first")


async def test_page_escapes_everything(site: httpx.AsyncClient) -> None:
    evil = """<script>alert(1)</script><img src=x onerror=alert(1)>"'`*&lt;script&gt;"""
    url = "javascript:alert(1)"
    before = await shown(site)
    actions = [{"type": evil, "text": evil, "url": url, "style": evil}, {"text": evil, "url": f"http://x/{evil}"}]
    body = slack(title=evil, title_link=url, text=evil, footer=evil, color='red" onload="alert(1)', actions=actions)
    assert (await site.post("/slack/%3Cscript%3E", json={**body, "text": evil})).status_code == 200
    links = [{"href": url, "text": evil}, {"href": f"https://x/{evil}", "text": evil}]
    payload = {"summary": evil, "source": evil, "class": evil, "custom_details": {evil: evil}}
    assert (await site.post("/pagerduty/v2/enqueue", json=event(links=links, payload=payload))).status_code == 202
    page = await shown(site)
    assert page.elements - before.elements <= {"h3", "p", "a", "b", "code", "br", "div", "dl", "dt", "dd", "span"}
    assert page.attributes - before.attributes <= {"style", "href", "class"}
    assert page.links == [f"http://x/{evil}", f"https://x/{evil}"], "and nothing that runs"
    assert page.text.count("<script>alert(1)</script>") >= 8


async def test_minimal_messages_are_shown(site: httpx.AsyncClient) -> None:
    for body in (
        {"text": "only text"},
        {"text": "x", "attachments": [{}]},
        {"attachments": [{"title": "only a title"}]},
    ):
        assert (await site.post("/slack/data-alerts", json=body)).status_code == 200
    end = {"routing_key": KEY, "event_action": "resolve", "dedup_key": "d1"}
    assert (await site.post("/pagerduty/v2/enqueue", json=end)).status_code == 202
    text = (await shown(site)).text
    assert "only text" in text
    assert "only a title" in text
    assert "pagerduty-key · resolved" in text
