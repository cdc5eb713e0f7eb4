"""Points of a trend store: `{"timestamp": …, "row_count": …, "duration_seconds": …}`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from prefect_monitoring.model.instants import parse_time

POINTS_BLOCK: Final = "pipeline-metrics"
"""The type of `PipelineMetrics` blocks, as a slug."""

Point = Mapping[str, Any]


def parts_pattern(block: str) -> re.Pattern[str]:
    """Names of the block documents that hold what was recorded into the `PipelineMetrics` block of this name."""
    return re.compile(rf"{re.escape(block)}-points-[0-9a-f]{{32}}")


def instant(point: Point) -> float:
    """Unix seconds of a point's timestamp: ISO 8601, UTC where it names no zone, or a number of seconds.

    Raises KeyError, TypeError or ValueError for a point without a readable one.
    """
    timestamp = point["timestamp"]
    if isinstance(timestamp, (int, float)):
        return float(timestamp)
    return parse_time(timestamp).timestamp()


def merge(points: Iterable[Point], *, since: float, at_most: int) -> list[Point]:
    """Each point once, oldest first, from `since` (Unix seconds), the newest `at_most`.

    Points with the same `id` are one point; points without an id are all different.
    """
    unique = {point.get("id", index): point for index, point in enumerate(points)}
    recent = sorted(((instant(point), point) for point in unique.values()), key=lambda pair: pair[0])
    return [point for at, point in recent if at >= since][-at_most:]
