"""The status page as HTML: order, summary, security policy, contrast and rendering cost."""

from __future__ import annotations

import gzip
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from prefect_monitoring.model.changes import Schedule
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.run_stats import RunStats
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import Links, Snapshot
from prefect_monitoring.web.status_page import page as page_module
from prefect_monitoring.web.status_page.page import HEADERS, StatusPage, render_page
from unit.snapshots import NOW, make_snapshot
from unit.status_page_html import STALE, ParsedPage, parsed_page
from unit.status_pages import DAY, GOOD, HOUR, MINUTE, big_snapshot, failing, snapshot_of

PIPELINE = Pipeline("etl", "daily")
LINKS = Links("https://prefect.example.com/base", "https://grafana.example.com", "https://example.com/runbooks")


def everything() -> Snapshot:
    def pipeline(name: str) -> Pipeline:
        return Pipeline(name, "d")

    alone = Pipeline("undeclared", "")
    run_stats = {pipeline(name): GOOD for name in ("fine", "busy", "late", "critical-late", "stuck", "slow", "off")}
    run_stats |= {pipeline("failing"): failing(pipeline("failing")), alone: failing(alone)}
    run_stats |= {pipeline("low"): failing(pipeline("low")), pipeline("stale"): GOOD}
    return snapshot_of(
        run_stats,
        paused=(pipeline("off"),),
        without_runs=(pipeline("new"),),
        active={
            (pipeline("busy"), "running"): NOW - MINUTE,
            (pipeline("late"), "late"): NOW - HOUR,
            (pipeline("critical-late"), "late"): NOW - HOUR,
            (pipeline("stuck"), "pending"): NOW - HOUR,
            (pipeline("slow"), "running"): NOW - DAY,
        },
        policies={
            pipeline("critical-late"): Policy(criticality="critical", team="data"),
            pipeline("low"): Policy(criticality="low"),
            pipeline("stale"): Policy(max_staleness=MINUTE),
        },
        schedules={pipeline("off"): Schedule(paused_at=NOW - DAY)},
        links=LINKS,
    )


def test_sections_start_with_needs_attention() -> None:
    page = parsed_page(everything())
    assert page.names == [
        "Needs attention (7)",
        "critical-late d critical data",
        "failing d",
        "stale d",
        "stuck d",
        "slow d",
        "late d",
        "low d low",
        "Failing, without an alert: no deployment, and not in the pipelines file (1)",
        "undeclared",
        "Fine (2)",
        "busy d",
        "fine d",
        "Paused, or without a success (2)",
        "new d",
        "off d",
    ]
    assert "7 need attention 1 fails unwatched 2 fine 2 idle" in page.text
    assert "7 need attention, 1 fails unwatched, 2 fine, 2 idle · prefect-monitoring" in page.text


def test_summary_marks_pipelines_that_need_attention() -> None:
    html = render_page(everything(), STALE, NOW)
    summary = html[html.index('<p class="summary">') :].partition("</p>")[0]
    assert re.findall(r'class="bad">([^<]+)<', summary) == ["7 need attention"]


def test_scheduled_retry_shows_when_it_is_due() -> None:
    page = parsed_page(snapshot_of({PIPELINE: GOOD}, active={(PIPELINE, "awaiting_retry"): NOW + HOUR}))
    assert "waiting for a retry due 13:00" in " ".join(page.text.split())


def test_page_is_shown_for_an_empty_server_and_at_the_start() -> None:
    assert "No flow has run yet, and there is no deployment" in parsed_page(snapshot_of({})).text
    starting = ParsedPage(render_page(None, STALE, NOW))
    assert "Starting." in starting.text


def test_healthy_exporter_shows_no_banner() -> None:
    html = render_page(snapshot_of({PIPELINE: GOOD}), STALE, NOW)
    assert "notices" not in html.partition("</style>")[2]
    assert "1 fine · prefect-monitoring" in html
    assert "As of 2026-03-02 12:00:00 UTC" in html


# Content security policy and colours


def test_content_security_policy_allows_only_the_style() -> None:
    html = render_page(everything(), STALE, NOW)
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in HEADERS["Content-Security-Policy"]
    assert HEADERS["Content-Security-Policy"].startswith("default-src 'none'; ")
    page = ParsedPage(html)
    assert not {"script", "img", "iframe", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name == "style" or name.startswith("on")]
    assert "http-equiv" not in html, "no automatic reload, for screen readers"


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("colour", ["text", "dim", "link", "bad", "warn", "busy", "ok", "idle", "bar"])
def test_colours_meet_wcag_aa(scheme: int, colour: str) -> None:
    style = Path(page_module.__file__).with_name("style.css").read_text(encoding="utf-8")
    schemes = [
        dict(re.findall(r"--(\w+): (#\w{6});", part)) for part in style.split("@media (prefers-color-scheme")[:2]
    ]
    least = 3.0 if colour == "bar" else 4.5  # WCAG AA: graphics, and text
    for back in ("back", "soft"):
        bright, dim = sorted((_luminance(schemes[scheme][name]) for name in (colour, back)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= least, (colour, back)


# Cost


async def test_page_is_rendered_once_per_snapshot_and_once_more_when_polling_stops() -> None:
    rendered = []

    def render(snapshot: Snapshot | None, stale_after: float, now: float) -> str:
        rendered.append(snapshot)
        return render_page(snapshot, stale_after, now)

    pages, first, second = StatusPage(STALE, render), snapshot_of({PIPELINE: GOOD}), make_snapshot()
    for now in range(50):
        body = await pages.of(first, NOW + now)
    assert rendered == [first]
    assert gzip.decompress(body.gzipped) == body.plain
    await pages.of(second, NOW)
    assert rendered == [first, second]
    stopped = [await pages.of(second, NOW + STALE + age) for age in (1, 2, 3)]
    assert rendered == [first, second, second]
    assert b"Polling has stopped" in stopped[0].plain
    await pages.of(first, NOW)
    assert len(rendered) == 4


def test_page_size_grows_with_the_pipelines_and_compresses_well() -> None:
    sizes = {count: render_page(big_snapshot(count), STALE, NOW).encode() for count in (200, 800)}
    assert len(sizes[800]) < 4 * len(sizes[200])
    assert len(sizes[800]) < 1_200_000
    assert len(gzip.compress(sizes[800], 1)) < 100_000


def test_pipeline_without_run_statistics_is_shown() -> None:
    assert parsed_page(snapshot_of({PIPELINE: RunStats()})).names == ["Paused, or without a success (1)", "etl daily"]
