"""Quantiles: compared with sorted lists, at the edges of windows, and refreshed when due."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.run_quantiles import QUANTILES, RunQuantiles
from prefect_monitoring.snapshot import live_runs
from prefect_monitoring.snapshot.live_runs import LiveRunStats
from unit.ledger_values import NOW, PIPELINE, baseline_cursor, outcome, run_id
from unit.rig import DAY

HOUR = 3600.0


def add_run(
    ledger: Ledger,
    number: int,
    at: float,
    seconds: float = 10.0,
    *,
    state_type: str = "COMPLETED",
    delay: float | None = None,
    pipeline: Pipeline = PIPELINE,
) -> None:
    changes = outcome(number, at, pipeline, state_type, seconds)
    changes.runs[run_id(number)] = replace(changes.runs[run_id(number)], start_delay=delay)
    ledger.commit(changes, baseline_cursor(ledger), NOW)


def nearest_rank(values: Sequence[float], percent: int) -> float:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 100])
def test_quantiles_are_the_values_at_the_nearest_ranks(ledger: Ledger, count: int) -> None:
    seconds = [random.Random(count * 100 + number).uniform(1, 900) for number in range(count)]
    for number, one in enumerate(seconds):
        add_run(ledger, number, NOW - number * 60, one, delay=one / 10)
    quantiles = ledger.run_quantiles([PIPELINE], NOW)[PIPELINE]
    expected = {("30d", name): nearest_rank(seconds, percent) for name, percent in QUANTILES.items()}
    assert {key: value for key, value in quantiles.duration.items() if key[0] == "30d"} == expected
    assert quantiles.start_delay["7d", "0.95"] == pytest.approx(nearest_rank(seconds, 95) / 10)
    assert quantiles.runs == count


def test_quantiles_are_of_completed_runs_within_each_window(ledger: Ledger) -> None:
    other = Pipeline("etl", "weekly")
    add_run(ledger, 1, NOW - 60, 30.0, delay=2.0)
    add_run(ledger, 2, NOW - 8 * DAY, 90.0, delay=8.0)
    add_run(ledger, 3, NOW - 31 * DAY, 9000.0, delay=9000.0)
    add_run(ledger, 4, NOW - 60, 5000.0, state_type="FAILED", delay=4.0)
    add_run(ledger, 5, NOW - 31 * DAY, 7.0, pipeline=other)
    found = ledger.run_quantiles([PIPELINE, other, Pipeline("never", "seen")], NOW)
    assert found.keys() == {PIPELINE, other}
    assert found[PIPELINE].duration == {
        ("7d", "0.5"): 30.0,
        ("7d", "0.95"): 30.0,
        ("30d", "0.5"): 30.0,
        ("30d", "0.95"): 90.0,
    }
    assert found[PIPELINE].start_delay["7d", "0.95"] == 4.0, "how late a run started does not depend on how it ended"
    assert found[PIPELINE].start_delay["30d", "0.95"] == 8.0
    assert found[other] == RunQuantiles(), "nothing within 30 days is no duration of 0"


def test_quantiles_are_renewed_when_a_run_ends_and_when_an_hour_has_passed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, stats = [PIPELINE], LiveRunStats(4 * HOUR)
    add_run(ledger, 1, NOW - 60, 30.0)
    stats.renew(ledger, NOW, {}, live)
    assert stats.quantiles[PIPELINE].duration["7d", "0.5"] == 30.0
    add_run(ledger, 2, NOW - 50, 20.0)
    stats.renew(ledger, NOW + 10, {}, live)
    assert stats.quantiles[PIPELINE].duration["7d", "0.5"] == 20.0

    monkeypatch.setattr(live_runs, "MANY_RUNS", 1)
    add_run(ledger, 3, NOW - 40, 10.0)
    add_run(ledger, 4, NOW - 30, 10.0)
    stats.renew(ledger, NOW + 20, {}, live)
    assert stats.quantiles[PIPELINE].duration["7d", "0.5"] == 20.0, "of many runs, one more changes little"
    stats.renew(ledger, NOW + 10 + HOUR, {}, live)
    assert stats.quantiles[PIPELINE].duration["7d", "0.5"] == 10.0

    stats.renew(ledger, NOW + 20 + HOUR, {}, [])
    assert stats.quantiles == {}
