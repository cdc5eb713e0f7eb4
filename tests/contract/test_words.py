"""Docs, rules, dashboards and help texts have none of the odd phrases below."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from prefect_monitoring.archive.metrics import ARCHIVE_METRICS
from prefect_monitoring.cli import make_parser
from prefect_monitoring.config.settings import OPTIONS
from prefect_monitoring.metrics import CATALOGUE

ROOT: Final = Path(__file__).parents[2]

INSTEAD: Final = {
    r"\bshall\b": "must, will",
    r"\btold\b(?! apart)": "reported, notified, known from",
    r"\btells\b": "reports, says, shows",
    r"\bborn\b|\bbirths?\b(?![ _-]hold)": "starts at zero",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bof (?:its|their) own\b": "own, separate",
    r"\bcomes? of\b": "comes from, is caused by",
    r"(?<!there )\b(?:is|are) none[.,;]": "does not count",
    r"\bcall(?:s|ed)? off\b|\bcalls that off\b": "cancel",
    r"\bstarting level\b": "baseline",
    r"\bwithout a word\b": "silently",
    r"^#+ (?:Look at it|Be told|See it work|How it ended|How long it took)$": "Dashboards, Alerting, Quick start, …",
    r"\bWhat needs attention now\b": "Needs attention",
    r"\bWhat it says itself\b": "Custom metrics",
    r"\bRuns take at most\b": "Duration: p50, p95",
}
"""Each phrase, as a regular expression, and its replacement."""

FILES: Final = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/**/*.md",
    "charts/**/*.md",
    "charts/prefect-monitoring/values.yaml",
    "prometheus/rules/*.yml",
    "alertmanager/**/*",
    "exporter/prefect_monitoring/web/status_page/**/*.html",
    "docker-compose.yml",
)
"""Files checked in full."""


def texts() -> Iterator[tuple[str, str]]:
    """(source, text) of everything that users read."""
    for path in sorted({path for pattern in FILES for path in ROOT.glob(pattern) if path.is_file()}):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "grafana/dashboards").glob("*.json")):
        yield path.name, "\n".join(_shown_in(json.loads(path.read_text(encoding="utf-8"))))
    for metric in (*CATALOGUE, *ARCHIVE_METRICS):
        yield metric.name, metric.help
    for name, option in OPTIONS.items():
        yield name, option.description or ""
    yield "--help", make_parser().format_help()


def _shown_in(node: object) -> Iterator[str]:
    """Titles, descriptions and other visible texts of a dashboard, without its queries."""
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, str) and key in {"title", "description", "content", "displayName", "text", "label"}:
                yield value
            else:
                yield from _shown_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from _shown_in(value)


@pytest.mark.parametrize("phrase", INSTEAD)
def test_no_text_has_the_phrase(phrase: str) -> None:
    pattern = re.compile(phrase, re.IGNORECASE | re.MULTILINE)
    found = [
        f"{source}: {' '.join(text[max(match.start() - 40, 0) : match.end() + 40].split())}"
        for source, text in texts()
        for match in pattern.finditer(text)
    ]
    assert not found, f"write: {INSTEAD[phrase]}\n" + "\n".join(found)


def test_banned_phrase_is_found() -> None:
    patterns = [re.compile(phrase, re.IGNORECASE | re.MULTILINE) for phrase in INSTEAD]
    for text in ("what its retry saved is not told", "Series are born at zero", "## Be told", "a placeholder is none."):
        assert any(pattern.search(text) for pattern in patterns), text
    assert not any(pattern.search("A birth hold lasts 70 s. Amend the stelling.") for pattern in patterns)
