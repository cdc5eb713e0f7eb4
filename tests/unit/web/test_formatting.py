"""Times and shares as people read them, and durations as bars."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_monitoring.model.run_stats import RECENT_DURATIONS
from prefect_monitoring.web.status_page.formatting import age, counted, instant, percent, span
from prefect_monitoring.web.status_page.sparkline import HEIGHT, STEP, WIDTH, sparkline


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


NOON = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        *((-1, "0 s"), (0, "0 s"), (0.04, "0 s"), (0.44, "0.4 s"), (9.0, "9 s"), (9.96, "10 s"), (12.6, "13 s")),
        *((60, "1 min"), (59.7, "1 min"), (750, "12 min 30 s"), (3600, "1 h"), (3601, "1 h"), (7500, "2 h 5 min")),
        *((86400, "1 d"), (86400 * 3 + 4 * 3600 + 59, "3 d 4 h"), (86400 * 400, "400 d")),
    ],
)
def test_span(seconds: float, told: str) -> None:
    assert plain(span(seconds)) == told


@pytest.mark.parametrize(
    ("seconds", "told"), [(-3, "0 s"), (0.9, "0 s"), (5, "5 s"), (119, "1 min"), (7199, "1 h"), (200000, "2 d")]
)
def test_age(seconds: float, told: str) -> None:
    assert plain(age(seconds)) == told


@pytest.mark.parametrize(
    ("before", "told"),
    [(0, "12:00"), (12 * 3600, "00:00"), (12 * 3600 + 1, "1 Mar 23:59"), (86400 * 70, "22 Dec 2025")],
)
def test_instant(before: float, told: str) -> None:
    assert instant(NOON - before, NOON) == told


@pytest.mark.parametrize(
    ("ratio", "told"),
    [(1.0, "100 %"), (0.9996, "99.9 %"), (0.99, "99 %"), (0.995, "99.5 %"), (0.29, "29 %"), (0, "0 %")],
)
def test_percent_never_rounds_up(ratio: float, told: str) -> None:
    assert plain(percent(ratio)) == told


def test_counted() -> None:
    assert [counted(number, "run", "runs") for number in (0, 1, 2, 12345)] == [
        "0 runs",
        "1 run",
        "2 runs",
        "12,345 runs",
    ]


# Sparklines

BAR = re.compile(rf"M(\d+) {HEIGHT}v-(\d+)")


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=RECENT_DURATIONS), st.one_of(st.none(), st.floats(0.001, 1e9)))
def test_every_run_has_a_bar_within_the_picture(newest_first: list[float], limit: float | None) -> None:
    drawn = sparkline(newest_first, limit)
    assert drawn is not None
    bars = [(int(x), int(height)) for x, height in BAR.findall(drawn.earlier + drawn.last)]
    assert BAR.sub("", drawn.earlier + drawn.last) == "", "nothing but bars"
    assert len(bars) == len(newest_first)
    assert all(2 <= x <= WIDTH - 2 and 1 <= height <= HEIGHT - 1 for x, height in bars)
    assert [x for x, _ in bars] == sorted({x for x, _ in bars})
    assert bars[-1][0] == WIDTH - STEP + 2, "the newest is always at the right edge"
    assert len(BAR.findall(drawn.last)) == 1
    assert drawn.limit is None or 0 <= drawn.limit < HEIGHT


def test_heights_are_in_proportion_and_start_at_zero() -> None:
    drawn = sparkline((100.0, 50.0, 0.0), None)
    assert drawn is not None
    assert [int(height) for _, height in BAR.findall(drawn.earlier + drawn.last)] == [1, 12, 23]
    assert plain(drawn.label) == "The last 3 completed runs took 0 s to 1 min 40 s, the newest 1 min 40 s"


def test_limit_is_drawn_where_bars_remain_to_be_seen() -> None:
    assert [sparkline((100.0,), limit).limit for limit in (None, 50.0, 100.0, 200.0, 201.0)] == [None, 12, 1, 1, None]
    low = sparkline((50.0, 100.0), 200.0)
    assert low is not None
    assert BAR.findall(low.last)[0][1] == "6", "the line is part of the scale"
    assert plain(low.label).endswith("; at most 3 min 20 s is declared")


def test_nothing_to_draw() -> None:
    assert sparkline((), 10.0) is None
    one = sparkline((3.0,), None)
    assert one is not None
    assert (one.earlier, plain(one.label)) == ("", "The only completed run took 3 s")
