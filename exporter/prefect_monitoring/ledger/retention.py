"""What the ledger deletes, and when."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.action_rows import forget_actions
from prefect_monitoring.ledger.name_rows import forget_names
from prefect_monitoring.ledger.schema import counted_states, flow_runs, series
from prefect_monitoring.ledger.series_rows import delete_keys, series_key
from prefect_monitoring.ledger.sql import batches
from prefect_monitoring.ledger.state import Forgotten, State
from prefect_monitoring.ledger.unreadable_rows import forget_unreadable
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import LAST_MATERIALIZATION
from prefect_monitoring.model.cursor import ASSET_EVENTS, AUTOMATION_EVENTS, FLOW_RUNS, LOG_LINES, TASK_RUNS, Cursor
from prefect_monitoring.model.records import BAD_TYPES, NO_FLOW, OVERFLOW, Pipeline
from prefect_monitoring.model.units import DAY

HOURLY_KEPT: Final = 62 * DAY
DAILY_KEPT: Final = 400 * DAY


@dataclass(frozen=True, slots=True)
class Keep:
    """How many seconds to keep the records of each cursor, counted log lines, and series of deleted pipelines."""

    lookbacks: Mapping[str, float]
    lines: float
    dead_series: float


def prune(connection: sa.Connection, state: State, now: float, keep: Keep, live: Collection[Pipeline]) -> Forgotten:
    """Deletes what is no longer needed, eventually all of pipelines that are not `live`; returns what `state` loses."""
    horizons = _horizons(state.cursors, now, keep)
    cursors = {source: replace(cursor, horizon=horizons[source]) for source, cursor in state.cursors.items()}
    alive = {*live, OVERFLOW, NO_FLOW}
    dead = {key.pipeline for key in (*state.series, *state.values)} - alive
    values = {key for key, one in state.values.items() if key.pipeline in dead or one.at < now - _kept(key)}
    schedules = state.names.gone & state.schedules.keys()
    _forget_runs(connection, horizons[FLOW_RUNS])
    _forget_rollups(connection, now)
    forget_actions(connection, now - DAILY_KEPT)
    _forget_task_runs(connection, horizons[TASK_RUNS])
    _forget_lines(connection, _lines_before(cursors, now, keep))
    _forget_schedules(connection, schedules)
    expired = _expire_series(connection, dead, now - keep.dead_series)
    delete_keys(connection, schema.last_values, values)
    alive |= {key.pipeline for key in state.series.keys() - expired}
    unseen = {number: pipeline for pipeline, number in state.pipeline_ids.items() if pipeline not in alive}
    pipelines = [unseen[number] for number in _forget_pipelines(connection, sorted(unseen), horizons[FLOW_RUNS])]
    _forget_counted_states(connection)
    names = forget_names(connection, horizons[FLOW_RUNS])
    unreadable = forget_unreadable(connection, state.unreadable, horizons)
    return Forgotten(cursors, expired, values, schedules, pipelines, names, unreadable)


def _horizons(cursors: Mapping[str, Cursor], now: float, keep: Keep) -> dict[str, float]:
    """The instants before which ended runs are deleted, by source; they never pass unread ends or move back.

    A source that is no longer read keeps its horizon.
    """
    return {
        source: max(cursor.horizon, min(now, cursor.watermark) - keep.lookbacks[source])
        if source in keep.lookbacks
        else cursor.horizon
        for source, cursor in cursors.items()
    }


def _kept(key: SeriesKey) -> float:
    """Assets are kept longer, because long-stale assets must still be reported."""
    return DAILY_KEPT if key.metric == LAST_MATERIALIZATION else HOURLY_KEPT


def _lines_before(cursors: Mapping[str, Cursor], now: float, keep: Keep) -> float:
    """The instant before which log lines, and events that are stored with them, are never read again."""
    lines, events, assets = cursors[LOG_LINES], cursors[AUTOMATION_EVENTS], cursors.get(ASSET_EVENTS)
    behind = min(lines.watermark, events.watermark) if events.baseline_complete else lines.watermark
    if assets is not None and assets.watermark > assets.horizon:  # read at least once
        behind = min(behind, max(assets.watermark, now - keep.lookbacks.get(ASSET_EVENTS, 0.0)))
    return max(behind - keep.lines, lines.horizon)


def _forget_runs(connection: sa.Connection, horizon: float) -> None:
    """Deletes runs that ended before `horizon`.

    A pipeline's newest completed run stays, and so do failures after it: run statistics need them at any age.
    """
    newer = flow_runs.alias()
    later_good = sa.exists().where(
        newer.c.pipeline_id == flow_runs.c.pipeline_id,
        newer.c.state_type == "COMPLETED",
        newer.c.ended_at > flow_runs.c.ended_at,
    )
    needed = flow_runs.c.pipeline_id.is_not(None) & flow_runs.c.state_type.in_(("COMPLETED", *BAD_TYPES)) & ~later_good
    connection.execute(sa.delete(flow_runs).where(flow_runs.c.ended_at < horizon, ~needed))
    # Deleted while they ran, or died silently: their end will never be read.
    connection.execute(sa.delete(flow_runs).where(flow_runs.c.ended_at.is_(None), flow_runs.c.state_at < horizon))


def _forget_rollups(connection: sa.Connection, now: float) -> None:
    tables = (
        (schema.hourly_rollups, HOURLY_KEPT),
        (schema.daily_counts, HOURLY_KEPT),
        (schema.daily_rollups, DAILY_KEPT),
    )
    for table, kept in tables:
        connection.execute(sa.delete(table).where(table.c.start < now - kept))


def _forget_pipelines(connection: sa.Connection, dead: Sequence[int], horizon: float) -> set[int]:
    """Deletes those of the `dead` pipelines, by number, that have no other rows left; returns which.

    Runs of a deleted pipeline that ended before `horizon` are not needed.
    """
    pipelines = schema.pipelines
    forgotten: set[int] = set()
    for batch in batches(dead):
        connection.execute(
            sa.delete(flow_runs).where(flow_runs.c.pipeline_id.in_(batch), flow_runs.c.ended_at < horizon)
        )
        used = [
            sa.exists().where(table.c.pipeline_id == pipelines.c.id)
            for table in (flow_runs, schema.hourly_rollups, schema.daily_rollups)
        ]
        unused = sa.select(pipelines.c.id).where(pipelines.c.id.in_(batch), ~sa.or_(*used))
        numbers = connection.scalars(unused).all()
        if numbers:
            outcomes = schema.last_outcomes
            connection.execute(sa.delete(outcomes).where(outcomes.c.pipeline_id.in_(numbers)))
            connection.execute(sa.delete(pipelines).where(pipelines.c.id.in_(numbers)))
            forgotten.update(numbers)
    return forgotten


def _forget_counted_states(connection: sa.Connection) -> None:
    """Deletes the counted states of deleted runs."""
    connection.execute(sa.delete(counted_states).where(counted_states.c.run_id.not_in(sa.select(flow_runs.c.run_id))))


def _expire_series(connection: sa.Connection, dead: Collection[Pipeline], before: float) -> set[SeriesKey]:
    """Deletes the series of `dead` pipelines that were not updated since `before`; returns which."""
    if not dead:
        return set()
    old = connection.execute(sa.select(series).where(series.c.updated_at < before))
    expired = {key for row in old if (key := series_key(row)).pipeline in dead}
    delete_keys(connection, series, expired)
    return expired


def _forget_task_runs(connection: sa.Connection, horizon: float) -> None:
    """Deletes task runs that ended before `horizon`, but not those of each pipeline's last run."""
    tasks = schema.task_runs
    pipeline, ended_at = flow_runs.c.pipeline_id, flow_runs.c.ended_at
    newest = sa.select(sa.func.max(ended_at)).where(pipeline.is_not(None)).group_by(pipeline)
    kept = sa.select(flow_runs.c.run_id).where(ended_at.in_(newest))
    old = tasks.c.ended_at < horizon
    connection.execute(sa.delete(tasks).where(old, tasks.c.flow_run_id.is_(None) | tasks.c.flow_run_id.not_in(kept)))


def _forget_lines(connection: sa.Connection, before: float) -> None:
    connection.execute(sa.delete(schema.log_lines).where(schema.log_lines.c.at < before))


def _forget_schedules(connection: sa.Connection, deployment_ids: Collection[str]) -> None:
    for batch in batches(sorted(deployment_ids)):
        connection.execute(sa.delete(schema.schedules).where(schema.schedules.c.deployment_id.in_(batch)))
