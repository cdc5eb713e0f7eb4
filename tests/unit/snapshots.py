"""A small snapshot, complete in every field, that tests change where they need to."""

from __future__ import annotations

from prefect_monitoring.fold import DURATION, FAILURES, OUTCOMES, RETRIES, START_DELAY, KnownRun, SeriesKey
from prefect_monitoring.memory import Standing
from prefect_monitoring.records import Deployment, Pair
from prefect_monitoring.series import Series
from prefect_monitoring.snapshot import ActiveRuns, Health, SelfReport, Snapshot
from prefect_monitoring.sources import READING_BOUNDS, SourceStatus

PAIR = Pair("etl", "daily")
NOW = 1772452800.0


def counter(value: float) -> Series:
    return Series(value, (), released=True)


def make_snapshot() -> Snapshot:
    readings = [0] * (len(READING_BOUNDS) + 1)
    readings[0], readings[-1] = 3, 1
    failure = KnownRun(
        "0e1c", PAIR, "5", "FAILED", NOW - 60, 1, start_counted=True, ended_at=NOW - 60, name="able-lynx", cause="auth"
    )
    return Snapshot(
        taken_at=NOW,
        bounds={DURATION: (1.0, 2.5), START_DELAY: (60.0,)},
        series={
            SeriesKey(OUTCOMES, PAIR, "completed"): counter(12.0),
            SeriesKey(OUTCOMES, PAIR, "failed"): counter(1.0),
            SeriesKey(OUTCOMES, Pair('we"ird\\\nflow', ""), "completed"): counter(0.0),
            SeriesKey(FAILURES, PAIR, "auth"): counter(1.0),
            SeriesKey(RETRIES, PAIR): counter(2.0),
            SeriesKey(DURATION, PAIR): Series(20.5, (4, 7, 1), released=True),
            SeriesKey(START_DELAY, PAIR): Series(33.0, (13, 0), released=True),
        },
        standings={
            PAIR: Standing(
                last_outcomes={"completed": NOW - 3600, "failed": NOW - 60},
                last_duration=1.5,
                consecutive_failures=1,
                last_failure=failure,
                window_runs={("1d", "good"): 12, ("1d", "bad"): 1},
                baselines={"7d": 1.75},
            )
        },
        active=ActiveRuns({(PAIR, "k8s", "running"): 2}, {(PAIR, "running"): NOW - 30}),
        deployments=((PAIR, Deployment("d", "daily", "f", "k8s", "default", ())),),
        about=SelfReport(
            version="9.9.9",
            prefect_version="3.8.8",
            api_up=True,
            ledger_created_at=NOW - 86400,
            ledger_bytes=4096,
            sources=(
                SourceStatus("flows", True, NOW - 5, NOW - 6, Series(99.25, tuple(readings), released=True), 40, ""),
                SourceStatus(
                    "recheck", None, None, None, Series(0.0, (0,) * len(readings), released=True), 0, "not read yet"
                ),
            ),
            requests={("/flows/filter", "200"): 4},
            throttled=0,
            folded={OUTCOMES: 3},
        ),
        health=Health(()),
    )
