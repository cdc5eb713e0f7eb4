"""Shared values and shortcuts of the ledger's tests."""

from __future__ import annotations

from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.retention import Keep
from prefect_monitoring.model.changes import Changes, KnownRun, Rollup, SeriesKey
from prefect_monitoring.model.counted_metrics import DURATION, OUTCOMES, zero_born_series
from prefect_monitoring.model.cursor import ASSET_EVENTS, AUTOMATION_EVENTS, FLOW_RUNS, LOG_LINES, TASK_RUNS, Cursor
from prefect_monitoring.model.records import Pipeline
from unit.fake_prefect import MONDAY_NOON
from unit.rig import DAY

PIPELINE = Pipeline("etl", "daily")

NOW = MONDAY_NOON


def lookbacks_of(runs: float, details: float | None = None) -> dict[str, float]:
    """The lookback of each source in seconds; details have that of the flow runs by default."""
    detail_sources = (TASK_RUNS, LOG_LINES, AUTOMATION_EVENTS, ASSET_EVENTS)
    return {FLOW_RUNS: runs, **dict.fromkeys(detail_sources, runs if details is None else details)}


KEEP = Keep(lookbacks=lookbacks_of(30 * DAY, 7 * DAY), lines=1800, dead_series=7 * DAY)


def run_id(number: int) -> str:
    return f"00000000-0000-0000-0000-{number:012d}"


def outcome(
    number: int, at: float = NOW, pipeline: Pipeline = PIPELINE, state_type: str = "COMPLETED", seconds: float = 10.0
) -> Changes:
    """The changes for one run that ended like this."""
    label = state_type.lower()
    state_id = run_id(number + 500_000)
    changes = Changes()
    run = KnownRun(
        run_id(number),
        pipeline,
        state_id,
        state_type,
        at,
        1,
        start_counted=True,
        ended_at=at,
        duration=seconds,
        name="run",
    )
    changes.runs[run.run_id] = run
    changes.counted.add((run.run_id, state_id))
    changes.increments[SeriesKey(OUTCOMES, pipeline, label)] += 1
    if state_type == "COMPLETED":
        changes.observations[SeriesKey(DURATION, pipeline)].append(seconds)
    changes.rollups[pipeline, int(at // 3600) * 3600] = Rollup()
    changes.rollups[pipeline, int(at // 3600) * 3600].add(run, 1)
    changes.last_outcomes[pipeline, label] = at
    changes.zero_born.update(zero_born_series(pipeline))
    return changes


def baseline_cursor(ledger: Ledger, watermark: float = NOW) -> Cursor:
    return Cursor(watermark, ledger.cursor.horizon, baseline_complete=True)


def memory_of(ledger: Ledger) -> tuple[object, ...]:
    kept = (dict(ledger.series), dict(ledger.values), dict(ledger.cursors), dict(ledger.schedules))
    return *kept, set(ledger.in_birth_hold), ledger.names, set(ledger.pipelines), dict(ledger.folded)
