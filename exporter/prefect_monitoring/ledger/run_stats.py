"""Run statistics from the ledger's tables, with windows and baselines.

The number of statements does not depend on the number of pipelines, and each reads only the newest part of a
pipeline's index: it costs the same for a thousand runs as for a million.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from prefect_monitoring.ledger.action_rows import has_retry_to_come, retries_of, retries_to_come
from prefect_monitoring.ledger.flow_run_rows import known_run
from prefect_monitoring.ledger.retention import HOURLY_KEPT
from prefect_monitoring.ledger.schema import (
    counted_states,
    daily_rollups,
    flow_runs,
    hourly_rollups,
    last_outcomes,
    pipelines,
)
from prefect_monitoring.ledger.sql import batches, total
from prefect_monitoring.ledger.time_shares import time_shares
from prefect_monitoring.model.records import BAD_TYPES, TERMINAL_TYPES, Pipeline
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

Sums = Mapping[str, float]
Row = sa.Row[Any]


def run_stats(
    connection: sa.Connection, names: Mapping[int, Pipeline], now: float, slo_windows: Mapping[Pipeline, float]
) -> dict[Pipeline, RunStats]:
    """The statistics at `now` of pipelines, by their numbers in the ledger; `slo_windows` in seconds."""
    found: dict[Pipeline, RunStats] = {}
    for batch in batches(sorted(names)):
        lengths = {number: slo_windows[names[number]] for number in batch if names[number] in slo_windows}
        outcomes = _last_outcomes(connection, batch)
        windows = _windows(connection, batch, now)
        weekdays = _same_weekday(connection, batch, now)
        baselines = _baselines(connection, batch, now)
        objectives = _slo_windows(connection, lengths, now)
        durations = _recent_durations(connection, batch)
        failures = _consecutive_failures(connection, batch)
        newest = _newest_runs(connection, batch)
        last_runs = {number: runs[0] for number, runs in newest.items() if runs}
        shares = time_shares(connection, last_runs.values())
        failed_runs = {number: [run for run in newest[number] if run.state_type in BAD_TYPES] for number in batch}
        retried = retries_of(connection, [runs[0].run_id for runs in failed_runs.values() if runs])
        waiting = retries_to_come(connection, batch, now - DAY)
        for number in batch:
            sums = windows.get(number, {}) | weekdays.get(number, {})
            count, since = failures[number]
            failed = failed_runs[number]
            found[names[number]] = RunStats(
                last_outcomes=outcomes[number],
                recent_durations=tuple(durations[number][:RECENT_DURATIONS]),
                consecutive_failures=count,
                failing_since=since,
                recent_failures=tuple(run.ended_at for run in failed if run.ended_at > now - DAY)[:RECENT_FAILURES],
                last_failure=known_run(failed[0], names[number]) if count else None,
                last_failure_gone=bool(count and failed[0].gone),
                last_failure_retries=retried[failed[0].run_id] if count else 0,
                window_runs=_without(waiting.get(number, 0), _window_runs(sums) | objectives.get(number, {})),
                baselines=baselines[number],
                time_shares=shares.get(last_runs[number].run_id, {}) if number in last_runs else {},
            )
    return found


def _last_outcomes(connection: sa.Connection, numbers: Collection[int]) -> defaultdict[int, dict[str, float]]:
    found: defaultdict[int, dict[str, float]] = defaultdict(dict)
    query = sa.select(last_outcomes).where(last_outcomes.c.pipeline_id.in_(numbers))
    for row in connection.execute(query):
        found[row.pipeline_id][row.state] = row.at
    return found


def _ended(runs: sa.FromClause, *types: str) -> sa.ColumnElement[bool]:
    """Ended runs of a pipeline by type; deleted ones too: Prefect's retention must not look like a recovery.

    Without runs that the exporter is about to retry: like runs that wait for Prefect's own retry, they are not over.
    """
    kind = runs.c.state_type == types[0] if len(types) == 1 else runs.c.state_type.in_(types)
    ended = (runs.c.pipeline_id == pipelines.c.id) & kind & runs.c.ended_at.is_not(None)
    return ended & ~has_retry_to_come(runs) if BAD_TYPES.intersection(types) else ended


def _newest(numbers: Collection[int], state_type: str, limit: int, *, timed: bool = False) -> sa.Select[Any]:
    """The `limit` newest runs of that type of each pipeline, more where several ended at the same instant.

    The end of the last of them is looked up first, so that only the newest part of the pipeline's index is read.
    """

    def chosen(runs: sa.FromClause) -> sa.ColumnElement[bool]:
        return _ended(runs, state_type) & (runs.c.duration.is_not(None) if timed else sa.true())

    ranked = flow_runs.alias("ranked")
    end_of_last = sa.select(ranked.c.ended_at).where(chosen(ranked)).order_by(ranked.c.ended_at.desc())
    end_of_last = end_of_last.limit(1).offset(limit - 1).correlate(pipelines)
    recent = chosen(flow_runs) & (flow_runs.c.ended_at >= sa.func.coalesce(end_of_last.scalar_subquery(), 0.0))
    columns = (flow_runs.c.pipeline_id, flow_runs.c.ended_at, flow_runs.c.duration) if timed else flow_runs.c
    return sa.select(*columns).join_from(pipelines, flow_runs, recent).where(pipelines.c.id.in_(numbers))


def _recent_durations(connection: sa.Connection, numbers: Collection[int]) -> Mapping[int, Sequence[float]]:
    """Seconds of each pipeline's newest completed runs, newest first."""
    rows = _newest_first(connection.execute(_newest(numbers, "COMPLETED", RECENT_DURATIONS, timed=True)))
    return defaultdict(list, {number: [row.duration for row in runs] for number, runs in rows.items()})


def _newest_runs(connection: sa.Connection, numbers: Collection[int]) -> Mapping[int, Sequence[Row]]:
    """The newest runs of each type, in one list per pipeline, newest first."""
    each = [_newest(numbers, state_type, RECENT_FAILURES) for state_type in sorted(TERMINAL_TYPES)]
    return _newest_first(connection.execute(sa.union_all(*each)))


def _newest_first(rows: Iterable[Row]) -> defaultdict[int, list[Row]]:
    found: defaultdict[int, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: float(row.ended_at), reverse=True):
        found[row.pipeline_id].append(row)
    return found


def _consecutive_failures(
    connection: sa.Connection, numbers: Collection[int]
) -> Mapping[int, tuple[int, float | None]]:
    """How many runs failed since the last completed one, and when the first of them first failed since then.

    A run that was retried manually and failed again moves its end, but not this instant.
    """
    good, bad, states = flow_runs.alias("good"), flow_runs.alias("bad"), counted_states.alias("states")
    last_good = sa.select(sa.func.max(good.c.ended_at)).where(_ended(good, "COMPLETED")).correlate(pipelines)
    since = sa.func.coalesce(last_good.scalar_subquery(), 0.0)
    failed = _ended(bad, *sorted(BAD_TYPES)) & (bad.c.ended_at > since)
    earlier = (states.c.run_id == bad.c.run_id) & (states.c.failed_at > since) & ~has_retry_to_come(states)
    first = sa.select(sa.func.min(states.c.failed_at)).where(earlier).correlate(bad, pipelines).scalar_subquery()
    began = sa.func.min(sa.func.coalesce(first, bad.c.ended_at))
    query = (
        sa.select(pipelines.c.id, sa.func.count(), began)
        .join_from(pipelines, bad, failed)
        .where(pipelines.c.id.in_(numbers))
        .group_by(pipelines.c.id)
    )
    found: defaultdict[int, tuple[int, float | None]] = defaultdict(lambda: (0, None))
    found.update((number, (count, first)) for number, count, first in connection.execute(query))
    return found


def _hours_end(now: float) -> int:
    return int(now // HOUR + 1) * HOUR


def _weekday_ends(now: float) -> list[int]:
    return [_hours_end(now) - 7 * DAY * week for week in range(1, SAME_WEEKDAY_WEEKS + 1)]


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
        inside = hourly_rollups.c.start.between(start, end - 1)
        sums += [
            total(sa.case((inside, hourly_rollups.c[result]), else_=0)).label(f"{name} {result}") for result in RESULTS
        ]
    oldest = min(start for start, _ in spans.values())
    query = (
        sa.select(hourly_rollups.c.pipeline_id, *sums)
        .where(hourly_rollups.c.pipeline_id.in_(numbers), hourly_rollups.c.start >= oldest)
        .group_by(hourly_rollups.c.pipeline_id)
    )
    return {row["pipeline_id"]: dict(row) for row in connection.execute(query).mappings()}


def _slo_windows(
    connection: sa.Connection, lengths: Mapping[int, float], now: float
) -> dict[int, dict[tuple[str, str], int]]:
    """Runs by result over each pipeline's own window (`lengths`, seconds): whole hours, or days beyond 60 of them."""
    found: dict[int, dict[tuple[str, str], int]] = {
        number: {(SLO_WINDOW, result): 0 for result in RESULTS} for number in lengths
    }
    by_hour = {number for number, length in lengths.items() if length <= HOURLY_KEPT - 2 * DAY}
    for table, grain, numbers in (
        (hourly_rollups, HOUR, by_hour),
        (daily_rollups, DAY, lengths.keys() - by_hour),
    ):
        if not numbers:
            continue
        end = int(now // grain + 1) * grain
        since = sa.values(sa.column("number", sa.Integer), sa.column("since", sa.Float), name="objectives")
        objectives = since.data([(number, float(end - lengths[number])) for number in sorted(numbers)]).cte()
        inside = (table.c.pipeline_id == objectives.c.number) & (table.c.start >= objectives.c.since)
        query = (
            sa.select(table.c.pipeline_id, total(table.c.good), total(table.c.bad))
            .join_from(objectives, table, inside)
            .group_by(table.c.pipeline_id)
        )
        for number, good, bad in connection.execute(query):
            found[number] = {(SLO_WINDOW, "good"): int(good), (SLO_WINDOW, "bad"): int(bad)}
    return found


def _same_weekday(connection: sa.Connection, numbers: Collection[int], now: float) -> dict[int, dict[str, float]]:
    """The 24 hours of `1d` in the previous weeks, so that at any hour each weekday is compared with itself."""
    start = hourly_rollups.c.start
    hours = [start for one in _weekday_ends(now) for start in range(one - DAY, one, HOUR)]
    sums = [total(hourly_rollups.c[result]).label(f"{SAME_WEEKDAY} {result}") for result in RESULTS]
    query = (
        sa.select(hourly_rollups.c.pipeline_id, *sums)
        .where(hourly_rollups.c.pipeline_id.in_(numbers), start.in_(hours))
        .group_by(hourly_rollups.c.pipeline_id)
    )
    return {row["pipeline_id"]: dict(row) for row in connection.execute(query).mappings()}


def _window_runs(sums: Sums) -> dict[tuple[str, str], int]:
    return {(name, result): int(sums.get(f"{name} {result}", 0)) for name in ALL_WINDOWS for result in RESULTS}


def _without(retried: int, window_runs: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Takes runs with a retry to come out of the windows that end now: they failed within the last hours."""
    current = {(window, "bad") for window in (*WINDOWS, SLO_WINDOW)} & window_runs.keys() if retried else ()
    return window_runs | {key: max(window_runs[key] - retried, 0) for key in current}


def _baselines(connection: sa.Connection, numbers: Collection[int], now: float) -> Mapping[int, dict[str, float]]:
    """Seconds of completed runs, by window: the median of the hourly medians, weighted by the hours' runs.

    A single long run hardly moves it. Windows without runs are missing. Sorted here, once for all windows: in SQL it
    takes three times as long.
    """
    hour, shares = hourly_rollups.c, _shares(now)
    oldest = min(since for _, since, _, _ in shares)
    seconds = sa.func.coalesce(hour.median, hour.seconds / hour.timed)
    query = sa.select(hour.pipeline_id, seconds, hour.start, hour.timed)
    rows: defaultdict[int, list[tuple[float, int, int]]] = defaultdict(list)
    chosen = hour.pipeline_id.in_(numbers) & (hour.start >= oldest) & (hour.timed > 0)
    for number, *values in connection.execute(query.where(chosen)):
        rows[number].append(tuple(values))
    return defaultdict(dict, {number: _medians(sorted(hours), shares) for number, hours in rows.items()})


def _medians(
    hours: Sequence[tuple[float, int, int]], shares: Iterable[tuple[str, int, int, float]]
) -> dict[str, float]:
    """By window, of (seconds, start, runs) in ascending order."""
    chosen: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for window, since, until, share in shares:
        chosen[window] += [(seconds, runs * share) for seconds, start, runs in hours if since <= start < until]
    found: dict[str, float] = {}
    for window, weighted in chosen.items():
        so_far, half = 0.0, sum(weight for _, weight in weighted) / 2
        for seconds, weight in sorted(weighted):
            so_far += weight
            if so_far >= half > 0:
                found[window] = seconds
                break
    return found


def _shares(now: float) -> list[tuple[str, int, int, float]]:
    """The windows of baselines as spans of hours, and the weight of the runs of each span.

    Of the current hour, other weeks count only the share that has passed now.
    """
    spans = [(name, start, end, 1.0) for name, (start, end) in _spans(now).items()]
    for end in _weekday_ends(now):
        spans.append((SAME_WEEKDAY, end - DAY, end - HOUR, 1.0))
        spans.append((SAME_WEEKDAY, end - HOUR, end, now % HOUR / HOUR))
    return spans
