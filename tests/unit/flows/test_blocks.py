"""PipelineMetrics refuses invalid points before it contacts a server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from prefect_monitoring.flows.blocks import PipelineMetrics
from prefect_monitoring.model.trend_points import instant, merge, parts_pattern


@pytest.mark.parametrize(
    ("point", "rule"),
    [
        ({}, "row_count, duration_seconds or both"),
        ({"row_count": float("nan")}, "finite"),
        ({"duration_seconds": float("inf")}, "finite"),
        ({"row_count": 1, "timestamp": datetime(2026, 11, 29)}, "time zone"),  # noqa: DTZ001 the naive datetime is what is tested
        ({"row_count": 1}, "save the block first"),
    ],
)
def test_record_of_an_invalid_point_raises(point: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        PipelineMetrics().record(**point)


@pytest.mark.parametrize("point", [{}, {"timestamp": "yesterday"}, {"timestamp": None}])
def test_points_of_the_past_without_a_time_are_refused(point: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="a point without a timestamp"):
        PipelineMetrics(points=[point])


@pytest.mark.parametrize("timestamp", [1.5, "1970-01-01T00:00:01.5", "1970-01-01T01:00:01.5+01:00"])
def test_instant_reads_seconds_and_iso_8601(timestamp: float | str) -> None:
    assert instant({"timestamp": timestamp}) == 1.5


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["a", "b", None]))), st.integers(1, 5))
def test_merge_keeps_each_point_once_in_order(drawn: list[tuple[int, str | None]], at_most: int) -> None:
    points = [{"timestamp": at} | ({"id": f"{at}{mark}"} if mark else {}) for at, mark in drawn]
    merged = merge(points + [point for point in points if "id" in point], since=2, at_most=at_most)
    recent = [at for at, mark in drawn if mark is None and at >= 2]
    recent += [at for at, mark in {pair for pair in drawn if pair[1]} if at >= 2]
    assert [instant(point) for point in merged] == sorted(recent)[-at_most:]


def test_parts_pattern_matches_one_block_only() -> None:
    digits = "0123456789abcdef" * 2
    assert parts_pattern("dbt").fullmatch(f"dbt-points-{digits}")
    assert not parts_pattern("dbt").fullmatch(f"dbt-points-points-{digits}")
    assert not parts_pattern("dbt").fullmatch(f"other-dbt-points-{digits}")


def test_merge_of_nothing_is_nothing() -> None:
    assert merge([], since=datetime.now(UTC).timestamp(), at_most=3) == []
