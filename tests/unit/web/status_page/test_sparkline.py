"""Durations as a small bar chart."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from prefect_monitoring.model.run_stats import RECENT_DURATIONS
from prefect_monitoring.web.status_page.sparkline import HEIGHT, STEP, WIDTH, sparkline


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


BAR = re.compile(rf"M(\d+) {HEIGHT}v-(\d+)")


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=RECENT_DURATIONS), st.one_of(st.none(), st.floats(0.001, 1e9)))
def test_every_run_has_a_bar_within_the_image(newest_first: list[float], limit: float | None) -> None:
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


def test_limit_is_drawn_if_bars_stay_visible() -> None:
    assert [sparkline((100.0,), limit).limit for limit in (None, 50.0, 100.0, 200.0, 201.0)] == [None, 12, 1, 1, None]
    low = sparkline((50.0, 100.0), 200.0)
    assert low is not None
    assert BAR.findall(low.last)[0][1] == "6", "the line is part of the scale"
    assert plain(low.label).endswith("; at most 3 min 20 s is declared")


def test_no_durations_draw_nothing() -> None:
    assert sparkline((), 10.0) is None
    single = sparkline((3.0,), None)
    assert single is not None
    assert (single.earlier, plain(single.label)) == ("", "The only completed run took 3 s")
