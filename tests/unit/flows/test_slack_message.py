"""The blocks of a run's message: within Slack's limits and inert, whatever names and errors contain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_monitoring.flows.slack_message import RunFacts, cut, duration, escape, run_message, text_message

FACTS = RunFacts(
    "Flow",
    "dbt-daily-pipeline",
    "brave-owl",
    "Failed",
    754.2,
    "Flow run encountered an exception: ValueError: no rows\nTraceback",
    "https://p/runs/flow-run/1",
)
TEXTS = st.one_of(
    st.text(max_size=5000), st.sampled_from(["<!channel>", "<@U1>", "```", "&amp;" * 900, "a" * 4000, ""])
)


def texts(value: Any) -> Iterator[tuple[str, str]]:
    """Every text object in blocks: its type and its text."""
    if isinstance(value, dict):
        if value.get("type") in {"mrkdwn", "plain_text"}:
            yield value["type"], value["text"]
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def test_run_message_of_a_failure_has_facts_error_and_links() -> None:
    text, blocks = run_message("failure", FACTS)
    assert text == "dbt-daily-pipeline failed: ValueError: no rows"
    assert [block["type"] for block in blocks] == ["header", "section", "section", "actions"]
    assert blocks[0]["text"]["text"] == ":red_circle: dbt-daily-pipeline failed"
    assert [field["text"] for field in blocks[1]["fields"]] == [
        "*Flow*\ndbt-daily-pipeline",
        "*Run*\nbrave-owl",
        "*Status*\nFailed",
        "*Duration*\n12 min 34 s",
    ]
    assert blocks[2]["text"]["text"] == "*Error*\n```ValueError: no rows```"
    assert [(button["text"]["text"], button["url"]) for button in blocks[3]["elements"]] == [
        ("View run", "https://p/runs/flow-run/1"),
        ("View logs", "https://p/runs/flow-run/1?tab=Logs"),
    ]


def test_run_message_of_a_success_has_no_error() -> None:
    text, blocks = run_message("success", RunFacts("Task", "load", "load-0", "Completed", 0.42, "all good", ""))
    assert text == "load completed"
    assert [block["type"] for block in blocks] == ["header", "section"]


@given(st.sampled_from(["failure", "success", "crashed"]), TEXTS, TEXTS, TEXTS, TEXTS, st.none() | st.floats(0, 1e9))
def test_run_message_of_anything_is_within_the_limits_and_inert(
    kind: Any, name: str, run_name: str, error: str, url: str, seconds: float | None
) -> None:
    text, blocks = run_message(kind, RunFacts("Flow", name, run_name, "Failed", seconds, error, url))
    assert len(text) <= 4000
    assert len(blocks[0]["text"]["text"]) <= 150
    assert all(1 <= len(field["text"]) <= 2000 for field in blocks[1]["fields"])
    assert all(len(block["text"]["text"]) <= 3000 for block in blocks if block["type"] == "section" and "text" in block)
    assert "<" not in text
    for kind_of_text, shown in texts(blocks):
        assert shown
        if kind_of_text == "mrkdwn":
            assert "<" not in shown
        if shown.startswith("*Error*"):
            assert shown.count("```") == 2


def test_run_message_error_with_a_password_hides_it() -> None:
    facts = RunFacts("Flow", "etl", "x", "Failed", None, "cannot reach postgresql://etl:hunter2@db/dwh", "")
    text, blocks = run_message("failure", facts)
    assert "hunter2" not in text + str(blocks)
    assert "did not start" in str(blocks)


def test_text_message_keeps_mrkdwn_and_hides_secrets() -> None:
    assert text_message("*late* password=hunter2", None) == ("*late* password=***", None)


@given(st.text("&<>a", max_size=60), st.integers(6, 60))
def test_cut_escaped_text_never_ends_within_an_escape(text: str, length: int) -> None:
    shown = cut(escape(text), length)
    assert len(shown) <= length
    unescaped = shown.removesuffix("…").replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert "&" not in unescaped


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.42, "0.4 s"), (45, "45 s"), (59.9, "60 s"), (750, "12 min 30 s"), (11_040, "3 h 4 min")]
)
def test_duration_shows_two_units_at_most(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
