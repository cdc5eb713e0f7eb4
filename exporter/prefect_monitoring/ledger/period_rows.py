"""What happened in a period of time, from the ledger's tables, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from prefect_monitoring.ledger.action_rows import has_retry_to_come
from prefect_monitoring.ledger.schema import actions, flow_runs, hourly_rollups
from prefect_monitoring.ledger.sql import total
from prefect_monitoring.model.actions import ActionResult, Kind
from prefect_monitoring.model.period import FailedRuns, Period, RunCounts
from prefect_monitoring.model.records import BAD_TYPES, Pipeline


def runs_within(connection: sa.Connection, period: Period) -> dict[int, RunCounts]:
    """Runs that ended in the hours of the period, by the pipeline's number."""
    sums = [total(hourly_rollups.c[name]).label(name) for name in ("good", "bad", "timed", "seconds")]
    hours = _is_within(hourly_rollups.c.start, period)
    query = sa.select(hourly_rollups.c.pipeline_id, *sums).where(hours).group_by(hourly_rollups.c.pipeline_id)
    return {
        row.pipeline_id: RunCounts(int(row.good), int(row.bad), int(row.timed), float(row.seconds))
        for row in connection.execute(query)
    }


def failed_within(connection: sa.Connection, pipelines: Mapping[int, Pipeline], period: Period) -> list[FailedRuns]:
    """Runs that failed for good within the period, by pipeline, cause and pattern of the message."""
    key = (flow_runs.c.pipeline_id, flow_runs.c.cause, sa.func.coalesce(flow_runs.c.pattern, "").label("pattern"))
    failed = flow_runs.c.state_type.in_(sorted(BAD_TYPES)) & ~has_retry_to_come(flow_runs)
    within = _is_within(flow_runs.c.ended_at, period)
    query = sa.select(*key, sa.func.count().label("runs"), sa.func.max(flow_runs.c.ended_at).label("last_at"))
    return [
        FailedRuns(pipelines[row.pipeline_id], row.cause, row.pattern, row.runs, row.last_at)
        for row in connection.execute(query.where(failed, within).group_by(*key))
        if row.pipeline_id in pipelines
    ]


def actions_within(connection: sa.Connection, period: Period) -> dict[tuple[Pipeline, Kind, ActionResult], int]:
    """How many actions were decided within the period, by the pipeline of their rule, kind and result."""
    key = (actions.c.flow, actions.c.deployment, actions.c.kind, actions.c.result)
    within = _is_within(actions.c.decided_at, period)
    query = sa.select(*key, sa.func.count()).where(within).group_by(*key)
    return {
        (Pipeline(flow, deployment), Kind(kind), ActionResult(result)): count
        for flow, deployment, kind, result, count in connection.execute(query)
    }


def saved_within(connection: sa.Connection, period: Period) -> dict[Pipeline, int]:
    """How many runs completed after a retry by the exporter that was decided within the period, by pipeline."""
    retried = (actions.c.kind == Kind.RETRY) & (actions.c.result == ActionResult.DONE)
    within = _is_within(actions.c.decided_at, period)
    same = (flow_runs.c.run_id == actions.c.run_id) & (flow_runs.c.state_type == "COMPLETED")
    query = (
        sa.select(actions.c.flow, actions.c.deployment, sa.func.count(sa.distinct(actions.c.run_id)))
        .join_from(actions, flow_runs, same)
        .where(retried, within)
        .group_by(actions.c.flow, actions.c.deployment)
    )
    return {Pipeline(flow, deployment): count for flow, deployment, count in connection.execute(query)}


def _is_within(instant: sa.Column[Any], period: Period) -> sa.ColumnElement[bool]:
    return (instant >= period.start) & (instant < period.end)
