"""Instants, durations, ratios and counts as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from prefect_monitoring.web.status_page.formatting import age, counted, instant, percent, span


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


NOON = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        *((-1, "0 s"), (0, "0 s"), (0.04, "0 s"), (0.44, "0.4 s"), (9.0, "9 s"), (9.96, "10 s"), (12.6, "13 s")),
        *((60, "1 min"), (59.7, "1 min"), (750, "12 min 30 s"), (3600, "1 h"), (3601, "1 h"), (7500, "2 h 5 min")),
        *((86400, "1 d"), (86400 * 3 + 4 * 3600 + 59, "3 d 4 h"), (86400 * 400, "400 d")),
    ],
)
def test_span_is_formatted(seconds: float, expected: str) -> None:
    assert plain(span(seconds)) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-3, "0 s"), (0.9, "0 s"), (5, "5 s"), (119, "1 min"), (7199, "1 h"), (200000, "2 d")]
)
def test_age_is_formatted(seconds: float, expected: str) -> None:
    assert plain(age(seconds)) == expected


@pytest.mark.parametrize(
    ("before", "expected"),
    [(0, "12:00"), (12 * 3600, "00:00"), (12 * 3600 + 1, "1 Mar 23:59"), (86400 * 70, "22 Dec 2025")],
)
def test_instant_is_formatted(before: float, expected: str) -> None:
    assert instant(NOON - before, NOON) == expected


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(1.0, "100 %"), (0.9996, "99.9 %"), (0.99, "99 %"), (0.995, "99.5 %"), (0.29, "29 %"), (0, "0 %")],
)
def test_percent_never_rounds_up(ratio: float, expected: str) -> None:
    assert plain(percent(ratio)) == expected


def test_counts_are_formatted() -> None:
    assert [counted(number, "run", "runs") for number in (0, 1, 2, 12345)] == [
        "0 runs",
        "1 run",
        "2 runs",
        "12,345 runs",
    ]
