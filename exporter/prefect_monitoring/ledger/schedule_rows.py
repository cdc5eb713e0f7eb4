"""Rows of deployments' schedules, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from prefect_monitoring.counting.schedules import UNKNOWN
from prefect_monitoring.counting.schedules import passed as after_passing
from prefect_monitoring.ledger.schema import last_outcomes, schedules
from prefect_monitoring.ledger.sql import batches, load_all, upsert
from prefect_monitoring.model.changes import Schedule
from prefect_monitoring.model.records import COMPLETED_LABELS


def write_schedules(connection: sa.Connection, known: Mapping[str, Schedule]) -> None:
    upsert(connection, schedules, [_row(deployment_id, schedule) for deployment_id, schedule in known.items()])


def _row(deployment_id: str, schedule: Schedule) -> dict[str, Any]:
    fields = asdict(schedule)
    return {"deployment_id": deployment_id, "called_off_at": fields.pop("unscheduled_at"), **fields}


def load_schedules(connection: sa.Connection) -> dict[str, Schedule]:
    return {
        row.deployment_id: Schedule(
            row.last_at, row.next_at, row.unmet_at, row.paused_at, row.called_off_at, row.resumed_at
        )
        for row in load_all(connection, schedules)
    }


def passed_schedules(
    connection: sa.Connection,
    known: Mapping[str, Schedule],
    passed: Mapping[str, float],
    pipeline_ids: Mapping[str, int],
) -> dict[str, Schedule]:
    """The schedules that change because the start expected at an instant in `passed` is over; all by deployment id."""
    before = {deployment_id: known.get(deployment_id, UNKNOWN) for deployment_id in passed}
    moving = {deployment_id: at for deployment_id, at in passed.items() if at > (before[deployment_id].last_at or 0.0)}
    completed = _last_completions(connection, {pipeline_ids[deployment_id] for deployment_id in moving})
    return {
        deployment_id: after_passing(before[deployment_id], at, completed.get(pipeline_ids[deployment_id]))
        for deployment_id, at in moving.items()
    }


def _last_completions(connection: sa.Connection, pipeline_ids: Collection[int]) -> dict[int, float]:
    """When a run of each of these pipelines last completed."""
    table = last_outcomes
    found: dict[int, float] = {}
    for batch in batches(sorted(pipeline_ids)):
        completed = table.c.pipeline_id.in_(batch) & table.c.state.in_(COMPLETED_LABELS)
        query = sa.select(table.c.pipeline_id, sa.func.max(table.c.at)).where(completed).group_by(table.c.pipeline_id)
        found.update((number, at) for number, at in connection.execute(query))
    return found
