"""The long memory in the ledger's tables: how each pair stands, its windows and baselines, what may be forgotten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from prefect_monitoring.ledger.flow_run_rows import known_run
from prefect_monitoring.ledger.retention import HOURLY_KEPT
from prefect_monitoring.ledger.schema import daily_rollups as daily
from prefect_monitoring.ledger.schema import flow_runs as runs
from prefect_monitoring.ledger.schema import hourly_rollups as hourly
from prefect_monitoring.ledger.schema import last_outcomes
from prefect_monitoring.ledger.sql import batches, total
from prefect_monitoring.ledger.time_shares import time_shares
from prefect_monitoring.model.records import BAD_TYPES, TERMINAL_TYPES, Pair
from prefect_monitoring.model.run_stats import (
    ALL_WINDOWS,
    BEFORE,
    RECENT_DURATIONS,
    RECENT_FAILURES,
    RESULTS,
    SAME_WEEKDAY,
    SAME_WEEKDAY_WEEKS,
    SLO_WINDOW,
    WINDOWS,
    RunStats,
)
from prefect_monitoring.model.units import DAY, HOUR


def run_stats(
    connection: sa.Connection, pairs: Mapping[int, Pair], now: float, slo_windows: Mapping[Pair, float]
) -> dict[Pair, RunStats]:
    """The standing at `now` of each of `pairs`, by its number in the ledger; `slo_windows` in seconds."""
    found: dict[Pair, RunStats] = {}
    for batch in batches(sorted(pairs)):
        outcomes = _last_outcomes(connection, batch)
        windows = _windows(connection, batch, now)
        weekdays = _same_weekday(connection, batch, now)
        slo = _slo_windows(
            connection, {one: slo_windows[pairs[one]] for one in batch if pairs[one] in slo_windows}, now
        )
        for number in batch:
            sums = windows.get(number, {}) | weekdays.get(number, {})
            last_good = _newest(connection, number, ("COMPLETED",))
            failures, since = _failures_since(connection, number, last_good.ended_at if last_good is not None else 0.0)
            last_bad = _newest(connection, number, BAD_TYPES) if failures else None
            found[pairs[number]] = RunStats(
                last_outcomes=outcomes[number],
                recent_durations=_recent_durations(connection, number),
                consecutive_failures=failures,
                failing_since=since,
                recent_failures=_recent_failures(connection, number, now - DAY),
                last_failure=known_run(last_bad, pairs[number]) if last_bad is not None else None,
                window_runs=_window_runs(sums) | slo.get(number, {}),
                baselines=_baselines(sums),
                time_shares=time_shares(connection, _last_run(connection, number)),
            )
    return found


def _last_outcomes(connection: sa.Connection, numbers: Collection[int]) -> defaultdict[int, dict[str, float]]:
    found: defaultdict[int, dict[str, float]] = defaultdict(dict)
    query = sa.select(last_outcomes).where(last_outcomes.c.pipeline_id.in_(numbers))
    for row in connection.execute(query):
        found[row.pipeline_id][row.state] = row.at
    return found


def _of(number: int, types: Collection[str]) -> sa.ColumnElement[bool]:
    """Ended runs of a pair by type; deleted ones too: Prefect's retention must not look like a recovery."""
    return (runs.c.pipeline_id == number) & runs.c.state_type.in_(types) & runs.c.ended_at.is_not(None)


def _newest(connection: sa.Connection, number: int, types: Collection[str]) -> sa.Row[Any] | None:
    query = sa.select(runs).where(_of(number, types)).order_by(runs.c.ended_at.desc()).limit(1)
    return connection.execute(query).first()


def _last_run(connection: sa.Connection, number: int) -> sa.Row[Any] | None:
    """The newest run that ended, however: a look into the index for each state type."""
    newest = (_newest(connection, number, (state_type,)) for state_type in TERMINAL_TYPES)
    return max((run for run in newest if run is not None), key=lambda run: float(run.ended_at), default=None)


def _recent_durations(connection: sa.Connection, number: int) -> tuple[float, ...]:
    """From the newest end of the pair's stretch of the index: as dear for a thousand runs as for a million."""
    timed = _of(number, ("COMPLETED",)) & runs.c.duration.is_not(None)
    newest = sa.select(runs.c.duration).where(timed).order_by(runs.c.ended_at.desc()).limit(RECENT_DURATIONS)
    return tuple(connection.scalars(newest))


def _failures_since(connection: sa.Connection, number: int, since: float) -> tuple[int, float | None]:
    """How many runs failed after `since`, and when the first of them ended."""
    query = sa.select(sa.func.count(), sa.func.min(runs.c.ended_at)).where(
        _of(number, BAD_TYPES), runs.c.ended_at > since
    )
    failures, first = connection.execute(query).one()
    return failures, first


def _recent_failures(connection: sa.Connection, number: int, since: float) -> tuple[float, ...]:
    failed = sa.select(runs.c.ended_at).where(_of(number, BAD_TYPES), runs.c.ended_at > since)
    return tuple(connection.scalars(failed.order_by(runs.c.ended_at.desc()).limit(RECENT_FAILURES)))


def _hours_end(now: float) -> int:
    return int(now // HOUR + 1) * HOUR


def _spans(now: float) -> dict[str, tuple[int, int]]:
    """Each window as [start, end) in whole hours, the running hour included."""
    end = _hours_end(now)
    spans = {name: (end - length, end) for name, length in WINDOWS.items()}
    spans[BEFORE] = (end - 60 * DAY, end - 30 * DAY)
    return spans


def _windows(connection: sa.Connection, numbers: Collection[int], now: float) -> dict[int, dict[str, float]]:
    spans = _spans(now)
    sums = []
    for name, (start, end) in spans.items():
        inside = hourly.c.start.between(start, end - 1)
        sums += [
            total(sa.case((inside, hourly.c[column]), else_=0)).label(f"{name} {column}")
            for column in ("good", "bad", "timed", "seconds")
        ]
    oldest = min(start for start, _ in spans.values())
    query = (
        sa.select(hourly.c.pipeline_id, *sums)
        .where(hourly.c.pipeline_id.in_(numbers), hourly.c.start >= oldest)
        .group_by(hourly.c.pipeline_id)
    )
    return {row["pipeline_id"]: dict(row) for row in connection.execute(query).mappings()}


def _slo_windows(
    connection: sa.Connection, lengths: Mapping[int, float], now: float
) -> dict[int, dict[tuple[str, str], int]]:
    """Runs by result over each pair's own window (`lengths`, seconds): whole hours, or whole days beyond 60 of them."""
    found: dict[int, dict[tuple[str, str], int]] = {
        number: {(SLO_WINDOW, result): 0 for result in RESULTS} for number in lengths
    }
    for length in set(lengths.values()):
        numbers = [number for number, one in lengths.items() if one == length]
        table, grain = (hourly, HOUR) if length <= HOURLY_KEPT - 2 * DAY else (daily, DAY)
        end = int(now // grain + 1) * grain
        query = (
            sa.select(table.c.pipeline_id, total(table.c.good), total(table.c.bad))
            .where(table.c.pipeline_id.in_(numbers), table.c.start >= end - length)
            .group_by(table.c.pipeline_id)
        )
        for number, good, bad in connection.execute(query):
            found[number] = {(SLO_WINDOW, "good"): int(good), (SLO_WINDOW, "bad"): int(bad)}
    return found


def _same_weekday(connection: sa.Connection, numbers: Collection[int], now: float) -> dict[int, dict[str, float]]:
    """The 24 hours of `1d` in the last weeks: whatever the hour, each weekday is compared with itself.

    Of the running hour, `timed` and `seconds` have no more there than has passed of it now.
    """
    end = _hours_end(now)
    ends = [end - 7 * DAY * week for week in range(1, SAME_WEEKDAY_WEEKS + 1)]
    hours = [start for one in ends for start in range(one - DAY, one, HOUR)]
    passed = sa.case((hourly.c.start.in_([one - HOUR for one in ends]), now % HOUR / HOUR), else_=1.0)
    query = (
        sa.select(
            hourly.c.pipeline_id,
            *(total(hourly.c[one]).label(f"{SAME_WEEKDAY} {one}") for one in RESULTS),
            *(total(hourly.c[one] * passed).label(f"{SAME_WEEKDAY} {one}") for one in ("timed", "seconds")),
        )
        .where(hourly.c.pipeline_id.in_(numbers), hourly.c.start.in_(hours))
        .group_by(hourly.c.pipeline_id)
    )
    return {row["pipeline_id"]: dict(row) for row in connection.execute(query).mappings()}


def _window_runs(sums: Mapping[str, float]) -> dict[tuple[str, str], int]:
    return {(name, result): int(sums.get(f"{name} {result}", 0)) for name in ALL_WINDOWS for result in RESULTS}


def _baselines(sums: Mapping[str, float]) -> dict[str, float]:
    """Mean seconds of completed runs; a window without one has no mean."""
    timed = {name: sums.get(f"{name} timed", 0) for name in ALL_WINDOWS}
    return {name: sums[f"{name} seconds"] / count for name, count in timed.items() if count}
