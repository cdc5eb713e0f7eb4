"""HTTP: responses for scrapers, probes and browsers."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import httpx
import pytest

from prefect_monitoring.config.settings import MetricSettings, Settings
from prefect_monitoring.model.source_status import SourceStatus
from prefect_monitoring.snapshot.freshness import current_limit
from prefect_monitoring.snapshot.model import Health
from prefect_monitoring.web.app import DEAD_AFTER_POLLS, Published, make_app
from prefect_monitoring.web.negotiation import OPENMETRICS, TEXT
from unit.snapshots import NOW, make_snapshot

SETTINGS = Settings()


class Site:
    def __init__(self) -> None:
        self.now = NOW
        self.published = Published(SETTINGS.metrics)
        self.app = make_app(self.published, SETTINGS.web, SETTINGS.poll, lambda: self.now)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app)
        named = {"accept-encoding": "identity", **{name.replace("_", "-"): text for name, text in headers.items()}}
        async with httpx.AsyncClient(transport=transport, base_url="http://exporter.test") as client:
            return await client.get(path, headers=named)


@pytest.fixture
def site() -> Site:
    return Site()


async def test_not_ready_before_the_first_snapshot(site: Site) -> None:
    assert (await site.get("/metrics")).status_code == 503
    ready = await site.get("/-/ready")
    assert (ready.status_code, ready.text) == (503, "not ready: starting\n")
    assert (await site.get("/-/healthy")).status_code == 200, "a slow start must not fail the liveness probe"
    assert "Starting." in (await site.get("/")).text


async def test_scrape_returns_metrics_in_the_requested_format(site: Site) -> None:
    site.published.publish(make_snapshot())
    plain = await site.get("/metrics")
    assert plain.status_code == 200
    assert plain.headers["content-type"] == TEXT
    assert "content-encoding" not in plain.headers
    assert plain.headers["content-length"] == str(len(plain.content))
    assert "prefect_up 1.0" in plain.text
    openmetrics = await site.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert openmetrics.headers["content-type"] == OPENMETRICS
    assert openmetrics.text.endswith("# EOF\n")
    for answer in (plain, openmetrics):
        assert {part.strip() for part in answer.headers["vary"].split(",")} == {"Accept", "Accept-Encoding"}


@pytest.mark.parametrize(
    ("encodings", "zipped"),
    [
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("identity", False),
        ("", False),
        ("deflate", False),
        ("gzip;q=0", False),
    ],
)
async def test_response_is_gzipped_if_accepted(site: Site, encodings: str, zipped: bool) -> None:
    site.published.publish(make_snapshot())
    answer = await site.get("/metrics", accept_encoding=encodings)
    assert (answer.headers.get("content-encoding") == "gzip") == zipped
    assert "prefect_up 1.0" in answer.text
    if zipped:
        assert int(answer.headers["content-length"]) < len(answer.content) / 2
        assert len(gzip.compress(answer.content, 1)) > 100


async def test_healthy_until_polling_has_stopped(site: Site) -> None:
    site.published.publish(make_snapshot())
    limit = DEAD_AFTER_POLLS * (SETTINGS.poll.poll_interval + SETTINGS.poll.source_timeout)
    site.now = NOW + limit
    assert (await site.get("/-/healthy")).status_code == 200
    site.now = NOW + limit + 1
    dead = await site.get("/-/healthy")
    assert dead.status_code == 503
    assert "polling has stopped" in dead.text
    assert (await site.get("/metrics")).status_code == 200, "/metrics always answers"


async def test_ready_says_everything_that_is_missing(site: Site) -> None:
    site.published.publish(replace(make_snapshot(), health=Health(("the baseline is loading", "no poll yet"))))
    answer = await site.get("/-/ready")
    assert (answer.status_code, answer.text) == (503, "not ready: the baseline is loading; no poll yet\n")
    assert (await site.get("/metrics")).status_code == 200
    site.published.publish(make_snapshot())
    answer = await site.get("/-/ready")
    assert (answer.status_code, answer.text) == (200, "ready\n")


HOSTILE = "<script>alert('x')</script>\"&{status}"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("where", ["name", "error", "ready", "version"])
async def test_status_page_escapes_names(site: Site, where: str) -> None:
    snapshot = make_snapshot()
    source = snapshot.about.sources[0]
    changed: dict[str, Callable[[], object]] = {
        "name": lambda: replace(source, name=HOSTILE),
        "error": lambda: replace(source, up=False, error=HOSTILE),
    }
    if where in changed:
        bad = changed[where]()
        assert isinstance(bad, SourceStatus)
        snapshot = replace(snapshot, about=replace(snapshot.about, sources=(bad,)))
    elif where == "ready":
        snapshot = replace(snapshot, health=Health((HOSTILE,)))
    else:
        snapshot = replace(snapshot, about=replace(snapshot.about, version=HOSTILE))
    site.published.publish(snapshot)
    page = (await site.get("/")).text
    parsed = Tags()
    parsed.feed(page)
    assert "script" not in parsed.tags
    assert HOSTILE in parsed.text


async def test_status_page_shows_the_sources(site: Site) -> None:
    site.published.publish(make_snapshot())
    page = (await site.get("/")).text
    for expected in (
        'href="metrics"',
        'href="-/ready"',
        "Version 9.9.9",
        "answers",
        "5\u00a0s ago",
        "never",
        "not read yet",
    ):
        assert expected in page
    down = make_snapshot()
    site.published.publish(replace(down, about=replace(down.about, api_up=False)))
    assert "does not answer" in (await site.get("/")).text


async def test_status_document_ignores_parameters_and_allows_no_other_origin(site: Site) -> None:
    assert (await site.get("/api/v1/status")).status_code == 503
    site.published.publish(make_snapshot())
    plain, packed = await site.get("/api/v1/status"), await site.get("/api/v1/status", accept_encoding="gzip")
    assert (plain.status_code, plain.headers["content-type"]) == (200, "application/json")
    assert plain.json()["version"] == 1
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json() == plain.json()
    assert (await site.get("/api/v1/status?version=2&callback=x")).text == plain.text
    asked = await site.get("/api/v1/status", origin="https://elsewhere.example.com")
    assert not [name for name in asked.headers if name.startswith("access-control")]


async def test_status_page_is_compressed_guarded_and_reloads_only_on_request(site: Site) -> None:
    for published in (False, True):
        if published:
            site.published.publish(make_snapshot())
        plain, packed = await site.get("/"), await site.get("/", accept_encoding="gzip")
        assert plain.status_code == 200
        assert plain.headers["content-type"] == "text/html; charset=utf-8"
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.text == plain.text
        for answer in (plain, packed):
            assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-cache"
            assert "Accept-Encoding" in answer.headers["vary"]
            assert "refresh" not in answer.headers
    assert (await site.get("/?reload=30")).headers["refresh"] == "30"
    for other in ("/?reload=0", "/?reload=1;url=http://evil.test", "/?reload", "/?reload=30s"):
        assert "refresh" not in (await site.get(other)).headers


async def test_status_page_shows_that_polling_has_stopped(site: Site) -> None:
    site.published.publish(make_snapshot())
    limit = current_limit(SETTINGS.poll)
    site.now = NOW + limit
    assert "Polling has stopped" not in (await site.get("/")).text
    site.now = NOW + limit + 1
    assert "Polling has stopped" in (await site.get("/")).text


async def test_other_paths_and_methods_are_refused(site: Site) -> None:
    site.published.publish(make_snapshot())
    assert (await site.get("/admin")).status_code == 404
    transport = httpx.ASGITransport(app=site.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://exporter.test") as client:
        assert (await client.post("/metrics")).status_code == 405
        head = await client.head("/metrics")
        assert head.status_code == 200
        assert head.content == b""


async def test_disabled_metrics_are_missing_in_the_scrape() -> None:
    settings = MetricSettings(metrics_off="prefect_flow_runs")
    published = Published(settings)
    published.publish(make_snapshot())
    assert published.latest is not None
    assert b"# TYPE prefect_flow_runs " not in published.latest[1].text.plain
