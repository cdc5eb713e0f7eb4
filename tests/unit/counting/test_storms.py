"""Which failures are a storm: enough pipelines with one cause within minutes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from prefect_monitoring.counting.storms import storms
from prefect_monitoring.model.changes import KnownRun
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.run_stats import RunStats


def failing(pipeline: Pipeline, at: float, cause: str, pattern: str = "", unresolved: int = 1) -> RunStats:
    run = KnownRun("r", pipeline, "s", "FAILED", at, 1, start_counted=True, ended_at=at, cause=cause, pattern=pattern)
    return RunStats(unresolved=unresolved, unresolved_since=at, last_failure=run)


def members(failures: Iterable[tuple[float, str]], pattern: str = "", unresolved: int = 1) -> list[float]:
    stats = {
        (pipeline := Pipeline(f"f{number}", "d")): failing(pipeline, at, cause, pattern, unresolved)
        for number, (at, cause) in enumerate(failures)
    }
    return sorted(failure.at for failure in storms(stats, pipelines=5, window=300.0))


@pytest.mark.parametrize(
    ("instants", "expected"),
    [
        ([0, 75, 150, 225, 300], [0, 75, 150, 225, 300]),
        ([0, 75, 150, 225, 301], []),
        ([0, 1, 2, 3], []),
        ([0, 300, 310, 320, 330, 340, 640, 941], [0, 300, 310, 320, 330, 340, 640]),
        ([0, 250, 500, 750, 1000, 1250], []),
        ([], []),
    ],
    ids=["within", "too slow", "too few", "with those before and after", "a trickle", "none"],
)
def test_storm_is_five_pipelines_within_five_minutes_and_later_ones(
    instants: list[float], expected: list[float]
) -> None:
    assert members((at, "connection") for at in instants) == expected


def test_storm_has_one_cause() -> None:
    mixed = [(float(number), "connection" if number % 2 else "auth") for number in range(9)]
    assert members(mixed) == [0, 2, 4, 6, 8]


def test_failures_without_a_known_cause_are_a_storm_where_their_messages_are_alike() -> None:
    assert members(((float(number), "other") for number in range(5)), pattern="no such thing") == [0, 1, 2, 3, 4]
    stats = {
        (pipeline := Pipeline(f"f{number}", "d")): failing(pipeline, 0.0, "other", f"message {number}")
        for number in range(9)
    }
    assert storms(stats, pipelines=5, window=300.0) == []


def test_resolved_failures_are_not_a_storm() -> None:
    assert members(((float(number), "auth") for number in range(9)), unresolved=0) == []
