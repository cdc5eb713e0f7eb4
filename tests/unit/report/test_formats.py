"""Each format has the whole report, shows hostile names as text, and stays within the limits of its viewer."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from markdown_it import MarkdownIt

from prefect_monitoring.config.settings import Settings
from prefect_monitoring.model.actions import ActionResult, Kind
from prefect_monitoring.model.changes import Schedule
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.report import html, markdown, slack
from prefect_monitoring.report.comparing import figures_of
from prefect_monitoring.report.document import Document
from prefect_monitoring.report.facts import read_facts
from prefect_monitoring.report.formats import FORMATS
from prefect_monitoring.report.making import make_report
from prefect_monitoring.report.writing import document_of
from support.options import settings_with
from unit.ledger_values import NOW
from unit.report_ledgers import Past
from unit.rig import DAY

ETL = Pipeline("etl", "daily")
HOSTILE = (
    "<script>alert(1)</script>",
    "a|b`c`*d*_e_ ~f~",
    "<!channel> <@U1> :boom: https://evil.example",
    "![x](http://evil.example) [y](z) # $x$ @here &amp;",
    "line\nbreak\r\n| - |",
    "'\" onload=x </td></table></style>",
)


@pytest.fixture
def rich(past: Past, settings: Settings) -> Document:
    """A report in which every line and table has content."""
    other = Pipeline("lake", "prod")
    past.exists(ETL, Pipeline("idle", "prod"))
    past.exists(other, tags=("team:data",))
    past.ran(ETL, 9, times=20, seconds=60)
    past.ran(ETL, 1, times=8, seconds=90)
    [failed, _] = past.ran(ETL, 1, state_type="FAILED", times=2, cause="timeout", pattern="no answer in # s")
    past.ran(other, 1)
    past.task(ETL, "load", 8, seconds=10, retries=2, cause="timeout")
    past.task(ETL, "load", 1, seconds=30, retries=7, cause="rate_limit")
    past.observed(ETL, "rows", 8, 1000.0)
    past.observed(ETL, "rows", 1, 100.0)
    past.acted(ETL, Kind.RETRY, ActionResult.DONE, failed)
    past.scheduled(other, Schedule(paused_at=NOW - DAY))
    return make_report(settings, NOW, 7)


def hostile(past: Past, settings: Settings) -> Document:
    for number, text in enumerate(HOSTILE):
        pipeline = Pipeline(text, f"prod {text}")
        past.exists(pipeline, tags=("team:x",))
        past.ran(pipeline, 1, state_type="FAILED", cause="other", pattern=text, times=number + 1)
        past.task(pipeline, text, 1, retries=3, cause="other")
        past.automation_failed(text, 1)
    return make_report(settings, NOW, 7)


# Content


def test_report_begins_with_five_lines(rich: Document) -> None:
    assert {line.label: line.text for line in rich.lines} == {
        "Success": "81.8 % of 11 runs completed (before: 100 %). 1 of 2 pipelines with an objective missed it.",
        "Failures": "2 runs of 1 pipeline failed: etl/daily (2). Most common cause: timeout (2).",
        "Budgets": "1 budget is overspent: etl/daily.",
        "Speed and retries": "1 pipeline and 1 task got slower, first etl/daily."
        " 7 task retries (before: 2), most in load of etl/daily.",
        "Activity": "1 retry. Deployments: 1 paused, 1 never ran.",
    }
    assert rich.period == "Mon 23 Feb 2026 13:00 to Mon 02 Mar 2026 12:00 (UTC), all teams"


def test_every_table_of_a_rich_report_has_rows(rich: Document) -> None:
    assert len(rich.tables) == 9
    assert all(table.rows for table in rich.tables)
    assert all(len(row) == len(table.columns) for table in rich.tables for row in table.rows)


def test_timestamps_are_in_the_configured_time_zone(past: Past, settings: Settings) -> None:
    document = document_of(figures_of(read_facts(settings, NOW, 7)), ZoneInfo("Asia/Tokyo"))
    assert "Mon 02 Mar 2026 21:00 (Asia/Tokyo)" in document.period


@pytest.mark.usefixtures("past")
@pytest.mark.parametrize("form", FORMATS)
def test_report_of_an_empty_ledger_states_that_nothing_ran(form: str, settings: Settings) -> None:
    assert "No run ended in this time." in FORMATS[form](make_report(settings, NOW, 7))


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_has_every_line_and_row(form: str, rich: Document) -> None:
    text = FORMATS[form](rich).replace("\N{NO-BREAK SPACE}", " ")
    for word in ("81.8 %", "etl/daily", "lake/prod", "idle/prod", "no answer in", "+200 %"):
        assert word in text, word


# Markdown


MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def kinds_of(text: str) -> set[str]:
    """The kinds of elements that a Markdown parser finds in a text."""
    blocks = MARKDOWN.parse(text)
    return {token.type for block in blocks for token in (block, *(block.children or []))}


def test_hostile_text_is_no_markup_in_markdown(past: Past, settings: Settings, rich: Document) -> None:
    harmless, text = markdown.render(rich), markdown.render(hostile(past, settings))
    assert kinds_of(text) == kinds_of(harmless)
    assert {"table_open", "strong_open"} <= kinds_of(harmless), "the tables are tables"
    assert "<script>" not in MARKDOWN.render(text)
    assert re.findall(r"@\w|(?<!\\)://|(?<!\\)\$", text) == [], "GitHub renders no mention, link or formula"


def test_hostile_text_is_shown_verbatim_in_markdown(past: Past, settings: Settings) -> None:
    page = unescape(MARKDOWN.render(markdown.render(hostile(past, settings)))).replace("\u200b", "")
    for text in HOSTILE:
        assert f"<td>{' '.join(text.split())}</td>" in page, text


# HTML


class Page(HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_hostile_text_is_no_markup_in_html(past: Past, settings: Settings, rich: Document) -> None:
    harmless, page = Page(html.render(rich)), Page(html.render(hostile(past, settings)))
    assert set(page.tags) == set(harmless.tags)
    assert page.attributes == harmless.attributes
    assert "script" not in page.tags


def test_html_is_self_contained(rich: Document) -> None:
    page = html.render(rich)
    assert re.findall(r"(?:src|href)=|url\(|@import|<script|<link|javascript:", page) == []
    assert "default-src 'none'" in page
    for media in ("prefers-color-scheme: dark", "@media print"):
        assert media in page


# Slack


def blocks_of(document: Document) -> list[dict[str, Any]]:
    message = slack.render(document)
    assert 0 < len(message["text"]) <= 4000
    return message["blocks"]  # type: ignore[no-any-return]


def texts_of(blocks: list[dict[str, Any]]) -> list[str]:
    return [element["text"] for block in blocks for element in (block.get("elements") or [block["text"]])]


def assert_within_limits(blocks: list[dict[str, Any]]) -> None:
    assert 0 < len(blocks) <= 50
    for block in blocks:
        limit = 150 if block["type"] == "header" else 3000
        assert all(0 < len(text) <= limit for text in texts_of([block]))


def test_hostile_text_is_no_markup_in_slack(past: Past, settings: Settings) -> None:
    message = slack.render(hostile(past, settings))
    for text in (message["text"], *texts_of(message["blocks"])):
        assert re.findall(r"[<>`~]|&(?!amp;|lt;|gt;)|:boom:", text) == []
    assert "a|b\u02cbc\u02cb\u2217d\u2217\u02cde\u02cd" in "".join(texts_of(message["blocks"]))
    elements = [(block.get("elements") or [block["text"]])[0] for block in message["blocks"]]
    assert all(element.get("verbatim") for element in elements if element["type"] == "mrkdwn"), (
        "no address becomes a link"
    )


def test_five_hundred_pipelines_fit_into_every_format(past: Past, settings: Settings) -> None:
    pipelines = [Pipeline(f"flow-{number:03} {'x' * 150} <&>", "prod") for number in range(500)]
    past.exists(*pipelines)
    with past.in_one_commit():
        for number, pipeline in enumerate(pipelines):
            past.ran(pipeline, 1, state_type="FAILED", cause="data", pattern=f"row {number} {'&' * 150}")
            past.task(pipeline, "load" * 40, 1, runs=1, retries=1, cause="timeout")
    document = make_report(settings, NOW, 7)
    assert_within_limits(blocks_of(document))
    assert "and 492 more" in "".join(texts_of(blocks_of(document)))
    assert html.render(document).count("flow-499") >= 1, "the full list is complete"
    assert len(html.render(document)) < 1_000_000
    assert sum(len(line.text) for line in document.lines) < 3000


@pytest.mark.parametrize("zone", ["UTC", "Europe/Zurich"])
def test_report_of_one_pipeline_is_a_short_message(past: Past, zone: str, settings: Settings) -> None:
    past.exists(ETL)
    past.ran(ETL, 1)
    report = make_report(
        settings_with(ledger_url=settings.ledger.ledger_url.get_secret_value(), report_time_zone=zone), NOW, 7
    )
    assert_within_limits(blocks_of(report))
    assert len(blocks_of(report)) == 4, "header, period, lines, notes"
